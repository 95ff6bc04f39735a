package incident

import (
	"fmt"
	"math"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
)

// The series that Prometheus makes for each target.
const (
	upName       = "up"
	durationName = "scrape_duration_seconds"
	scrapedName  = "scrape_samples_scraped"
	keptName     = "scrape_samples_post_metric_relabeling"
	addedName    = "scrape_series_added"
)

// target is what is scraped at once.
type target struct {
	interval time.Duration
	up       *feed
	feeds    []*feed
	reports  map[string]*feed // by name, those that the script does not have itself
	wasDown  bool
}

// feed is a series on its way into the storage.
type feed struct {
	labels  labels.Labels
	counter bool
	curve   *curve
	ref     storage.SeriesRef
	alive   bool
}

// newTargets makes the targets of a script. zero is the Unix time at its beginning.
func newTargets(s *Script, zero time.Time, interval func(job string) (time.Duration, error)) ([]*target, error) {
	byName := map[[2]string]*target{}
	var all []*target
	for _, job := range s.jobs {
		every, err := interval(job)
		if err != nil {
			return nil, err
		}
		for _, instance := range s.targets[job] {
			t := &target{interval: every, reports: map[string]*feed{}}
			for _, name := range []string{durationName, scrapedName, keptName, addedName} {
				t.reports[name] = &feed{labels: labels.FromStrings(
					model.MetricNameLabel, name, model.JobLabel, job, model.InstanceLabel, instance)}
			}
			byName[[2]string{job, instance}] = t
			all = append(all, t)
		}
	}
	for _, one := range s.series {
		t := byName[[2]string{one.labels.Get(model.JobLabel), one.labels.Get(model.InstanceLabel)}]
		parts := []series{*one}
		if one.histogram {
			parts = one.split(s.buckets[one.labels.Get(model.MetricNameLabel)])
		}
		for _, part := range parts {
			t.add(part, zero, s.History)
		}
	}
	return all, nil
}

func (t *target) add(s series, zero time.Time, history time.Duration) {
	name := s.labels.Get(model.MetricNameLabel)
	f := &feed{labels: s.labels, counter: isCounter(name), curve: newCurve(s.points, zero, history)}
	if name == upName {
		t.up = f
		return
	}
	if s.labels.Len() == 3 { // name, job and instance
		delete(t.reports, name)
	}
	t.feeds = append(t.feeds, f)
}

// scrape appends a sample for each series that is there at now, and staleness markers for those that went.
func (t *target) scrape(app appender, now time.Duration) error {
	up, known := t.up.curve.at(now)
	healthy := known && up == 1
	if healthy && t.wasDown {
		t.restart(now)
	}
	t.wasDown = !healthy

	samples := 0.0
	for _, f := range t.feeds {
		v, ok := f.curve.at(now)
		if ok = ok && healthy; ok {
			samples++
		}
		if err := f.append(app, v, ok); err != nil {
			return err
		}
	}
	for name, f := range t.reports {
		v := map[string]float64{durationName: 0.01, scrapedName: samples, keptName: samples}[name]
		if err := f.append(app, v, known); err != nil {
			return err
		}
	}
	return t.up.append(app, up, known)
}

func (t *target) restart(now time.Duration) {
	for _, f := range t.feeds {
		if f.counter {
			f.curve.at(now)
			f.curve.restart(now)
		}
	}
}

// appender writes the samples of one moment.
type appender struct {
	storage.AppenderV2

	at int64 // Unix milliseconds
}

func (f *feed) append(app appender, v float64, ok bool) error {
	if !ok {
		if !f.alive {
			return nil
		}
		v = math.Float64frombits(value.StaleNaN)
	}
	f.alive = ok
	ref, err := app.Append(f.ref, f.labels, 0, app.at, v, nil, nil, storage.AppendV2Options{})
	if err != nil {
		return fmt.Errorf("append %s: %w", f.labels, err)
	}
	f.ref = ref
	return nil
}
