package boards

import (
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/loki"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// shorthand is what queries say instead of the selectors that nearly all of them need.
var shorthand = strings.NewReplacer(
	// The chosen instances.
	"$here", `job=~"$job", instance=~"$instance"`,
	// The same for metrics that other jobs have too, such as up and go_goroutines, where All must not mean those jobs.
	"$service", `job=~"$job", job=~"speedy-bites.*", instance=~"$instance"`,
	// The primary of the chosen instances, in metrics of servers and of breakers: a replica that is lost must not look like it.
	"$primary", `job=~"$job", instance=~"$instance", role="primary"`,
	"$breaker", `job=~"$job", instance=~"$instance", breaker="primary"`,
	// What customers ask for. A health check that answers 503 hurts nobody.
	"$api", `http_route=~"/api/.*", http_route!="/api/health"`,
)

// expression returns a query with the shorthand written out, on one line.
func expression(s string) string { return strings.Join(strings.Fields(shorthand.Replace(s)), " ") }

// share is the expression of a part of a whole, by what both are grouped by: 0 where there is nothing of the whole, so that
// a quiet night is a line at 0 and no hole.
func share(part, whole string) string {
	return "(" + part + ") / (" + whole + " > 0) or 0 * (" + whole + ")"
}

// orNone is the expression of what hardly ever happens, summed by a label: without it a line "none" at 0, and not one line for
// each value that the label may have.
func orNone(label, expr string) string {
	return "sum by (" + label + ") (" + expr + `) > 0 or label_replace(sum(` + expr + `) == 0, "` + label + `", "none", "", "")`
}

func promql(legend, expr string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().Datasource(metrics()).EditorMode(prometheus.QueryEditorModeCode).
		LegendFormat(legend).Expr(expression(expr))
}

// line is a query over the shown time.
func line(legend, expr string) *prometheus.DataqueryBuilder {
	return promql(legend, expr).Range().Format(prometheus.PromQueryFormatTimeSeries)
}

// lineWithTraces is a line with the traces of single requests or queries on it, as dots that lead to them.
func lineWithTraces(legend, expr string) *prometheus.DataqueryBuilder {
	return line(legend, expr).Exemplar(true)
}

// buckets is the query of a heatmap.
func buckets(expr string) *prometheus.DataqueryBuilder {
	return promql("{{le}}", expr).Range().Format(prometheus.PromQueryFormatHeatmap).Exemplar(true)
}

// now is a query for the end of the shown time.
func now(legend, expr string) *prometheus.DataqueryBuilder {
	return promql(legend, expr).Instant().Format(prometheus.PromQueryFormatTimeSeries)
}

// cells is a query for the end of the shown time whose labels are columns.
func cells(expr string) *prometheus.DataqueryBuilder {
	return promql("", expr).Instant().Format(prometheus.PromQueryFormatTable)
}

// logLines is a query for lines of the log files.
func logLines(expr string) *loki.DataqueryBuilder {
	return loki.NewDataqueryBuilder().Datasource(logStore()).EditorMode(loki.QueryEditorModeCode).
		QueryType("range").MaxLines(500).Expr(expression(expr))
}

// logCount is a query that counts lines of the log files over the shown time.
func logCount(legend, expr string) *loki.DataqueryBuilder {
	return loki.NewDataqueryBuilder().Datasource(logStore()).EditorMode(loki.QueryEditorModeCode).
		QueryType("range").LegendFormat(legend).Expr(expression(expr))
}

// lettered gives the queries of a panel the names A, B, C, by which tables and overrides call them.
func lettered(queries []*prometheus.DataqueryBuilder) []cog.Builder[variants.Dataquery] {
	list := make([]cog.Builder[variants.Dataquery], 0, len(queries))
	for i, q := range queries {
		list = append(list, q.RefId(string(rune('A'+i))))
	}
	return list
}
