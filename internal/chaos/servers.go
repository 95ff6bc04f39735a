package chaos

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"speedybites/internal/localpg"
)

// The faults of the servers. Each returns when it is over; what it tells the happening is when the database was there
// again, where that is earlier.

func killPrimary(ctx context.Context, w *world, h *happening) error {
	primary, _ := w.pair.roles()
	if err := primary.Kill(ctx); err != nil {
		return err
	}
	return errors.Join(pause(ctx, h.For), primary.StartAgain(ctx))
}

func stopPrimary(ctx context.Context, w *world, h *happening) error {
	primary, _ := w.pair.roles()
	if err := primary.StopImmediate(ctx); err != nil {
		return err
	}
	return errors.Join(pause(ctx, h.For), primary.StartAgain(ctx))
}

func restartPrimary(ctx context.Context, w *world, _ *happening) error {
	primary, _ := w.pair.roles()
	return primary.Restart(ctx)
}

func freezePrimary(ctx context.Context, w *world, h *happening) error {
	primary, _ := w.pair.roles()
	return freeze(ctx, primary, h.For)
}

// freezeStandby keeps every COMMIT waiting.
func freezeStandby(ctx context.Context, w *world, h *happening) error {
	_, standby := w.pair.roles()
	return freeze(ctx, standby, h.For)
}

func freeze(ctx context.Context, s *localpg.Server, d time.Duration) error {
	if err := s.Pause(ctx); err != nil {
		return err
	}
	return errors.Join(pause(ctx, d), s.Resume())
}

// killStandby keeps every COMMIT waiting, and has the standby begin again where it was.
func killStandby(ctx context.Context, w *world, h *happening) error {
	_, standby := w.pair.roles()
	if err := standby.Kill(ctx); err != nil {
		return err
	}
	return errors.Join(pause(ctx, h.For), standby.StartAgain(ctx))
}

// crashBackend kills one of the service's sessions on the server, as the system does where memory runs out. The server
// then ends all others and recovers.
func crashBackend(ctx context.Context, w *world, _ *happening) error {
	primary, _ := w.pair.roles()
	var pid int
	err := query(ctx, primary.AdminURL(""), func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT pid FROM pg_stat_activity WHERE application_name = 'speedy-bites' LIMIT 1").Scan(&pid)
	})
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	return errors.Join(pause(ctx, second/10), primary.WaitReady(ctx))
}

func terminateSessions(ctx context.Context, w *world, h *happening) error {
	primary, _ := w.pair.roles()
	return repeatedly(ctx, h.For, func() error {
		_, err := primary.TerminateBackends(ctx)
		return err
	})
}

// repeatedly does something once, and again and again for as long as a fault lasts.
func repeatedly(ctx context.Context, d time.Duration, f func() error) error {
	const every = 200 * time.Millisecond
	for end := time.Now().Add(d); ; {
		if err := f(); err != nil {
			return err
		}
		if time.Now().Add(every).After(end) {
			return nil
		}
		if err := pause(ctx, every); err != nil {
			return err
		}
	}
}

// cutCommits lets COMMITs become durable without an answer, and cuts their connections then: every order under way is in
// the database, and its instance has to find out.
func cutCommits(ctx context.Context, w *world, h *happening) error {
	return w.holdingCommits(ctx, h.For, func() error {
		for _, p := range w.paths.of(both) {
			p.Cut()
		}
		return nil
	})
}

// killCommitting kills an instance whose COMMITs are durable and not answered. Its clients ask the other one, while the
// first one's transactions still hold their keys.
func killCommitting(ctx context.Context, w *world, h *happening) error {
	s := w.services[h.Instance]
	end := w.allowed.open(gone, h.Instance, time.Now())
	err := w.holdingCommits(ctx, h.For, func() error { s.kill(); return pause(ctx, second/2) })
	err = errors.Join(err, w.start(ctx, s))
	end(time.Now())
	return err
}

// holdingCommits does something while COMMITs wait for a standby that there is not.
func (w *world) holdingCommits(ctx context.Context, before time.Duration, do func() error) error {
	primary, _ := w.pair.roles()
	if err := primary.SetSettings(ctx, map[string]string{syncNames: "nobody"}); err != nil {
		return err
	}
	err := errors.Join(pause(ctx, before), do())
	return errors.Join(err, primary.SetSettings(ctx, map[string]string{syncNames: w.pair.standbyName()}))
}

// exhaustConnections takes all connections that the server gives to the service's user, but for those that the service
// has.
func exhaustConnections(ctx context.Context, w *world, h *happening) error {
	var all hoard
	defer all.release(ctx)
	primary, _ := w.pair.roles()
	return errors.Join(all.take(ctx, primary), pause(ctx, h.For))
}

// exhaustAndTerminate takes those of the service, too.
func exhaustAndTerminate(ctx context.Context, w *world, h *happening) error {
	var all hoard
	defer all.release(ctx)
	primary, _ := w.pair.roles()
	if err := all.take(ctx, primary); err != nil {
		return err
	}
	err := query(ctx, primary.AdminURL(""), func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE starts_with(application_name, 'speedy-bites')")
		return err
	})
	for end := time.Now().Add(h.For); err == nil && time.Now().Before(end); {
		err = errors.Join(all.take(ctx, primary), pause(ctx, 10*time.Millisecond))
	}
	return err
}

// hoard is a number of connections that nobody else gets.
type hoard struct{ conns []*pgconn.PgConn }

// take takes all there are.
func (all *hoard) take(ctx context.Context, from *localpg.Server) error {
	const tooMany = "53300"
	for {
		conn, err := pgconn.Connect(ctx, from.URL())
		if refused, ok := errors.AsType[*pgconn.PgError](err); ok && refused.Code == tooMany {
			return nil
		}
		if err != nil {
			return err
		}
		all.conns = append(all.conns, conn)
	}
}

func (all *hoard) release(ctx context.Context) {
	for _, conn := range all.conns {
		_ = conn.Close(context.WithoutCancel(ctx)) // It may have been ended with the others.
	}
}

func lockedTables() []string {
	return []string{"orders", "menu_items", "restaurants", "idempotency_keys", "audit_log"}
}

// lockTable keeps everybody from a table.
func lockTable(ctx context.Context, w *world, h *happening) error {
	primary, _ := w.pair.roles()
	table := h.variant(lockedTables())
	return query(ctx, primary.AdminURL(""), func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "BEGIN; LOCK TABLE "+table+" IN ACCESS EXCLUSIVE MODE")
		if err := errors.Join(err, pause(ctx, h.For)); err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "ROLLBACK")
		if conn.IsClosed() {
			return nil // Another fault has ended it: so much for the lock.
		}
		return err
	})
}
