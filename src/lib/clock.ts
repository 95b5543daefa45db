// Time as a dependency. Product code never calls Date.now() or setTimeout directly, so that the simulation can run
// the same code on a virtual clock.
import { setTimeout as delay } from 'node:timers/promises';

export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Resolves after `ms` milliseconds, or at once when `signal` aborts (it never rejects). */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  async sleep(ms, signal) {
    try {
      await delay(ms, undefined, signal ? { signal } : {});
    } catch (error) {
      // An aborted sleep is simply over; anything else is a defect.
      if (!signal?.aborted) throw error;
    }
  },
};
