package audit

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"speedybites/internal/audit/chain"
	"speedybites/internal/postgres"
)

// recover marks the entries whose lines are in the file, and finds out where the chain ends.
func (r *Relay) recover(ctx context.Context, at *step) error {
	// One line more than can be without a mark: the one that begins a chain.
	tail, err := r.tail.Recover(batchSize + 1)
	if err != nil {
		return fmt.Errorf("read the end of the audit file: %w", err)
	}
	w := written{ids: tail.IDs, head: tail.Head}
	if l := tail.Genesis; l != nil {
		g, err := genesis(l.ChainID, l.Time, l.Previous)
		if err != nil {
			return fmt.Errorf("read the end of the audit file: %w", err)
		}
		w.genesis = &g
	}
	r.done.add(tail.IDs)
	*at = stepMark
	var same, last chain.Head
	err = r.db.Background(ctx, "audit.recover", func(ctx context.Context, tx *postgres.Tx) error {
		if same, last, err = loadChain(ctx, tx, tail.Head.ChainID, r.stream); err != nil {
			return err
		}
		if len(w.ids) == 0 && w.head.ChainID == uuid.Nil {
			return nil
		}
		return markExported(ctx, tx, r.stream, w)
	})
	if err != nil {
		return err
	}
	r.head, r.previous = tail.Head, chain.Head{}
	switch {
	case r.head.ChainID == uuid.Nil:
		r.previous = last
	case same.Seq > r.head.Seq, same.Seq == r.head.Seq && same.Hash != r.head.Hash:
		// Going on behind what the database knows leaves the gap in the files, for everybody to find.
		r.metrics.failed(stepChain)
		r.log.LogAttrs(ctx, slog.LevelError, "audit lines are missing or changed: the file does not end with what was written",
			slog.String("chain", same.ChainID.String()), slog.Int64("last_in_file", r.head.Seq),
			slog.Int64("last_written", same.Seq))
		r.head = same
	}
	r.metrics.sequence.Set(float64(r.head.Seq))
	return nil
}

// write writes the lines of entries to the file, begins the chain where there is none, and returns what is in the file
// then.
func (r *Relay) write(ctx context.Context, entries []pending, at *step) (written, error) {
	var w written
	*at = stepWrite
	if r.head.ChainID == uuid.Nil {
		g, err := r.begin(ctx)
		if err != nil {
			return w, err
		}
		w.genesis = &g
	}
	for _, e := range entries {
		if r.done.has(e.operationID) {
			continue
		}
		if err := r.writeLine(e); err != nil {
			return w, err
		}
	}
	*at = stepSync
	start := time.Now()
	if err := r.sink.Sync(); err != nil {
		return w, fmt.Errorf("sync the audit file: %w", err)
	}
	r.metrics.fsync.Observe(time.Since(start).Seconds())
	w.ids, w.head = operationIDs(entries), r.head
	r.done.add(w.ids)
	return w, nil
}

// begin writes the first line of a chain. The line names the chain that the database remembers of this stream, whose
// files must have been deleted.
func (r *Relay) begin(ctx context.Context) (pending, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return pending{}, fmt.Errorf("begin audit chain: %w", err)
	}
	var previous *chain.Head
	if r.previous.ChainID != uuid.Nil {
		previous = &r.previous
		r.metrics.failed(stepChain)
		r.log.LogAttrs(ctx, slog.LevelError, "audit files are missing, a new chain begins",
			slog.String("missing_chain", previous.ChainID.String()), slog.Int64("missing_lines", previous.Seq),
			slog.String("chain", id.String()))
	}
	g, err := genesis(id, time.Now().Truncate(time.Microsecond), previous)
	if err != nil {
		return pending{}, fmt.Errorf("begin audit chain: %w", err)
	}
	r.head = chain.Head{ChainID: id}
	return g, r.writeLine(g)
}

func (r *Relay) writeLine(e pending) error {
	line, next, err := e.line(r.head)
	if err != nil {
		return fmt.Errorf("encode line of audit entry %s: %w", e.operationID, err)
	}
	// A line at a time: a rotating sink never splits a line, and refuses more at once than a file may hold.
	if _, err := r.sink.Write(line); err != nil {
		return fmt.Errorf("write line of audit entry %s: %w", e.operationID, err)
	}
	r.head = next
	r.metrics.records.Inc()
	r.metrics.sequence.Set(float64(next.Seq))
	return nil
}
