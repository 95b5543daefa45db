// The websocket proxy of consoles: a browser (or any websocket client) on one side, an agent's console on the other.
//
// Theory of operation. An upgrade on /console/<kind>?token=… is refused in plain HTTP, with no body, unless its token is
// good (control/consoles.ts), its Origin, when it has one, is the API's own, and there is room. Then the agent is asked,
// and only when the console is open does the websocket come to be; messages are binary (or text, which is taken as its
// bytes) and carry the console's bytes as they are. Whoever ends first ends the other; nothing here holds up the guest's
// end, so no operation on a server waits for a console.
// Limits: consoles of this process and of one server, the bytes of a message, what is on its way (each side waits for the
// other), the time without a byte in either direction, and the time without an answer to a ping.
// Not handled: a token that is revoked does not close what it opened.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { createWebSocketStream, type WebSocket, WebSocketServer } from 'ws';
import { type AdmittedConsole, admittedConsole } from '../../control/consoles.ts';
import type { Platform } from '../../control/platform.ts';
import type { ConsoleRequest } from '../../host/consoles.ts';
import type { Reply } from '../../host/contract.ts';
import { joinStreams } from '../../lib/streams.ts';
import { consoleOfUrl } from './urls.ts';

/** Opens a console on a host, as Consoles has it. */
export type OpenConsole = (host: string, serverId: string, request: ConsoleRequest) => Promise<Reply<Duplex>>;

export interface ProxyOptions {
  readonly platform: Platform;
  readonly openConsole: OpenConsole;
}

interface Client {
  readonly webSocket: WebSocket;
  readonly stream: Duplex;
}

const MAX_CONSOLES = 500;
const MAX_CONSOLES_OF_PROJECT = 100;
const MAX_CONSOLES_OF_SERVER = 16;
/** Of one message from a client; the largest is a clipboard. */
const MAX_MESSAGE_BYTES = 1024 * 1024;
const IDLE_MS = 30 * 60_000;
const PING_MS = 30_000;
/** What websocket clients of consoles ask for since there were other ones. */
const SUBPROTOCOL = 'binary';
/** Close codes (RFC 6455, section 7.4.1). */
const GOING_AWAY = 1001;

/** Whether a request is for the proxy, and not for a route. */
export const asksForConsole = ({ url, headers }: IncomingMessage): boolean =>
  headers.upgrade?.toLowerCase() === 'websocket' && consoleOfUrl(url ?? '') !== null;

export function serveConsoleProxy(app: FastifyInstance, options: ProxyOptions): void {
  const { platform: p } = options;
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE_BYTES,
    handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  });
  const open = new Map<AdmittedConsole, WebSocket | null>();

  app.server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy());
    answer(request, socket, head).catch((error: unknown) => {
      p.log.error({ err: error }, 'a console could not be opened');
      refuse(socket, '500 Internal Server Error');
    });
  });
  app.addHook('preClose', async () => {
    for (const socket of open.values()) socket?.close(GOING_AWAY);
    for (const socket of open.values()) socket?.terminate();
  });

  async function answer(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const asked = consoleOfUrl(request.url ?? '');
    if (asked === null) return refuse(socket, '404 Not Found');
    if (!isOwnOrigin(request, p.settings.publicUrl)) return refuse(socket, '403 Forbidden');
    const admitted = await admittedConsole(p, asked.token);
    if (admitted?.request.kind !== asked.kind) return refuse(socket, '403 Forbidden');
    if (!hasRoom(admitted)) return refuse(socket, '503 Service Unavailable');
    open.set(admitted, null);
    try {
      await serve(admitted, request, socket, head);
    } finally {
      open.delete(admitted);
    }
  }

  async function serve(admitted: AdmittedConsole, request: IncomingMessage, socket: Duplex, head: Buffer) {
    const { host, serverId } = admitted;
    const log = p.log.child({ serverId, projectId: admitted.projectId, host, kind: admitted.request.kind });
    const reply = await options.openConsole(host, serverId, admitted.request);
    if (reply.kind !== 'ok') {
      log.info({ reply }, 'a console was refused by its host');
      return refuse(socket, reply.kind === 'unreachable' ? '503 Service Unavailable' : '403 Forbidden');
    }
    const startedAt = performance.now();
    const client = await upgraded(request, socket, head);
    if (client === null) return void reply.value.destroy();
    open.set(admitted, client.webSocket);
    log.info('console opened');
    const watched = watch(client.webSocket, reply.value);
    await joinStreams(client.stream, reply.value);
    watched.end();
    log.info({ seconds: Math.round((performance.now() - startedAt) / 1000) }, 'console closed');
  }

  /** Null: it was no good websocket handshake, or the client is gone; it has been answered. */
  function upgraded(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<Client | null> {
    return new Promise((resolve) => {
      if (socket.destroyed) return resolve(null);
      socket.once('close', () => resolve(null));
      // The stream is there at once: a message that nobody waits for would be lost.
      sockets.handleUpgrade(request, socket, head, (webSocket) =>
        resolve({ webSocket, stream: createWebSocketStream(webSocket) }),
      );
    });
  }

  function hasRoom({ serverId, projectId }: AdmittedConsole): boolean {
    const all = [...open.keys()];
    const ofProject = all.filter((each) => each.projectId === projectId);
    const ofServer = ofProject.filter((each) => each.serverId === serverId);
    return (
      all.length < MAX_CONSOLES &&
      ofProject.length < MAX_CONSOLES_OF_PROJECT &&
      ofServer.length < MAX_CONSOLES_OF_SERVER
    );
  }
}

/** Ends a console that nobody uses or whose client is gone. */
function watch(webSocket: WebSocket, console: Duplex): { end(): void } {
  let answered = true;
  const idle = setTimeout(() => webSocket.close(GOING_AWAY, 'idle'), IDLE_MS);
  webSocket.on('pong', () => {
    answered = true;
  });
  webSocket.on('message', () => idle.refresh());
  console.on('data', () => idle.refresh());
  const pings = setInterval(() => {
    if (!answered) return webSocket.terminate();
    answered = false;
    webSocket.ping();
  }, PING_MS);
  idle.unref();
  pings.unref();
  return {
    end() {
      clearTimeout(idle);
      clearInterval(pings);
    },
  };
}

/** Browsers say where a page is from; a page of somebody else's must not use a console. Other programs say nothing. */
function isOwnOrigin({ headers }: IncomingMessage, publicUrl: string): boolean {
  const { origin, host } = headers;
  if (origin === undefined) return true;
  if (!URL.canParse(origin)) return false;
  return new URL(origin).host === host || origin === new URL(publicUrl).origin;
}

function refuse(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
}
