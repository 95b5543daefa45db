// A guest on probation is turned off when nobody keeps it in time.
//
// Theory of operation. The end of the probation is on record before the guest can start, so that a restart of the agent
// forgets it no more. Keeping the guest and turning it off both happen inside the mutex: a guest that was kept is not
// turned off, and one that was turned off is started again by whoever keeps it.
// The record says in the host's own time when it ends, which decides only how long is waited: that clock may jump, what is
// slept counts as it is. Who restarts behind a jump back waits for as long as any probation may last, and no longer.
import { MOST_PROBATION_SECONDS } from '../contract.ts';
import type { GuestBody } from '../records.ts';
import type { Entry, Guests } from './guests.ts';

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
  if (guest.probationUntil === null) watchProbation(guests, entry);
  return now;
}

/** Turns the guest off when its probation ends without its having been kept. */
export function watchProbation(guests: Guests, entry: Entry): void {
  const { serverId } = entry.record;
  const watch = async (): Promise<void> => {
    for (;;) {
      const until = entry.record.guest?.probationUntil ?? null;
      if (until === null || guests.closed) return;
      const left = Math.min(until - guests.clock.now(), MOST_PROBATION_SECONDS * 1000);
      if (left > 0) await guests.clock.sleep(left, guests.closing);
      await entry.mutex.run(() => endProbation(guests, entry, until));
    }
  };
  watch().catch((error: unknown) => guests.log.error({ err: error, serverId }, 'a probation could not be watched'));
}

/** Inside the mutex; unless it is another probation by now. A start that is still on its way is called off. */
async function endProbation(guests: Guests, entry: Entry, until: number): Promise<void> {
  const { serverId, guest } = entry.record;
  if (guests.closed || guest === null || guest.probationUntil !== until) return;
  guests.log.warn({ serverId }, 'nobody kept the guest within its probation: it is turned off');
  if (entry.job?.kind === 'power-on') entry.job.cancel();
  if (guests.hypervisor.running(serverId)) await guests.hypervisor.kill(serverId, false);
  await guests.saveGuest(entry, { ...guest, power: 'off', probationUntil: null });
}
