// The keys by which QEMU's programs know each other (TLS-PSK, RFC 4279), as files that QEMU reads.
//
// Theory of operation. One directory per owner with one file `keys.psk`, a line `user:key` for each. Directory and file
// are the agent's own; the user that QEMU runs as may read them and nothing else. The file is replaced as a whole by
// rename, so that a daemon that reads it at a handshake sees the old keys or the new ones. Keys are on no command line,
// in no log and in no answer but the one that hands them over.
import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Identity } from './privileges.ts';

/** The name that QEMU looks for. */
const KEYS_FILE = 'keys.psk';

export interface PskKey {
  readonly user: string;
  /** Hexadecimal. */
  readonly key: string;
}

/** A directory that the agent owns and `identity` may pass. */
export async function makeKeysDirectory(directory: string, identity: Identity | null): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  if (identity === null) return;
  await chown(directory, 0, identity.gid);
  await chmod(directory, 0o710);
}

/** From the moment it resolves, exactly these keys are good. */
export async function writeKeys(directory: string, identity: Identity | null, keys: readonly PskKey[]): Promise<void> {
  await makeKeysDirectory(directory, identity);
  const aside = join(directory, `${KEYS_FILE}.${randomBytes(8).toString('hex')}`);
  const file = await open(aside, 'wx', 0o600);
  try {
    await file.writeFile(keys.map(({ user, key }) => `${user}:${key}\n`).join(''));
    if (identity !== null) {
      await file.chown(0, identity.gid);
      await file.chmod(0o640);
    }
  } finally {
    await file.close();
  }
  await rename(aside, join(directory, KEYS_FILE));
}

export async function removeKeys(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true });
}
