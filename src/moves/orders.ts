// Operators' orders to a move: retry, cancel, skip. What an order changes is the saga core's business (saga/decide.ts);
// this finds the saga, writes what came of it under a new fence, and looks again when the saga has gone on meanwhile.
import type { Platform } from '../control/platform.ts';
import { conflict, notFound } from '../model/refusal.ts';
import type { Actor, Refusal } from '../model/types.ts';
import { applyOrder } from '../saga/decide.ts';
import type { Order } from '../saga/types.ts';
import { sqlSagaStore } from '../store/sagas.ts';
import { findDefinition } from './registry.ts';
import { findSaga } from './view.ts';

/** A saga that goes on between look and order, time after time, needs none. */
const LOOKS = 10;

/**
 * Gives the order to the move, which is named by its own id or its migration's.
 * @returns null when it was given: cancel, then, will turn the move back. 404, or 409 with the reason why not
 */
export async function orderMove(p: Platform, actor: Actor, id: string, order: Order): Promise<Refusal | null> {
  for (let look = 0; look < LOOKS; look += 1) {
    const row = await findSaga(p, id);
    if (row === null) return notFound(`Move ${id} could not be found.`);
    const definition = findDefinition(row.definition, row.version);
    if (!definition) return conflict(`Move ${id} is of version ${row.version}, which this program does not know.`);
    const ordered = applyOrder(definition, row, order, actor.userId, p.clock.now());
    if (ordered.kind === 'refused') return conflict(`Move ${id} cannot be ${PAST[order.kind]}: ${ordered.reason}`);
    if (await sqlSagaStore(p.stores.global, p.clock).order(row, ordered.patch, actor.userId)) {
      p.log.warn(
        { sagaId: row.id, serverId: row.key, requestId: actor.requestId, userId: actor.userId, move: row.definition },
        `${order.kind} ordered at step ${definition.steps[row.cursor]?.name}`,
      );
      p.nudge();
      return null;
    }
  }
  return conflict(`Move ${id} is going on too fast to be ${PAST[order.kind]}; look at it again.`);
}

const PAST: Readonly<Record<Order['kind'], string>> = { retry: 'retried', cancel: 'cancelled', skip: 'skipped' };
