// A guest is turned on and off.
//
// Theory of operation. A start waits for a stop under way; a stop during a start calls the start off. Between a start
// that was admitted at generation g and a fence at g+1: the process is created inside the mutex after comparing
// generations again, so once the fence has been answered no older start can happen any more; whoever looks then sees
// the process or will never see it. A start closes an open export: a disk that changes must not be copied. A process is
// up when it has been seen so, which is on record (`startedAt`): one that is found when its agent is another, and was not,
// is waited for as by the one that started it.
import { messageOf } from '../../lib/errors.ts';
import type { Job, PowerRequest, Reply } from '../contract.ts';
import { HypervisorError, type JobControl } from '../hypervisor.ts';
import type { HostJob, JobKind } from '../jobs.ts';
import type { GuestBody } from '../records.ts';
import { closeExport } from './disks.ts';
import { Grace } from './grace.ts';
import { ABSENT, type Entry, type Guests, JOB_DONE, NOTHING, ok, refused, type Step } from './guests.ts';
import { setProbation } from './probation.ts';
import { startOf } from './spare.ts';
import { arrived, awaitUp, forgetMemory, goOn, suspend } from './suspend.ts';
import { busyWith, earlierJob, startJob } from './work.ts';

/** How often a guest that is to stop is reminded: early in its boot it does not notice the first press. */
const BUTTON_INTERVAL_MS = 2000;
/** What a stop ends. */
const CALLED_OFF: readonly JobKind[] = ['unplug', 'suspend', 'snapshot', 'upload'];
/** Why the wait between two presses ends. */
const GONE = 'the guest is gone';

/** Inside the mutex. */
export async function setPower(guests: Guests, entry: Entry, request: PowerRequest): Promise<Step<Job>> {
  const guest = entry.record.guest;
  if (guest === null) return ABSENT;
  if (guest.destroying) return refused('the guest is being destroyed');
  if (request.power === 'off') return powerOff(guests, entry, guest, request);
  if (request.power === 'suspended') return suspend(guests, entry, guest, request.generation);
  return powerOn(guests, entry, await setProbation(guests, entry, guest, request.probationSeconds ?? null));
}

async function powerOn(guests: Guests, entry: Entry, guest: GuestBody): Promise<Step<Job>> {
  const { hypervisor } = guests;
  const { serverId, generation } = entry.record;
  const earlier = earlierJob(entry, 'power-on', '', generation);
  if (earlier) return earlier;
  if (guest.disk !== 'ready') return refused('the guest has no disk yet');
  if (guest.spec.root.kind === 'volume' && !guest.volumes.some(({ bootIndex }) => bootIndex === 0))
    return refused('the guest has no root volume yet');
  const busy = busyWith(entry, ['power-off', 'suspend', 'digest']);
  if (busy !== null) return refused(`the guest is busy: ${busy}`);
  if (hypervisor.running(serverId) && guest.startedAt !== null && busyWith(entry, []) === null)
    return guest.memory === 'none' ? ok(JOB_DONE) : goOn(guests, entry, guest);
  // A digest of a disk that is about to change is of no use; a stop cannot be called off and is waited for.
  if (entry.job?.kind === 'digest') entry.job.cancel();
  return startJob(guests, entry, 'power-on', '', async (control, previous, job) => {
    await previous;
    await entry.mutex.run(() => spawn(guests, entry, control, job()));
    try {
      await awaitUp(guests, entry, control);
    } catch (error) {
      // Whether it refused or was told to stop: the answer must not leave a process behind.
      if (!guests.closed) await hypervisor.kill(serverId, false);
      throw error;
    }
    await entry.mutex.run(() => arrived(guests, entry));
  });
}

