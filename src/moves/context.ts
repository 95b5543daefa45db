// What a step gets to see, and what becomes of what it throws.
import { ImageOnItsWay } from '../control/images.ts';
import type { Platform } from '../control/platform.ts';
import { storageOf } from '../control/volumes/lost-storage.ts';
import type { Host, Reply } from '../host/contract.ts';
import { messageOf } from '../lib/errors.ts';
import { NeutronRefused } from '../openstack/neutron.ts';
import { PlacementRefused } from '../openstack/placement.ts';
import { ServiceDown } from '../openstack/transport.ts';
import { hasHappened } from '../saga/decide.ts';
import type { Direction, Outcome, Row, State } from '../saga/types.ts';
import type { StorageHost } from '../storage/contract.ts';
import { CellDown } from '../store/stores.ts';
import { Fenced, isOvertaken } from './fencing.ts';
import type { AnyMove, StepContext } from './move.ts';
import { failedElsewhere } from './places.ts';

/** How long a step waits before it looks again whether the data of its image is here. */
const IMAGE_POLL_MS = 500;

export const contextOf = (p: Platform, row: Row): StepContext<State> => ({
  p,
  saga: row,
  s: row.state,
  generation: row.fence,
  serverId: row.key,
  log: p.log.child({ sagaId: row.id, serverId: row.key, requestId: row.requestId }),
  host: async (name) => named(`host ${name}`, await p.host(name, { requestId: row.requestId, sagaId: row.id })),
  storage: async (name) =>
    named(`storage host ${name}`, await storageOf(p, name, { requestId: row.requestId, sagaId: row.id })),
});

/** The same host, but that it says who it is where it cannot be reached. */
function named<H extends Host | StorageHost>(who: string, host: H): H {
  return new Proxy(host, {
    get(target, method: keyof H & string) {
      const call: unknown = target[method];
      if (typeof call !== 'function') return call;
      return async (...args: unknown[]): Promise<Reply<unknown>> => {
        const reply = (await call.apply(target, args)) as Reply<unknown>;
        return reply.kind === 'unreachable' ? { ...reply, reason: `${who} unreachable: ${reply.reason}` } : reply;
      };
    },
  });
}

/**
 * Services elsewhere hear of what the step has made of the server's ports and allocations. On the way to the pivot a step
 * is not done before; on any other way nothing waits for them: the difference stays on record and is settled by the monitor.
 * So is a volume that is kept elsewhere and was released here.
 */
async function settled(p: Platform, row: Row, move: AnyMove, direction: Direction, outcome: Outcome): Promise<Outcome> {
  if (!hasHappened(outcome)) return outcome;
  await p.volumes?.settle(p, row.key);
  for (const [what, service] of [['ports', p.network] as const, ['allocations', p.placement] as const]) {
    try {
      await service?.settle(p, row.key);
    } catch (error) {
      if (!isElsewhere(error)) throw error;
      if (direction === 'do' && row.cursor < move.definition.pivot) throw error;
      p.log.warn({ err: error, sagaId: row.id, serverId: row.key }, `${what} are not settled elsewhere; they are owed`);
    }
  }
  return outcome;
}

/** A service elsewhere does not answer, or refuses what an operator must look at. */
const isElsewhere = (error: unknown): boolean =>
  error instanceof ServiceDown || error instanceof NeutronRefused || error instanceof PlacementRefused;

/**
 * Runs a step's effect. Whatever it throws is a failure that may pass: the step is tried again, or undone. What fails where
 * the chosen host has no part is no reason to choose another.
 */
export async function outcomeOf(
  p: Platform,
  row: Row,
  move: AnyMove,
  step: string,
  direction: Direction,
): Promise<Outcome> {
  const outcome = await caught(p, row, move, step, direction);
  const elsewhere = outcome.kind === 'failed' && failedElsewhere(outcome.reason, row.state);
  return elsewhere ? { ...outcome, retriable: false } : outcome;
}

async function caught(p: Platform, row: Row, move: AnyMove, step: string, direction: Direction): Promise<Outcome> {
  const effect = async () => settled(p, row, move, direction, await move.run(contextOf(p, row), step, direction));
  try {
    return await (p.around ? p.around(row, step, direction, effect) : effect());
  } catch (error) {
    if (error instanceof Fenced) return { kind: 'fenced' };
    const reason = messageOf(error);
    if (error instanceof ImageOnItsWay) return { kind: 'pending', afterMs: IMAGE_POLL_MS };
    if (error instanceof CellDown || isElsewhere(error)) return { kind: 'failed', reason, final: false };
    // What the step relied on may be gone because a successor has turned back: that is no defect.
    if (await isOvertaken(p.stores.global, row)) return { kind: 'fenced' };
    p.log.error(
      { err: error, sagaId: row.id, serverId: row.key, requestId: row.requestId },
      'unexpected error in a step',
    );
    return { kind: 'failed', reason, final: false };
  }
}
