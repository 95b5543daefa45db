// Starting a saga on a server that does something to volumes of it which must not meet what else is done to them
// (control/volumes/snapshots.ts: isBusy). Its claim says so, and is asked again for a moment: whoever is at a volume may be
// about to end.
import type { Platform } from '../../control/platform.ts';
import { invalidState } from '../../model/actions.ts';
import { conflict } from '../../model/refusal.ts';
import type { Refusal } from '../../model/types.ts';
import { type Start, startMove } from '../start.ts';

const BUSY_MS = 5_000;
const LOOK_MS = 20;

/** What a claim answers when something else is done to a volume. */
export const BUSY: Refusal = conflict('Something else is done to a volume.');

/** As `startMove`; 409 when a volume is busy for longer. */
export async function startWhenFree<S>(p: Platform, start: Start<S>, word: string): Promise<Refusal | null> {
  const giveUp = p.clock.now() + BUSY_MS;
  for (;;) {
    const refusal = await startMove(p, start, word);
    if (refusal !== BUSY) return refusal;
    if (p.clock.now() > giveUp) return invalidState(word, start.serverId, 'task_state', null);
    await p.clock.sleep(LOOK_MS);
  }
}
