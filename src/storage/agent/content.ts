// A volume's content: made, grown, kept in snapshots, sent away, deleted.
//
// Theory of operation. absent → making → ready → deleting → absent. A volume is on record before its content is made,
// so that a restart finds what it has to finish or throw away; making goes on only when it is asked for again. Deleting
// is on record too and goes on after a restart. All but making, writing anew and sending is short and happens inside
// the volume's mutex, so that nobody is let in or shut out meanwhile. A source stays as it is while a volume is made
// from it: who wants to change that waits. What is sent is what a volume held at one moment; a delete cancels the
// sending. Writing an image over a volume is cancelled by writing back what a snapshot of it kept.
// A volume's record is durable before its directory is made, and the directory is gone for good before the record says so.
// A directory without a record (`remains`) is therefore never what a crash leaves: records were lost, or somebody put it
// there. It is kept, no volume is made over it, and only a delete that names it removes it.
import type { DestroyRequest, GenerationRequest } from '../../host/contract.ts';
import { invariant } from '../../lib/errors.ts';
import type {
  CreateVolumeRequest,
  ExtendVolumeRequest,
  RewriteVolumeRequest,
  UploadVolumeRequest,
  VolumeSource,
} from '../contract.ts';
import type { VolumeBody } from '../records.ts';
import { ABSENT, JOB_DONE, ok, refused, type Step, type VolumeEntry, type Volumes, WAIT } from './volumes.ts';

const MAX_VOLUMES = 10_000;
/** As many as a qcow2 file may have is more than anybody wants to see. */
const MAX_SNAPSHOTS = 256;
/** 64 TiB. */
const MAX_BYTES = 64 * 1024 ** 4;
const SECTOR = 512;

/** Inside the mutex, as all that follow. */
export async function create(volumes: Volumes, entry: VolumeEntry, request: CreateVolumeRequest): Promise<Step> {
  const { generation, sizeBytes, source } = request;
  const known = entry.record.volume;
  if (known?.state === 'deleting') return refused('the volume is being deleted');
  if (known?.state === 'ready') return ok(JOB_DONE);
  const joined = volumes.underWay(entry, 'make', '', generation);
  if (joined) return joined;
  if (known === null && (await volumes.driver.bytesOf(entry.record.id)) !== null)
    return refused('this host keeps files of the volume of which it has no record: see crosscell quarantine list');
  const obstacle = obstacleTo(volumes, entry, request);
  if (obstacle !== null) return refused(obstacle);
  const volume: VolumeBody = { state: 'making', sizeBytes, source, snapshots: [], grants: [], port: null };
  await volumes.saveVolume(entry, volume);
  const origin = sourceEntry(volumes, source);
  if (origin) origin.readers += 1;
  return volumes.start(entry, 'make', '', async (control) => {
    try {
      await volumes.driver.make(entry.record.id, { sizeBytes, source }, control);
    } finally {
      if (origin) origin.readers -= 1;
    }
    await entry.mutex.run(async () => {
      control.signal.throwIfAborted();
      await volumes.saveVolume(entry, { ...volume, state: 'ready' });
    });
  });
}

/** Why this volume can not be made; null: it can. */
function obstacleTo(volumes: Volumes, entry: VolumeEntry, request: CreateVolumeRequest): string | null {
  const { generation, sizeBytes, source } = request;
  const { deletedGeneration, volume } = entry.record;
  if (generation <= deletedGeneration) return `the volume was deleted at generation ${deletedGeneration}`;
  if (volume === null && volumes.count() >= MAX_VOLUMES) return `this host has its ${MAX_VOLUMES} volumes already`;
  const wrongSize = sizeObstacle(sizeBytes);
  if (wrongSize !== null) return wrongSize;
  if (source.kind === 'blank') return null;
  if (source.kind === 'image')
    return sizeBytes < source.image.virtualBytes ? 'the volume is smaller than its image' : null;
  const origin = volumes.find(source.volumeId)?.record.volume;
  if (origin?.state !== 'ready') return 'the source volume is not here';
  if (source.kind === 'snapshot' && !origin.snapshots.includes(source.snapshotId)) return 'the snapshot is not here';
  // A snapshot may be smaller than its volume is now; the driver knows, and refuses what would not fit.
  return source.kind === 'volume' && sizeBytes < origin.sizeBytes ? 'the volume is smaller than its source' : null;
}

