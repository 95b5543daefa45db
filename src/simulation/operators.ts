// What operators order of cells and of moves, at random; and what they do about moves that are stuck.
//
// An operator who orders something of a move that is refused has seen to the cause, so that nothing refuses it any more. Who
// skips a step has looked first: where what is refused has happened all the same, there is nothing left to do by hand, and
// whatever must be true of a world must be true of this one. Where it has not, there is nothing to skip: it is tried again.
import { setCellDisabled } from '../control/cell-health.ts';
import type { Platform } from '../control/platform.ts';
import { assertNever } from '../lib/errors.ts';
import type { Refusal } from '../model/types.ts';
import { orderMove } from '../moves/orders.ts';
import { OPEN_STATUSES } from '../store/sagas.ts';
import { type Dice, pick } from './dice.ts';
import type { Order } from './plan.ts';
import type { StepFaults } from './step-faults.ts';
import type { World } from './world.ts';

interface OpenMove {
  readonly id: string;
  readonly status: string;
}

const openMoves = (p: Platform): Promise<OpenMove[]> =>
  p.stores.global
    .selectFrom('sagas')
    .select(['id', 'status'])
    .where('status', 'in', OPEN_STATUSES)
    .orderBy('created_at')
    .orderBy('id')
    .execute();

export interface OrderWish {
  readonly order: Order;
  /** Which cell, or which of the moves that are under way. */
  readonly choice: number;
  /** Names. */
  readonly cells: readonly string[];
}

export async function giveOrder(
  p: Platform,
  world: World,
  faults: StepFaults,
  { order, choice, cells }: OrderWish,
): Promise<Refusal | null> {
  switch (order) {
    case 'disable cell':
    case 'enable cell':
      return setCellDisabled(p, cells[choice % cells.length] ?? '', order === 'disable cell');
    case 'skip':
    case 'retry':
    case 'cancel': {
      const open = await openMoves(p);
      const stuck = open.filter(({ status }) => status === 'stuck');
      const among = stuck.length > 0 && order !== 'cancel' ? stuck : open;
      const move = among[choice % Math.max(1, among.length)];
      if (!move) return { code: 404, message: 'nothing is under way' };
      if (order === 'skip') return seeTo(p, world, faults, move.id);
      return ordered(p, world, faults, move.id, { kind: order });
    }
    default:
      return assertNever(order);
  }
}

/** Skips the step at which the move is stuck where it has happened; where it has not, or cannot be skipped, it is retried. */
async function seeTo(p: Platform, world: World, faults: StepFaults, id: string): Promise<Refusal | null> {
  const refusal = faults.refusalOf(id);
  if (refusal?.landed) {
    const skipped = await ordered(p, world, faults, id, { kind: 'skip', step: refusal.step });
    if (skipped === null) return null;
  }
  return ordered(p, world, faults, id, { kind: 'retry' });
}

async function ordered(
  p: Platform,
  { admin }: World,
  faults: StepFaults,
  id: string,
  order: Parameters<typeof orderMove>[3],
): Promise<Refusal | null> {
  const refusal = await orderMove(p, admin, id, order);
  if (refusal === null) faults.relent(id);
  return refusal;
}

/** When the weather has cleared: whatever is stuck is seen to. */
export async function helpStuck(world: World, faults: StepFaults, dice: Dice): Promise<void> {
  const { p } = world;
  for (const { id, status } of await openMoves(p)) {
    if (status !== 'stuck') continue;
    if (pick(dice, [true, false])) await seeTo(p, world, faults, id);
    else await ordered(p, world, faults, id, { kind: 'retry' });
  }
}
