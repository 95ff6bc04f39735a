// Draws a dashboard with every kind of panel from a real Prometheus, and everything that must fail.
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync, existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Browser } from '../browser.mjs';
import { dashboard, samples } from './kinds.mjs';

const start = Date.UTC(2026, 0, 1, 12) / 1000;
const program = fileURLToPath(new URL('../render.mjs', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'render-'));
const job = {
  from: `${start}`,
  to: `${start + 3600}`,
  variables: {},
  width: 1600,
  theme: 'dark',
  timezone: 'UTC',
  'scrape-interval': '15s',
};
let prometheus;
let address;

before(async () => {
  writeFileSync(join(directory, 'samples'), samples(start));
  writeFileSync(join(directory, 'prometheus.yml'), '{}\n');
  execFileSync('promtool', ['tsdb', 'create-blocks-from', 'openmetrics', 'samples', 'data'], { cwd: directory });
  const listen = `127.0.0.1:${await freePort()}`;
  const flags = ['--config.file=prometheus.yml', '--storage.tsdb.path=data', '--storage.tsdb.retention.time=100y'];
  prometheus = spawn('prometheus', [...flags, `--web.listen-address=${listen}`], { cwd: directory, stdio: 'ignore' });
  address = `http://${listen}`;
  while (!(await fetch(`${address}/-/ready`).catch(() => ({}))).ok) await new Promise((done) => setTimeout(done, 100));
});

after(async () => {
  const ended = new Promise((done) => prometheus.once('exit', done));
  prometheus.kill();
  await ended;
  rmSync(directory, { recursive: true });
});

describe('pictures', () => {
  let browser;
  before(async () => {
    browser = await Browser.start({ chromium: '/usr/bin/chromium' });
  });
  after(() => browser.close());

  const draw = async (changes, out = join(directory, 'picture.png')) => {
    const text = await browser.screenshot({ ...job, prometheus: address, dashboard, ...changes }, out);
    return { text: text.replace(/\s+/g, ' '), ...size(out) };
  };

  test('EveryKind', async () => {
    const { text, width, height } = await draw({});
    assert.equal(width, 1600);
    assert.ok(height > 1500, `${height} pixels are not the whole page`);
    for (const { title } of dashboard.panels)
      assert.ok(text.includes(title.replace('$instance', 'All')), `no ${title}`);
    assert.match(text, /Requests \d+(\.\d+)? ?req\/s/); // a unit
    assert.match(text, /Database AWAY|Database Connected/); // a mapping
    assert.match(text, /code 200 \d+\.\d+ req\/s/); // a legend with a calculation
    assert.match(text, /DatabaseAway firing for 30 minutes · severity=page/);
    assert.match(text, /Lines not rendered here: needs Loki/);
    assert.match(text, /Away since 30 minutes ago/); // not from today
    assert.match(text, /Hidden \(1 panel\)/);
    assert.doesNotMatch(text, /Inside/);
    assert.doesNotMatch(text, /No data/);
  });

  test('CollapsedRowsExpanded', async () => {
    const closed = await draw({});
    const open = await draw({ expand: true });
    assert.match(open.text, /Hidden Inside 7 Below 8/);
    assert.equal(open.height - closed.height, 4 * 38);
  });

  test('VariableGiven', async () => {
    const { text } = await draw({ variables: { instance: ['b:1'] } });
    assert.match(text, /Notes for b:1/);
    assert.match(text, /code 503 0\.300 req\/s/); // half of what both have
  });

  test('LightAndNarrow', async () => {
    assert.equal((await draw({ theme: 'light', width: 900, scale: 2 })).width, 1800);
  });

  const failures = {
    UnknownKind: [
      broken((panel) => (panel.type = 'piechart')),
      /^panel "Rate by code": panels of type piechart can't be drawn$/,
    ],
    BrokenQuery: [broken((panel) => (panel.targets[0].expr = 'sum(')), /^panel "Rate by code": query A: .*parse error/],
    UnknownVariableInQuery: [
      broken((panel) => (panel.targets[0].expr = '1 + $nothing')),
      /query A: .*unexpected character.*'\$'/,
    ],
    UnknownTransformation: [
      broken((panel) => (panel.transformations = [{ id: 'magic' }])),
      /the transformation magic is unknown/,
    ],
    UnknownMatcher: [
      broken((panel) => (panel.fieldConfig.overrides = [{ matcher: { id: 'byMood' }, properties: [] }])),
      /the matcher byMood is unknown/,
    ],
    RepeatedPanel: [broken((panel) => (panel.repeat = 'instance')), /a repeated panel can't be drawn/],
    ErrorWhileDrawing: [broken((panel) => (panel.title = 1)), /is not a function/],
    UnknownVariable: [{ variables: { colour: ['red'] } }, /the dashboard has no variable colour/],
    TimesTurnedRound: [{ from: job.to, to: job.from }, /--from must be before --to/],
    PrometheusAway: [{ prometheus: 'http://127.0.0.1:9' }, /http:\/\/127\.0\.0\.1:9 does not answer/],
  };
  for (const [name, [changes, expected]] of Object.entries(failures)) {
    test(name, async () => {
      const out = join(directory, `${name}.png`);
      await assert.rejects(draw(changes, out), { message: expected });
      assert.ok(!existsSync(out), 'there is a picture all the same');
    });
  }
});

/** broken is the dashboard with one panel changed. */
function broken(change) {
  const copy = structuredClone(dashboard);
  change(copy.panels.find(({ title }) => title === 'Rate by code'));
  return { dashboard: copy };
}

describe('command line', () => {
  test('Picture', async () => {
    const { code, stdout, out } = await run(dashboard, '--var', 'instance=a:1');
    assert.equal(code, 0);
    assert.match(stdout, /drawn\.png \d+\.\d s\n$/);
    assert.equal(size(out).width, 1600);
  });

  test('Failure', async () => {
    const { code, stderr } = await run(broken((panel) => (panel.type = 'piechart')).dashboard);
    assert.match(stderr, /^render: .*dashboard\.json: panel "Rate by code": panels of type piechart can't be drawn\n$/);
    assert.equal(code, 1);
  });

  test('Mistake', async () => {
    const { code, stderr } = await run(dashboard, '--theme', 'blue');
    assert.match(stderr, /^render: --theme is dark or light, not blue\nusage: /);
    assert.equal(code, 2);
  });
});

/** run runs render.mjs with a dashboard. */
async function run(content, ...more) {
  const file = join(directory, 'dashboard.json');
  const out = join(directory, 'drawn.png');
  writeFileSync(file, JSON.stringify(content));
  const times = ['--from', job.from, '--to', job.to];
  const flags = ['--prometheus', address, '--dashboard', file, '--out', out, ...times, ...more];
  return new Promise((done) => {
    execFile('node', [program, ...flags], (error, stdout, stderr) =>
      done({ code: error?.code ?? 0, stdout, stderr, out }),
    );
  });
}

/** size reads a PNG's header. */
function size(file) {
  const bytes = readFileSync(file);
  assert.equal(bytes.toString('latin1', 1, 4), 'PNG');
  return { width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20) };
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}
