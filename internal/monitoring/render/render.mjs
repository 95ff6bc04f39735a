#!/usr/bin/env node
// Draws dashboards as PNG. README.md tells what can be asked for.
import { mkdir, readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { Browser } from './browser.mjs';

const usage = `usage: node render.mjs --prometheus URL --dashboard FILE... --out FILE.png|DIRECTORY
  [--from TIME] [--to TIME] [--var NAME=VALUE]... [--width 1600] [--scale 1]
  [--theme dark|light] [--timezone UTC] [--scrape-interval 5s] [--expand] [--chromium /usr/bin/chromium]`;

const options = {
  prometheus: { type: 'string' },
  dashboard: { type: 'string', multiple: true },
  out: { type: 'string' },
  from: { type: 'string' },
  to: { type: 'string' },
  var: { type: 'string', multiple: true, default: [] },
  width: { type: 'string', default: '1600' },
  scale: { type: 'string', default: '1' },
  theme: { type: 'string', default: 'dark' },
  timezone: { type: 'string', default: 'UTC' },
  'scrape-interval': { type: 'string', default: '5s' },
  expand: { type: 'boolean', default: false },
  chromium: { type: 'string', default: '/usr/bin/chromium' },
};

/** commandLine returns what is asked for, or throws an error that says what is wrong with it. */
function commandLine() {
  const { values } = parseArgs({ options });
  for (const name of ['prometheus', 'dashboard', 'out']) {
    if (!values[name]) throw new Error(`--${name} is missing`);
  }
  if (!['dark', 'light'].includes(values.theme)) throw new Error(`--theme is dark or light, not ${values.theme}`);
  if (!(Number(values.width) >= 400)) throw new Error(`--width is a number from 400 on, not ${values.width}`);
  if (!(Number(values.scale) >= 1 && Number(values.scale) <= 4)) {
    throw new Error(`--scale is a number from 1 to 4, not ${values.scale}`);
  }
  if (values.dashboard.length > 1 && values.out.endsWith('.png')) {
    throw new Error('--out must be a directory where several dashboards are drawn');
  }
  return { ...values, width: Number(values.width), scale: Number(values.scale), variables: variables(values.var) };
}

/** variables turns NAME=VALUE into lists of values by name: a name given twice has both. */
function variables(pairs) {
  const byName = {};
  for (const pair of pairs) {
    const at = pair.indexOf('=');
    if (at < 1) throw new Error(`--var ${pair}: not NAME=VALUE`);
    (byName[pair.slice(0, at)] ??= []).push(pair.slice(at + 1));
  }
  return byName;
}

async function renderAll(asked) {
  const browser = await Browser.start(asked);
  try {
    for (const file of asked.dashboard) {
      const out = asked.out.endsWith('.png') ? asked.out : join(asked.out, `${basename(file, '.json')}.png`);
      await mkdir(dirname(out), { recursive: true });
      const started = Date.now();
      const job = { ...asked, dashboard: JSON.parse(await readFile(file, 'utf8')) };
      await browser.screenshot(job, out).catch((error) => {
        throw new Error(`${file}: ${error.message}`);
      });
      console.log(`${out} ${((Date.now() - started) / 1000).toFixed(1)} s`);
    }
  } finally {
    await browser.close();
  }
}

let asked;
try {
  asked = commandLine();
} catch (error) {
  console.error(`render: ${error.message}\n${usage}`);
  process.exit(2);
}
try {
  await renderAll(asked);
} catch (error) {
  console.error(`render: ${error.message}`);
  process.exit(1);
}
