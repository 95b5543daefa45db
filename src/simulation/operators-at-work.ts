// What is in the plans of some schedules beside what chance brings to all of them: operators at work. The dice are their
// own: a schedule without them is what it would be if there were none.
import { type Dice, diceOf, pick } from './dice.ts';
import { type Event, ORDERS } from './plan.ts';

/** Of small worlds one in so many has operators at work; of larger ones each, once for so many operations. */
const OPERATORS_ONE_IN = 4;
const OPERATIONS_PER_SCENE = 25;
/** Operators come within this time, ms. */
const CALLED_MS = 20_000;

export interface Scope {
  readonly seed: number;
  readonly ms: number;
  readonly operations: number;
}

/** Operators at work: cells are disabled, something is refused until one comes, and moves get orders. */
export function operatorsAtWork({ seed, ms, operations }: Scope): Event[] {
  const dice = diceOf(seed, 'operators');
  const once = dice(OPERATORS_ONE_IN) === 0 ? 1 : 0;
  const scenes = Math.max(Math.floor(operations / OPERATIONS_PER_SCENE), once);
  return Array.from({ length: scenes }, () => operatorsFrom(dice, dice(ms))).flat();
}

function operatorsFrom(dice: Dice, at: number): Event[] {
  const events: Event[] = [];
  if (dice(2) === 0) {
    const choice = dice(1000);
    events.push({ at, what: 'order', order: 'disable cell', choice });
    if (dice(3) > 0) events.push({ at: at + dice(CALLED_MS), what: 'order', order: 'enable cell', choice });
  }
  events.push({ at, what: 'refusal', landed: dice(3) > 0, skip: dice(6) });
  for (let count = 1 + dice(3); count > 0; count -= 1) {
    events.push({ at: at + 1000 + dice(CALLED_MS), what: 'order', order: pick(dice, ORDERS), choice: dice(1000) });
  }
  return events;
}
