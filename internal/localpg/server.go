// Package localpg runs private PostgreSQL servers on the loopback interface: for the first run of the program, for
// tests, and for drills. The servers are real ones, and so are the faults they can be put through: [Server.Kill],
// [Server.Pause], [Server.TerminateBackends], a promoted [Server.Standby].
//
// A server lives in one directory:
//
//	speedy-bites-postgres.json  the sign that the directory is ours; without it a directory is never touched
//	lock                        held by the process that runs the server (flock), gone with it
//	password                    of both roles, readable by its owner only
//	postgresql.conf             written at every start: data/postgresql.conf plus the settings of [Config]
//	postgres.log                what the server says
//	data/                       PostgreSQL's own; renamed into place when initdb has finished
//
// PostgreSQL refuses to run as root. For root it runs as the user postgres (or nobody), or, where that user cannot
// reach the directory, as root in a user namespace that shows it another user id.
//
// A server ends with the process that started it, also when that is killed (on Linux; elsewhere it goes on, and the
// next [Start] adopts it).
package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"
)

// ErrNotRunning means that the server was stopped, or has ended by itself.
var ErrNotRunning = errors.New("server is not running")

// Server is a private PostgreSQL. Its methods may be called concurrently; those that change its processes take turns.
type Server struct {
	cfg      Config
	home     home
	bin      Binaries
	account  account
	password string
	log      *slog.Logger
	port     int // fixed once Start has returned

	// turn is held by a method that changes the processes or the settings, for as long as that takes.
	turn sync.Mutex

	// mu guards what follows. It is never held while waiting for anything.
	mu     sync.Mutex
	proc   *process // nil when stopped
	lock   *os.File // nil when stopped
	paused bool
}

// Start starts the server of a directory, and makes it first if the directory is empty or missing. A server that is
// still running there is adopted, on the port it has. It returns when the server accepts logins; if ctx ends before
// that, the server is stopped.
//
// A directory that is not ours ([ErrForeign]), damaged ([ErrCorrupt]), in use by another process ([ErrInUse]), of
// another version ([ErrVersion]), or out of reach ([ErrAccount]) is left as it is.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	s, err := prepare(ctx, cfg, nil)
	if errors.Is(err, fs.ErrPermission) && !errors.Is(err, ErrAccount) {
		err = fmt.Errorf("%w: %w; start as the user who owns it, or choose another directory", ErrAccount, err)
	}
	if err != nil {
		return nil, fmt.Errorf("start postgresql in %s: %w", cfg.Dir, err)
	}
	return s, nil
}

// prepare does the work of Start and of Standby, which differ in where new data comes from: primary is nil for initdb.
func prepare(ctx context.Context, cfg Config, primary *Server) (_ *Server, err error) {
	cfg, err = cfg.complete()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, home: home(cfg.Dir), log: cfg.Logger}
	if err := s.home.claim(); err != nil {
		return nil, err
	}
	if s.lock, err = s.home.acquire(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	m, err := s.home.read()
	if err != nil {
		return nil, err
	}
	if s.bin, err = chooseBinaries(ctx, cfg, m.Major); err != nil {
		return nil, err
	}
	if s.account, err = chooseAccount(ctx, s.home, s.bin); err != nil {
		return nil, err
	}
	switch {
	case m.Major != 0:
	case primary != nil:
		err = s.copyFrom(ctx, primary)
	default:
		err = s.initdb(ctx)
	}
	if err != nil {
		return nil, err
	}
	if s.password, err = s.home.secret(); err != nil {
		return nil, err
	}
	if err := s.open(ctx, m.Port); err != nil {
		return nil, err
	}
	if err := errors.Join(s.ensureDatabase(ctx), s.home.write(marker{Major: s.bin.Major, Port: s.port})); err != nil {
		return nil, errors.Join(err, s.abandon(ctx))
	}
	s.log.InfoContext(ctx, "postgresql is running", "dir", cfg.Dir, "port", s.port, "pid", s.Pid(),
		"version", s.bin.Version, "run_as", s.account.name)
	return s, nil
}

