// Snapshots of a guest's root disk: taken, sent to the image store, dropped.
//
// Theory of operation. A snapshot is a file beside the disk that stands on nothing. It may be taken of a guest that runs,
// is paused or is off; what the guest has written until then is in it, as after a power failure. It lasts until it is
// dropped, another is taken, the guest is destroyed or the agent starts anew: whoever wanted it takes another then.
// A drop cancels the work that is under way, and removes what is left when that has stopped; the guest's next job waits
// for both. A stop that comes meanwhile ends both.
import type { Job, Reply, SnapshotRequest, UploadRequest } from '../contract.ts';
import type { GuestBody } from '../records.ts';
import { ABSENT, type Entry, type Guests, NOTHING, ok, type Refusal, refused, type Step } from './guests.ts';
import { isBetweenDisks } from './spare.ts';
import { busyWith, earlierJob, startJob } from './work.ts';

/** The guest, if it has a root disk of its own. */
function withDisk(entry: Entry): { readonly guest: GuestBody } | Refusal {
  const guest = entry.record.guest;
  if (guest === null) return ABSENT;
  if (guest.destroying) return refused('the guest is being destroyed');
  if (guest.origin === 'none') return refused('the guest boots from a volume');
  if (guest.disk !== 'ready') return refused('the guest has no disk yet');
  if (isBetweenDisks(guest)) return refused('the guest has two root disks just now');
  return { guest };
}

/** Inside the mutex, as all that follow. */
export async function takeSnapshot(guests: Guests, entry: Entry, request: SnapshotRequest): Promise<Step<Job>> {
  const usable = withDisk(entry);
  if ('kind' in usable) return usable;
  const { root } = usable.guest.spec;
  if (root.kind === 'volume') return refused('the guest boots from a volume');
  const { snapshotId, generation } = request;
  const earlier = earlierJob(entry, 'snapshot', snapshotId, generation);
  if (earlier) return earlier;
  const busy = busyWith(entry, []);
  if (busy !== null) return refused(`the guest is busy: ${busy}`);
  return startJob(guests, entry, 'snapshot', snapshotId, (control) =>
    guests.hypervisor.takeSnapshot(entry.record.serverId, root.image, snapshotId, control),
  );
}

export async function uploadSnapshot(guests: Guests, entry: Entry, request: UploadRequest): Promise<Step<Job>> {
  const usable = withDisk(entry);
  if ('kind' in usable) return usable;
  const { snapshotId, generation, url } = request;
  const earlier = earlierJob(entry, 'upload', `${snapshotId} ${url}`, generation);
  if (earlier) return earlier;
  const busy = busyWith(entry, []);
  if (busy !== null) return refused(`the guest is busy: ${busy}`);
  return startJob(guests, entry, 'upload', `${snapshotId} ${url}`, (control) =>
    guests.hypervisor.uploadSnapshot(entry.record.serverId, snapshotId, url, control),
  );
}

export async function dropSnapshot(guests: Guests, entry: Entry): Promise<Reply<Record<string, never>>> {
  if (entry.record.guest === null) return ABSENT;
  const job = entry.job?.underWay(['snapshot', 'upload']);
  if (job) {
    job.cancel();
    await job.settled;
  }
  // One that is over is not told to whoever asks for another.
  if (entry.job?.kind === 'snapshot' || entry.job?.kind === 'upload') entry.job = null;
  try {
    await guests.hypervisor.dropSnapshot(entry.record.serverId);
    return ok(NOTHING);
  } catch (error) {
    return guests.refusal(entry.record.serverId, error);
  }
}
