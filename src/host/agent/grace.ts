// How long a guest may take to stop. Waiting is slept, not read off a clock, so that a clock that jumps makes it neither
// longer nor shorter. Each request may shorten it, none makes it longer.
import type { Clock } from '../../lib/clock.ts';

/** Why the waits end. Without a reason each abort would make an error, with its stack. */
const ENDED = 'nobody waits for the guest any more';

export class Grace {
  readonly #clock: Clock;
  readonly #over = new AbortController();
  readonly #ended = new AbortController();

  constructor(clock: Clock, seconds: number) {
    this.#clock = clock;
    this.shorten(seconds);
  }

  /** From now on at most this long. */
  shorten(seconds: number): void {
    const wait = async (): Promise<void> => {
      if (seconds > 0) await this.#clock.sleep(seconds * 1000, this.#ended.signal);
      if (!this.#ended.signal.aborted) this.#over.abort();
    };
    // A clock's sleep never rejects.
    void wait();
  }

  /** Aborts when the time is over. */
  get over(): AbortSignal {
    return this.#over.signal;
  }

  /** The guest has stopped, or nobody waits for it any more. */
  end(): void {
    this.#ended.abort(ENDED);
  }
}
