package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"speedybites/internal/postgres/cluster"
	"speedybites/internal/postgres/sqlstate"
)

// probeLimit is the prober's statement limit on the server, in case its own are not enough.
const probeLimit = 5 * time.Second

var (
	// errReadOnly is what a server answers that is there, but is a standby or a primary made read-only.
	errReadOnly = errors.New("server is read-only: not the primary")
	// errFormerPrimary is a server that can be written to, while another one has been promoted since.
	errFormerPrimary = errors.New("server is a former primary: another one has been promoted since")
)

// host is one server of the URL: its name, and what of a connection's configuration is about it.
type host struct {
	name      string // host:port
	config    pgconn.FallbackConfig
	fallbacks []*pgconn.FallbackConfig // the same server with other TLS settings
}

// hostsOf returns the servers of a configuration in the order of its URL.
func hostsOf(cc *pgx.ConnConfig) []host {
	var hosts []host
	all := append([]*pgconn.FallbackConfig{{Host: cc.Host, Port: cc.Port, TLSConfig: cc.TLSConfig}}, cc.Fallbacks...)
	for _, f := range all {
		name := net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port)))
		if n := len(hosts); n > 0 && hosts[n-1].name == name {
			hosts[n-1].fallbacks = append(hosts[n-1].fallbacks, f)
			continue
		}
		hosts = append(hosts, host{name: name, config: *f})
	}
	return hosts
}

// pin makes cc dial this server only.
func (h host) pin(cc *pgx.ConnConfig) {
	cc.Host, cc.Port, cc.TLSConfig, cc.Fallbacks = h.config.Host, h.config.Port, h.config.TLSConfig, h.fallbacks
}

// prober logs in for the monitor, outside the pool and with limits of its own.
type prober struct {
	config *pgx.ConnConfig
	hosts  []host
	dialer *net.Dialer
	db     *DB // for what is measured and traced
	// timeline is the highest seen. A standby that is promoted starts a new one, so that a former primary that comes
	// back can be told from it.
	timeline atomic.Uint64
}

func newProber(pooled *pgx.ConnConfig, db *DB) *prober {
	p := &prober{config: pooled.Copy(), hosts: hostsOf(pooled), dialer: newDialer(), db: db}
	p.config.Tracer = nil
	p.config.DefaultQueryExecMode = pgx.QueryExecModeExec // nothing is prepared on a connection that may go any time
	p.config.ConnectTimeout = 0                           // the monitor's context bounds it
	setSession(p.config, "speedy-bites prober", probeLimit)
	return p
}

// login asks every host at once and returns a session with the first that is the primary, so that one which hangs costs
// nothing. Its error is of all hosts.
func (p *prober) login(ctx context.Context) (s cluster.Session, err error) {
	ctx, span := p.db.startSpan(ctx, "prober.login", true)
	defer func() { p.db.checked(span, err) }()
	if len(p.hosts) == 1 {
		return p.loginTo(ctx, p.hosts[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		session cluster.Session
		err     error
	}
	results := make(chan result, len(p.hosts))
	for _, h := range p.hosts {
		go func() {
			s, err := p.loginTo(ctx, h)
			results <- result{s, err}
		}()
	}
	var errs []error
	for n := range p.hosts {
		r := <-results
		if r.err != nil {
			errs = append(errs, r.err)
			continue
		}
		go func() { // those that were slower, at most until their dial sees the context's end
			for range len(p.hosts) - n - 1 {
				if r := <-results; r.err == nil {
					r.session.Close()
				}
			}
		}()
		return r.session, nil
	}
	return nil, errors.Join(errs...)
}

// loginTo makes a connection to one host and looks at its role. It dials for nothing else, such as pgx's cancel requests.
func (p *prober) loginTo(ctx context.Context, h host) (cluster.Session, error) {
	cc := p.config.Copy()
	h.pin(cc)
	login := addresses{each: 1 + len(h.fallbacks)}
	cc.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if !login.take(address) {
			return nil, errNoDial
		}
		nc, err := p.dialer.DialContext(ctx, network, address)
		p.db.dialed(dialProber, err)
		return nc, err
	}
	cc.ValidateConnect = nil // Ping does it
	conn, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return nil, err
	}
	s := &probe{conn: conn, prober: p, host: h.name}
	if err := s.look(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w", h.name, err)
	}
	return s, nil
}

// probe is the monitor's session.
type probe struct {
	conn   *pgx.Conn
	prober *prober
	host   string
}

// role asks whether the server can be written to, and for its timeline: the first eight digits of the name of the WAL
// file that it writes. A standby writes none.
const role = `SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool,
	CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END`

// Ping asks for the role: a primary that was demoted still answers.
func (p *probe) Ping(ctx context.Context) error {
	ctx, span := p.prober.db.startSpan(ctx, "prober.ping", true)
	err := p.look(ctx)
	p.prober.db.checked(span, err)
	return err
}

// checked accounts for a look of the prober at the database.
func (db *DB) checked(s span, err error) {
	db.metrics.checks[err == nil].Inc()
	if err == nil {
		db.metrics.lastSuccess.SetToCurrentTime()
	}
	s.end(verdictOf(sqlstate.Classify(context.Background(), err)), err)
}

func (p *probe) look(ctx context.Context) error {
	var (
		readOnly bool
		hex      string
	)
	if err := p.conn.QueryRow(ctx, role).Scan(&readOnly, &hex); err != nil {
		return err
	}
	if readOnly {
		return errReadOnly
	}
	if len(p.prober.hosts) == 1 { // with nobody to be promoted, a lower timeline is a database made anew
		return nil
	}
	timeline, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		return fmt.Errorf("timeline of the server: %w", err)
	}
	for {
		highest := p.prober.timeline.Load()
		if timeline < highest {
			return errFormerPrimary
		}
		if p.prober.timeline.CompareAndSwap(highest, timeline) {
			return nil
		}
	}
}

// Server implements cluster.Session.
func (p *probe) Server() string { return p.host }

// Close closes the network connection first, so that no farewell can hang.
func (p *probe) Close() {
	_ = p.conn.PgConn().Conn().Close()
	_ = p.conn.Close(context.Background())
}
