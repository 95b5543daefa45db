// Places that several owners share: so many in all, and so many of one owner, who cannot keep the others out alone. In
// memory, of one process; nobody waits.

export interface Place {
  /** Gives it back; harmless when repeated. */
  leave(): void;
}

export class Shares {
  readonly #most: number;
  readonly #mostOfOne: number;
  readonly #taken = new Map<string, number>();
  #all = 0;

  constructor(most: number, mostOfOne: number) {
    this.#most = most;
    this.#mostOfOne = mostOfOne;
  }

  /** Null: all are taken, or the owner has as many as one may have. */
  enter(owner: string): Place | null {
    const mine = this.#taken.get(owner) ?? 0;
    if (this.#all >= this.#most || mine >= this.#mostOfOne) return null;
    this.#all += 1;
    this.#taken.set(owner, mine + 1);
    let left = false;
    return {
      leave: () => {
        if (left) return;
        left = true;
        this.#all -= 1;
        const rest = (this.#taken.get(owner) ?? 1) - 1;
        if (rest > 0) this.#taken.set(owner, rest);
        else this.#taken.delete(owner);
      },
    };
  }
}
