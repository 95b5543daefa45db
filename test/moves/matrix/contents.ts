// What is on disks and volumes, and what nobody inside can see: what must hold of them at every end of a move.
//
// Theory of operation. `before` remembers what each server had on the disk from which it ran last, what lay on each disk of
// each host, and on each volume. Afterwards whatever is still there has that, and behind it at most what guests wrote when
// they were started again. A server that has moved has on its new disk what it had, unless the move is one that gives
// it a new one; after a revert it has what lay on the disk that it came back to.
import assert from 'node:assert/strict';
import type { SimulatedDisk } from '../../../src/host/simulated-disks.ts';
import type { Content } from '../../../src/host/simulated-runs.ts';
import { brokenVolumes } from '../../../src/simulation/volume-checks.ts';
import type { World } from '../world.ts';

/** Moves that give a server a new disk, or a volume new content. */
const MAKERS = ['create', 'rebuild', 'evacuate', 'rebuild root volume', 'revert volume', 'reimage volume'];

const startsWith = (whole: readonly unknown[], first: readonly unknown[]): boolean =>
  first.every((each, index) => each === whole[index]);

export interface Ended {
  readonly move: string;
  readonly unwound: boolean;
  /** The world is to be as it was: nothing may be gone. */
  readonly asBefore: boolean;
  readonly serverId: string;
  /** Where the server is now; null: nowhere. */
  readonly host: string | null;
  /** An evacuation from a host that was cut off: nobody could turn its guest off before another was started. */
  readonly wasCutOff: boolean;
}

export class Contents {
  readonly #world: World;
  readonly #last = new Map<string, SimulatedDisk>();
  /** By server: of the disk from which it ran last. */
  #had = new Map<string, Content>();
  /** By host and server. */
  #lay = new Map<string, Content>();
  #volumes = new Map<string, readonly string[]>();

  constructor(world: World) {
    this.#world = world;
    world.fabric.runs.watch((serverId, disk) => this.#last.set(serverId, disk));
  }

  /** Remembers what there is. */
  async before(): Promise<void> {
    const { runs } = this.#world.fabric;
    this.#had = new Map([...this.#last].map(([serverId, disk]) => [serverId, runs.contentOf(disk)]));
    this.#lay = await this.#disks();
    this.#volumes = await this.#words();
  }

  /** All that lies anywhere: words of disks by host and server, of volumes by id. */
  async now(): Promise<unknown> {
    return [await this.#disks(), await this.#words()];
  }

  /** @throws AssertionError */
  async assertKept({ move, unwound, asBefore, serverId, host, wasCutOff }: Ended): Promise<void> {
    const { fabric } = this.#world;
    const disks = await this.#disks();
    const anew = !unwound && MAKERS.includes(move);
    for (const [place, content] of this.#lay) {
      const now = disks.get(place);
      assert.ok(now || !asBefore, `the disk at ${place} is gone`);
      // What is there under another name has been made anew.
      if (now && !anew) assert.ok(startsWith(now, content), `the disk at ${place} has lost what it had`);
    }
    const mine = host === null ? undefined : disks.get(`${host} ${serverId}`);
    const had = (move === 'revert' ? this.#lay.get(`${host} ${serverId}`) : undefined) ?? this.#had.get(serverId) ?? [];
    if (mine && anew) assert.ok(!mine.some((write) => had.includes(write)), 'the new disk has what the old one had');
    else if (mine) assert.ok(startsWith(mine, had), 'the server has lost what it had on its disk');
    const volumes = await this.#words();
    for (const [id, words] of this.#volumes) {
      const now = volumes.get(id);
      assert.ok(now || !asBefore, `volume ${id} is gone`);
      if (now && !anew) assert.ok(startsWith(now, words), `volume ${id} has lost what it had`);
    }
    assert.deepEqual([fabric.runs.broken, await brokenVolumes(this.#world)], [[], []]);
    assert.deepEqual([fabric.volumes.overwritten, fabric.volumes.openToMany], [[], []]);
    if (!wasCutOff) assert.deepEqual(fabric.ranTwice, []);
  }

  async #disks(): Promise<Map<string, Content>> {
    const found = new Map<string, Content>();
    for (const { name, hypervisor, records } of this.#world.hosts.values()) {
      for (const { serverId } of await records.load()) {
        const disk = hypervisor.diskOf(serverId);
        if (disk === null) continue;
        this.#world.fabric.runs.check(disk);
        found.set(`${name} ${serverId}`, this.#world.fabric.runs.contentOf(disk));
      }
    }
    return found;
  }

  async #words(): Promise<Map<string, readonly string[]>> {
    const found = new Map<string, readonly string[]>();
    for (const { driver, records } of this.#world.storage.values()) {
      for (const { id } of await records.volumes.load()) {
        const words = driver.words(id);
        if (words !== null) found.set(id, [...words]);
      }
    }
    return found;
  }
}
