// A websocket client of consoles.
import { request } from 'node:http';
import { WebSocket } from 'ws';

const LIMIT_MS = 30_000;

export interface Viewer {
  readonly protocol: string;
  /** Everything that has come. */
  bytes(): Buffer;
  /** Resolves when what has come, as Latin-1 text, matches. */
  until(pattern: RegExp): Promise<void>;
  untilBytes(count: number): Promise<void>;
  send(data: string | Uint8Array): void;
  /** From now on nothing is taken from the connection. */
  stopReading(): void;
  /** Resolves when the other side has ended it. */
  readonly closed: Promise<void>;
  close(): void;
}

/** Rejects when the websocket is refused. */
export async function connect(url: string): Promise<Viewer> {
  const socket = new WebSocket(url, 'binary', { origin: new URL(url.replace(/^ws/, 'http')).origin });
  const chunks: Buffer[] = [];
  const waiting = new Set<() => void>();
  socket.on('message', (data: Buffer) => {
    chunks.push(data);
    for (const look of waiting) look();
  });
  const closed = new Promise<void>((resolve) => {
    socket.on('close', () => resolve());
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('open', () => resolve());
    socket.once('error', reject);
  });
  socket.on('error', () => socket.terminate());
  const bytes = (): Buffer => Buffer.concat(chunks);

  function wait(what: string, reached: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const limit = setTimeout(() => {
        waiting.delete(look);
        reject(new Error(`${what} did not come: ${JSON.stringify(bytes().toString('latin1').slice(-500))}`));
      }, LIMIT_MS);
      const look = (): void => {
        if (!reached()) return;
        clearTimeout(limit);
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      look();
    });
  }

  return {
    protocol: socket.protocol,
    bytes,
    until: (pattern) => wait(String(pattern), () => pattern.test(bytes().toString('latin1'))),
    untilBytes: (count) => wait(`${count} bytes`, () => bytes().length >= count),
    send: (data) => socket.send(data),
    stopReading: () => socket.pause(),
    closed,
    close: () => socket.terminate(),
  };
}

/** The status of the answer to a websocket handshake; one that succeeds is closed again. */
export function openStatus(url: string, origin?: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request(url.replace(/^ws/, 'http'), {
      headers: {
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
        ...(origin === undefined ? {} : { origin }),
      },
    });
    asked.once('upgrade', (response, socket) => {
      socket.destroy();
      resolve(response.statusCode ?? 0);
    });
    asked.once('response', (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    asked.once('error', reject);
    asked.end();
  });
}
