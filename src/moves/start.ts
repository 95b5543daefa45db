// Starting a saga on behalf of a user.
//
// The saga's row is written first, already leased to the caller under a fence of its own; the unique index over active
// sagas lets exactly one caller win. The caller then carries out the first step (taking hold of the server) as any
// conductor would, so that the user's next look already sees the new status, and lets go of the lease for a conductor
// to go on. A caller that dies in between leaves a lease that runs out.
//
// Where another saga is at the server, or has been there since the state was made, the caller is refused, with what may
// pass: turns.ts waits for that, and asks anew.
import type { Transaction } from 'kysely';
import type { Platform } from '../control/platform.ts';
import { findServer } from '../control/servers.ts';
import { invariant } from '../lib/errors.ts';
import { newId } from '../lib/ids.ts';
import { invalidState, serverNotFound } from '../model/actions.ts';
import { conflict } from '../model/refusal.ts';
import type { Actor, Refusal, Server } from '../model/types.ts';
import { applyOutcome } from '../saga/decide.ts';
import type { Row, State } from '../saga/types.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { insertSaga, newSaga, nextFence, openSaga, sagaOf, sqlSagaStore } from '../store/sagas.ts';
import { isInNoState } from './claim.ts';
import { outcomeOf } from './context.ts';
import { anyMove, definitionOf, type Move } from './move.ts';
import { passing } from './turns.ts';

const LEASE_MS = 10_000;

export interface Start<S> {
  readonly move: Move<S>;
  readonly serverId: string;
  readonly state: S;
  readonly actor: Actor;
  /** How often it may go back and try another host; absent: never. */
  readonly retries?: number;
  /**
   * The steps that the transaction that makes the saga carries out (`made`): refused, nothing is written. Before the
   * saga's row: whoever waits for a row must not hold the sequence of fences.
   */
  readonly claim?: (trx: Transaction<GlobalTables>) => Promise<Refusal | null>;
}

/** Undoes the transaction it is thrown in. */
export class Refused extends Error {
  readonly refusal: Refusal;
  constructor(refusal: Refusal) {
    super(refusal.message);
    this.refusal = refusal;
  }
}

/** The same: another saga is active. */
class Busy extends Error {}

/**
 * Starts the move. `word`: the action as Nova's 409 names it.
 * @returns null when it is under way
 */
export async function startMove<S>(p: Platform, start: Start<S>, word: string): Promise<Refusal | null> {
  const saga = await begin(p, start);
  if (saga instanceof Refused) return saga.refusal;
  return saga === null ? busy(p, start.serverId, word) : takeFirstStep(p, start, saga, word);
}

async function begin<S>(p: Platform, start: Start<S>): Promise<Row | Refused | null> {
  try {
    return await p.stores.global.transaction().execute(async (trx) => {
      const refusal = (await start.claim?.(trx)) ?? null;
      if (refusal) throw new Refused(refusal);
      const saga = await insertLeased(p, trx, start);
      if (!saga) throw new Busy();
      return saga;
    });
  } catch (error) {
    if (error instanceof Refused) return error;
    if (error instanceof Busy) return null;
    throw error;
  }
}

/** The saga's row, leased to the caller; null when another one is active on the server. */
export async function insertLeased<S>(
  p: Platform,
  trx: Transaction<GlobalTables>,
  start: Start<S>,
): Promise<Row | null> {
  const now = p.clock.now();
  const saga = newSaga(
    {
      id: newId(),
      definition: definitionOf(start.move),
      key: start.serverId,
      state: start.state as unknown as State,
      retries: start.retries ?? 0,
      requestId: start.actor.requestId,
    },
    now,
  );
  const cursor = start.move.made ?? 0;
  const record = {
    ...saga,
    cursor,
    owner: `start/${saga.id}`,
    fence: await nextFence(trx),
    lease_until: now + LEASE_MS,
  };
  return (await insertSaga(trx, record)) ? sagaOf(record) : null;
}

/** Carries out the first open step of a saga that the caller holds the lease of, and lets go of the lease. */
export async function takeFirstStep<S>(p: Platform, start: Start<S>, saga: Row, word: string): Promise<Refusal | null> {
  const move = anyMove(start.move);
  const step = start.move.steps[saga.cursor];
  invariant(step, `${start.move.name} has no step ${saga.cursor}`);
  const outcome = await outcomeOf(p, saga, move, step.step, 'do');
  if (outcome.kind !== 'fenced') {
    const patch = applyOutcome(move.definition, saga, outcome, p.clock.now());
    const written = await sqlSagaStore(p.stores.global, p.clock).commit(saga, patch, 0);
    // The lease ran out meanwhile: a conductor does the step, and what came of it here decides nothing.
    if (!written) return null;
  }
  p.nudge();
  // A failure that may pass is tried again by a conductor, and fenced means that one already does: both are under way.
  if (outcome.kind !== 'failed' || !outcome.final) return null;
  if (isInNoState(outcome.reason)) return busy(p, start.serverId, word);
  return conflict(`Cannot '${word}' instance ${start.serverId}: ${outcome.reason}`);
}

/**
 * Of a request that was refused by what else was read than the server's states: when a saga was at the server meanwhile,
 * that is why. Nova's 409 then; else the refusal.
 */
export async function unlessOvertaken(p: Platform, server: Server, word: string, refusal: Refusal): Promise<Refusal> {
  const open = await openSaga(p.stores.global, server.id);
  // Looked at behind it: a saga that has ended in between has changed the record.
  const found = await findServer(p, server.id);
  const asItWas = found.kind === 'found' && found.server.vmState === server.vmState;
  return open || !asItWas ? whyBusy(p, server.id, word) : refusal;
}

/** Why it cannot begin now. */
const busy = async (p: Platform, serverId: string, word: string): Promise<Refusal> =>
  passing(await whyBusy(p, serverId, word));

async function whyBusy(p: Platform, serverId: string, word: string): Promise<Refusal> {
  const found = await findServer(p, serverId);
  if (found.kind === 'absent') return serverNotFound(serverId);
  if (found.kind === 'found' && found.server.taskState !== null) {
    return invalidState(word, serverId, 'task_state', found.server.taskState);
  }
  const open = await openSaga(p.stores.global, serverId);
  if (open) return conflict(`Cannot '${word}' instance ${serverId} while '${open.definition}' is under way`);
  if (found.kind === 'found') return invalidState(word, serverId, 'vm_state', found.server.vmState);
  return invalidState(word, serverId, 'task_state', null);
}
