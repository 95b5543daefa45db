// A TCP gate in front of an NBD server: opens only for readers that know the export's secret name.
//
// Theory of operation. qemu-nbd lists its export names to whoever asks, so it listens on a unix socket alone, and this
// gate relays. Until a reader has named the export its bytes are parsed, option by option, and only options that tell
// nothing are let through; asking for a list, naming another export, or taking too long ends the connection. After the
// right name everything is passed on unread. Also sets TCP_NODELAY, which old NBD servers forget (40 ms per reply).
// Protocol: the NBD project's doc/proto.md, "fixed newstyle negotiation".
// Not handled: secrecy on the wire. The data network is trusted with the data itself.
import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import type { Logger } from 'pino';
import { HypervisorError } from '../hypervisor.ts';

export interface GateOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly exportName: string;
  /** Opens a connection to the NBD server. */
  readonly connect: () => Promise<Socket>;
  readonly log: Logger;
  /** A reader must have named the export within this time, ms. */
  readonly handshakeMs?: number;
}

const MAX_CONNECTIONS = 8;
const HANDSHAKE_LIMIT_MS = 10_000;
const CLIENT_FLAGS_BYTES = 4;
const OPTION_HEADER_BYTES = 16;
const OPTION_LIMIT = 4096;
const OPTION_MAGIC = 0x49484156454f5054n; // "IHAVEOPT"
const OPT_EXPORT_NAME = 1;
const OPT_ABORT = 2;
const OPT_INFO = 6;
const OPT_GO = 7;
const OPT_STRUCTURED_REPLY = 8;
const OPT_SET_META_CONTEXT = 10;

export type Passage =
  /** So many bytes may be passed on; then more must be seen. */
  | { readonly kind: 'pass'; readonly bytes: number }
  /** The name was right: pass everything from here on. */
  | { readonly kind: 'open' }
  | { readonly kind: 'refuse'; readonly reason: string };

/** Reads what a client says before it is trusted. `bytes`: from the beginning of its options. Pure. */
export function judgeOption(bytes: Buffer, exportName: string): Passage {
  if (bytes.length < OPTION_HEADER_BYTES) return { kind: 'pass', bytes: 0 };
  if (bytes.readBigUInt64BE(0) !== OPTION_MAGIC) return { kind: 'refuse', reason: 'not an NBD option' };
  const option = bytes.readUInt32BE(8);
  const length = bytes.readUInt32BE(12);
  if (length > OPTION_LIMIT) return { kind: 'refuse', reason: 'an option that is too long' };
  const end = OPTION_HEADER_BYTES + length;
  if (bytes.length < end) return { kind: 'pass', bytes: 0 };
  const data = bytes.subarray(OPTION_HEADER_BYTES, end);
  switch (option) {
    case OPT_ABORT:
    case OPT_STRUCTURED_REPLY:
      return { kind: 'pass', bytes: end };
    case OPT_EXPORT_NAME:
      return sameName(data, exportName);
    case OPT_INFO:
    case OPT_GO:
    case OPT_SET_META_CONTEXT: {
      // These begin with the name's length and the name.
      const nameLength = data.length >= 4 ? data.readUInt32BE(0) : -1;
      if (nameLength < 0 || nameLength > data.length - 4) return { kind: 'refuse', reason: 'a malformed option' };
      return sameName(data.subarray(4, 4 + nameLength), exportName);
    }
    default:
      return { kind: 'refuse', reason: `option ${option} before the export's name` };
  }
}

function sameName(given: Buffer, expected: string): Passage {
  const digest = (data: Buffer | string) => createHash('sha256').update(data).digest();
  if (timingSafeEqual(digest(given), digest(expected))) return { kind: 'open' };
  return { kind: 'refuse', reason: 'a wrong export name' };
}

export class NbdGate {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;

  private constructor(server: Server, sockets: Set<Socket>, port: number) {
    this.#server = server;
    this.#sockets = sockets;
    this.port = port;
  }

  /** Listens; HypervisorError when the port cannot be had. */
  static async open(options: GateOptions): Promise<NbdGate> {
    const sockets = new Set<Socket>();
    const server = createServer({ noDelay: true, allowHalfOpen: false }, (client) => {
      void serve(client, options, sockets);
    });
    server.maxConnections = MAX_CONNECTIONS;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(new HypervisorError(`the export cannot listen: ${error.message}`)));
      server.listen({ host: options.host, port: options.port }, resolve);
    });
    server.on('error', (error) => options.log.warn({ err: error }, 'export listener'));
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    return new NbdGate(server, sockets, port);
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

async function serve(client: Socket, options: GateOptions, sockets: Set<Socket>): Promise<void> {
  const { log } = options;
  track(client, sockets);
  // Of the whole: whoever asks for this and that every few seconds is not served either.
  const tooLong = setTimeout(() => client.destroy(), options.handshakeMs ?? HANDSHAKE_LIMIT_MS);
  client.once('close', () => clearTimeout(tooLong));
  let server: Socket;
  try {
    server = await options.connect();
  } catch (error) {
    log.warn({ err: error }, 'the NBD server does not listen');
    client.destroy();
    return;
  }
  track(server, sockets);
  client.once('close', () => server.destroy());
  server.once('close', () => client.destroy());
  if (client.destroyed) {
    server.destroy();
    return;
  }
  server.pipe(client);

  let flagsPassed = false;
  let waiting = Buffer.alloc(0);
  const onData = (chunk: Buffer) => {
    waiting = Buffer.concat([waiting, chunk]);
    if (!flagsPassed) {
      if (waiting.length < CLIENT_FLAGS_BYTES) return;
      flagsPassed = true;
      server.write(waiting.subarray(0, CLIENT_FLAGS_BYTES));
      waiting = waiting.subarray(CLIENT_FLAGS_BYTES);
    }
    for (;;) {
      const passage = judgeOption(waiting, options.exportName);
      if (passage.kind === 'refuse') {
        log.warn({ remote: client.remoteAddress, reason: passage.reason }, 'export refused');
        client.destroy();
        return;
      }
      if (passage.kind === 'open') {
        client.off('data', onData);
        clearTimeout(tooLong);
        server.write(waiting);
        client.pipe(server);
        return;
      }
      if (passage.bytes === 0) return;
      server.write(waiting.subarray(0, passage.bytes));
      waiting = waiting.subarray(passage.bytes);
    }
  };
  client.on('data', onData);
}

function track(socket: Socket, sockets: Set<Socket>): void {
  sockets.add(socket);
  // Errors end in `close`, which ends the other side too.
  socket.on('error', () => socket.destroy());
  socket.once('close', () => sockets.delete(socket));
}
