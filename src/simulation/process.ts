// A simulated process of the control plane: API, conductor and monitor in one, as `crosscell up` runs them.
//
// Theory of operation. Everything that such a process does to the world passes its gate: statements, calls to hosts, the
// end of a wait. There it may be held up for a moment (latency), stand still (SIGSTOP: `pause`) or have died (SIGKILL:
// `kill`), after which nothing that it was at ever goes on. Leases go by the database's clock. What the process itself sees
// of the time is that clock as it measured it last, with an error of its own (`setClock`), as DatabaseClock does it.
import type { Around, Platform } from '../control/platform.ts';
import { METHODS } from '../host/routes.ts';
import { type Clock, JumpWatch, passed } from '../lib/clock.ts';
import { invariant } from '../lib/errors.ts';
import { moveEffects } from '../moves/conductor.ts';
import { startMonitor } from '../moves/monitor.ts';
import { findDefinition } from '../moves/registry.ts';
import { type RunningDriver, startDriver } from '../saga/driver.ts';
import type { SagaStore } from '../saga/types.ts';
import { STORAGE_METHODS } from '../storage/routes.ts';
import { sqlSagaStore } from '../store/sagas.ts';
import type { Stores } from '../store/stores.ts';
import type { Gate } from './connections.ts';
import type { Dice } from './dice.ts';
import { LEASE_MS, type World } from './world.ts';

const LANES = 2;

export interface ProcessParts {
  readonly name: string;
  readonly world: World;
  /** The databases, behind the gate of this process. */
  readonly stores: (gate: Gate) => Stores;
  readonly dice: Dice;
  /** One access in so many takes a while; 0: none. */
  readonly slowOneIn: number;
  readonly around: (process: Process) => Around;
  /** The store of sagas as this process is to see it. */
  readonly sagas: (store: SagaStore) => SagaStore;
  readonly idleMs: number;
}

/** How often it asks for the database's time, ms. */
const MEASURE_MS = 10_000;
/** Longest time that a slow access takes, ms. */
const SLOW_MS = 300;

export class Process {
  readonly name: string;
  readonly platform: Platform;
  readonly #parts: ProcessParts;
  #driver: RunningDriver | null = null;
  #aheadMs = 0;
  /** How far the database's clock is ahead, as far as this process knows. */
  #measuredMs = 0;
  readonly #jumps = new JumpWatch();
  #dead = false;
  #paused: PromiseWithResolvers<void> | null = null;

  constructor(parts: ProcessParts) {
    this.name = parts.name;
    this.#parts = parts;
    const { world } = parts;
    const hosts = new Map([...world.hosts].map(([name, host]) => [name, this.#through(host.remote, METHODS)]));
    const storage = new Map(
      [...world.storage].map(([name, host]) => [name, this.#through(host.remote, STORAGE_METHODS)]),
    );
    this.platform = {
      ...world.p,
      clock: this.#clock(world),
      stores: parts.stores(this.#gate),
      host: async (name) => {
        const host = hosts.get(name);
        invariant(host, `no host ${name}`);
        return host;
      },
      storage: async (name) => {
        const host = storage.get(name);
        invariant(host, `no storage host ${name}`);
        return host;
      },
      nudge: () => this.#driver?.nudge(),
      around: parts.around(this),
    };
  }

  get alive(): boolean {
    return !this.#dead && this.#paused === null;
  }

  start(): void {
    const { world, name, idleMs, sagas } = this.#parts;
    const { platform } = this;
    this.#measure();
    void this.#keepMeasuring();
    this.#driver = startDriver({
      // Leases go by the database's clock, whatever time this process takes it for.
      store: sagas(sqlSagaStore(platform.stores.global, world.databaseClock)),
      effects: moveEffects(platform),
      definitions: findDefinition,
      clock: platform.clock,
      ...{ owner: name, lanes: LANES, leaseMs: LEASE_MS, idleMs },
    });
    // Not all of them do at once what each does now and then.
    startMonitor(platform, 1 + this.#parts.dice(5));
  }

  #measure(): void {
    const { clock, databaseClock } = this.#parts.world;
    this.#measuredMs = databaseClock.now() - clock.now();
    this.#jumps.tell(this.#measuredMs, databaseClock.now());
  }

  async #keepMeasuring(): Promise<void> {
    for (;;) {
      await this.platform.clock.sleep(MEASURE_MS);
      this.#measure();
    }
  }

  kill(): void {
    this.#dead = true;
  }

  pause(): void {
    this.#paused ??= Promise.withResolvers();
  }

  resume(): void {
    this.#paused?.resolve();
    this.#paused = null;
  }

  /** It takes the time to be so much later than it is; negative: earlier. */
  setClock(aheadMs: number): void {
    this.#aheadMs = aheadMs;
  }

  readonly #gate: Gate = () => {
    const { dice, slowOneIn, world } = this.#parts;
    if (slowOneIn > 0 && dice(slowOneIn) === 0) {
      return world.clock.sleep(1 + dice(SLOW_MS)).then(() => this.#pass());
    }
    return this.alive ? null : this.#pass();
  };

  async #pass(): Promise<void> {
    while (this.#paused !== null) await this.#paused.promise;
    if (this.#dead) await new Promise<never>(() => undefined);
  }

  #clock({ clock: right }: World): Clock {
    return {
      now: () => right.now() + this.#measuredMs + this.#aheadMs,
      passed: () => passed(right),
      steadySince: () => this.#jumps.steadySince,
      sleep: async (ms, signal) => {
        await right.sleep(ms, signal);
        await this.#pass();
      },
    };
  }

  /** What is there, behind the gate of this process: on the way there and on the way back. */
  #through<Remote extends object>(remote: Remote, methods: readonly (keyof Remote & string)[]): Remote {
    const call = (method: keyof Remote) => remote[method] as (...args: readonly unknown[]) => Promise<unknown>;
    return Object.fromEntries(
      methods.map((method) => [
        method,
        async (...args: readonly unknown[]) => {
          await this.#gate();
          const reply = await call(method)(...args);
          await this.#gate();
          return reply;
        },
      ]),
    ) as Remote;
  }
}
