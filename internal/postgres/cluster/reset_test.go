package cluster_test

import (
	"testing"
	"testing/synctest"
	"time"

	"speedybites/internal/postgres/cluster"
)

// TestResetDuringLogins: all sessions are reset while queries were logging in. The check that follows is a login, which
// works; the sessions are gone all the same, so that queries must run again.
func TestResetDuringLogins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, b := setup(t)
		before := m.View().Epoch
		b.server.set(func(s *server) { s.killed = s.session }) // the prober's own, too
		n := m.Suspect(time.Now(), true)
		until(t, m, time.Second, func(v *cluster.View) bool { return v.Check >= n })
		if got := m.View().Epoch; got == before {
			t.Errorf("epoch %d before and after all sessions were lost: a query that failed will not run again", got)
		}
	})
}
