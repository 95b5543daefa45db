// The volumes and servers that a storage agent knows: their records, the gates that mutating calls pass, their jobs.
//
// Theory of operation. Two gates, as the contract says: calls about a volume compare the volume's generation, calls about
// access the server's. Each holds its mutex while it compares and acts; who needs both takes the server's first. A newer
// generation is on record before anything else happens. A volume has one job at most; who asks for another meanwhile is
// answered `pending`, and begins it by asking again: to refuse would be for good, and what was to be taken back would stay.
// Long ones are making content, before which nobody is let in, and sending it away, during which everybody is.
import type { Logger } from 'pino';
import { type Files, type Job, MAX_REMAINS, MAX_STRAYS, type Reply } from '../../host/contract.ts';
import { HypervisorError, type JobControl } from '../../host/hypervisor.ts';
import { HostJob } from '../../host/jobs.ts';
import { Mutex } from '../../host/mutex.ts';
import type { Clock } from '../../lib/clock.ts';
import { invariant } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { StorageHeartbeat, StoredVolume } from '../contract.ts';
import type { StorageDriver } from '../driver.ts';
import type { ServerRecord, StorageRecords, VolumeBody, VolumeRecord } from '../records.ts';

export interface StorageAgentOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly driver: StorageDriver;
  readonly records: StorageRecords;
  readonly log: Logger;
  /** How long a call waits for its job before it answers `pending`, ms. */
  readonly patienceMs?: number;
}

export type VolumeJob =
  | 'make'
  | 'delete'
  | 'extend'
  | 'snapshot'
  | 'delete-snapshot'
  | 'rewrite'
  | 'upload'
  | 'end-upload';

export interface VolumeEntry {
  readonly mutex: Mutex;
  record: VolumeRecord;
  job: HostJob<VolumeJob> | null;
  /** How many volumes are being made from this one right now: it must stay as it is. */
  readers: number;
}

/** The attachments of a server whose access has ended at its present generation. */
export interface Revoked {
  has(attachmentId: string): boolean;
  add(attachmentId: string): Promise<void>;
}

interface ServerEntry {
  readonly mutex: Mutex;
  record: ServerRecord;
}

export type Refusal = Exclude<Reply<never>, { kind: 'ok' }>;
/** What a call about a volume comes to inside the mutex. */
export type Step =
  | Refusal
  | typeof WAIT
  | { readonly kind: 'ok'; readonly value: Job }
  | { readonly kind: 'job'; readonly job: HostJob<VolumeJob> };

const DEFAULT_PATIENCE_MS = 1000;
export const JOB_DONE: Job = { state: 'done', doneBytes: 0, totalBytes: 0 };
/** Something else is under way, which ends by itself: ask again. */
export const WAIT = { kind: 'wait' } as const;
const PENDING: Job = { state: 'pending', doneBytes: 0, totalBytes: 0 };
export const NOTHING: Record<string, never> = {};
export const ABSENT: Refusal = { kind: 'absent' };
export const UNREACHABLE: Refusal = { kind: 'unreachable', reason: 'the storage agent is closed' };
export const refused = (reason: string): Refusal => ({ kind: 'refused', reason });
export const ok = <T>(value: T): { readonly kind: 'ok'; readonly value: T } => ({ kind: 'ok', value });

export class Volumes {
  readonly clock: Clock;
  readonly driver: StorageDriver;
  readonly log: Logger;
  readonly #records: StorageRecords;
  readonly #patienceMs: number;
  readonly #entries = new Map<string, VolumeEntry>();
  readonly #servers = new Map<string, ServerEntry>();
  #closed = false;

  constructor(options: StorageAgentOptions) {
    this.clock = options.clock;
    this.driver = options.driver;
    this.log = options.log;
    this.#records = options.records;
    this.#patienceMs = options.patienceMs ?? DEFAULT_PATIENCE_MS;
  }

