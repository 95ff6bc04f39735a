package postgres

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"speedybites/internal/postgres/cluster"
	"speedybites/internal/postgres/sqlstate"
)

// probeLimit is the prober's statement limit on the server, in case its own are not enough.
const probeLimit = 5 * time.Second

// host is one server of a URL: its name, and what of a connection's configuration is about it.
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

// names returns host:port of each.
func names(hosts []host) []string {
	list := make([]string, len(hosts))
	for i, h := range hosts {
		list[i] = h.name
	}
	return list
}

// pin makes cc dial this server only.
func (h host) pin(cc *pgx.ConnConfig) {
	cc.Host, cc.Port, cc.TLSConfig, cc.Fallbacks = h.config.Host, h.config.Port, h.config.TLSConfig, h.fallbacks
}

// prober logs in to servers for a monitor, outside the pool and with limits of its own.
type prober struct {
	config *pgx.ConnConfig
	dialer *net.Dialer
	srv    *server // for what is measured and traced
}

func newProber(pooled *pgx.ConnConfig, srv *server) *prober {
	p := &prober{config: pooled.Copy(), dialer: newDialer(), srv: srv}
	p.config.Tracer = nil
	p.config.DefaultQueryExecMode = pgx.QueryExecModeExec // nothing is prepared on a connection that may go any time
	p.config.ConnectTimeout = 0                           // the monitor's context bounds it
	p.config.ValidateConnect = nil                        // the look does it
	setSession(p.config, "speedy-bites prober", probeLimit)
	return p
}

// observation is what a server said of itself when it was asked.
type observation struct {
	host string
	at   time.Time // when it was asked
	// standby is a server in recovery; readOnly one that cannot be written to, for that or another reason.
	standby, readOnly bool
	// timeline is a primary's, 0 for a standby, which writes none: a promotion begins a new one, so that a former primary
	// that comes back can be told from the server that was promoted.
	timeline uint64
	// position is how far a primary has written its log, or how far a standby has replayed it.
	position Position
	// pooled says that a pooler is in between: the process that answers is not the one that the login was told of.
	pooled bool
	// cluster is PostgreSQL's system identifier, the same on a primary and all its standbys; "" where the server does not
	// tell it.
	cluster string
}

// roleQuery asks whether the server can be written to, for its timeline (the first eight digits of the name of the WAL
// file that it writes), and for its position.
const roleQuery = `SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::bool,
	CASE WHEN pg_is_in_recovery() THEN '0' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END,
	coalesce(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END - '0/0', 0)::bigint,
	pg_backend_pid()`

// clusterQuery is a question of its own: some services keep the function from ordinary users.
const clusterQuery = `SELECT system_identifier::text FROM pg_control_system()`

// login makes a connection to one host and looks at its role. It dials for nothing else, such as pgx's cancel requests.
func (p *prober) login(ctx context.Context, h host, see func(observation) error) (*probe, error) {
	cc := p.config.Copy()
	h.pin(cc)
	login := addresses{each: 1 + len(h.fallbacks)}
	cc.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if !login.take(address) {
			return nil, errNoDial
		}
		nc, err := p.dialer.DialContext(ctx, network, address)
		p.srv.dialed(dialProber, err)
		return nc, err
	}
	conn, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return nil, err
	}
	s := &probe{conn: conn, prober: p, host: h.name, see: see}
	err = conn.QueryRow(ctx, clusterQuery).Scan(&s.cluster)
	if err != nil && sqlstate.Classify(ctx, err) == sqlstate.Answered {
		err = nil
	}
	if err == nil {
		err = s.look(ctx)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w", h.name, err)
	}
	return s, nil
}

// probe is a monitor's session.
type probe struct {
	conn    *pgx.Conn
	prober  *prober
	host    string
	cluster string
	see     func(observation) error // judges what the server says
	latest  observation
}

// Ping asks for the role: a primary that was demoted still answers.
func (p *probe) Ping(ctx context.Context) error {
	ctx, span := p.prober.srv.startSpan(ctx, "prober.ping", true)
	err := p.look(ctx)
	p.prober.srv.checked(span, err)
	return err
}

func (p *probe) look(ctx context.Context) error {
	o := observation{host: p.host, cluster: p.cluster, at: time.Now()}
	var (
		timeline string
		position int64
		backend  uint32
	)
	if err := p.conn.QueryRow(ctx, roleQuery).Scan(&o.standby, &o.readOnly, &timeline, &position, &backend); err != nil {
		return err
	}
	o.pooled = backend != p.conn.PgConn().PID()
	p.prober.srv.noticePooler(o.pooled)
	var err error
	if o.timeline, err = strconv.ParseUint(timeline, 16, 64); err != nil {
		return fmt.Errorf("timeline of the server: %w", err)
	}
	o.readOnly = o.readOnly || o.standby
	o.position = Position(position) //nolint:gosec // a position in the log is never negative
	p.latest = o
	return p.see(o)
}

// Server implements cluster.Session.
func (p *probe) Server() string { return p.host }

// Close closes the network connection first, so that no farewell can hang.
func (p *probe) Close() {
	_ = p.conn.PgConn().Conn().Close()
	_ = p.conn.Close(context.Background())
}

var _ cluster.Session = (*probe)(nil)

// checked accounts for a look of the prober at the server.
func (srv *server) checked(s span, err error) {
	srv.metrics.checks[err == nil].Inc()
	if err == nil {
		srv.metrics.lastSuccess.SetToCurrentTime()
	}
	s.end(verdictOf(sqlstate.Classify(context.Background(), err)), err)
}
