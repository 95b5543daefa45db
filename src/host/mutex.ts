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

  async run<T>(body: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await body();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }
}
