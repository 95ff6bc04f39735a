package audit

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// step is where the relay fails: a label of closed values.
type step string

const (
	stepRecord  step = "record"  // an entry of Record was dropped: the queue was full, or the entry not valid
	stepInsert  step = "insert"  // entries of Record could not be added to the table
	stepRecover step = "recover" // the end of the file could not be read
	stepChain   step = "chain"   // lines that the database knows of are gone from the files
	stepRead    step = "read"    // the entries could not be read
	stepWrite   step = "write"   // a line could not be written
	stepSync    step = "sync"    // the file could not be flushed to disk
	stepMark    step = "mark"    // the entries could not be marked
)

var steps = [...]step{stepRecord, stepInsert, stepRecover, stepChain, stepRead, stepWrite, stepSync, stepMark}

// metrics are the relay's. Without a registerer they are kept and never seen.
type metrics struct {
	records  prometheus.Counter
	failures *prometheus.CounterVec
	fsync    prometheus.Histogram
	sequence prometheus.Gauge
}

// backlog is what waits for its line, as far as is known.
type backlog struct {
	// rows is the number of entries in the table, and oldest when the oldest was made, in nanoseconds since 1970; 0 when
	// there is none.
	rows, oldest atomic.Int64
	queue        *queue
}

func (b *backlog) set(rows int64, age time.Duration) {
	oldest := int64(0)
	if rows > 0 {
		oldest = time.Now().Add(-age).UnixNano()
	}
	b.rows.Store(rows)
	b.oldest.Store(oldest)
}

// lag is computed when it is asked for, so that it grows even when the relay hangs.
func (b *backlog) lag() float64 {
	var lag time.Duration
	if oldest := b.oldest.Load(); oldest != 0 {
		lag = time.Since(time.Unix(0, oldest))
	}
	if at := b.queue.oldest(); !at.IsZero() {
		lag = max(lag, time.Since(at))
	}
	return max(0, lag.Seconds())
}

func (b *backlog) pending() float64 { return float64(b.rows.Load()) + float64(b.queue.len()) }

func newMetrics(reg prometheus.Registerer, b *backlog) (*metrics, error) {
	m := &metrics{
		records: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "speedybites_audit_records_total", Help: "Lines written to audit.log.",
		}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "speedybites_audit_failures_total",
			Help: "Failures of the audit relay by step, those for an unreachable database not counted. " +
				"record is a dropped entry, chain means that lines are missing from the files.",
		}, []string{"step"}),
		fsync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "speedybites_audit_fsync_duration_seconds", Help: "Time to flush a group of audit lines to disk.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}),
		sequence: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "speedybites_audit_chain_sequence", Help: "Number of the last line in the hash chain of audit.log; 0 before the first.",
		}),
	}
	for _, s := range steps {
		m.failures.WithLabelValues(string(s))
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.records, m.failures, m.fsync, m.sequence,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "speedybites_audit_lag_seconds", Help: "Age of the oldest change without a line in audit.log; 0 when there is none.",
		}, b.lag),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "speedybites_audit_pending_entries", Help: "Changes without a line in audit.log.",
		}, b.pending),
	} {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register audit metrics: %w", err)
	}
	return m, nil
}

func (m *metrics) failed(s step) { m.failures.WithLabelValues(string(s)).Inc() }
