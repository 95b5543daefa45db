// Durable records, one JSON file each.
//
// Theory of operation. A record is replaced as a whole: written aside, fsynced, renamed, directory fsynced. One that
// cannot be read stops its owner from starting: guessing would break fencing, so an operator must decide.
// One that finds no room gets it from a reserve (record-reserve.ts).
import { mkdir, open, readdir, readFile, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Static, TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { messageOf } from '../lib/errors.ts';
import { isUuid } from '../lib/ids.ts';
import { eachAtMost } from '../lib/pool.ts';
import { isFull, RecordReserve } from './record-reserve.ts';
import { BODY_LIMIT } from './wire.ts';

/** The largest records are those of guests, which have two definitions at most; anything larger is not ours. */
const RECORD_LIMIT = 2 * BODY_LIMIT;
/** Records that are read at once: a host that has been up for years has many of guests that are gone. */
const READS = 32;
/** Beside the records; see record-reserve.ts. */
const RESERVE = 'reserve';

/** `save` resolves when the record would survive a power cut (as far as the store promises that at all). */
export interface Records<T> {
  load(): Promise<T[]>;
  save(record: T): Promise<void>;
  /** Whose records are kept now, without reading them. */
  ids(): Promise<ReadonlySet<string>>;
}

/** Records that live as long as the object: for simulations. */
export class VolatileRecords<T> implements Records<T> {
  readonly #idOf: (record: T) => string;
  readonly #records = new Map<string, string>();

  constructor(idOf: (record: T) => string) {
    this.#idOf = idOf;
  }

  async load(): Promise<T[]> {
    return [...this.#records.values()].map((text) => JSON.parse(text) as T);
  }

  async save(record: T): Promise<void> {
    // Kept as text: what is saved must not change when the owner's own object does.
    this.#records.set(this.#idOf(record), JSON.stringify(record));
  }

  async ids(): Promise<ReadonlySet<string>> {
    return new Set(this.#records.keys());
  }

  /** As by a file system that has lost it. */
  lose(id: string): void {
    this.#records.delete(id);
  }
}

/** Records of one kind as files under `directory` (mode 0700: programs that serve tenants must not reach them). */
export class RecordFiles<S extends TSchema> implements Records<Static<S>> {
  readonly #directory: string;
  readonly #check: { Check(value: unknown): boolean };
  readonly #idOf: (record: Static<S>) => string;
  readonly #reserve: RecordReserve;
  readonly #write: typeof writeFileAtomically;

  /** `idOf` gives the UUID that names a record's file. `write`: how it is written where there is room. */
  constructor(directory: string, schema: S, idOf: (record: Static<S>) => string, write = writeFileAtomically) {
    this.#directory = directory;
    this.#check = Compile(schema);
    this.#idOf = idOf;
    this.#reserve = new RecordReserve(join(directory, RESERVE));
    this.#write = write;
  }

  async load(): Promise<Array<Static<S>>> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const records: Array<Static<S>> = [];
    let longest = 0;
    await eachAtMost(READS, await readdir(this.#directory), async (file) => {
      const path = join(this.#directory, file);
      if (file === RESERVE) return;
      // Left by a save that was cut short; the record it would have replaced is still the valid one.
      if (file.endsWith('.new')) return unlink(path);
      const id = file.slice(0, -'.json'.length);
      if (!file.endsWith('.json') || !isUuid(id)) throw new Error(`${path} does not belong here`);
      const text = await readFile(path, 'utf8');
      longest = Math.max(longest, Buffer.byteLength(text));
      records.push(this.#parse(text, path, id));
    });
    await this.#reserve.fill(longest);
    return records;
  }

  async save(record: Static<S>): Promise<void> {
    const path = join(this.#directory, `${this.#idOf(record)}.json`);
    const text = `${JSON.stringify(record)}\n`;
    await this.#reserve.fill(Buffer.byteLength(text));
    try {
      await this.#write(path, text, 0o600);
    } catch (error) {
      if (!isFull(error) || !(await this.#reserve.replace(path, text))) throw error;
      await syncDirectory(this.#directory);
    }
  }

  async ids(): Promise<ReadonlySet<string>> {
    const names = await readdir(this.#directory);
    return new Set(names.filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -'.json'.length)));
  }

  #parse(text: string, path: string, id: string): Static<S> {
    if (text.length > RECORD_LIMIT) throw new Error(`record ${path} is too large`);
    let record: unknown;
    try {
      record = JSON.parse(text);
    } catch (error) {
      throw new Error(`record ${path} is damaged: ${messageOf(error)}`, { cause: error });
    }
    const right = this.#check.Check(record) && this.#idOf(record as Static<S>) === id;
    if (!right) throw new Error(`record ${path} is damaged`);
    return record as Static<S>;
  }
}

/** Replaces `path` as a whole: after a power cut there is the old content or the new, never something between. */
export async function writeFileAtomically(path: string, text: string, mode: number): Promise<void> {
  const aside = `${path}.new`;
  const file = await open(aside, 'w', mode);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(aside, path);
  await syncDirectory(join(path, '..'));
}

/** Makes renames and deletions in `directory` survive a power cut. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
