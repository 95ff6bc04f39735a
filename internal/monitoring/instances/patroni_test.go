package instances_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/load"
	"speedybites/internal/monitoring/proctest/patroni"
	"speedybites/internal/pgtest"
)

// TestPatroni changes the leader of a cluster that Patroni runs, under load: when it is asked to, because the leader is
// gone, and because its Patroni alone is gone.
func TestPatroni(t *testing.T) { //nolint:tparallel // One failover after the other.
	pgtest.Slow(t)
	t.Parallel()
	c := patroni.Start(t)
	prepare(t, c.Leader().URL())
	// Patroni may take longer than the usual grace to find out that a leader is gone, and to promote.
	const grace = "DB_OUTAGE_GRACE_MS=30000"
	t.Run("Switchover", func(t *testing.T) {
		l := changeLeader(t, c, func(*patroni.Member) { c.Switchover() }, func(*patroni.Member) { c.Until(c.HasStandby) })
		l.wrote(t, time.Second)
		l.spared(t, l.open)
	})
	t.Run("Failover", func(t *testing.T) {
		l := changeLeader(t, c, (*patroni.Member).Kill, func(former *patroni.Member) {
			former.Start()
			c.Until(c.HasStandby)
		}, grace)
		l.wrote(t, time.Second)
		l.spared(t, l.open)
	})
	// The server of a leader goes on taking writes when its Patroni is gone: there are two.
	t.Run("PatroniGone", func(t *testing.T) {
		l := changeLeader(t, c, (*patroni.Member).KillPatroni, func(*patroni.Member) {}, grace)
		l.spared(t, l.wrote(t, 2*time.Second))
	})
}

// change is a change of leaders that has been made.
type change struct {
	former *patroni.Member
	ledger *load.Ledger
	// began is when it began, and open when the new leader accepted writes.
	began, open time.Time
	hand        *pgtest.Yardstick
}

// changeLeader has do end the time of a leader, and afterwards what is to be done once there is another one. Nobody who
// makes requests meanwhile notices.
func changeLeader(t *testing.T, c *patroni.Cluster, do, afterwards func(former *patroni.Member), env ...string) change {
	t.Helper()
	l := change{former: c.Leader()}
	next := c.Other(l.former)
	m := newMember(t, c.URL(), env...)
	opened := opening(t, next)
	l.ledger = underLoad(t, m.base, 30, func(*load.Ledger) {
		m.untilServed(t, 30)
		l.began = time.Now()
		do(l.former)
		if l.open = <-opened; l.open.IsZero() {
			t.FailNow() // why, is told already
		}
		l.hand = pgtest.ByHand(t, next.AdminURL(""))
		m.untilServed(t, m.served(t)+30)
		afterwards(l.former)
		m.untilServed(t, m.served(t)+60)
	})
	if c.Leader() != next {
		t.Error("the leader has changed again")
	}
	settle(t, next, l.ledger)
	noFailures(t, l.ledger.Entries())
	if h, err := m.health(); err != nil || len(h.CircuitBreaker.Transitions) > 0 {
		t.Errorf("the breaker did not stay closed: %+v (%v)", h, err)
	}
	return l
}

// wrote demands that the first order on the new leader came in time, and returns the end of that time.
func (l change) wrote(t *testing.T, limit time.Duration) time.Time {
	t.Helper()
	var first time.Time
	for _, e := range l.ledger.Entries() {
		if e.Order && !e.Failed() && e.End.After(l.open) && (first.IsZero() || e.End.Before(first)) {
			first = e.End
		}
	}
	if first.IsZero() {
		t.Fatal("no order was acknowledged by the new leader")
	}
	took, byHand := first.Sub(l.open), l.hand.Longest(first)
	t.Logf("a new leader after %v, the first order %v later; by hand it takes up to %v", l.open.Sub(l.began), took, byHand)
	if limit += 2 * byHand; took >= limit {
		t.Errorf("the first order came %v after the new leader accepted writes, want under %v", took, limit)
	}
	return l.open.Add(limit)
}

// spared demands that the service has asked the former leader for nothing since.
func (l change) spared(t *testing.T, since time.Time) {
	t.Helper()
	statements, err := l.former.Statements(since)
	if err != nil || len(statements) > 0 {
		t.Errorf("%d statements on the former leader since %v (%v): %q", len(statements), since, err, statements)
	}
}

// opening tells the last moment at which a standby was known not to accept writes.
func opening(t *testing.T, m *patroni.Member) <-chan time.Time {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), m.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	opened := make(chan time.Time, 1)
	go func() {
		defer close(opened)
		begin := time.Now()
		for last := begin; last.Sub(begin) < time.Minute; time.Sleep(5 * time.Millisecond) {
			asked := time.Now()
			var standby bool
			if err := conn.QueryRow(t.Context(), "SELECT pg_is_in_recovery()").Scan(&standby); err != nil {
				t.Errorf("ask the standby: %v", err)
				return
			}
			if !standby {
				opened <- last
				return
			}
			last = asked
		}
		t.Error("nobody is promoted within a minute")
	}()
	return opened
}
