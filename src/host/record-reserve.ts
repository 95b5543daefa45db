// Room for records on a file system that is full.
//
// Theory of operation. A guest is turned off, or destroyed, when that is on record: where no record could be written
// any more, just what makes room again could not be done. So some files are kept filled beside the records. A record
// that finds no room is written over one of them, which takes no more room than there is, and gets to its place by a
// rename as ever; the file is made anew when there is room again. One that was cut short, by a crash, is too short, and
// made anew.
// Not handled: more records in a row than there are files, longer ones than a file; file systems that write what is
// overwritten to another place (btrfs, ZFS), which promise nothing.
import { mkdir, open, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isCode } from './qemu/proc.ts';

/** Longer than records are, but those of volumes that dozens of servers share. */
const FILE_BYTES = 32 * 1024;
/** Turning a guest off takes two records at most, and so does destroying one, which makes room. */
const FILES = 8;

export const isFull = (error: unknown): boolean => isCode(error, 'ENOSPC') || isCode(error, 'EDQUOT');

export class RecordReserve {
  readonly #directory: string;
  readonly #filled: string[] = [];
  #empty: string[];

  /** @param directory on the file system of the records; made when it is not there */
  constructor(directory: string) {
    this.#directory = directory;
    this.#empty = Array.from({ length: FILES }, (_, index) => join(directory, String(index)));
  }

  /** Makes the files that are not there, as far as there is room. Costs nothing when all are. */
  async fill(): Promise<void> {
    const empty = this.#empty;
    if (empty.length === 0) return;
    // Whoever comes meanwhile has nothing to do.
    this.#empty = [];
    try {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      for (let path = empty.at(-1); path !== undefined; path = empty.at(-1)) {
        if (!(await isFilled(path))) await fillFile(path);
        empty.pop();
        this.#filled.push(path);
      }
    } catch (error) {
      // The next record is a new try.
      if (!isFull(error)) throw error;
    } finally {
      this.#empty.push(...empty);
    }
  }

  /** As writeFileAtomically, with no room at all; false: the reserve is used up. The directory is not synced. */
  async replace(path: string, text: string): Promise<boolean> {
    const file = this.#filled.pop();
    if (file === undefined) return false;
    try {
      await overwrite(file, text);
      await rename(file, path);
      return true;
    } finally {
      this.#empty.push(file);
    }
  }
}

async function overwrite(path: string, text: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.write(text, 0, 'utf8');
    await file.truncate(Buffer.byteLength(text));
    await file.sync();
  } finally {
    await file.close();
  }
}

async function isFilled(path: string): Promise<boolean> {
  try {
    return (await stat(path)).size === FILE_BYTES;
  } catch (error) {
    if (isCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/** Not synced: what was written has its room from then on. */
async function fillFile(path: string): Promise<void> {
  try {
    await writeFile(path, Buffer.alloc(FILE_BYTES, ' '), { mode: 0o600 });
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}
