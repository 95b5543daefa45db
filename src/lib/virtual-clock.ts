// Time that passes only when nothing else happens: for tests and simulations, where an hour of waiting takes no time and
// its order is always the same.
import { setImmediate, setTimeout } from 'node:timers/promises';
import type { Clock } from './clock.ts';

interface Timer {
  readonly at: number;
  readonly wake: () => void;
}

/** Turns of the event loop without a sleeper after which `drive` takes it that real I/O (files) is under way. */
const BUSY_TURNS = 100;
/** Sleepers that one `drive` wakes at most: who polls for ever must not make it run for ever. */
const MOST_WAKES = 200_000;
/** How often it then looks again, a real millisecond apart, before it gives up. */
const PATIENCE = 30_000;

export class VirtualClock implements Clock {
  #now: number;
  #timers: Timer[] = [];

  readonly #underWay: () => Promise<unknown> | null;

  /**
   * `underWay`: the end of some real I/O that is under way, or null; time stands still meanwhile, for it takes none of
   * this clock's.
   */
  constructor(start = 1_800_000_000_000, underWay: () => Promise<unknown> | null = () => null) {
    this.#now = start;
    this.#underWay = underWay;
  }

  now(): number {
    return this.#now;
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    // Whole, as the time of a real clock is.
    const timer = { at: this.#now + Math.max(0, Math.ceil(ms)), wake: resolve };
    // Kept in the order of their times; equal times in the order of their asking.
    this.#timers.splice(this.#placeOf(timer.at), 0, timer);
    const abort = () => {
      const place = this.#timers.indexOf(timer);
      if (place >= 0) this.#timers.splice(place, 1);
      resolve();
    };
    signal?.addEventListener('abort', abort, { once: true });
    await promise;
    signal?.removeEventListener('abort', abort);
  }

  /** Lets this much time pass, waking sleepers on the way. */
  async pass(ms: number): Promise<void> {
    const until = this.#now + ms;
    for (;;) {
      await setImmediate();
      for (let io = this.#underWay(); io !== null; io = this.#underWay()) {
        await io;
        await setImmediate();
      }
      const next = this.#timers[0];
      if (!next || next.at > until) break;
      this.#wakeFirst();
    }
    this.#now = until;
  }

  /** Waits for `work`, letting time pass whenever it waits for nothing but time. */
  async drive<T>(work: Promise<T>): Promise<T> {
    let settled = false;
    const mark = () => {
      settled = true;
    };
    work.then(mark, mark);
    let wakes = 0;
    for (let idle = 0; idle < PATIENCE && wakes < MOST_WAKES; ) {
      await (idle < BUSY_TURNS ? setImmediate() : setTimeout(1));
      if (settled) return work;
      const io = this.#underWay();
      if (io === null && this.#timers.length > 0) {
        this.#wakeFirst();
        wakes += 1;
        idle = 0;
        continue;
      }
      idle += 1;
      await io;
    }
    throw new Error('the work waits for something that does not come');
  }

  /** Where a timer of that time belongs: behind all that are not later. */
  #placeOf(at: number): number {
    let [low, high] = [0, this.#timers.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#timers[middle]?.at ?? 0) > at) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #wakeFirst(): void {
    const first = this.#timers.shift();
    if (!first) return;
    this.#now = Math.max(this.#now, first.at);
    first.wake();
  }
}
