package boards

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/logs"
	"github.com/grafana/grafana-foundation-sdk/go/loki"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// says is a panel's description: what it looks like when all is well, what it looks like when it is not, and what to do then.
func says(well, ill, next string) string {
	return "**Good:** " + well + "\n\n**Bad:** " + ill + "\n\n**Next:** " + next
}

// tile is a number or word that is to be read from afar: the value now. With several queries it has a line for each.
func tile(title, description, unit string, queries ...*prometheus.DataqueryBuilder) *stat.PanelBuilder {
	b := stat.NewPanelBuilder().Title(title).Description(description).Datasource(metrics()).Targets(lettered(queries)).
		Unit(unit).ColorMode(common.BigValueColorModeBackgroundSolid).GraphMode(common.BigValueGraphModeNone).
		TextMode(common.BigValueTextModeValue).Orientation(common.VizOrientationHorizontal).JustifyMode(common.BigValueJustifyModeCenter).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		ColorScheme(byLimits()).NoValue("no data").
		Span(4).Height(4)
	if len(queries) > 1 {
		// The size that Grafana finds for lines with names is too small to read.
		b.TextMode(common.BigValueTextModeValueAndName).Text(common.NewVizTextDisplayOptionsBuilder().TitleSize(18).ValueSize(32))
	}
	return b
}

// graph is lines over time.
func graph(title, description, unit string, queries ...*prometheus.DataqueryBuilder) *timeseries.PanelBuilder {
	return lines(title, description, unit).Datasource(metrics()).Targets(lettered(queries))
}

// logGraph is counts of log lines over time.
func logGraph(title, description, unit string, query *loki.DataqueryBuilder) *timeseries.PanelBuilder {
	return lines(title, description, unit).Datasource(logStore()).WithTarget(query.RefId("A"))
}

func lines(title, description, unit string) *timeseries.PanelBuilder {
	return timeseries.NewPanelBuilder().Title(title).Description(description).Unit(unit).
		Min(0).LineWidth(2).FillOpacity(10).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).
			DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending)).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdPaletteClassic)).
		Thresholds(noLimits()).
		Span(8).Height(8)
}

// areas is parts of a whole over time, on top of each other. They have no lines: that of a part which is 0 would lie on top of
// the others, as if all were its.
func areas(title, description, unit string, queries ...*prometheus.DataqueryBuilder) *timeseries.PanelBuilder {
	return graph(title, description, unit, queries...).Stacking(stacked()).FillOpacity(70).LineWidth(0)
}

// bars is events over time, where a line would pretend that something was there between them.
func bars(title, description, unit string, queries ...*prometheus.DataqueryBuilder) *timeseries.PanelBuilder {
	b := graph(title, description, unit, queries...).
		DrawStyle(common.GraphDrawStyleBars).FillOpacity(80).LineWidth(1).Stacking(stacked())
	if unit == count {
		b.Decimals(0).AxisSoftMax(1) // Prometheus extrapolates: one event may be 1.2
	}
	return b
}

// timeline is a state over time, in words, a line for each series.
func timeline(title, description string, meaning []mapping, queries ...*prometheus.DataqueryBuilder,
) *statetimeline.PanelBuilder {
	return statetimeline.NewPanelBuilder().Title(title).Description(description).Datasource(metrics()).
		Targets(lettered(queries)).Mappings(meaning).Unit(count).
		MergeValues(true).ShowValue(common.VisibilityModeAuto).AlignValue(common.TimelineValueAlignmentLeft).
		RowHeight(0.8).LineWidth(1).FillOpacity(85).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).
			DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeSingle)).
		// Values that are merged and coloured by limits would be shown as limits and not as words.
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdFixed).FixedColor(unknown)).
		Thresholds(noLimits()).NoValue("no data").
		Span(12).Height(6)
}

// durations is how many things took how long, over time.
func durations(title, description string, query *prometheus.DataqueryBuilder) *heatmap.PanelBuilder {
	return heatmap.NewPanelBuilder().Title(title).Description(description).Datasource(metrics()).
		Targets(lettered([]*prometheus.DataqueryBuilder{query})).
		Unit(count).Calculate(false).ShowLegend().CellGap(1).
		RowsFrame(heatmap.NewRowsHeatmapOptionsBuilder().Layout(common.HeatmapCellLayoutAuto)).
		YAxis(heatmap.NewYAxisConfigBuilder().Unit(seconds).AxisPlacement(common.AxisPlacementLeft)).
		Color(heatmap.NewHeatmapColorOptionsBuilder().Mode(heatmap.HeatmapColorModeScheme).
			Scheme("Cividis").Steps(64).Exponent(0.5)). // a scheme that is the same to every eye
		Tooltip(heatmap.NewHeatmapTooltipBuilder().Mode(common.TooltipDisplayModeSingle).YHistogram(true)).
		ExemplarsColor("rgba(255,0,255,0.7)").
		Span(12).Height(8)
}

// cellTable is a table of the values now. Its columns are in the order of the list; what is not in it is not shown.
func cellTable(title, description string, columns []column, queries ...*prometheus.DataqueryBuilder) *table.PanelBuilder {
	return table.NewPanelBuilder().Title(title).Description(description).Datasource(metrics()).Targets(lettered(queries)).
		Unit(count).ShowHeader(true).MinWidth(60).CellHeight(common.TableCellHeightSm).
		// The schema wants the list, although there is no footer.
		Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{}).CountRows(false)).
		ColorScheme(byLimits()).Thresholds(noLimits()).
		Transformations(arrange(columns)).
		Span(12).Height(8)
}

// column is a column of a table: the label or value that it shows, and its heading.
type column struct{ of, heading string }

// arrange makes one table of the answers of several queries. Grafana wants each column that is not to be seen hidden by its
// name; the filter at the end does so with all that have no heading here.
func arrange(columns []column) []dashboard.DataTransformerConfig {
	order, heading, shown := map[string]int{}, map[string]string{}, make([]string, 0, len(columns))
	for i, c := range columns {
		order[c.of], heading[c.of] = i, c.heading
		shown = append(shown, c.heading)
	}
	return []dashboard.DataTransformerConfig{
		{Id: "merge", Options: map[string]any{}},
		{Id: "organize", Options: map[string]any{
			"excludeByName": map[string]bool{"Time": true}, "indexByName": order, "renameByName": heading,
		}},
		{Id: "filterFieldsByName", Options: map[string]any{"include": map[string]any{"names": shown}}},
	}
}

// logTable is lines of the log files.
func logTable(title, description string, query *loki.DataqueryBuilder) *logs.PanelBuilder {
	return logs.NewPanelBuilder().Title(title).Description(description).Datasource(logStore()).WithTarget(query.RefId("A")).
		Unit(count).ShowTime(true).WrapLogMessage(true).EnableLogDetails(true).
		SortOrder(common.LogsSortOrderDescending).DedupStrategy(common.LogsDedupStrategyNone).
		NoValue("no such lines").
		Span(24).Height(10)
}

func sortedBy(heading string, descending bool) []cog.Builder[common.TableSortByFieldState] {
	return []cog.Builder[common.TableSortByFieldState]{
		common.NewTableSortByFieldStateBuilder().DisplayName(heading).Desc(descending),
	}
}

func byLimits() *dashboard.FieldColorBuilder {
	return dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds)
}
