// What a panel shows, as data frames with their configuration applied.
import { configured, transformed } from './fields.js';
import { frames, steps } from './prometheus.js';
import { promql } from './variables.js';

/** load returns {frames}, or {missing} with the kind of data source that would be needed. */
export async function load({ panel, width }, kind, context) {
  if (kind.load) return { frames: await kind.load(panel, context) };
  const targets = (panel.targets ?? []).filter(({ hide }) => !hide);
  const missing = targets.map((target) => source(target, panel)).find((type) => type !== 'prometheus');
  if (missing) return { missing };
  try {
    const answers = await Promise.all(
      targets.map((target) => ask(target, panel, width, targets.length === 1, context)),
    );
    const data = await transformed(answers.flat(), panel.transformations, context.variables);
    return { frames: configured(data, panel.fieldConfig, kind, context) };
  } catch (error) {
    throw new Error(`panel "${panel.title}": ${error.message}`, { cause: error });
  }
}

function source(target, panel) {
  return (target.datasource ?? panel.datasource)?.type ?? 'a data source that is named';
}

async function ask(target, panel, width, single, { prometheus, variables, range, scrapeInterval }) {
  const points = panel.maxDataPoints ?? width;
  const least = target.interval || panel.interval || scrapeInterval;
  const { step, variables: own } = steps(range, points, scrapeInterval, variables.fill(least, promql));
  const expr = variables.fill(target.expr, promql, own);
  const filled = { ...target, expr, legendFormat: variables.fill(target.legendFormat) };
  const answers = [];
  try {
    if (target.range ?? !target.instant) answers.push(await prometheus.range(expr, range, step));
    if (target.instant) answers.push(await prometheus.instant(expr, range.to));
  } catch (error) {
    throw new Error(`query ${target.refId}: ${error.message}`, { cause: error });
  }
  return answers.flatMap((data) => frames(data, filled, step, single));
}
