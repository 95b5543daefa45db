// What happens to files of databases that are open, for tests.
import { closeSync, copyFileSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { type Kysely, sql } from 'kysely';

/**
 * Byte of the header that says which version may write: above 2 the file is read-only
 * (https://sqlite.org/fileformat.html).
 */
const WRITE_VERSION = 18;
/** A page has no more bytes than this, and the first one is the header's and the schema's. */
const PAGE = 4096;

/** All of it is in the file, and nothing of that in memory, as after a while of other work. */
async function flush<T>(db: Kysely<T>): Promise<void> {
  await sql`pragma wal_checkpoint(truncate)`.execute(db);
  await sql`pragma shrink_memory`.execute(db);
}

/** Keeps what `mend` will put there. */
export async function lastGood<T>(db: Kysely<T>, path: string): Promise<void> {
  await flush(db);
  copyFileSync(path, `${path}.good`);
}

/** Every page but the first becomes rubbish. */
export async function damage<T>(db: Kysely<T>, path: string): Promise<void> {
  await flush(db);
  write(path, PAGE, Buffer.alloc(statSync(path).size - PAGE, 0x5a));
}

/** As an operator does it while nobody has the file open: another file in its place, and nothing of the old one beside it. */
export function mend(path: string): void {
  for (const suffix of ['-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
  copyFileSync(`${path}.good`, path);
}

/** The file may be written, or not, whoever asks. To make it writable again, nobody may have it open. */
export async function setWritable<T>(db: Kysely<T>, path: string, writable: boolean): Promise<void> {
  if (!writable) await flush(db);
  write(path, WRITE_VERSION, Buffer.from([writable ? 2 : 3]));
}

function write(path: string, at: number, bytes: Buffer): void {
  const file = openSync(path, 'r+');
  writeSync(file, bytes, 0, bytes.length, at);
  closeSync(file);
}
