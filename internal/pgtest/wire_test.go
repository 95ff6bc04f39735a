package pgtest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"speedybites/internal/pgtest"
)

// wired returns a proxy to a database of its own, the URL that leads through it, and a connection past it.
func wired(t *testing.T) (p *pgtest.WireProxy, through string, direct *pgx.Conn) {
	t.Helper()
	database := pgtest.DB(t)
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	p = pgtest.Wire(t, u.Host)
	return p, p.URL(database), connect(t, database)
}

// dialOnce connects without pgx's habit of asking the server, over another connection, to cancel what a lost one was
// doing: that can hit the COMMIT.
func dialOnce(ctx context.Context, through string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(through)
	if err != nil {
		return nil, err
	}
	var dials atomic.Int32
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if dials.Add(1) > 1 {
			return nil, net.ErrClosed
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return pgx.ConnectConfig(ctx, cfg)
}

func join(t *testing.T, through string) *pgx.Conn {
	t.Helper()
	conn, err := dialOnce(t.Context(), through)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// order inserts a row and commits, in one of the ways in which a client can do that. What it returns is the error of
// the first statement that failed.
type order func(ctx context.Context, conn *pgx.Conn) error

var orders = map[string]order{
	"Statements": func(ctx context.Context, conn *pgx.Conn) error {
		for _, sql := range []string{"begin", "INSERT INTO orders VALUES (1)", "commit"} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	},
	"Batch": func(ctx context.Context, conn *pgx.Conn) error {
		b := &pgx.Batch{}
		b.Queue("begin")
		b.Queue("INSERT INTO orders VALUES ($1)", 1)
		b.Queue("commit")
		return conn.SendBatch(ctx, b).Close()
	},
	"Simple": func(ctx context.Context, conn *pgx.Conn) error {
		for _, sql := range []string{"BEGIN", "INSERT INTO orders VALUES (1)", "COMMIT;"} {
			if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
				return err
			}
		}
		return nil
	},
	"Text": func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.PgConn().Exec(ctx, "INSERT INTO orders VALUES (1); COMMIT").ReadAll()
		return err
	},
}

// outcome is what a client sees, and what becomes of its row.
type outcome struct {
	code   string // the SQLSTATE of the error
	err    error  // the error where there is no SQLSTATE
	closed bool
	stored bool // at the end
	passed bool // the fault strikes, and nothing happens
}

// TestWireFaults has each fault strike, for each way to commit.
func TestWireFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault pgtest.Fault
		want  outcome
	}{
		"ResetStatement":     {pgtest.Fault{At: pgtest.AtStatement, SQL: "insert into orders"}, outcome{err: syscall.ECONNRESET, closed: true}},
		"CloseStatement":     {pgtest.Fault{At: pgtest.AtStatement, SQL: "ORDERS", Loss: pgtest.Close}, outcome{err: io.ErrUnexpectedEOF, closed: true}},
		"HangStatement":      {pgtest.Fault{At: pgtest.AtStatement, SQL: "orders", Loss: pgtest.Hang}, outcome{err: context.DeadlineExceeded, closed: true}},
		"FatalStatement":     {pgtest.Fault{At: pgtest.AtStatement, SQL: "orders", Code: "57P01"}, outcome{code: "57P01", closed: true}},
		"ErrorStatement":     {pgtest.Fault{At: pgtest.AtStatement, SQL: "orders", Code: "40001"}, outcome{code: "40001"}},
		"ResetBeforeCommit":  {pgtest.Fault{At: pgtest.BeforeCommit}, outcome{err: syscall.ECONNRESET, closed: true}},
		"CloseBeforeCommit":  {pgtest.Fault{At: pgtest.BeforeCommit, Loss: pgtest.Close}, outcome{err: io.ErrUnexpectedEOF, closed: true}},
		"FatalBeforeCommit":  {pgtest.Fault{At: pgtest.BeforeCommit, Code: "57P02"}, outcome{code: "57P02", closed: true}},
		"ErrorBeforeCommit":  {pgtest.Fault{At: pgtest.BeforeCommit, Code: "40P01"}, outcome{code: "40P01"}},
		"HangBeforeCommit":   {pgtest.Fault{At: pgtest.BeforeCommit, Loss: pgtest.Hang}, outcome{err: context.DeadlineExceeded, closed: true}},
		"ResetCommitSent":    {pgtest.Fault{At: pgtest.CommitSent}, outcome{err: syscall.ECONNRESET, closed: true, stored: true}},
		"HangCommitSent":     {pgtest.Fault{At: pgtest.CommitSent, Loss: pgtest.Hang}, outcome{err: context.DeadlineExceeded, closed: true, stored: true}},
		"ResetCommitted":     {pgtest.Fault{At: pgtest.Committed}, outcome{err: syscall.ECONNRESET, closed: true, stored: true}},
		"CloseCommitted":     {pgtest.Fault{At: pgtest.Committed, Loss: pgtest.Close}, outcome{err: io.ErrUnexpectedEOF, closed: true, stored: true}},
		"HangCommitted":      {pgtest.Fault{At: pgtest.Committed, Loss: pgtest.Hang}, outcome{err: context.DeadlineExceeded, closed: true, stored: true}},
		"FatalCommitted":     {pgtest.Fault{At: pgtest.Committed, Code: "08006"}, outcome{code: "08006", closed: true, stored: true}},
		"ErrorCommitted":     {pgtest.Fault{At: pgtest.Committed, Code: "40003"}, outcome{code: "40003", stored: true}},
		"OfTransaction":      {pgtest.Fault{At: pgtest.Committed, SQL: "INTO Orders"}, outcome{err: syscall.ECONNRESET, closed: true, stored: true}},
		"NotAnothers":        {pgtest.Fault{At: pgtest.Committed, SQL: "into customers"}, outcome{stored: true}},
		"PassStatement":      {pgtest.Fault{At: pgtest.AtStatement, SQL: "orders", Loss: pgtest.Pass}, outcome{passed: true, stored: true}},
		"PassBeforeCommit":   {pgtest.Fault{At: pgtest.BeforeCommit, Loss: pgtest.Pass}, outcome{passed: true, stored: true}},
		"PassCommitted":      {pgtest.Fault{At: pgtest.Committed, Loss: pgtest.Pass}, outcome{passed: true, stored: true}},
		"NotAnotherSessions": {pgtest.Fault{At: pgtest.AtStatement, App: "somebody else"}, outcome{stored: true}},
		"NotAnotherSQL":      {pgtest.Fault{At: pgtest.AtStatement, SQL: "customers"}, outcome{stored: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, through, direct := wired(t)
			for way, place := range orders {
				if way == "Text" && c.fault.At == pgtest.AtStatement && c.fault.App == "" {
					continue // a text with a COMMIT in it is one
				}
				t.Run(way, func(t *testing.T) { testWireFault(t, p, c.fault, c.want, place, join(t, through), direct) })
			}
		})
	}
}

