package boards

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// annotations mark on every graph what happened: one sees at once whether a change of a line came before or after. They are for
// the chosen instances together, and only the beginning is marked where an end is seen elsewhere: more marks would cover what a
// graph of an hour shows of an outage of a minute.
func annotations() []cog.Builder[dashboard.AnnotationQuery] {
	return []cog.Builder[dashboard.AnnotationQuery]{
		mark("Breaker opened", serious, "breaker {{breaker}}", "breaker", openings("")+` > 0 unless `+openings("offset $__interval")+` > 0`),
		mark("Database away", bad, "at least one instance does not reach the primary", "role", `
			max by (role) (speedybites_database_connected{$primary} == bool 0) > 0`),
		mark("Primary moved", good, "the primary is now {{server}}", "server", primaries("")+` unless `+primaries("offset $__interval")+`
			and on () `+primaries("offset $__interval")),
		// The value is when the process started, so that the mark is there and not where it was first scraped.
		mark("Restart", neutral, "{{instance}}: started", "instance", `process_start_time_seconds{$service} * 1000`).
			UseValueForTime(true),
		mark("First page", unknown, "{{alertname}}", "alertname",
			`count by (alertname) (`+pages+`) unless on () count(`+pages+` offset $__interval)`),
	}
}

// openings counts openings of the breakers, also those between two scrapes.
func openings(when string) string {
	return `sum by (breaker) (
		changes(speedybites_circuit_breaker_transitions_total{$here, from="closed"}[$__rate_interval] ` + when + `))`
}

// primaries are the servers that instances have as their primary.
func primaries(when string) string {
	return `count by (server) (speedybites_database_server_info{$primary} ` + when + `)`
}

// pages are alerts that somebody is paged for. Those on the whole service have no instance.
const pages = `ALERTS{alertstate="firing", severity="page", job=~"$job|", instance=~"$instance|"}`

func mark(name, colour, text, tags, expr string) *dashboard.AnnotationQueryBuilder {
	return dashboard.NewAnnotationQueryBuilder().Name(name).Datasource(metrics()).Enable(true).IconColor(colour).
		TitleFormat(name).TextFormat(text).TagKeys(tags).
		Target(prometheus.NewDataqueryBuilder().RefId("Anno").Datasource(metrics()).Range().
			EditorMode(prometheus.QueryEditorModeCode).Expr(expression(expr)))
}
