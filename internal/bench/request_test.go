//go:build bench

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"speedybites/internal/app"
	"speedybites/internal/config"
	"speedybites/internal/dbtest"
	"speedybites/internal/demo"
	"speedybites/internal/pgtest"
)

// minRatio is the promise: requests a second of the service over those of the bare handler.
const minRatio = 0.85

// clients is the number of requests under way at once.
const clients = 16

// perBurst is the number of requests of one round.
const perBurst = 1600

// TestRequests compares whole requests of the service, with all its protection, logs and audit, and without any
// exporter, with those of the bare handler. Both serve from this process, from one PostgreSQL.
func TestRequests(t *testing.T) {
	url := pgtest.DB(t)
	base, token, customer := serve(t, url)
	pool := plainPool(t, url)
	same, least := newBare(t, pool, customer, true), newBare(t, pool, customer, false)
	order, err := json.Marshal(map[string]any{
		"restaurantId": demo.RestaurantID(), "deliveryAddress": "1 Bench Street", "note": "",
		"items": []any{map[string]any{"menuItemId": demo.MenuItemID(), "quantity": 2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	t.Cleanup(client.CloseIdleConnections)
	for _, c := range []struct {
		name, bare   string
		method, path string
		body         []byte
		want         int
		asserted     bool
	}{
		{"one restaurant", same.URL, http.MethodGet, "/api/restaurants/" + demo.RestaurantID().String(), nil, 200, true},
		{"list of restaurants", same.URL, http.MethodGet, "/api/restaurants?limit=5", nil, 200, true},
		{"an order, same SQL", same.URL, http.MethodPost, "/api/orders", order, 201, true},
		{"an order, least SQL", least.URL, http.MethodPost, "/api/orders", order, 201, false},
	} {
		burst := func(base string) func() {
			return func() { requests(t, client, c.method, base+c.path, token, c.body, c.want, perBurst) }
		}
		r := compare(t, c.name, 30, 1, burst(c.bare), burst(base))
		t.Logf("%-20s bare %6.0f/s, service %6.0f/s, ratio %.2f (%.2f to %.2f in the middle half)",
			c.name, perBurst/r.plain.Seconds(), perBurst/r.ours.Seconds(), r.ratio, r.low, r.high)
		if c.asserted && r.ratio < minRatio {
			t.Errorf("%s: ratio %.2f, want at least %.2f", c.name, r.ratio, minRatio)
		}
	}
}

// requests makes n requests, as many at once as there are clients.
func requests(t *testing.T, client *http.Client, method, url, token string, body []byte, want, n int) {
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for range (n + clients - 1 - i) / clients {
				req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", "Bearer "+token)
				if body != nil {
					req.Header.Set("Content-Type", "application/json")
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != want {
					t.Errorf("%s %s: %d", method, url, resp.StatusCode)
					return
				}
			}
		})
	}
	wg.Wait()
}

// serve runs the whole service on a database with the demo restaurants.
func serve(t *testing.T, url string) (base, token string, customer uuid.UUID) {
	t.Helper()
	if _, err := demo.Load(t.Context(), dbtest.OpenDefault(t, url)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg, err := config.Load([]string{
		"APP_ENV=test", "HOST=127.0.0.1", "PORT=0", "DATABASE_URL=" + url, "TOKEN_SECRET=" + strings.Repeat("b", 32),
		"LOG_DIR=" + dir + "/logs", "UPLOADS_DIR=" + dir + "/uploads",
	}, func(string) ([]byte, error) { return nil, os.ErrNotExist })
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(t.Context(), cfg, app.Options{Version: "bench", Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	base = "http://" + a.Addr()
	body := `{"email":"` + uuid.NewString() + `@example.com","password":"correct horse","name":"Bench"}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/api/auth/register", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var session struct {
		Token string
		User  struct{ ID uuid.UUID }
	}
	if err := json.NewDecoder(resp.Body).Decode(&session); err != nil || session.Token == "" {
		t.Fatalf("register: %d %v", resp.StatusCode, err)
	}
	return base, session.Token, session.User.ID
}
