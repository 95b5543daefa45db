// Volumes as files: made, grown and kept in snapshots by qemu-img while no daemon has them open.
//
// Theory of operation. A volume is one qcow2 file without a base: it is whole by itself, so that an image, a source or a
// snapshot can go without a look at who was made from it. Snapshots are inside of the file. Formats are always stated and
// never guessed; what comes from elsewhere has been judged by the image cache.
import { rm } from 'node:fs/promises';
import { HypervisorError, type JobControl } from '../../host/hypervisor.ts';
import { type CopyTools, runConvert } from '../../host/qemu/convert.ts';
import { type DiskTools, readHeader } from '../../host/qemu/disk.ts';
import { run } from '../../host/qemu/tools.ts';

const TOOL_LIMIT_MS = 30_000;

export interface CopySource {
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
  /** A snapshot inside of it; null: what it holds. Another program may have the file open then: snapshots stand still. */
  readonly snapshot: string | null;
}

export async function makeBlank(tools: DiskTools, path: string, bytes: number): Promise<void> {
  await qemuImg(tools, ['create', '-q', '-f', 'qcow2', path, String(bytes)]);
}

/** A full copy of `bytes`. HypervisorError when the source is longer, or when nothing moves for `stallMs`. */
export async function makeCopy(
  tools: CopyTools,
  source: CopySource,
  path: string,
  bytes: number,
  job: JobControl,
): Promise<void> {
  await convert(tools, source, path, 'qcow2', bytes, job);
  const { virtualBytes } = await readHeader(path);
  if (virtualBytes > bytes) throw new HypervisorError('the volume is smaller than its source');
  await growFile(tools, path, bytes);
  job.progress(bytes, bytes);
}

/** A full copy in that format; `bytes`: how much that is, for the progress. */
export async function convert(
  tools: CopyTools,
  source: CopySource,
  path: string,
  format: 'qcow2' | 'raw',
  bytes: number,
  job: JobControl,
): Promise<void> {
  const from = source.snapshot === null ? [] : ['-U', '-l', `snapshot.name=${source.snapshot}`];
  const args = ['convert', '-p', '-m', '8', '-W', ...from, '-f', source.format, '-O', format, source.path, path];
  await runConvert(tools, args, path, job.signal, (written) => job.progress(Math.min(written, bytes), bytes));
}

/** The volume holds what the image does, and zeros behind it; its snapshots stay. `template`: a file for the while. */
export async function overwrite(
  tools: CopyTools,
  base: Omit<CopySource, 'snapshot'>,
  template: string,
  path: string,
  job: JobControl,
): Promise<void> {
  const { virtualBytes } = await readHeader(path);
  await rm(template, { force: true });
  await makeBlank(tools, template, virtualBytes);
  try {
    // The base is named here: nothing in a file's bytes decides which file is opened.
    const backing = { driver: base.format, file: { driver: 'file', filename: base.path } };
    const source = {
      driver: 'qcow2',
      file: { driver: 'file', filename: template },
      backing: base.format === 'qcow2' ? { ...backing, backing: null } : backing,
    };
    const args = ['convert', '-p', '-n', '-O', 'qcow2', `json:${JSON.stringify(source)}`, path];
    await runConvert(tools, args, path, job.signal);
    job.progress(virtualBytes, virtualBytes);
  } finally {
    await rm(template, { force: true });
  }
}

/** The volume holds what its snapshot does, which stays. */
export async function revertFile(tools: DiskTools, path: string, name: string): Promise<void> {
  await qemuImg(tools, ['snapshot', '-q', '-a', name, path]);
}

export async function growFile(tools: DiskTools, path: string, bytes: number): Promise<void> {
  if ((await readHeader(path)).virtualBytes >= bytes) return;
  await qemuImg(tools, ['resize', '-q', '-f', 'qcow2', path, String(bytes)]);
}

export async function snapshotFile(
  tools: DiskTools,
  path: string,
  action: 'take' | 'delete',
  name: string,
): Promise<void> {
  const there = (await snapshotsIn(tools, path)).includes(name);
  if (there === (action === 'take')) return;
  await qemuImg(tools, ['snapshot', '-q', action === 'take' ? '-c' : '-d', name, path]);
}

async function snapshotsIn(tools: DiskTools, path: string): Promise<string[]> {
  const info = JSON.parse(await qemuImg(tools, ['info', '--output=json', '-f', 'qcow2', path])) as {
    snapshots?: ReadonlyArray<{ name: string }>;
  };
  return (info.snapshots ?? []).map(({ name }) => name);
}

const qemuImg = (tools: DiskTools, args: readonly string[]): Promise<string> =>
  run(tools.qemuImg, args, { identity: tools.identity, timeoutMs: TOOL_LIMIT_MS });
