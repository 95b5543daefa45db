// What guests have written to their own disks, kept apart from the disks: what has to be there.
//
// Theory of operation. Each write of a guest is noted under the disk that it went to. A copy of a disk inherits what is noted
// of its source, and a disk made of a snapshot what was noted of the disk that was kept: neither is asked what it has. So
// a disk that has lost a word shows, and so does one that was made of what was old: its content is not that of the disk
// from which the server ran last. Whether another content is as it should be (a revert gives up what was written since),
// `onRun` lets the simulation judge.
import { createHash } from 'node:crypto';
import { rawDisk, type SimulatedDisk } from './simulated-disks.ts';

/** One write; never two of them are the same one, though they may read the same. */
interface Write {
  readonly word: string;
}

/** All that was ever written to a disk and to those that it was made of, oldest first. */
export type Content = readonly Write[];

export const isSameContent = (one: Content, other: Content): boolean =>
  one.length === other.length && one.every((write, index) => write === other[index]);

interface Noted {
  /** What the image had that it was made of: none of its words shows that. */
  readonly inherited: Content;
  /** What came behind it, one for each word but the first. */
  readonly own: Write[];
}

const NOTHING: Noted = { inherited: [], own: [] };

/** A guest of the server is about to write the first word of a run to its disk. */
export type OnRun = (serverId: string, disk: SimulatedDisk) => void;

export class SimulatedRuns {
  readonly #noted = new WeakMap<SimulatedDisk, Noted>();
  /** By the digest of the image. */
  readonly #snapshots = new Map<string, Content>();
  readonly #broken = new Map<SimulatedDisk, string>();
  #onRun: OnRun = () => undefined;

  /** From now on all runs are told; those from a disk that a rescue lends are not. */
  watch(onRun: OnRun): void {
    this.#onRun = onRun;
  }

  ran(serverId: string, disk: SimulatedDisk): void {
    this.#onRun(serverId, disk);
  }

  madeOf(sha256: string, disk: SimulatedDisk): void {
    this.#noted.set(disk, { inherited: this.#snapshots.get(sha256) ?? [], own: [] });
  }

  copied(from: SimulatedDisk, to: SimulatedDisk): void {
    const { inherited, own } = this.#of(from);
    this.#noted.set(to, { inherited, own: [...own] });
  }

  kept(disk: SimulatedDisk): void {
    this.check(disk);
    this.#snapshots.set(createHash('sha256').update(rawDisk(disk.words)).digest('hex'), this.contentOf(disk));
  }

  /** Writes the word, too. */
  write(disk: SimulatedDisk, word: string): void {
    this.check(disk);
    const { inherited, own } = this.#of(disk);
    this.#noted.set(disk, { inherited, own: [...own, { word }] });
    disk.words.push(word);
  }

  contentOf(disk: SimulatedDisk): Content {
    const { inherited, own } = this.#of(disk);
    return [...inherited, ...own];
  }

  /** Whether it was made of an image, and nobody has written to it. */
  isNew = (disk: SimulatedDisk): boolean => this.#of(disk).own.length === 0;

  /** Looks whether the disk has what was written to it, and nothing else. */
  check(disk: SimulatedDisk): void {
    const { own } = this.#of(disk);
    const [name, ...words] = disk.words;
    if (words.length === own.length && own.every(({ word }, index) => word === words[index])) return;
    const written = own.map(({ word }) => word).join(', ');
    this.#broken.set(disk, `the ${name} has '${words.join(', ')}', and not what was written: '${written}'`);
  }

  /** One sentence per disk that was found not to be whole: each is looked at whenever it is written to or kept. */
  get broken(): readonly string[] {
    return [...this.#broken.values()];
  }

  #of(disk: SimulatedDisk): Noted {
    return this.#noted.get(disk) ?? NOTHING;
  }
}
