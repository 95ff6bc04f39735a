package chaos

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/localpg"
)

// pair is a primary with a synchronous standby: COMMIT is answered when the standby has it, so that a failover loses
// nothing.
type pair struct {
	dir string

	mu      sync.Mutex
	servers [2]*localpg.Server
	primary int
	made    int // standbys so far, each in a directory of its own
}

// names are the standbys' names, and those of their replication slots.
var names = [2]string{"a", "b"}

// maxConnections is little more than the instances take, so that using them all up is quick: each has a pool of 20 with
// the primary, one of 20 with the replica that may just have become the primary, and a few for watching.
const maxConnections = "100"

func startPair(ctx context.Context, dir string) (*pair, error) {
	p := &pair{dir: dir}
	var err error
	p.servers[0], err = localpg.Start(ctx, localpg.Config{
		Dir: filepath.Join(dir, "postgres"), Ephemeral: true, StandbyName: names[0], Settings: map[string]string{
			"max_connections": maxConnections,
			// A standby that has lost its primary asks this often whether it is back. Meanwhile every COMMIT waits.
			"wal_retrieve_retry_interval": "100ms",
		},
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// roles returns the primary and the standby.
func (p *pair) roles() (primary, standby *localpg.Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.servers[p.primary], p.servers[1-p.primary]
}

// addStandby makes a standby, in place of the server that the primary has left behind if there is one, on its port, and
// has COMMIT wait for it.
func (p *pair) addStandby(ctx context.Context) error {
	p.mu.Lock()
	index, primary, former := 1-p.primary, p.servers[p.primary], p.servers[1-p.primary]
	p.made++
	cfg := localpg.Config{Dir: filepath.Join(p.dir, fmt.Sprint("postgres-", p.made)), StandbyName: names[index]}
	p.mu.Unlock()
	if former != nil {
		cfg.Port = former.Port()
		if err := former.Remove(ctx); err != nil {
			return err
		}
	}
	standby, err := primary.Standby(ctx, cfg)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.servers[index] = standby
	p.mu.Unlock()
	if err := p.streaming(ctx); err != nil {
		return err
	}
	if err := primary.SetSettings(ctx, map[string]string{syncNames: names[index]}); err != nil {
		return err
	}
	return p.synchronous(ctx)
}

const syncNames = "synchronous_standby_names"

// standbyName is what synchronous_standby_names calls the standby.
func (p *pair) standbyName() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return names[1-p.primary]
}

// promote makes the standby the primary.
func (p *pair) promote(ctx context.Context) error {
	_, standby := p.roles()
	if err := standby.Promote(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.primary = 1 - p.primary
	return nil
}

// streaming waits until the standby receives what the primary writes.
func (p *pair) streaming(ctx context.Context) error {
	return p.replicates(ctx, "state = 'streaming'")
}

// synchronous waits until COMMIT on the primary waits for the standby.
func (p *pair) synchronous(ctx context.Context) error {
	return p.replicates(ctx, "state = 'streaming' AND sync_state = 'sync'")
}

func (p *pair) replicates(ctx context.Context, how string) error {
	primary, _ := p.roles()
	var found bool
	err := until(ctx, 20*time.Millisecond, func() bool {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		err := query(ctx, primary.AdminURL(""), func(conn *pgx.Conn) error {
			return conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE "+how+")").Scan(&found)
		})
		return err == nil && found
	})
	if err != nil {
		return fmt.Errorf("wait for the standby (%s): %w", how, err)
	}
	return nil
}

// caughtUp waits until the standby has replayed all that the primary has written so far.
func (p *pair) caughtUp(ctx context.Context) error {
	primary, standby := p.roles()
	var lsn string
	err := query(ctx, primary.AdminURL(""), func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&lsn)
	})
	if err != nil {
		return err
	}
	var there bool
	return until(ctx, 10*time.Millisecond, func() bool {
		err := query(ctx, standby.AdminURL(""), func(conn *pgx.Conn) error {
			return conn.QueryRow(ctx, "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", lsn).Scan(&there)
		})
		return err == nil && there
	})
}

// end ends both servers, in whatever state they are, and deletes their data unless it is to be kept.
func (p *pair) end(ctx context.Context, keep bool) (errs []error) {
	for _, s := range p.servers {
		switch {
		case s == nil:
		case !keep:
			errs = append(errs, s.Remove(ctx))
		default:
			if err := s.StopImmediate(ctx); !errors.Is(err, localpg.ErrNotRunning) {
				errs = append(errs, err)
			}
		}
	}
	return errs
}

// query connects, and closes the connection afterwards.
func query(ctx context.Context, url string, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // What f found is what counts.
	return f(conn)
}

// until asks again and again until the answer is yes, or the context ends.
func until(ctx context.Context, every time.Duration, done func() bool) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// pause waits for d, or returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
