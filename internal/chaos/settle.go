package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/load"
)

// settle holds what is left when the load has ended against what was promised.
func (w *world) settle(ctx context.Context, r *Report) error {
	w.checkInstances(ctx, r)
	// The last lines of audit.log are written in the shutdown.
	if err := w.stopServices(ctx); err != nil {
		w.report(err.Error(), nil)
	}
	w.checkOutput()
	primary, _ := w.pair.roles()
	return query(ctx, primary.AdminURL(""), func(conn *pgx.Conn) error {
		var err error
		if r.Result, err = r.ledger.Compare(ctx, conn); err != nil {
			return err
		}
		w.checkOrders(r)
		return errors.Join(w.checkKeys(ctx, conn, r.ledger), w.checkAudit(ctx, conn, r))
	})
}

// checkOrders reports what the comparison of the ledger with the orders has found.
func (w *world) checkOrders(r *Report) {
	entries := map[int]*load.Entry{}
	for _, e := range r.ledger.Entries() {
		entries[e.Number] = &e
	}
	for what, numbers := range map[string][]int{
		"an acknowledged order is lost": r.Result.Lost, "an order is there twice": r.Result.Doubled,
		"an order is not what was acknowledged": r.Result.Wrong,
	} {
		for _, n := range numbers {
			w.report(what, entries[n])
		}
	}
	if r.Result.Strange > 0 {
		w.report(fmt.Sprintf("%d orders were not asked for", r.Result.Strange), nil)
	}
	if r.Result.Acknowledged == 0 {
		w.report("not one order was acknowledged", nil)
	}
}

// checkKeys sees that every key stands for the order that its client was told.
func (w *world) checkKeys(ctx context.Context, conn *pgx.Conn, l *load.Ledger) error {
	rows, err := conn.Query(ctx, "SELECT substr(key, 8), order_id FROM idempotency_keys WHERE starts_with(key, 'client:')") //nolint:rowserrcheck // ForEachRow does
	if err != nil {
		return err
	}
	orders := map[string]uuid.UUID{}
	var key string
	var order uuid.UUID
	_, err = pgx.ForEachRow(rows, []any{&key, &order}, func() error { orders[key] = order; return nil })
	if err != nil {
		return fmt.Errorf("read the keys: %w", err)
	}
	for _, e := range l.Entries() {
		if e.Key != "" && !e.Failed() && orders[e.Key] != e.OrderID {
			w.report(fmt.Sprintf("the key stands for the order %v, not for %v", orders[e.Key], e.OrderID), &e)
		}
	}
	return nil
}

// checkAudit counts rows and lines: one row for each order, and one line for each row.
func (w *world) checkAudit(ctx context.Context, conn *pgx.Conn, r *Report) error {
	var without, several, pending int
	err := conn.QueryRow(ctx, `SELECT
		(SELECT count(*) FROM orders o WHERE NOT EXISTS
			(SELECT FROM audit_log WHERE entity_id = o.id AND entity = 'order' AND action = 'place')),
		(SELECT count(*) - count(DISTINCT entity_id) FROM audit_log WHERE entity = 'order' AND action = 'place')
			+ (SELECT count(*) FROM audit_log a WHERE entity = 'order' AND NOT EXISTS
				(SELECT FROM orders WHERE id = a.entity_id)),
		(SELECT count(*) FROM audit_log WHERE exported_at IS NULL)`).Scan(&without, &several, &pending)
	if err != nil {
		return fmt.Errorf("count audit rows: %w", err)
	}
	for what, n := range map[string]int{
		"orders have no audit row": without, "audit rows too many": several, "audit rows have no line after the shutdown": pending,
	} {
		if n > 0 {
			w.report(fmt.Sprint(n, " ", what), nil)
		}
	}
	rows, err := conn.Query(ctx, "SELECT operation_id FROM audit_log")
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return fmt.Errorf("read the audit rows: %w", err)
	}
	r.AuditRows = len(ids)
	return w.checkLines(ctx, ids, r)
}

