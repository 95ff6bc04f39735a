package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/audit"
	"speedybites/internal/audit/chain"
	"speedybites/internal/dbtest"
	"speedybites/observability"
)

func TestQueries(t *testing.T) {
	t.Parallel()
	dbtest.Queries(t, audit.Queries())
}

// drain relays everything with a new relay, as a new process does.
func (b *bench) drain(t *testing.T) {
	t.Helper()
	if err := b.relay(b.healthy()).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) lines(t *testing.T) [][]byte {
	t.Helper()
	text, err := os.ReadFile(b.path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.SplitAfter(text, []byte("\n"))
}

// keep leaves the first n lines in the file.
func (b *bench) keep(t *testing.T, n int) {
	t.Helper()
	if err := os.WriteFile(b.path, bytes.Join(b.lines(t)[:n], nil), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRelayLostFiles takes lines away behind the relay's back.
func TestRelayLostFiles(t *testing.T) {
	t.Parallel()
	backup := func(b *bench) string { return filepath.Join(filepath.Dir(b.path), "audit-2026-01-02T03-04-05.678.log") }
	for _, c := range []struct {
		name string
		lose func(t *testing.T, b *bench)
		// at once and later are the problems before and after the relay has written on.
		atOnce, later string
	}{
		{
			"EndCutOff", func(t *testing.T, b *bench) { t.Helper(); b.keep(t, 3) },
			":4: removed: number 4 is missing at the end", ":4: removed: number 4 is missing before it",
		},
		{
			"AllLines", func(t *testing.T, b *bench) { t.Helper(); b.keep(t, 0) },
			":1: removed: the files of the chain", ":1: removed: the files of the chain",
		},
		{
			"AllFiles", func(t *testing.T, b *bench) {
				t.Helper()
				if err := os.Remove(b.path); err != nil {
					t.Fatal(err)
				}
			},
			":1: removed: the files of the chain", ":1: removed: the files of the chain",
		},
		{
			"CurrentFile", func(t *testing.T, b *bench) {
				t.Helper()
				if err := os.WriteFile(backup(b), bytes.Join(b.lines(t)[:2], nil), 0o600); err != nil {
					t.Fatal(err)
				}
				b.keep(t, 0)
			},
			":1: removed: numbers 3 to 4 are missing at the end", ":1: removed: numbers 3 to 4 are missing before it",
		},
		{
			"LastLineChanged", func(t *testing.T, b *bench) {
				t.Helper()
				text := bytes.Join(b.lines(t), nil)
				i := bytes.LastIndex(text, []byte("Bites"))
				text[i] = 'b'
				if err := os.WriteFile(b.path, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}, ":4: changed: the hash is not that of the line", ":4: changed: the hash is not that of the line",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.add(t, 3)
			b.drain(t)
			b.check(t)
			c.lose(t, b)
			if got := fmt.Sprint(b.verify(t).Break); !strings.HasPrefix(got, b.path+c.atOnce) {
				t.Errorf("at once: got %v, want %v", got, c.atOnce)
			}
			b.add(t, 1)
			b.drain(t)
			if got := fmt.Sprint(b.verify(t).Break); !strings.HasPrefix(got, b.path+c.later) {
				t.Errorf("later: got %v, want %v", got, c.later)
			}
			b.add(t, 1)
			b.drain(t)
			if got := fmt.Sprint(b.verify(t).Break); !strings.HasPrefix(got, b.path+c.later) {
				t.Errorf("after another start: got %v, want %v", got, c.later)
			}
		})
	}
}

// TestRelayBeginsBehindUnchainedLines is the first start after an update from a version without chains.
func TestRelayBeginsBehindUnchainedLines(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	old := fmt.Sprintf("{\"msg\":\"audit\",\"auditId\":%q}\n", uuid.New())
	if err := os.WriteFile(b.path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b.add(t, 2)
		b.drain(t)
	}
	report, err := chain.Verify(t.Context(), b.path, chain.Options{AllowMissingStart: true})
	if err != nil || report.Break != nil || report.Unchained != 1 || report.Head.Seq != 5 {
		t.Errorf("got %v, %+v", err, report)
	}
}

// TestRelayRotates has eight writers and the real file, rotated at 1 MB and verified while it is written.
func TestRelayRotates(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.path = filepath.Join(t.TempDir(), "logs", "audit.log")
	run := func(entries int) {
		logs, err := observability.OpenLogs(observability.LogConfig{Dir: filepath.Dir(b.path), MaxSizeMB: 1}, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		r := b.relay(logs.Audit())
		var relaying, writing sync.WaitGroup
		relaying.Go(func() { _ = r.Run(ctx) })
		for range 8 {
			writing.Go(func() { b.write(t, entries/8, 2000) })
		}
		for range 10 {
			report, err := chain.Verify(t.Context(), b.path, chain.Options{})
			if err != nil || report.Break != nil {
				t.Errorf("while it is written: %v, %v", report.Break, err)
			}
		}
		writing.Wait()
		b.wait(t)
		cancel()
		relaying.Wait()
		if err := logs.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	run(1200)
	run(800)
	backups, err := chain.Backups(b.path)
	if err != nil || len(backups) < 3 {
		t.Fatalf("got %d backups, %v", len(backups), err)
	}
	report := b.verify(t)
	if report.Break != nil || report.Lines != 2001 || report.Files != len(backups)+1 || len(report.Notes) > 0 {
		t.Errorf("got %v, %+v", report.Break, report)
	}
	if err := os.Remove(backups[1]); err != nil {
		t.Fatal(err)
	}
	if got := b.verify(t).Break; got == nil || got.Kind != chain.Removed || got.File != backups[2] || got.Line != 1 {
		t.Errorf("a backup removed: got %v", got)
	}
}

// write commits n entries of about size bytes one by one.
func (b *bench) write(t *testing.T, n, size int) {
	t.Helper()
	for range n {
		batch := &pgx.Batch{}
		id, err := uuid.NewV7()
		err = errors.Join(err, audit.Queue(batch, audit.Entry{
			OperationID: id, Actor: audit.Actor{Role: audit.System}, Action: "create", Entity: "order", EntityID: id,
			After: strings.Repeat("x", size),
		}))
		if err := errors.Join(err, b.raw.SendBatch(t.Context(), batch).Close()); err != nil {
			t.Error(err)
			return
		}
	}
}

func TestQueueAt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	at := time.Date(2026, 2, 3, 4, 5, 6, 789000, time.UTC)
	for _, want := range []time.Time{at, {}} {
		batch := &pgx.Batch{}
		id := uuid.New()
		if err := audit.Queue(batch, audit.Entry{OperationID: id, At: want}); err != nil {
			t.Fatal(err)
		}
		if err := b.raw.SendBatch(t.Context(), batch).Close(); err != nil {
			t.Fatal(err)
		}
		var got time.Time
		if err := b.raw.QueryRow(t.Context(), `SELECT at FROM audit_log WHERE operation_id = $1`, id).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if want.IsZero() {
			if time.Since(got).Abs() > time.Hour {
				t.Errorf("got %v, want now", got)
			}
			continue
		}
		if !got.Equal(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}
