package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/postgres"
)

// pending is a committed entry without a line.
type pending struct {
	operationID    uuid.UUID
	at             time.Time
	actorID        uuid.NullUUID
	actorRole      string
	action, entity string
	entityID       uuid.UUID
	before, after  []byte
	requestID      string
}

const selectPending = `
SELECT operation_id, at, actor_id, actor_role, action, entity, entity_id, before, after, request_id
FROM audit_log
WHERE exported_at IS NULL
ORDER BY at, operation_id
LIMIT $1
FOR UPDATE SKIP LOCKED`

// lockPending returns up to limit entries without a mark, the oldest first, and keeps them for this transaction.
func lockPending(ctx context.Context, tx *postgres.Tx, limit int) ([]pending, error) {
	rows, err := tx.Query(ctx, selectPending, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (pending, error) {
		var e pending
		err := row.Scan(&e.operationID, &e.at, &e.actorID, &e.actorRole, &e.action, &e.entity, &e.entityID, &e.before,
			&e.after, &e.requestID)
		return e, err
	})
}

const markSQL = `UPDATE audit_log SET exported_at = now() WHERE operation_id = ANY($1) AND exported_at IS NULL`

// markExported marks entries as being in the file and commits.
func markExported(ctx context.Context, tx *postgres.Tx, ids []uuid.UUID) error {
	b := &pgx.Batch{}
	b.Queue(markSQL, ids)
	return tx.CommitWith(ctx, b)
}

func operationIDs(entries []pending) []uuid.UUID {
	ids := make([]uuid.UUID, len(entries))
	for i, e := range entries {
		ids[i] = e.operationID
	}
	return ids
}

// line is an entry as audit.log has it.
type line struct {
	Time      time.Time       `json:"time"`
	Level     string          `json:"level"`
	Msg       string          `json:"msg"`
	AuditID   uuid.UUID       `json:"auditId"`
	ActorID   uuid.NullUUID   `json:"actorId"`
	ActorRole string          `json:"actorRole"`
	Action    string          `json:"action"`
	Entity    string          `json:"entity"`
	EntityID  uuid.UUID       `json:"entityId"`
	Before    json.RawMessage `json:"before"`
	After     json.RawMessage `json:"after"`
	RequestID string          `json:"requestId"`
}

// line returns the entry as one line of JSON with its line break.
func (e pending) line() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(line{
		Time: e.at.UTC(), Level: "INFO", Msg: "audit", AuditID: e.operationID, ActorID: e.actorID, ActorRole: e.actorRole,
		Action: e.action, Entity: e.entity, EntityID: e.entityID, Before: e.before, After: e.after, RequestID: e.requestID,
	})
	return b.Bytes(), err
}
