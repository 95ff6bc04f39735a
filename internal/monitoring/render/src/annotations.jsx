// What is marked on the time axis: a dashed line for a moment, two with a tint between them for a span.
import { colorManipulator } from '@grafana/data';
import { useTheme2 } from '@grafana/ui';
import { useLayoutEffect } from 'react';
import { steps } from './prometheus.js';
import { promql } from './variables.js';

/**
 * annotations runs the dashboard's annotation queries, and returns [{time, timeEnd, color}], times in milliseconds. As in
 * Grafana, there are as many points as the page is wide in pixels.
 */
export async function annotations(dashboard, width, { prometheus, variables, range, scrapeInterval }) {
  const list = (dashboard.annotations?.list ?? []).filter(
    ({ enable, builtIn, target }) => enable && !builtIn && target,
  );
  const found = await Promise.all(
    list.map(async (annotation) => {
      const source = annotation.datasource?.type;
      if (source !== 'prometheus') throw new Error(`annotation ${annotation.name}: can't be read from ${source}`);
      const { step, variables: own } = steps(range, width, scrapeInterval, annotation.target.interval);
      const data = await prometheus
        .range(variables.fill(annotation.target.expr, promql, own), range, step)
        .catch((error) => Promise.reject(new Error(`annotation ${annotation.name}: ${error.message}`)));
      return data.result.flatMap(({ values }) => spans(values, annotation, step));
    }),
  );
  return found.flat();
}

/** spans joins the moments of one series that are no more than a step apart. */
function spans(values, { useValueForTime, iconColor }, step) {
  const moments = values
    .filter(([, value]) => Number(value))
    .map(([at, value]) => (useValueForTime ? Math.floor(Number(value)) : at * 1000));
  const list = [];
  for (const time of moments) {
    const last = list.at(-1);
    if (last && time <= last.timeEnd + step) last.timeEnd = time;
    else list.push({ time, timeEnd: time, color: iconColor });
  }
  return list;
}

/** Marks draws annotations on a plot. It is a child of the plot, so that its hooks are there before the plot is made. */
export function Marks({ config, list }) {
  const { visualization } = useTheme2();
  useLayoutEffect(() => {
    const marks = list.map((mark) => ({ ...mark, color: visualization.getColorByName(mark.color) }));
    config.addHook('draw', (plot) => marks.forEach((mark) => drawMark(plot, mark)));
  }, [config, list, visualization]);
  return null;
}

/** thick is the height of what marks have below the axis, in pixels of the page. */
const thick = 5;

function drawMark({ ctx, bbox, valToPos }, { time, timeEnd, color }) {
  const left = valToPos(time, 'x', true);
  const right = valToPos(timeEnd, 'x', true);
  if (right < bbox.left || left > bbox.left + bbox.width) return;
  const bottom = bbox.top + bbox.height;
  const below = thick * globalThis.devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height + below);
  ctx.clip();
  ctx.strokeStyle = color;
  ctx.lineWidth = 2 * globalThis.devicePixelRatio;
  ctx.setLineDash([below, below]);
  for (const x of new Set([left, right])) {
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bottom);
    ctx.stroke();
  }
  ctx.fillStyle = colorManipulator.alpha(color, 0.1);
  ctx.fillRect(left, bbox.top, right - left, bbox.height);
  ctx.fillStyle = color;
  if (right > left) ctx.fillRect(left, bottom, right - left, below);
  else triangle(ctx, left, bottom, below);
  ctx.restore();
}

function triangle(ctx, x, y, size) {
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(x - size, y + size);
  ctx.lineTo(x + size, y + size);
  ctx.fill();
}
