// Prometheus's HTTP API, and its answers as the data frames that Grafana's Prometheus data source makes of them.
import { createDataFrame, FieldType, rangeUtil } from '@grafana/data';

const mostPoints = 11000; // Prometheus refuses to answer with more

export class Prometheus {
  /** labelValues lists the values of a label, of the series that a selector matches. */
  labelValues(label, selector, range) {
    const query = new URLSearchParams({ start: seconds(range.from), end: seconds(range.to) });
    if (selector) query.set('match[]', selector);
    return answer(fetch(`/api/v1/label/${label}/values?${query}`));
  }

  /** range runs a query over time, at whole multiples of the step, as Grafana does: a reload shows the same points. */
  range(query, range, step) {
    const aligned = (time) => Math.floor(time.valueOf() / step) * (step / 1000);
    return post('query_range', { query, start: aligned(range.from), end: aligned(range.to), step: step / 1000 });
  }

  /** instant runs a query for one moment. */
  instant(query, time) {
    return post('query', { query, time: seconds(time) });
  }
}

const seconds = (time) => time.valueOf() / 1000;

const post = (path, parameters) =>
  answer(fetch(`/api/v1/${path}`, { method: 'POST', body: new URLSearchParams(parameters) }));

async function answer(response) {
  const { status, error, data } = await (await response).json();
  if (status !== 'success') throw new Error(error);
  return data;
}

/**
 * steps are how far apart the points of a query are, and the variables made of that. Points is how many can be told apart:
 * the width of the panel in pixels.
 */
export function steps(range, points, scrapeInterval, least = scrapeInterval) {
  const length = range.to.valueOf() - range.from.valueOf();
  const scrape = rangeUtil.intervalToMs(scrapeInterval);
  const step = Math.max(
    rangeUtil.calculateInterval(range, points, least).intervalMs,
    Math.ceil(length / mostPoints / 1000) * 1000,
  );
  const rate = Math.max(step + scrape, 4 * scrape);
  return {
    step,
    variables: {
      __interval: `${step}ms`,
      __interval_ms: step,
      __rate_interval: `${rate}ms`,
      __rate_interval_ms: rate,
      __range: `${Math.round(length / 1000)}s`,
      __range_s: Math.round(length / 1000),
      __range_ms: length,
      __from: range.from.valueOf(),
      __to: range.to.valueOf(),
    },
  };
}

/** frames makes data frames of an answer. Single says that the panel has no other query. */
export function frames(data, target, step, single) {
  const series = seriesOf(data);
  switch (target.format) {
    case 'table':
      return series.length ? [table(series, target, single)] : [];
    case 'heatmap':
      return series.length ? [heatmap(series, target, step)] : [];
    default:
      return series.map((one) => overTime(one, target, step));
  }
}

function seriesOf({ resultType, result }) {
  switch (resultType) {
    case 'matrix':
      return result.map(({ metric, values = [] }) => ({ metric, values }));
    case 'vector':
      return result.map(({ metric, value }) => ({ metric, values: value ? [value] : [] }));
    case 'scalar':
      return [{ metric: {}, values: [result] }];
  }
  throw new Error(`an answer of type ${resultType} can't be drawn`);
}

const infinities = { '+Inf': Infinity, '-Inf': -Infinity };
const number = ([, text]) => infinities[text] ?? Number(text);
const time = ([at]) => at * 1000;

function timeField(values, step) {
  return { name: 'Time', type: FieldType.time, values, config: { interval: step } };
}

function overTime({ metric, values }, target, step) {
  return createDataFrame({
    refId: target.refId,
    fields: [
      timeField(values.map(time), step),
      {
        name: 'Value',
        type: FieldType.number,
        values: values.map(number),
        labels: metric,
        config: { displayNameFromDS: legend(metric, target) },
      },
    ],
  });
}

/** legend is the name of a series. */
export function legend(metric, { legendFormat, expr }) {
  if (legendFormat === '__auto') return Object.keys(metric).length ? undefined : expr;
  if (legendFormat) return legendFormat.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label) => metric[label] ?? '');
  const { __name__: name = '', ...labels } = metric;
  const list = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return name + (list.length ? `{${list.join(', ')}}` : '') || expr;
}

function table(series, target, single) {
  const labels = [...new Set(series.flatMap(({ metric }) => Object.keys(metric)))].sort();
  const rows = series.flatMap(({ metric, values }) => values.map((value) => ({ metric, value })));
  return createDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: rows.map((row) => time(row.value)) },
      ...labels.map((label) => ({
        name: label,
        type: FieldType.string,
        values: rows.map((row) => row.metric[label] ?? ''),
      })),
      {
        name: single ? 'Value' : `Value #${target.refId}`,
        type: FieldType.number,
        values: rows.map((row) => number(row.value)),
      },
    ],
  });
}

/** heatmap has a field for each bucket, with what is in this bucket and in no lower one. */
function heatmap(series, target, step) {
  const bound = ({ metric }) => infinities[metric.le] ?? Number(metric.le);
  const buckets = [...series].sort((a, b) => bound(a) - bound(b));
  const times = [...new Set(series.flatMap(({ values }) => values.map(time)))].sort((a, b) => a - b);
  let below = new Map();
  const fields = buckets.map((bucket) => {
    const sums = new Map(bucket.values.map((value) => [time(value), number(value)]));
    const values = times.map((at) => (sums.has(at) ? Math.max(0, sums.get(at) - (below.get(at) ?? 0)) : null));
    below = sums;
    const config = { displayNameFromDS: legend(bucket.metric, target) };
    return { name: bucket.metric.le, type: FieldType.number, labels: bucket.metric, values, config };
  });
  return createDataFrame({ refId: target.refId, fields: [timeField(times, step), ...fields] });
}
