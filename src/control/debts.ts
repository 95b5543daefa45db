// Debts: clean-ups that could not be made because what they concern could not be reached: a guest that should be gone from
// a host, or have other volumes or ports than it may have (guest-devices.ts), or be on, off, or on another disk than it is
// (guest-state.ts), a snapshot or a second disk that should be gone from there, records that should be gone from a cell's
// database, a server's access to a volume that should have ended, a volume that should be gone, files that a host has no
// record of (remains.ts), what a rebuild kept of a volume, which should be gone or be written back first
// (volumes/owed.ts). One row each, at most one open per kind, place, server and volume; paid when the place answers that
// it is so.
// A debt never takes away what has lawfully come back since. A guest's debt carries the generation at which it was made.
// A host that has seen a newer one refuses it as fenced: then the server has come back, and the debt is void, which is
// paid; or a conductor that took over the very saga that owes it was there, and the guest still has to go. The records
// say which it is. A record's debt only takes the record that its own saga left: whatever a later saga brought there is
// not touched. What is owed on a host that is not known any more is void; for a storage host that was forgotten
// volumes/lost-storage.ts answers.
import type { Selectable } from 'kysely';
import { assertNever, invariant, messageOf } from '../lib/errors.ts';
import { DatabaseDown } from '../store/database.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { CellDown } from '../store/stores.ts';
import { type Answer, answerOf, jobAnswer, matchDevices } from './guest-devices.ts';
import { dropSpareOwed, matchGuest } from './guest-state.ts';
import { hostAnswers, isHost } from './hosts.ts';
import { DEBT_KINDS, type DebtKind, HOST_DEBTS, OWED_AT, type Owed, oweWithin, RETRY_MS } from './owing.ts';
import { ownership } from './ownership.ts';
import type { Platform } from './platform.ts';
import { isForgotten } from './volumes/lost-storage.ts';
import { payDelete, payDeleteRemains, payDropKept, payRestore, payRevoke, type VolumeDebt } from './volumes/owed.ts';
import { storageHostIsUp } from './volumes/storage-hosts.ts';

export interface Debt {
  readonly id: string;
  readonly kind: DebtKind;
  /** The host's name, the cell's id (drop-records) or the storage host's name (of volumes). */
  readonly host: string;
  readonly serverId: string;
  /** Of what is owed by storage hosts; else null. */
  readonly volumeId: string | null;
  readonly generation: number;
  readonly sagaId: string;
  readonly reason: string;
  readonly attempts: number;
  /** Why it was refused last, by whoever answered; null: nobody has answered and refused. */
  readonly lastError: string | null;
  readonly createdAt: number;
  readonly dueAt: number;
}

const PAGE = 100;

/** What makes a guest what the records say, in this order. */
const MATCHES: readonly DebtKind[] = ['drop-spare', 'match-guest', 'match-devices'];

/** Puts the clean-up on record; harmless when it already is. */
export async function owe(p: Platform, debt: Owed): Promise<void> {
  const now = p.clock.now();
  await p.stores.global.transaction().execute((trx) => oweWithin(trx, debt, now));
  p.log.warn({ host: debt.host, serverId: debt.serverId, sagaId: debt.sagaId }, `owed: ${debt.reason}`);
}

/** The host answers again: whatever it owes is tried at the next turn. */
export async function hastenDebts(p: Platform, host: string): Promise<void> {
  await p.stores.global
    .updateTable('debts')
    .set({ due_at: p.clock.now() })
    .where('kind', 'in', HOST_DEBTS)
    .where('host', '=', host)
    .where('paid_at', 'is', null)
    .execute();
}

/** Open debts, oldest first, behind the one whose id is `marker`; null: there is no such debt (paid ones count). */
export async function openDebts(
  p: Platform,
  page: { readonly limit?: number; readonly marker?: string } = {},
): Promise<Debt[] | null> {
  let query = p.stores.global.selectFrom('debts').selectAll().where('paid_at', 'is', null);
  if (page.marker !== undefined) {
    const { marker } = page;
    const last = await p.stores.global
      .selectFrom('debts')
      .select('created_at')
      .where('id', '=', marker)
      .executeTakeFirst();
    if (!last) return null;
    query = query.where((where) =>
      where.or([
        where('created_at', '>', last.created_at),
        where.and([where('created_at', '=', last.created_at), where('id', '>', marker)]),
      ]),
    );
  }
  const rows = await query
    .orderBy('created_at')
    .orderBy('id')
    .limit(page.limit ?? PAGE)
    .execute();
  return rows.map(debtOf);
}

