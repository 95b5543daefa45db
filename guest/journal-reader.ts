// Reads a guest's journal from outside, out of its disk: trusting nothing that the guest printed or answered.
//
//   node guest/journal-reader.ts IMAGE [--format qcow2|raw] [--text]
//
// The way: copy partition 2 of the disk out of the image (the backing chain resolved, the image opened for
// reading only, also while a guest runs on it), replay the file system's own journal on the copy, and take
// /journal out of it with debugfs. Nothing is mounted and no root is needed.
//
// The image's format is told, never guessed: a guest may write anything into its own disk, also a header that
// names a file of the host. What can race: on a running guest's disk the copy is not of one instant; a file
// system that cannot be read is copied anew, a few times. An append that is under way may be missing or torn.
// Not handled: other partition tables than the boot record's four entries, other file systems than ext2/3/4.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type Journal, longestGapMs, parseJournal, verifyChain } from './journal.ts';
import { findTool, GuestError, run } from './run.ts';

export type ImageFormat = 'qcow2' | 'raw';

export type JournalReading =
  | { readonly ok: true; readonly journal: Journal; readonly text: string; readonly fileSystemClean: boolean }
  | { readonly ok: false; readonly reason: string };

export type PartitionFound =
  | { readonly ok: true; readonly offset: number; readonly size: number }
  | { readonly ok: false; readonly reason: string };

const SECTOR = 512;
const LINUX = 0x83;
const ATTEMPTS = 3;
/** At five lines a second, more than a day. */
const MAX_JOURNAL_BYTES = 64 * 1024 * 1024;
const MAX_DISK_BYTES = 64 * 1024 ** 3;

/** Partition 2 of a master boot record, in bytes; it must be a Linux partition inside the disk. */
export function findPartition2(record: Buffer, diskBytes: number): PartitionFound {
  if (record.length < SECTOR || record.readUInt16LE(510) !== 0xaa55)
    return { ok: false, reason: 'the disk has no boot record' };
  const entry = record.subarray(446 + 16, 446 + 32);
  if (entry.readUInt8(4) !== LINUX) return { ok: false, reason: "the disk's second partition is not a Linux one" };
  const offset = entry.readUInt32LE(8) * SECTOR;
  const size = entry.readUInt32LE(12) * SECTOR;
  if (offset === 0 || size === 0 || offset + size > diskBytes) {
    return { ok: false, reason: "the disk's second partition does not lie inside the disk" };
  }
  return { ok: true, offset, size };
}

/** QEMU's name for a slice of an image; JSON, so that no character of a path means anything. */
function slice(image: string, format: ImageFormat, range: { offset: number; size: number }): string {
  const file = { driver: 'file', filename: image };
  return `json:${JSON.stringify({ driver: 'raw', ...range, file: format === 'raw' ? file : { driver: format, file } })}`;
}

async function virtualSize(qemuImg: string, image: string, format: ImageFormat): Promise<number> {
  const info: unknown = JSON.parse(String(await run(qemuImg, ['info', '-U', '--output=json', '-f', format, image])));
  const size = typeof info === 'object' && info !== null && 'virtual-size' in info ? info['virtual-size'] : undefined;
  if (typeof size !== 'number') throw new GuestError('qemu-img tells no virtual size');
  if (size < SECTOR || size > MAX_DISK_BYTES)
    throw new GuestError(`a disk of ${size} bytes is beyond the limits of this reader`);
  return size;
}

async function copyOut(image: string, format: ImageFormat, work: string): Promise<string> {
  const qemuImg = await findTool('qemu-img', 'qemu-utils');
  const size = await virtualSize(qemuImg, image, format);
  const record = join(work, 'record');
  const partition = join(work, 'partition');
  await run(qemuImg, ['convert', '-U', '-O', 'raw', slice(image, format, { offset: 0, size: SECTOR }), record]);
  const found = findPartition2(await readFile(record), size);
  if (!found.ok) throw new GuestError(found.reason);
  const range = { offset: found.offset, size: found.size };
  await run(qemuImg, ['convert', '-U', '-O', 'raw', slice(image, format, range), partition], { limitMs: 300_000 });
  return partition;
}

async function readOnce(image: string, format: ImageFormat, work: string): Promise<JournalReading> {
  const e2fsck = await findTool('e2fsck', 'e2fsprogs');
  const debugfs = await findTool('debugfs', 'e2fsprogs');
  const partition = await copyOut(image, format, work);
  // Status 1 is "errors were corrected": the journal was replayed.
  await run(e2fsck, ['-y', '-E', 'journal_only', partition], { accept: [0, 1] });
  const fileSystemClean = await run(e2fsck, ['-f', '-n', partition]).then(
    () => true,
    (error: unknown) => {
      if (error instanceof GuestError) return false;
      throw error;
    },
  );
  const bytes = await run(debugfs, ['-R', 'cat /journal', partition], { maxBytes: MAX_JOURNAL_BYTES });
  const text = bytes.toString('latin1');
  return { ok: true, journal: parseJournal(text), text, fileSystemClean };
}

/**
 * The journal on a disk image, with the image's backing files; also of a guest that runs.
 * @param image path of the image
 * @param format the image's format, as its owner knows it
 * @param workDirectory where the copy goes (as much room as the guest's data takes); it is removed at the end
 * @returns the journal, or one sentence why it could not be read; `fileSystemClean` is a full check of the copy,
 *   which on a running guest's disk may rightly say no
 */
export async function readJournal(image: string, format: ImageFormat, workDirectory: string): Promise<JournalReading> {
  let reason = '';
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const work = await mkdtemp(join(workDirectory, 'journal-'));
    try {
      return await readOnce(resolve(image), format, work);
    } catch (error) {
      if (!(error instanceof GuestError)) throw error;
      reason = error.message;
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }
  return { ok: false, reason };
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: { format: { type: 'string', default: 'qcow2' }, text: { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  const [image] = positionals;
  if (image === undefined || positionals.length > 1 || (values.format !== 'qcow2' && values.format !== 'raw')) {
    console.error('usage: node guest/journal-reader.ts IMAGE [--format qcow2|raw] [--text]');
    return 2;
  }
  const reading = await readJournal(image, values.format, tmpdir());
  if (!reading.ok) {
    console.error(`journal: ${reading.reason}`);
    return 1;
  }
  if (values.text) {
    process.stdout.write(reading.text);
    return 0;
  }
  const { journal, fileSystemClean } = reading;
  const verdict = verifyChain(journal);
  const last = journal.entries.at(-1);
  console.log(
    JSON.stringify(
      { verdict, last, longestGap: longestGapMs(journal.entries), torn: journal.torn, fileSystemClean },
      null,
      2,
    ),
  );
  return verdict.ok ? 0 : 1;
}

if (import.meta.main) process.exitCode = await main();
