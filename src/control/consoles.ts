// Who may open which console: tokens that a user is given by the API and shows to the proxy.
//
// Theory of operation. A token is random and kept as its hash alone. It is good for ten minutes, for one kind of
// console, and for the guest's process that ran when it was given out: the row names the host and when the guest was
// started there. A server that was moved, stopped, started again or deleted has no such process any more, so no saga has
// to know of tokens. Rows are deleted when they have run out (at the next token that is made), and the oldest of a server
// when it has too many.
// Not handled: a user who loses the right to a server keeps a token for its ten minutes, and a console that is open.
import { createHash, randomBytes } from 'node:crypto';
import type { Transaction } from 'kysely';
import type { ConsoleKind, ConsoleRequest } from '../host/consoles.ts';
import { assertNever } from '../lib/errors.ts';
import { invalidState } from '../model/actions.ts';
import type { Refusal } from '../model/refusal.ts';
import { conflict, refuse } from '../model/refusal.ts';
import type { Server } from '../model/types.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import type { Platform } from './platform.ts';
import { findServer } from './servers.ts';

/** Nova's default ([consoleauth]/token_ttl). */
const TOKEN_MS = 600_000;
/** Tokens of one server that are good at the same time. */
const MAX_TOKENS = 64;
const TOKEN_BYTES = 32;
const TOKEN = /^[A-Za-z0-9_-]{43}$/;

/** A console that somebody may open. */
export interface AdmittedConsole {
  readonly serverId: string;
  readonly projectId: string;
  readonly host: string;
  readonly request: ConsoleRequest;
}

export type ConsoleToken =
  | { readonly kind: 'ok'; readonly token: string }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** A token for a console of the server's guest as it runs now. 409 when none runs. */
export async function createConsoleToken(p: Platform, server: Server, kind: ConsoleKind): Promise<ConsoleToken> {
  const place = await placeOf(p, server);
  if ('code' in place) return { kind: 'refused', refusal: place };
  const token = randomBytes(TOKEN_BYTES).toString('base64url');
  const now = p.clock.now();
  await p.stores.global.transaction().execute(async (trx) => {
    await forget(trx, server.id, now);
    const row = { hash: hashOf(token), server_id: server.id, host: place.host, guest_started_at: place.startedAt };
    await trx
      .insertInto('console_tokens')
      .values({ ...row, kind, created_at: now, expires_at: now + TOKEN_MS })
      .execute();
  });
  return { kind: 'ok', token };
}

/** What the token is good for now; null: for nothing. Whether the guest still runs is known to its host alone. */
export async function admittedConsole(p: Platform, token: string): Promise<AdmittedConsole | null> {
  if (!TOKEN.test(token)) return null;
  const row = await p.stores.global
    .selectFrom('console_tokens')
    .selectAll()
    .where('hash', '=', hashOf(token))
    .where('expires_at', '>', p.clock.now())
    .executeTakeFirst();
  if (!row) return null;
  const found = await findServer(p, row.server_id);
  if (found.kind !== 'found' || found.server.host !== row.host) return null;
  const kind = row.kind === 'vnc' ? 'vnc' : 'serial';
  const { id: serverId, projectId } = found.server;
  return { serverId, projectId, host: row.host, request: { kind, startedAt: row.guest_started_at } };
}

/** Where the host's agent listens; port 0: inside the control plane. Null: there is no such host. */
export async function agentOf(
  p: Platform,
  hostName: string,
): Promise<{ readonly host: string; readonly port: number } | null> {
  const query = p.stores.global.selectFrom('hosts').select('url').where('name', '=', hostName);
  const row = await query.executeTakeFirst();
  if (!row || !URL.canParse(row.url)) return null;
  const { hostname, port } = new URL(row.url);
  return { host: hostname, port: Number(port) };
}

/** Where the guest runs, and since when. */
async function placeOf(
  p: Platform,
  server: Server,
): Promise<{ readonly host: string; readonly startedAt: number } | Refusal> {
  const notReady = conflict(`Instance ${server.id} is not ready`);
  if (server.host === null) return notReady;
  // nova/compute/api.py: reject_instance_state. There is no state MIGRATING here.
  if (server.taskState === 'deleting') return invalidState('get_vnc_console', server.id, 'task_state', 'deleting');
  const reply = await (await p.host(server.host)).guest(server.id);
  switch (reply.kind) {
    case 'ok': {
      const { power, startedAt } = reply.value;
      return power === 'on' && startedAt !== null ? { host: server.host, startedAt } : notReady;
    }
    case 'absent':
      return notReady;
    case 'fenced':
    case 'refused':
    case 'unreachable':
      return refuse(503, 'Service is unavailable at this time.');
    default:
      return assertNever(reply);
  }
}

/** Tokens that have run out, and of this server those that are too many. */
async function forget(trx: Transaction<GlobalTables>, serverId: string, now: number): Promise<void> {
  await trx.deleteFrom('console_tokens').where('expires_at', '<=', now).execute();
  const { n } = await trx
    .selectFrom('console_tokens')
    .select((eb) => eb.fn.countAll<number>().as('n'))
    .where('server_id', '=', serverId)
    .executeTakeFirstOrThrow();
  const excess = Number(n) - MAX_TOKENS + 1;
  if (excess <= 0) return;
  const oldest = trx.selectFrom('console_tokens').select('hash').where('server_id', '=', serverId);
  await trx
    .deleteFrom('console_tokens')
    .where('hash', 'in', oldest.orderBy('created_at').orderBy('hash').limit(excess))
    .execute();
}

const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex');
