// A plot over time for what Grafana's packages have no component for: their axes, grid and legend, with other contents.
import { AxisPlacement, ScaleDirection, ScaleOrientation } from '@grafana/schema';
import { UPlotChart, UPlotConfigBuilder, useTheme2, VizLayout, VizLegend } from '@grafana/ui';
import { useMemo } from 'react';
import { Marks } from './annotations.jsx';

/**
 * TimePlot draws rows between the lowest and highest value of y. Axis are the properties of the axis on the left; draw is
 * called with the plot when axes and grid are there.
 */
export function TimePlot({ y, axis, draw, legend, width, height, range, timeZone, marks }) {
  const theme = useTheme2();
  const times = [range.from.valueOf(), range.to.valueOf()];
  const config = useMemo(() => {
    const builder = new UPlotConfigBuilder(timeZone);
    const { Horizontal, Vertical } = ScaleOrientation;
    builder.addScale({
      scaleKey: 'x',
      isTime: true,
      orientation: Horizontal,
      direction: ScaleDirection.Right,
      range: () => times,
    });
    builder.addScale({ scaleKey: 'y', orientation: Vertical, direction: ScaleDirection.Up, range: () => y });
    builder.addAxis({ scaleKey: 'x', isTime: true, placement: AxisPlacement.Bottom, timeZone, theme });
    builder.addAxis({ scaleKey: 'y', placement: AxisPlacement.Left, theme, ...axis });
    builder.addSeries({ scaleKey: 'y', theme, pathBuilder: () => null, pointsBuilder: () => false }); // makes uPlot show y
    builder.addHook('draw', (plot) => clipped(plot, () => draw(plot)));
    return builder;
  }, []); // the data of a picture do not change
  return (
    <VizLayout width={width} height={height} legend={legend}>
      {(plotWidth, plotHeight) => (
        <UPlotChart config={config} data={[times, [y[0], y[0]]]} width={plotWidth} height={plotHeight}>
          <Marks config={config} list={marks} />
        </UPlotChart>
      )}
    </VizLayout>
  );
}

function clipped({ ctx, bbox }, draw) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  draw();
  ctx.restore();
}

/** legendOf is a legend of [{label, color}], as the options of a panel want it. */
export function legendOf(items, { showLegend, placement, displayMode }) {
  if (!showLegend || !items?.length) return null;
  return (
    <VizLayout.Legend placement={placement}>
      <VizLegend
        placement={placement}
        displayMode={displayMode}
        items={items.map((item) => ({ yAxis: 1, ...item }))}
        readonly
      />
    </VizLayout.Legend>
  );
}
