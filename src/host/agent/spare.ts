// A second root disk of a guest: for a rebuild, or to rescue it.
//
// Theory of operation. absent → making → ready, used or not → absent. Which disk a start is from stands in the record, so
// that changing over is one write and can be taken back; nothing is renamed before the new disk of a rebuild is there for
// good (`dropSpare`), which then takes the own one's place by one rename. A crash between that and the record finds no spare
// file any more and does the rest. The image that a spare stands on is kept as long as it is.
// One that was not finished, or is another saga's, is rubbish: whoever wants one makes it anew.
import { invariant } from '../../lib/errors.ts';
import type { DropSpareRequest, Guest, Job, Reply, SpareRequest, UseSpareRequest } from '../contract.ts';
import { type GuestStart, HypervisorError } from '../hypervisor.ts';
import type { GuestBody } from '../records.ts';
import { impossible } from './define.ts';
import { ABSENT, type Entry, type Guests, JOB_DONE, NOTHING, ok, refused, type Step } from './guests.ts';
import { forgetMemory } from './suspend.ts';
import { busyWith, earlierJob, startJob } from './work.ts';

type Spare = NonNullable<GuestBody['spare']>;

/** Inside the mutex, as all that follow. */
export async function makeSpare(guests: Guests, entry: Entry, request: SpareRequest): Promise<Step<Job>> {
  const { spareId, purpose, spec, generation } = request;
  const guest = entry.record.guest;
  if (guest === null) return ABSENT;
  if (guest.destroying) return refused('the guest is being destroyed');
  const wrong = await impossible(guests, { spec, disk: spec.root.kind === 'volume' ? 'none' : 'fresh' });
  if (wrong !== null) return refused(wrong);
  if (purpose === 'rebuild' && spec.root.kind !== guest.spec.root.kind)
    return refused('a guest has a root disk or a root volume');
  const earlier = earlierJob(entry, 'make-spare', spareId, generation);
  if (earlier) return earlier;
  if (guest.spare?.id === spareId && guest.spare.ready) return ok(JOB_DONE);
  if (guest.spare?.used) return refused('the guest uses another spare disk');
  const busy = busyWith(entry, []);
  if (busy !== null) return refused(`the guest is busy: ${busy}`);
  const spare: Spare = { id: spareId, purpose, spec, ready: false, used: false };
  await guests.saveGuest(entry, { ...guest, spare });
  return startJob(guests, entry, 'make-spare', spareId, async (control) => {
    const { serverId } = entry.record;
    await guests.hypervisor.makeSpare(serverId, spec, control);
    await entry.mutex.run(async () => {
      control.signal.throwIfAborted();
      const now = entry.record.guest;
      invariant(now !== null, 'a destroy waits for the spare disk');
      if (now.spare?.id !== spareId) throw new HypervisorError('the spare disk is not wanted any more');
      await guests.saveGuest(entry, { ...now, spare: { ...now.spare, ready: true } });
    });
  });
}

export async function useSpare(
  guests: Guests,
  entry: Entry,
  { spareId, used }: UseSpareRequest,
): Promise<Reply<Record<string, never>>> {
  const guest = entry.record.guest;
  if (guest === null) return ABSENT;
  if (guest.destroying) return refused('the guest is being destroyed');
  const spare = guest.spare?.id === spareId && guest.spare.ready ? guest.spare : null;
  if (spare === null) return used ? refused('the spare disk is not there') : ok(NOTHING);
  if (spare.used === used) return ok(NOTHING);
  const busy = busyWith(entry, []);
  if (busy !== null) return refused(`the guest is busy: ${busy}`);
  if (guests.hypervisor.running(entry.record.serverId)) return refused('the guest is running');
  // What it had in memory belongs to the other disk.
  await forgetMemory(guests, entry);
  await guests.saveGuest(entry, { ...guest, memory: 'none', spare: { ...spare, used }, importDigest: null });
  entry.digest = null;
  return ok(NOTHING);
}

export async function dropSpare(guests: Guests, entry: Entry, request: DropSpareRequest): Promise<Step<Job>> {
  const { spareId } = request;
  const spare = entry.record.guest?.spare;
  if (spare?.id !== spareId) return ok(JOB_DONE);
  if (entry.record.guest?.destroying) return refused('the guest is being destroyed');
  if (spare.used && spare.purpose !== 'rebuild') return refused('the guest uses this disk');
  const earlier = earlierJob(entry, 'drop-spare', spareId, request.generation);
  if (earlier) return earlier;
  const busy = busyWith(entry, ['make-spare']);
  if (busy !== null) return refused(`the guest is busy: ${busy}`);
  if (entry.job?.kind === 'make-spare') entry.job.cancel();
  return startJob(guests, entry, 'drop-spare', spareId, async (control, previous) => {
    await previous;
    await entry.mutex.run(async () => {
      control.signal.throwIfAborted();
      const guest = entry.record.guest;
      invariant(guest !== null, 'a destroy waits for the spare disk');
      const now = guest.spare;
      if (now?.id !== spareId) return;
      const { serverId } = entry.record;
      if (now.used) await guests.hypervisor.adoptSpare(serverId);
      else await guests.hypervisor.removeSpare(serverId);
      await guests.saveGuest(entry, { ...guest, spare: null, spec: now.used ? now.spec : guest.spec });
    });
    await guests.sweepImages();
  });
}

/** As others see it. */
export function spareOf({ spare }: GuestBody): Guest['spare'] {
  return spare && { id: spare.id, purpose: spare.purpose, used: spare.used };
}

/** Whether another disk than its own is about to become it, or to be given up: nobody is to have either for the guest's. */
export const isBetweenDisks = ({ spare }: GuestBody): boolean => spare?.used === true && spare.purpose === 'rebuild';

/** What the guest's next process is started with. */
export function startOf(guest: GuestBody, fromMemory: boolean): GuestStart {
  const { spec, volumes, spare } = guest;
  if (!spare?.used) return { spec, volumes, fromMemory, fromSpare: false, rescue: null };
  const { root } = spare.spec;
  if (spare.purpose === 'rebuild')
    return { spec: spare.spec, volumes, fromMemory, fromSpare: root.kind === 'image', rescue: null };
  const rescue = root.kind === 'image' ? { image: root.image, last: spare.purpose === 'stable-rescue' } : null;
  return { spec, volumes, fromMemory, fromSpare: false, rescue };
}
