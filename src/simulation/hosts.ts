// A simulated host: a real agent over a simulated hypervisor, and the network between it and the control plane.
//
// Theory of operation. The agent's records outlive it, as files do; its guests outlive it too, unless the whole machine
// restarts, or is off. Its clock is its own: it may be wrong, and jump, without anybody else's noticing. What befalls a call
// to it is asked at every call (`trouble`; network.ts).
import type { Logger } from 'pino';
import type { HostFacts } from '../control/host-registration.ts';
import { Agent } from '../host/agent.ts';
import type { Host, Reply } from '../host/contract.ts';
import { MemoryRecords } from '../host/records.ts';
import { METHODS } from '../host/routes.ts';
import { SimulatedHypervisor } from '../host/simulated.ts';
import type { SimulatedFabric } from '../host/simulated-fabric.ts';
import type { Clock } from '../lib/clock.ts';
import { invariant } from '../lib/errors.ts';
import { carry, type Trouble } from './network.ts';
import { WrongClock } from './wrong-clock.ts';

/** Asked at every call. */
export type Weather = (method: keyof Host, serverId: string | undefined) => Trouble;

export interface HostSize {
  readonly vcpus: number;
  readonly memoryMb: number;
  readonly diskGb: number;
}

export interface SimHostOptions {
  readonly name: string;
  /** Name of its cell. */
  readonly cell: string;
  readonly clock: Clock;
  readonly fabric: SimulatedFabric;
  readonly size: HostSize;
  readonly log: Logger;
  /** Where it sends snapshots: the image service's front door. */
  readonly send: (url: string, bytes: Uint8Array) => Promise<void>;
}

/** What an agent on such a host says of it. */
export const descriptionOf = (name: string, size: HostSize): HostFacts => ({
  ...{ name, hypervisorType: 'simulated', hypervisorVersion: 1_000_000, accelerator: 'none', architecture: 'x86_64' },
  ...size,
});

export class SimHost {
  readonly name: string;
  readonly cell: string;
  records = new MemoryRecords();
  trouble: Weather = () => 'none';
  /** Why a guest must fail to start; null: it starts. */
  startFault: string | null = null;
  readonly hypervisor: SimulatedHypervisor;
  readonly #options: SimHostOptions;
  readonly #clock: WrongClock;
  #agent: Agent | null = null;
  #off = false;

  private constructor(options: SimHostOptions) {
    this.name = options.name;
    this.cell = options.cell;
    this.#options = options;
    this.#clock = new WrongClock(options.clock);
    this.hypervisor = new SimulatedHypervisor({
      clock: this.#clock,
      fabric: options.fabric,
      host: options.name,
      startFault: () => this.startFault,
      send: options.send,
    });
  }

  static async open(options: SimHostOptions): Promise<SimHost> {
    const host = new SimHost(options);
    host.#agent = await host.#openAgent();
    return host;
  }

  get agent(): Agent {
    invariant(this.#agent, 'an open host has an agent');
    return this.#agent;
  }

  #openAgent(): Promise<Agent> {
    const { name, size, log } = this.#options;
    return Agent.open({
      ...{ name, clock: this.#clock, hypervisor: this.hypervisor, records: this.records, resources: size, log },
    });
  }

  /** The agent's process is replaced by a new one; its guests go on running. Nothing happens to a machine that is off. */
  async restartAgent(): Promise<void> {
    if (this.#off) return;
    await this.agent.close();
    this.#agent = await this.#openAgent();
  }

  /** The whole machine restarts: no guest runs afterwards. Nothing happens to one that is off. */
  async reboot(): Promise<void> {
    if (this.#off) return;
    await this.endGuests();
    await this.restartAgent();
  }

  /** The machine is replaced by another one under its name, which has nothing. */
  async replace(): Promise<void> {
    await this.endGuests();
    for (const { serverId } of await this.records.load()) await this.hypervisor.remove(serverId);
    this.records = new MemoryRecords();
    await this.restartAgent();
  }

  /** The machine is turned off: from now on nobody reaches it, and when this resolves no guest of it runs. */
  async turnOff(): Promise<void> {
    this.#off = true;
    await this.agent.close();
    await this.endGuests();
  }

  /** It is on again; false: it was on. */
  async turnOn(): Promise<boolean> {
    if (!this.#off) return false;
    this.#agent = await this.#openAgent();
    this.#off = false;
    return true;
  }

  /** Every guest that runs turns itself off. */
  async endGuests(): Promise<void> {
    for (const { serverId } of await this.records.load()) this.hypervisor.crash(serverId);
  }

  /** Its own clock shows a time that is so much later than everybody else's; negative: earlier. */
  setClock(aheadMs: number): void {
    this.#clock.aheadMs = aheadMs;
  }

  /** The host as the control plane reaches it. */
  readonly remote: Host = Object.fromEntries(
    METHODS.map((method) => [method, (...args: readonly unknown[]) => this.#call(method, args)]),
  ) as unknown as Host;

  #call(method: keyof Host, args: readonly unknown[]): Promise<Reply<unknown>> {
    const [serverId] = args;
    const trouble = this.trouble(method, typeof serverId === 'string' ? serverId : undefined);
    return carry(this.#options.clock, trouble, () => this.#arrive(method, args));
  }

  #arrive(method: keyof Host, args: readonly unknown[]): Promise<Reply<unknown>> {
    if (this.#off) return Promise.resolve({ kind: 'unreachable', reason: 'the machine is off' });
    const act = this.#around[method] as (...args: readonly unknown[]) => Promise<Reply<unknown>>;
    return act(...args);
  }

  /** The agent that is there when it is called. */
  readonly #now: Host = Object.fromEntries(
    METHODS.map((method) => [
      method,
      (...args: readonly unknown[]) => {
        const act = this.agent[method] as (...args: readonly unknown[]) => Promise<Reply<unknown>>;
        return act.apply(this.agent, [...args]);
      },
    ]),
  ) as unknown as Host;
  #around: Host = this.#now;

  /** Stands something between the network and its agent. */
  wrap(around: (agent: Host) => Host): void {
    this.#around = around(this.#now);
  }

  down(): void {
    this.trouble = () => 'unreachable';
  }

  up(): void {
    this.trouble = () => 'none';
  }
}
