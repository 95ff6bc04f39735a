package instances_test

import (
	"fmt"
	"testing"

	"speedybites/internal/load"
	"speedybites/internal/monitoring/proctest"
	"speedybites/internal/pgtest"
)

// TestRollingRestart restarts one instance after the other, twice, under 200 requests a second. Nobody notices.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	prepare(t, server.URL())
	members := [2]*member{newMember(t, server.URL()), newMember(t, server.URL())}
	b := proctest.StartBalancer(t, [2]string{members[0].addr, members[1].addr})
	const rate, rounds = 200, 2
	ledger := underLoad(t, b.API, rate, func(l *load.Ledger) {
		for range rounds {
			for _, m := range members {
				before := len(l.Entries())
				m.restart(t)
				b.WaitFor(t, "ready", 2)
				m.untilServed(t, rate/2)
				if got := len(l.Entries()) - before; got < rate {
					t.Errorf("%d requests were made during a restart: it was not under load", got)
				}
			}
		}
	})
	settle(t, server, ledger)
	noFailures(t, ledger.Entries())
}

// untilServed waits until the instance has answered n requests since it started.
func (m *member) untilServed(t *testing.T, n int) {
	t.Helper()
	m.Until(t, func() error {
		if got := m.served(t); got < n {
			return fmt.Errorf("%s has answered %d requests, want %d", m.base, got, n)
		}
		return nil
	})
}
