package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"speedybites/internal/postgres/cluster"
	"speedybites/internal/postgres/sqlstate"
)

const (
	// rivals is how long a login waits for the other hosts once one has answered that it can be written to: it might be a
	// former primary. One that hangs costs no more than this.
	rivals = 200 * time.Millisecond
	// firstRivals is rivals before any primary was found, when there is nothing to hold an answer against: what is chosen
	// now decides which cluster and which timeline are right.
	firstRivals = 1200 * time.Millisecond
	// watchPeriod is the time between looks at the hosts that are not the primary, watchTimeout bounds one.
	watchPeriod  = time.Second
	watchTimeout = 2 * time.Second
)

// What is wrong with a server that answers.
var (
	// errReadOnly is a standby, or a primary made read-only.
	errReadOnly = errors.New("server is read-only: not the primary")
	// errFormerPrimary is a server that can be written to, while another one has been promoted since.
	errFormerPrimary = errors.New("server is a former primary: another one has been promoted since")
	// errOtherCluster is a server with other data, such as a copy of the database made elsewhere. The first cluster that a
	// process finds is the right one until it ends.
	errOtherCluster = errors.New("server is of another database cluster than the primary: check its address")
)

// topology knows which of the hosts of DATABASE_URL is the primary: the one that can be written to, on the highest
// timeline, of the right cluster.
type topology struct {
	hosts     []host
	prober    *prober
	monitor   *cluster.Monitor
	log       *slog.Logger
	positions positions

	mu       sync.Mutex
	timeline uint64 // the highest that a primary was found on
	cluster  string // the primary's
	seen     map[string]sighting
}

// sighting is the latest look at a host.
type sighting struct {
	observation

	err error
}

func newTopology(hosts []host, log *slog.Logger) *topology {
	return &topology{hosts: hosts, log: log, seen: make(map[string]sighting)}
}

// alone reports that there is one host, so that nobody else can have been promoted. A lower timeline or another cluster
// is then a database made anew.
func (t *topology) alone() bool { return len(t.hosts) == 1 }

// judge says what keeps the server from being the primary.
func (t *topology) judge(o observation) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.judgeLocked(o)
}

func (t *topology) judgeLocked(o observation) error {
	switch {
	case o.readOnly:
		return errReadOnly
	case t.alone():
		return nil
	case t.cluster != "" && o.cluster != "" && o.cluster != t.cluster:
		return errOtherCluster
	case o.timeline < t.timeline:
		return errFormerPrimary
	}
	return nil
}

// see is what a login does with what a host says.
func (t *topology) see(o observation) error {
	err := t.judge(o)
	t.note(o, err)
	return err
}

// choose makes the server the primary, or says what keeps it from being that: another login may have been faster.
func (t *topology) choose(o observation) error {
	t.mu.Lock()
	err := t.judgeLocked(o)
	if err == nil {
		t.timeline, t.cluster = o.timeline, o.cluster
	}
	t.mu.Unlock()
	t.note(o, err)
	if err == nil {
		t.positions.add(o)
	}
	return err
}

// note remembers a look at a host and tells of one that is of no use and should be.
func (t *topology) note(o observation, err error) {
	t.mu.Lock()
	before, known := t.seen[o.host]
	t.seen[o.host] = sighting{o, err}
	t.mu.Unlock()
	for _, wrong := range []error{errOtherCluster, errFormerPrimary} {
		if errors.Is(err, wrong) && (!known || !errors.Is(before.err, wrong)) {
			t.log.LogAttrs(context.Background(), slog.LevelWarn, "host not used", slog.String("server", o.host), slog.Any("error", err))
		}
	}
}

// primaryCluster returns the primary's system identifier, "" before there was one.
func (t *topology) primaryCluster() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cluster
}

// promoted reports whether the server was promoted after the last primary was found, so that there is no doubt.
func (t *topology) promoted(o observation) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.timeline > 0 && o.timeline > t.timeline
}

// better reports whether a is rather the primary than b: both can be written to.
func (t *topology) better(a, b observation) bool {
	current := t.monitor.View().Server
	rank := func(o observation) int {
		return slices.IndexFunc(t.hosts, func(h host) bool { return h.name == o.host })
	}
	switch {
	case a.cluster != b.cluster: // nothing was chosen yet: the URL says what is meant
		return rank(a) < rank(b)
	case a.timeline != b.timeline:
		return a.timeline > b.timeline
	case a.host == current || b.host == current:
		return a.host == current
	}
	return rank(a) < rank(b)
}

