// Chromium with the page of src/ in it. Nothing listens and nothing is loaded from elsewhere: what the page asks for is
// answered here, from the bundle or by Prometheus.
import { chromium } from 'playwright-core';
import { bundle } from './bundle.mjs';

const origin = 'http://dashboard.invalid';
const patience = 60_000;
const flags = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'];
const types = { js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml', woff2: 'font/woff2' };

export class Browser {
  #process;
  #page;

  /** start runs Chromium, headless and with an empty profile. */
  static async start({ chromium: executablePath }) {
    const browser = new Browser();
    browser.#page = await bundle();
    browser.#process = await chromium.launch({ executablePath, args: flags });
    return browser;
  }

  /** screenshot draws a job into a file, and returns its texts. It throws what the page complained of; then there is no file. */
  async screenshot(job, out) {
    const context = await this.#process.newContext({
      viewport: { width: job.width, height: 1000 },
      deviceScaleFactor: job.scale,
      timezoneId: job.timezone,
      locale: 'en-US',
    });
    context.setDefaultTimeout(patience);
    try {
      const page = await context.newPage();
      const complaints = listen(page);
      await page.route('**/*', (route) => this.#answer(route, job));
      await page.goto(origin);
      await Promise.race([drawn(page), complaints.first]);
      complaints.check();
      await page.screenshot({ path: out });
      return await page.innerText('body');
    } finally {
      await context.close();
    }
  }

  async close() {
    await this.#process.close();
  }

  async #answer(route, job) {
    const request = route.request();
    const url = new URL(request.url());
    if (url.origin !== origin) return route.abort();
    if (url.pathname === '/job.json') return route.fulfill({ json: job });
    if (url.pathname.startsWith('/api/')) return ask(route, url, job.prometheus);
    const body = await this.#page(url.pathname);
    if (!body) return route.fulfill({ status: 404 });
    return route.fulfill({ body, contentType: types[url.pathname.split('.').pop()] ?? 'text/html' });
  }
}

/** ask hands a question on to Prometheus. Its errors become answers too: it is the page that says which query has one. */
async function ask(route, url, prometheus) {
  const address = prometheus.replace(/\/$/, '') + url.pathname + url.search;
  const body = route.request().postData();
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  try {
    const answer = await fetch(address, body ? { method: 'POST', body, headers } : {});
    await route.fulfill({ body: await answer.text(), contentType: 'application/json' });
  } catch (error) {
    const text = `${prometheus} does not answer: ${error.cause?.message ?? error.message}`;
    await route.fulfill({ json: { status: 'error', error: text } });
  }
}

/** listen collects what a page complains of: errors nobody caught, and those on its console. Its warnings go to stderr. */
function listen(page) {
  const errors = [];
  const lines = [];
  const first = new Promise((resolve) => page.on('pageerror', resolve));
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('console', (message) => {
    const line = message.text().split('\n').slice(0, 2).join(' ');
    if (message.type() === 'error') lines.push(`console: ${line} (${message.location().url})`);
    if (message.type() === 'warning') console.error(`render: warning: ${line}`);
  });
  const check = () => {
    const all = errors.length ? errors : lines;
    if (all.length) throw new Error(all[0].trim());
  };
  return { first, check };
}

/** drawn waits until everything is there, and makes room for all of it, so that one screenshot has the whole page. */
async function drawn(page) {
  const height = await (await page.waitForFunction(() => globalThis.drawnHeight)).jsonValue();
  await page.setViewportSize({ width: page.viewportSize().width, height });
  await page.waitForFunction(() => !document.querySelector('svg:empty')); // an icon that is not there yet
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
}
