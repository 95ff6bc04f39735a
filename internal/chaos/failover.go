package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/localpg"
)

// The faults after which the other server is the primary. A new standby then takes the place of the former primary, with
// a fresh copy of the data.

// failover loses the primary for good and promotes the standby. A new standby takes the place of the old primary.
func failover(ctx context.Context, w *world, h *happening) error {
	primary, _ := w.pair.roles()
	if err := errors.Join(primary.Kill(ctx), pause(ctx, h.For), w.pair.promote(ctx)); err != nil {
		return err
	}
	h.heal(time.Now())
	return w.pair.addStandby(ctx)
}

// failoverWithReturn is a failover after which the old primary comes back as it was, and would take writes.
func failoverWithReturn(ctx context.Context, w *world, h *happening) error {
	former, _ := w.pair.roles()
	if err := errors.Join(former.Kill(ctx), pause(ctx, h.For), w.pair.promote(ctx)); err != nil {
		return err
	}
	h.heal(time.Now())
	returned := time.Now()
	err := errors.Join(former.SetSettings(ctx, map[string]string{syncNames: ""}), former.StartAgain(ctx), pause(ctx, linger))
	if err != nil {
		return err
	}
	return errors.Join(w.noOrdersSince(ctx, former, returned), w.pair.addStandby(ctx))
}

// linger is how long a former primary stays.
const linger = 2 * time.Second

// failoverFromFrozen promotes the standby of a primary that hangs, which wakes up then, with its sessions.
func failoverFromFrozen(ctx context.Context, w *world, h *happening) error {
	former, _ := w.pair.roles()
	if err := errors.Join(former.Pause(ctx), pause(ctx, h.For), w.pair.promote(ctx)); err != nil {
		return err
	}
	// That the old one hangs may take that long to be noticed.
	h.heal(later(time.Now(), h.begin.Add(hung)))
	err := errors.Join(pause(ctx, time.Until(h.healed.Add(recovery))), former.Resume())
	if err != nil {
		return err
	}
	woken := time.Now()
	err = errors.Join(pause(ctx, linger), former.SetSettings(ctx, map[string]string{syncNames: ""}))
	return errors.Join(err, w.noOrdersSince(ctx, former, woken), w.pair.addStandby(ctx))
}

// switchover ends the primary as it should be, so that the standby has everything, and promotes the standby.
func switchover(ctx context.Context, w *world, h *happening) error {
	primary, _ := w.pair.roles()
	if err := errors.Join(primary.Stop(ctx), w.pair.promote(ctx)); err != nil {
		return err
	}
	h.heal(time.Now())
	return w.pair.addStandby(ctx)
}

// demotion makes the primary read-only with its sessions alive, and promotes the standby.
func demotion(ctx context.Context, w *world, h *happening) error {
	former, _ := w.pair.roles()
	err := former.SetSettings(ctx, map[string]string{"default_transaction_read_only": "on"})
	if err := errors.Join(err, pause(ctx, h.For), w.pair.caughtUp(ctx), w.pair.promote(ctx)); err != nil {
		return err
	}
	promoted := time.Now()
	h.heal(promoted)
	err = errors.Join(pause(ctx, linger), former.SetSettings(ctx, map[string]string{syncNames: ""}))
	return errors.Join(err, w.noOrdersSince(ctx, former, promoted), w.pair.addStandby(ctx))
}

// noOrdersSince reports orders that were placed on a former primary.
func (w *world) noOrdersSince(ctx context.Context, former *localpg.Server, since time.Time) error {
	var n int
	err := query(ctx, former.AdminURL(""), func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT count(*) FROM orders WHERE created_at >= $1", since).Scan(&n)
	})
	if err == nil && n > 0 {
		w.report(fmt.Sprintf("%d orders were written to a former primary", n), nil)
	}
	return err
}
