package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"speedybites/internal/postgres/sqlstate"
)

// Querier runs statements on one connection. *Tx is one; so is what Read passes to its function.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// errCommitRolledBack is what the server means by answering COMMIT with ROLLBACK: a statement had failed and the
// function went on regardless.
var errCommitRolledBack = errors.New("commit of a failed transaction")

// Tx is one attempt of a transaction at READ COMMITTED. It begins with the function's first statement, in the same
// round trip where that is a batch. It must not be used after the function has returned.
type Tx struct {
	conn    *pgx.Conn
	session *session
	inDoubt bool

	begun     bool
	committed bool
	sent      bool // COMMIT has been sent: its fate may be unknown

	positioned bool     // the position of the COMMIT is wanted
	position   Position // 0 where it is not known
}

var _ Querier = (*Tx)(nil)

// InDoubt reports whether an earlier attempt of this transaction sent COMMIT and lost the answer, so that its effects
// may be there, or may yet appear while the server still works on it. The function must find out by inserting the same
// keys again and, when that shows that they are there, answer as the earlier attempt would have.
func (tx *Tx) InDoubt() bool { return tx.inDoubt }

// Exec runs a statement.
func (tx *Tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if err := tx.begin(ctx); err != nil {
		return pgconn.CommandTag{}, err
	}
	return tx.conn.Exec(ctx, sql, args...)
}

// Query runs a statement that returns rows.
func (tx *Tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := tx.begin(ctx); err != nil {
		return nil, err
	}
	return tx.conn.Query(ctx, sql, args...) //nolint:rowserrcheck // the caller does
}

// QueryRow runs a statement that returns at most one row.
func (tx *Tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if err := tx.begin(ctx); err != nil {
		return failedRow{err}
	}
	return tx.conn.QueryRow(ctx, sql, args...)
}

// SendBatch sends statements in one round trip. The transaction's first batch carries its BEGIN.
func (tx *Tx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if tx.begun {
		return tx.conn.SendBatch(ctx, b)
	}
	tx.begun = true
	results := tx.conn.SendBatch(ctx, withBegin(b))
	// An error here, BEGIN's or the round trip's, is returned by every later method of the results.
	_, _ = results.Exec()
	return results
}

// CommitWith sends b and COMMIT behind it in one round trip: the transaction's last, after which tx must not be used.
// The results of b's queries are read by the callbacks set on them. When a query of b fails, or a callback returns an
// error, that error is returned; after a callback's error the transaction has been committed all the same.
func (tx *Tx) CommitWith(ctx context.Context, b *pgx.Batch) error {
	if !tx.begun {
		b = withBegin(b)
		tx.begun = true
	}
	var tag pgconn.CommandTag
	b.Queue("commit").Exec(func(t pgconn.CommandTag) error { tag = t; return nil })
	if tx.positioned {
		b.Queue(positionQuery).QueryRow(func(row pgx.Row) error { return row.Scan(&tx.position) })
	}
	return tx.finish(ctx, func(ctx context.Context) (pgconn.CommandTag, error) {
		err := tx.conn.SendBatch(ctx, b).Close()
		if tag.String() == committedTag {
			err = nil // whatever became of the position
		}
		return tag, err
	})
}

// positionQuery runs right behind COMMIT: whoever has replayed so far has the transaction.
const positionQuery = "select (pg_current_wal_lsn() - '0/0')::bigint"

// committedTag is what the server answers to COMMIT unless it rolls back.
const committedTag = "COMMIT"

// transact runs the query's function in a transaction, commits it, and notes when the fate of COMMIT is unknown.
func (q *query) transact(ctx context.Context, conn *pgx.Conn, s *session) error {
	tx := &Tx{conn: conn, session: s, inDoubt: q.inDoubt, positioned: q.positioned}
	err := q.write(ctx, tx)
	if err == nil {
		err = tx.commit(ctx)
	}
	if err == nil {
		q.position = tx.position
		return nil
	}
	if v := classify(ctx, s, err); tx.sent && !tx.committed &&
		(v == overdue || v == abandoned || sqlstate.Ambiguous(sqlstate.Classify(ctx, err), err)) {
		q.inDoubt = true
		q.srv.metrics.inDoubt.Inc()
		q.span.event("commit in doubt")
	}
	tx.rollback(ctx)
	return err
}

// commit ends a transaction that CommitWith has not ended. One that never began has nothing to commit.
func (tx *Tx) commit(ctx context.Context) error {
	if tx.committed || !tx.begun {
		return nil
	}
	if tx.positioned {
		return tx.CommitWith(ctx, &pgx.Batch{})
	}
	return tx.finish(ctx, func(ctx context.Context) (pgconn.CommandTag, error) { return tx.conn.Exec(ctx, "commit") })
}

// finish sends COMMIT. The caller's cancellation no longer counts: a transaction that is being committed is waited for,
// as to abandon it would only make its outcome unknown. The session's limits still hold.
func (tx *Tx) finish(ctx context.Context, send func(context.Context) (pgconn.CommandTag, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	tx.sent = true
	tx.session.committing.Store(sinceStart())
	tag, err := send(context.WithoutCancel(ctx))
	if !tx.conn.IsClosed() {
		tx.session.committing.Store(0)
	} // else pgx may be about to dial a cancel request, on another goroutine
	switch {
	case err != nil:
		return err
	case tag.String() != committedTag:
		return errCommitRolledBack
	}
	tx.committed = true
	return nil
}

// rollback ends a transaction whose function has failed. A connection that cannot even do that is closed.
func (tx *Tx) rollback(ctx context.Context) {
	if !tx.begun || tx.committed || tx.conn.IsClosed() || tx.conn.PgConn().TxStatus() == 'I' {
		return
	}
	if _, err := tx.conn.Exec(context.WithoutCancel(ctx), "rollback"); err != nil {
		_ = tx.conn.Close(context.WithoutCancel(ctx))
	}
}

func (tx *Tx) begin(ctx context.Context) error {
	if tx.begun {
		return nil
	}
	tx.begun = true
	_, err := tx.conn.Exec(ctx, "begin")
	return err
}

// withBegin returns a batch of BEGIN and b's queries.
func withBegin(b *pgx.Batch) *pgx.Batch {
	whole := &pgx.Batch{QueuedQueries: make([]*pgx.QueuedQuery, 0, len(b.QueuedQueries)+2)}
	whole.Queue("begin")
	whole.QueuedQueries = append(whole.QueuedQueries, b.QueuedQueries...)
	return whole
}

// failedRow is the row of a statement that could not be sent.
type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }
