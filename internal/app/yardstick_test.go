package app_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/localpg"
)

// yardstick measures again and again what something takes on this machine at this moment, so that a bound on the service
// need not be one on its neighbours.
type yardstick struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	readings []reading
}

type reading struct{ begin, end time.Time }

// measure starts a yardstick, which ends with the test at the latest. The first one begins now.
func measure(tb testing.TB, pause time.Duration, do func(context.Context) error) *yardstick {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	y := &yardstick{cancel: cancel}
	y.done.Go(func() {
		for ctx.Err() == nil {
			begin := time.Now()
			if err := do(ctx); err == nil || ctx.Err() != nil {
				y.mu.Lock()
				y.readings = append(y.readings, reading{begin, time.Now()})
				y.mu.Unlock()
			}
			time.Sleep(pause)
		}
	})
	tb.Cleanup(y.stop)
	return y
}

func (y *yardstick) stop() {
	y.cancel()
	y.done.Wait()
}

// longest ends the measuring and returns the longest that began before a moment.
func (y *yardstick) longest(before time.Time) (longest time.Duration) {
	y.stop()
	for _, s := range y.readings {
		if s.begin.Before(before) {
			longest = max(longest, s.end.Sub(s.begin))
		}
	}
	return longest
}

// byHand measures what the service has to do on a new primary at least: the prober's login with its questions, the
// pool's login, and the statements of an order.
func byHand(tb testing.TB, server *localpg.Server) *yardstick {
	tb.Helper()
	return measure(tb, 50*time.Millisecond, func(ctx context.Context) error {
		for range 2 {
			conn, err := pgx.Connect(ctx, server.AdminURL(""))
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
			for range 4 {
				// Drawing its number makes it a transaction that COMMIT has to write.
				if _, err := conn.Exec(ctx, "select pg_current_xact_id()"); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// pulse measures requests to the service that need no database.
func (s *service) pulse() *yardstick {
	s.t.Helper()
	return measure(s.t, 50*time.Millisecond, func(ctx context.Context) error {
		_, err := call(ctx, http.MethodGet, s.base+"/livez", nil)
		return err
	})
}

// said returns what the service logged between two moments, for the message of a failure.
func (s *service) said(from, to time.Time) string {
	var b strings.Builder
	for line := range strings.Lines(s.log(s.t, "app.log")) {
		var entry struct{ Time time.Time }
		if json.Unmarshal([]byte(line), &entry) == nil && !entry.Time.Before(from) && !entry.Time.After(to) {
			b.WriteString(line)
		}
	}
	return b.String()
}
