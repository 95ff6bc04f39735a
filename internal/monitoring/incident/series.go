package incident

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// defaultJob is the job of series that name none.
const defaultJob = "speedy-bites"

// series is one series of a script, or one histogram, which is several.
type series struct {
	labels    labels.Labels
	histogram bool
	points    []point
}

// targets are the instances of each job, in the order in which they were named.
type targets map[string][]string

var promqlParser = parser.NewParser(parser.Options{})

// seriesLine is a line of a series or change section, taken apart.
type seriesLine struct {
	histogram bool
	selector  string
	points    []point
}

func parseSeriesLine(text string) (seriesLine, error) {
	var l seriesLine
	text, l.histogram = strings.CutPrefix(text, "histogram ")
	selector, points, err := cutSelector(strings.TrimSpace(text))
	if err != nil {
		return l, err
	}
	l.selector = selector
	for field := range strings.FieldsSeq(points) {
		p, err := parsePoint(field)
		if err != nil {
			return l, err
		}
		if err := checkPoint(p, l.histogram); err != nil {
			return l, fmt.Errorf("%q: %w", field, err)
		}
		if n := len(l.points); n > 0 && p.at < l.points[n-1].at {
			return l, fmt.Errorf("%q comes before the point to its left", field)
		}
		l.points = append(l.points, p)
	}
	if len(l.points) == 0 {
		return l, errors.New("a series needs a point: VALUE@TIME")
	}
	return l, nil
}

func checkPoint(p point, histogram bool) error {
	switch {
	case histogram && p.kind != observe && p.kind != hold && p.kind != gone:
		return errors.New("a histogram has loads, such as 20/s~30ms, or hold, or gone")
	case !histogram && p.kind == observe:
		return errors.New(`only a histogram has loads: begin the line with "histogram"`)
	}
	return nil
}

// cutSelector splits a line after the metric and its labels, whose values may contain spaces and braces.
func cutSelector(text string) (selector, rest string, err error) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '}':
			return text[:i+1], text[i+1:], nil
		case c == ' ' && !strings.Contains(text[:i], "{"):
			return text[:i], text[i+1:], nil
		}
	}
	if strings.Contains(text, "{") {
		return "", "", errors.New("the labels have no end")
	}
	return text, "", nil
}

// define makes the series of a line: one for each alternative of its labels, and for each target.
func define(l seriesLine, known targets) ([]series, error) {
	metric, err := promqlParser.ParseMetric(l.selector)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.selector, err)
	}
	set := labels.NewBuilder(metric)
	if !metric.Has(model.JobLabel) {
		set.Set(model.JobLabel, defaultJob)
	}
	job := set.Get(model.JobLabel)
	if len(known[job]) == 0 {
		return nil, fmt.Errorf("job %q has no targets", job)
	}
	if !metric.Has(model.InstanceLabel) {
		set.Set(model.InstanceLabel, strings.Join(known[job], "|"))
	}
	var all []series
	for _, ls := range alternatives(set.Labels()) {
		if instance := ls.Get(model.InstanceLabel); !slices.Contains(known[job], instance) {
			return nil, fmt.Errorf("job %q has no target %q", job, instance)
		}
		all = append(all, series{labels: ls, histogram: l.histogram, points: slices.Clone(l.points)})
	}
	return all, nil
}

// alternatives are the label sets that arise when each value a|b is either a or b.
func alternatives(set labels.Labels) []labels.Labels {
	all := []labels.Labels{labels.EmptyLabels()}
	set.Range(func(l labels.Label) {
		var longer []labels.Labels
		for _, ls := range all {
			for value := range strings.SplitSeq(l.Value, "|") {
				b := labels.NewBuilder(ls)
				longer = append(longer, b.Set(l.Name, value).Labels())
			}
		}
		all = longer
	})
	return all
}

// change appends the points of a line to the series that it selects.
func change(l seriesLine, all []*series) error {
	matchers, err := promqlParser.ParseMetricSelector(l.selector)
	if err != nil {
		return fmt.Errorf("%s: %w", l.selector, err)
	}
	ofJob := func(m *labels.Matcher) bool { return m.Name == model.JobLabel }
	if !slices.ContainsFunc(matchers, ofJob) {
		matchers = append(matchers, labels.MustNewMatcher(labels.MatchEqual, model.JobLabel, defaultJob))
	}
	found := false
	for _, s := range all {
		if s.histogram == l.histogram && labels.Selector(matchers).Matches(s.labels) {
			found = true
			s.points = append(s.points, l.points...)
		}
	}
	if !found {
		return fmt.Errorf("%s selects none of the series above", l.selector)
	}
	return nil
}

// split makes the series of a histogram, as it is scraped: bounds are written as OpenMetrics writes them.
func (s *series) split(bounds []float64) []series {
	name := s.labels.Get(model.MetricNameLabel)
	part := func(suffix, le string, weight func(value float64) float64) series {
		b := labels.NewBuilder(s.labels).Set(model.MetricNameLabel, name+suffix)
		if le != "" {
			b.Set(model.BucketLabel, le)
		}
		return series{labels: b.Labels(), points: weigh(s.points, weight)}
	}
	one := func(float64) float64 { return 1 }
	parts := []series{
		part("_sum", "", func(value float64) float64 { return value }),
		part("_count", "", one),
		part("_bucket", "+Inf", one),
	}
	for _, bound := range bounds {
		parts = append(parts, part("_bucket", formatBound(bound), func(value float64) float64 {
			if value <= bound {
				return 1
			}
			return 0
		}))
	}
	return parts
}

// weigh makes slopes of loads.
func weigh(points []point, weight func(value float64) float64) []point {
	points = slices.Clone(points)
	for i, p := range points {
		if p.kind != observe {
			continue
		}
		points[i] = point{at: p.at, kind: slope}
		for _, l := range p.loads {
			points[i].n += l.rate * weight(l.value)
		}
	}
	return points
}

func formatBound(bound float64) string {
	text := strconv.FormatFloat(bound, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return text
}

// isCounter tells by its name whether a series begins at 0 when its process is started again.
func isCounter(name string) bool {
	return strings.HasSuffix(name, "_total") || strings.HasSuffix(name, "_count") ||
		strings.HasSuffix(name, "_sum") || strings.HasSuffix(name, "_bucket")
}
