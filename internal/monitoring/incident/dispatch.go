package incident

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/inhibit"
	"github.com/prometheus/alertmanager/marker"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/provider/mem"
	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/alertmanager/timeinterval"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/notifier"
)

// Defaults of Alertmanager's flags.
const (
	retention           = 120 * time.Hour
	alertGCInterval     = 30 * time.Minute
	maintenanceInterval = 30 * time.Second
)

// resolution is what times of notifications are rounded to. The real times are a little later, so that nothing happens at
// the same moment by chance: see delivery.
const resolution = 10 * time.Millisecond

// dispatchAll gives the batches to an Alertmanager at their times, and returns what its receivers are given.
func dispatchAll(t *testing.T, setup *Setup, script *Script, batches []batch) (*Result, error) {
	t.Helper()
	log := &failures{}
	result := &Result{}
	var err error
	synctest.Test(t, func(t *testing.T) {
		record := func(n Notification) {
			n.At = time.Since(epoch).Truncate(resolution) - script.History
			result.Notifications = append(result.Notifications, n)
		}
		err = runAlertmanager(t.Context(), setup, slog.New(log), record, func(ctx context.Context, alerts *mem.Alerts) error {
			return script.deliver(ctx, alerts, batches)
		})
	})
	result.sort()
	return result, errors.Join(err, log.err())
}

// runAlertmanager starts the parts of Alertmanager, as its package app does, and stops them when play returns.
func runAlertmanager(ctx context.Context, setup *Setup, logger *slog.Logger, record func(Notification),
	play func(context.Context, *mem.Alerts) error,
) error {
	reg := prometheus.NewRegistry()
	flags := featurecontrol.NoopFlags{}
	events := eventrecorder.Recorder{}
	silences, err := silence.New(silence.Options{Retention: retention, Logger: logger, Metrics: reg, EventRecorder: events})
	if err != nil {
		return fmt.Errorf("make silences: %w", err)
	}
	silencer := silence.NewSilencer(silences, logger, events)
	log, err := nflog.New(nflog.Options{Retention: retention, Logger: logger, Metrics: reg})
	if err != nil {
		return fmt.Errorf("make notification log: %w", err)
	}
	alerts, err := mem.NewAlerts(ctx, alertGCInterval, 0, silencer, logger, events, reg, flags)
	if err != nil {
		return fmt.Errorf("make store of alerts: %w", err)
	}
	defer alerts.Close()

	inhibitor := inhibit.NewInhibitor(alerts, setup.alertmanager.InhibitRules, logger, events)
	groups := marker.NewGroupMarker()
	pipeline := notify.NewPipelineBuilder(reg, flags, events).New(recorders(setup, logger, record), func() time.Duration { return 0 },
		inhibitor, silencer, intervener(setup), groups, log, nil)
	dispatcher := dispatch.NewDispatcher(alerts, dispatch.NewRoute(setup.alertmanager.Route, nil), pipeline, groups,
		func(d time.Duration) time.Duration { return max(d, notify.MinTimeout) },
		maintenanceInterval, nil, logger, events, dispatch.NewDispatcherMetrics(false, reg, flags), setup.templates)

	go inhibitor.Run()
	inhibitor.WaitForLoading()
	defer inhibitor.Stop()
	go dispatcher.Run(time.Now())
	dispatcher.WaitForLoading()
	defer dispatcher.Stop()
	return play(ctx, alerts)
}

func intervener(setup *Setup) *timeinterval.Intervener {
	named := map[string][]timeinterval.TimeInterval{}
	for _, ti := range setup.alertmanager.MuteTimeIntervals {
		named[ti.Name] = ti.TimeIntervals
	}
	for _, ti := range setup.alertmanager.TimeIntervals {
		named[ti.Name] = ti.TimeIntervals
	}
	return timeinterval.NewIntervener(named)
}