// checkLines holds audit.log of both instances against the rows. A row has a line in the file of one of them; in both
// files it is only where an instance or its database was lost between writing the lines and marking their rows, and the
// other one did not wait for it (docs/decisions/0005). It is never twice in one.
func (w *world) checkLines(ctx context.Context, rows []uuid.UUID, r *Report) error {
	total := map[uuid.UUID]int{}
	for _, s := range w.services {
		lines, err := auditLines(s.logs())
		if err != nil {
			return err
		}
		for id, n := range lines {
			if n > 1 {
				w.report(fmt.Sprintf("instance %d has %d audit lines of the row %v", s.index+1, n, id), nil)
			}
			total[id]++
			r.AuditLines += n
		}
		if out, err := s.command(ctx, "audit", "verify", "--database").CombinedOutput(); err != nil {
			w.report(fmt.Sprintf("audit verify of instance %d: %v\n%s", s.index+1, err, out), nil)
		}
	}
	missing := 0
	for _, id := range rows {
		switch total[id] {
		case 0:
			missing++
		case 1:
		default:
			r.AuditInBoth++
		}
		delete(total, id)
	}
	if missing > 0 {
		w.report(fmt.Sprintf("%d audit rows have no line", missing), nil)
	}
	if len(total) > 0 {
		w.report(fmt.Sprintf("%d audit lines have no row", len(total)), nil)
	}
	return nil
}

// auditLines counts the lines of audit.log and its backups by their row's id.
func auditLines(dir string) (map[uuid.UUID]int, error) {
	files, err := filepath.Glob(filepath.Join(dir, "audit*.log"))
	if err != nil {
		return nil, err
	}
	lines := map[uuid.UUID]int{}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		scanner := bufio.NewScanner(f)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			var line struct{ AuditID uuid.UUID }
			if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
				return nil, errors.Join(fmt.Errorf("%s: %w", file, err), f.Close())
			}
			lines[line.AuditID]++
		}
		if err := errors.Join(scanner.Err(), f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return lines, nil
}

// checkInstances sees that both are as they were before the first fault.
func (w *world) checkInstances(ctx context.Context, r *Report) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client.CloseIdleConnections()
	for i, watch := range w.watches {
		if _, err := watch.wellAfter(ctx, time.Now()); err != nil {
			w.report(fmt.Sprintf("instance %d is not well at the end", i+1), nil)
		}
		last, _, worst := watch.state()
		r.health[i], r.slowestHealth = last, max(r.slowestHealth, worst)
		if last.CircuitBreaker.State != "CLOSED" {
			w.report(fmt.Sprintf("the breaker of instance %d is %s at the end", i+1, last.CircuitBreaker.State), nil)
		}
		// Connections and their goroutines go when they have been idle for a while.
		limit := r.before[i].goroutines + spareGoroutines
		_ = until(ctx, usageEvery, func() bool { _, u, _ := watch.state(); return u.goroutines <= limit }) // The next lines say what it is about.
		_, r.after[i], _ = watch.state()
		if n := r.after[i].goroutines; n > limit {
			w.report(fmt.Sprintf("instance %d has %d goroutines at the end, %d before the first fault", i+1, n, r.before[i].goroutines), nil)
		}
		if most := r.after[i].mostResident; most > maxResident && !w.cfg.Race {
			w.report(fmt.Sprintf("instance %d took %.0f MB", i+1, most/1e6), nil)
		}
	}
}

const (
	// spareGoroutines is what an idle instance may differ by: connections that come and go.
	spareGoroutines = 20
	// maxResident bounds the memory of an instance, also while it holds the requests of an outage.
	maxResident = 400e6
)

// measureBaseline waits until it is known what the instances take up without load.
func (w *world) measureBaseline(ctx context.Context, r *Report) error {
	for i, watch := range w.watches {
		err := until(ctx, lookEvery, func() bool {
			_, r.before[i], _ = watch.state()
			return r.before[i].goroutines > 0
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkOutput looks through what the instances have said for what no client is told.
func (w *world) checkOutput() {
	for _, s := range w.services {
		text, err := os.ReadFile(s.output())
		if err != nil {
			w.report(err.Error(), nil)
			continue
		}
		for _, word := range []string{"DATA RACE", "panic", "fatal error"} {
			if n := strings.Count(string(text), word); n > 0 {
				w.report(fmt.Sprintf("instance %d says %q %d times; see %s", s.index+1, word, n, s.output()), nil)
			}
		}
	}
}
