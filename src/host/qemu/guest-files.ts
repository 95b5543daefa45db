// A guest's directory, and the disks that are made in it.
//
// Theory of operation. A disk is made under the name of one that is under way, synced, and renamed when it is whole: after
// a power cut it is there, or it is not. The directory is the guest's user's own.
import { chown, mkdir, rename, rm } from 'node:fs/promises';
import type { GuestRoot } from '../contract.ts';
import { syncDirectory } from '../record-files.ts';
import { createOverlay, type DiskTools } from './disk.ts';
import { checkRoom, syncFile } from './disk-files.ts';
import type { Layout } from './layout.ts';

interface Place {
  readonly layout: Layout;
  readonly tools: DiskTools;
}

/** Harmless when it is there. */
export async function makeGuestDirectory({ layout, tools: { identity } }: Place, serverId: string): Promise<void> {
  const directory = layout.guestDir(serverId);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  if (identity) await chown(directory, identity.uid, identity.gid);
  // What is made in it would be lost with it.
  await syncDirectory(layout.guestsDir);
}

/** A new disk, empty on its image, at `path` in the guest's directory. */
export async function makeOverlay(
  { layout, tools }: Place,
  serverId: string,
  root: Extract<GuestRoot, { kind: 'image' }>,
  path: string,
  signal: AbortSignal,
): Promise<void> {
  await checkRoom(layout.guestsDir, 0, 'another disk');
  const partial = layout.partialDisk(serverId);
  await rm(partial, { force: true });
  const base = { name: layout.imageFromGuest(root.image), format: root.image.format };
  await createOverlay(tools, partial, base, root.bytes, signal);
  await syncFile(partial, 'the disk');
  await rename(partial, path);
  await syncDirectory(layout.guestDir(serverId));
}