/** Inside the mutex. */
export async function setPaused(guests: Guests, entry: Entry, paused: boolean): Promise<Reply<Record<string, never>>> {
  const { serverId, guest } = entry.record;
  if (guest === null) return ABSENT;
  if (guest.destroying) return refused('the guest is being destroyed');
  const busy = busyWith(entry, ['digest', 'grow']);
  if (busy !== null) return refused(`the guest is busy: ${busy}`);
  if (!guests.hypervisor.running(serverId)) return paused ? refused('the guest is off') : ok(NOTHING);
  try {
    await guests.hypervisor.setPaused(serverId, paused);
    entry.paused = paused;
    return ok(NOTHING);
  } catch (error) {
    return refused(messageOf(error));
  }
}

/** Inside the mutex: the one place where a guest's process comes to be. */
async function spawn(guests: Guests, entry: Entry, control: JobControl, job: HostJob): Promise<void> {
  control.signal.throwIfAborted();
  const { serverId, generation, guest } = entry.record;
  if (generation !== job.generation) throw new HypervisorError(`overtaken by generation ${generation}`);
  if (guest === null || guest.destroying) throw new HypervisorError('the guest is being destroyed');
  if (guests.hypervisor.running(serverId)) return;
  if (guest.probationUntil !== null && guest.probationUntil <= guests.clock.now())
    throw new HypervisorError('its probation was over before it could start');
  await closeExport(guests, entry, guest);
  entry.digest = null;
  entry.interrupted = false;
  entry.paused = false;
  const memory = guest.memory === 'saved' ? 'saved' : 'none';
  await guests.saveGuest(entry, { ...guest, power: 'on', memory, startedAt: null, importDigest: null, exported: null });
  await guests.hypervisor.spawn(serverId, startOf(guest, memory === 'saved'));
}

async function powerOff(guests: Guests, entry: Entry, guest: GuestBody, request: PowerRequest): Promise<Step<Job>> {
  const { serverId } = entry.record;
  const job = entry.job;
  if (job?.kind === 'power-off' && job.outcome === null) {
    // Grace counts from the first request; a later one can only make it shorter.
    entry.grace?.shorten(request.graceSeconds);
    job.generation = request.generation;
    return { kind: 'job', job };
  }
  const earlier = earlierJob(entry, 'power-off', '', request.generation);
  if (earlier) return earlier;
  const starting = job?.kind === 'power-on' && job.outcome === null;
  if (guest.power !== 'off' || guest.probationUntil !== null)
    await guests.saveGuest(entry, { ...guest, power: 'off', probationUntil: null });
  await forgetMemory(guests, entry);
  if (!guests.hypervisor.running(serverId) && !starting) return ok(JOB_DONE);
  // Nor does a stop wait for a guest that does not let go of a volume: what is off has let go; or for an image, which may
  // take hours: whoever wants it asks again.
  if (starting || (job !== null && CALLED_OFF.includes(job.kind))) job.cancel();
  const grace = new Grace(guests.clock, request.graceSeconds);
  entry.grace = grace;
  return startJob(guests, entry, 'power-off', '', async (control, previous) => {
    await previous;
    await stopGuest(guests, serverId, grace, control.signal);
  });
}

/** Resolves when the guest's process is confirmed gone; as long as it has grace it is asked, then made to. Ends the grace. */
export async function stopGuest(guests: Guests, serverId: string, grace: Grace, signal: AbortSignal): Promise<void> {
  const { clock, hypervisor } = guests;
  try {
    while (hypervisor.running(serverId)) {
      signal.throwIfAborted();
      if (grace.over.aborted) return await hypervisor.kill(serverId, true);
      await press(guests, serverId);
      const gone = new AbortController();
      const pause = clock.sleep(BUTTON_INTERVAL_MS, AbortSignal.any([gone.signal, grace.over, signal]));
      await Promise.race([hypervisor.gone(serverId), pause]);
      gone.abort(GONE);
    }
  } finally {
    grace.end();
  }
}

async function press(guests: Guests, serverId: string): Promise<void> {
  try {
    await guests.hypervisor.pressPowerButton(serverId);
  } catch (error) {
    // A hypervisor that does not listen is dealt with at the deadline; a guest just ending ends anyway.
    guests.log.info({ serverId, reason: messageOf(error) }, 'the power button could not be pressed');
  }
}
