// The root disk of a guest that is off: exported, brought over, digested, grown.
//
// Theory of operation. Nothing here touches a disk that a guest writes to: every call looks first, inside the mutex,
// and a start closes an open export and calls off a digest (power.ts). An import makes the disk `ready` only when all
// of it is there; what lies on the host before is rubbish.
import { isDeepStrictEqual } from 'node:util';
import { invariant } from '../../lib/errors.ts';
import type { BaseImage, DiskExport, ExportRequest, GrowRequest, ImportRequest, Job, Reply } from '../contract.ts';
import type { JobControl } from '../hypervisor.ts';
import type { GuestBody } from '../records.ts';
import {
  ABSENT,
  type Entry,
  type Guests,
  JOB_DONE,
  NOTHING,
  ok,
  type Refusal,
  refused,
  type Step,
  SUSPENDED,
} from './guests.ts';
import { isBetweenDisks } from './spare.ts';
import { busyWith, earlierJob, startJob } from './work.ts';

const NO_DISK = refused('the guest boots from a volume');

/** The guest, if its disk is there and nobody writes to it. */
function diskAtRest(guests: Guests, entry: Entry): { readonly guest: GuestBody } | Refusal {
  const guest = entry.record.guest;
  if (guest === null) return ABSENT;
  if (guest.destroying) return refused('the guest is being destroyed');
  if (guest.origin === 'none') return NO_DISK;
  if (guest.disk !== 'ready') return refused('the guest has no disk yet');
  if (isBetweenDisks(guest)) return refused('the guest has two root disks just now');
  if (guests.hypervisor.running(entry.record.serverId)) return refused('the guest is running');
  return { guest };
}

/** Inside the mutex, as all that follow. */
export async function openExport(guests: Guests, entry: Entry, { reader }: ExportRequest): Promise<Reply<DiskExport>> {
  if (reader !== undefined && entry.record.closedTo.includes(reader)) {
    return refused(`the export has been closed when ${reader} had read it`);
  }
  const usable = diskAtRest(guests, entry);
  if ('kind' in usable) return usable;
  const { guest } = usable;
  const { serverId } = entry.record;
  const busy = busyWith(entry, ['digest']);
  if (busy !== null) return refused(`the guest is busy: ${busy}`);
  try {
    const source = await guests.hypervisor.openExport(serverId, guest.exported);
    const exported = { name: source.name, port: source.port };
    if (!isDeepStrictEqual(exported, guest.exported)) await guests.saveGuest(entry, { ...guest, exported });
    return ok(source);
  } catch (error) {
    return guests.refusal(serverId, error);
  }
}

/** Nobody reads the disk any more; nor does `reader` when an open for it comes late. */
export async function endExport(
  guests: Guests,
  entry: Entry,
  { reader }: ExportRequest,
): Promise<Reply<Record<string, never>>> {
  const { guest, closedTo } = entry.record;
  if (reader !== undefined && !closedTo.includes(reader)) {
    await guests.save(entry, { ...entry.record, closedTo: [...closedTo, reader] });
  }
  if (guest !== null) await closeExport(guests, entry, guest);
  return ok(NOTHING);
}

export async function closeExport(guests: Guests, entry: Entry, guest: GuestBody): Promise<void> {
  await guests.hypervisor.closeExport(entry.record.serverId);
  if (guest.exported !== null) await guests.saveGuest(entry, { ...guest, exported: null });
}

export async function importDisk(guests: Guests, entry: Entry, request: ImportRequest): Promise<Step<Job>> {
  const guest = entry.record.guest;
  if (guest === null) return ABSENT;
  if (guest.destroying) return refused('the guest is being destroyed');
  const { root } = guest.spec;
  if (root.kind === 'volume') return NO_DISK;
  if (guest.origin !== 'incoming') return refused('the guest was defined with a disk of its own');
  const key = `${request.source.host}:${request.source.port}/${request.source.name}`;
  const earlier = earlierJob(entry, 'import', key, request.generation);
  if (earlier) return earlier;
  if (guest.disk === 'ready') return ok(JOB_DONE);
  // A newer request may name another export of the same disk; the copy from the older one is of no use then.
  const busy = busyWith(entry, ['import']);
  if (busy !== null) return refused(`the guest is busy: ${busy}`);
  return startJob(guests, entry, 'import', key, async (control, previous) => {
    await previous;
    await copyHere(guests, entry, root.image, request.source, control);
  });
}

async function copyHere(
  guests: Guests,
  entry: Entry,
  image: BaseImage,
  source: DiskExport,
  control: JobControl,
): Promise<void> {
  control.signal.throwIfAborted();
  const sha256 = await guests.hypervisor.importDisk(entry.record.serverId, image, source, control);
  await entry.mutex.run(async () => {
    control.signal.throwIfAborted();
    const guest = entry.record.guest;
    invariant(guest !== null, 'a destroy waits for the import');
    await guests.saveGuest(entry, { ...guest, disk: 'ready', importDigest: sha256 });
  });
}

/** As long as nothing has changed a disk that came here, it is what was received; of any other it is what was read. */
export function knownDigest(entry: Entry): string | null {
  return entry.record.guest?.importDigest ?? entry.digest;
}

export async function digest(guests: Guests, entry: Entry, generation: number): Promise<Step<Job>> {
  const usable = diskAtRest(guests, entry);
  if ('kind' in usable) return usable;
  const earlier = earlierJob(entry, 'digest', '', generation);
  if (earlier) return earlier;
  if (knownDigest(entry) !== null) return ok(JOB_DONE);
  const busy = busyWith(entry, []);
  if (busy !== null) return refused(`the guest is busy: ${busy}`);
  return startJob(guests, entry, 'digest', '', async (control) => {
    const sha256 = await guests.hypervisor.digest(entry.record.serverId, control);
    control.signal.throwIfAborted();
    entry.digest = sha256;
  });
}

export async function growDisk(guests: Guests, entry: Entry, request: GrowRequest): Promise<Step<Job>> {
  const usable = diskAtRest(guests, entry);
  if ('kind' in usable) return usable;
  const { guest } = usable;
  const key = String(request.rootBytes);
  const earlier = earlierJob(entry, 'grow', key, request.generation);
  if (earlier) return earlier;
  const limit = await guests.diskLimit();
  if (request.rootBytes > limit) return refused(`a root disk of ${key} bytes is larger than this host's storage`);
  if (guest.exported) return refused('the disk is exported');
  if (guest.memory === 'saved') return SUSPENDED;
  const busy = busyWith(entry, []);
  if (busy !== null) return refused(`the guest is busy: ${busy}`);
  // Before the disk becomes another one: what is told of it from now on has to be read from it.
  entry.digest = null;
  if (guest.importDigest !== null) await guests.saveGuest(entry, { ...guest, importDigest: null });
  return startJob(guests, entry, 'grow', key, async (control) => {
    await guests.hypervisor.grow(entry.record.serverId, request.rootBytes, control);
    await entry.mutex.run(async () => {
      const now = entry.record.guest;
      const root = now?.spec.root;
      if (!now || root?.kind !== 'image' || root.bytes >= request.rootBytes) return;
      await guests.saveGuest(entry, { ...now, spec: { ...now.spec, root: { ...root, bytes: request.rootBytes } } });
    });
  });
}
