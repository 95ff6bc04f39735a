// Package live_test lets the real programs run the shipped configuration through a real outage.
package live_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/alertmanager/template"

	"speedybites/internal/demo"
	"speedybites/internal/load"
	"speedybites/internal/monitoring/localstack"
	"speedybites/internal/pgtest"
	"speedybites/observability/stack/receiver"
)

// start runs a stack for this test alone.
func start(t *testing.T, cfg localstack.Config) *localstack.Stack {
	t.Helper()
	cfg.Dir, cfg.Ephemeral, cfg.Demo = pgtest.Dir(t), true, true
	s, err := localstack.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Err(); err != nil {
			t.Error(err)
		}
		if err := s.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return s
}

// putUnderLoad has every instance asked rate times a second until the test ends, every fifth time for an order.
func putUnderLoad(t *testing.T, s *localstack.Stack, rate int) {
	t.Helper()
	stop := make(chan struct{})
	done := make(chan struct{}, len(s.URLs().API))
	token := customer(t, s.URLs().API[0])
	for _, api := range s.URLs().API {
		g := load.New(load.Config{
			BaseURL: api, Token: token, Rate: rate, RestaurantID: demo.RestaurantID(), MenuItemID: demo.MenuItemID(),
		})
		go func() {
			g.Run(context.WithoutCancel(t.Context()), stop)
			done <- struct{}{}
		}()
	}
	t.Cleanup(func() {
		close(stop)
		for range s.URLs().API {
			<-done
		}
	})
}

// customer registers one and returns the token.
func customer(t *testing.T, api string) string {
	t.Helper()
	body := fmt.Appendf(nil, `{"email":"%s@example.com","password":"correct horse","name":"Load"}`, uuid.NewString())
	var session struct{ Token string }
	fetch(t, http.MethodPost, api+"/api/auth/register", body, &session)
	return session.Token
}

// fetch makes a request and decodes the answer, whatever its status.
func fetch(t *testing.T, method, url string, body []byte, answer any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		t.Fatalf("%s: %d: %v", url, resp.StatusCode, err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !condition(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", limit, what)
		}
	}
}

// breaker returns the state of an instance's breaker, and since when.
func breaker(t *testing.T, api string) (state string, since time.Time) {
	t.Helper()
	var h struct {
		CircuitBreaker struct {
			State       string
			Transitions []struct{ At time.Time }
		}
	}
	fetch(t, http.MethodGet, api+"/api/health", nil, &h)
	if n := len(h.CircuitBreaker.Transitions); n > 0 {
		since = h.CircuitBreaker.Transitions[n-1].At
	}
	return h.CircuitBreaker.State, since
}

// told returns the notifications to people, oldest first.
func told(s *localstack.Stack) []receiver.Notification {
	list := slices.DeleteFunc(s.Notifications(), func(n receiver.Notification) bool { return n.Channel == "watchdog" })
	slices.Reverse(list)
	return list
}

// readable renders a notification as PagerDuty, Slack and e-mail show it.
func readable(t *testing.T, n receiver.Notification) string {
	t.Helper()
	root, err := localstack.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	templates, err := template.FromGlobs([]string{filepath.Join(root, "alerts", "templates", "*.tmpl")})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(n.Message)
	if err != nil {
		t.Fatal(err)
	}
	var data template.Data
	if err := json.Unmarshal(text, &data); err != nil {
		t.Fatal(err)
	}
	out, err := templates.ExecuteTextString(`{{ template "speedybites.subject" . }}`+"\n\n"+`{{ template "speedybites.text" . }}`, &data)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
