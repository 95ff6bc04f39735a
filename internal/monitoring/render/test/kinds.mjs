// A dashboard with every kind of panel, and samples for it.

const prometheus = { type: 'prometheus', uid: '${datasource}' };
const loki = { type: 'loki', uid: '${loki}' };

const over = (expr, legendFormat) => ({ expr, legendFormat, range: true, instant: false, format: 'time_series' });
const now = (expr, legendFormat) => ({ expr, legendFormat, instant: true, range: false, format: 'time_series' });
const cells = (expr) => ({ expr, instant: true, range: false, format: 'table' });
const buckets = (expr) => ({ expr, legendFormat: '{{le}}', range: true, format: 'heatmap' });

const words = (...list) =>
  list.map(([value, text, color]) => ({ type: 'value', options: { [value]: { text, color } } }));
const thresholds = (first, ...steps) => ({
  mode: 'absolute',
  steps: [{ color: first, value: null }, ...steps.map(([value, color]) => ({ value, color }))],
});

let id = 0;

function panel(type, title, [x, y, w, h], targets, defaults = {}, rest = {}) {
  return {
    id: ++id,
    type,
    title,
    datasource: prometheus,
    description: `What **${title}** means`,
    gridPos: { x, y, w, h },
    targets: targets.map((target, i) => ({ refId: 'ABCDEFG'[i], ...target })),
    fieldConfig: { defaults, overrides: [] },
    ...rest,
  };
}

const row = (title, y, collapsed = false, panels = []) => ({
  id: ++id,
  type: 'row',
  title,
  collapsed,
  panels,
  gridPos: { x: 0, y, w: 24, h: 1 },
});

const database = words([1, 'Connected', 'green'], [0, 'AWAY', 'red']);
const rates = 'sum by (code) (rate(requests_total{instance=~"$instance"}[$__rate_interval]))';

export const panels = [
  row('Values', 0),
  panel(
    'stat',
    'Requests',
    [0, 1, 6, 5],
    [over(`sum(rate(requests_total{instance=~"$instance"}[$__rate_interval]))`)],
    {
      unit: 'reqps',
      thresholds: thresholds('green', [100, 'red']),
    },
  ),
  panel(
    'stat',
    'Database',
    [6, 1, 6, 5],
    [now('min(connected)')],
    { mappings: database, thresholds: thresholds('blue') },
    {
      options: { colorMode: 'background_solid', graphMode: 'none' },
    },
  ),
  panel('gauge', 'Pool', [12, 1, 6, 5], [now('pool_used')], {
    min: 0,
    max: 20,
    thresholds: thresholds('green', [10, 'yellow'], [15, 'red']),
  }),
  panel(
    'bargauge',
    'By code',
    [18, 1, 6, 5],
    [now('requests_total{instance="a:1"}', '{{code}}')],
    { unit: 'short' },
    {
      options: { orientation: 'horizontal' },
    },
  ),
  row('Over time', 6),
  panel(
    'timeseries',
    'Rate by code',
    [0, 7, 12, 8],
    [over(rates, 'code {{code}}')],
    {
      unit: 'reqps',
      color: { mode: 'palette-classic' },
      thresholds: thresholds('green', [8, 'red']),
      custom: { fillOpacity: 20, lineWidth: 2, thresholdsStyle: { mode: 'dashed' } },
    },
    { options: { legend: { showLegend: true, displayMode: 'table', placement: 'right', calcs: ['max'] } } },
  ),
  panel('state-timeline', 'States', [12, 7, 12, 8], [over('connected', '{{instance}}')], {
    mappings: database,
    color: { mode: 'fixed' },
    custom: { fillOpacity: 85, lineWidth: 1 },
  }),
  panel(
    'heatmap',
    'Durations',
    [0, 15, 12, 8],
    [buckets('sum by (le) (rate(seconds_bucket[$__rate_interval]))')],
    {},
    {
      options: { yAxis: { unit: 's' }, color: { mode: 'scheme', scheme: 'Cividis', steps: 64 } },
    },
  ),
  panel('alertlist', 'Alerts', [12, 15, 12, 8], []),
  row('Lists', 23),
  panel(
    'table',
    'By instance',
    [0, 24, 12, 7],
    [cells('connected'), cells('pool_used')],
    {},
    {
      transformations: [
        { id: 'merge', options: {} },
        {
          id: 'organize',
          options: { excludeByName: { Time: true, __name__: true }, renameByName: { 'Value #A': 'Database' } },
        },
      ],
      fieldConfig: {
        defaults: {},
        overrides: [
          {
            matcher: { id: 'byName', options: 'Database' },
            properties: [
              { id: 'mappings', value: database },
              { id: 'custom.cellOptions', value: { type: 'color-background', mode: 'basic' } },
            ],
          },
        ],
      },
    },
  ),
  panel(
    'barchart',
    'Totals',
    [12, 24, 6, 7],
    [cells('sum by (code) (requests_total)')],
    { unit: 'short' },
    {
      transformations: [{ id: 'organize', options: { excludeByName: { Time: true } } }],
    },
  ),
  panel(
    'text',
    'Notes for $instance',
    [18, 24, 6, 7],
    [],
    {},
    { options: { mode: 'markdown', content: '# Read\n\n- this\n- `that`' } },
  ),
  panel('logs', 'Lines', [0, 31, 24, 4], [{ expr: '{file="error.log"}' }], {}, { datasource: loki }),
  row('Hidden', 35, true, [panel('stat', 'Inside', [0, 36, 6, 4], [now('vector(7)')])]),
  panel('stat', 'Below', [0, 36, 6, 4], [now('vector(8)')]),
  panel('stat', 'Away since', [6, 36, 6, 4], [now('ALERTS_FOR_STATE * 1000')], { unit: 'dateTimeFromNow' }),
];

