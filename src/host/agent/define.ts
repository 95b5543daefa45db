// A guest comes to be, and goes: its definition, and its end.
//
// Theory of operation. absent → defined (disk missing) → defined (disk ready) → destroying → absent. A destroy is on
// record before it begins, so that it goes on after a restart; it cancels whatever runs, waits until that has stopped,
// and only then removes. The generation of a destroy shuts the door on a define that was delayed on its way.
// A guest's record is durable before its directory is made, and the directory is gone for good before the record says so.
// A directory without a record (`remains`) is therefore never what a crash leaves: records were lost, or somebody put it
// there. It is kept, nothing is defined over it, and only a destroy that names it removes it.
import { isDeepStrictEqual } from 'node:util';
import { invariant } from '../../lib/errors.ts';
import type { DefineRequest, DestroyRequest, GuestSpec, Job } from '../contract.ts';
import type { JobControl } from '../hypervisor.ts';
import type { GuestBody } from '../records.ts';
import { type Entry, type Guests, JOB_DONE, newGuest, ok, refused, type Step } from './guests.ts';
import { busyWith, earlierJob, startJob } from './work.ts';

const MAX_GUESTS = 1000;
/** Names the job that removes them. */
const REMAINS = 'remains';

/** Inside the mutex. */
export async function define(guests: Guests, entry: Entry, request: DefineRequest): Promise<Step<Job>> {
  const { spec, disk } = request;
  const guest = entry.record.guest;
  if (guest?.destroying) return refused('the guest is being destroyed');
  const wrong = await impossible(guests, request);
  if (wrong !== null) return refused(wrong);
  if (guest !== null && guest.origin !== disk) return refused(`the guest is defined with its disk ${guest.origin}`);

  const key = JSON.stringify(spec);
  const earlier = earlierJob(entry, 'define', key, request.generation);
  if (earlier) return earlier;
  if (guest === null) {
    const destroyed = entry.record.destroyedGeneration;
    if (request.generation <= destroyed) return refused(`the guest was destroyed at generation ${destroyed}`);
    if (guests.count() >= MAX_GUESTS) return refused(`this host has its ${MAX_GUESTS} guests already`);
    if ((await guests.hypervisor.bytesOf(entry.record.serverId)) !== null)
      return refused('the host keeps files of this server of which it has no record: see crosscell quarantine list');
    await guests.saveGuest(entry, newGuest(spec, disk));
  } else {
    const known = isDeepStrictEqual(guest.spec, spec);
    // An import under way presupposes a define that was done.
    if (known && (guest.disk === 'ready' || entry.job?.kind === 'import')) return ok(JOB_DONE);
    const busy = busyWith(entry, []);
    if (busy !== null) return refused(`the guest is busy: ${busy}`);
    if (!known) {
      const obstacle = respecObstacle(guests, entry.record.serverId, guest, spec);
      if (obstacle !== null) return refused(obstacle);
      await guests.saveGuest(entry, { ...guest, spec });
      if (guest.disk === 'ready') return ok(JOB_DONE);
    }
  }
  return startJob(guests, entry, 'define', key, (control) => prepare(guests, entry, spec, disk, control));
}

async function prepare(
  guests: Guests,
  entry: Entry,
  spec: GuestSpec,
  disk: DefineRequest['disk'],
  control: JobControl,
): Promise<void> {
  await guests.hypervisor.prepare(entry.record.serverId, spec, disk, control);
  if (disk === 'incoming') return;
  await entry.mutex.run(async () => {
    control.signal.throwIfAborted();
    const guest = entry.record.guest;
    invariant(guest !== null, 'a destroy waits for the define');
    await guests.saveGuest(entry, { ...guest, disk: 'ready' });
  });
}

/** Why no guest of this spec can ever be on this host; null: none. */
export async function impossible(
  guests: Guests,
  { spec, disk }: Pick<DefineRequest, 'spec' | 'disk'>,
): Promise<string | null> {
  const { vcpus, memoryMb } = guests.resources;
  if (spec.vcpus > vcpus) return `${spec.vcpus} vCPUs are more than this host's ${vcpus}`;
  if (spec.memoryMb > memoryMb) return `${spec.memoryMb} MiB of memory are more than this host's ${memoryMb}`;
  if ((spec.root.kind === 'volume') !== (disk === 'none')) return 'a guest has a root disk or a root volume';
  if (spec.root.kind === 'volume') return null;
  if (spec.root.bytes < spec.root.image.virtualBytes) return 'the root disk is smaller than its image';
  if (spec.root.bytes > (await guests.diskLimit())) return "the root disk is larger than this host's storage";
  return null;
}

/** Why a guest that is defined cannot get another spec; null: it can. */
function respecObstacle(guests: Guests, serverId: string, guest: GuestBody, spec: GuestSpec): string | null {
  if (guests.hypervisor.running(serverId)) return 'the guest runs with another specification';
  if (guest.memory === 'saved') return 'the guest is suspended';
  const [old, next] = [guest.spec.root, spec.root];
  if (old.kind === 'volume' || next.kind === 'volume') return null;
  if (old.image.sha256 !== next.image.sha256) return 'the guest is defined with another image';
  // growDisk raises the recorded size; a define is not the way to change it.
  if (old.bytes !== next.bytes) return 'the guest is defined with another root disk size';
  return null;
}

/** Inside the mutex. */
export async function destroy(guests: Guests, entry: Entry, request: DestroyRequest): Promise<Step<Job>> {
  const key = request.remains ? REMAINS : '';
  const earlier = earlierJob(entry, 'destroy', key, request.generation);
  if (earlier) return earlier;
  const guest = entry.record.guest;
  if (guest === null) {
    // Never here, or gone already: the define that may still be on its way must find the door closed.
    if (entry.record.destroyedGeneration < request.generation)
      await guests.save(entry, { ...entry.record, destroyedGeneration: request.generation });
    return request.remains ? removeRemains(guests, entry) : ok(JOB_DONE);
  }
  await guests.save(entry, {
    ...entry.record,
    destroyedGeneration: request.generation,
    guest: { ...guest, destroying: true },
  });
  return startDestroy(guests, entry);
}

/** Removes files that no record explains; inside the mutex, so that none is made meanwhile. */
async function removeRemains(guests: Guests, entry: Entry): Promise<Step<Job>> {
  const { hypervisor, log } = guests;
  const { serverId } = entry.record;
  if ((await hypervisor.bytesOf(serverId)) === null) return ok(JOB_DONE);
  return startJob(guests, entry, 'destroy', REMAINS, async (control, previous) => {
    await previous;
    await entry.mutex.run(async () => {
      control.signal.throwIfAborted();
      if (entry.record.guest !== null) return;
      log.warn({ serverId }, 'files of a guest that is not on record are deleted, as was asked for');
      await hypervisor.remove(serverId);
    });
    await guests.sweepImages();
  });
}

/** Goes on with a destroy that is on record. */
export function startDestroy(guests: Guests, entry: Entry): Step<Job> {
  const { hypervisor } = guests;
  const { serverId } = entry.record;
  entry.job?.cancel();
  return startJob(guests, entry, 'destroy', '', async (control, previous) => {
    await previous;
    control.signal.throwIfAborted();
    await hypervisor.kill(serverId, false);
    await hypervisor.closeExport(serverId);
    await hypervisor.remove(serverId);
    await entry.mutex.run(() => guests.save(entry, { ...entry.record, guest: null }));
    entry.digest = null;
    await guests.sweepImages();
  });
}
