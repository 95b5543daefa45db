// What befalls hosts, storage hosts and cells in a schedule, and how it passes.
//
// A trouble that is to last takes the place of the one before; its end ends only itself. When the weather clears
// everything is over at once.
import { updateService } from '../control/hosts.ts';
import { assertNever } from '../lib/errors.ts';
import type { Dice } from './dice.ts';
import type { SimHost, Weather } from './hosts.ts';
import { badNetwork, type Trouble } from './network.ts';
import type { Happening } from './plan.ts';
import type { SimStorage } from './storage.ts';
import type { World } from './world.ts';

/** An event that is about a host, a storage host or a cell. */
export type Affliction = Extract<
  Happening,
  { readonly host: number } | { readonly storage: number } | { readonly cell: number }
>;

export interface Scene {
  readonly world: World;
  /** Names of cells. */
  readonly cells: readonly string[];
  readonly dice: Dice;
  /** A fault strikes: it is counted, and told. */
  fault(text: string): void;
  say(text: string): void;
  /** Unless the weather has cleared by then. */
  later(ms: number, what: () => void): void;
  inBackground(work: Promise<unknown>): void;
}

export class Troubles {
  readonly #scene: Scene;
  readonly #hosts: readonly SimHost[];
  readonly #storage: readonly SimStorage[];

  constructor(scene: Scene) {
    this.#scene = scene;
    this.#hosts = [...scene.world.hosts.values()];
    this.#storage = [...scene.world.storage.values()];
  }

  befall(event: Affliction): void {
    if ('host' in event) {
      const host = this.#hosts[event.host % this.#hosts.length];
      if (host) this.#hostIs(host, event);
    } else if ('storage' in event) {
      const storage = this.#storage[event.storage % this.#storage.length];
      if (storage) this.#storageIs(storage, event);
    } else this.#cellIsDown(event.cell, event.forMs);
  }

  /** All is well with all of them, from now on. */
  clear(): void {
    for (const host of this.#hosts) {
      host.up();
      host.startFault = null;
      this.#scene.inBackground(this.#turnOn(host));
    }
    for (const storage of this.#storage) {
      storage.makeFault = null;
      this.#scene.inBackground(storage.boot().then(() => storage.up()));
    }
    this.#scene.world.cellsDown.clear();
  }

  /** The machine is off for so long; resolves when no guest of it runs. */
  async turnOff(host: SimHost, forMs: number): Promise<void> {
    this.#scene.fault(`${host.name} is turned off`);
    await host.turnOff();
    this.#scene.later(forMs, () => {
      this.#scene.say(`${host.name} is turned on`);
      this.#scene.inBackground(this.#turnOn(host));
    });
  }

  /** Whoever had forced it down takes that back. */
  async #turnOn(host: SimHost): Promise<void> {
    if (await host.turnOn()) await updateService(this.#scene.world.p, host.name, { forcedDown: false });
  }

  #hostIs(host: SimHost, event: Extract<Affliction, { readonly host: number }>): void {
    const { fault, inBackground, dice } = this.#scene;
    switch (event.what) {
      case 'host clock':
        fault(`${host.name} is ${event.aheadMs} ms ahead`);
        host.setClock(event.aheadMs);
        return;
      case 'cut':
        this.#hostTroubled(host, 'is cut off', () => 'unreachable', event.forMs);
        return;
      case 'bad network':
        this.#hostTroubled(host, 'is hard to reach', () => badNetwork(dice, event.oneIn), event.forMs);
        return;
      case 'start fault':
        fault(`${host.name} starts no guest`);
        host.startFault = 'no memory for it';
        this.#scene.later(event.forMs, () => {
          host.startFault = null;
          this.#scene.say(`${host.name} starts guests`);
        });
        return;
      case 'agent restart':
        fault(`the agent of ${host.name} restarts`);
        inBackground(host.restartAgent());
        return;
      case 'reboot':
        fault(`${host.name} reboots`);
        inBackground(host.reboot());
        return;
      case 'guests end':
        fault(`guests of ${host.name} turn themselves off`);
        inBackground(host.endGuests());
        return;
      default:
        assertNever(event);
    }
  }

  #hostTroubled(host: SimHost, text: string, trouble: Weather, forMs: number): void {
    this.#scene.fault(`${host.name} ${text}`);
    host.trouble = trouble;
    this.#scene.later(forMs, () => {
      if (host.trouble !== trouble) return;
      host.up();
      this.#scene.say(`${host.name} can be reached`);
    });
  }

  #storageIs(storage: SimStorage, event: Extract<Affliction, { readonly storage: number }>): void {
    const { fault, inBackground, later, say, dice } = this.#scene;
    switch (event.what) {
      case 'storage cut':
        this.#storageTroubled(storage, 'is cut off', () => 'unreachable', event.forMs);
        return;
      case 'storage network':
        this.#storageTroubled(storage, 'is hard to reach', () => badNetwork(dice, event.oneIn), event.forMs);
        return;
      case 'storage crash':
        fault(`${storage.name} crashes`);
        storage.crash();
        later(event.forMs, () => this.#bootStorage(storage));
        return;
      case 'storage full':
        fault(`${storage.name} makes no volumes`);
        storage.makeFault = 'no room for it';
        later(event.forMs, () => {
          storage.makeFault = null;
          say(`${storage.name} makes volumes`);
        });
        return;
      case 'storage restart':
        fault(`the agent of ${storage.name} restarts`);
        inBackground(storage.restartAgent());
        return;
      default:
        assertNever(event);
    }
  }

  #storageTroubled(storage: SimStorage, text: string, trouble: () => Trouble, forMs: number): void {
    this.#scene.fault(`${storage.name} ${text}`);
    storage.trouble = trouble;
    this.#scene.later(forMs, () => {
      if (storage.trouble === trouble) this.#bootStorage(storage);
    });
  }

  #bootStorage(storage: SimStorage): void {
    const { inBackground, say } = this.#scene;
    say(`${storage.name} can be reached`);
    inBackground(storage.boot().then(() => storage.up()));
  }

  #cellIsDown(index: number, forMs: number): void {
    const { world, cells, fault, later, say } = this.#scene;
    const cell = cells[index % cells.length];
    if (cell === undefined) return;
    fault(`${cell} is down`);
    world.cellsDown.add(cell);
    later(forMs, () => {
      world.cellsDown.delete(cell);
      say(`${cell} is up`);
    });
  }
}
