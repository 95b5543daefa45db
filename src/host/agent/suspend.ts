// A guest's memory is kept on the host while the guest is off, and loaded again.
//
// Theory of operation. What is kept is good exactly as long as nothing has changed the guest's disks since: it is `saved`
// when it is whole on disk and the guest stands still; before a process that has loaded it goes on, it is on record as
// `loaded`, and never used again. So a crash at any instant leaves a guest that goes on from its memory or, where that may
// have gone on already, one that boots anew; never one whose disks are ahead of its memory.
// A process that is still there beside a memory that is `saved` stands still: it is ended when the guest is to be suspended,
// and goes on when it is to be on.
// Not handled: another version of the hypervisor that does not take what the one before has kept; the guest then stays
// suspended until it is turned off.
import { messageOf } from '../../lib/errors.ts';
import type { Job } from '../contract.ts';
import { HypervisorError, type JobControl } from '../hypervisor.ts';
import type { GuestBody } from '../records.ts';
import { type Entry, type Guests, JOB_DONE, ok, refused, type Step } from './guests.ts';
import { busyWith, earlierJob, startJob } from './work.ts';

/** Inside the mutex. */
export function suspend(guests: Guests, entry: Entry, guest: GuestBody, generation: number): Step<Job> {
  const { serverId } = entry.record;
  const { hypervisor } = guests;
  const earlier = earlierJob(entry, 'suspend', '', generation);
  if (earlier) return earlier;
  const busy = busyWith(entry, []);
  if (busy !== null) return refused(`the guest is busy: ${busy}`);
  if (!hypervisor.running(serverId)) return guest.memory === 'saved' ? ok(JOB_DONE) : refused('the guest is off');
  return startJob(guests, entry, 'suspend', '', async (control, _previous, job) => {
    if (guest.memory !== 'saved') {
      await hypervisor.saveMemory(serverId, guest.spec, control);
      await entry.mutex.run(async () => {
        const { generation: seen, guest: now } = entry.record;
        if (control.signal.aborted || now === null || seen !== job().generation) {
          // Whoever called it off, or came later, wants something else of the guest: it goes on as it was.
          if (hypervisor.running(serverId)) await hypervisor.setPaused(serverId, false);
          await hypervisor.dropMemory(serverId);
          control.signal.throwIfAborted();
          throw new HypervisorError(`overtaken by generation ${seen}`);
        }
        await guests.saveGuest(entry, { ...now, power: 'off', memory: 'saved', probationUntil: null });
      });
    }
    await hypervisor.kill(serverId, true);
  });
}

/** Inside the mutex: of a running guest that stands still beside what it had in memory, or since it has loaded it. */
export async function goOn(guests: Guests, entry: Entry, guest: GuestBody): Promise<Step<Job>> {
  try {
    await release(guests, entry, guest);
    return ok(JOB_DONE);
  } catch (error) {
    return refused(messageOf(error));
  }
}

/** When a started process has come up: it goes on, if it has loaded its memory. Inside the mutex. */
export async function arrived(guests: Guests, entry: Entry): Promise<void> {
  const now = entry.record.guest;
  if (now === null) return;
  const started = { ...now, startedAt: guests.hypervisor.startedAt(entry.record.serverId) };
  if (now.memory === 'none') await guests.saveGuest(entry, started);
  else await release(guests, entry, started);
}

/** Waits for a process that has just been started. */
export const awaitUp = (guests: Guests, entry: Entry, control: JobControl): Promise<void> => {
  const { serverId, guest } = entry.record;
  return guest?.memory === 'saved'
    ? guests.hypervisor.awaitLoaded(serverId, control)
    : guests.hypervisor.awaitRunning(serverId, control);
};

/** Inside the mutex: what is kept is of no use any more. */
export async function forgetMemory(guests: Guests, entry: Entry): Promise<void> {
  const { serverId, guest } = entry.record;
  if (guest === null || guest.memory === 'none') return;
  await guests.saveGuest(entry, { ...guest, memory: 'none' });
  await guests.hypervisor.dropMemory(serverId);
}

async function release(guests: Guests, entry: Entry, guest: GuestBody): Promise<void> {
  const { serverId } = entry.record;
  await guests.saveGuest(entry, { ...guest, power: 'on', memory: 'loaded' });
  await guests.hypervisor.setPaused(serverId, false);
  await forgetMemory(guests, entry);
}
