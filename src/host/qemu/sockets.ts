// Connects to a unix socket in a directory with a long path.
//
// A socket's address holds 108 bytes at most, and state directories may be deeper. The directory is opened and the
// socket is reached as /proc/self/fd/<n>/<name>, whatever the directory's own path is.
import { open } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { HypervisorError } from '../hypervisor.ts';

/** A connected socket; HypervisorError when nobody listens. */
export async function connectIn(directory: string, name: string): Promise<Socket> {
  const handle = await open(directory, 'r');
  try {
    return await new Promise<Socket>((resolve, reject) => {
      const socket = createConnection({ path: `/proc/self/fd/${handle.fd}/${name}` });
      const onError = (error: Error) => reject(new HypervisorError(`${name}: ${error.message}`));
      socket.once('error', onError);
      socket.once('connect', () => {
        socket.off('error', onError);
        resolve(socket);
      });
    });
  } finally {
    await handle.close();
  }
}