const annotation = {
  name: 'Away',
  datasource: prometheus,
  enable: true,
  iconColor: 'red',
  target: { refId: 'Anno', expr: 'max(connected == bool 0) > 0' },
};

export const dashboard = {
  title: 'Every kind',
  time: { from: 'now-1h', to: 'now' },
  panels,
  annotations: { list: [{ builtIn: 1, enable: true, name: 'Annotations & Alerts' }, annotation] },
  templating: {
    list: [
      {
        type: 'datasource',
        name: 'datasource',
        label: 'Data source',
        query: 'prometheus',
        current: { text: 'Prometheus', value: 'prometheus' },
      },
      {
        type: 'query',
        name: 'instance',
        label: 'Instance',
        query: 'label_values(connected, instance)',
        datasource: prometheus,
        multi: true,
        includeAll: true,
        current: { text: ['All'], value: ['$__all'] },
      },
      { type: 'datasource', name: 'loki', query: 'loki', hide: 2, current: { value: 'loki' } },
    ],
  },
};

/** samples are an hour of two instances, of which one loses its database for ten minutes, as OpenMetrics. */
export function samples(start, seconds = 3600, step = 15) {
  const metrics = [
    [
      'requests',
      'counter',
      ['a:1', 'b:1'].flatMap((i) =>
        ['200', '503'].map((code) => [
          `requests_total{instance="${i}",code="${code}"}`,
          (t) => (code === '200' ? 5 * t + 600 * Math.sin(t / 300) : 0.3 * t),
        ]),
      ),
    ],
    [
      'connected',
      'gauge',
      [
        ['connected{instance="a:1"}', () => 1],
        ['connected{instance="b:1"}', (t) => (t > 1800 && t < 2400 ? 0 : 1)],
      ],
    ],
    ['pool_used', 'gauge', [['pool_used{instance="a:1"}', (t) => Math.round(8 + 6 * Math.sin(t / 300))]]],
    ['seconds', 'histogram', [0.1, 0.5, 1, '+Inf'].map((le, i) => [`seconds_bucket{le="${le}"}`, (t) => t * (i + 1)])],
    [
      'ALERTS',
      'gauge',
      [['ALERTS{alertname="DatabaseAway",alertstate="firing",severity="page"}', (t) => (t > 1800 ? 1 : undefined)]],
    ],
    [
      'ALERTS_FOR_STATE',
      'gauge',
      [['ALERTS_FOR_STATE{alertname="DatabaseAway",severity="page"}', (t) => (t > 1800 ? start + 1800 : undefined)]],
    ],
  ];
  const lines = metrics.flatMap(([name, type, series]) => [
    `# TYPE ${name} ${type}`,
    ...series.flatMap(([text, value]) => line(text, value)),
  ]);
  return `${lines.join('\n')}\n# EOF\n`;

  function line(text, value) {
    const list = [];
    for (let t = 0; t <= seconds; t += step) {
      if (value(t) !== undefined) list.push(`${text} ${value(t)} ${start + t}`);
    }
    return list;
  }
}
