// States over time. Grafana's own is in none of its packages; this one follows its rules for what is shown.
import {
  applyNullInsertThreshold,
  colorManipulator,
  FieldType,
  formattedValueToString,
  getActiveThreshold,
  getFieldDisplayName,
  getValueFormat,
} from '@grafana/data';
import { useTheme2 } from '@grafana/ui';
import { legendOf, TimePlot } from '../plot.jsx';
import { NoData } from './nodata.jsx';

const fontSize = 12;
const characterWidth = 9;

export function StateTimeline({ panel, frames, options, ...place }) {
  const theme = useTheme2();
  const rows = frames.flatMap((frame) => rowsOf(frame, frames, options.mergeValues, place.range, theme));
  if (!rows.length) return <NoData panel={panel} />;
  const lanes = lanesOf(rows.length, options.rowHeight);
  return (
    <TimePlot
      {...place}
      y={[0, 1]}
      axis={{
        splits: () => lanes.map(({ middle }) => 1 - middle),
        values: () => rows.map(({ name }) => name),
        grid: { show: false },
        ticks: { show: false },
        gap: 16,
      }}
      draw={(plot) => rows.forEach((row, i) => drawRow(plot, row, lanes[i], options, theme))}
      legend={legendOf(legendItems(rows, theme), options.legend)}
    />
  );
}

/** rowsOf makes a row of each field: {name, field, spans}. */
function rowsOf(frame, frames, merge, range, theme) {
  const whole = applyNullInsertThreshold({
    frame,
    refFieldPseudoMin: range.from.valueOf(),
    refFieldPseudoMax: range.to.valueOf(),
  });
  const times = whole.fields.find(({ type }) => type === FieldType.time)?.values ?? [];
  return whole.fields
    .filter(({ type }) => type !== FieldType.time)
    .map((original) => {
      const field = merge && original.config.color?.mode === 'thresholds' ? byThreshold(original, theme) : original;
      return { name: getFieldDisplayName(original, frame, frames), field, spans: spansOf(field.values, times, merge) };
    });
}

/**
 * byThreshold shows the threshold that a number has reached instead of the number. This is what Grafana does where values
 * are merged and coloured by thresholds, even if there are words for the numbers.
 */
function byThreshold(field, theme) {
  const steps = field.config.thresholds?.steps ?? [];
  if (field.type !== FieldType.number || !steps.length) return field;
  const labels = thresholdLabels(field.config);
  const color = new Map(steps.map((step, i) => [labels[i], theme.visualization.getColorByName(step.color)]));
  return {
    ...field,
    values: field.values.map((v) => (v == null ? v : labels[steps.indexOf(getActiveThreshold(v, steps))])),
    display: (label) => ({ text: label, color: color.get(label) }),
  };
}

function thresholdLabels({ unit = '', decimals, thresholds: { steps } }) {
  const text = (value) => formattedValueToString(getValueFormat(unit)(value, decimals));
  return steps.map(({ value }, i) =>
    value === -Infinity && steps[i + 1] ? `< ${text(steps[i + 1].value)}` : `${text(value)}+`,
  );
}

/** spansOf lists {value, from, to}; the last one has no end. */
function spansOf(values, times, merge) {
  const spans = [];
  values.forEach((value, i) => {
    const last = spans.at(-1);
    const open = last && last.to === undefined;
    if (open && merge && last.value === value) return;
    if (open) last.to = times[i];
    if (value != null) spans.push({ value, from: times[i] });
  });
  return spans;
}

/** lanesOf gives each of the rows its place between 0, the top, and 1. */
function lanesOf(count, rowHeight) {
  const height = rowHeight / count;
  const gap = count > 1 ? (1 - rowHeight) / (count - 1) : 0;
  return Array.from({ length: count }, (_, i) => {
    const top = i * (height + gap);
    return { top, height, middle: top + height / 2 };
  });
}

function drawRow({ ctx, bbox, valToPos }, { field, spans }, lane, options, theme) {
  const { fillOpacity, lineWidth } = field.config.custom;
  const top = Math.round(bbox.top + lane.top * bbox.height);
  const height = Math.round(lane.height * bbox.height);
  const ratio = globalThis.devicePixelRatio;
  ctx.font = `500 ${fontSize * ratio}px ${theme.typography.fontFamily}`;
  ctx.textBaseline = 'middle';
  for (const { value, from, to } of spans) {
    const left = Math.round(valToPos(from, 'x', true));
    const right = to === undefined ? bbox.left + bbox.width + lineWidth : Math.round(valToPos(to, 'x', true));
    const width = Math.max(1, right - left);
    const shown = field.display(value);
    const fill = colorManipulator.alpha(shown.color, fillOpacity / 100);
    ctx.fillStyle = fill;
    ctx.fillRect(left, top, width, height);
    ctx.strokeStyle = shown.color;
    ctx.lineWidth = lineWidth;
    if (lineWidth) ctx.strokeRect(left + lineWidth / 2, top + lineWidth / 2, width - lineWidth, height - lineWidth);
    const room = Math.floor((right - Math.max(left, bbox.left)) / (characterWidth * ratio));
    if (options.showValue === 'never' || (options.showValue === 'auto' && room < 2)) continue;
    ctx.fillStyle = theme.colors.getContrastText(fill, 3);
    ctx.textAlign = options.alignValue;
    const gap = lineWidth + 2 * ratio;
    const at = { left: left + gap, center: left + width / 2, right: right - gap };
    ctx.fillText(formattedValueToString(shown).slice(0, room), at[options.alignValue], top + height / 2);
  }
}

function legendItems(rows, theme) {
  const { config } = rows[0].field;
  const steps = config.thresholds?.steps ?? [];
  if (config.color?.mode === 'thresholds' && steps.length > 1) {
    const labels = thresholdLabels(config);
    return steps.map((step, i) => ({ label: labels[i], color: theme.visualization.getColorByName(step.color) }));
  }
  const colors = new Map();
  for (const { field, spans } of rows) {
    for (const { value } of spans) {
      const shown = field.display(value);
      colors.set(formattedValueToString(shown), shown.color);
    }
  }
  return [...colors].map(([label, color]) => ({ label, color }));
}
