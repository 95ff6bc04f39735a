package synthetic

import (
	"context"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/postgres"
)

// Queries lists the names of this package's queries, for the labels of metrics.
func Queries() []string { return []string{"synthetic.read", "synthetic.write"} }

// read counts this instance's rows: one answer, whether the first write came before or not.
func (p *Prober) read(ctx context.Context) error {
	return p.cfg.DB.Read(ctx, "synthetic.read", func(ctx context.Context, q postgres.Querier) error {
		var rows int
		return q.QueryRow(ctx, `SELECT count(*) FROM synthetic_probe WHERE instance = $1`, p.cfg.Instance).Scan(&rows)
	})
}

// write updates this instance's row, which comes to the same however often it runs. COMMIT goes on its own: what is sent
// together with it could not be ended at the probe's timeout.
func (p *Prober) write(ctx context.Context) error {
	return p.cfg.DB.Write(ctx, "synthetic.write", func(ctx context.Context, tx *postgres.Tx) error {
		b := &pgx.Batch{}
		b.Queue(`INSERT INTO synthetic_probe (instance, probed_at) VALUES ($1, now())
			ON CONFLICT (instance) DO UPDATE SET probed_at = excluded.probed_at`, p.cfg.Instance)
		// Rows that another instance holds are its to update or to delete; to wait for them could be a deadlock.
		b.Queue(`DELETE FROM synthetic_probe WHERE instance IN (SELECT instance FROM synthetic_probe
			WHERE probed_at < now() - interval '1 day' AND instance <> $1 FOR UPDATE SKIP LOCKED)`, p.cfg.Instance)
		return tx.SendBatch(ctx, b).Close()
	})
}
