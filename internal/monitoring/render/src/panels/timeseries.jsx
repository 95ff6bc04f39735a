// Lines, areas, points and bars over time: Grafana's TimeSeries.
import { applyNullInsertThreshold, FieldType } from '@grafana/data';
import { TimeSeries } from '@grafana/ui';
import { Marks } from '../annotations.jsx';
import { NoData } from './nodata.jsx';

export function TimeSeriesPanel({ panel, frames, options, width, height, range, timeZone, marks }) {
  if (!frames.some(({ length }) => length > 0)) return <NoData panel={panel} />;
  return (
    <TimeSeries
      frames={frames.map((frame) => finite(frame, range))}
      width={width}
      height={height}
      timeRange={range}
      timeZone={timeZone}
      legend={options.legend}
      options={options}
    >
      {(config) => <Marks config={config} list={marks} />}
    </TimeSeries>
  );
}

/** finite leaves gaps where there is no number, and where there is no point for longer than a step. */
function finite(frame, range) {
  const whole = applyNullInsertThreshold({
    frame,
    refFieldPseudoMin: range.from.valueOf(),
    refFieldPseudoMax: range.to.valueOf(),
  });
  const fields = whole.fields.map((field) =>
    field.type === FieldType.number
      ? { ...field, values: field.values.map((v) => (Number.isFinite(v) ? v : null)) }
      : field,
  );
  return { ...whole, fields };
}
