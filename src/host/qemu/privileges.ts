// Whom QEMU and its tools run as.
//
// Theory of operation. An agent that is root runs every QEMU program as an unprivileged user, who owns the guests'
// directories and reaches nothing else of the agent's state. That works only where this user may pass through all
// directories above; where it may not, the programs run as the agent itself, which is logged, because it is weaker.
// Not handled: guests are not kept apart from each other by users; the one user owns all of them.
// What that user can write (a guest's directory) is hostile ground: files there are opened without following links.
import { constants } from 'node:fs';
import { type FileHandle, open, readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Logger } from 'pino';
import { HypervisorError } from '../hypervisor.ts';

export interface Identity {
  readonly uid: number;
  readonly gid: number;
}

/** The identity for QEMU's programs; null: the agent's own. `user` null asks for that. */
export async function chooseIdentity(user: string | null, directory: string, log: Logger): Promise<Identity | null> {
  if (user === null || process.getuid?.() !== 0) return null;
  const identity = await lookUp(user);
  if (identity === null) {
    log.warn({ user }, 'no such user: QEMU runs as the agent itself');
    return null;
  }
  const obstacle = await obstacleFor(identity, directory);
  if (obstacle === null) return identity;
  log.warn({ user, obstacle }, 'the user cannot pass this directory: QEMU runs as the agent itself');
  return null;
}

async function lookUp(user: string): Promise<Identity | null> {
  for (const line of (await readFile('/etc/passwd', 'utf8')).split('\n')) {
    const [name, , uid, gid] = line.split(':');
    if (name === user) return { uid: Number(uid), gid: Number(gid) };
  }
  return null;
}

/** The first directory on the way from / that this identity may not pass; null: none. */
async function obstacleFor(identity: Identity, directory: string): Promise<string | null> {
  const path = [directory];
  while (path[0] !== '/') path.unshift(dirname(path[0] ?? '/'));
  for (const step of path) {
    const { mode, uid, gid } = await stat(step);
    const bit = uid === identity.uid ? 0o100 : gid === identity.gid ? 0o010 : 0o001;
    if ((mode & bit) === 0) return step;
  }
  return null;
}

/** Opens a regular file that an untrusted user may have replaced; null when it is not there. */
export async function openUntrusted(path: string, flags: number): Promise<FileHandle | null> {
  let file: FileHandle;
  try {
    // NONBLOCK: opening a FIFO must not hang.
    file = await open(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw new HypervisorError(`${path} is not a regular file`);
}
