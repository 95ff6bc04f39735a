// Makes the page of src/ in memory: no build step to forget, no build output to go stale.
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = fileURLToPath(new URL('.', import.meta.url));
const packages = `${here}node_modules/`;

/** What Grafana's components ask for by addresses of Grafana's server, and the files that they get. */
const assets = [
  [/^\/public\/build\/img\/icons\/(\w+\/[\w-]+\.svg)$/, '@grafana/ui/dist/public/img/icons/$1'],
  [/^\/public\/fonts\/inter\/Inter-Regular.woff2$/, '@fontsource/inter/files/inter-latin-400-normal.woff2'],
  [/^\/public\/fonts\/inter\/Inter-Medium.woff2$/, '@fontsource/inter/files/inter-latin-500-normal.woff2'],
  [/^\/public\/fonts\/inter\/Inter-Italic.woff2$/, '@fontsource/inter/files/inter-latin-400-italic.woff2'],
  [/^\/public\/fonts\/inter\/Inter-MediumItalic.woff2$/, '@fontsource/inter/files/inter-latin-500-italic.woff2'],
  [/^\/public\/fonts\/roboto\/.*\.woff2$/, '@fontsource/roboto-mono/files/roboto-mono-latin-400-normal.woff2'],
];
const html = `<!doctype html><meta charset="utf-8"><title>Dashboard</title>
<link rel="stylesheet" href="/main.css"><div id="root"></div><script type="module" src="/main.js"></script>`;

/** bundle returns a function that gives the content of a file of the page by its path, or undefined. */
export async function bundle() {
  const result = await build({
    entryPoints: [`${here}src/main.jsx`],
    outdir: '/',
    write: false,
    bundle: true,
    format: 'esm',
    splitting: true,
    external: ['monaco-editor', 'react-monaco-editor'], // the editor of queries
    platform: 'browser',
    target: 'chrome120',
    jsx: 'automatic',
    minifySyntax: true, // leaves out what only runs outside production
    define: { 'process.env.NODE_ENV': '"production"', 'process.env': '{}', global: 'globalThis' },
    logLevel: 'silent',
  });
  const files = new Map(result.outputFiles.map((file) => [file.path, Buffer.from(file.contents)]));
  files.set('/', Buffer.from(html));
  return async (path) => files.get(path) ?? asset(path);
}

async function asset(path) {
  const [pattern, file] = assets.find(([pattern]) => pattern.test(path)) ?? [];
  return file && readFile(packages + path.replace(pattern, file)).catch(() => undefined);
}
