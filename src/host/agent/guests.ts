// The guests that an agent knows: their records, the gate that every mutating call passes, and what the parts of the
// agent share.
//
// Theory of operation. One entry per server ever seen; its record is written here alone, always inside the guest's
// mutex, and made durable before anybody believes it. The gate compares generations under that mutex: an older call is
// fenced, a newer generation is on record before anything else happens. The mutex is free again before a call waits
// for its job.
import type { Logger } from 'pino';
import type { Clock } from '../../lib/clock.ts';
import { invariant } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import {
  type Files,
  type GuestSpec,
  type Heartbeat,
  type Job,
  MAX_REMAINS,
  MAX_STRAYS,
  type Reply,
} from '../contract.ts';
import { type Hypervisor, HypervisorError } from '../hypervisor.ts';
import type { HostJob } from '../jobs.ts';
import { Mutex } from '../mutex.ts';
import type { GuestBody, GuestRecord, Records } from '../records.ts';
import type { Grace } from './grace.ts';

/** What a host offers. The control plane's placement counts with it; the agent refuses only what can never fit. */
export interface HostResources {
  readonly vcpus: number;
  readonly memoryMb: number;
  /** null: the size of the file system that holds the disks. */
  readonly diskGb: number | null;
}

export interface AgentOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly hypervisor: Hypervisor;
  readonly records: Records;
  readonly resources: HostResources;
  readonly log: Logger;
  /** How long a call waits for its job before it answers `pending`, ms. */
  readonly patienceMs?: number;
}

export interface Entry {
  readonly mutex: Mutex;
  record: GuestRecord;
  job: HostJob | null;
  /** Of the stop that is under way, or was last. */
  grace: Grace | null;
  /** Ends the watch of the guest's last probation. */
  probation: AbortController | null;
  /** SHA-256 of the root disk while it is known not to have changed. */
  digest: string | null;
  /** See the contract: found off at the agent's start although it was to run, and not started since. */
  interrupted: boolean;
  /** It was asked to stand still, as far as this agent knows. */
  paused: boolean;
}

export type Refusal = Exclude<Reply<never>, { kind: 'ok' }>;
/** What a mutating call comes to inside the mutex. */
export type Step<T> =
  | Refusal
  | { readonly kind: 'ok'; readonly value: T }
  | { readonly kind: 'job'; readonly job: HostJob };

const DEFAULT_PATIENCE_MS = 1000;
export const GIB = 1024 ** 3;
export const JOB_DONE: Job = { state: 'done', doneBytes: 0, totalBytes: 0 };
export const NOTHING: Record<string, never> = {};
export const ABSENT: Refusal = { kind: 'absent' };
export const UNREACHABLE: Refusal = { kind: 'unreachable', reason: 'the agent is closed' };
export const refused = (reason: string): Refusal => ({ kind: 'refused', reason });
/** It must find the devices that it had. */
export const SUSPENDED = refused('the guest is suspended');
export const ok = <T>(value: T): { readonly kind: 'ok'; readonly value: T } => ({ kind: 'ok', value });

export class Guests {
  readonly clock: Clock;
  readonly hypervisor: Hypervisor;
  readonly resources: HostResources;
  readonly log: Logger;
  readonly #records: Records;
  readonly #patienceMs: number;
  readonly #entries = new Map<string, Entry>();
  readonly #closing = new AbortController();

  constructor(options: AgentOptions) {
    this.clock = options.clock;
    this.hypervisor = options.hypervisor;
    this.resources = options.resources;
    this.log = options.log;
    this.#records = options.records;
    this.#patienceMs = options.patienceMs ?? DEFAULT_PATIENCE_MS;
  }

  /** Reads every record; to be called once, before anything else. */
  async load(): Promise<void> {
    for (const record of await this.#records.load()) this.#entries.set(record.serverId, newEntry(record));
  }

  /** Ends the agent's own waits. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  get closed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Lets nobody in any more, and resolves when jobs and the calls that were let in before have come to their end. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.all().map((entry) => entry.mutex.run(async () => undefined)));
    const jobs = this.all().flatMap((entry) => entry.job ?? []);
    for (const job of jobs) job.cancel();
    await Promise.all(jobs.map((job) => job.settled));
  }

  // ---- the gate -------------------------------------------------------------------------------------------------

  /** Runs `act` under the guest's mutex at this generation, or fences the call off. */
  async call<T>(serverId: string, generation: number, act: (entry: Entry) => Promise<Reply<T>>): Promise<Reply<T>> {
    const step = await this.#admit(serverId, generation, act);
    invariant(step.kind !== 'job', 'a call without a job');
    return step;
  }

  /** The same for calls that may start a job, for which it then waits a moment. */
  async jobCall(
    serverId: string,
    generation: number,
    act: (entry: Entry) => Promise<Step<Job>>,
    patienceMs = this.#patienceMs,
  ): Promise<Reply<Job>> {
    const step = await this.#admit(serverId, generation, act);
    if (step.kind !== 'job') return step;
    const { job } = step;
    await job.wait(this.clock, patienceMs);
    const report = job.report();
    const entry = this.#entries.get(serverId);
    // A failure is told once; the next call tries again.
    if (report.state === 'failed' && entry?.job === job) entry.job = null;
    return ok(report);
  }

  async #admit<T>(serverId: string, generation: number, act: (entry: Entry) => Promise<Step<T>>): Promise<Step<T>> {
    invariant(isUuid(serverId), 'a server id is a UUID');
    invariant(Number.isSafeInteger(generation) && generation > 0, 'a generation is a positive integer');
    if (this.closed) return UNREACHABLE;
    const entry = this.#entry(serverId);
    return entry.mutex.run(async () => {
      if (this.closed) return UNREACHABLE;
      const seen = entry.record.generation;
      if (generation < seen) return { kind: 'fenced', generation: seen };
      if (generation > seen) await this.save(entry, { ...entry.record, generation, closedTo: [] });
      return act(entry);
    });
  }

