package audit_test

import (
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"speedybites/internal/audit"
	"speedybites/internal/dbtest"
	"speedybites/internal/pgtest"
	"speedybites/observability"
)

// BenchmarkRelayBacklog relays 50,000 entries, each about as large as an order's, to the real file.
func BenchmarkRelayBacklog(b *testing.B) {
	const entries = 50_000
	url := pgtest.DB(b)
	db, raw := dbtest.OpenDefault(b, url), dbtest.Raw(b, url)
	dir := b.TempDir()
	logs, err := observability.OpenLogs(observability.LogConfig{Dir: dir, MaxSizeMB: 100}, io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = logs.Close(b.Context()) }()
	r, err := audit.NewRelay(audit.Config{
		DB: db, Sink: logs.Audit(), Tail: audit.FileTail{Path: filepath.Join(dir, "audit.log")}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		_, err := raw.Exec(b.Context(), `
			INSERT INTO audit_log (operation_id, actor_id, actor_role, action, entity, entity_id, after, request_id)
			SELECT gen_random_uuid(), gen_random_uuid(), 'customer', 'place', 'order', gen_random_uuid(),
				jsonb_build_object('status', 'placed', 'totalCents', i, 'deliveryAddress', repeat('x', 300)), gen_random_uuid()
			FROM generate_series(1, $1) i`, entries)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := r.Drain(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(entries*b.N)/b.Elapsed().Seconds(), "lines/s")
}
