package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// The reasons why this package cut a session.
var (
	errSevered = errors.New("connection given up: the database is lost")
	errSilent  = errors.New("connection given up: no answer within the statement limit")
	errNoDial  = errors.New("database is lost, not dialing")
)

// cancelMargin is what the server is given beyond its own statement limit before the client cuts the session.
const cancelMargin = time.Second

// session is the network connection below one pooled connection. It sees every byte, so that the statement limit can be
// enforced without a timer for each query, and it can be cut from outside, which frees whoever reads from a server that
// no longer answers.
type session struct {
	net.Conn

	connector *connector
	wrote     atomic.Int64 // when the last request was sent, in ns since start; 0: it has been answered
	heard     atomic.Int64 // when the server was last heard from, in ns since start
	// committing is true while a COMMIT is under way. A cancel request then would end its wait for synchronous
	// replication and let it report success without (https://www.postgresql.org/docs/current/warm-standby.html
	// §27.2.8.3), so that none is sent.
	committing atomic.Bool
	cut        atomic.Pointer[error]
}

// start is the origin of the sessions' clock: monotonic, and one atomic word wide.
var start = time.Now()

func sinceStart() int64 { return int64(time.Since(start)) }

// Write sends a request.
func (s *session) Write(b []byte) (int, error) {
	s.wrote.Store(sinceStart())
	return s.Conn.Write(b)
}

// Read receives an answer.
func (s *session) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if n > 0 {
		s.wrote.Store(0)
		s.heard.Store(sinceStart())
	}
	return n, err
}

// sever closes the session and remembers why.
func (s *session) sever(cause error) {
	s.cut.CompareAndSwap(nil, &cause)
	_ = s.Close()
}

// cause returns why this package cut the session, or nil.
func (s *session) cause() error {
	if p := s.cut.Load(); p != nil {
		return *p
	}
	return nil
}

// silent reports whether the server owes an answer for longer than limit allows. A COMMIT is cut before the server's
// own limit strikes: statement_timeout, too, would end the wait for synchronous replication.
func (s *session) silent(limit time.Duration) bool {
	wrote := s.wrote.Load()
	if wrote == 0 || limit <= 0 {
		return false
	}
	allowed := limit + cancelMargin
	if s.committing.Load() {
		allowed = limit * 9 / 10
	}
	return sinceStart()-wrote > int64(allowed)
}

// sessionOf returns the session below a connection made by a connector.
func sessionOf(conn *pgx.Conn) *session {
	nc := conn.PgConn().Conn()
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	s, _ := nc.(*session)
	return s
}

// sessions is the set of all network connections of a pool, those being made included.
type sessions struct {
	mu  sync.Mutex
	set map[*session]struct{}
}

// add adds s, and returns a func that removes it.
func (ss *sessions) add(s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.set == nil {
		ss.set = make(map[*session]struct{})
	}
	ss.set[s] = struct{}{}
}

func (ss *sessions) remove(s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	delete(ss.set, s)
}

// severAll cuts every session of which want says so.
func (ss *sessions) severAll(cause error, want func(*session) bool) int {
	ss.mu.Lock()
	var chosen []*session
	for s := range ss.set {
		if want(s) {
			chosen = append(chosen, s)
		}
	}
	ss.mu.Unlock()
	for _, s := range chosen {
		s.sever(cause)
	}
	return len(chosen)
}

// Close closes the network connection. pgx calls it after saying goodbye, or after an error.
func (s *session) Close() error {
	s.connector.sessions.remove(s)
	return s.Conn.Close()
}

// connector makes one pooled connection: the first dials, one for each address, until it is established; after that pgx
// dials only to send a cancel request for it.
type connector struct {
	dialer   *net.Dialer
	sessions *sessions
	// lost is done when the database is lost: a dial under way then would only find out late.
	lost        func() (context.Context, bool)
	established atomic.Pointer[session]
}

// dial is the connection's pgconn.DialFunc.
func (c *connector) dial(ctx context.Context, network, address string) (net.Conn, error) {
	lost, connected := c.lost()
	if !connected {
		return nil, errNoDial
	}
	if s := c.established.Load(); s != nil {
		if s.committing.Load() || s.cause() != nil {
			return nil, errNoDial
		}
		return c.dialer.DialContext(ctx, network, address)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(lost, func() { cancel(errSevered) })
	defer stop()
	nc, err := c.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s := &session{Conn: nc, connector: c}
	s.heard.Store(sinceStart())
	c.sessions.add(s)
	if lost.Err() != nil {
		s.sever(errSevered)
	}
	return s, nil
}
