// Snapshots of root disks: one file that stands on nothing, as the disk is at one moment.
//
// Theory of operation. Of a guest that runs (or is paused) QEMU makes the copy itself: a backup job keeps what the guest
// overwrites meanwhile, so that the file is what the disk was when the job began. Of one that is off qemu-img converts
// overlay and base. Either way into snapshot.part, which is synced and renamed to snapshot-<id>.qcow2 when it is whole.
// The base is named here, as on QEMU's command line: nothing in the overlay's bytes decides which file is opened.
// A job of QEMU's outlives the agent; whoever takes the next snapshot, or drops this one, ends it first.
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, passed } from '../../lib/clock.ts';
import type { BaseImage } from '../contract.ts';
import { HypervisorError, type JobControl } from '../hypervisor.ts';
import { syncDirectory } from '../record-files.ts';
import { runConvert } from './convert.ts';
import { type DiskTools, readHeader } from './disk.ts';
import { allocatedBytes, checkRoom, namesIn, syncFile } from './disk-files.ts';
import type { Layout } from './layout.ts';
import type { QemuProcess } from './process.ts';
import { sendFile } from './send-file.ts';
import { run } from './tools.ts';
import { withWatchdog } from './watchdog.ts';

export interface SnapshotOptions {
  readonly layout: Layout;
  readonly tools: DiskTools;
  readonly clock: Clock;
  /** Work without progress is given up after this time, ms. */
  readonly stallMs: number;
}

/** What is needed of a guest's QEMU here. */
type Monitor = Pick<QemuProcess, 'execute'>;

const NODE = 'snapshot';
const JOB = 'snapshot';
const POLL_MS = 100;
/** QEMU lets go of a cancelled job and of its node within this time, ms. */
const END_LIMIT_MS = 10_000;
const TOOL_LIMIT_MS = 30_000;

/** The snapshot is there. `qemu`: the guest's; null when it is off. */
export async function takeSnapshot(
  options: SnapshotOptions,
  place: { readonly serverId: string; readonly snapshotId: string; readonly image: BaseImage },
  qemu: Monitor | null,
  job: JobControl,
): Promise<void> {
  const { layout, clock } = options;
  const { serverId, snapshotId, image } = place;
  const whole = layout.snapshot(serverId, snapshotId);
  if ((await allocatedBytes(whole)) !== null) return;
  await removeSnapshots(layout, clock, serverId, qemu);
  const partial = layout.partialSnapshot(serverId);
  const own = await allocatedBytes(layout.disk(serverId));
  if (own === null) throw new HypervisorError('the disk is not there');
  const most = own + image.sizeBytes;
  await checkRoom(layout.guestDir(serverId), most, `a snapshot of ${most} bytes`);
  try {
    if (qemu === null) await convert(options, serverId, image, partial, job);
    else await backUp(options, serverId, partial, qemu, job);
    await syncFile(partial, 'the snapshot');
    job.signal.throwIfAborted();
    await rename(partial, whole);
    await syncDirectory(layout.guestDir(serverId));
  } catch (error) {
    await removeSnapshots(layout, clock, serverId, qemu);
    throw error;
  }
}

/** No snapshot of the guest is left, and no job that makes one. */
export async function removeSnapshots(
  layout: Layout,
  clock: Clock,
  serverId: string,
  qemu: Monitor | null,
): Promise<void> {
  const directory = layout.guestDir(serverId);
  for (const name of await namesIn(directory)) {
    if (name.startsWith('snapshot')) await rm(join(directory, name), { force: true });
  }
  if (qemu !== null) await endJob(qemu, clock);
}

/** The snapshot's file at that URL. */
export async function uploadSnapshot(
  options: SnapshotOptions,
  place: { readonly serverId: string; readonly snapshotId: string; readonly url: string; readonly secret: string },
  job: JobControl,
): Promise<void> {
  const { serverId, snapshotId, url, secret } = place;
  const { layout, clock, stallMs } = options;
  await sendFile(layout.snapshot(serverId, snapshotId), { url, secret, clock, stallMs }, job);
}

