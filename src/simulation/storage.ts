// A simulated storage host: a real storage agent over a driver that keeps volumes in memory, and the network between it and
// the control plane. As hosts.ts, for volumes: records and volumes outlive the agent.
import type { Logger } from 'pino';
import type { Reply } from '../host/contract.ts';
import type { SimulatedFabric } from '../host/simulated-fabric.ts';
import type { Clock } from '../lib/clock.ts';
import { invariant } from '../lib/errors.ts';
import { StorageAgent } from '../storage/agent.ts';
import type { StorageHost } from '../storage/contract.ts';
import { MemoryStorageRecords } from '../storage/records.ts';
import { STORAGE_METHODS } from '../storage/routes.ts';
import { SimulatedStorage } from '../storage/simulated.ts';
import { carry, type Trouble } from './network.ts';

export interface SimStorageOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly fabric: SimulatedFabric;
  readonly log: Logger;
  /** How an image is sent to the control plane. */
  readonly send?: (url: string, bytes: Uint8Array) => Promise<void>;
}

export class SimStorage {
  readonly name: string;
  readonly records = new MemoryStorageRecords();
  readonly driver: SimulatedStorage;
  /** Why a volume must fail to be made; null: it is made. */
  makeFault: string | null = null;
  /** What befalls a call. `id`: of the volume or, to fence, the server. */
  trouble: (method: keyof StorageHost, id: string | undefined) => Trouble = () => 'none';
  readonly #options: SimStorageOptions;
  #agent: StorageAgent | null = null;
  #off = false;

  private constructor(options: SimStorageOptions) {
    this.name = options.name;
    this.#options = options;
    this.driver = new SimulatedStorage({
      fabric: options.fabric,
      host: options.name,
      makeFault: () => this.makeFault,
      ...(options.send ? { send: options.send } : {}),
    });
  }

  static async open(options: SimStorageOptions): Promise<SimStorage> {
    const storage = new SimStorage(options);
    storage.#agent = await storage.#openAgent();
    return storage;
  }

  get agent(): StorageAgent {
    invariant(this.#agent, 'an open storage host has an agent');
    return this.#agent;
  }

  #openAgent(): Promise<StorageAgent> {
    const { name, clock, log } = this.#options;
    return StorageAgent.open({ name, clock, log, driver: this.driver, records: this.records });
  }

  /** The agent's process is replaced by a new one; volumes go on being served. */
  async restartAgent(): Promise<void> {
    await this.agent.close();
    this.#agent = await this.#openAgent();
  }

  /** The machine is off: nobody reaches it, and no guest its volumes. */
  crash(): void {
    this.#off = true;
    this.down();
    this.driver.unplug();
  }

  /** It is on again, and serves what is on record. Nothing happens to one that was on. */
  async boot(): Promise<void> {
    if (!this.#off) return;
    this.#off = false;
    await this.restartAgent();
  }

  /** The storage host as the control plane reaches it. */
  readonly remote: StorageHost = Object.fromEntries(
    STORAGE_METHODS.map((method) => [method, (...args: readonly unknown[]) => this.#call(method, args)]),
  ) as unknown as StorageHost;

  #call(method: keyof StorageHost, args: readonly unknown[]): Promise<Reply<unknown>> {
    const [id] = args;
    const trouble = this.trouble(method, typeof id === 'string' ? id : undefined);
    return carry(this.#options.clock, trouble, () => {
      const act = this.#around[method] as (...args: readonly unknown[]) => Promise<Reply<unknown>>;
      return act(...args);
    });
  }

  /** The agent that is there when it is called. */
  readonly #now: StorageHost = Object.fromEntries(
    STORAGE_METHODS.map((method) => [
      method,
      (...args: readonly unknown[]) => {
        const act = this.agent[method] as (...args: readonly unknown[]) => Promise<Reply<unknown>>;
        return act.apply(this.agent, [...args]);
      },
    ]),
  ) as unknown as StorageHost;
  #around: StorageHost = this.#now;

  /** Stands something between the network and its agent. */
  wrap(around: (agent: StorageHost) => StorageHost): void {
    this.#around = around(this.#now);
  }

  down(): void {
    this.trouble = () => 'unreachable';
  }

  up(): void {
    this.trouble = () => 'none';
  }
}
