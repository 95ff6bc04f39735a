package postgres

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/time/rate"

	"speedybites/internal/postgres/cluster"
)

// dialsPerSecond bounds the prober's dials: a name with several addresses needs one for each.
const dialsPerSecond = 3

// probeTimeout is the prober's statement limit on the server, in case its own are not enough.
const probeTimeout = 5 * time.Second

// errReadOnly is what a server answers that is there, but is a standby or a primary made read-only.
var errReadOnly = errors.New("server is read-only: not the primary")

// prober logs in for the monitor, outside the pool and with limits of its own.
type prober struct {
	config *pgx.ConnConfig
	dialer *net.Dialer
	dials  *rate.Limiter
}

func newProber(pooled *pgx.ConnConfig, dialer *net.Dialer) *prober {
	p := &prober{config: pooled.Copy(), dialer: dialer, dials: rate.NewLimiter(dialsPerSecond, dialsPerSecond)}
	p.config.Tracer = nil
	p.config.DefaultQueryExecMode = pgx.QueryExecModeExec // nothing is prepared on a connection that may go any time
	p.config.ConnectTimeout = 0                           // the monitor's context bounds it
	setSession(p.config, "speedy-bites prober", probeTimeout)
	return p
}

// login makes a connection and looks at the server's role. It dials for nothing else: pgx would dial again to cancel a
// query that was given up.
func (p *prober) login(ctx context.Context) (cluster.Session, error) {
	cc := p.config.Copy()
	var established atomic.Bool
	cc.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if established.Load() {
			return nil, errNoDial
		}
		if err := p.dials.Wait(ctx); err != nil {
			return nil, err
		}
		return p.dialer.DialContext(ctx, network, address)
	}
	conn, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return nil, err
	}
	established.Store(true)
	s := &probe{conn: conn}
	if err := s.Ping(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// probe is the monitor's session.
type probe struct{ conn *pgx.Conn }

// Ping asks for the role: a primary that was demoted still answers.
func (p *probe) Ping(ctx context.Context) error {
	var readOnly bool
	const role = "select pg_is_in_recovery() or current_setting('transaction_read_only')::bool"
	if err := p.conn.QueryRow(ctx, role).Scan(&readOnly); err != nil {
		return err
	}
	if readOnly {
		return errReadOnly
	}
	return nil
}

// Close closes the network connection first, so that no farewell can hang.
func (p *probe) Close() {
	_ = p.conn.PgConn().Conn().Close()
	_ = p.conn.Close(context.Background())
}
