package pgtest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Yardstick measures again and again what something takes on this machine at this moment, so that a test's bound on the
// service need not be one on its neighbours.
type Yardstick struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	readings []reading
}

type reading struct{ begin, end time.Time }

// yardPause is the time between measurements, which are not to be a load themselves.
const yardPause = 50 * time.Millisecond

// Measure starts a yardstick, which ends with the test at the latest. The first measurement begins now. Those that fail
// do not count.
func Measure(tb testing.TB, do func(context.Context) error) *Yardstick {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	y := &Yardstick{cancel: cancel}
	y.done.Go(func() {
		for pause := time.NewTimer(0); ; {
			select {
			case <-pause.C:
			case <-ctx.Done():
				return
			}
			begin := time.Now()
			if err := do(ctx); err == nil || ctx.Err() != nil { // one that was ended has taken so long at least
				y.mu.Lock()
				y.readings = append(y.readings, reading{begin, time.Now()})
				y.mu.Unlock()
			}
			pause.Reset(yardPause)
		}
	})
	tb.Cleanup(y.stop)
	return y
}

func (y *Yardstick) stop() {
	y.cancel()
	y.done.Wait()
}

// Longest ends the measuring, and returns the longest time taken by those measurements that began before a moment.
func (y *Yardstick) Longest(before time.Time) (longest time.Duration) {
	y.stop()
	for _, r := range y.readings {
		if r.begin.Before(before) {
			longest = max(longest, r.end.Sub(r.begin))
		}
	}
	return longest
}

// ByHand measures what the service has to do on a new primary at least, by the URL of a user who may write: the prober's
// login with its questions, the pool's login, and the statements of an order.
func ByHand(tb testing.TB, url string) *Yardstick {
	tb.Helper()
	return Measure(tb, func(ctx context.Context) error {
		for range 2 {
			conn, err := pgx.Connect(ctx, url)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
			for range 4 {
				// Drawing its number makes it a transaction that COMMIT has to write.
				if _, err := conn.Exec(ctx, "SELECT pg_current_xact_id()"); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
