// Time as a dependency. Product code never calls Date.now() or setTimeout directly, so that the simulation can run
// the same code on a virtual clock.
import { setTimeout as delay } from 'node:timers/promises';

export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Resolves after `ms` milliseconds, or at once when `signal` aborts (it never rejects). */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /**
   * Milliseconds since some moment, which go on as time passes whatever now() is set to: for waits, limits and silences.
   * Absent: now() never jumps. Ask `passed`.
   */
  passed?(): number;
  /** Since when now() has gone as time passes, by now() itself; 0: always. Absent: it never jumps. */
  steadySince?(): number;
}

/** A clock that is off by this much more, or less, than when it was looked at last has jumped, ms. */
const JUMP_MS = 1000;

/** Notices jumps of a clock by its distance to another, and remembers when the last was. */
export class JumpWatch {
  #distance: number | null = null;
  #since = 0;

  /** @param distance between the two, ms; @param now by the clock that may jump */
  tell(distance: number, now: number): void {
    if (this.#distance !== null && Math.abs(distance - this.#distance) >= JUMP_MS) this.#since = now;
    this.#distance = distance;
  }

  get steadySince(): number {
    return this.#since;
  }
}

/** Milliseconds since some moment, for the difference of two. */
export const passed = (clock: Clock): number => clock.passed?.() ?? clock.now();

const systemJumps = new JumpWatch();

export const systemClock: Clock = {
  now: () => Date.now(),
  passed: () => performance.now(),
  steadySince() {
    const now = Date.now();
    // The other one counts what passes, whatever the machine's clock is set to; it stands still while the machine does.
    systemJumps.tell(now - performance.now(), now);
    return systemJumps.steadySince;
  },
  async sleep(ms, signal) {
    try {
      await delay(ms, undefined, signal ? { signal } : {});
    } catch (error) {
      // An aborted sleep is simply over; anything else is a defect.
      if (!signal?.aborted) throw error;
    }
  },
};
