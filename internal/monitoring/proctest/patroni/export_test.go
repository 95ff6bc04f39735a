package patroni

import "testing"

// StartAlone starts a cluster of one member, all of it in one directory, which it returns when the member is the leader.
func StartAlone(tb testing.TB) (dir string) {
	tb.Helper()
	programs, err := findPrograms()
	if err != nil {
		tb.Fatal(err)
	}
	dir = programs.dir(tb)
	m := newMember(tb, programs, "db-1", startEtcd(tb, programs, dir), dir)
	m.Start()
	c := &Cluster{Members: [2]*Member{m, m}, tb: tb}
	c.Until(c.HasLeader)
	return dir
}
