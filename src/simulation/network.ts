// What befalls a call on its way between the control plane and a host, compute or storage.
import type { Reply } from '../host/contract.ts';
import type { Clock } from '../lib/clock.ts';
import { assertNever } from '../lib/errors.ts';
import { type Dice, pick } from './dice.ts';

/**
 * Nothing; it never arrives; its answer is lost; it arrives when its caller has given up; it arrives a second time; its
 * answer takes a while.
 */
export type Trouble =
  | 'none'
  | 'unreachable'
  | 'lost'
  | { readonly kind: 'late' | 'again' | 'slow'; readonly afterMs: number };

/** A call comes late, or a second time, by so much at most. */
export const LATE_MS = 5000;
/** Less than any caller waits. */
const SLOW_MS = 2000;

/** Carries a call, through what befalls it. `arrive`: the host has it, and answers. */
export async function carry(
  clock: Clock,
  trouble: Trouble,
  arrive: () => Promise<Reply<unknown>>,
): Promise<Reply<unknown>> {
  if (trouble === 'none') return arrive();
  if (trouble === 'unreachable') return { kind: 'unreachable', reason: 'no route to host' };
  if (trouble === 'lost') {
    await arrive();
    return { kind: 'unreachable', reason: 'the answer was lost' };
  }
  const later = async (): Promise<void> => {
    await clock.sleep(trouble.afterMs);
    await arrive();
  };
  switch (trouble.kind) {
    case 'late':
      void later();
      return { kind: 'unreachable', reason: 'no answer in time' };
    case 'again': {
      const reply = await arrive();
      void later();
      return reply;
    }
    case 'slow': {
      const reply = await arrive();
      await clock.sleep(trouble.afterMs);
      return reply;
    }
    default:
      return assertNever(trouble.kind);
  }
}

/** One call in so many is in trouble. */
export function badNetwork(dice: Dice, oneIn: number): Trouble {
  if (dice(oneIn) > 0) return 'none';
  const trouble = pick(dice, ['unreachable', 'lost', 'late', 'again', 'slow'] as const);
  if (trouble === 'slow') return { kind: trouble, afterMs: 1 + dice(SLOW_MS) };
  return trouble === 'late' || trouble === 'again' ? { kind: trouble, afterMs: 1 + dice(LATE_MS) } : trouble;
}