  /** Reads every record; to be called once, before anything else. */
  async load(): Promise<void> {
    for (const record of await this.#records.volumes.load()) this.#entries.set(record.id, newEntry(record));
    for (const record of await this.#records.servers.load())
      this.#servers.set(record.id, { mutex: new Mutex(), record });
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Lets nobody in any more, and resolves when jobs and the calls that were let in before have come to their end. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#servers.values()].map(({ mutex }) => mutex.run(async () => undefined)));
    await Promise.all(this.all().map(({ mutex }) => mutex.run(async () => undefined)));
    const jobs = this.all().flatMap((entry) => entry.job ?? []);
    for (const job of jobs) job.cancel();
    await Promise.all(jobs.map((job) => job.settled));
  }

  // ---- the gates ------------------------------------------------------------------------------------------------

  /** Runs `act` under the volume's mutex at this generation, and waits a moment for the job that it comes to. */
  async change(volumeId: string, generation: number, act: (entry: VolumeEntry) => Promise<Step>): Promise<Reply<Job>> {
    invariant(isUuid(volumeId) && Number.isSafeInteger(generation) && generation > 0, 'checked at the edge');
    if (this.#closed) return UNREACHABLE;
    const entry = this.#entry(volumeId);
    const step = await entry.mutex.run(async (): Promise<Step> => (await this.#raise(entry, generation)) ?? act(entry));
    if (step.kind === 'wait') {
      await this.clock.sleep(this.#patienceMs);
      return ok(PENDING);
    }
    if (step.kind !== 'job') return step;
    const { job } = step;
    await job.wait(this.clock, this.#patienceMs);
    const report = job.report();
    // A failure is told once; the next call tries again.
    if (report.state === 'failed' && entry.job === job) entry.job = null;
    return ok(report);
  }

  /** Remembers this generation of the volume. */
  async fence(volumeId: string, generation: number): Promise<Reply<Record<string, never>>> {
    invariant(isUuid(volumeId) && Number.isSafeInteger(generation) && generation > 0, 'checked at the edge');
    const entry = this.#entry(volumeId);
    return entry.mutex.run(async () => (await this.#raise(entry, generation)) ?? ok(NOTHING));
  }

  /** Inside the volume's mutex. @returns why a call at this generation is not let in */
  async #raise(entry: VolumeEntry, generation: number): Promise<Refusal | null> {
    if (this.#closed) return UNREACHABLE;
    const seen = entry.record.generation;
    if (generation < seen) return { kind: 'fenced', generation: seen };
    if (generation > seen) await this.save(entry, { ...entry.record, generation, deletedSnapshots: [] });
    return null;
  }

  /** Runs `act` under the server's mutex at this generation. */
  async access<T>(
    serverId: string,
    generation: number,
    act: (revoked: Revoked) => Promise<Reply<T>>,
  ): Promise<Reply<T>> {
    invariant(isUuid(serverId) && Number.isSafeInteger(generation) && generation > 0, 'checked at the edge');
    if (this.#closed) return UNREACHABLE;
    const server = this.#server(serverId);
    return server.mutex.run(async () => {
      if (this.#closed) return UNREACHABLE;
      const seen = server.record.generation;
      if (generation < seen) return { kind: 'fenced', generation: seen };
      const save = async (record: ServerRecord): Promise<void> => {
        await this.#records.servers.save(record);
        server.record = record;
      };
      if (generation > seen) await save({ ...server.record, generation, revoked: [] });
      return act({
        has: (attachmentId) => server.record.revoked.includes(attachmentId),
        add: (attachmentId) => save({ ...server.record, revoked: [...server.record.revoked, attachmentId] }),
      });
    });
  }

  // ---- what is known --------------------------------------------------------------------------------------------

  all(): VolumeEntry[] {
    return [...this.#entries.values()];
  }

  find(volumeId: string): VolumeEntry | null {
    return this.#entries.get(volumeId) ?? null;
  }

  count(): number {
    return this.all().filter(({ record }) => record.volume !== null).length;
  }

  /** Volumes of which there are files and no record; see agent/content.ts. */
  async remains(): Promise<StorageHeartbeat['remains']> {
    const found: StorageHeartbeat['remains'] = [];
    for (const volumeId of await this.driver.kept()) {
      if (found.length === MAX_REMAINS) break;
      if (this.#isKnown(volumeId)) continue;
      const bytes = await this.driver.bytesOf(volumeId);
      // It may have been made, or have gone, since.
      if (bytes !== null && !this.#isKnown(volumeId)) found.push({ volumeId, bytes });
    }
    return found;
  }

  /** What is missing of the volumes on record that are whole, and what is nobody's. */
  async files(): Promise<Files> {
    const saved = await this.#records.volumes.ids();
    const missing: Files['missing'] = [];
    for (const { record } of this.all()) {
      const { id, volume } = record;
      if (volume?.state !== 'ready') continue;
      const found = await this.driver.missing(id);
      missing.push(...(saved.has(id) ? found : [...found, 'record']).map((what) => ({ id, what })));
    }
    return { missing, strays: (await this.driver.strays()).slice(0, MAX_STRAYS) };
  }

  #isKnown(volumeId: string): boolean {
    return (this.find(volumeId)?.record.volume ?? null) !== null;
  }

  // ---- what is written ------------------------------------------------------------------------------------------

  /** Makes the record durable, then believes it. */
  async save(entry: VolumeEntry, record: VolumeRecord): Promise<void> {
    await this.#records.volumes.save(record);
    entry.record = record;
  }

  async saveVolume(entry: VolumeEntry, volume: VolumeBody): Promise<void> {
    await this.save(entry, { ...entry.record, volume });
  }

  /** The driver's no as a reply; anything else that was thrown is thrown on. */
  refusal(volumeId: string, error: unknown): Refusal {
    if (!(error instanceof HypervisorError)) throw error;
    this.log.warn({ volumeId, reason: error.message }, 'refused by the storage driver');
    return refused(error.message);
  }

  // ---- jobs -----------------------------------------------------------------------------------------------------

  /** The job under way that wants the same, joined by the newer generation; or that another must be waited for. */
  underWay(entry: VolumeEntry, kind: VolumeJob, key: string, generation: number): Step | null {
    const job = entry.job;
    if (job === null) return null;
    const same = job.kind === kind && job.key === key && !job.cancelled;
    if (job.outcome === null) {
      if (!same) return WAIT;
      job.generation = generation;
      return { kind: 'job', job };
    }
    return same && job.outcome.kind === 'failed' && job.generation === generation ? { kind: 'job', job } : null;
  }

  start(entry: VolumeEntry, kind: VolumeJob, key: string, work: (control: JobControl) => Promise<void>): Step {
    const { id: volumeId, generation } = entry.record;
    const before = entry.job;
    const log = this.log.child({ volumeId, generation });
    const job = new HostJob<VolumeJob>(kind, key, generation, log, before, async (control) => {
      if (before !== null) await before.settled;
      await work(control);
    });
    entry.job = job;
    return { kind: 'job', job };
  }

  #entry(volumeId: string): VolumeEntry {
    const known = this.#entries.get(volumeId);
    if (known) return known;
    const entry = newEntry({
      ...{ version: 1, id: volumeId, generation: 0, deletedGeneration: 0, deletedSnapshots: [], volume: null },
    });
    this.#entries.set(volumeId, entry);
    return entry;
  }

  #server(serverId: string): ServerEntry {
    const known = this.#servers.get(serverId);
    if (known) return known;
    const server: ServerEntry = {
      mutex: new Mutex(),
      record: { version: 1, id: serverId, generation: 0, revoked: [] },
    };
    this.#servers.set(serverId, server);
    return server;
  }
}

function newEntry(record: VolumeRecord): VolumeEntry {
  return { mutex: new Mutex(), record, job: null, readers: 0 };
}

/** As callers see it: without keys. */
export function shown({ record: { id, generation }, job }: VolumeEntry, volume: VolumeBody): StoredVolume {
  const grants = volume.grants.map(({ attachmentId, serverId, generation: at, mode }) => ({
    ...{ attachmentId, serverId, generation: at, mode },
  }));
  const busy = job !== null && job.outcome === null;
  return { volumeId: id, generation, sizeBytes: volume.sizeBytes, snapshots: [...volume.snapshots], busy, grants };
}
