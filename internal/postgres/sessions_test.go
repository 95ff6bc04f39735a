package postgres

import "testing"

// TestSessionsOfOneServer: a dial that was under way while the server changed comes too late.
func TestSessionsOfOneServer(t *testing.T) {
	t.Parallel()
	var all sessions
	with := func(server string) *session { return &session{connector: &connector{server: server, sessions: &all}} }
	if !all.add(with("a")) {
		t.Error("before any server is known, a session was refused")
	}
	all.only("b")
	if all.add(with("a")) {
		t.Error("a session with the former server was taken")
	}
	if !all.add(with("b")) || len(all.set) != 2 {
		t.Errorf("a session with the new server was refused; there are %d", len(all.set))
	}
}
