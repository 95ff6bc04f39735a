package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/postgres"
	"speedybites/internal/validation"
)

// Record is one change as it was written down.
type Record struct {
	// ID is the operation's, as in audit.log.
	ID        uuid.UUID
	At        time.Time
	ActorID   uuid.NullUUID // of the user who made the change; null where no user did
	ActorRole string
	Action    string
	Entity    string
	EntityID  uuid.UUID
	Before    json.RawMessage // null where the entity did not exist yet
	After     json.RawMessage // null where it no longer does
	RequestID string
}

// Filter chooses records: zero values choose all.
type Filter struct {
	Entity            string
	EntityID, ActorID uuid.UUID
	// Limit is the most records wanted, 1 to 100; 0 means 20. Cursor is the mark that the page before ended with.
	Limit  int
	Cursor string
}

// maxEntity bounds the name of a kind of entity.
const maxEntity = 60

// Reader shows the audit log. It is safe for concurrent use.
type Reader struct{ db *postgres.DB }

// NewReader returns the audit log kept in db.
func NewReader(db *postgres.DB) *Reader { return &Reader{db: db} }

// A NULL parameter chooses all. The planner makes a plan for the values that are there.
const selectRecords = `
SELECT operation_id, at, actor_id, actor_role, action, entity, entity_id, before, after, request_id
FROM audit_log
WHERE operation_id < $1
  AND ($2::uuid IS NULL OR entity_id = $2)
  AND ($3::uuid IS NULL OR actor_id = $3)
  AND ($4 = '' OR entity = $4)
ORDER BY operation_id DESC
LIMIT $5`

// Records lists changes, newest first. next is the cursor of the following page, "" after the last. It fails with
// validation.Errors.
func (r *Reader) Records(ctx context.Context, f Filter) (list []Record, next string, err error) {
	var errs validation.Errors
	errs.Text("entity", f.Entity, 0, maxEntity)
	limit, before := errs.Limit(f.Limit), errs.Cursor(f.Cursor, uuid.Max)
	if err := errs.Err(); err != nil {
		return nil, "", err
	}
	err = r.db.Read(ctx, "audit.list", func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, selectRecords, before, optional(f.EntityID), optional(f.ActorID), f.Entity, limit+1)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, scanRecord)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("list audit records: %w", err)
	}
	if len(list) > limit {
		list = list[:limit]
		next = validation.EncodeCursor(list[limit-1].ID)
	}
	return list, next, nil
}

func optional(id uuid.UUID) uuid.NullUUID { return uuid.NullUUID{UUID: id, Valid: id != uuid.Nil} }

func scanRecord(row pgx.CollectableRow) (Record, error) {
	var (
		r             Record
		before, after []byte
	)
	err := row.Scan(&r.ID, &r.At, &r.ActorID, &r.ActorRole, &r.Action, &r.Entity, &r.EntityID, &before, &after, &r.RequestID)
	r.At, r.Before, r.After = r.At.UTC(), before, after
	return r, err
}
