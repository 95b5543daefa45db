import { type Clock, passed } from '../lib/clock.ts';

/** A clock that shows another time than the one it follows, and counts the same milliseconds. */
export class WrongClock implements Clock {
  readonly #right: Clock;
  aheadMs = 0;

  constructor(right: Clock) {
    this.#right = right;
  }

  now(): number {
    return this.#right.now() + this.aheadMs;
  }

  passed(): number {
    return passed(this.#right);
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return this.#right.sleep(ms, signal);
  }
}
