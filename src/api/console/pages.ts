// The pages that show a console in a browser, and the files that they are made of.
//
// Theory of operation. Public and the same for everybody: what is secret is the token in the page's URL, which the
// page's script shows to the proxy. A page may load nothing but these files and speak to nobody but its own origin, is
// in no frame but those of the dashboards that the configuration names, is kept nowhere, and tells no other site its URL.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Type } from 'typebox';
import type { ConsoleKind } from '../../host/consoles.ts';
import { notFound } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { CONSOLE_PATH } from './urls.ts';

const PAGE = join(import.meta.dirname, 'page');
const XTERM = dirname(createRequire(import.meta.url).resolve('@xterm/xterm/package.json'));

const SCRIPT = 'text/javascript; charset=utf-8';
const HTML = 'text/html; charset=utf-8';
const STYLE = 'text/css; charset=utf-8';
const FILES: Readonly<Record<string, { readonly path: string; readonly type: string }>> = {
  'vnc.js': { path: join(PAGE, 'vnc.js'), type: SCRIPT },
  'rfb.js': { path: join(PAGE, 'rfb.js'), type: SCRIPT },
  'keys.js': { path: join(PAGE, 'keys.js'), type: SCRIPT },
  'serial.js': { path: join(PAGE, 'serial.js'), type: SCRIPT },
  'token.js': { path: join(PAGE, 'token.js'), type: SCRIPT },
  'console.css': { path: join(PAGE, 'console.css'), type: STYLE },
  'xterm.js': { path: join(XTERM, 'lib', 'xterm.mjs'), type: SCRIPT },
  'xterm.css': { path: join(XTERM, 'css', 'xterm.css'), type: STYLE },
};

/** The terminal sets its colours by style elements of its own. */
const policy = (styles: string, ancestors: readonly string[]): string =>
  `default-src 'none'; script-src 'self'; style-src 'self'${styles}; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors ${ancestors.length === 0 ? "'none'" : ancestors.join(' ')}`;

const SAFE = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
};

/** The page's title names the kinds as OpenStack does. */
const pageOf = (kind: ConsoleKind): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${kind === 'vnc' ? 'Screen (noVNC)' : 'Serial console'}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
${kind === 'serial' ? '<link rel="stylesheet" href="assets/xterm.css">\n' : ''}<link rel="stylesheet" href="assets/console.css">
<script type="module" src="assets/${kind}.js"></script>
</head>
<body>
<header><span id="status" role="status">Connecting…</span>${kind === 'vnc' ? '<button type="button" id="reset" hidden>Ctrl-Alt-Del</button>' : ''}</header>
<main id="console"></main>
</body>
</html>
`;

const page = (kind: ConsoleKind): Route =>
  route({
    method: 'GET',
    url: `${CONSOLE_PATH}/${kind}`,
    service: 'crosscell',
    summary: `Show a server's ${kind === 'vnc' ? 'screen' : 'serial line'} in a browser; a websocket with the same URL carries its bytes`,
    policy: 'public',
    query: Type.Object(
      { token: Type.Optional(Type.String({ maxLength: 255 })), path: Type.Optional(Type.String({ maxLength: 1024 })) },
      // Dashboards add words for noVNC (title, autoconnect, scale): they are passed over.
      { additionalProperties: true },
    ),
    answers: { 200: null },
    media: [HTML],
    handle: ({ p }) => ({
      status: 200,
      body: pageOf(kind),
      headers: {
        ...SAFE,
        'content-type': HTML,
        'content-security-policy': policy(
          kind === 'serial' ? " 'unsafe-inline'" : '',
          p.settings.consoleFrameAncestors,
        ),
        'cache-control': 'no-store',
      },
    }),
  });

export const consolePageRoutes: readonly Route[] = [
  page('vnc'),
  page('serial'),
  route({
    method: 'GET',
    url: `${CONSOLE_PATH}/assets/:file`,
    service: 'crosscell',
    summary: "Serve the scripts and styles of the consoles' pages",
    policy: 'public',
    params: Type.Object({ file: Type.String({ maxLength: 64 }) }, { additionalProperties: false }),
    answers: { 200: null },
    media: [SCRIPT, STYLE],
    handle: async ({ params }) => {
      const file = Object.hasOwn(FILES, params.file) ? FILES[params.file] : undefined;
      if (!file) throw notFound('There is no such file.');
      const headers = { ...SAFE, 'content-type': file.type, 'cache-control': 'max-age=3600' };
      return { status: 200, body: await readFile(file.path, 'utf8'), headers };
    },
  }),
];