function sizeObstacle(sizeBytes: number): string | null {
  if (sizeBytes === 0 || sizeBytes % SECTOR !== 0) return `a volume has a multiple of ${SECTOR} bytes`;
  return sizeBytes > MAX_BYTES ? `a volume has ${MAX_BYTES} bytes at most` : null;
}

function sourceEntry(volumes: Volumes, source: VolumeSource): VolumeEntry | null {
  return source.kind === 'volume' || source.kind === 'snapshot' ? volumes.find(source.volumeId) : null;
}

/** The volume, when it is whole; else why not. */
function whole(entry: VolumeEntry): VolumeBody | Exclude<Step, { kind: 'ok' }> {
  const { volume } = entry.record;
  if (volume === null) return ABSENT;
  if (volume.state !== 'ready') return refused(`the volume is not ready: ${volume.state}`);
  return volume;
}

export async function extend(volumes: Volumes, entry: VolumeEntry, request: ExtendVolumeRequest): Promise<Step> {
  const volume = whole(entry);
  if ('kind' in volume) return volume;
  const { sizeBytes, generation } = request;
  const key = String(sizeBytes);
  const joined = volumes.underWay(entry, 'extend', key, generation);
  if (joined) return joined;
  if (volume.sizeBytes >= sizeBytes) return ok(JOB_DONE);
  const wrongSize = sizeObstacle(sizeBytes);
  if (wrongSize !== null) return refused(wrongSize);
  return inMutex(volumes, entry, 'extend', key, async (now) => {
    await volumes.driver.grow(entry.record.id, sizeBytes);
    return { ...now, sizeBytes: Math.max(now.sizeBytes, sizeBytes) };
  });
}

export async function snapshot(
  volumes: Volumes,
  entry: VolumeEntry,
  snapshotId: string,
  { generation }: GenerationRequest,
): Promise<Step> {
  const volume = whole(entry);
  if ('kind' in volume) return volume;
  const joined = volumes.underWay(entry, 'snapshot', snapshotId, generation);
  if (joined) return joined;
  if (volume.snapshots.includes(snapshotId)) return ok(JOB_DONE);
  if (entry.record.deletedSnapshots.includes(snapshotId)) return refused('the snapshot was deleted');
  if (volume.snapshots.length >= MAX_SNAPSHOTS) return refused(`the volume has its ${MAX_SNAPSHOTS} snapshots already`);
  return inMutex(volumes, entry, 'snapshot', snapshotId, async (now) => {
    await volumes.driver.snapshot(entry.record.id, snapshotId);
    return { ...now, snapshots: [...now.snapshots, snapshotId] };
  });
}

export async function deleteSnapshot(
  volumes: Volumes,
  entry: VolumeEntry,
  snapshotId: string,
  { generation }: GenerationRequest,
): Promise<Step> {
  const { volume, deletedSnapshots } = entry.record;
  const joined = volumes.underWay(entry, 'delete-snapshot', snapshotId, generation);
  if (joined) return joined;
  if (volume?.state !== 'ready') return ok(JOB_DONE);
  if (entry.readers > 0) return WAIT;
  if (!deletedSnapshots.includes(snapshotId)) {
    // Only so many: the next generation forgets them.
    const remembered = [...deletedSnapshots, snapshotId].slice(-MAX_SNAPSHOTS);
    await volumes.save(entry, { ...entry.record, deletedSnapshots: remembered });
  }
  // Also when it is not on record: one that was taken just before a crash is not.
  return inMutex(volumes, entry, 'delete-snapshot', snapshotId, async (now) => {
    await volumes.driver.deleteSnapshot(entry.record.id, snapshotId);
    return { ...now, snapshots: now.snapshots.filter((id) => id !== snapshotId) };
  });
}

export async function rewrite(volumes: Volumes, entry: VolumeEntry, request: RewriteVolumeRequest): Promise<Step> {
  const volume = whole(entry);
  if ('kind' in volume) return volume;
  const { content, generation } = request;
  const key = content.kind === 'image' ? content.image.sha256 : content.snapshotId;
  const before = entry.job;
  // What was kept is wanted back while the image is still being written: that must have stopped first, and its remains
  // are what is written over. Never the other way round: an image that comes late must not stop what puts things right.
  const replaces = content.kind === 'snapshot' && isBeingWritten(entry) && before?.key !== key;
  const joined = replaces ? null : volumes.underWay(entry, 'rewrite', key, generation);
  if (joined) return joined;
  // Asked again after it was done: nobody was let in since (forgetRewrite), so that is still what the volume holds.
  const written = before?.kind === 'rewrite' && before.key === key && before.outcome?.kind === 'done';
  if (written && before.generation === generation) return ok(JOB_DONE);
  if (volume.grants.length > 0) return refused('somebody has access to the volume');
  if (entry.readers > 0) return WAIT;
  if (content.kind === 'image' && volume.sizeBytes < content.image.virtualBytes)
    return refused('the volume is smaller than its image');
  if (content.kind === 'snapshot' && !volume.snapshots.includes(content.snapshotId))
    return refused('the snapshot is not here');
  if (replaces) before?.cancel();
  return volumes.start(entry, 'rewrite', key, (control) => volumes.driver.rewrite(entry.record.id, content, control));
}

