// A guest on probation is turned off when nobody keeps it in time.
//
// Theory of operation. The end of the probation is on record before the guest can start, so that a restart of the agent
// forgets it no more. Keeping the guest and turning it off both happen inside the mutex: a guest that was kept is not
// turned off, and one that was turned off is started again by whoever keeps it.
// Each probation has a watch of its own, which the next one's takes the place of. It goes on until its probation is over on
// record: what fails at the end (a hypervisor that does not answer, a record that cannot be written) is tried again.
// The record says in the host's own time when it ends, which decides only how long is waited: that clock may jump, what is
// slept counts as it is. Who restarts behind a jump back waits for as long as any probation may last, and no longer.
import { MOST_PROBATION_SECONDS } from '../contract.ts';
import type { GuestBody } from '../records.ts';
import type { Entry, Guests } from './guests.ts';

/** How long a watch waits before it tries again to end a probation. */
const AGAIN_MS = 5000;
/** Why a watch ends. Without a reason each abort would make an error, with its stack. */
const NEXT = 'the next one has taken its place';

/** Inside the mutex. `seconds` null: the guest is kept. */
export async function setProbation(
  guests: Guests,
  entry: Entry,
  guest: GuestBody,
  seconds: number | null,
): Promise<GuestBody> {
  const probationUntil = seconds === null ? null : guests.clock.now() + seconds * 1000;
  if (guest.probationUntil === probationUntil) return guest;
  const now = { ...guest, probationUntil };
  await guests.saveGuest(entry, now);
  watchProbation(guests, entry);
  return now;
}

/** Turns the guest off when the probation that is on record ends without its having been kept. */
export function watchProbation(guests: Guests, entry: Entry): void {
  const { guest } = entry.record;
  entry.probation?.abort(NEXT);
  entry.probation = null;
  if (guest === null || guest.probationUntil === null) return;
  const watch = new AbortController();
  entry.probation = watch;
  // It ends by itself, and nothing that it does throws.
  void untilItEnds(guests, entry, guest.probationUntil, AbortSignal.any([watch.signal, guests.closing]));
}

async function untilItEnds(guests: Guests, entry: Entry, until: number, over: AbortSignal): Promise<void> {
  const left = Math.min(until - guests.clock.now(), MOST_PROBATION_SECONDS * 1000);
  if (left > 0) await guests.clock.sleep(left, over);
  while (!over.aborted && !(await entry.mutex.run(() => endProbation(guests, entry, until)))) {
    await guests.clock.sleep(AGAIN_MS, over);
  }
}

/**
 * Inside the mutex; unless it is another probation by now. A start that is still on its way is called off. False: it
 * has to be tried again.
 */
async function endProbation(guests: Guests, entry: Entry, until: number): Promise<boolean> {
  const { serverId, guest } = entry.record;
  if (guests.closed || guest === null || guest.probationUntil !== until) return true;
  guests.log.warn({ serverId }, 'nobody kept the guest within its probation: it is turned off');
  if (entry.job?.kind === 'power-on') entry.job.cancel();
  try {
    if (guests.hypervisor.running(serverId)) await guests.hypervisor.kill(serverId, false);
    await guests.saveGuest(entry, { ...guest, power: 'off', probationUntil: null });
    return true;
  } catch (error) {
    guests.log.error({ err: error, serverId }, 'a probation could not be ended; trying again');
    return false;
  }
}
