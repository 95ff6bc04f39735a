package observability

import (
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// recordCounts are the records that the program has logged, by level, whether
// or not they were written.
type recordCounts struct{ debug, info, warn, error atomic.Int64 }

func (c *recordCounts) add(level slog.Level) {
	switch {
	case level >= slog.LevelError:
		c.error.Add(1)
	case level >= slog.LevelWarn:
		c.warn.Add(1)
	case level >= slog.LevelInfo:
		c.info.Add(1)
	default:
		c.debug.Add(1)
	}
}

var _ prometheus.Collector = (*Logs)(nil)

// Describe is part of [prometheus.Collector]. The logs are there before any
// registry is, and are registered with one later; the counts begin at the start.
func (l *Logs) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(l, ch) }

// Collect is part of [prometheus.Collector]. It waits for no disk.
func (l *Logs) Collect(ch chan<- prometheus.Metric) {
	records := prometheus.NewDesc("speedybites_log_records_total",
		"Records logged, by level, before thinning.", []string{"level"}, nil)
	for level, count := range map[string]*atomic.Int64{
		"debug": &l.records.debug, "info": &l.records.info, "warn": &l.records.warn, "error": &l.records.error,
	} {
		ch <- prometheus.MustNewConstMetric(records, prometheus.CounterValue, float64(count.Load()), level)
	}
	thinned := prometheus.NewDesc("speedybites_log_thinned_total",
		"Records not written because too many equal ones came in the same second.", nil, nil)
	ch <- prometheus.MustNewConstMetric(thinned, prometheus.CounterValue, float64(l.thinnedLines()))

	perFile := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("speedybites_log_"+name, help, []string{"file"}, nil)
	}
	writeErrors := perFile("write_errors_total", "Writes to a log file that failed.")
	lostLines := perFile("lost_lines_total", "Lines in failed writes; those of app.log and error.log are on stderr.")
	size := perFile("file_size_bytes", "Size of a log file, without the rotated ones.")
	for _, s := range l.Stats() {
		ch <- prometheus.MustNewConstMetric(writeErrors, prometheus.CounterValue, float64(s.WriteErrors), s.Name)
		ch <- prometheus.MustNewConstMetric(lostLines, prometheus.CounterValue, float64(s.LostLines), s.Name)
		ch <- prometheus.MustNewConstMetric(size, prometheus.GaugeValue, float64(s.Size), s.Name)
	}
	if free := l.free.Load(); free >= 0 {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("speedybites_log_disk_free_bytes",
			"Space left on the disk of the log files, looked at every 5 s.", nil, nil), prometheus.GaugeValue, float64(free))
	}
}

func (l *Logs) thinnedLines() int64 {
	if l.thin == nil {
		return 0
	}
	return l.thin.thinned.Load()
}
