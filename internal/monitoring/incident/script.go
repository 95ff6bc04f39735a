package incident

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// Script is what happens, and who must hear of it. The documentation of the package describes its files.
type Script struct {
	File    string
	Length  time.Duration
	History time.Duration

	ignored map[string]bool // receivers
	pauses  []pause
	targets targets
	jobs    []string // in the order in which they were named
	buckets map[string][]float64
	series  []*series
	index   map[string]bool // the labels of series

	expected []string
	pages    *int
}

// pause is a time in which Prometheus does nothing.
type pause struct{ from, to time.Duration }

// ParseFile reads a script. Errors name the file and the line.
func ParseFile(file string) (*Script, error) {
	s := &Script{
		File:    file,
		ignored: map[string]bool{},
		targets: targets{},
		buckets: map[string][]float64{},
		index:   map[string]bool{},
	}
	if err := s.include(file); err != nil {
		return nil, err
	}
	if s.Length == 0 {
		return nil, fmt.Errorf(`%s: says nowhere how long it takes: "for 30m"`, file)
	}
	if s.Length+s.History > longest {
		return nil, fmt.Errorf("%s: takes more than %s, with its history", file, model.Duration(longest))
	}
	return s, nil
}

// longest is the most that a script may take: see delivery.
const longest = 7 * 24 * time.Hour

// include reads a file of instructions.
func (s *Script) include(file string) error {
	text, err := os.ReadFile(file) //nolint:gosec // the caller names the script
	if err != nil {
		return fmt.Errorf("read incident script: %w", err)
	}
	section := ""
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimRight(withoutComment(line), " \r")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
			continue
		case line[0] == ' ' || line[0] == '\t':
			err = s.sectionLine(section, strings.TrimSpace(line))
		default:
			section = fields[0]
			err = s.instruction(filepath.Dir(file), fields[0], fields[1:])
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
	}
	return nil
}

var comment = regexp.MustCompile(`(^|\s)#(\s.*)?$`)

func withoutComment(line string) string { return comment.ReplaceAllString(line, "") }

// instruction follows a line that begins at the margin. dir is where the files are that it names.
func (s *Script) instruction(dir, name string, args []string) (err error) {
	switch name {
	case "series", "change", "expect":
		if len(args) > 0 {
			return fmt.Errorf("%s begins a section: what belongs to it is indented, on the lines below", name)
		}
	case "for":
		s.Length, err = oneTime(args)
	case "history":
		s.History, err = oneTime(args)
	case "use":
		if len(args) != 1 {
			return errors.New("want: use FILE")
		}
		return s.include(filepath.Join(dir, args[0]))
	case "ignore":
		if len(args) != 2 || args[0] != "receiver" {
			return errors.New("want: ignore receiver NAME")
		}
		s.ignored[args[1]] = true
	case "pause":
		return s.addPause(args)
	case "targets":
		return s.addTargets(args)
	case "buckets":
		return s.addBuckets(args)
	case "pages":
		return s.expectPages(args)
	default:
		return fmt.Errorf("unknown instruction %q", name)
	}
	return err
}

func oneTime(args []string) (time.Duration, error) {
	if len(args) != 1 {
		return 0, errors.New("want one time")
	}
	return parseTime(args[0])
}

func (s *Script) addPause(args []string) error {
	if len(args) != 2 {
		return errors.New("want: pause FROM TO")
	}
	from, err := parseTime(args[0])
	if err != nil {
		return err
	}
	to, err := parseTime(args[1])
	if err != nil {
		return err
	}
	if to <= from {
		return fmt.Errorf("the pause ends at %s, before it begins", args[1])
	}
	s.pauses = append(s.pauses, pause{from, to})
	return nil
}

func (s *Script) addTargets(args []string) error {
	if len(args) < 2 {
		return errors.New("want: targets JOB INSTANCE [INSTANCE ...]")
	}
	job := args[0]
	if len(s.targets[job]) == 0 {
		s.jobs = append(s.jobs, job)
	}
	for _, instance := range args[1:] {
		if slices.Contains(s.targets[job], instance) {
			return fmt.Errorf("job %q has target %q already", job, instance)
		}
		s.targets[job] = append(s.targets[job], instance)
		up := labels.FromStrings(model.MetricNameLabel, upName, model.JobLabel, job, model.InstanceLabel, instance)
		if err := s.addSeries(series{labels: up, points: []point{{kind: set, n: 1}}}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Script) addBuckets(args []string) error {
	if len(args) < 2 {
		return errors.New("want: buckets NAME BOUND [BOUND ...]")
	}
	var bounds []float64
	for _, arg := range args[1:] {
		bound, err := parseNumber(arg)
		if err != nil {
			return err
		}
		if n := len(bounds); n > 0 && bound <= bounds[n-1] {
			return fmt.Errorf("the bound %s is not above the one to its left", arg)
		}
		bounds = append(bounds, bound)
	}
	s.buckets[args[0]] = bounds
	return nil
}

func (s *Script) expectPages(args []string) error {
	if len(args) != 1 {
		return errors.New("want: pages NUMBER")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return fmt.Errorf("%q is no number of pages", args[0])
	}
	s.pages = &n
	return nil
}

// sectionLine reads an indented line.
func (s *Script) sectionLine(section, text string) error {
	switch section {
	case "series":
		return s.defineSeries(text)
	case "change":
		l, err := parseSeriesLine(text)
		if err != nil {
			return err
		}
		return change(l, s.series)
	case "expect":
		line, err := parseExpectation(text)
		if err != nil {
			return err
		}
		s.expected = append(s.expected, line)
		return nil
	}
	return errors.New("an indented line must be in a section: series, change or expect")
}

func (s *Script) defineSeries(text string) error {
	l, err := parseSeriesLine(text)
	if err != nil {
		return err
	}
	all, err := define(l, s.targets)
	if err != nil {
		return err
	}
	for _, one := range all {
		name := one.labels.Get(model.MetricNameLabel)
		if one.histogram && s.buckets[name] == nil {
			return fmt.Errorf("the bounds of %s are not known: buckets %s 0.1 1 10", name, name)
		}
		if err := s.addSeries(one); err != nil {
			return err
		}
	}
	return nil
}

func (s *Script) addSeries(one series) error {
	key := one.labels.String()
	if s.index[key] {
		return fmt.Errorf("%s is there already: see the section change", key)
	}
	s.index[key] = true
	s.series = append(s.series, &one)
	return nil
}

// parseExpectation checks the form of a line, and makes its spaces those of Notification.String.
func parseExpectation(text string) (string, error) {
	fields := strings.Fields(text)
	if len(fields) < 4 || (fields[2] != "firing" && fields[2] != "resolved") {
		return "", errors.New("want: TIME RECEIVER firing ALERTS, or resolved ALERTS")
	}
	if _, err := parseTime(strings.TrimPrefix(fields[0], "-")); err != nil {
		return "", err
	}
	return strings.Join(fields, " "), nil
}
