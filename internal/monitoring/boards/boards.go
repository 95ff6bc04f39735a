// Package boards builds the Grafana dashboards of Speedy Bites.
//
// Each dashboard has a file of its own, which reads as a list of rows and their panels. What all of them share is beside it:
//
//	layout.go       a dashboard: its variables, its links, the place and number of each panel
//	panels.go       the kinds of panels
//	queries.go      the kinds of queries, and the selectors that queries share
//	looks.go        thresholds, words for values, colours
//	links.go        runbooks, other dashboards, traces, logs
//	heard.go        which pages Alertmanager does not mute
//	annotations.go  what is marked on the time axis of every graph
//
// The files in dashboards are written from here: go test ./boards -run TestGenerated -update.
package boards

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/loki"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// Dashboard is one in the schema that every Grafana since version 8 reads from files.
type Dashboard = dashboard.Dashboard //nolint:staticcheck // the newer schema is for Grafana 12 and later alone

// Board is a dashboard with its name.
type Board struct {
	// Name is the name of its file, without .json, and the end of its uid.
	Name      string
	Dashboard Dashboard
}

// All returns every dashboard, in the order in which people look at them. root is the repository's: what Alertmanager mutes is
// read from there.
func All(root string) ([]Board, error) {
	heard, err := heard(root)
	if err != nil {
		return nil, err
	}
	var list []Board
	for _, l := range []layout{
		overview(heard), requests(), database(), resilience(), replicas(), objectives(), logsAndAudit(), syntheticQueries(), processes(), monitoring(),
	} {
		d, err := l.build()
		if err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", l.name, err)
		}
		list = append(list, Board{Name: l.name, Dashboard: d})
	}
	return list, nil
}

// JSON returns what Grafana reads: indented by two spaces, with a final newline.
func (b Board) JSON() ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // queries are for people to read
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(b.Dashboard); err != nil {
		return nil, fmt.Errorf("encode dashboard %s: %w", b.Name, err)
	}
	return out.Bytes(), nil
}

// Panels returns the panels, without the rows' headings.
func (b Board) Panels() []dashboard.Panel {
	var list []dashboard.Panel
	for _, p := range b.Dashboard.Panels {
		if p.Panel != nil {
			list = append(list, *p.Panel)
		}
		if p.RowPanel != nil {
			list = append(list, p.RowPanel.Panels...)
		}
	}
	return list
}

// Query is one query of a panel or of an annotation.
type Query struct {
	// Place is the title of the panel, or "annotation " and its name.
	Place string
	// Ref tells the queries of one panel apart.
	Ref string
	// Language is promql or logql.
	Language string
	// Expr has Grafana's variables still in it.
	Expr string
	// Instant tells a query for one moment from one over the shown time.
	Instant bool
}

// Queries returns the queries of all panels and annotations.
func (b Board) Queries() ([]Query, error) {
	var list []Query
	add := func(place string, target variants.Dataquery) error {
		q, err := queryOf(target)
		if err != nil {
			return fmt.Errorf("dashboard %s, %s: %w", b.Name, place, err)
		}
		q.Place = place
		list = append(list, q)
		return nil
	}
	for _, p := range b.Panels() {
		for _, target := range p.Targets {
			if err := add(*p.Title, target); err != nil {
				return nil, err
			}
		}
	}
	for _, a := range b.Dashboard.Annotations.List {
		if a.Target == nil {
			continue // the one that Grafana keeps of its own
		}
		if err := add("annotation "+a.Name, a.Target); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func queryOf(target variants.Dataquery) (Query, error) {
	switch t := target.(type) {
	case prometheus.Dataquery:
		return Query{Ref: deref(t.RefId), Language: "promql", Expr: t.Expr, Instant: deref(t.Instant)}, nil
	case loki.Dataquery:
		return Query{Ref: deref(t.RefId), Language: "logql", Expr: t.Expr, Instant: deref(t.Instant)}, nil
	}
	return Query{}, fmt.Errorf("%T is a query of no known kind", target)
}

func deref[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}
