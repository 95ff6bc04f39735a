package lint

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

var promql = parser.NewParser(parser.Options{})

// finding is a problem of an expression, without its place.
type finding struct{ check, message string }

// parseExpr returns an expression, or what is wrong with it.
func parseExpr(text string) (parser.Expr, []finding) {
	e, err := promql.ParseExpr(text)
	if err == nil {
		return e, nil
	}
	var all parser.ParseErrors
	if errors.As(err, &all) && len(all) > 0 {
		return nil, []finding{{"promql/syntax", all[0].Err.Error() + " in " + oneLine(text)}}
	}
	return nil, []finding{{"promql/syntax", err.Error() + " in " + oneLine(text)}}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// checkExpr holds an expression against the metrics there are. window says what is wrong with the range of a rate.
func checkExpr(c *catalogue, e parser.Expr, window func(function string, d time.Duration) string) []finding {
	var found []finding
	report := func(check, message string) { found = append(found, finding{check, message}) }
	parser.Inspect(e, func(n parser.Node, path []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			checkSelector(c, n, path, report)
		case *parser.AggregateExpr:
			inner := outputLabels(c, n.Expr)
			for _, l := range n.Grouping {
				if !inner.has(l) {
					report("promql/aggregate", "by or without ("+l+"): no such label in "+n.Expr.String())
				}
			}
		case *parser.Call:
			if n.Func.Name == "histogram_quantile" && !outputLabels(c, n.Args[1]).has("le") {
				report("promql/quantile", "histogram_quantile needs le, and "+n.Args[1].String()+" has none")
			}
			if m, ok := firstArg(n).(*parser.MatrixSelector); ok {
				if message := window(n.Func.Name, m.Range); message != "" {
					report("promql/range", message)
				}
			}
		}
		return nil
	})
	return found
}

func firstArg(call *parser.Call) parser.Expr {
	if len(call.Args) == 0 {
		return nil
	}
	return call.Args[0]
}

func checkSelector(c *catalogue, v *parser.VectorSelector, path []parser.Node, report func(check, message string)) {
	for _, name := range selectedNames(v) {
		m, ok := c.find(name)
		if !ok {
			report("promql/series", "no metric "+name+" in docs/metrics.md, nor a recording rule")
			continue
		}
		have := newSet(m.labels...)
		for _, matcher := range v.LabelMatchers {
			if m.labels != nil && matcher.Name != model.MetricNameLabel && !have[matcher.Name] {
				report("promql/selector", name+" has no label "+matcher.Name)
			}
		}
		checkFunction(m.kind, name, path, report)
	}
	for _, matcher := range v.LabelMatchers {
		regex := matcher.Type == labels.MatchRegexp || matcher.Type == labels.MatchNotRegexp
		if regex && regexp.QuoteMeta(matcher.Value) == matcher.Value {
			report("promql/regexp", matcher.String()+" is no pattern: compare with = or !=")
		}
	}
}

// selectedNames are the names of the metrics that a selector may match: one, or the alternatives of {__name__=~"a|b"}.
func selectedNames(v *parser.VectorSelector) []string {
	if v.Name != "" {
		return []string{v.Name}
	}
	for _, m := range v.LabelMatchers {
		if m.Name == model.MetricNameLabel {
			return strings.Split(m.Value, "|")
		}
	}
	return nil
}

var (
	forCounters = newSet("rate", "irate", "increase", "resets", "changes", "absent", "absent_over_time", "count_over_time", "max_over_time", "timestamp")
	forGauges   = newSet("rate", "irate", "increase", "resets") // which these are not
)

// checkFunction looks for counters that are not under a function for counters, and for gauges that are.
func checkFunction(k kind, name string, path []parser.Node, report func(check, message string)) {
	function := ""
	for _, n := range slices.Backward(path) {
		if call, ok := n.(*parser.Call); ok {
			function = call.Func.Name
			break
		}
	}
	switch {
	case k == counter && !forCounters[function] && !asksForExistence(path):
		report("promql/counter", name+" is a counter: it says nothing without rate or increase")
	case k == gauge && forGauges[function]:
		report("promql/counter", name+" is a gauge: "+function+" is for counters")
	}
}

// asksForExistence reports whether the node below path is the right side of a set operator, whose value nobody reads.
func asksForExistence(path []parser.Node) bool {
	if len(path) == 0 {
		return false
	}
	b, ok := path[len(path)-1].(*parser.BinaryExpr)
	return ok && (b.Op == parser.LUNLESS || b.Op == parser.LAND)
}
