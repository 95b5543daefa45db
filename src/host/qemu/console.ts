// The serial console's file and QEMU's log, kept within bounds.
//
// Theory of operation. QEMU appends to console.log. When the file has grown past its bound the agent copies it to
// console.1.log and empties it; QEMU, which appends, goes on at the beginning. What a guest prints between copy and
// emptying (less than a millisecond) is lost: a console is not a record. Both files are the guest's user's, so neither
// is trusted to be a regular file.
import { constants } from 'node:fs';
import { join } from 'node:path';
import { CONSOLE_LOG, CONSOLE_OLD } from './layout.ts';
import { openUntrusted } from './privileges.ts';

/** Each of the two files; what is kept in all is up to twice this. */
const CONSOLE_BYTES = 2 * 1024 * 1024;

/** What QEMU itself says. */
const LOG_BYTES = 1024 * 1024;

/** All that is kept, oldest first. Bytes that are not UTF-8 become replacement characters. */
export async function readConsole(directory: string): Promise<string> {
  const old = await readTail(join(directory, CONSOLE_OLD), CONSOLE_BYTES);
  const now = await readTail(join(directory, CONSOLE_LOG), CONSOLE_BYTES);
  return Buffer.concat([old, now]).toString('utf8');
}

/** Empties console.log when it is larger than `limit` bytes. */
export async function boundConsole(directory: string, limit = CONSOLE_BYTES): Promise<void> {
  const file = await openUntrusted(join(directory, CONSOLE_LOG), constants.O_RDWR);
  if (file === null) return;
  try {
    if ((await file.stat()).size <= limit) return;
    const tail = await readTail(join(directory, CONSOLE_LOG), limit);
    await writeOld(join(directory, CONSOLE_OLD), tail);
    await file.truncate(0);
  } finally {
    await file.close();
  }
}

/** Empties the log of QEMU when it is too large. */
export async function boundLog(path: string): Promise<void> {
  const file = await openUntrusted(path, constants.O_RDWR);
  if (file === null) return;
  try {
    if ((await file.stat()).size > LOG_BYTES) await file.truncate(0);
  } finally {
    await file.close();
  }
}

async function writeOld(path: string, content: Buffer): Promise<void> {
  const file = await openUntrusted(path, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC);
  if (file === null) return;
  try {
    await file.writeFile(content);
  } finally {
    await file.close();
  }
}

async function readTail(path: string, bytes: number): Promise<Buffer> {
  const file = await openUntrusted(path, constants.O_RDONLY);
  if (file === null) return Buffer.alloc(0);
  try {
    const { size } = await file.stat();
    const length = Math.min(size, bytes);
    const buffer = Buffer.alloc(length);
    const { bytesRead } = await file.read(buffer, 0, length, size - length);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
