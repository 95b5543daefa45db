// The consoles of a running guest: its screen (RFB, what VNC speaks) and its serial line. And the TCP ports of its network
// cards, which are streams as well.
//
// Theory of operation. A console is a stream of bytes in both directions, so it stands beside the calls of the
// contract and not among them. It carries no generation and changes nothing: it is opened to the guest's process that
// was started at `startedAt`, and ends with that process, with the agent, or with whoever holds it. So a stop, a move or
// a delete closes it by ending the guest, and never waits for it.
// A connection to a TCP port is to the guest that runs when it is opened, and ends in the same ways.
// Over HTTP it is an upgrade: GET on consolePath or tcpPath, with the fleet secret and the host's name as in every call.
import type { Duplex } from 'node:stream';
import type { Reply } from './contract.ts';

const CONSOLE_KINDS = ['vnc', 'serial'] as const;
export type ConsoleKind = (typeof CONSOLE_KINDS)[number];

export interface ConsoleRequest {
  readonly kind: ConsoleKind;
  /** As Guest.startedAt says: another start of the guest is another console. */
  readonly startedAt: number;
}

/** A TCP port of a guest, at the first address of one of its ports. */
export interface TcpRequest {
  readonly portId: string;
  readonly tcpPort: number;
}

export interface Consoles {
  /**
   * The console, from here on. The serial line has one reader: a newer one ends the older. `absent`: no such guest;
   * `refused`: it does not run, or runs since another time.
   */
  openConsole(serverId: string, request: ConsoleRequest): Promise<Reply<Duplex>>;
  /**
   * A connection to a TCP port of the guest. That it is there does not say that the guest has taken it: if nobody listens
   * it ends. `absent`: no such guest; `refused`: it does not run, or has no such port.
   */
  openTcp(serverId: string, request: TcpRequest): Promise<Reply<Duplex>>;
}

/** The protocol's name in the Upgrade header. */
export const CONSOLE_PROTOCOL = 'crosscell-console';

export const consolePath = (serverId: string, { kind, startedAt }: ConsoleRequest): string =>
  `/v1/guests/${serverId}/consoles/${kind}/${startedAt}`;

const PATH = /^\/v1\/guests\/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\/consoles\/(vnc|serial)\/([0-9]{1,15})$/;

/** What a path asks for; null: nothing of ours. */
export function consoleOfPath(path: string): { readonly serverId: string; readonly request: ConsoleRequest } | null {
  const [, serverId, kind, startedAt] = PATH.exec(path) ?? [];
  if (serverId === undefined || kind === undefined) return null;
  return { serverId, request: { kind: kind === 'vnc' ? 'vnc' : 'serial', startedAt: Number(startedAt) } };
}

export const tcpPath = (serverId: string, { portId, tcpPort }: TcpRequest): string =>
  `/v1/guests/${serverId}/ports/${portId}/tcp/${tcpPort}`;

const UUID = '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}';
const TCP_PATH = new RegExp(`^/v1/guests/(${UUID})/ports/(${UUID})/tcp/([1-9][0-9]{0,4})$`);

/** The same of a TCP port. */
export function tcpOfPath(path: string): { readonly serverId: string; readonly request: TcpRequest } | null {
  const [, serverId, portId, tcpPort] = TCP_PATH.exec(path) ?? [];
  if (serverId === undefined || portId === undefined || Number(tcpPort) > 65_535) return null;
  return { serverId, request: { portId, tcpPort: Number(tcpPort) } };
}
