package audit_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"speedybites/internal/audit"
	"speedybites/internal/audit/chain"
	"speedybites/internal/dbtest"
	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
)

// file is a sink that appends to a file, and can die at a chosen write or sync as kill -9 or a full disk would have it.
type file struct {
	path string
	// writes and syncs are how many of each still go well; below 0 means all.
	writes, syncs int
	// torn is how many bytes of the write that goes wrong are written.
	torn int
}

var errDied = errors.New("died")

func (f *file) Write(b []byte) (int, error) {
	out, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { _ = out.Close() }()
	if f.writes == 0 {
		n, _ := out.Write(b[:min(f.torn, len(b))])
		return n, errDied
	}
	f.writes--
	return out.Write(b)
}

func (f *file) Sync() error {
	if f.syncs == 0 {
		return errDied
	}
	f.syncs--
	return nil
}

// bench is a database with entries and a file that they go to.
type bench struct {
	db   *postgres.DB
	raw  *pgxpool.Pool
	path string
	want []uuid.UUID
	dsn  string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	url := pgtest.DB(t)
	return &bench{
		db: dbtest.OpenDefault(t, url), raw: dbtest.Raw(t, url), path: filepath.Join(t.TempDir(), "audit.log"), dsn: url,
	}
}

func (b *bench) relay(f audit.Sink) *audit.Relay {
	r, err := audit.NewRelay(b.config(f))
	if err != nil {
		panic(err) // nothing is registered that could fail
	}
	return r
}

func (b *bench) config(f audit.Sink) audit.Config {
	return audit.Config{
		DB: b.db, Sink: f, Tail: audit.FileTail{Path: b.path}, Log: slog.New(slog.DiscardHandler), Stream: "first",
	}
}

func (b *bench) healthy() *file { return &file{path: b.path, writes: -1, syncs: -1} }

// add commits n entries.
func (b *bench) add(t *testing.T, n int) {
	t.Helper()
	batch := &pgx.Batch{}
	for range n {
		id, err := uuid.NewV7()
		if err != nil {
			t.Fatal(err)
		}
		e := audit.Entry{
			OperationID: id, Actor: audit.Actor{ID: uuid.New(), Role: "owner", RequestID: "r<1>"}, Action: "create",
			Entity: "restaurant", EntityID: uuid.New(), After: map[string]any{"name": "Bites & Söhne\n"},
		}
		if err := audit.Queue(batch, e); err != nil {
			t.Fatal(err)
		}
		b.want = append(b.want, id)
	}
	if err := b.raw.SendBatch(t.Context(), batch).Close(); err != nil {
		t.Fatal(err)
	}
}

// check wants each entry on exactly one line, every line to be JSON, the chain to hold, and every entry to be marked.
func (b *bench) check(t *testing.T, paths ...string) {
	t.Helper()
	var text []byte
	for _, path := range append(paths, b.path) {
		part, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		text = append(text, part...)
	}
	got := map[uuid.UUID]int{}
	for line := range bytes.Lines(text) {
		var l struct {
			AuditID uuid.UUID `json:"auditId"`
			ChainID uuid.UUID `json:"chainId"`
		}
		if err := json.Unmarshal(line, &l); err != nil || line[len(line)-1] != '\n' {
			t.Fatalf("torn line %q: %v", line, err)
		}
		if l.AuditID != l.ChainID { // the line that begins the chain
			got[l.AuditID]++
		}
	}
	want := map[uuid.UUID]int{}
	for _, id := range b.want {
		want[id] = 1
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("lines by entry (-want +got):\n%s", diff)
	}
	var unmarked int
	err := b.raw.QueryRow(t.Context(), `SELECT count(*) FROM audit_log WHERE exported_at IS NULL`).Scan(&unmarked)
	if err != nil || unmarked != 0 {
		t.Fatalf("got %d entries without a mark, %v", unmarked, err)
	}
	if report := b.verify(t); report.Break != nil || report.Unfinished > 0 || len(report.Notes) > len(paths) {
		t.Fatalf("the chain does not hold: %v, %+v", report.Break, report)
	}
}

