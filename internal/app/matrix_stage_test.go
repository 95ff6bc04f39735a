package app_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/demo"
	"speedybites/internal/localpg"
	"speedybites/internal/pgtest"
)

// stage is a service whose way to a database of its own can be broken. Cases take turns on it.
type stage struct {
	*observed

	proxy           *pgtest.WireProxy
	direct          *pgx.Conn
	owner, customer string // tokens
	numbers         atomic.Int64
}

// newStage starts a service on a new database of the server.
func newStage(t *testing.T, server *localpg.Server, database string, limit time.Duration, env ...string) *stage {
	t.Helper()
	ctx := t.Context()
	admin := connect(t, server.AdminURL("postgres"))
	if _, err := admin.Exec(ctx, "create database "+database+" owner "+localpg.User); err != nil {
		t.Fatal(err)
	}
	proxy := pgtest.Wire(t, server.Addr())
	url := strings.Replace(proxy.URL(server.URL()), "/"+databaseOf(server)+"?", "/"+database+"?", 1)
	s := &stage{proxy: proxy, direct: connect(t, server.AdminURL(database))}
	s.observed = observe(t, url, append([]string{
		"DB_POOL_MIN=0", "DB_POOL_MAX=8", "SYNTHETIC_INTERVAL_MS=0", "DB_BREAKER_TIMEOUT_MS=300",
		fmt.Sprint("DB_OUTAGE_GRACE_MS=", matrixGrace.Milliseconds()), fmt.Sprint("DB_STATEMENT_TIMEOUT=", limit.Milliseconds()),
	}, env...)...)
	s.withDemo()
	s.owner, s.customer = s.service.owner(), s.service.customer()
	return s
}

func databaseOf(server *localpg.Server) string {
	_, path, _ := strings.Cut(strings.TrimPrefix(server.URL(), "postgres://"), "/")
	name, _, _ := strings.Cut(path, "?")
	return name
}

// request is one request of a case, and its end.
type request struct {
	op     operation
	mark   string // finds its row
	answer answer
	err    error
	took   time.Duration
}

// send makes a request; one that is patient only for so long leaves then.
func (s *stage) send(ctx context.Context, op operation, patience time.Duration) *request {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	n := s.numbers.Add(1)
	r := &request{op: op, mark: fmt.Sprint("request ", n)}
	begin := time.Now()
	switch op {
	case opRead:
		r.answer, r.err = call(ctx, "GET", s.base+"/api/restaurants/"+demo.RestaurantID().String(), nil)
	case opWrite:
		r.answer, r.err = call(ctx, "POST", s.base+"/api/restaurants", map[string]any{
			"name": r.mark, "cuisine": "Test", "address": "1 Test Street",
		}, "Authorization", "Bearer "+s.owner)
	case opOrder:
		header := []string{"Authorization", "Bearer " + s.customer}
		if n%2 == 0 {
			header = append(header, "Idempotency-Key", r.mark)
		}
		r.answer, r.err = call(ctx, "POST", s.base+"/api/orders", demoOrder(r.mark), header...)
	}
	r.took = time.Since(begin)
	return r
}

// summary is the name of the operation's query.
func (op operation) summary() string {
	return [...]string{"catalog.restaurant", "catalog.create_restaurant", "orders.place"}[op]
}

// String returns the operation's name in the matrix.
func (op operation) String() string { return [...]string{"read", "create", "order"}[op] }

// verdict is what the client of a request got.
func (r *request) verdict() verdict {
	a := r.answer
	switch {
	case r.err != nil:
		return getsNothing
	case a.status == http.StatusOK && r.op == opRead, a.status == http.StatusCreated && r.op != opRead:
		return getsSuccess
	case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "10" && strings.Contains(a.body, "Database reconnecting..."):
		return getsUnavailable
	case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "1" && strings.Contains(a.body, "Too many requests change"):
		return getsConflict
	case a.status == http.StatusGatewayTimeout:
		return getsOverdue
	case a.status == http.StatusInternalServerError:
		return getsInternal
	}
	return verdict(fmt.Sprintf("%d %s", a.status, a.body))
}

// rowsOf are the rows of a request, each with all that belongs to it.
var rowsOf = map[operation]string{
	opWrite: `select r.id from restaurants r join audit_log a on a.entity_id = r.id and a.action = 'create' where r.name = $1`,
	opOrder: `select o.id from orders o join order_items i on i.order_id = o.id join idempotency_keys k on k.order_id = o.id
		join audit_log a on a.entity_id = o.id and a.action = 'place' where o.note = $1`,
}

// bareRowsOf are the rows of a request alone.
var bareRowsOf = map[operation]string{
	opWrite: `select id from restaurants where name = $1`, opOrder: `select id from orders where note = $1`,
}

// check compares what the client was told with the database.
func (s *stage) check(t *testing.T, r *request, want stored) {
	t.Helper()
	told := r.verdict() == getsSuccess
	var body struct {
		ID         uuid.UUID
		Name, Note string
	}
	if told {
		r.answer.decode(t, &body)
	}
	if r.op == opRead {
		if told && body.ID != demo.RestaurantID() {
			t.Errorf("read %v, want the restaurant", body.ID)
		}
		return
	}
	if told && (body.Name+body.Note != r.mark || r.answer.header.Get("Idempotency-Replayed") != "") {
		t.Errorf("%s was answered with %s, replayed %q", r.mark, r.answer.body, r.answer.header.Get("Idempotency-Replayed"))
	}
	ids, bare := s.ids(t, rowsOf[r.op], r.mark), s.ids(t, bareRowsOf[r.op], r.mark)
	n := len(bare)
	if right := map[stored]bool{once: n == 1, none: n == 0, either: n <= 1}[want]; !right || len(ids) != n {
		t.Errorf("%s, answered with %s: %d rows, %d with all that belongs to them, want %s", r.mark, r.verdict(), n, len(ids), want)
	} else if told && ids[0] != body.ID {
		t.Errorf("%s was told %v, stored is %v", r.mark, body.ID, ids[0])
	}
}

func (s *stage) ids(t *testing.T, sql, mark string) []uuid.UUID {
	t.Helper()
	rows, err := s.direct.Query(t.Context(), sql, mark)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// settle waits until the service is as if nothing had happened, and has a connection that knows the operation's statements.
func (s *stage) settle(t *testing.T, op operation) {
	t.Helper()
	eventually(t, "the service to be well", func() bool {
		if r := s.send(t.Context(), opRead, time.Minute); r.verdict() != getsSuccess {
			return false
		}
		h, _ := s.health()
		return h.Status == "operational" && h.CircuitBreaker.State == "CLOSED" && h.CircuitBreaker.FailureCount == 0 &&
			h.Database.WaitingQueue == 0
	})
	s.warm(t, op)
}

// warm makes a request that meets no fault.
func (s *stage) warm(t *testing.T, op operation) {
	t.Helper()
	if r := s.send(t.Context(), op, time.Minute); r.verdict() != getsSuccess {
		t.Errorf("%s without a fault: %s", op, r.verdict())
	}
}

// execute runs a statement past the proxy.
func (s *stage) execute(t *testing.T, sql string) {
	t.Helper()
	if _, err := s.direct.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// until waits for the health to be as wanted.
func (s *stage) until(t *testing.T, what string, is func(h health) bool) {
	t.Helper()
	eventually(t, what, func() bool { h, _ := s.health(); return is(h) })
}
