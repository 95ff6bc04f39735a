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
	"github.com/jackc/pgx/v5/pgconn"
)

// The reasons why this package cut a session.
var (
	errSevered = errors.New("connection given up: the database is lost")
	errSilent  = errors.New("connection given up: no answer within the statement limit")
	errNoDial  = errors.New("database is lost, not dialing")
)

// cancelMargin is what the server is given beyond its own statement limit before the client cuts the session, and to
// take note of a cancel request.
const cancelMargin = time.Second

// session is the network connection below one pooled connection. The statement limit is enforced on it, without a timer
// for each query, and it can be cut from outside, which frees whoever waits for a server that no longer answers.
type session struct {
	net.Conn

	connector *connector
	heard     atomic.Int64 // when the server was last heard from, in ns since start
	busy      atomic.Int64 // when the statement under way was sent, in ns since start; 0: none is
	// committing is when COMMIT was sent, 0 when none is under way. A cancel request then would end its wait for
	// synchronous replication and let it report success without
	// (https://www.postgresql.org/docs/current/warm-standby.html §27.2.8.3), so that none is sent.
	committing atomic.Int64
	cut        atomic.Pointer[error]
	rows       int64 // returned or changed since the attempt began; its goroutine's
}

// start is the origin of the sessions' clock: monotonic, and one atomic word wide.
var start = time.Now()

func sinceStart() int64 { return int64(time.Since(start)) }

// Read receives from the server.
func (s *session) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if n > 0 {
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

// silent reports whether the statement under way takes longer than limit allows. The server's own statement_timeout
// gets its chance first, but for a COMMIT: PostgreSQL has switched it off by then, so that nobody else ends a wait for a
// standby.
func (s *session) silent(limit time.Duration) bool {
	now := sinceStart()
	if since := s.committing.Load(); since != 0 {
		return now-since > int64(limit)
	}
	since := s.busy.Load()
	return since != 0 && now-since > int64(limit+cancelMargin)
}

// statements is the pgx tracer that tells sessions when a statement is under way.
type statements struct{}

var (
	_ pgx.QueryTracer    = statements{}
	_ pgx.BatchTracer    = statements{}
	_ pgx.CopyFromTracer = statements{}
)

func (statements) begin(ctx context.Context, conn *pgx.Conn) context.Context {
	if s := sessionOf(conn); s != nil {
		s.busy.Store(sinceStart())
	}
	return ctx
}

func (statements) end(conn *pgx.Conn, tag pgconn.CommandTag) {
	if s := sessionOf(conn); s != nil {
		s.busy.Store(0)
		s.rows += tag.RowsAffected()
	}
}

// TraceQueryStart implements pgx.QueryTracer.
func (t statements) TraceQueryStart(ctx context.Context, conn *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return t.begin(ctx, conn)
}

// TraceQueryEnd implements pgx.QueryTracer.
func (t statements) TraceQueryEnd(_ context.Context, conn *pgx.Conn, d pgx.TraceQueryEndData) {
	t.end(conn, d.CommandTag)
}

// TraceBatchStart implements pgx.BatchTracer.
func (t statements) TraceBatchStart(ctx context.Context, conn *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return t.begin(ctx, conn)
}

// TraceBatchQuery implements pgx.BatchTracer: one statement has been answered, the next one's time begins.
func (t statements) TraceBatchQuery(ctx context.Context, conn *pgx.Conn, d pgx.TraceBatchQueryData) {
	t.end(conn, d.CommandTag)
	t.begin(ctx, conn)
}

// TraceBatchEnd implements pgx.BatchTracer.
func (t statements) TraceBatchEnd(_ context.Context, conn *pgx.Conn, _ pgx.TraceBatchEndData) {
	t.end(conn, pgconn.CommandTag{})
}

// TraceCopyFromStart implements pgx.CopyFromTracer.
func (t statements) TraceCopyFromStart(ctx context.Context, conn *pgx.Conn, _ pgx.TraceCopyFromStartData) context.Context {
	return t.begin(ctx, conn)
}

// TraceCopyFromEnd implements pgx.CopyFromTracer.
func (t statements) TraceCopyFromEnd(_ context.Context, conn *pgx.Conn, d pgx.TraceCopyFromEndData) {
	t.end(conn, d.CommandTag)
}

// sessionOf returns the session below a connection made by a connector, nil while that is still being made.
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
	// server is the only one that sessions may be with; "" is any.
	server string
}

// add reports whether there may be such a session: one whose dial was under way while the server changed is too late.
func (ss *sessions) add(s *session) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.server != "" && s.connector.server != ss.server {
		return false
	}
	if ss.set == nil {
		ss.set = make(map[*session]struct{})
	}
	ss.set[s] = struct{}{}
	return true
}

// only lets no session with another server be added any more.
func (ss *sessions) only(server string) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.server = server
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

// addresses bounds the dials of one login: each address of the host once for each TLS setting there is to try. pgx dials
// an address again where its server hangs up during the login, to cancel what has not begun.
type addresses struct {
	each int

	mu     sync.Mutex
	dialed map[string]int
}

// take reports whether address may be dialed.
func (a *addresses) take(address string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dialed == nil {
		a.dialed = make(map[string]int)
	}
	a.dialed[address]++
	return a.dialed[address] <= a.each
}

// connector makes one pooled connection: the first dials, one for each address, until it is established; after that pgx
// dials only to send a cancel request for it.
type connector struct {
	server   string // host:port, as the prober names it
	login    addresses
	dialer   *net.Dialer
	sessions *sessions
	// lost is done when the database is lost: a dial under way then would only find out late.
	lost        func() (context.Context, bool)
	established atomic.Pointer[session]
	dialed      func(purpose string, err error)
	began       time.Time
}

// dial is the connection's pgconn.DialFunc.
func (c *connector) dial(ctx context.Context, network, address string) (net.Conn, error) {
	lost, connected := c.lost()
	if !connected {
		return nil, errNoDial
	}
	if s := c.established.Load(); s == nil && !c.login.take(address) {
		return nil, errNoDial
	} else if s != nil && (s.committing.Load() != 0 || s.cause() != nil) {
		return nil, errNoDial // a cancel request
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(lost, func() { cancel(errSevered) })
	defer stop()
	nc, err := c.dialer.DialContext(ctx, network, address)
	if c.established.Load() == nil {
		c.dialed(dialPool, err)
	} else {
		c.dialed(dialCancel, err)
	}
	if err != nil {
		return nil, err
	}
	s := &session{Conn: nc, connector: c}
	s.heard.Store(sinceStart())
	if c.established.Load() != nil {
		// pgx waits 15 s for the server to take note of a cancel request, and the pool's slot with it.
		_ = nc.SetDeadline(time.Now().Add(cancelMargin))
	}
	if !c.sessions.add(s) || lost.Err() != nil {
		s.sever(errSevered)
	}
	return s, nil
}
