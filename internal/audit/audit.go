package audit

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// System is the role of changes that nobody asked for over the API, such as those of the command line.
const System = "system"

// Actor is who makes a change, and in which request.
type Actor struct {
	// ID is the user's id. Who registers is the actor of that change. uuid.Nil means that no user is: see System.
	ID uuid.UUID
	// Role is the user's role at the time of the change, or System.
	Role string
	// RequestID is the X-Request-Id of the request; empty outside one.
	RequestID string
}

// Entry is one change. Before and After are encoded as JSON; nil where the entity did not exist yet or no longer does.
// They are kept for years and read by many: no secrets, not even hashes.
type Entry struct {
	// OperationID is drawn once per request, before the first attempt of its transaction. It is the entry's identity:
	// an attempt that is repeated adds nothing.
	OperationID uuid.UUID
	// At is when it happened; zero means the time of the transaction that adds it, by the database's clock.
	At       time.Time
	Actor    Actor
	Action   string
	Entity   string
	EntityID uuid.UUID
	Before   any
	After    any
}

const insertEntry = `
INSERT INTO audit_log (operation_id, at, actor_id, actor_role, action, entity, entity_id, before, after, request_id)
VALUES ($1, COALESCE($2, now()), $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (operation_id) DO NOTHING`

// Queue appends the INSERT of e to b, a batch of the same transaction as the change itself. It fails only when Before
// or After cannot be encoded.
func Queue(b *pgx.Batch, e Entry) error {
	p, err := e.encode()
	if err != nil {
		return err
	}
	p.queue(b)
	return nil
}

// encode returns the entry as a row of the table.
func (e Entry) encode() (pending, error) {
	before, err := encode(e.Before)
	if err != nil {
		return pending{}, fmt.Errorf("encode audit entry before %s: %w", e.Action, err)
	}
	after, err := encode(e.After)
	if err != nil {
		return pending{}, fmt.Errorf("encode audit entry after %s: %w", e.Action, err)
	}
	return pending{
		operationID: e.OperationID, at: e.At, actorID: uuid.NullUUID{UUID: e.Actor.ID, Valid: e.Actor.ID != uuid.Nil},
		actorRole: e.Actor.Role, action: e.Action, entity: e.Entity, entityID: e.EntityID, before: before, after: after,
		requestID: e.Actor.RequestID,
	}, nil
}

// queue appends the INSERT of the row to b.
func (e pending) queue(b *pgx.Batch) {
	at := &e.at
	if e.at.IsZero() {
		at = nil
	}
	b.Queue(insertEntry, e.operationID, at, e.actorID, e.actorRole, e.action, e.entity, e.entityID, e.before, e.after,
		e.requestID)
}

// encode returns v as JSON, or nil (SQL NULL) for nil.
func encode(v any) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	return json.Marshal(v)
}

// Queries returns the names of all queries that this package makes, as the database layer's metrics and spans have them.
func Queries() []string {
	return []string{"audit.relay", "audit.recover", "audit.record", "audit.measure", "audit.list"}
}
