// Starting a saga on a volume. Everything that a request changes at once is in the global database, so one transaction
// checks and writes it and makes the saga, whose first step (`made`) that was. The saga's key is the volume's id: one
// at a time.
import type { Transaction } from 'kysely';
import type { Platform } from '../../control/platform.ts';
import { lockVolume } from '../../control/volumes/records.ts';
import { isBeingTaken } from '../../control/volumes/snapshots.ts';
import { passed } from '../../lib/clock.ts';
import { newId } from '../../lib/ids.ts';
import { conflict } from '../../model/refusal.ts';
import type { Actor, Refusal } from '../../model/types.ts';
import type { State } from '../../saga/types.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { insertSaga, newSaga } from '../../store/sagas.ts';
import { definitionOf, type Move } from '../move.ts';

/** The saga before may be about to end, or be a snapshot of a moment: it is waited for this long, no longer. */
const BUSY_MS = 5_000;
const LOOK_MS = 20;

export interface VolumeStart<S> {
  readonly move: Move<S>;
  readonly volumeId: string;
  readonly actor: Actor;
  /** The first step: checks and writes, and answers the saga's state; or a refusal, and nothing is written. */
  readonly take: (
    trx: Transaction<GlobalTables>,
  ) => Promise<{ readonly kind: 'ok'; readonly state: S } | { readonly kind: 'refused'; readonly refusal: Refusal }>;
}

/** Undoes the transaction it is thrown in. */
class NotStarted extends Error {
  readonly refusal: Refusal | null;
  constructor(refusal: Refusal | null) {
    super('not started');
    this.refusal = refusal;
  }
}

/** @returns null when the saga is under way */
export async function startOnVolume<S>(p: Platform, start: VolumeStart<S>): Promise<Refusal | null> {
  const giveUp = passed(p.clock) + BUSY_MS;
  for (;;) {
    try {
      await p.stores.global.transaction().execute((trx) => begin(p, trx, start));
      p.nudge();
      return null;
    } catch (error) {
      if (!(error instanceof NotStarted)) throw error;
      if (error.refusal) return error.refusal;
    }
    if (passed(p.clock) > giveUp) return conflict(`Volume ${start.volumeId} is busy; try again in a moment.`);
    await p.clock.sleep(LOOK_MS);
  }
}

async function begin<S>(p: Platform, trx: Transaction<GlobalTables>, start: VolumeStart<S>): Promise<void> {
  // A saga on the volume before is found out by its key; a server's, that takes a snapshot of it, by that.
  await lockVolume(trx, start.volumeId);
  if (await isBeingTaken(trx, start.volumeId)) throw new NotStarted(null);
  const taken = await start.take(trx);
  if (taken.kind === 'refused') throw new NotStarted(taken.refusal);
  const saga = newSaga(
    {
      ...{ id: newId(), definition: definitionOf(start.move), key: start.volumeId },
      ...{ state: taken.state as unknown as State, requestId: start.actor.requestId },
    },
    p.clock.now(),
  );
  if (!(await insertSaga(trx, { ...saga, cursor: start.move.made ?? 0 }))) throw new NotStarted(null);
}
