package boards

import (
	"cmp"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// tag is on every dashboard; the links between them are made of it.
const tag = "speedy-bites"

// layout is a dashboard as its file describes it.
type layout struct {
	name        string
	title       string
	description string
	// since is the beginning of the time that is shown at first: an hour ago where it is empty.
	since string
	// readsLogs says that panels read the log store, which one can choose then.
	readsLogs bool
	// variables come after those that every dashboard has.
	variables []cog.Builder[dashboard.VariableModel]
	rows      []row
}

// row is a heading with panels below it. They stand side by side until their widths make 24, and then below each other;
// those of one line have one height.
type row struct {
	title  string
	panels []panel
}

type panel = cog.Builder[dashboard.Panel]

func heading(title string, panels ...panel) row { return row{title: title, panels: panels} }

func uid(name string) string { return "speedy-bites-" + name }

func (l layout) build() (Dashboard, error) {
	b := dashboard.NewDashboardBuilder("Speedy Bites / "+l.title). //nolint:staticcheck // see Dashboard
									Uid(uid(l.name)).
									Description(l.description).
									Tags([]string{tag}).
									Readonly(). // it is changed here, not in the browser
									Tooltip(dashboard.DashboardCursorSyncCrosshair).
									Refresh("30s").
									Time(cmp.Or(l.since, "now-1h"), "now").
									Timezone("browser").
									Link(dashboard.NewDashboardLinkBuilder("Speedy Bites").
										Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{tag}).
										AsDropdown(true).IncludeVars(true).KeepTime(true))
	for _, v := range append(sharedVariables(l.readsLogs), l.variables...) {
		b.WithVariable(v)
	}
	for _, a := range annotations() {
		b.Annotation(a)
	}
	for _, r := range l.rows {
		b.WithRow(dashboard.NewRowBuilder(r.title))
		for _, p := range r.panels {
			b.WithPanel(p)
		}
	}
	d, err := b.Build()
	if err != nil {
		return Dashboard{}, err
	}
	number(d.Panels)
	return d, nil
}

// number gives the panels and rows their ids, in the order in which they stand.
func number(panels []dashboard.PanelOrRowPanel) {
	for i := range panels {
		id := uint32(i + 1)
		if panels[i].Panel != nil {
			panels[i].Panel.Id = &id
		} else {
			panels[i].RowPanel.Id = id
		}
	}
}

// sharedVariables are on every dashboard. The stores of logs and traces and the address of the runbooks are there for links.
func sharedVariables(readsLogs bool) []cog.Builder[dashboard.VariableModel] {
	hideLogs := dashboard.VariableHideHideVariable
	if readsLogs {
		hideLogs = dashboard.VariableHideDontHide
	}
	return []cog.Builder[dashboard.VariableModel]{
		source("datasource", "Data Source", "prometheus", "Prometheus", dashboard.VariableHideDontHide),
		values("job", "Job", "label_values(speedybites_build_info, job)"),
		values("instance", "Instance", `label_values(speedybites_build_info{job=~"$job"}, instance)`),
		source("loki", "Logs", "loki", "Loki", hideLogs),
		source("tempo", "Traces", "tempo", "Tempo", dashboard.VariableHideHideVariable),
		dashboard.NewConstantVariableBuilder("runbooks").Value(text(runbooksURL)),
	}
}

// source is a variable for a data source, whose kind is also the uid of the one that comes with the dashboards.
func source(name, label, kind, title string, hide dashboard.VariableHide) *dashboard.DatasourceVariableBuilder {
	return dashboard.NewDatasourceVariableBuilder(name).Label(label).Type(kind).Hide(hide).
		Current(dashboard.VariableOption{Text: one(title), Value: one(kind)})
}

// values is a variable for any number of a label's values.
func values(name, label, query string) *dashboard.QueryVariableBuilder {
	return dashboard.NewQueryVariableBuilder(name).Label(label).
		Datasource(metrics()).Query(text(query)).Definition(query).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc).
		Multi(true).IncludeAll(true).AllValue(".+").
		Current(dashboard.VariableOption{
			Text:  dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}},
			Value: dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}},
		})
}

func metrics() common.DataSourceRef  { return reference("prometheus", "${datasource}") }
func logStore() common.DataSourceRef { return reference("loki", "${loki}") }

func reference(kind, uid string) common.DataSourceRef {
	return common.DataSourceRef{Type: &kind, Uid: &uid}
}

func text(s string) dashboard.StringOrMap { return dashboard.StringOrMap{String: &s} }

func one(s string) dashboard.StringOrArrayOfString {
	return dashboard.StringOrArrayOfString{String: &s}
}
