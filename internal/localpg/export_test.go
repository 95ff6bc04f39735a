package localpg

// SeesEveryProcess is true where the system ties a server's life to that of its parent.
const SeesEveryProcess = seesEveryProcess

// Unlock gives the directory up while the server runs on, as when its parent was killed on a system that lets it.
func (s *Server) Unlock() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.lock.Close()
	s.lock = nil
}

// ProcessesOn returns the processes that work on the data of a server.
func ProcessesOn(s *Server) ([]int, error) { return processesOn(s.home.data()) }
