// What several parts of the drivers ask of large files, and of the disk that these are on.
import { constants, type Stats } from 'node:fs';
import { lstat, readdir, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { HypervisorError } from '../hypervisor.ts';
import { openUntrusted } from './privileges.ts';
import { isCode } from './proc.ts';

/** Disk space that whatever is made leaves free. */
const SPARE_BYTES = 64 * 1024 * 1024;

/** Rejects unless the disk of this directory has room for so many bytes more; `what` they are, for the reason. */
export async function checkRoom(directory: string, bytes: number, what: string): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  if (bavail * bsize < bytes + SPARE_BYTES) throw new HypervisorError(`no room for ${what}`);
}

/** How much of the disk the file takes; null: it is not there. */
export async function allocatedBytes(path: string): Promise<number | null> {
  try {
    return (await stat(path)).blocks * 512;
  } catch (error) {
    if (isCode(error, 'ENOENT')) return null;
    throw error;
  }
}

/** How much of the disk the files of a directory take; null: it is not there. */
export async function bytesIn(directory: string): Promise<number | null> {
  try {
    let bytes = 0;
    // Links are not followed: the directory may be a guest's own.
    for (const name of await readdir(directory)) bytes += (await lstatIfThere(join(directory, name)))?.blocks ?? 0;
    return bytes * 512;
  } catch (error) {
    if (isCode(error, 'ENOENT')) return null;
    throw error;
  }
}

async function lstatIfThere(path: string): Promise<Stats | null> {
  try {
    return await lstat(path);
  } catch (error) {
    if (isCode(error, 'ENOENT')) return null;
    throw error;
  }
}

/** What is in a directory; nothing when it is not there. */
export async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isCode(error, 'ENOENT')) return [];
    throw error;
  }
}

/** What has been written to the file survives a power cut afterwards; `what` it is, for the reason when it is not there. */
export async function syncFile(path: string, what: string): Promise<void> {
  const file = await openUntrusted(path, constants.O_RDWR);
  if (file === null) throw new HypervisorError(`${what} is not there`);
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
