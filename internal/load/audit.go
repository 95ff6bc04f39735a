package load

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Result is what a ledger and the database say together.
type Result struct {
	Requests     int
	Failed       int
	Acknowledged int // orders answered with 201
	Stored       int // orders of the run in the database
	// Lost are acknowledged orders that are not there; Doubled are requests with more than one order, or with another
	// one than the client was told.
	Lost, Doubled []int
	// Longest is the request that waited longest.
	Longest Entry
}

// String is one line for a log.
func (r Result) String() string {
	return fmt.Sprintf("%d requests, %d failed, %d orders acknowledged, %d stored, %d lost, %d doubled, longest wait %v",
		r.Requests, r.Failed, r.Acknowledged, r.Stored, len(r.Lost), len(r.Doubled), r.Longest.Took())
}

// Compare holds the ledger against the orders in the database that db is connected to.
func (l *Ledger) Compare(ctx context.Context, db *pgx.Conn) (Result, error) {
	rows, err := db.Query(ctx, //nolint:rowserrcheck // ForEachRow does
		`SELECT note, array_agg(id) FROM orders WHERE starts_with(note, $1) GROUP BY note`, l.Run+"/")
	if err != nil {
		return Result{}, fmt.Errorf("read orders of %s: %w", l.Run, err)
	}
	stored := map[string][]uuid.UUID{}
	var note string
	var ids []uuid.UUID
	_, err = pgx.ForEachRow(rows, []any{&note, &ids}, func() error {
		stored[note] = append([]uuid.UUID(nil), ids...)
		return nil
	})
	if err != nil {
		return Result{}, fmt.Errorf("read orders of %s: %w", l.Run, err)
	}
	var r Result
	for _, there := range stored {
		r.Stored += len(there)
	}
	for _, e := range l.Entries() {
		r.Requests++
		if e.Failed() {
			r.Failed++
		}
		if e.Took() > r.Longest.Took() {
			r.Longest = e
		}
		if !e.Order {
			continue
		}
		there := stored[e.Note(l.Run)]
		if len(there) > 1 {
			r.Doubled = append(r.Doubled, e.Number)
		}
		if e.Failed() {
			continue
		}
		r.Acknowledged++
		switch {
		case len(there) == 0:
			r.Lost = append(r.Lost, e.Number)
		case len(there) == 1 && there[0] != e.OrderID:
			r.Doubled = append(r.Doubled, e.Number)
		}
	}
	return r, nil
}