func testWireFault(t *testing.T, p *pgtest.WireProxy, f pgtest.Fault, want outcome, place order, conn, direct *pgx.Conn) {
	t.Helper()
	if _, err := direct.Exec(t.Context(), "TRUNCATE orders"); err != nil {
		t.Fatal(err)
	}
	var told atomic.Int32
	f.Times, f.Then = 1, func() { told.Add(1) }
	i := p.Inject(f)
	defer i.Remove()
	limit := patience
	if f.Loss == pgtest.Hang {
		limit = 300 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	err := place(ctx, conn)
	strikes := 1
	if want.err == nil && want.code == "" && !want.passed {
		strikes = 0
	}
	if i.Fired() != strikes || int(told.Load()) != strikes {
		t.Errorf("struck %d times, told %d times, want %d", i.Fired(), told.Load(), strikes)
	}
	if got := code(err); got != want.code || want.err != nil && !errors.Is(err, want.err) && !isLost(want.err, err) {
		t.Errorf("got %v, want %s%v", err, want.code, want.err)
	}
	if conn.IsClosed() != want.closed {
		t.Errorf("closed: got %v, want %v", conn.IsClosed(), want.closed)
	}
	alone(t, direct, conn.IsClosed())
	if got := count(t, direct, "SELECT count(*) FROM orders") == 1; got != want.stored {
		t.Errorf("stored: got %v, want %v", got, want.stored)
	}
	if !conn.IsClosed() {
		goOn(t, conn, place)
	}
}

// isLost allows for what pgx makes of a connection that it has found dead in passing.
func isLost(want, err error) bool {
	return !errors.Is(want, context.DeadlineExceeded) && (errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, syscall.EPIPE))
}

