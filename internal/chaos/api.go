package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
)

// client is for looking at the instances, apart from the load's.
var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: 5 * time.Second}}

// get makes a request within a limit.
func get(ctx context.Context, url string, limit time.Duration) (code int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	return do(req)
}

func do(req *http.Request) (code int, body string, err error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), errors.Join(err, resp.Body.Close())
}

// post makes what a path makes, and reads the answer into v.
func post(ctx context.Context, url, token string, body map[string]any, v any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	code, answer, err := do(req)
	if err == nil && code != http.StatusCreated {
		err = fmt.Errorf("POST %s: %d %s", url, code, answer)
	}
	if err != nil {
		return err
	}
	return json.NewDecoder(strings.NewReader(answer)).Decode(v)
}

// menu is what there is to order, and for whom.
type menu struct {
	token            string // the customer's
	restaurant, item uuid.UUID
}

// makeMenu makes, through the API, a customer, a restaurant and something to order.
func makeMenu(ctx context.Context, base string) (m menu, err error) {
	register := func(role string) (string, error) {
		var session struct{ Token string }
		err := post(ctx, base+"/api/auth/register", "", map[string]any{
			"email": uuid.NewString() + "@example.com", "password": "correct horse", "name": role, "role": role,
		}, &session)
		return session.Token, err
	}
	owner, err := register("owner")
	if err != nil {
		return m, err
	}
	if m.token, err = register("customer"); err != nil {
		return m, err
	}
	var made struct{ ID uuid.UUID }
	err = post(ctx, base+"/api/restaurants", owner, map[string]any{
		"name": "The Steady Pan", "cuisine": "Everything", "address": "1 Chaos Street",
	}, &made)
	if err != nil {
		return m, err
	}
	m.restaurant = made.ID
	err = post(ctx, base+"/api/restaurants/"+made.ID.String()+"/menu", owner, map[string]any{
		"name": "Unbreakable egg", "priceCents": 350,
	}, &made)
	m.item = made.ID
	return m, err
}