function kindOf(text: string): DebtKind {
  const kind = DEBT_KINDS.find((each) => each === text);
  invariant(kind, `no debt is of kind ${text}`);
  return kind;
}

const debtOf = (row: Selectable<GlobalTables['debts']>): Debt => ({
  id: row.id,
  kind: kindOf(row.kind),
  host: row.host,
  serverId: row.server_id,
  volumeId: row.volume_id,
  generation: row.generation,
  sagaId: row.saga_id,
  reason: row.reason,
  attempts: row.attempts,
  lastError: row.last_error,
  createdAt: row.created_at,
  dueAt: row.due_at,
});

const DUE = fixed<GlobalTables, { readonly now: number }, Selectable<GlobalTables['debts']>>((db, { now }) =>
  db
    .selectFrom('debts')
    .selectAll()
    .where('paid_at', 'is', null)
    .where('due_at', '<=', now)
    .orderBy('due_at')
    .limit(PAGE),
);

/**
 * Tries to pay what is due, at most a page in one call; what cannot be paid goes to the end of the queue. Hosts that
 * have been silent for long are not asked: waiting for their silence would hold up everybody else's debts, and whoever
 * calls this. Returns how many were paid.
 */
export async function payDebts(p: Platform): Promise<number> {
  const due = (await DUE(p.stores.global, { now: p.clock.now() })).rows;
  const silent = new Set<string>();
  let paid = 0;
  for (const debt of due.map(debtOf)) {
    const place = placeOf(debt);
    if (!silent.has(place) && !(await mayAnswer(p, debt))) silent.add(place);
    const asked = !silent.has(place);
    const answer = asked ? await attempt(p, debt) : (await isVoid(p, debt)) ? 'settled' : 'silent';
    if (answer === 'silent') silent.add(place);
    if (answer === 'settled') paid += 1;
    await record(p, debt, answer, asked ? 1 : 0);
  }
  return paid;
}

/**
 * What the host's guests are and have that they should not, before they are turned on again: with it none might start, or
 * the wrong disk would be written to.
 */
export async function payMatches(p: Platform, host: string): Promise<void> {
  const rows = await p.stores.global
    .selectFrom('debts')
    .selectAll()
    .where('kind', 'in', MATCHES)
    .where('host', '=', host)
    .where('paid_at', 'is', null)
    .limit(PAGE)
    .execute();
  const inOrder = rows.map(debtOf).sort((a, b) => MATCHES.indexOf(a.kind) - MATCHES.indexOf(b.kind));
  for (const debt of inOrder) await record(p, debt, await attempt(p, debt), 1);
}

/** A defect in the paying of one is written down like a refusal, and keeps no other debt from its turn. */
async function attempt(p: Platform, debt: Debt): Promise<Answer> {
  try {
    return await pay(p, debt);
  } catch (error) {
    if (error instanceof DatabaseDown) throw error;
    p.log.error({ err: error, debt: debt.id }, `debt ${debt.kind}: ${messageOf(error)}`);
    return { refused: messageOf(error) };
  }
}

async function record(p: Platform, debt: Debt, answer: Answer, attempts: number): Promise<void> {
  const settled = answer === 'settled';
  const refused = typeof answer === 'object' ? answer.refused : null;
  const later = {
    attempts: debt.attempts + attempts,
    due_at: p.clock.now() + RETRY_MS,
    ...(refused === null ? {} : { last_error: refused }),
  };
  await p.stores.global
    .updateTable('debts')
    .set(settled ? { paid_at: p.clock.now() } : later)
    .where('id', '=', debt.id)
    // Not the same debt any more if a newer generation owes it since.
    .where('generation', '=', debt.generation)
    .execute();
  if (settled) p.log.info({ host: debt.host, serverId: debt.serverId }, 'debt paid');
  if (refused !== null && refused !== debt.lastError) {
    p.log.warn({ host: debt.host, serverId: debt.serverId, debt: debt.id }, `debt refused: ${refused}`);
  }
}

/** Who has to answer: a host may have the name of a storage host. */
const placeOf = ({ kind, host }: Debt): string => `${OWED_AT[kind]} ${host}`;

/** Whether it makes sense to ask; of a cell's database the attempt tells. */
async function mayAnswer(p: Platform, { kind, host }: Debt): Promise<boolean> {
  const place = OWED_AT[kind];
  switch (place) {
    case 'host':
      return hostAnswers(p, host);
    case 'storage host':
      return (await storageHostIsUp(p, host)) || (await isForgotten(p.stores.global, host));
    case 'cell':
      return true;
    default:
      return assertNever(place);
  }
}

