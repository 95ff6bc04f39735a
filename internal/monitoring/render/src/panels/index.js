// The kinds of panels, by the names that Grafana gives them.
import { AlertList } from './alertlist.jsx';
import { BarChart } from './barchart.jsx';
import { BarGauges, Gauges, Stats } from './values.jsx';
import { Heatmap } from './heatmap.jsx';
import { StateTimeline } from './statetimeline.jsx';
import { Table, Text } from './table.jsx';
import { TimeSeriesPanel } from './timeseries.jsx';
import { alerts } from './alertlist.jsx';

// What a panel has where its dashboard does not say otherwise: a dashboard's file need not have every option.
const reduced = { reduceOptions: { calcs: ['lastNotNull'] }, orientation: 'auto' };
const legend = { showLegend: true, displayMode: 'list', placement: 'bottom', calcs: [] };

/** kinds have a component, the defaults of options, colors and custom field configuration, and maybe a query of their own. */
const kinds = {
  timeseries: {
    Panel: TimeSeriesPanel,
    options: { legend },
    color: 'palette-classic',
    custom: {
      drawStyle: 'line',
      lineInterpolation: 'linear',
      lineWidth: 1,
      fillOpacity: 0,
      gradientMode: 'none',
      spanNulls: false,
      showPoints: 'auto',
      pointSize: 5,
      stacking: { mode: 'none', group: 'A' },
      axisPlacement: 'auto',
      scaleDistribution: { type: 'linear' },
      barAlignment: 0,
      barWidthFactor: 0.6,
      thresholdsStyle: { mode: 'off' },
      hideFrom: { tooltip: false, viz: false, legend: false },
    },
  },
  stat: {
    Panel: Stats,
    options: {
      ...reduced,
      colorMode: 'value',
      graphMode: 'area',
      justifyMode: 'auto',
      textMode: 'auto',
      wideLayout: true,
    },
  },
  gauge: { Panel: Gauges, options: { ...reduced, showThresholdMarkers: true } },
  bargauge: {
    Panel: BarGauges,
    options: { ...reduced, displayMode: 'gradient', valueMode: 'color', namePlacement: 'auto', showUnfilled: true },
  },
  'state-timeline': {
    Panel: StateTimeline,
    options: { legend, mergeValues: true, showValue: 'auto', alignValue: 'left', rowHeight: 0.9 },
    color: 'continuous-GrYlRd',
    custom: { lineWidth: 0, fillOpacity: 70 },
  },
  heatmap: {
    Panel: Heatmap,
    options: { cellGap: 1, color: {}, legend: { show: true }, yAxis: {}, filterValues: { le: 1e-9 } },
  },
  table: {
    Panel: Table,
    options: { showHeader: true, cellHeight: 'sm', frameIndex: 0 },
    custom: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false },
  },
  barchart: {
    Panel: BarChart,
    options: { legend, orientation: 'auto', stacking: 'none', showValue: 'auto', barWidth: 0.97, groupWidth: 0.7 },
    color: 'palette-classic',
    custom: { fillOpacity: 80, lineWidth: 1 },
  },
  text: { Panel: Text, options: { mode: 'markdown', content: '' } },
  alertlist: { Panel: AlertList, options: { maxItems: 20 }, load: alerts },
  logs: { Panel: () => null, options: {} }, // there are none without Loki
};

/** kindOf is the kind of a panel. What could not be drawn as it is meant is an error, not a picture that lies. */
export function kindOf({ type, title, repeat }) {
  if (!kinds[type]) throw new Error(`panel "${title}": panels of type ${type} can't be drawn`);
  if (repeat) throw new Error(`panel "${title}": a repeated panel can't be drawn`);
  return kinds[type];
}
