// A console of a guest on a host far away, or a connection to one of its TCP ports (console-server.ts).
//
// Theory of operation. As wire-client.ts: never rejects for operating errors, retries nothing. The caller owns the
// stream and ends it.
import { request as httpRequest, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { CONSOLE_PROTOCOL, type ConsoleRequest, consolePath, type TcpRequest, tcpPath } from './consoles.ts';
import type { Reply } from './contract.ts';
import { type HostAddress, headersOf, replyOfError } from './wire-client.ts';

const OPEN_LIMIT_MS = 10_000;
const KEEP_ALIVE_MS = 30_000;
/** Of an answer that says no; bytes. */
const ERROR_LIMIT = 64 * 1024;

export const connectConsole = (address: HostAddress, serverId: string, console: ConsoleRequest) =>
  upgrade(address, consolePath(serverId, console));

export const connectTcp = (address: HostAddress, serverId: string, port: TcpRequest) =>
  upgrade(address, tcpPath(serverId, port));

function upgrade(address: HostAddress, path: string): Promise<Reply<Duplex>> {
  return new Promise((resolve) => {
    const unreachable = (reason: string): void => resolve({ kind: 'unreachable', reason });
    const url = `${address.url.replace(/\/+$/, '')}${path}`;
    if (!/^http:/.test(url)) return unreachable('the host has no address that a console could be opened at');
    const request = httpRequest(url, {
      headers: { ...headersOf(address, null), connection: 'Upgrade', upgrade: CONSOLE_PROTOCOL },
      agent: false,
      timeout: address.timeoutMs ?? OPEN_LIMIT_MS,
    });
    request.once('timeout', () => request.destroy(new Error('no answer in time')));
    request.once('error', (error) => unreachable(error.message));
    request.once('response', (response) => {
      void readError(response).then((text) => resolve(replyOfError(response.statusCode ?? 0, text)));
    });
    request.once('upgrade', (_response, socket, head) => {
      // It may break before anybody listens; its 'close' says so.
      socket.on('error', () => undefined);
      socket.setTimeout(0);
      socket.setKeepAlive(true, KEEP_ALIVE_MS);
      if (head.length > 0) socket.unshift(head);
      resolve({ kind: 'ok', value: socket });
    });
    request.end();
  });
}

/** What was read before it ended, in whatever way. */
async function readError(response: IncomingMessage): Promise<string> {
  let text = '';
  try {
    for await (const chunk of response) {
      text += String(chunk);
      if (text.length > ERROR_LIMIT) break;
    }
  } catch (error) {
    return error instanceof Error ? error.message : '';
  }
  return text;
}
