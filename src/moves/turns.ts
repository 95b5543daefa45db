// Whose turn it is at a server: requests that begin something there are served first come, first served.
//
// One queue per server, in the memory of this process, for as long as somebody is in it. Whoever is at its head may wait
// for what is under way; the others wait for the head. The database has the last word all the same (one active saga per
// server): requests that came to other processes are in queues of theirs, and of two heads either may be next.
import type { Platform } from '../control/platform.ts';
import { Mutex } from '../host/mutex.ts';

interface Queue {
  readonly mutex: Mutex;
  length: number;
}

const queues = new WeakMap<Platform, Map<string, Queue>>();

/** Runs `body` when everyone who came to this server before is through. */
export async function inTurn<T>(p: Platform, serverId: string, body: () => Promise<T>): Promise<T> {
  const ofProcess = queues.get(p) ?? new Map<string, Queue>();
  queues.set(p, ofProcess);
  const queue = ofProcess.get(serverId) ?? { mutex: new Mutex(), length: 0 };
  ofProcess.set(serverId, queue);
  queue.length += 1;
  try {
    return await queue.mutex.run(body);
  } finally {
    queue.length -= 1;
    if (queue.length === 0) ofProcess.delete(serverId);
  }
}
