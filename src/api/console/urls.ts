// URLs of consoles, as users get them and the proxy takes them.
import type { ConsoleKind } from '../../host/consoles.ts';

export const CONSOLE_PATH = '/console';

/**
 * The page of a screen, in the shape that noVNC's users know: `path` is the websocket's, from the root. A serial line's
 * URL is its websocket, as in Nova; in a browser, with http instead of ws, it is a page as well.
 */
export function consoleUrl(publicUrl: string, kind: ConsoleKind, token: string): string {
  const page = new URL(`${publicUrl}${CONSOLE_PATH}/${kind}`);
  if (kind === 'serial') {
    page.protocol = page.protocol === 'https:' ? 'wss:' : 'ws:';
    page.searchParams.set('token', token);
  } else {
    page.searchParams.set('path', `${page.pathname.slice(1)}?token=${token}`);
  }
  return page.href;
}

/** The kind and the token of a websocket's URL; null: it is no console's. */
export function consoleOfUrl(url: string): { readonly kind: ConsoleKind; readonly token: string } | null {
  const [path = '', query = ''] = url.split('?', 2);
  const kind = path === `${CONSOLE_PATH}/vnc` ? 'vnc' : path === `${CONSOLE_PATH}/serial` ? 'serial' : null;
  const token = new URLSearchParams(query).get('token');
  return kind === null || token === null ? null : { kind, token };
}
