// A compute host far away, as a Host.
//
// Theory of operation. Stateless over the runtime's pooled keep-alive connections. A call never rejects for operating
// errors: whatever goes wrong between the two programs (no connection, no answer in time, an answer cut short or not
// understood, a wrong secret, a wrong host at that address) is `unreachable`, which says nothing about whether the call
// took effect. Nothing is retried here: the caller decides when to ask again.
import type { TSchema } from 'typebox';
import { Compile, type Validator } from 'typebox/compile';
import type { Host, Reply } from './contract.ts';
import { reasonOf } from './reasons.ts';
import {
  ErrorReply,
  HOST_HEADER,
  METHODS,
  type Method,
  REPLY_LIMIT,
  REQUEST_HEADER,
  ROUTES,
  SAGA_HEADER,
} from './routes.ts';

export interface HostAddress {
  /** Base URL, such as http://10.0.0.7:8775. */
  readonly url: string;
  readonly secret: string;
  /** How long one call may take, ms. Longer than any call lasts at the host (a few seconds). */
  readonly timeoutMs?: number;
  /** When given, an agent of another name at this address is `unreachable`. */
  readonly name?: string;
  /** Ids of what is being done right now, for the host's log. Asked at every call. */
  readonly context?: () => { readonly requestId?: string; readonly sagaId?: string };
}

const DEFAULT_TIMEOUT_MS = 10_000;

// Compiled once for all hosts: a fleet has hundreds of clients with the same contract.
const replyChecks = new Map<Method, Validator<Record<never, never>, TSchema>>();
const checkOf = (method: Method) => {
  const known = replyChecks.get(method);
  if (known) return known;
  const made = Compile(ROUTES[method].reply as TSchema);
  replyChecks.set(method, made);
  return made;
};
const errorCheck = Compile(ErrorReply);

/** The host at this address. Never throws and holds nothing that would need closing. */
export function connectHost(address: HostAddress): Host {
  const host: Partial<Record<Method, unknown>> = {};
  for (const method of METHODS) {
    host[method] = (serverId?: string, argument?: unknown) => exchange(address, method, serverId, argument);
  }
  return host as unknown as Host;
}

async function exchange(
  address: HostAddress,
  method: Method,
  serverId: string | undefined,
  argument: unknown,
): Promise<Reply<never>> {
  if (address.url.startsWith('simulated:')) return unreachable('a simulated host lives inside its control plane');
  try {
    const response = await fetch(urlOf(address, method, serverId, argument), {
      method: ROUTES[method].verb,
      headers: headersOf(address, method),
      redirect: 'error',
      signal: AbortSignal.timeout(address.timeoutMs ?? DEFAULT_TIMEOUT_MS),
      ...(ROUTES[method].body ? { body: JSON.stringify(argument) } : {}),
    });
    return understand(method, response.status, await readLimited(response));
  } catch (error) {
    return unreachable(reasonOf(error));
  }
}

function understand(method: Method, status: number, text: string): Reply<never> {
  const body: unknown = JSON.parse(text);
  if (status === 200) {
    if (!checkOf(method).Check(body)) return unreachable(`the answer to ${method} does not keep the contract`);
    return { kind: 'ok', value: body as never };
  }
  if (!errorCheck.Check(body)) return unreachable(`status ${status} from something that is not an agent`);
  return body;
}

function urlOf(address: HostAddress, method: Method, serverId: string | undefined, argument: unknown): string {
  const path = ROUTES[method].path.replace(':serverId', () => encodeURIComponent(serverId ?? ''));
  const query = method === 'console' && argument !== undefined ? `?lines=${Number(argument)}` : '';
  return `${address.url.replace(/\/+$/, '')}${path}${query}`;
}

function headersOf(address: HostAddress, method: Method): Record<string, string> {
  const { requestId, sagaId } = address.context?.() ?? {};
  return {
    authorization: `Bearer ${address.secret}`,
    ...(ROUTES[method].body ? { 'content-type': 'application/json' } : {}),
    ...(address.name === undefined ? {} : { [HOST_HEADER]: encodeURIComponent(address.name) }),
    ...(requestId === undefined ? {} : { [REQUEST_HEADER]: requestId }),
    ...(sagaId === undefined ? {} : { [SAGA_HEADER]: sagaId }),
  };
}

async function readLimited(response: Response): Promise<string> {
  if (response.body === null) return '';
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body) {
    size += chunk.byteLength;
    if (size > REPLY_LIMIT) throw new Error(`the answer is longer than ${REPLY_LIMIT} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

const unreachable = (reason: string): Reply<never> => ({ kind: 'unreachable', reason });