// verify compares the files with the database.
func (b *bench) verify(t *testing.T) chain.Report {
	t.Helper()
	known, err := audit.Chains(t.Context(), b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	report, err := chain.Verify(t.Context(), b.path, chain.Options{Known: &chain.Known{Chains: known, Stream: "first"}})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestRelay(t *testing.T) {
	t.Parallel()

	t.Run("Line", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		_, err := b.raw.Exec(t.Context(), `INSERT INTO audit_log VALUES
			('019b76da-a800-7000-8000-000000000001', '2026-02-03 04:05:06.789+02', NULL, 'system', 'create', 'user',
			 '019b76da-a800-7000-8000-000000000002', NULL, '{"name":"A & B"}', '')`)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.relay(b.healthy()).Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(b.path)
		if err != nil {
			t.Fatal(err)
		}
		first, line, _ := strings.Cut(string(got), "\n")
		link, err := chain.Parse([]byte(first))
		if err != nil || !link.Intact || !link.Genesis() || link.Previous != nil || link.AuditID != link.ChainID {
			t.Fatalf("got %+v, %v, want the first line of a chain", link, err)
		}
		want := `{"time":"2026-02-03T02:05:06.789Z","level":"INFO","msg":"audit",` +
			`"auditId":"019b76da-a800-7000-8000-000000000001","actorId":null,"actorRole":"system","action":"create",` +
			`"entity":"user","entityId":"019b76da-a800-7000-8000-000000000002","before":null,` +
			`"after":{"name":"A & B"},"requestId":"","chainId":"` + link.ChainID.String() +
			`","seq":2,"prevHash":"` + link.Hash.String() + `"`
		hash := sha256.Sum256([]byte(link.Hash.String() + want + "}"))
		want += `,"hash":"` + hex.EncodeToString(hash[:]) + "\"}\n"
		if diff := cmp.Diff(want, line); diff != "" {
			t.Errorf("line (-want +got):\n%s", diff)
		}
	})

	// A pool that is used up is not the relay's failure: that would page beside the page for the pool.
	t.Run("NoConnectionFree", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.add(t, 1)
		dbConfig := dbtest.Config(b.dsn)
		dbConfig.PoolMin, dbConfig.PoolMax, dbConfig.ConnectTimeout = 1, 1, 50*time.Millisecond
		small := dbtest.Open(t, dbConfig, slog.New(slog.DiscardHandler))
		reg := prometheus.NewRegistry()
		cfg := b.config(b.healthy())
		cfg.DB, cfg.Registerer = small, reg
		r, err := audit.NewRelay(cfg)
		if err != nil {
			t.Fatal(err)
		}
		err = small.Read(t.Context(), "hold", func(ctx context.Context, _ postgres.Querier) error {
			if err := r.Drain(ctx); !errors.Is(err, postgres.ErrSaturated) {
				t.Errorf("without a connection: got %v, want ErrSaturated", err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := sum(t, reg, "speedybites_audit_failures_total"); got != 0 {
			t.Errorf("%v failures counted, want 0", got)
		}
		if err := r.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.check(t)
	})

	t.Run("ManyBatches", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.add(t, 1234)
		r := b.relay(b.healthy())
		for range 2 {
			if err := r.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		b.check(t)
	})

	t.Run("RepeatedOperationIsOneEntry", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.add(t, 1)
		batch := &pgx.Batch{}
		if err := audit.Queue(batch, audit.Entry{OperationID: b.want[0]}); err != nil {
			t.Fatal(err)
		}
		if err := b.raw.SendBatch(t.Context(), batch).Close(); err != nil {
			t.Fatal(err)
		}
		if err := b.relay(b.healthy()).Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.check(t)
	})

	t.Run("RunsUntilItsContextEnds", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.add(t, 3)
		ctx, cancel := context.WithCancel(t.Context())
		r := b.relay(b.healthy())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		b.wait(t)
		b.add(t, 3)
		r.Wake()
		b.wait(t)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("got %v, want nil", err)
		}
		b.add(t, 3)
		if err := r.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.check(t)
	})

	t.Run("MarksLostInAFailover", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		r := b.relay(b.healthy())
		b.add(t, 700)
		if err := r.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := b.raw.Exec(t.Context(), `UPDATE audit_log SET exported_at = NULL`); err != nil {
			t.Fatal(err)
		}
		b.add(t, 3)
		if err := r.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.check(t)
	})

	t.Run("TwoInstances", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.add(t, 2500)
		second := filepath.Join(filepath.Dir(b.path), "second.log")
		cfg := b.config(&file{path: second, writes: -1, syncs: -1})
		cfg.Tail, cfg.Stream = audit.FileTail{Path: second}, "second"
		other, err := audit.NewRelay(cfg)
		if err != nil {
			t.Fatal(err)
		}
		relays := []*audit.Relay{b.relay(b.healthy()), other}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, r := range relays {
			wg.Go(func() { _ = r.Run(ctx) })
		}
		b.wait(t)
		cancel()
		wg.Wait()
		b.check(t, second)
	})

	t.Run("EntriesOfOthersAreLeftToThem", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.add(t, 3)
		other, err := b.raw.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Rollback(context.Background()) }()
		if _, err := other.Exec(t.Context(), `SELECT FROM audit_log WHERE operation_id = $1 FOR UPDATE`, b.want[1]); err != nil {
			t.Fatal(err)
		}
		r := b.relay(b.healthy())
		if err := r.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		var unmarked uuid.UUID
		err = b.raw.QueryRow(t.Context(), `SELECT operation_id FROM audit_log WHERE exported_at IS NULL`).Scan(&unmarked)
		if err != nil || unmarked != b.want[1] {
			t.Errorf("got %v, %v left, want %v", unmarked, err, b.want[1])
		}
		if err := other.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.check(t)
	})
}

// wait waits until every entry is marked.
func (b *bench) wait(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		var left int
		err := b.raw.QueryRow(t.Context(), `SELECT count(*) FROM audit_log WHERE exported_at IS NULL`).Scan(&left)
		if err != nil {
			t.Fatal(err)
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d entries still not relayed", left)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