/** Whether its content is being written, so that nobody may see it. */
export const isBeingWritten = ({ job }: VolumeEntry): boolean => job?.kind === 'rewrite' && job.outcome === null;

/** Somebody is let in, and may write: what was written anew is to be written again when that is asked for. */
export function forgetRewrite(entry: VolumeEntry): void {
  if (entry.job?.kind === 'rewrite') entry.job = null;
}

export async function upload(volumes: Volumes, entry: VolumeEntry, request: UploadVolumeRequest): Promise<Step> {
  const volume = whole(entry);
  if ('kind' in volume) return volume;
  const { generation, ...what } = request;
  const key = `${what.uploadId} ${what.format} ${what.url}`;
  const joined = volumes.underWay(entry, 'upload', key, generation);
  if (joined) return joined;
  return volumes.start(entry, 'upload', key, (control) => volumes.driver.upload(entry.record.id, what, control));
}

export async function endUpload(
  volumes: Volumes,
  entry: VolumeEntry,
  { generation }: GenerationRequest,
): Promise<Step> {
  const { job } = entry;
  if (job?.outcome !== null) return ok(JOB_DONE);
  if (job.kind !== 'upload') return job.kind === 'end-upload' ? joinedBy(job, generation) : ok(JOB_DONE);
  job.cancel();
  // It is over when what was cancelled has come to its end.
  return volumes.start(entry, 'end-upload', '', async () => undefined);
}

function joinedBy(job: NonNullable<VolumeEntry['job']>, generation: number): Step {
  job.generation = generation;
  return { kind: 'job', job };
}

/** A short job on a whole volume, inside the mutex; what it returns is recorded. */
function inMutex(
  volumes: Volumes,
  entry: VolumeEntry,
  kind: 'extend' | 'snapshot' | 'delete-snapshot',
  key: string,
  work: (volume: VolumeBody) => Promise<VolumeBody>,
): Step {
  return volumes.start(entry, kind, key, (control) =>
    entry.mutex.run(async () => {
      control.signal.throwIfAborted();
      const { volume } = entry.record;
      invariant(volume?.state === 'ready', 'a delete waits for what is under way');
      await volumes.saveVolume(entry, await work(volume));
    }),
  );
}

export async function remove(
  volumes: Volumes,
  entry: VolumeEntry,
  { generation, remains = false }: DestroyRequest,
): Promise<Step> {
  const { volume, deletedGeneration } = entry.record;
  const job = entry.job;
  if (job?.kind === 'delete') {
    const joined = volumes.underWay(entry, 'delete', '', generation);
    if (joined) return joined;
  }
  if (volume === null) {
    // Never here, or gone already: the create that may still be on its way must find the door closed.
    if (deletedGeneration < generation) await volumes.save(entry, { ...entry.record, deletedGeneration: generation });
    return remains && (await volumes.driver.bytesOf(entry.record.id)) !== null
      ? startRemoval(volumes, entry)
      : ok(JOB_DONE);
  }
  if (volume.grants.length > 0) return refused('somebody has access to the volume');
  if (entry.readers > 0) return WAIT;
  const deleting: VolumeBody = { ...volume, state: 'deleting' };
  await volumes.save(entry, { ...entry.record, deletedGeneration: generation, volume: deleting });
  return startRemoval(volumes, entry);
}

/** Goes on with a delete that is on record; whatever else is under way is cancelled and waited for. */
export function startRemoval(volumes: Volumes, entry: VolumeEntry): Step {
  entry.job?.cancel();
  return volumes.start(entry, 'delete', '', async (control) => {
    await entry.mutex.run(async () => {
      control.signal.throwIfAborted();
      // What was asked for was the end of files without a record, and one was made meanwhile.
      if (entry.record.volume !== null && entry.record.volume.state !== 'deleting') return;
      await volumes.driver.remove(entry.record.id);
      await volumes.save(entry, { ...entry.record, volume: null });
    });
  });
}
