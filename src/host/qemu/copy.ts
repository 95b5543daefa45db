// Brings another host's overlay here, byte for byte.
//
// Theory of operation. qemu-img reads the export and writes disk.part, skipping holes; if the connection breaks it
// tries again for a while, because the source's agent may be restarting. A copy that makes no progress is ended. Then:
// cut to the exact length (NBD counts in sectors), digest of the bytes as received, judgement of the header (they come
// from elsewhere), base renamed to this host's, fsync, rename to disk.qcow2. Whatever fails on the way leaves nothing.
// Not handled: resuming a copy after this agent's own restart; it starts over.
import { constants } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import type { Clock } from '../../lib/clock.ts';
import type { BaseImage, DiskExport } from '../contract.ts';
import { HypervisorError, type JobControl } from '../hypervisor.ts';
import { syncDirectory } from '../record-files.ts';
import { runConvert } from './convert.ts';
import { sha256File } from './digest.ts';
import { type DiskTools, readHeader, rebaseOverlay } from './disk.ts';
import { checkRoom, syncFile } from './disk-files.ts';
import type { Layout } from './layout.ts';
import { openUntrusted } from './privileges.ts';

export interface CopyOptions {
  readonly layout: Layout;
  readonly tools: DiskTools;
  readonly clock: Clock;
  /** A copy without progress is given up after this time, ms. */
  readonly stallMs: number;
  /** Bytes per second; null: as fast as it goes. */
  readonly bytesPerSecond: number | null;
}

/** How long a broken connection is tried again, s: longer than an agent's restart. */
const RECONNECT_SECONDS = 20;
/** How long the first connection is tried, s. */
const OPEN_SECONDS = 5;

/** The overlay is in place as the guest's disk; returns the SHA-256 of the bytes as they came. */
export async function importOverlay(
  options: CopyOptions,
  serverId: string,
  image: BaseImage,
  source: DiskExport,
  job: JobControl,
): Promise<string> {
  const { layout } = options;
  const partial = layout.partialDisk(serverId);
  await checkRoom(layout.guestDir(serverId), source.allocatedBytes, `${source.allocatedBytes} bytes of disk`);
  await rm(partial, { force: true });
  try {
    await copy(options, source, partial, job);
    await cut(partial, source.sizeBytes);
    const sha256 = await sha256File(partial, { signal: job.signal, progress: () => undefined });
    await judge(partial, image);
    const base = { name: layout.imageFromGuest(image), format: image.format };
    await rebaseOverlay(options.tools, partial, base);
    await syncFile(partial, 'the copied disk');
    job.signal.throwIfAborted();
    await rename(partial, layout.disk(serverId));
    await syncDirectory(layout.guestDir(serverId));
    return sha256;
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

async function copy(options: CopyOptions, source: DiskExport, partial: string, job: JobControl): Promise<void> {
  const { tools, clock, stallMs, bytesPerSecond } = options;
  const total = source.allocatedBytes;
  job.progress(0, total);
  const args = convertArguments(source, partial, bytesPerSecond);
  await runConvert({ ...tools, clock, stallMs }, args, partial, job.signal, (written) =>
    job.progress(Math.min(written, total), total),
  );
  job.progress(total, total);
}

/** Pure. The contract's schema leaves no character in host and name that means anything in these options. */
export function convertArguments(source: DiskExport, target: string, bytesPerSecond: number | null): string[] {
  const image = [
    'driver=raw',
    'file.driver=nbd',
    'file.server.type=inet',
    `file.server.host=${source.host}`,
    `file.server.port=${source.port}`,
    `file.export=${source.name}`,
    `file.reconnect-delay=${RECONNECT_SECONDS}`,
    `file.open-timeout=${OPEN_SECONDS}`,
  ].join(',');
  const limit = bytesPerSecond === null ? [] : ['-r', String(bytesPerSecond)];
  return ['convert', '-p', '-S', '4k', '-m', '8', '-W', ...limit, '--image-opts', '-O', 'raw', image, target];
}

/** NBD rounds up to sectors; the rest of the last one is not part of the disk. */
async function cut(path: string, bytes: number): Promise<void> {
  const file = await openUntrusted(path, constants.O_RDWR);
  if (file === null) throw new HypervisorError('the copied disk is not there');
  try {
    const { size } = await file.stat();
    if (size < bytes) throw new HypervisorError(`the copied disk has ${size} bytes instead of ${bytes}`);
    await file.truncate(bytes);
  } finally {
    await file.close();
  }
}

async function judge(path: string, image: BaseImage): Promise<void> {
  const header = await readHeader(path);
  if (!header.hasBackingFile) throw new HypervisorError('the copied disk has no base image');
  if (header.virtualBytes < image.virtualBytes)
    throw new HypervisorError('the copied disk is smaller than its base image');
}