  #entry(serverId: string): Entry {
    const known = this.#entries.get(serverId);
    if (known) return known;
    const entry = newEntry({ version: 1, serverId, generation: 0, destroyedGeneration: 0, closedTo: [], guest: null });
    this.#entries.set(serverId, entry);
    return entry;
  }

  // ---- what is known --------------------------------------------------------------------------------------------

  all(): Entry[] {
    return [...this.#entries.values()];
  }

  find(serverId: string): Entry | null {
    return this.#entries.get(serverId) ?? null;
  }

  count(): number {
    let count = 0;
    for (const entry of this.#entries.values()) if (entry.record.guest !== null) count += 1;
    return count;
  }

  /**
   * Guests of which there are files and no record. The record of a guest is there before its first file and goes behind
   * its last: so that never happens by itself, and nobody here can know whose they are.
   */
  async remains(): Promise<Heartbeat['remains']> {
    const found: Heartbeat['remains'] = [];
    for (const serverId of await this.hypervisor.kept()) {
      if (found.length === MAX_REMAINS) break;
      if (this.#isKnown(serverId)) continue;
      const bytes = await this.hypervisor.bytesOf(serverId);
      // It may have been defined, or have gone, since.
      if (bytes !== null && !this.#isKnown(serverId)) found.push({ serverId, bytes });
    }
    return found;
  }

  /** What is missing of the guests on record, and what is nobody's. */
  async files(): Promise<Files> {
    const saved = await this.#records.ids();
    const missing: Files['missing'] = [];
    for (const { record } of this.all()) {
      const { serverId: id, guest } = record;
      // Its files are on their way.
      if (guest === null || guest.destroying) continue;
      const found = await this.hypervisor.missing(id, guest);
      missing.push(...(saved.has(id) ? found : [...found, 'record']).map((what) => ({ id, what })));
    }
    return { missing, strays: (await this.hypervisor.strays()).slice(0, MAX_STRAYS) };
  }

  #isKnown(serverId: string): boolean {
    return (this.find(serverId)?.record.guest ?? null) !== null;
  }

  /** Drops base images that no guest stands on, unless some disk here may stand on one that nobody knows of. */
  async sweepImages(): Promise<void> {
    if ((await this.remains()).length > 0) return;
    await this.hypervisor.sweepImages(() => this.#imagesInUse());
  }

  /** SHA-256 values of the base images that a guest stands on. */
  #imagesInUse(): Set<string> {
    const inUse = new Set<string>();
    for (const { record } of this.#entries.values()) {
      for (const root of [record.guest?.spec.root, record.guest?.spare?.spec.root]) {
        if (root?.kind === 'image') inUse.add(root.image.sha256);
      }
    }
    return inUse;
  }

  power(serverId: string): 'on' | 'off' {
    return this.hypervisor.running(serverId) ? 'on' : 'off';
  }

  // ---- what is written ------------------------------------------------------------------------------------------

  /** Makes the record durable, then believes it. */
  async save(entry: Entry, record: GuestRecord): Promise<void> {
    await this.#records.save(record);
    entry.record = record;
  }

  async saveGuest(entry: Entry, guest: GuestBody): Promise<void> {
    await this.save(entry, { ...entry.record, guest });
  }

  /** The hypervisor's no as a reply; anything else that was thrown is thrown on. */
  refusal(serverId: string, error: unknown): Refusal {
    if (!(error instanceof HypervisorError)) throw error;
    this.log.warn({ serverId, reason: error.message }, 'refused by the hypervisor');
    return refused(error.message);
  }

  /** The largest root disk that can ever be here, in bytes. */
  async diskLimit(): Promise<number> {
    const { diskGb } = this.resources;
    return diskGb === null ? await this.hypervisor.diskBytes() : diskGb * GIB;
  }
}

function newEntry(record: GuestRecord): Entry {
  return {
    mutex: new Mutex(),
    record,
    job: null,
    grace: null,
    probation: null,
    digest: null,
    interrupted: false,
    paused: false,
  };
}

export function newGuest(spec: GuestSpec, origin: GuestBody['origin']): GuestBody {
  return {
    spec,
    origin,
    disk: 'missing',
    volumes: [],
    importDigest: null,
    power: 'off',
    memory: 'none',
    spare: null,
    startedAt: null,
    exported: null,
    probationUntil: null,
    destroying: false,
  };
}
