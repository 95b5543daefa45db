// For tests alone: a small OpenStack inside the process, whose Keystone issues tokens and whose services answer as the
// test says. It counts what it is asked, and can be told to fail.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import type { Clock } from '../lib/clock.ts';
import { createSession, type Session } from './session.ts';
import type { OpenstackSettings } from './settings.ts';

export interface FakeRequest {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of every shape
  readonly body: any;
}

/** `body` as JSON, a Buffer as it is; `hang`: no answer ever. */
export interface FakeAnswer {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly hang?: boolean;
}

type Handler = (request: FakeRequest) => FakeAnswer;

export interface FakeOpenstack extends AsyncDisposable {
  readonly settings: OpenstackSettings;
  readonly session: Session;
  /** All that was asked, logins too, oldest first: method and path. */
  readonly asked: FakeRequest[];
  /** How many logins there were. */
  logins(): number;
  /** What the paths of that beginning answer from now on; the longest one that fits counts. */
  on(prefix: string, handler: Handler): void;
  /** How long tokens live that are issued from now on. */
  lifetimeMs: number;
  /** Tokens that are refused from now on. */
  readonly revoked: Set<string>;
}

export const SERVICE_PASSWORD = 'the service password';

export async function fakeOpenstack(clock: Clock, change: Partial<OpenstackSettings> = {}): Promise<FakeOpenstack> {
  const asked: FakeRequest[] = [];
  const handlers = new Map<string, Handler>();
  const revoked = new Set<string>();
  let issued = 0;

  const server = createServer((message, response) => {
    void answer(message, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const endpoint = (type: string, path: string) => ({
    ...{ type, name: type },
    endpoints: ['internal', 'public'].map((kind) => ({
      ...{ interface: kind, region_id: 'RegionOne', region: 'RegionOne', url: `${url}${path}` },
    })),
  });
  const catalog = [
    endpoint('image', '/image'),
    endpoint('network', '/network/v2.0/'),
    endpoint('volumev3', '/volume/v3/p0'),
    endpoint('placement', '/placement'),
  ];

  const keystone: Handler = ({ body }) => {
    if (body?.auth?.identity?.password?.user?.password !== SERVICE_PASSWORD) return { status: 401 };
    issued += 1;
    const expires_at = new Date(clock.now() + fake.lifetimeMs).toISOString();
    return { status: 201, headers: { 'x-subject-token': `token-${issued}` }, body: { token: { expires_at, catalog } } };
  };

  async function answer(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const text = await textOf(message);
    if (text === null) return;
    const request = {
      ...{ method: message.method ?? '', path: message.url ?? '', headers: message.headers },
      body: bodyOf(message.headers['content-type'], text),
    };
    asked.push(request);
    const token = request.headers['x-auth-token'];
    const isLogin = request.method === 'POST' && request.path === '/v3/auth/tokens';
    const refused = !isLogin && (typeof token !== 'string' || revoked.has(token));
    const said = refused ? { status: 401 } : handlerFor(request.path)(request);
    if (said.hang) return;
    const { body } = said;
    response.writeHead(said.status, said.headers);
    response.end(Buffer.isBuffer(body) || typeof body === 'string' ? body : JSON.stringify(body ?? {}));
  }

  const bodyOf = (type: string | undefined, text: string) =>
    type === 'application/octet-stream' || text === '' ? text || null : JSON.parse(text);

  function handlerFor(path: string): Handler {
    const [found] = [...handlers]
      .filter(([prefix]) => path.startsWith(prefix))
      .toSorted(([a], [b]) => b.length - a.length);
    return found?.[1] ?? (() => ({ status: 404, body: { error: { message: `nothing at ${path}` } } }));
  }

  const settings: OpenstackSettings = {
    ...{ authUrl: `${url}/v3`, username: 'crosscell', password: SERVICE_PASSWORD, userDomainName: 'Default' },
    ...{ projectName: 'service', projectDomainName: 'Default', region: 'RegionOne', interface: 'internal' },
    ...{ services: ['identity'], timeoutMs: 1000, tokenCacheMs: 60_000 },
    ...change,
  };
  const log = pino({ level: 'silent' });
  const fake: FakeOpenstack = {
    ...{ settings, asked, revoked, lifetimeMs: 3600_000 },
    session: createSession({ settings, clock, log, patience: { pauseMs: 1, halfOpenAfterMs: 50 } }),
    logins: () => asked.filter(({ method, path }) => method === 'POST' && path === '/v3/auth/tokens').length,
    on: (prefix, handler) => void handlers.set(prefix, handler),
    [Symbol.asyncDispose]: () => close(server),
  };
  fake.on('/v3/auth/tokens', keystone);
  return fake;
}

/** Null: the client went away as it sent. */
async function textOf(message: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of message) chunks.push(chunk as Buffer);
  } catch {
    // Nobody is left to answer to.
    return null;
  }
  return Buffer.concat(chunks).toString();
}

function close(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}
