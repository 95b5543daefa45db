// A host far away, by its contract.
//
// Theory of operation. Stateless over the runtime's pooled keep-alive connections. A call never rejects for operating
// errors: whatever goes wrong between the two programs (no connection, no answer in time, an answer cut short or not
// understood, a wrong secret, a wrong host at that address) is `unreachable`, which says nothing about whether the call
// took effect. Nothing is retried here: the caller decides when to ask again.
import type { TSchema } from 'typebox';
import { Compile, type Validator } from 'typebox/compile';
import { jsonOf, readLimited } from '../lib/answers.ts';
import { reasonOf } from '../lib/reasons.ts';
import type { Reply } from './contract.ts';
import {
  ErrorReply,
  HOST_HEADER,
  idsOf,
  REPLY_LIMIT,
  REQUEST_HEADER,
  type Route,
  type Routes,
  SAGA_HEADER,
} from './wire.ts';

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
const replyChecks = new Map<Route, Validator<Record<never, never>, TSchema>>();
const checkOf = (route: Route) => {
  const known = replyChecks.get(route);
  if (known) return known;
  const made = Compile(route.reply);
  replyChecks.set(route, made);
  return made;
};
const errorCheck = Compile(ErrorReply);

/** All methods of the contract at this address. None throws, and nothing is held that would need closing. */
export function connectWire<Method extends string>(routes: Routes<Method>, address: HostAddress): unknown {
  const host: Partial<Record<Method, unknown>> = {};
  for (const [method, route] of Object.entries<Route>(routes)) {
    host[method as Method] = (...args: unknown[]) => exchange(address, method, route, args);
  }
  return host;
}

async function exchange(
  address: HostAddress,
  method: string,
  route: Route,
  args: readonly unknown[],
): Promise<Reply<never>> {
  if (address.url.startsWith('simulated:')) return unreachable('a simulated host lives inside its control plane');
  try {
    const argument = args[idsOf(route.path).length];
    const response = await fetch(urlOf(address, route, args, argument), {
      method: route.verb,
      headers: headersOf(address, route),
      redirect: 'error',
      signal: AbortSignal.timeout(limitOf(address, route)),
      ...(route.body ? { body: JSON.stringify(argument) } : {}),
    });
    return understand(method, route, response.status, await readLimited(response, REPLY_LIMIT));
  } catch (error) {
    return unreachable(reasonOf(error));
  }
}

const limitOf = ({ timeoutMs = DEFAULT_TIMEOUT_MS }: HostAddress, { limitMs = timeoutMs }: Route): number =>
  Math.min(timeoutMs, limitMs);

function understand(method: string, route: Route, status: number, text: string): Reply<never> {
  if (status !== 200) return replyOfError(status, text);
  const body: unknown = JSON.parse(text);
  if (!checkOf(route).Check(body)) return unreachable(`the answer to ${method} does not keep the contract`);
  return { kind: 'ok', value: body as never };
}

/** What an answer means whose status is not that of success. */
export function replyOfError(status: number, text: string): Exclude<Reply<never>, { kind: 'ok' }> {
  const body = jsonOf(text);
  return errorCheck.Check(body) ? body : unreachable(`status ${status} from something that is not an agent`);
}

/** A query has one value at most; its name is the schema's. */
function urlOf(address: HostAddress, route: Route, args: readonly unknown[], argument: unknown): string {
  let at = 0;
  const path = route.path.replace(/:\w+/g, () => encodeURIComponent(String(args[at++] ?? '')));
  const [name] = Object.keys(route.query?.properties ?? {});
  const query = name === undefined || argument === undefined ? '' : `?${name}=${encodeURIComponent(String(argument))}`;
  return `${address.url.replace(/\/+$/, '')}${path}${query}`;
}

/** Headers that prove who calls and name what is meant. */
export function headersOf(address: HostAddress, route: Route | null): Record<string, string> {
  const { requestId, sagaId } = address.context?.() ?? {};
  return {
    authorization: `Bearer ${address.secret}`,
    ...(route?.body ? { 'content-type': 'application/json' } : {}),
    ...(address.name === undefined ? {} : { [HOST_HEADER]: encodeURIComponent(address.name) }),
    ...(requestId === undefined ? {} : { [REQUEST_HEADER]: requestId }),
    ...(sagaId === undefined ? {} : { [SAGA_HEADER]: sagaId }),
  };
}

const unreachable = (reason: string): Unreachable => ({ kind: 'unreachable', reason });
type Unreachable = Extract<Reply<never>, { kind: 'unreachable' }>;
