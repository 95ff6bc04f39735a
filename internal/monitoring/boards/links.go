package boards

import (
	"encoding/json"
	"net/url"
	"regexp"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// runbooksURL is where the receiver of notifications shows the runbooks. Prometheus has the same as an external label.
const runbooksURL = "http://localhost:9096/runbooks"

type link = cog.Builder[dashboard.DashboardLink]

// runbooks are links from a panel to what to do about the alerts on what it shows.
func runbooks(alerts ...string) []link {
	var list []link
	for _, name := range alerts {
		list = append(list, to("Runbook: "+name, "${runbooks}/"+name).TargetBlank(true))
	}
	return list
}

// see are links from a panel to other dashboards, with the same time and variables.
func see(boards ...string) []link {
	var list []link
	for _, name := range boards {
		list = append(list, to("Dashboard: "+name, "/d/"+uid(name)+"?${__url_time_range}&${__all_variables}"))
	}
	return list
}

// traces is a link from a series to the traces that a query in TraceQL finds.
func traces(title, query string) link {
	return to("Traces: "+title, explore("tempo", map[string]any{
		"queryType": "traceql", "query": query, "limit": 20, "tableType": "traces",
	})).TargetBlank(true)
}

// logsOf is a link from a series to the lines of its instance in one log file.
func logsOf(file string) link {
	return to("Logs: "+file+" of ${__field.labels.instance}",
		exploreLogs(`{file="`+file+`", instance="${__field.labels.instance}"}`)).TargetBlank(true)
}

func exploreLogs(query string) string {
	return explore("loki", map[string]any{"queryType": "range", "expr": query})
}

// explore is the address of Grafana's page for queries, with one query for the shown time. Its source is the variable of
// that name.
func explore(source string, query map[string]any) string {
	uid := "${" + source + "}"
	query["refId"] = "A"
	query["datasource"] = map[string]any{"type": source, "uid": uid}
	panes, err := json.Marshal(map[string]any{"a": map[string]any{
		"datasource": uid,
		"queries":    []any{query},
		"range":      map[string]any{"from": "${__from}", "to": "${__to}"},
	}})
	if err != nil {
		panic(err) // maps of strings and numbers are JSON
	}
	return "/explore?schemaVersion=1&orgId=1&panes=" + escape(string(panes))
}

// escape escapes text for a URL, but for Grafana's variables in it.
func escape(s string) string {
	return regexp.MustCompile(`%24%7B[\w.]+%7D`).ReplaceAllStringFunc(url.QueryEscape(s), func(v string) string {
		return "${" + v[len("%24%7B"):len(v)-len("%7D")] + "}"
	})
}

func to(title, address string) *dashboard.DashboardLinkBuilder {
	return dashboard.NewDashboardLinkBuilder(title).Type(dashboard.DashboardLinkTypeLink).Url(address)
}