/** An operator has said that its host will never return (host-removal.ts), and somebody has written it behind that. */
async function isVoid(p: Platform, debt: Debt): Promise<boolean> {
  if (OWED_AT[debt.kind] !== 'host' || (await isHost(p, debt.host))) return false;
  p.log.warn({ host: debt.host, serverId: debt.serverId }, 'debt void: its host was forgotten');
  return true;
}

async function pay(p: Platform, debt: Debt): Promise<Answer> {
  switch (debt.kind) {
    case 'destroy-guest':
      return destroyOwed(p, debt, false);
    case 'destroy-remains':
      return destroyOwed(p, debt, true);
    case 'drop-snapshot':
      return dropSnapshotOwed(p, debt);
    case 'drop-records':
      return dropOwed(p, debt);
    case 'match-devices':
      return matchOwed(() => matchDevices(p, debt.host, debt.serverId));
    case 'drop-spare':
      return matchOwed(() => dropSpareOwed(p, debt.host, debt.serverId, debt.sagaId));
    case 'match-guest':
      return matchOwed(() => matchGuest(p, debt.host, debt.serverId));
    case 'revoke-volume':
      return payRevoke(p, ofVolume(debt));
    case 'delete-volume':
      return payDelete(p, ofVolume(debt));
    case 'delete-remains':
      return payDeleteRemains(p, ofVolume(debt));
    case 'drop-kept-content':
      return payDropKept(p, ofVolume(debt));
    case 'restore-volume':
      return payRestore(p, ofVolume(debt));
    default:
      return assertNever(debt.kind);
  }
}

function ofVolume({ volumeId, ...debt }: Debt): VolumeDebt {
  invariant(volumeId !== null, 'the debt concerns a volume');
  return { ...debt, volumeId };
}

async function matchOwed(match: () => Promise<Answer>): Promise<Answer> {
  try {
    return await match();
  } catch (error) {
    if (error instanceof CellDown) return 'not yet';
    throw error;
  }
}

async function destroyOwed(p: Platform, debt: Debt, remains: boolean): Promise<Answer> {
  const host = await p.host(debt.host);
  const reply = await host.destroy(debt.serverId, { generation: debt.generation, remains });
  if (reply.kind !== 'fenced') return jobAnswer(reply);
  switch (await ownership(p, debt.host, debt.serverId)) {
    case 'owned':
      return 'settled';
    case 'perhaps':
      return 'not yet';
    case 'stray': {
      // At the generation that the host has seen: whatever saga begins now has a newer one, and fences this call off.
      return jobAnswer(await host.destroy(debt.serverId, { generation: reply.generation, remains }));
    }
  }
}

async function dropSnapshotOwed(p: Platform, debt: Debt): Promise<Answer> {
  const host = await p.host(debt.host);
  const reply = await host.dropSnapshot(debt.serverId, { generation: debt.generation });
  if (reply.kind !== 'fenced') return answerOf(reply);
  // Somebody newer was there. One who still is may have a snapshot of its own.
  if ((await ownership(p, debt.host, debt.serverId)) === 'perhaps') return 'not yet';
  return answerOf(await host.dropSnapshot(debt.serverId, { generation: reply.generation }));
}

async function dropOwed(p: Platform, debt: Debt): Promise<Answer> {
  const home = await p.stores.global
    .selectFrom('server_mappings')
    .select(['cell_id', 'deleted_at'])
    .where('server_id', '=', debt.serverId)
    .executeTakeFirst();
  if (home?.deleted_at === null && home.cell_id === debt.host) return 'settled';
  try {
    const cell = await p.stores.cell(debt.host);
    await cell.transaction().execute(async (trx) => {
      await trx
        .deleteFrom('servers')
        .where('id', '=', debt.serverId)
        // Of a server that never got a home nobody else has a record: see moves/create-home.ts.
        .$if(home !== undefined, (copy) => copy.where('saga_id', '=', debt.sagaId))
        .execute();
      const left = await trx.selectFrom('servers').select('id').where('id', '=', debt.serverId).executeTakeFirst();
      if (left) return;
      await trx.deleteFrom('server_actions').where('server_id', '=', debt.serverId).execute();
      await trx.deleteFrom('block_device_mappings').where('server_id', '=', debt.serverId).execute();
    });
    return 'settled';
  } catch (error) {
    if (error instanceof CellDown) return 'silent';
    throw error;
  }
}
