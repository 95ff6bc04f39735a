// The page: reads what is to be drawn, asks Prometheus, and draws. An error that nobody catches ends it: the picture is not taken.
import { createTheme, dateTime, getTimeZone, rangeUtil, setTimeZoneResolver } from '@grafana/data';
import { GlobalStyles, ThemeContext } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import { annotations } from './annotations.jsx';
import { load } from './data.js';
import { place } from './layout.js';
import { margin, Page } from './page.jsx';
import { kindOf } from './panels/index.js';
import { Prometheus } from './prometheus.js';
import { resolve } from './variables.js';

const job = await (await fetch('/job.json')).json();
const { dashboard } = job;
const fonts = ['400 14px Inter', '500 14px Inter', '12px "Roboto Mono"'];
const theme = createTheme({ colors: { mode: job.theme } });
setTimeZoneResolver(() => job.timezone);

/** moment understands seconds and milliseconds since 1970, and what Grafana does: now-1h, 2026-01-31T12:00:00Z. */
function moment(text) {
  if (!/^\d{9,}$/.test(text)) return text.startsWith('now') ? text : dateTime(text);
  return dateTime(Number(text) * (text.length < 12 ? 1000 : 1));
}

function timeRange() {
  const raw = { from: moment(job.from ?? dashboard.time.from), to: moment(job.to ?? dashboard.time.to) };
  const range = rangeUtil.convertRawToRange(raw, job.timezone);
  if (!range.from.isValid() || !range.to.isValid()) throw new Error(`--from or --to is no time`);
  if (!range.from.isBefore(range.to)) throw new Error('--from must be before --to');
  return range;
}

async function draw() {
  const range = timeRange();
  Date.now = () => range.to.valueOf(); // "5 minutes ago" is meant from the end of the shown time
  const prometheus = new Prometheus();
  const variables = await resolve(dashboard, job.variables, prometheus, range);
  const context = {
    prometheus,
    variables,
    range,
    theme,
    timeZone: getTimeZone(),
    scrapeInterval: job['scrape-interval'],
  };
  const places = place(dashboard.panels, job.width - 2 * margin, job.expand);
  const [marks, ...drawn] = await Promise.all([
    annotations(dashboard, job.width, context),
    ...places.map(async (p) => {
      if (p.panel.type === 'row') return p;
      const kind = kindOf(p.panel);
      return { ...p, kind, ...(await load(p, kind, context)) };
    }),
  ]);
  await Promise.all(fonts.map((font) => document.fonts.load(font))); // the components measure texts
  show(<Page dashboard={dashboard} places={drawn} context={{ ...context, marks }} />);
}

const root = createRoot(document.getElementById('root'));

function show(page) {
  root.render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles isExtensionSidebarOpen={false} />
      {page}
    </ThemeContext.Provider>,
  );
}

show(null); // its styles name the fonts

await draw();
