// Bars for things that are no moments. Grafana's own is in none of its packages.
import { FieldType, formattedValueToString, getFieldDisplayName, getFieldSeriesColor } from '@grafana/data';
import { useTheme2, VizLayout } from '@grafana/ui';
import { legendOf } from '../plot.jsx';
import { NoData } from './nodata.jsx';

const nameHeight = 22;
const valueHeight = 18;

export function BarChart({ panel, frames, options, width, height }) {
  const theme = useTheme2();
  if (!frames[0]?.length) return <NoData panel={panel} />;
  const { names, series } = seriesOf(frames[0], frames, theme);
  return (
    <VizLayout width={width} height={height} legend={legendOf(series, options.legend)}>
      {(w, h) =>
        options.orientation === 'horizontal' ? (
          <Rows {...{ names, series, options, theme }} width={w} height={h} />
        ) : (
          <Columns {...{ names, series, options, theme }} width={w} height={h} />
        )
      }
    </VizLayout>
  );
}

/** seriesOf makes a group of bars of each row: named by the first field with words, or with times. */
function seriesOf(frame, frames, theme) {
  const numbers = frame.fields.filter(({ type }) => type === FieldType.number);
  const x =
    frame.fields.find(({ type }) => type === FieldType.string) ?? frame.fields.find((f) => !numbers.includes(f));
  return {
    names: x.values.map((value) => formattedValueToString(x.display(value))),
    series: numbers.map((field) => ({
      field,
      label: getFieldDisplayName(field, frame, frames),
      color: getFieldSeriesColor(field, theme).color,
    })),
  };
}

/** bars lays out all bars along one axis: {from, size} along it, {start, part} across it, as shares of the room. */
function bars(names, series, { stacking, barWidth, groupWidth }) {
  const stacked = stacking !== 'none';
  const sum = (row) => series.reduce((total, { field }) => total + Math.max(0, field.values[row] ?? 0), 0);
  const tops = names.flatMap((_, row) => (stacked ? sum(row) : series.map(({ field }) => field.values[row] ?? 0)));
  const highest = Math.max(...series.map(({ field }) => field.config.max ?? 0), ...tops) || 1;
  const lane = groupWidth / (stacked ? 1 : series.length) / names.length;
  return names.flatMap((_, row) => {
    let start = 0;
    return series.map(({ field, color }, i) => {
      const value = field.values[row];
      const part = Math.max(0, value ?? 0) / highest;
      const from = (row + (1 - groupWidth) / 2) / names.length + (stacked ? 0 : i * lane);
      const bar = { from: from + (lane * (1 - barWidth)) / 2, size: lane * barWidth, start, part, value, field };
      if (stacked) start += part;
      return { ...bar, color: field.display(value).color ?? color };
    });
  });
}

const textOf = ({ field, value }) => (value == null ? '' : formattedValueToString(field.display(value)));

function Columns({ names, series, options, theme, width, height }) {
  const room = height - nameHeight - valueHeight;
  const bottom = height - nameHeight;
  return (
    <Drawing {...{ width, height, theme }}>
      {bars(names, series, options).map((bar, i) => {
        const y = bottom - (bar.start + bar.part) * room;
        return (
          <g key={i}>
            <Bar bar={bar} x={bar.from * width} y={y} width={bar.size * width} height={bar.part * room} />
            <Value
              show={options.showValue}
              x={(bar.from + bar.size / 2) * width}
              y={y - 5}
              anchor="middle"
              text={textOf(bar)}
            />
          </g>
        );
      })}
      {names.map((name, i) => (
        <text key={i} x={((i + 0.5) * width) / names.length} y={height - 6} textAnchor="middle">
          {name}
        </text>
      ))}
    </Drawing>
  );
}

function Rows({ names, series, options, theme, width, height }) {
  const left = Math.min(width / 2, 16 + 7 * Math.max(...names.map(({ length }) => length)));
  const room = width - left - 70;
  return (
    <Drawing {...{ width, height, theme }}>
      {bars(names, series, options).map((bar, i) => {
        const x = left + bar.start * room;
        const end = x + bar.part * room;
        return (
          <g key={i}>
            <Bar bar={bar} x={x} y={bar.from * height} width={bar.part * room} height={bar.size * height} />
            <Value
              show={options.showValue}
              x={end + 6}
              y={(bar.from + bar.size / 2) * height + 4}
              anchor="start"
              text={textOf(bar)}
            />
          </g>
        );
      })}
      {names.map((name, i) => (
        <text key={i} x={left - 8} y={((i + 0.5) * height) / names.length + 4} textAnchor="end">
          {name}
        </text>
      ))}
    </Drawing>
  );
}

function Drawing({ width, height, theme, children }) {
  return (
    <svg
      width={width}
      height={height}
      fontFamily={theme.typography.fontFamily}
      fontSize={12}
      fill={theme.colors.text.primary}
    >
      {children}
    </svg>
  );
}

function Bar({ bar: { color, field }, ...place }) {
  const { fillOpacity, lineWidth } = field.config.custom;
  return <rect {...place} fill={color} fillOpacity={fillOpacity / 100} stroke={color} strokeWidth={lineWidth} />;
}

function Value({ show, anchor, text, ...place }) {
  if (show === 'never') return null;
  return (
    <text {...place} textAnchor={anchor}>
      {text}
    </text>
  );
}
