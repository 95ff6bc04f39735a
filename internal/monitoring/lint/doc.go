// Package lint holds rules, routes, runbooks and dashboards against each other and against the metrics that the service
// has. Configuration that nobody runs rots: a query on a metric that was renamed is no error anywhere, it is just never
// true again.
//
// The checks are those of Grafana's dashboard-linter and of pint that can be made without a server, and those that neither
// has: they look into every kind of panel, and they know docs/metrics.md. Each problem names file and line.
package lint

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
)

// Problem is something to mend.
type Problem struct {
	// File is relative to the repository's root.
	File string
	Line int
	// Check is the name of the check that found it, for a search in this package.
	Check   string
	Message string
}

func (p Problem) String() string {
	return fmt.Sprintf("%s:%d: %s [%s]", p.File, p.Line, p.Message, p.Check)
}

// problems collects what one file or one pass finds.
type problems struct {
	root string
	list []Problem
}

func (p *problems) add(file string, line int, check, format string, args ...any) {
	if rel, err := filepath.Rel(p.root, file); err == nil {
		file = filepath.ToSlash(rel)
	}
	p.list = append(p.list, Problem{File: file, Line: line, Check: check, Message: fmt.Sprintf(format, args...)})
}

// sorted returns the problems in the order of files and lines, each once.
func (p *problems) sorted() []Problem {
	slices.SortFunc(p.list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Check, b.Check),
			cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(p.list)
}

// Check looks at everything below a repository's root. The error is one that kept it from looking.
func Check(root string) ([]Problem, error) {
	p := &problems{root: root}
	catalogue, err := readCatalogue(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		return nil, err
	}
	rules, err := readRules(p, filepath.Join(root, "alerts", "rules"))
	if err != nil {
		return nil, err
	}
	catalogue.addRecorded(p, rules)
	boards, err := readDashboards(p, filepath.Join(root, "dashboards"))
	if err != nil {
		return nil, err
	}
	checkRules(p, catalogue, rules)
	checkDashboards(p, catalogue, boards, rules)
	if err := checkContract(p, catalogue, rules, boards); err != nil {
		return nil, err
	}
	if err := checkRouting(p, catalogue, rules); err != nil {
		return nil, err
	}
	return p.sorted(), nil
}
