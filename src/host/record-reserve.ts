// Room for records on a file system that is full.
//
// Theory of operation. A guest is turned off, or destroyed, when that is on record: where no record could be written
// any more, just what makes room again could not be done. So some files are kept filled beside the records, each as long
// as the longest record so far. A record that finds no room is written over one of them, which takes no more room than
// there is, and gets to its place by a rename as ever; the file is made anew when there is room again. One that was cut
// short, by a crash or where there was no room for more, is lengthened. Whoever uses a file takes it out of the list
// meanwhile, and waits until nobody lengthens files.
// Not handled: more records in a row than there are files; a record that is longer than all before it, where there was
// no room to lengthen the files; file systems that write what is overwritten to another place (btrfs, ZFS), which
// promise nothing.
import { mkdir, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { isCode } from './qemu/proc.ts';

/** Longer than most records are. */
const LEAST_BYTES = 32 * 1024;
/** Turning a guest off takes two records at most, and so does destroying one, which makes room. */
const FILES = 8;

export const isFull = (error: unknown): boolean => isCode(error, 'ENOSPC') || isCode(error, 'EDQUOT');

interface Spare {
  readonly path: string;
  /** How long it is known to be. */
  bytes: number;
}

export class RecordReserve {
  readonly #directory: string;
  /** Those that nobody is using. */
  readonly #files: Spare[];
  #bytes = LEAST_BYTES;
  #filling: Promise<void> | null = null;

  /** @param directory on the file system of the records; made when it is not there */
  constructor(directory: string) {
    this.#directory = directory;
    this.#files = Array.from({ length: FILES }, (_, index) => ({ path: join(directory, String(index)), bytes: 0 }));
  }

  /** Makes each file long enough for a record of `bytes`, as far as there is room. Costs nothing when all are. */
  async fill(bytes = 0): Promise<void> {
    // By doubling, so that records which grow do not lengthen the files each time.
    while (this.#bytes < bytes) this.#bytes *= 2;
    this.#filling ??= this.#fill().finally(() => {
      this.#filling = null;
    });
    await this.#filling;
  }

  async #fill(): Promise<void> {
    const short = this.#files.filter((file) => file.bytes < this.#bytes);
    if (short.length === 0) return;
    try {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      for (const file of short) await lengthen(file, this.#bytes);
    } catch (error) {
      // The next record is a new try.
      if (!isFull(error)) throw error;
    }
  }

  /** As writeFileAtomically, with no room at all; false: the reserve is used up. The directory is not synced. */
  async replace(path: string, text: string): Promise<boolean> {
    // Nobody else uses a file while it is lengthened; whether that fails is told to whoever asked for it.
    while (this.#filling !== null) await Promise.allSettled([this.#filling]);
    const index = this.#files.findIndex(({ bytes }) => bytes >= Buffer.byteLength(text));
    const [file] = index < 0 ? [] : this.#files.splice(index, 1);
    if (file === undefined) return false;
    try {
      await overwrite(file.path, text);
      await rename(file.path, path);
      return true;
    } finally {
      file.bytes = 0;
      this.#files.push(file);
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

/** Not synced: what was written has its room from then on. Where there is no room it stays as it is, and may be used. */
async function lengthen(spare: Spare, bytes: number): Promise<void> {
  const file = await open(spare.path, 'a', 0o600);
  try {
    spare.bytes = (await file.stat()).size;
    if (spare.bytes < bytes) await file.appendFile(Buffer.alloc(bytes - spare.bytes, ' '));
    spare.bytes = Math.max(spare.bytes, bytes);
  } catch (error) {
    if (!isFull(error)) throw error;
  } finally {
    await file.close();
  }
}
