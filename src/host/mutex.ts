// Mutual exclusion among asynchronous callers, first come first served. One mutex guards one guest's record; nothing
// may be awaited inside that lasts longer than a few seconds, because every other call for that guest waits.

export class Mutex {
  #tail: Promise<void> = Promise.resolve();

  /** Runs `body` when everyone who asked before is through; its result or error is the caller's. */
  run<T>(body: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(body);
    // The next in line waits for the end of this one, whatever that end is; the error goes to this caller alone.
    this.#tail = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  }
}

/** At most `limit` bodies at a time; the others wait in order of arrival. */
export class Semaphore {
  #free: number;
  readonly #waiting: Array<() => void> = [];

  constructor(limit: number) {
    this.#free = limit;
  }

  /** Rejects with the signal's reason, and never runs `body`, when that is aborted before the turn comes. */
  async run<T>(signal: AbortSignal, body: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#turn(signal);
    try {
      return await body();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }

  /** Whoever leaves the queue was not given a turn: it has none to pass on. */
  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(enter), 1);
        reject(signal.reason);
      };
      const enter = () => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      this.#waiting.push(enter);
      signal.addEventListener('abort', leave, { once: true });
    });
  }
}