async function convert(
  { layout, tools, clock, stallMs }: SnapshotOptions,
  serverId: string,
  image: BaseImage,
  partial: string,
  job: JobControl,
): Promise<void> {
  const baseFile = { driver: 'file', filename: layout.image(image) };
  const base = { driver: image.format, file: baseFile };
  const source = {
    driver: 'qcow2',
    file: { driver: 'file', filename: layout.disk(serverId) },
    backing: image.format === 'qcow2' ? { ...base, backing: null } : base,
  };
  const args = ['convert', '-p', '-O', 'qcow2', `json:${JSON.stringify(source)}`, partial];
  await runConvert({ ...tools, clock, stallMs }, args, partial, job.signal);
}

async function backUp(
  { layout, tools, clock, stallMs }: SnapshotOptions,
  serverId: string,
  partial: string,
  qemu: Monitor,
  job: JobControl,
): Promise<void> {
  const { virtualBytes } = await readHeader(layout.disk(serverId));
  const args = ['create', '-q', '-f', 'qcow2', partial, String(virtualBytes)];
  await run(tools.qemuImg, args, { identity: tools.identity, timeoutMs: TOOL_LIMIT_MS, signal: job.signal });
  await qemu.execute('blockdev-add', {
    driver: 'qcow2',
    'node-name': NODE,
    discard: 'unmap',
    'detect-zeroes': 'unmap',
    file: { driver: 'file', filename: partial, discard: 'unmap' },
  });
  const wanted = { 'job-id': JOB, device: 'root-disk', target: NODE, sync: 'full', 'auto-dismiss': false };
  await qemu.execute('blockdev-backup', wanted);
  let seen = '';
  await withWatchdog(
    clock,
    stallMs,
    job.signal,
    () => seen,
    async (signal) => {
      for (;;) {
        signal.throwIfAborted();
        const known = await findJob(qemu);
        if (known === null) throw new HypervisorError('QEMU has lost the copy that it made');
        if (known.status === 'concluded') {
          if (known.error !== undefined) throw new HypervisorError(`the copy failed: ${known.error}`);
          break;
        }
        seen = `${known.status} ${known.done}`;
        job.progress(known.done, known.total);
        await clock.sleep(POLL_MS, signal);
      }
    },
  );
  await endJob(qemu, clock);
}

interface QemuJob {
  readonly status: string;
  readonly done: number;
  readonly total: number;
  readonly error: string | undefined;
}

async function findJob(qemu: Monitor): Promise<QemuJob | null> {
  const jobs = (await qemu.execute('query-jobs')) as ReadonlyArray<Record<string, unknown>>;
  const known = jobs.find((each) => each['id'] === JOB);
  if (!known) return null;
  const error = known['error'];
  return {
    status: String(known['status']),
    done: Number(known['current-progress']),
    total: Number(known['total-progress']),
    error: typeof error === 'string' ? error : undefined,
  };
}

/** Neither the job nor its node is there any more. */
async function endJob(qemu: Monitor, clock: Clock): Promise<void> {
  const deadline = passed(clock) + END_LIMIT_MS;
  for (let asked = false; ; ) {
    const known = await findJob(qemu);
    if (known === null) break;
    if (known.status === 'concluded') await qemu.execute('job-dismiss', { id: JOB });
    else if (!asked) {
      await qemu.execute('block-job-cancel', { device: JOB, force: true });
      asked = true;
    }
    if (passed(clock) > deadline) throw new HypervisorError('QEMU does not let go of the copy that it makes');
    if (known.status !== 'concluded') await clock.sleep(POLL_MS);
  }
  const nodes = (await qemu.execute('query-named-block-nodes', { flat: true })) as ReadonlyArray<
    Record<string, unknown>
  >;
  if (nodes.some((node) => node['node-name'] === NODE)) await qemu.execute('blockdev-del', { 'node-name': NODE });
}
