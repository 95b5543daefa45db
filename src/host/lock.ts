// At most one agent per state directory.
//
// Theory of operation. The lock is an abstract unix socket whose name is derived from the directory's device and inode:
// the kernel gives it to one process and takes it back when that process ends, however it ends; no file can go stale.
// It holds within one network namespace, which is where agents of one machine live.
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:net';

export interface Lock {
  release(): Promise<void>;
}

/** The lock on this directory, or null when somebody holds it. */
export async function lockDirectory(directory: string): Promise<Lock | null> {
  const { dev, ino } = await stat(directory);
  const name = createHash('sha256').update(`${dev}:${ino}`).digest('hex').slice(0, 32);
  const server = createServer((socket) => socket.destroy());
  const held = await new Promise<boolean>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(false);
      else reject(error);
    });
    server.listen({ path: `\0crosscell-agent-${name}` }, () => resolve(true));
  });
  if (!held) return null;
  server.unref();
  return { release: () => new Promise((resolve) => server.close(() => resolve())) };
}
