package incident

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/notifier"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
)

// epoch is when the history of every incident begins. It is where the clock of a synctest bubble begins too.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Defaults of Prometheus's flags.
const (
	lookback    = 5 * time.Minute
	resendDelay = time.Minute
	maxSamples  = 50_000_000
)

// batch is what Prometheus sends at once: the alerts of one rule.
type batch struct {
	at     time.Duration
	alerts []*notifier.Alert
}

// samples is a storage.
type samples interface {
	storage.AppendableV2
	storage.Queryable
}

// evaluation is a Prometheus in virtual time.
type evaluation struct {
	setup    *Setup
	script   *Script
	db       samples
	targets  []*target
	groups   []*rules.Group
	failures *failures
	now      time.Duration
	batches  []batch
}

// evaluate scrapes and evaluates from the beginning of the history to the end, and returns what is sent.
func evaluate(ctx context.Context, setup *Setup, script *Script, db samples) (_ []batch, err error) {
	e := &evaluation{setup: setup, script: script, db: db, failures: &failures{}}
	if e.targets, err = newTargets(script, epoch.Add(script.History), setup.scrapeInterval); err != nil {
		return nil, err
	}
	if e.groups, err = e.loadGroups(ctx); err != nil {
		return nil, err
	}
	step := e.step()
	for e.now = -script.History.Truncate(step); e.now <= script.Length; e.now += step {
		if script.paused(e.now) {
			continue
		}
		if err := e.tick(ctx); err != nil {
			return nil, fmt.Errorf("at %s: %w", model.Duration(e.now), err)
		}
	}
	return e.batches, e.failures.err()
}

func (s *Script) paused(t time.Duration) bool {
	return slices.ContainsFunc(s.pauses, func(p pause) bool { return p.from <= t && t < p.to })
}

// loadGroups makes the groups of rules, in the order in which the files have them.
func (e *evaluation) loadGroups(ctx context.Context) ([]*rules.Group, error) {
	address, err := url.Parse(prometheusURL)
	if err != nil {
		return nil, fmt.Errorf("parse address of prometheus: %w", err)
	}
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples:           maxSamples,
		Timeout:              time.Minute,
		LookbackDelta:        lookback,
		EnableAtModifier:     true,
		EnableNegativeOffset: true,
		Parser:               promqlParser,
	})
	logger := slog.New(e.failures)
	manager := rules.NewManager(&rules.ManagerOptions{
		ExternalURL:  address,
		QueryFunc:    rules.EngineQueryFunc(engine, e.db),
		NotifyFunc:   rules.SendAlerts(e, prometheusURL),
		Context:      ctx,
		AppendableV2: e.db,
		Queryable:    e.db,
		Logger:       logger,
		ResendDelay:  resendDelay,
		Parser:       promqlParser,
	})
	global := e.setup.prometheus.GlobalConfig
	loaded, errs := manager.LoadGroups(time.Duration(global.EvaluationInterval), global.ExternalLabels,
		prometheusURL, nil, false, e.setup.rules...)
	if len(errs) > 0 {
		return nil, fmt.Errorf("load rules: %w", errors.Join(errs...))
	}
	var ordered []*rules.Group
	for _, file := range e.setup.rules {
		parsed, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, promqlParser, logger)
		if len(errs) > 0 {
			return nil, fmt.Errorf("load rules: %w", errors.Join(errs...))
		}
		for _, g := range parsed.Groups {
			ordered = append(ordered, loaded[rules.GroupKey(file, g.Name)])
		}
	}
	if len(ordered) == 0 {
		return nil, errors.New("load rules: there are none")
	}
	for _, g := range ordered {
		for _, rule := range g.AlertingRules() {
			rule.SetRestored(true) // there is nothing to restore, and no series ALERTS before
		}
	}
	return ordered, nil
}

// step divides all intervals.
func (e *evaluation) step() time.Duration {
	var step time.Duration
	for _, t := range e.targets {
		step = commonDivisor(step, t.interval)
	}
	for _, g := range e.groups {
		step = commonDivisor(step, g.Interval())
	}
	return step
}

func commonDivisor(a, b time.Duration) time.Duration {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// tick scrapes and evaluates what is due.
func (e *evaluation) tick(ctx context.Context) error {
	now := epoch.Add(e.script.History + e.now)
	app := appender{AppenderV2: e.db.AppenderV2(ctx), at: now.UnixMilli()}
	for _, t := range e.targets {
		if e.now%t.interval != 0 {
			continue
		}
		if err := t.scrape(app, e.now); err != nil {
			return err
		}
	}
	if err := app.Commit(); err != nil {
		return fmt.Errorf("commit scrape: %w", err)
	}
	for _, g := range e.groups {
		if e.due(g) {
			g.Eval(ctx, now)
		}
	}
	return e.failures.err()
}

// historyInterval is less than four times resendDelay, after which Alertmanager thinks that an alert is over.
const historyInterval = 3 * time.Minute

// due tells whether a group is evaluated now. Nothing changes before 0, so that groups without recording rules are
// evaluated there now and then only: whatever fires is found, and a history of hours takes no time.
func (e *evaluation) due(g *rules.Group) bool {
	if e.now%g.Interval() != 0 {
		return false
	}
	isRecording := func(r rules.Rule) bool { _, ok := r.(*rules.RecordingRule); return ok }
	return e.now >= 0 || e.now%historyInterval == 0 || slices.ContainsFunc(g.Rules(), isRecording)
}

// Send takes the alerts of a rule, as the notifier of Prometheus does: with external labels, and relabelled.
func (e *evaluation) Send(alerts ...*notifier.Alert) {
	b := batch{at: e.now}
	lb := labels.NewBuilder(labels.EmptyLabels())
	for _, a := range alerts {
		lb.Reset(a.Labels)
		e.setup.prometheus.GlobalConfig.ExternalLabels.Range(func(l labels.Label) {
			if lb.Get(l.Name) == "" {
				lb.Set(l.Name, l.Value)
			}
		})
		if relabel.ProcessBuilder(lb, e.setup.prometheus.AlertingConfig.AlertRelabelConfigs...) {
			sent := *a
			sent.Labels = lb.Labels()
			b.alerts = append(b.alerts, &sent)
		}
	}
	slices.SortFunc(b.alerts, func(x, y *notifier.Alert) int { return labels.Compare(x.Labels, y.Labels) })
	e.batches = append(e.batches, b)
}
