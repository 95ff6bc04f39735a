package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"speedybites/internal/accounts"
	"speedybites/internal/httpapi"
)

const someID = "0198c5a4-7c1e-7000-8000-000000000001"

// authorization is the header of a user with the role, as newAccounts would sign it.
func authorization(t *testing.T, role accounts.Role) string {
	t.Helper()
	now := time.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "speedy-bites", "sub": someID, "jti": uuid.NewString(), "role": role,
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}).SignedString([]byte(tokenSecret))
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + token
}

// TestRoles sends what is refused after the role was looked at and before the database is needed.
func TestRoles(t *testing.T) {
	t.Parallel()
	rows := []struct {
		method, path, body string
		allowed            []accounts.Role
		status             int
	}{
		{"POST", "/api/restaurants", "{", []accounts.Role{"owner", "admin"}, 400},
		{"POST", "/api/restaurants/" + someID + "/menu", "{", []accounts.Role{"owner", "admin"}, 400},
		{"POST", "/api/restaurants/1/menu", "{", []accounts.Role{"owner", "admin"}, 404},
		{"POST", "/api/orders", "{", []accounts.Role{"customer"}, 400},
		{"GET", "/api/orders?limit=x", "", []accounts.Role{"customer", "owner", "admin"}, 422},
		{"GET", "/api/orders/1", "", []accounts.Role{"customer", "owner", "admin"}, 404},
	}
	s, _ := setup(t, httpapi.Config{})
	for _, row := range rows {
		for _, role := range []accounts.Role{accounts.Customer, accounts.Owner, accounts.Admin} {
			want := http.StatusForbidden
			if slices.Contains(row.allowed, role) {
				want = row.status
			}
			w := do(s, row.method, row.path, row.body, "Authorization", authorization(t, role))
			if w.Code != want {
				t.Errorf("%s %s as %s: got status %d, want %d", row.method, row.path, role, w.Code, want)
				continue
			}
			wantError(t, w, want)
		}
	}
}

func TestBearerScheme(t *testing.T) {
	t.Parallel()
	s, _ := setup(t, httpapi.Config{})
	token := strings.TrimPrefix(authorization(t, accounts.Customer), "Bearer ")
	for header, want := range map[string]int{
		"bearer " + token: 404, "BEARER  " + token: 404, "Token " + token: 401, token: 401, "Bearer " + token + "x": 401,
	} {
		if w := do(s, http.MethodGet, "/api/orders/1", "", "Authorization", header); w.Code != want {
			t.Errorf("%.10s…: got status %d, want %d", header, w.Code, want)
		}
	}
}

func TestPlaceOrderInput(t *testing.T) {
	t.Parallel()
	const item = `{"menuItemId":"` + someID + `","quantity":1}`
	order := func(restaurant, items string) string {
		return `{"restaurantId":"` + restaurant + `","items":[` + items + `],"deliveryAddress":"1 Main Street"}`
	}
	rows := []struct {
		name, key, body string
		fields          []string
	}{
		{"RestaurantID", "k", order("nonsense", item), []string{"restaurantId"}},
		{"NoRestaurantID", "k", order("", item), []string{"restaurantId"}},
		{"BracedID", "k", order("{"+someID+"}", item), []string{"restaurantId"}},
		{"ItemID", "k", order(someID, item+`,{"menuItemId":"x","quantity":1}`), []string{"items[1].menuItemId"}},
		{"EveryID", "k", order("x", `{},null`), []string{"restaurantId", "items[0].menuItemId", "items[1].menuItemId"}},
		{"LongKey", strings.Repeat("k", 256), order(someID, item), []string{"Idempotency-Key"}},
		{"InvalidUTF8Key", "\xff", order(someID, item), []string{"Idempotency-Key"}},
		{"TabInKey", "a\tb", order(someID, item), []string{"Idempotency-Key"}},
		{"KeyAndID", strings.Repeat("k", 256), order("x", item), []string{"Idempotency-Key", "restaurantId"}},
	}
	s, _ := setup(t, httpapi.Config{})
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := do(s, http.MethodPost, "/api/orders", row.body,
				"Authorization", authorization(t, accounts.Customer), "Idempotency-Key", row.key)
			body := wantError(t, w, http.StatusUnprocessableEntity)
			var fields []string
			for _, d := range body.Details {
				fields = append(fields, d.Field)
			}
			if !slices.Equal(fields, row.fields) {
				t.Errorf("got details for %v, want %v", fields, row.fields)
			}
		})
	}
}

func TestIdempotencyKeyOnce(t *testing.T) {
	t.Parallel()
	s, _ := setup(t, httpapi.Config{})
	for name, keys := range map[string][]string{"Empty": {""}, "Blank": {"  "}, "Two": {"a", "b"}} {
		r := httptest.NewRequest(http.MethodPost, "/api/orders", strings.NewReader(`{"restaurantId":"`+someID+`"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", authorization(t, accounts.Customer))
		r.Header["Idempotency-Key"] = keys
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if body := wantError(t, w, http.StatusUnprocessableEntity); body.Details[0].Field != "Idempotency-Key" {
			t.Errorf("%s: got details %v, want one for the header", name, body.Details)
		}
	}
}