// chooseBinaries returns those of the configuration, or finds some, of the version of the data if there are any.
func chooseBinaries(ctx context.Context, cfg Config, major int) (Binaries, error) {
	b, o := cfg.Binaries, Options{CacheDir: cfg.CacheDir, Logger: cfg.Logger}
	if b.Major == 0 {
		var err error
		if b, err = Find(ctx, o); err != nil {
			return b, err
		}
		if major != 0 && b.Major != major {
			if same, _ := findLocal(ctx, o, major); same.Major == major {
				return same, nil
			}
		}
	}
	if major != 0 && b.Major != major {
		return b, fmt.Errorf("%w: PostgreSQL %d made it, and found is %s (%s); install PostgreSQL %d, or upgrade the data with "+
			"pg_upgrade, or move the directory away to begin with an empty database; %s",
			ErrVersion, major, b.Version, b.Postgres, major, unchanged)
	}
	return b, nil
}

// open adopts the server that runs on the data, or starts one, on the port of the configuration, else on the one used
// last time, else on a free one.
func (s *Server) open(ctx context.Context, last int) error {
	if adopted, err := s.adopt(ctx); adopted || err != nil {
		return err
	}
	if s.cfg.Port != 0 {
		s.port = s.cfg.Port
		return s.launch(ctx)
	}
	s.port = last
	var err error
	for range 5 {
		if s.port == 0 || !portIsFree(s.port) {
			if s.port, err = FreePort(); err != nil {
				return err
			}
		}
		if err = s.launch(ctx); err == nil || portIsFree(s.port) {
			return err
		}
		// Somebody was faster on this port: take another.
	}
	return err
}

// URL is where the database is, for [User]: postgres://user:password@127.0.0.1:port/database?sslmode=disable.
func (s *Server) URL() string { return s.url(User, s.cfg.Database) }

// AdminURL is like URL, for the superuser [Admin]. An empty name of a database stands for the one of URL.
func (s *Server) AdminURL(database string) string {
	if database == "" {
		database = s.cfg.Database
	}
	return s.url(Admin, database)
}

func (s *Server) url(role, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(role, s.password), Host: s.Addr(), Path: "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Addr is the host and port of the server.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Port is the port of the server, which it keeps when it is started again.
func (s *Server) Port() int { return s.port }

// Dir is the absolute path of the server's directory.
func (s *Server) Dir() string { return s.cfg.Dir }

// LogFile is the path of the file with what the server says.
func (s *Server) LogFile() string { return s.home.log() }

// Pid is the process id of the server's first process, 0 when it is not running.
func (s *Server) Pid() int {
	if p, err := s.running(); err == nil {
		return p.Pid
	}
	return 0
}

// running returns the process, or ErrNotRunning.
func (s *Server) running() (*process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil || s.proc.gone() {
		return nil, ErrNotRunning
	}
	return s.proc, nil
}

// release gives the directory free, and forgets the process that has ended.
func (s *Server) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock != nil {
		_ = s.lock.Close() // The lock goes with the descriptor, in any case.
	}
	s.lock, s.proc, s.paused = nil, nil, false
}

// FreePort returns a port nobody listens on, below those that systems hand out for outgoing connections (32768 and up
// on Linux, 49152 elsewhere): a client that dials the port of a server that is down could otherwise be given that very
// port as its own, and keep the server from coming back to it.
func FreePort() (int, error) {
	const lowest, count = 15000, 15000
	for range 100 {
		port := lowest + rand.IntN(count) //nolint:gosec // G404: no secret depends on it.
		if portIsFree(port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port found between %d and %d", lowest, lowest+count-1)
}

// portIsFree asks by listening, so it is for ports nobody is dialling.
func portIsFree(port int) bool {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return false
	}
	return l.Close() == nil
}
