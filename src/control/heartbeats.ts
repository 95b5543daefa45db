// When hosts and storage hosts count as down, by their last heartbeats; and what is made of clocks that jump.
//
// A host is silent when it has not been heard of for hostDownSeconds by the clock, and down when so much time has passed:
// a clock that is put forward makes all of them silent at once, and none of them down. Somebody's guest may start elsewhere
// because a host is down, so that must never come from a clock (a guest's probation goes by the host's own, see decision
// 35). After a jump a host that was down counts as up until that time has passed once more.
// A clock that is put back leaves times that lie ahead: a host would be up, a lease held and a saga asleep until the clock
// is there again. Such times are pulled back to now; nothing is lost by that, for a lease that is taken over is fenced.
import { sql, type UpdateResult } from 'kysely';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import type { Platform } from './platform.ts';

/** Written out, as in store/sagas.ts. */
const ACTIVE = sql.lit('active');

/** Hosts whose last heartbeat is not later are silent. */
export const silentSince = ({ clock, settings }: Platform): number => clock.now() - settings.hostDownSeconds * 1000;

/** Whether the clock has jumped so short a time ago that what it makes of times before that says nothing. */
export const hasJumped = (p: Platform): boolean => (p.clock.steadySince?.() ?? 0) > silentSince(p);

/** Hosts whose last heartbeat is later are up. */
export const upAfter = (p: Platform): number => (hasJumped(p) ? Number.MIN_SAFE_INTEGER : silentSince(p));

/** Nothing that is to happen soon lies further ahead: sagas wait a minute at most, debts ten seconds, ms. */
const FURTHEST_MS = 120_000;
/** No lease is longer, ms. */
const LONGEST_LEASE_MS = 600_000;

interface Times {
  readonly now: number;
  readonly ahead: number;
  readonly leased: number;
}

const PULLS = [
  fixed<GlobalTables, Times, UpdateResult>((db, { now, ahead }) =>
    db.updateTable('hosts').set({ last_seen_at: now }).where('last_seen_at', '>', ahead),
  ),
  fixed<GlobalTables, Times, UpdateResult>((db, { now, ahead }) =>
    db.updateTable('storage_hosts').set({ last_seen_at: now }).where('last_seen_at', '>', ahead),
  ),
  fixed<GlobalTables, Times, UpdateResult>((db, { now, ahead }) =>
    db.updateTable('debts').set({ due_at: now }).where('paid_at', 'is', null).where('due_at', '>', ahead),
  ),
  fixed<GlobalTables, Times, UpdateResult>((db, { now, ahead }) =>
    db.updateTable('sagas').set({ wake_at: now }).where('status', '=', ACTIVE).where('wake_at', '>', ahead),
  ),
  fixed<GlobalTables, Times, UpdateResult>((db, { now, leased }) =>
    db.updateTable('sagas').set({ lease_until: now }).where('status', '=', ACTIVE).where('lease_until', '>', leased),
  ),
];

/** Pulls times back that lie ahead because the clock was put back. */
export async function pullBack(p: Platform): Promise<void> {
  const now = p.clock.now();
  const times = { now, ahead: now + FURTHEST_MS, leased: now + LONGEST_LEASE_MS };
  for (const pull of PULLS) await pull(p.stores.global, times);
}
