// What happened, line by line, with the virtual time; and one digest of all of it. Two runs of the same plan have the same.
import { createHash } from 'node:crypto';

/** Lines that are kept; the digest covers all. */
const KEPT = 200_000;
/** Pieces of text that go into the digest at once. */
const AT_ONCE = 1000;

export class Trace {
  readonly #now: () => number;
  readonly #start: number;
  readonly #hash = createHash('sha256');
  readonly #lines: string[] = [];
  readonly #unhashed: string[] = [];
  /** Ids by the short names that they have in the lines. */
  readonly #names = new Map<string, string>();

  constructor(now: () => number) {
    this.#now = now;
    this.#start = now();
  }

  say(text: string): void {
    const line = `${((this.#now() - this.#start) / 1000).toFixed(3).padStart(9)}  ${text}`;
    this.#unhashed.push(line, '\n');
    if (this.#unhashed.length >= AT_ONCE) this.#count();
    if (this.#lines.length < KEPT) this.#lines.push(line);
  }

  #count(): void {
    this.#hash.update(this.#unhashed.splice(0).join(''));
  }

  /** Ids are written as s1, s2 …; volumes' as v1 … */
  name(id: string, letter: 's' | 'v' = 's'): string {
    const known = this.#names.get(id);
    if (known !== undefined) return known;
    const name = `${letter}${this.#names.size + 1}`;
    this.#names.set(id, name);
    return name;
  }

  get lines(): readonly string[] {
    return this.#lines;
  }

  /** SHA-256 of all lines, in hexadecimal. To be asked for once, at the end. */
  digest(): string {
    this.#count();
    return this.#hash.digest('hex');
  }
}
