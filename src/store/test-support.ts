// What the tests of the stores share.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

/** Ids of the sagas that a thread with its own connections has claimed. `at`: a directory, or a PostgreSQL URL. */
export async function claimAll(at: string, owner: string): Promise<string[]> {
  const worker = new Worker(new URL('./test-claimer.ts', import.meta.url), { workerData: { at, owner } });
  const [claimed] = (await once(worker, 'message')) as [string[]];
  return claimed;
}
