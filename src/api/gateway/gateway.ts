// The gateway: takes TCP connections to floating IPs and hands them to the guests behind.
//
// Theory of operation. Off unless the configuration says `network.gateway`. It listens at each door (control/network/
// doors.ts) at the floating IP's own address, which must be this machine's. Doors are read once a second; one that is gone
// is closed, with all connections that came through it. Who connects is let in by the doors as they are then, and brought
// to the guest through its host's agent, as a console is: hosts hold nothing for it, and a move needs to do nothing. A
// connection ends with the guest it was made to.
// What can race: a door that leads somewhere else since a second ago: the connection goes where it leads now. An address
// that cannot be listened at is said once in the log and tried again.
// Limits: doors, connections, those through one door and those to one project, and how long one may say nothing: so nobody
// who can reach one project's doors keeps the others' shut. Not handled: anything but TCP; a ping is answered, or not, by
// whatever has the address.
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type Door, letsIn, openDoors } from '../../control/network/doors.ts';
import type { Platform } from '../../control/platform.ts';
import type { TcpRequest } from '../../host/consoles.ts';
import type { Reply } from '../../host/contract.ts';
import { Shares } from '../../lib/shares.ts';
import { joinStreams } from '../../lib/streams.ts';

/** Opens a connection to a guest on a host, as Consoles has it. */
export type OpenTcp = (host: string, serverId: string, request: TcpRequest) => Promise<Reply<Duplex>>;

export interface Gateway {
  /** All doors are closed afterwards. */
  stop(): Promise<void>;
}

const LOOK_MS = 1000;
const MAX_DOORS = 2048;
const MAX_CONNECTIONS = 1024;
const MAX_CONNECTIONS_OF_PROJECT = 128;
const MAX_CONNECTIONS_OF_DOOR = 64;
/** A connection on which nothing comes or goes for so long is over, ms. */
const MAX_SILENCE_MS = 3_600_000;
const KEEP_ALIVE_MS = 30_000;

interface Listener {
  readonly server: Server;
  readonly sockets: Set<Socket>;
  /** Undefined: not known yet. */
  listening: boolean | undefined;
}

export function startGateway(p: Platform, openTcp: OpenTcp): Gateway {
  const listeners = new Map<string, Listener>();
  const stopping = new AbortController();
  const looking = keepLooking();
  const places = new Shares(MAX_CONNECTIONS, MAX_CONNECTIONS_OF_PROJECT);

  async function keepLooking(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        await look();
      } catch (error) {
        p.log.error({ err: error }, 'the gateway does not know where floating IPs lead; what is open stays open');
      }
      await p.clock.sleep(LOOK_MS, stopping.signal);
    }
  }

  async function look(): Promise<void> {
    const doors = new Map((await openDoors(p.stores.global)).slice(0, MAX_DOORS).map((door) => [keyOf(door), door]));
    for (const [key, listener] of listeners) if (!doors.has(key)) close(key, listener);
    for (const [key, door] of doors) listen(key, door);
  }

  function listen(key: string, { address, tcpPort }: Door): void {
    const known = listeners.get(key);
    if (known && known.listening !== false) return;
    const server = known?.server ?? createServer((socket) => take(socket, address, tcpPort, listener));
    const listener: Listener = known ?? { server, sockets: new Set(), listening: undefined };
    if (!known) {
      listeners.set(key, listener);
      server.on('listening', () => {
        listener.listening = true;
        p.log.info({ address, tcpPort }, 'a floating IP is served');
      });
      server.on('error', (error) => {
        // Once: it is tried again each second.
        if (listener.listening === undefined)
          p.log.warn({ err: error, address, tcpPort }, 'a floating IP cannot be served here');
        // One that could not be accepted leaves it listening.
        listener.listening = server.listening;
      });
    }
    server.listen({ host: address, port: tcpPort });
  }

  function close(key: string, { server, sockets }: Listener): void {
    listeners.delete(key);
    server.close();
    for (const socket of sockets) socket.destroy();
  }

  function take(socket: Socket, address: string, tcpPort: number, { sockets }: Listener): void {
    socket.on('error', () => socket.destroy());
    if (sockets.size >= MAX_CONNECTIONS_OF_DOOR) return void socket.destroy();
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    socket.setTimeout(MAX_SILENCE_MS, () => socket.destroy());
    join(socket, address, tcpPort).catch((error: unknown) => {
      p.log.error({ err: error, address, tcpPort }, 'a connection to a floating IP could not be handed on');
      socket.destroy();
    });
  }

  async function join(socket: Socket, address: string, tcpPort: number): Promise<void> {
    const doors = await openDoors(p.stores.global, address);
    const door = doors.find((each) => each.tcpPort === tcpPort);
    if (!door || door.host === null || !letsIn(door, socket.remoteAddress ?? '')) return void socket.destroy();
    const { host, serverId, portId, projectId } = door;
    const place = places.enter(projectId);
    if (!place || socket.destroyed) {
      place?.leave();
      return void socket.destroy();
    }
    socket.once('close', () => place.leave());
    const reply = await openTcp(host, serverId, { portId, tcpPort });
    if (reply.kind !== 'ok') {
      p.log.info({ reply, address, tcpPort, serverId, host }, 'a guest behind a floating IP cannot be reached');
      return void socket.destroy();
    }
    if (socket.destroyed) return void reply.value.destroy();
    await joinStreams(socket, reply.value);
  }

  return {
    async stop() {
      stopping.abort();
      await looking;
      for (const [key, listener] of listeners) close(key, listener);
    },
  };
}

const keyOf = ({ address, tcpPort }: Door): string => `${address}:${tcpPort}`;
