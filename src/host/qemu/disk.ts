// Root disks and base images through qemu-img.
//
// Theory of operation. Every file is first judged by its own header (qcow2-header.ts); only then a QEMU program opens
// it, with its format stated and never guessed, as the unprivileged user. Overlays name their base relative to
// themselves; a running guest is told its base on the command line and does not read that name.
import { constants } from 'node:fs';
import type { BaseImage } from '../contract.ts';
import { HypervisorError } from '../hypervisor.ts';
import { type Identity, openUntrusted } from './privileges.ts';
import { HEADER_BYTES, type Qcow2Header, readQcow2Header } from './qcow2-header.ts';
import { run } from './tools.ts';

export interface DiskTools {
  readonly qemuImg: string;
  readonly identity: Identity | null;
}

const TOOL_LIMIT_MS = 30_000;

/** The file's header; HypervisorError says what is wrong with it. */
export async function readHeader(path: string): Promise<Qcow2Header> {
  const file = await openUntrusted(path, constants.O_RDONLY);
  if (file === null) throw new HypervisorError('the disk is not there');
  try {
    const bytes = new Uint8Array(HEADER_BYTES);
    const { bytesRead } = await file.read(bytes, 0, HEADER_BYTES, 0);
    const verdict = readQcow2Header(bytes.subarray(0, bytesRead));
    if (verdict.kind === 'bad') throw new HypervisorError(verdict.reason);
    return verdict.header;
  } finally {
    await file.close();
  }
}

/** Rejects unless the file is what the image says it is and refers to no other file. */
export async function checkBaseImage(tools: DiskTools, path: string, image: BaseImage): Promise<void> {
  if (image.format === 'raw') {
    // QEMU rounds raw images up to whole sectors.
    const virtual = Math.ceil(image.sizeBytes / 512) * 512;
    if (image.virtualBytes !== image.sizeBytes && image.virtualBytes !== virtual)
      throw new HypervisorError('the image does not have the virtual size it is said to have');
    return;
  }
  const header = await readHeader(path);
  if (header.hasBackingFile) throw new HypervisorError('the image has a backing file');
  if (header.virtualBytes !== image.virtualBytes)
    throw new HypervisorError('the image does not have the virtual size it is said to have');
  await qemuInfo(tools, path);
}

/** Makes an empty overlay of `bytes` on the base. */
export async function createOverlay(
  tools: DiskTools,
  path: string,
  base: { readonly name: string; readonly format: BaseImage['format'] },
  bytes: number,
  signal: AbortSignal,
): Promise<void> {
  const args = ['create', '-q', '-f', 'qcow2', '-F', base.format, '-b', base.name, path, String(bytes)];
  await run(tools.qemuImg, args, { identity: tools.identity, timeoutMs: TOOL_LIMIT_MS, signal });
}

/** Makes the overlay (which the caller has judged by its header) name this base, without reading either's data. */
export async function rebaseOverlay(
  tools: DiskTools,
  path: string,
  base: { readonly name: string; readonly format: BaseImage['format'] },
): Promise<void> {
  const args = ['rebase', '-q', '-u', '-f', 'qcow2', '-F', base.format, '-b', base.name, path];
  await run(tools.qemuImg, args, { identity: tools.identity, timeoutMs: TOOL_LIMIT_MS });
  const info = await qemuInfo(tools, path);
  if (info['backing-filename'] !== base.name) throw new HypervisorError('the disk does not stand on its base image');
}

/** Grows the overlay's virtual size; nothing happens when it is large enough. */
export async function growOverlay(tools: DiskTools, path: string, bytes: number): Promise<void> {
  const { virtualBytes } = await readHeader(path);
  if (virtualBytes >= bytes) return;
  const args = ['resize', '-q', '-f', 'qcow2', path, String(bytes)];
  await run(tools.qemuImg, args, { identity: tools.identity, timeoutMs: TOOL_LIMIT_MS });
}

/** What qemu-img says of a qcow2 file, after refusing what a root disk may not have. */
async function qemuInfo(tools: DiskTools, path: string): Promise<Record<string, unknown>> {
  const args = ['info', '--output=json', '-f', 'qcow2', path];
  const output = await run(tools.qemuImg, args, { identity: tools.identity, timeoutMs: TOOL_LIMIT_MS });
  const info = JSON.parse(output) as Record<string, unknown>;
  if (info['encrypted'] === true) throw new HypervisorError('the image is encrypted');
  const specific = info['format-specific'] as { data?: Record<string, unknown> } | undefined;
  if (specific?.data?.['data-file'] !== undefined)
    throw new HypervisorError('the image keeps its data in another file');
  return info;
}