func code(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

// alone waits for the server to have ended what a client left behind.
func alone(t *testing.T, direct *pgx.Conn, ended bool) {
	t.Helper()
	want := 1
	if ended {
		want = 0
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		n := count(t, direct, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`)
		if n == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d other sessions, want %d", n, want)
		}
	}
}

// goOn uses a connection that a fault has left open: client and server must agree on where they are.
func goOn(t *testing.T, conn *pgx.Conn, place order) {
	t.Helper()
	ctx := t.Context()
	if conn.PgConn().TxStatus() != 'I' {
		if _, err := conn.Exec(ctx, "rollback"); err != nil {
			t.Fatal(err)
		}
	}
	before := count(t, conn, "SELECT count(*) FROM orders")
	if err := place(ctx, conn); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if got := count(t, conn, "SELECT count(*) FROM orders"); got != before+1 {
		t.Errorf("afterwards: %d orders, want %d", got, before+1)
	}
}

func TestWireLogin(t *testing.T) {
	t.Parallel()
	p, through, _ := wired(t)
	try := func(app string) error {
		cfg, err := pgx.ParseConfig(through)
		if err != nil {
			return err
		}
		cfg.RuntimeParams["application_name"] = app
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		if err != nil {
			return err
		}
		return conn.Close(t.Context())
	}
	for _, want := range []string{"57P03", "53300", "28P01"} {
		i := p.Inject(pgtest.Fault{At: pgtest.AtLogin, App: "service-1", Code: want, Times: 2})
		if err := try("service-10"); err != nil {
			t.Errorf("another application: %v", err)
		}
		for n := range 3 {
			if got := code(try("service-1")); (got == want) != (n < 2) {
				t.Errorf("login %d: got %q, want %s twice", n, got, want)
			}
		}
		if i.Seen() != 3 || i.Fired() != 2 {
			t.Errorf("seen %d times, struck %d times, want 3 and 2", i.Seen(), i.Fired())
		}
		i.Remove()
	}
	passing := p.Inject(pgtest.Fault{At: pgtest.AtLogin, Loss: pgtest.Pass})
	if err := try("service-1"); err != nil || passing.Fired() != 1 {
		t.Errorf("got %v, struck %d times", err, passing.Fired())
	}
	// sslmode=prefer asks for TLS first.
	conn := connect(t, strings.Replace(through, "sslmode=disable", "sslmode=prefer", 1))
	if got := count(t, conn, "SELECT 1"); got != 1 {
		t.Errorf("got %d", got)
	}
}

// TestWireHold has the server learn late what became of its client.
func TestWireHold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		at     pgtest.Point
		stored int
	}{
		"CommitsLate":    {pgtest.CommitSent, 1},
		"RollsBackLate":  {pgtest.BeforeCommit, 0},
		"CommittedLinks": {pgtest.Committed, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, through, direct := wired(t)
			const hold = 300 * time.Millisecond
			p.Inject(pgtest.Fault{At: c.at, Hold: hold, Times: 1})
			begin := time.Now()
			if err := orders["Batch"](t.Context(), join(t, through)); err == nil {
				t.Error("no error")
			}
			if n := count(t, direct, "SELECT count(*) FROM orders"); c.at == pgtest.CommitSent && n != 0 && time.Since(begin) < hold {
				t.Error("committed at once")
			}
			alone(t, direct, true)
			if took := time.Since(begin); took < hold {
				t.Errorf("the server's session ended after %v, want %v at least", took, hold)
			}
			if n := count(t, direct, "SELECT count(*) FROM orders"); n != c.stored {
				t.Errorf("got %d orders, want %d", n, c.stored)
			}
		})
	}
}

// TestWireChance has a fault strike by chance: as often as its probability says, and at the same messages for the same
// seed.
func TestWireChance(t *testing.T) {
	t.Parallel()
	p, through, _ := wired(t)
	conn := connect(t, through)
	run := func(seed uint64) (pattern string) {
		i := p.Inject(pgtest.Fault{At: pgtest.AtStatement, SQL: "select 7", Code: "40001", Chance: 0.25, Seed: seed})
		defer i.Remove()
		for range 200 {
			switch _, err := conn.Exec(t.Context(), "SELECT 7"); code(err) {
			case "40001":
				pattern += "x"
			case "":
				pattern += "."
			}
		}
		if got := strings.Count(pattern, "x"); got != i.Fired() || i.Seen() != 200 || got < 25 || got > 75 {
			t.Errorf("%d failed, struck %d of %d times, want about 50", got, i.Fired(), i.Seen())
		}
		return pattern
	}
	if one, again, other := run(1), run(1), run(2); one != again || one == other {
		t.Errorf("seeds 1, 1 and 2:\n%s\n%s\n%s", one, again, other)
	}
}

// TestWireManySessions has faults of several kinds strike in many sessions at once, and every row counted.
func TestWireManySessions(t *testing.T) {
	t.Parallel()
	p, through, direct := wired(t)
	const sessions, each = 8, 20
	cut := p.Inject(pgtest.Fault{At: pgtest.Committed, Times: 10})
	lost := p.Inject(pgtest.Fault{At: pgtest.BeforeCommit, Chance: 0.2, Seed: 3})
	var mu sync.Mutex
	placed := 0
	var wg sync.WaitGroup
	for range sessions {
		wg.Go(func() {
			var conn *pgx.Conn
			for range each {
				if conn == nil || conn.IsClosed() {
					var err error
					if conn, err = dialOnce(t.Context(), through); err != nil {
						t.Error(err)
						return
					}
				}
				if err := orders["Batch"](t.Context(), conn); err == nil {
					mu.Lock()
					placed++
					mu.Unlock()
				}
			}
			_ = conn.Close(t.Context())
		})
	}
	wg.Wait()
	alone(t, direct, true)
	if cut.Fired() != 10 || lost.Fired() == 0 || lost.Seen() != sessions*each {
		t.Errorf("cut %d times, lost %d of %d times", cut.Fired(), lost.Fired(), lost.Seen())
	}
	if want := sessions*each - cut.Fired() - lost.Fired(); placed != want {
		t.Errorf("%d placed, want %d", placed, want)
	}
	if n := count(t, direct, "SELECT count(*) FROM orders"); n != placed+cut.Fired() {
		t.Errorf("%d orders, want %d", n, placed+cut.Fired())
	}
}
