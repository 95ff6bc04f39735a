package incident

import (
	"context"
	"fmt"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
)

// Sent is what Prometheus sends while a script is played, in words, with the samples in db, or in memory.
func Sent(ctx context.Context, setup *Setup, script *Script, db samples) ([]string, error) {
	if db == nil {
		db = newMemory()
	}
	batches, err := evaluate(ctx, setup, script, db)
	var sent []string
	for _, b := range batches {
		for _, a := range b.alerts {
			sent = append(sent, fmt.Sprint(b.at, a.Labels, a.Annotations, a.StartsAt, a.EndsAt))
		}
	}
	return sent, err
}

// Selectors are those of all rules, without those of recorded series and of series that Prometheus makes itself.
func (s *Setup) Selectors(ctx context.Context) ([]*parser.VectorSelector, error) {
	e := &evaluation{setup: s, failures: &failures{}}
	groups, err := e.loadGroups(ctx)
	if err != nil {
		return nil, err
	}
	made := map[string]bool{"ALERTS": true, scrapedName: true, keptName: true}
	var all []*parser.VectorSelector
	for _, g := range groups {
		for _, rule := range g.Rules() {
			if _, ok := rule.(*rules.RecordingRule); ok {
				made[rule.Name()] = true
			}
			parser.Inspect(rule.Query(), func(n parser.Node, _ []parser.Node) error {
				if vs, ok := n.(*parser.VectorSelector); ok {
					all = append(all, vs)
				}
				return nil
			})
		}
	}
	var fed []*parser.VectorSelector
	for _, vs := range all {
		if !made[vs.Name] {
			fed = append(fed, vs)
		}
	}
	return fed, nil
}

// Has tells whether the script has series that matchers select.
func (s *Script) Has(matchers []*labels.Matcher) bool {
	for _, one := range s.series {
		parts := []series{*one}
		if one.histogram {
			parts = one.split(s.buckets[one.labels.Get("__name__")])
		}
		for _, part := range parts {
			if labels.Selector(matchers).Matches(part.labels) {
				return true
			}
		}
	}
	return false
}
