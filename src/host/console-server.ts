// Serves an agent's consoles, and TCP ports of its guests, to holders of the fleet secret: HTTP upgrades, then bytes as
// they are.
//
// Theory of operation. One connection per console or TCP connection. A screen or a connection waits for a reader that
// is slow: QEMU sends what has changed when there is room. A serial line must not wait, because a guest that prints
// would stand still: what a reader does not take is kept up to a limit, then that reader is cut off.
// Consoles end with the server, before it waits for its connections.
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { Shares } from '../lib/shares.ts';
import { closedTogether, joinStreams } from '../lib/streams.ts';
import { CONSOLE_PROTOCOL, type Consoles, consoleOfPath, tcpOfPath } from './consoles.ts';
import type { Reply } from './contract.ts';
import { STATUS } from './wire.ts';
import { refusalOf } from './wire-server.ts';

export interface ConsoleServerOptions {
  readonly consoles: Consoles;
  readonly name: string;
  readonly secret: string;
  readonly log: Logger;
}

/** Consoles and connections that are open at once: of the host, and of one guest. */
const [MAX_CONSOLES, MAX_CONSOLES_OF_GUEST] = [512, 80];
/** What a serial line's reader may leave unread, bytes. */
const UNREAD_LIMIT = 1024 * 1024;
const KEEP_ALIVE_MS = 30_000;

export function serveConsoles(app: FastifyInstance, options: ConsoleServerOptions): void {
  const open = new Set<Duplex>();
  const places = new Shares(MAX_CONSOLES, MAX_CONSOLES_OF_GUEST);
  app.server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on('error', () => socket.destroy());
    void answer(request, socket, head);
  });
  app.addHook('preClose', async () => {
    for (const socket of open) socket.destroy();
  });

  async function answer(request: IncomingMessage, socket: Socket, head: Buffer): Promise<void> {
    const wrong = refusalOf(options, request.headers);
    if (wrong !== null) return refuse(socket, wrong.status, wrong.body);
    const asked = streamOf(options.consoles, request.url ?? '');
    if (asked === null || request.headers.upgrade !== CONSOLE_PROTOCOL)
      return refuse(socket, 400, { kind: 'refused', reason: 'no such call' });
    const place = places.enter(asked.serverId);
    if (!place) return refuse(socket, 503, { kind: 'unreachable', reason: 'too many consoles are open' });
    open.add(socket);
    try {
      const reply = await asked.open();
      if (reply.kind !== 'ok') return refuse(socket, STATUS[reply.kind], reply);
      const { serverId, kind } = asked;
      options.log.info({ serverId, kind }, 'console opened');
      socket.setKeepAlive(true, KEEP_ALIVE_MS);
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${CONSOLE_PROTOCOL}\r\n\r\n`);
      if (head.length > 0) socket.unshift(head);
      await (kind === 'serial' ? pour(reply.value, socket) : joinStreams(reply.value, socket));
      options.log.info({ serverId, kind }, 'console closed');
    } finally {
      open.delete(socket);
      place.leave();
    }
  }
}

/** What a path asks for; null: nothing of ours. */
function streamOf(consoles: Consoles, path: string) {
  const screen = consoleOfPath(path);
  if (screen) {
    const { serverId, request } = screen;
    return { serverId, kind: request.kind, open: () => consoles.openConsole(serverId, request) } as const;
  }
  const tcp = tcpOfPath(path);
  if (!tcp) return null;
  return { serverId: tcp.serverId, kind: 'tcp', open: () => consoles.openTcp(tcp.serverId, tcp.request) } as const;
}

/** As joinStreams, but `from` never waits: a reader that leaves too much unread is cut off. */
function pour(from: Duplex, to: Duplex): Promise<void> {
  from.on('data', (chunk: Buffer) => {
    if (to.writable && !to.write(chunk) && to.writableLength > UNREAD_LIMIT) to.destroy();
  });
  to.pipe(from);
  return closedTogether(from, to);
}

function refuse(socket: Socket, status: number, body: Exclude<Reply<never>, { kind: 'ok' }>): void {
  const text = JSON.stringify(body);
  const head = `HTTP/1.1 ${status} Refused\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}`;
  socket.end(`${head}\r\nConnection: close\r\n\r\n${text}`);
}
