// Guests that their hypervisor has stopped go on when the reason is over.
//
// Theory of operation. Where a disk cannot be written or read (the host's is full, a volume's storage host has been away
// for a day) the hypervisor stops the guest at that request rather than tell it of an error. Nobody says when there is
// room again: so such a guest is let go on every half minute. The request is tried again then, and stops the guest again
// if it fails. Inside the mutex, and not while a job is under way: a guest whose memory is being kept must stand still.
// One that was paused meanwhile stays so.
// Not handled: one that was paused while it was stopped, behind a restart of the agent: it goes on, because the hypervisor
// does not tell the two apart.
import { messageOf } from '../../lib/errors.ts';
import type { Entry, Guests } from './guests.ts';
import { busyWith } from './work.ts';

const PAUSE_MS = 30_000;

/** Goes on until the agent closes. */
export async function watchStuck(guests: Guests): Promise<void> {
  while (!guests.closed) {
    await guests.clock.sleep(PAUSE_MS, guests.closing);
    for (const entry of guests.all()) if (guests.hypervisor.running(entry.record.serverId)) await look(guests, entry);
  }
}

async function look(guests: Guests, entry: Entry): Promise<void> {
  const { serverId } = entry.record;
  try {
    if (!(await guests.hypervisor.isStuck(serverId))) return;
    await entry.mutex.run(async () => {
      if (guests.closed || entry.paused || busyWith(entry, []) !== null) return;
      guests.log.error(
        { serverId },
        'a disk of the guest cannot be read or written: it stands still, and is let go on',
      );
      await guests.hypervisor.setPaused(serverId, false);
    });
  } catch (error) {
    // Looked at again; one guest's hypervisor that does not answer keeps nobody from the others.
    guests.log.warn({ serverId, reason: messageOf(error) }, 'whether the guest stands still is not known');
  }
}