// deliver hands over the batches, and waits until the end of the script.
func (s *Script) deliver(ctx context.Context, alerts *mem.Alerts, batches []batch) error {
	for _, b := range batches {
		time.Sleep(time.Until(s.delivery(b.at))) //nolint:forbidigo // the clock is virtual
		for _, a := range b.alerts {
			if err := alerts.Put(ctx, received(a)); err != nil {
				return fmt.Errorf("put alert: %w", err)
			}
			synctest.Wait() // or it would be chance which of two alerts makes their group
		}
	}
	time.Sleep(time.Until(s.delivery(s.Length).Add(resolution / 2))) //nolint:forbidigo // the clock is virtual
	synctest.Wait()
	return nil
}

// delivery is when Alertmanager has what Prometheus sent at a time: less than resolution later, and the less so the later.
// So alerts are there before the timer of a group that an earlier alert has started for the same moment.
func (s *Script) delivery(at time.Duration) time.Time {
	early := (s.Length - at) / 1e8
	return epoch.Add(s.History + at + resolution/10 + early)
}

// received makes an alert of what came from Prometheus, as the API of Alertmanager does.
func received(a *notifier.Alert) *alert.Alert {
	return &alert.Alert{
		Alert: model.Alert{
			Labels:       labelSet(a.Labels),
			Annotations:  labelSet(a.Annotations),
			StartsAt:     a.StartsAt,
			EndsAt:       a.EndsAt,
			GeneratorURL: a.GeneratorURL,
		},
		UpdatedAt: time.Now(),
	}
}

// labelSet leaves out labels without a value.
func labelSet(ls labels.Labels) model.LabelSet {
	set := model.LabelSet{}
	ls.Range(func(l labels.Label) {
		if l.Value != "" {
			set[model.LabelName(l.Name)] = model.LabelValue(l.Value)
		}
	})
	return set
}

// recorders replace the integrations of each receiver.
func recorders(setup *Setup, logger *slog.Logger, record func(Notification)) map[string][]notify.Integration {
	receivers := map[string][]notify.Integration{}
	var mu sync.Mutex // groups notify concurrently
	locked := func(n Notification) {
		mu.Lock()
		defer mu.Unlock()
		record(n)
	}
	for _, rc := range setup.alertmanager.Receivers {
		all := integrations(rc)
		receivers[rc.Name] = nil
		for _, in := range all {
			r := &recorder{setup: setup, name: rc.Name, logger: logger, record: locked}
			if len(all) > 1 {
				r.name = fmt.Sprintf("%s/%s[%d]", rc.Name, in.name, in.index)
			}
			receivers[rc.Name] = append(receivers[rc.Name],
				notify.NewIntegration(r, in.resolved, in.name, in.index, rc.Name))
		}
	}
	return receivers
}

// integration is one way in which a receiver is notified.
type integration struct {
	name     string
	index    int // among those of its name
	resolved notify.ResolvedSender
}

// integrations finds the lists of a receiver, such as WebhookConfigs, whatever there are. To build them as Alertmanager does
// would need the client of every service that it knows.
func integrations(rc config.Receiver) []integration {
	var all []integration
	for field, list := range reflect.ValueOf(rc).Fields() {
		name, ok := strings.CutSuffix(field.Name, "Configs")
		if !ok {
			continue
		}
		for i := range list.Len() {
			if rs, ok := reflect.TypeAssert[notify.ResolvedSender](list.Index(i)); ok {
				all = append(all, integration{strings.ToLower(name), i, rs})
			}
		}
	}
	return all
}

// recorder is an integration that writes down what it is given.
type recorder struct {
	setup  *Setup
	name   string
	logger *slog.Logger
	record func(Notification)
}

// Notify implements notify.Notifier.
func (r *recorder) Notify(ctx context.Context, alerts ...*alert.Alert) (bool, error) {
	key, err := notify.ExtractGroupKey(ctx)
	if err != nil {
		return false, fmt.Errorf("notify %s: %w", r.name, err)
	}
	r.record(Notification{
		Receiver:  r.name,
		GroupKey:  string(key),
		Data:      notify.GetTemplateData(ctx, r.setup.templates, alerts, r.logger),
		templates: r.setup.templates,
	})
	return false, nil
}