// login asks every host at once and returns a session with the primary. Its error is of all hosts.
func (t *topology) login(ctx context.Context) (_ cluster.Session, err error) {
	ctx, span := t.prober.srv.startSpan(ctx, "prober.login", true)
	defer func() { t.prober.srv.checked(span, err) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan probed, len(t.hosts))
	for _, h := range t.hosts {
		go func() {
			s, err := t.prober.login(ctx, h, t.see)
			if err != nil {
				t.failed(h.name, err)
			}
			results <- probed{h.name, s, err}
		}()
	}
	best, missing, failed := t.gather(results)
	go func() { // those that were slower, at most until their dial sees the context's end
		for range missing {
			if r := <-results; r.err == nil {
				r.session.Close()
			}
		}
	}()
	if best == nil {
		return nil, t.because(failed)
	}
	if err := t.choose(best.latest); err != nil {
		best.Close()
		return nil, fmt.Errorf("%s: %w", best.host, err)
	}
	best.see = t.choose // from now on, the heartbeat
	return best, nil
}

// because returns why no host is the primary. One that refuses the password, or has no such database, says nothing about the
// others: it is an answer when it is the last primary's, or everybody's.
func (t *topology) because(failed []probed) error {
	current := t.monitor.View().Server
	all, others := make([]error, 0, len(failed)), make([]error, 0, len(failed))
	for _, f := range failed {
		all = append(all, f.err)
		switch locked := sqlstate.Classify(context.Background(), f.err) == sqlstate.Credentials; {
		case !locked:
			others = append(others, f.err)
		case f.host == current:
			return f.err
		}
	}
	if len(others) > 0 {
		return errors.Join(others...)
	}
	return errors.Join(all...)
}

// probed is the result of a login to one host.
type probed struct {
	host    string
	session *probe
	err     error
}

// gather waits for the hosts' answers and returns the session with the best; missing is how many have not answered. That
// the primary is not there any more is news that must not wait for a host that is silent: the search that follows has the
// patience for it.
func (t *topology) gather(results <-chan probed) (best *probe, missing int, failed []probed) {
	var settled <-chan time.Time
	view := t.monitor.View()
	for missing = len(t.hosts); missing > 0; {
		var r probed
		select {
		case r = <-results:
			missing--
		case <-settled:
			return best, missing, failed
		}
		if r.err != nil {
			failed = append(failed, r)
			if settled == nil && view.State == cluster.Connected && r.host == view.Server {
				settled = time.After(rivals)
			}
			continue
		}
		if best == nil {
			settled = time.After(t.patience())
		}
		if best == nil || t.better(r.session.latest, best.latest) {
			best, r.session = r.session, best
		}
		if r.session != nil {
			r.session.Close()
		}
		if t.promoted(best.latest) {
			return best, missing, failed
		}
	}
	return best, 0, failed
}

// patience is how long a login waits for the other hosts.
func (t *topology) patience() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timeline == 0 {
		return firstRivals
	}
	return rivals
}

// failed remembers that a host could not be asked. One that answered has been noted.
func (t *topology) failed(name string, err error) {
	for _, answer := range []error{errReadOnly, errFormerPrimary, errOtherCluster} {
		if errors.Is(err, answer) {
			return
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen[name] = sighting{observation{host: name, at: time.Now()}, err}
}

// watch looks at a host once a second while another one is the primary: a server that was promoted while the old primary
// still answers would otherwise be found by the next full look only.
func (t *topology) watch(ctx context.Context, h host) {
	var session *probe
	drop := func() {
		if session != nil {
			session.Close()
			session = nil
		}
	}
	defer drop()
	tick := time.NewTicker(watchPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		view := t.monitor.View()
		if view.State != cluster.Connected || view.Server == h.name {
			drop()
			continue
		}
		session = t.glance(ctx, h, session)
		if session != nil && !session.latest.readOnly && t.judge(session.latest) == nil && t.promoted(session.latest) {
			t.log.LogAttrs(ctx, slog.LevelWarn, "another server was promoted", slog.String("server", h.name))
			t.monitor.Suspect(time.Now(), true)
		}
	}
}

// glance looks at a host once, by a new session where there is none, and returns the session if it is still good.
func (t *topology) glance(ctx context.Context, h host, session *probe) *probe {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	var err error
	if session == nil {
		whatever := func(o observation) error { t.note(o, t.judge(o)); return nil }
		session, err = t.prober.login(ctx, h, whatever)
	} else if err = session.look(ctx); err != nil {
		session.Close()
	}
	if err != nil {
		t.failed(h.name, fmt.Errorf("not watched: %w", err))
		return nil
	}
	return session
}
