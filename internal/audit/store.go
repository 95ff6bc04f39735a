package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/audit/chain"
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

// The head never goes back: a file that has lost its end must stay behind what is known here.
const storeHead = `
INSERT INTO audit_chain (chain_id, stream, seq, hash) VALUES ($1, $2, $3, $4)
ON CONFLICT (chain_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, updated_at = now()
WHERE audit_chain.seq < excluded.seq`

const insertGenesis = `
INSERT INTO audit_log (operation_id, at, actor_role, action, entity, entity_id, after, exported_at)
VALUES ($1, $2, $3, $4, $5, $1, $6, now())
ON CONFLICT (operation_id) DO NOTHING`

// written is what a file holds and the database is to know.
type written struct {
	ids     []uuid.UUID
	head    chain.Head // zero: there is no chain
	genesis *pending   // of the head's chain, when its row may not be there yet
}

// markExported marks entries as being in the file, keeps the chain's head, and commits.
func markExported(ctx context.Context, tx *postgres.Tx, stream string, w written) error {
	b := &pgx.Batch{}
	if g := w.genesis; g != nil {
		b.Queue(insertGenesis, g.operationID, g.at, g.actorRole, g.action, g.entity, g.after)
	}
	if len(w.ids) > 0 {
		b.Queue(markSQL, w.ids)
	}
	if w.head.ChainID != uuid.Nil {
		b.Queue(storeHead, w.head.ChainID, stream, w.head.Seq, w.head.Hash[:])
	}
	return tx.CommitWith(ctx, b)
}

const selectChains = `SELECT chain_id, seq, hash, stream, begun_at, updated_at FROM audit_chain`

// loadChain returns what the database knows of a chain, and the last chain that began in the stream; both may be zero.
func loadChain(ctx context.Context, tx *postgres.Tx, id uuid.UUID, stream string) (same, last chain.Head, err error) {
	rows, err := tx.Query(ctx, selectChains+` WHERE chain_id = $1 OR stream = $2 ORDER BY begun_at`, id, stream)
	if err != nil {
		return same, last, err
	}
	chains, err := pgx.CollectRows(rows, scanChain)
	for _, c := range chains {
		if c.ChainID == id {
			same = c.Head
		}
		if c.Stream == stream {
			last = c.Head
		}
	}
	return same, last, err
}

func scanChain(row pgx.CollectableRow) (chain.Stored, error) {
	var c chain.Stored
	var hash []byte
	err := row.Scan(&c.ChainID, &c.Seq, &hash, &c.Stream, &c.Begun, &c.Updated)
	copy(c.Hash[:], hash)
	return c, err
}

// Chains reads all chains that the database at dsn knows, the oldest first, over a connection of its own: for commands.
func Chains(ctx context.Context, dsn string) (_ []chain.Stored, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("read the audit chains: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	rows, err := conn.Query(ctx, selectChains+` ORDER BY begun_at`, pgx.QueryExecModeExec) // it may be a pooler's, which prepares nothing
	if err != nil {
		return nil, fmt.Errorf("read the audit chains: %w", err)
	}
	chains, err := pgx.CollectRows(rows, scanChain)
	if err != nil {
		return nil, fmt.Errorf("read the audit chains: %w", err)
	}
	return chains, nil
}

const selectBacklog = `
SELECT count(*), COALESCE(extract(epoch FROM clock_timestamp() - min(at)), 0)::float8
FROM audit_log
WHERE exported_at IS NULL`

// countPending returns the number of entries without a mark and the age of the oldest, and commits. The age is taken by
// the database's clock, which is also that of the entries.
func countPending(ctx context.Context, tx *postgres.Tx) (n int64, age time.Duration, err error) {
	var seconds float64
	b := &pgx.Batch{}
	b.Queue(selectBacklog).QueryRow(func(row pgx.Row) error { return row.Scan(&n, &seconds) })
	err = tx.CommitWith(ctx, b)
	return n, time.Duration(max(0, seconds) * float64(time.Second)), err
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

// line returns the entry as one line of JSON with its line break, behind the lines up to head, and the head after it.
func (e pending) line(head chain.Head) ([]byte, chain.Head, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(line{
		Time: e.at.UTC(), Level: "INFO", Msg: "audit", AuditID: e.operationID, ActorID: e.actorID, ActorRole: e.actorRole,
		Action: e.action, Entity: e.entity, EntityID: e.entityID, Before: e.before, After: e.after, RequestID: e.requestID,
	})
	if err != nil {
		return nil, chain.Head{}, err
	}
	return head.Seal(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// genesis is the entry that begins a chain; its id is the chain's.
func genesis(id uuid.UUID, at time.Time, previous *chain.Head) (pending, error) {
	after, err := json.Marshal(struct {
		Previous *chain.Head `json:"previous"`
	}{previous})
	return pending{
		operationID: id, at: at, actorRole: System, action: "begin", entity: "auditChain", entityID: id, after: after,
	}, err
}
