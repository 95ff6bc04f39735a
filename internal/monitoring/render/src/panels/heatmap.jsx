// How many things took how long, over time: the buckets of a histogram as coloured cells. Grafana's own is in none of its
// packages.
import { FieldType, formattedValueToString, getValueFormat } from '@grafana/data';
import { useTheme2, VizLayout } from '@grafana/ui';
import * as schemes from 'd3-scale-chromatic';
import { TimePlot } from '../plot.jsx';
import { NoData } from './nodata.jsx';

export function Heatmap({ panel, frames, options, ...place }) {
  if (options.calculate) throw new Error(`panel "${panel.title}": a heatmap that is calculated can't be drawn`);
  const theme = useTheme2();
  if (!frames[0]?.length) return <NoData panel={panel} />;
  const { times, step, buckets } = cellsOf(frames[0]);
  const shown = buckets.flatMap(({ values }) => values).filter((v) => v > options.filterValues.le);
  const lowest = Math.min(...shown);
  const highest = Math.max(...shown);
  const color = colors(options.color, theme);
  const paint = (value) => color(highest > lowest ? (value - lowest) / (highest - lowest) : 1);
  return (
    <TimePlot
      {...place}
      y={[-1, buckets.length - 1]}
      axis={{
        splits: ({ height }) => every(buckets.length + 1, height / 22).map((i) => i - 1),
        values: (_, splits) => splits.map((i) => (i < 0 ? '0' : bound(buckets[i].le, options.yAxis))),
      }}
      draw={(plot) => drawCells(plot, { times, step, buckets, paint, options })}
      legend={
        options.legend.show && shown.length > 0 ? (
          <VizLayout.Legend placement="bottom" maxHeight="20%">
            <ColorScale color={color} lowest={lowest} highest={highest} format={buckets[0].display} />
          </VizLayout.Legend>
        ) : null
      }
    />
  );
}

function cellsOf({ fields }) {
  const time = fields.find(({ type }) => type === FieldType.time);
  const buckets = fields
    .filter(({ type }) => type === FieldType.number)
    .map(({ labels, name, values, display }) => ({ le: labels?.le ?? name, values, display }));
  return { times: time.values, step: time.config.interval, buckets };
}

function bound(le, { unit = 'short', decimals }) {
  return le === '+Inf' ? le : formattedValueToString(getValueFormat(unit)(Number(le), decimals));
}

/** every lists the numbers below count, or every second, every fourth and so on, if there is room for some only. */
function every(count, room) {
  let list = Array.from({ length: count }, (_, i) => i);
  while (list.length > 3 && list.length > room) list = list.filter((_, i) => i % 2 === 0);
  return list;
}

/** colors returns the color of a share from 0 to 1. */
function colors({ mode = 'scheme', scheme = 'Oranges', steps = 64, exponent = 0.5, fill, reverse }, theme) {
  if (mode === 'opacity') {
    const solid = theme.visualization.getColorByName(fill || 'dark-orange');
    return (share) => `color-mix(in srgb, ${solid} ${100 * share ** exponent}%, transparent)`;
  }
  const scale = schemes[`interpolate${scheme}`];
  if (!scale) throw new Error(`the color scheme ${scheme} is unknown`);
  return (share) => {
    const rounded = Math.round(share * (steps - 1)) / (steps - 1);
    return scale(reverse ? 1 - rounded : rounded);
  };
}

function drawCells({ ctx, valToPos }, { times, step, buckets, paint, options }) {
  const gap = options.cellGap;
  buckets.forEach(({ values }, i) => {
    const top = Math.round(valToPos(i, 'y', true));
    const height = Math.round(valToPos(i - 1, 'y', true)) - top;
    values.forEach((value, n) => {
      if (value == null || value <= options.filterValues.le) return;
      const left = Math.round(valToPos(times[n] - step / 2, 'x', true));
      const width = Math.round(valToPos(times[n] + step / 2, 'x', true)) - left;
      ctx.fillStyle = paint(value);
      ctx.fillRect(left, top, Math.max(1, width - gap), Math.max(1, height - gap));
    });
  });
}

function ColorScale({ color, lowest, highest, format }) {
  const theme = useTheme2();
  const parts = Array.from({ length: 17 }, (_, i) => color(i / 16));
  const labels = { display: 'flex', justifyContent: 'space-between', color: theme.colors.text.secondary };
  const text = (value) => formattedValueToString(format(value));
  return (
    <div style={{ width: 260, padding: '4px 0 0 56px', fontSize: theme.typography.bodySmall.fontSize }}>
      <div style={{ height: 9, background: `linear-gradient(90deg, ${parts.join(', ')})` }} />
      <div style={labels}>
        <span>{text(lowest)}</span>
        <span>{text(highest)}</span>
      </div>
    </div>
  );
}
