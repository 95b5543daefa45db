// Ways into a guest: connections to TCP ports of its network cards, through QEMU's user-mode network.
//
// Theory of operation. QEMU listens at a port of 127.0.0.1 and passes on what connects there to a port of the guest, at
// the address that the card was told. Such a way is made when it is first asked for and is good for this process of QEMU
// and this card; it is forgotten before the card goes, because its port may be another guest's then. QEMU takes a
// connection before it has asked the guest; if the guest does not want it, it ends.
// What can race: the port is chosen free and then taken by QEMU; somebody else may be quicker, and the next one is tried.
// Not handled: other users of this machine, who can connect to 127.0.0.1 as well. An agent that was started again does
// not know the ways that its guests have, and makes others.
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';
import { HypervisorError } from '../hypervisor.ts';
import type { Monitor } from './hotplug.ts';

const LOCALHOST = '127.0.0.1';
const ATTEMPTS = 5;
const CONNECT_LIMIT_MS = 5000;
/** Ways into one card. */
const MAX_WAYS = 64;

export class Forwards {
  /** By process, card and the guest's port: ours. */
  readonly #ways = new WeakMap<Monitor, Map<string, Map<number, Promise<number>>>>();

  /** A connected socket; HypervisorError when there is no way. */
  async connect(qemu: Monitor, portId: string, tcpPort: number): Promise<Socket> {
    return connectTo(await this.#way(qemu, portId, tcpPort));
  }

  /** The card is about to go. */
  forget(qemu: Monitor, portId: string): void {
    this.#ways.get(qemu)?.delete(portId);
  }

  #way(qemu: Monitor, portId: string, tcpPort: number): Promise<number> {
    const ofGuest = this.#ways.get(qemu) ?? new Map<string, Map<number, Promise<number>>>();
    this.#ways.set(qemu, ofGuest);
    const ofCard = ofGuest.get(portId) ?? new Map<number, Promise<number>>();
    ofGuest.set(portId, ofCard);
    const known = ofCard.get(tcpPort);
    if (known) return known;
    if (ofCard.size >= MAX_WAYS) throw new HypervisorError('the guest has too many ways in');
    const made = makeWay(qemu, portId, tcpPort);
    ofCard.set(tcpPort, made);
    // Whoever asked is told; the next one tries anew.
    made.catch(() => ofCard.delete(tcpPort));
    return made;
  }
}

/** The local port. */
async function makeWay(qemu: Monitor, portId: string, tcpPort: number): Promise<number> {
  let said = '';
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = await freePort();
    // Nothing that a user typed: an id and numbers. Without an address of the guest's it is the one that DHCP gives.
    const line = `hostfwd_add net-${portId} tcp:${LOCALHOST}:${port}-:${tcpPort}`;
    said = String(await qemu.execute('human-monitor-command', { 'command-line': line })).trim();
    if (said === '') return port;
  }
  throw new HypervisorError(`no way into the guest: ${said}`);
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, LOCALHOST, () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

function connectTo(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host: LOCALHOST, port, timeout: CONNECT_LIMIT_MS });
    const fail = (error: Error): void => {
      socket.destroy();
      reject(new HypervisorError(`the way into the guest: ${error.message}`));
    };
    socket.once('error', fail);
    socket.once('timeout', () => fail(new Error('no answer in time')));
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.removeAllListeners('timeout');
      socket.off('error', fail);
      resolve(socket);
    });
  });
}
