package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"speedybites/internal/httpapi"
)

// TestHealth has one row for each situation that the service can be in.
func TestHealth(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("elsewhere", 3600))
	rows := []struct {
		name   string
		health httpapi.Health
		code   int
	}{
		{"connected", httpapi.Health{
			Connected: true, TotalConnections: 5, IdleConnections: 4, ActiveConnections: 1,
			DatabaseStatus: "Connected", BreakerState: "CLOSED", Threshold: 5, Available: true, Ready: true,
		}, 200},
		{"lost, inside the grace", httpapi.Health{
			WaitingQueue: 7, DatabaseStatus: "Reconnecting", BreakerState: "CLOSED", Threshold: 5,
			Available: true, Degraded: true, Ready: true,
		}, 200},
		{"open", httpapi.Health{
			DatabaseStatus: "Disconnected", BreakerState: "OPEN", FailureCount: 5, Threshold: 5,
			Transitions: []httpapi.Transition{{From: "CLOSED", To: "OPEN", At: at, Reason: "5 failures in a row"}},
		}, 503},
		{"half open", httpapi.Health{
			DatabaseStatus: "Recovering", BreakerState: "HALF_OPEN", FailureCount: 5, Threshold: 5, Ready: true,
		}, 503},
		{"lost for longer than the grace", httpapi.Health{
			DatabaseStatus: "Disconnected", BreakerState: "CLOSED", Threshold: 5, Degraded: true,
		}, 503},
		{"open while connected", httpapi.Health{
			Connected: true, DatabaseStatus: "Connected", BreakerState: "OPEN", FailureCount: 5, Threshold: 5,
		}, 503},
		{"bad credentials", httpapi.Health{
			DatabaseStatus: "Authentication failed", BreakerState: "CLOSED", Threshold: 5,
		}, 503},
		{"missing database", httpapi.Health{
			DatabaseStatus: "Database missing", BreakerState: "CLOSED", Threshold: 5,
		}, 503},
	}
	var got strings.Builder
	for _, row := range rows {
		s, b := setup(t, httpapi.Config{Version: "1.2.3", Started: time.Now().Add(-time.Hour)})
		b.health = row.health
		w := do(s, http.MethodGet, "/api/health", "")
		if w.Code != row.code {
			t.Errorf("%s: got status %d, want %d", row.name, w.Code, row.code)
		}
		if cache := w.Header().Get("Cache-Control"); cache != "no-store" {
			t.Errorf("%s: got Cache-Control %q, want no-store", row.name, cache)
		}
		var body struct{ Uptime float64 }
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if body.Uptime < 3600 || body.Uptime > 3600+patience.Seconds() {
			t.Errorf("%s: got uptime %v, want 3600 and a little", row.name, body.Uptime)
		}
		number, err := json.Marshal(body.Uptime)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(w.Body.String(), string(number), "UPTIME", 1)
		fmt.Fprintf(&got, "%s\n%d\n%s\n", row.name, w.Code, text)
	}
	golden(t, "health.txt", got.String())
}

func TestProbes(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name          string
		ready, drain  bool
		livez, readyz int
	}{
		{"Ready", true, false, 200, 200},
		{"NotReady", false, false, 200, 503},
		{"Draining", true, true, 200, 503},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s, b := setup(t, httpapi.Config{})
			b.health = httpapi.Health{Ready: row.ready}
			if row.drain {
				s.Drain()
			}
			for path, want := range map[string]int{"/livez": row.livez, "/readyz": row.readyz} {
				w := do(s, http.MethodGet, path, "")
				if w.Code != want {
					t.Errorf("%s: got status %d, want %d", path, w.Code, want)
				}
				if got := w.Header().Get("Cache-Control"); got != "no-store" {
					t.Errorf("%s: got Cache-Control %q, want no-store", path, got)
				}
				if want == http.StatusServiceUnavailable {
					wantError(t, w, want)
				}
				if head := do(s, http.MethodHead, path, ""); head.Code != want {
					t.Errorf("HEAD %s: got status %d, want %d", path, head.Code, want)
				}
			}
		})
	}
}
