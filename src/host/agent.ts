// The agent: the rules of one compute host. Records, fencing and jobs live here; the effects are the hypervisor's.
//
// Theory of operation. Every mutating call passes one gate, under the guest's mutex: a generation older than the
// recorded one is fenced; a newer one is recorded durably before anything else happens. Then the call compares the
// wanted state with what is, and answers `done`, or attaches to the job that is on its way there, or starts one. The
// mutex is free again before the call waits (a moment only, `patienceMs`) for its job.
//   States of a guest: absent → defined (disk missing) → defined (disk ready), off or on → destroying → absent.
// Who writes: only this object writes its records, always inside the guest's mutex, always before the effect.
// Races that are handled:
// - A start that was admitted at generation g and a fence at g+1: the process is created inside the mutex after
//   comparing generations again, so once the fence has been answered no older start can happen any more; whoever looks
//   then sees the process or will never see it.
// - A destroy cancels whatever runs, waits until it has stopped, and only then removes. It is recorded first, so that
//   it goes on after a restart.
// - A start while the guest is still being stopped waits for the stop; a stop during a start cancels the start.
// - A start closes an open export: a disk that changes must not be copied.
// - A guest on probation is turned off when nobody keeps it in time. Both happen inside the mutex, so a guest that was
//   kept is not turned off, and one that was turned off is started again by whoever keeps it.
// A job's failure is told once, to the next call that wants the same at the same generation; the call after that
// tries again.
// Not handled: a clock that jumps makes the grace of a stop longer or shorter.
import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import type { Clock } from '../lib/clock.ts';
import { assertNever, invariant, messageOf } from '../lib/errors.ts';
import { isUuid } from '../lib/ids.ts';
import type {
  DefineRequest,
  DigestJob,
  DiskExport,
  GenerationRequest,
  GrowRequest,
  Guest,
  GuestSpec,
  Heartbeat,
  Host,
  HostDescription,
  ImportRequest,
  Job,
  PowerRequest,
  Reply,
} from './contract.ts';
import { type Hypervisor, HypervisorError, type JobControl } from './hypervisor.ts';
import { HostJob, type JobKind } from './jobs.ts';
import { Mutex } from './mutex.ts';
import type { GuestBody, GuestRecord, Records } from './records.ts';

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

interface Entry {
  readonly mutex: Mutex;
  record: GuestRecord;
  job: HostJob | null;
  /** When the stop that is under way pulls the plug, ms since epoch. */
  stopDeadline: number;
  /** SHA-256 of the root disk while it is known not to have changed. */
  digest: string | null;
}

type Refusal = Exclude<Reply<never>, { kind: 'ok' }>;
/** What a mutating call comes to inside the mutex. */
type Step<T> = Refusal | { readonly kind: 'ok'; readonly value: T } | { readonly kind: 'job'; readonly job: HostJob };

const DEFAULT_PATIENCE_MS = 1000;
/** A start is worth waiting for: the caller's next question would be whether it succeeded. */
const START_PATIENCE_MS = 3000;
/** How often a guest that is to stop is reminded: early in its boot it does not notice the first press. */
const BUTTON_INTERVAL_MS = 2000;
const STOP_POLL_MS = 500;
const MAX_GUESTS = 1000;
const GIB = 1024 ** 3;
const JOB_DONE: Job = { state: 'done', doneBytes: 0, totalBytes: 0 };
const ABSENT: Refusal = { kind: 'absent' };
const refused = (reason: string): Refusal => ({ kind: 'refused', reason });
const ok = <T>(value: T): { readonly kind: 'ok'; readonly value: T } => ({ kind: 'ok', value });
const NOTHING: Record<string, never> = {};

export class Agent implements Host {
  readonly #name: string;
  readonly #clock: Clock;
  readonly #hypervisor: Hypervisor;
  readonly #records: Records;
  readonly #resources: HostResources;
  readonly #log: Logger;
  readonly #patienceMs: number;
  readonly #agentId = randomUUID();
  readonly #entries = new Map<string, Entry>();
  #closed = false;
  /** Ends the agent's own waits. */
  readonly #closing = new AbortController();

  private constructor(options: AgentOptions) {
    this.#name = options.name;
    this.#clock = options.clock;
    this.#hypervisor = options.hypervisor;
    this.#records = options.records;
    this.#resources = options.resources;
    this.#log = options.log;
    this.#patienceMs = options.patienceMs ?? DEFAULT_PATIENCE_MS;
  }

  /** An agent that has read its records, found its guests again and finishes what was begun. */
  static async open(options: AgentOptions): Promise<Agent> {
    const agent = new Agent(options);
    await agent.#recover();
    return agent;
  }

  /** Ends jobs and exports and answers nothing any more. Guests go on running. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#closing.abort();
    // Calls that were let in before that come to their end first; none comes after them.
    await Promise.all([...this.#entries.values()].map((entry) => entry.mutex.run(async () => undefined)));
    const jobs = [...this.#entries.values()].flatMap((entry) => entry.job ?? []);
    for (const job of jobs) job.cancel();
    await Promise.all(jobs.map((job) => job.settled));
    await this.#hypervisor.close();
  }

  /**
   * Stops every guest, asking first and pulling the plug after `graceSeconds`; returns how many were running. For the
   * end of a whole installation: records stay as they are, and no generation is involved.
   */
  async stopAll(graceSeconds: number): Promise<number> {
    const running = [...this.#entries.keys()].filter((serverId) => this.#hypervisor.running(serverId));
    const deadline = this.#clock.now() + graceSeconds * 1000;
    const never = new AbortController().signal;
    await Promise.all(running.map((serverId) => this.#stop(serverId, () => deadline, never)));
    return running.length;
  }

  async describe(): Promise<Reply<HostDescription>> {
    if (this.#closed) return this.#unreachable();
    const facts = await this.#hypervisor.facts();
    const diskGb = this.#resources.diskGb ?? Math.floor((await this.#hypervisor.diskBytes()) / GIB);
    const { vcpus, memoryMb } = this.#resources;
    return ok({ name: this.#name, ...facts, vcpus, memoryMb, diskGb });
  }

  async heartbeat(): Promise<Reply<Heartbeat>> {
    if (this.#closed) return this.#unreachable();
    const guests: Heartbeat['guests'] = [];
    for (const [serverId, entry] of this.#entries) {
      if (entry.record.guest === null) continue;
      guests.push({ serverId, generation: entry.record.generation, power: this.#power(serverId) });
    }
    return ok({ agentId: this.#agentId, now: this.#clock.now(), guests });
  }

  async guest(serverId: string): Promise<Reply<Guest>> {
    if (this.#closed) return this.#unreachable();
    const record = this.#entries.get(serverId)?.record;
    if (!record?.guest) return ABSENT;
    return ok({
      serverId,
      generation: record.generation,
      power: this.#power(serverId),
      disk: record.guest.disk === 'ready',
      spec: record.guest.spec,
      startedAt: record.guest.startedAt,
    });
  }

  async console(serverId: string, lines?: number): Promise<Reply<{ output: string }>> {
    if (this.#closed) return this.#unreachable();
    if (!this.#entries.get(serverId)?.record.guest) return ABSENT;
    const output = await this.#hypervisor.console(serverId);
    return ok({ output: lines === undefined ? output : lastLines(output, lines) });
  }

  async fence(serverId: string, request: GenerationRequest): Promise<Reply<Record<string, never>>> {
    return this.#call(serverId, request.generation, async () => ok(NOTHING));
  }

  async define(serverId: string, request: DefineRequest): Promise<Reply<Job>> {
    return this.#jobCall(serverId, request.generation, (entry) => this.#define(entry, request));
  }

  async setPower(serverId: string, request: PowerRequest): Promise<Reply<Job>> {
    const patienceMs = request.power === 'on' ? START_PATIENCE_MS : this.#patienceMs;
    return this.#jobCall(
      serverId,
      request.generation,
      async (entry) => {
        const guest = entry.record.guest;
        if (guest === null) return ABSENT;
        if (guest.destroying) return refused('the guest is being destroyed');
        if (request.power === 'off') return this.#powerOff(entry, guest, request);
        return this.#powerOn(entry, await this.#setProbation(entry, guest, request.probationSeconds ?? null));
      },
      patienceMs,
    );
  }

  async openExport(serverId: string, request: GenerationRequest): Promise<Reply<DiskExport>> {
    return this.#call(serverId, request.generation, async (entry) => {
      const usable = this.#diskAtRest(entry);
      if ('kind' in usable) return usable;
      const { guest } = usable;
      if (this.#busy(entry, ['digest'])) return refused(`the guest is busy: ${entry.job?.kind}`);
      try {
        const source = await this.#hypervisor.openExport(serverId, guest.exported);
        const exported = { name: source.name, port: source.port };
        if (!isDeepStrictEqual(exported, guest.exported)) await this.#saveGuest(entry, { ...guest, exported });
        return ok(source);
      } catch (error) {
        return this.#refusal(serverId, error);
      }
    });
  }

  async closeExport(serverId: string, request: GenerationRequest): Promise<Reply<Record<string, never>>> {
    return this.#call(serverId, request.generation, async (entry) => {
      const guest = entry.record.guest;
      if (guest === null) return ok(NOTHING);
      await this.#closeExport(entry, guest);
      return ok(NOTHING);
    });
  }

  async importDisk(serverId: string, request: ImportRequest): Promise<Reply<Job>> {
    return this.#jobCall(serverId, request.generation, async (entry) => {
      const guest = entry.record.guest;
      if (guest === null) return ABSENT;
      if (guest.destroying) return refused('the guest is being destroyed');
      if (guest.origin !== 'incoming') return refused('the guest was defined with a disk of its own');
      const key = `${request.source.host}:${request.source.port}/${request.source.name}`;
      const earlier = this.#earlier(entry, 'import', key, request.generation);
      if (earlier) return earlier;
      if (guest.disk === 'ready') return ok(JOB_DONE);
      // A newer request may name another export of the same disk; the copy from the older one is of no use then.
      if (this.#busy(entry, ['import'])) return refused(`the guest is busy: ${entry.job?.kind}`);
      return this.#start(entry, 'import', key, (control, previous) =>
        this.#import(entry, guest.spec, request.source, control, previous),
      );
    });
  }

  async digest(serverId: string, request: GenerationRequest): Promise<Reply<DigestJob>> {
    const reply = await this.#jobCall(serverId, request.generation, async (entry) => {
      const usable = this.#diskAtRest(entry);
      if ('kind' in usable) return usable;
      const earlier = this.#earlier(entry, 'digest', '', request.generation);
      if (earlier) return earlier;
      if (knownDigest(entry) !== null) return ok(JOB_DONE);
      if (this.#busy(entry, [])) return refused(`the guest is busy: ${entry.job?.kind}`);
      return this.#start(entry, 'digest', '', async (control) => {
        const digest = await this.#hypervisor.digest(serverId, control);
        control.signal.throwIfAborted();
        entry.digest = digest;
      });
    });
    if (reply.kind !== 'ok' || reply.value.state !== 'done') return reply;
    const entry = this.#entries.get(serverId);
    const sha256 = entry ? knownDigest(entry) : null;
    // Null when the guest was started between the end of the job and this line.
    if (sha256 === null) return refused('the disk has changed since its digest was computed');
    return ok({ ...reply.value, sha256 });
  }

  async growDisk(serverId: string, request: GrowRequest): Promise<Reply<Job>> {
    return this.#jobCall(serverId, request.generation, async (entry) => {
      const usable = this.#diskAtRest(entry);
      if ('kind' in usable) return usable;
      const { guest } = usable;
      const key = String(request.rootBytes);
      const earlier = this.#earlier(entry, 'grow', key, request.generation);
      if (earlier) return earlier;
      const limit = await this.#diskLimit();
      if (request.rootBytes > limit) return refused(`a root disk of ${key} bytes is larger than this host's storage`);
      if (guest.exported) return refused('the disk is exported');
      if (this.#busy(entry, [])) return refused(`the guest is busy: ${entry.job?.kind}`);
      return this.#start(entry, 'grow', key, async (control) => {
        await this.#hypervisor.grow(serverId, request.rootBytes, control);
        entry.digest = null;
        await entry.mutex.run(async () => {
          const now = entry.record.guest;
          if (now === null || now.spec.rootBytes >= request.rootBytes) return;
          await this.#saveGuest(entry, { ...now, spec: { ...now.spec, rootBytes: request.rootBytes } });
        });
      });
    });
  }

  async destroy(serverId: string, request: GenerationRequest): Promise<Reply<Job>> {
    return this.#jobCall(serverId, request.generation, async (entry) => {
      const earlier = this.#earlier(entry, 'destroy', '', request.generation);
      if (earlier) return earlier;
      const guest = entry.record.guest;
      if (guest === null) {
        // Never here, or gone already: the define that may still be on its way must find the door closed.
        if (entry.record.destroyedGeneration < request.generation)
          await this.#save(entry, { ...entry.record, destroyedGeneration: request.generation });
        return ok(JOB_DONE);
      }
      await this.#save(entry, {
        ...entry.record,
        destroyedGeneration: request.generation,
        guest: { ...guest, destroying: true },
      });
      return this.#startDestroy(entry);
    });
  }

  // ---- the gate -------------------------------------------------------------------------------------------------

  /** Runs `act` under the guest's mutex at this generation, or fences the call off. */
  async #call<T>(serverId: string, generation: number, act: (entry: Entry) => Promise<Reply<T>>): Promise<Reply<T>> {
    const step = await this.#admit(serverId, generation, act);
    invariant(step.kind !== 'job', 'a call without a job');
    return step;
  }

  /** The same for calls that may start a job, for which it then waits a moment. */
  async #jobCall(
    serverId: string,
    generation: number,
    act: (entry: Entry) => Promise<Step<Job>>,
    patienceMs = this.#patienceMs,
  ): Promise<Reply<Job>> {
    const step = await this.#admit(serverId, generation, act);
    if (step.kind !== 'job') return step;
    const { job } = step;
    await job.wait(this.#clock, patienceMs);
    const report = job.report();
    const entry = this.#entries.get(serverId);
    // A failure is told once; the next call tries again.
    if (report.state === 'failed' && entry?.job === job) entry.job = null;
    return ok(report);
  }

  async #admit<T>(serverId: string, generation: number, act: (entry: Entry) => Promise<Step<T>>): Promise<Step<T>> {
    invariant(isUuid(serverId), 'a server id is a UUID');
    invariant(Number.isSafeInteger(generation) && generation > 0, 'a generation is a positive integer');
    if (this.#closed) return this.#unreachable();
    const entry = this.#entry(serverId);
    return entry.mutex.run(async () => {
      if (this.#closed) return this.#unreachable();
      const seen = entry.record.generation;
      if (generation < seen) return { kind: 'fenced', generation: seen };
      if (generation > seen) await this.#save(entry, { ...entry.record, generation });
      return act(entry);
    });
  }

  #entry(serverId: string): Entry {
    const known = this.#entries.get(serverId);
    if (known) return known;
    const entry = newEntry({ version: 1, serverId, generation: 0, destroyedGeneration: 0, guest: null });
    this.#entries.set(serverId, entry);
    return entry;
  }

  // ---- define ---------------------------------------------------------------------------------------------------

  async #define(entry: Entry, request: DefineRequest): Promise<Step<Job>> {
    const { spec, disk } = request;
    const guest = entry.record.guest;
    if (guest?.destroying) return refused('the guest is being destroyed');
    const wrong = await this.#impossible(spec);
    if (wrong !== null) return refused(wrong);
    if (guest !== null && guest.origin !== disk) return refused(`the guest is defined with its disk ${guest.origin}`);

    const key = JSON.stringify(spec);
    const earlier = this.#earlier(entry, 'define', key, request.generation);
    if (earlier) return earlier;
    if (guest === null) {
      const destroyed = entry.record.destroyedGeneration;
      if (request.generation <= destroyed) return refused(`the guest was destroyed at generation ${destroyed}`);
      if (this.#guestCount() >= MAX_GUESTS) return refused(`this host has its ${MAX_GUESTS} guests already`);
      await this.#saveGuest(entry, newGuest(spec, disk));
    } else {
      const known = isDeepStrictEqual(guest.spec, spec);
      // An import under way presupposes a define that was done.
      if (known && (guest.disk === 'ready' || entry.job?.kind === 'import')) return ok(JOB_DONE);
      if (this.#busy(entry, [])) return refused(`the guest is busy: ${entry.job?.kind}`);
      if (!known) {
        const obstacle = this.#respecObstacle(entry.record.serverId, guest, spec);
        if (obstacle !== null) return refused(obstacle);
        await this.#saveGuest(entry, { ...guest, spec });
        if (guest.disk === 'ready') return ok(JOB_DONE);
      }
    }
    return this.#start(entry, 'define', key, (control) => this.#prepare(entry, spec, disk, control));
  }

  async #prepare(entry: Entry, spec: GuestSpec, disk: DefineRequest['disk'], control: JobControl): Promise<void> {
    await this.#hypervisor.prepare(entry.record.serverId, spec, disk, control);
    if (disk === 'incoming') return;
    await entry.mutex.run(async () => {
      control.signal.throwIfAborted();
      const guest = entry.record.guest;
      invariant(guest !== null, 'a destroy waits for the define');
      await this.#saveGuest(entry, { ...guest, disk: 'ready' });
    });
  }

  /** Why no guest of this spec can ever be on this host; null: none. */
  async #impossible(spec: GuestSpec): Promise<string | null> {
    const { vcpus, memoryMb } = this.#resources;
    if (spec.vcpus > vcpus) return `${spec.vcpus} vCPUs are more than this host's ${vcpus}`;
    if (spec.memoryMb > memoryMb) return `${spec.memoryMb} MiB of memory are more than this host's ${memoryMb}`;
    if (spec.rootBytes < spec.image.virtualBytes) return 'the root disk is smaller than its image';
    if (spec.rootBytes > (await this.#diskLimit())) return "the root disk is larger than this host's storage";
    return null;
  }

  /** Why a guest that is defined cannot get another spec; null: it can. */
  #respecObstacle(serverId: string, guest: GuestBody, spec: GuestSpec): string | null {
    if (this.#hypervisor.running(serverId)) return 'the guest runs with another specification';
    if (guest.spec.image.sha256 !== spec.image.sha256) return 'the guest is defined with another image';
    // growDisk raises the recorded size; a define is not the way to change it.
    if (guest.spec.rootBytes !== spec.rootBytes) return 'the guest is defined with another root disk size';
    return null;
  }

  async #diskLimit(): Promise<number> {
    const { diskGb } = this.#resources;
    return diskGb === null ? await this.#hypervisor.diskBytes() : diskGb * GIB;
  }

  // ---- power ----------------------------------------------------------------------------------------------------

  async #powerOn(entry: Entry, guest: GuestBody): Promise<Step<Job>> {
    const { serverId, generation } = entry.record;
    const earlier = this.#earlier(entry, 'power-on', '', generation);
    if (earlier) return earlier;
    if (guest.disk !== 'ready') return refused('the guest has no disk yet');
    if (this.#busy(entry, ['power-off', 'digest'])) return refused(`the guest is busy: ${entry.job?.kind}`);
    if (this.#hypervisor.running(serverId) && !this.#active(entry)) return ok(JOB_DONE);
    // A digest of a disk that is about to change is of no use; a stop cannot be called off and is waited for.
    if (entry.job?.kind === 'digest') entry.job.cancel();
    return this.#start(entry, 'power-on', '', async (control, previous, job) => {
      await previous;
      await entry.mutex.run(() => this.#spawn(entry, control, job()));
      try {
        await this.#hypervisor.awaitRunning(serverId, control);
      } catch (error) {
        // Whether it refused or was told to stop: the answer must not leave a process behind.
        if (!this.#closed) await this.#hypervisor.kill(serverId, false);
        throw error;
      }
      await entry.mutex.run(async () => {
        const now = entry.record.guest;
        if (now !== null) await this.#saveGuest(entry, { ...now, startedAt: this.#hypervisor.startedAt(serverId) });
      });
    });
  }

  /** Inside the mutex: on record before the guest can start, so that a restart of the agent forgets it no more. */
  async #setProbation(entry: Entry, guest: GuestBody, seconds: number | null): Promise<GuestBody> {
    const probationUntil = seconds === null ? null : this.#clock.now() + seconds * 1000;
    if (guest.probationUntil === probationUntil) return guest;
    const now = { ...guest, probationUntil };
    await this.#saveGuest(entry, now);
    if (guest.probationUntil === null) this.#watchProbation(entry);
    return now;
  }

  /** Turns the guest off when its probation ends without its having been kept. */
  #watchProbation(entry: Entry): void {
    const { serverId } = entry.record;
    const watch = async (): Promise<void> => {
      for (;;) {
        const until = entry.record.guest?.probationUntil ?? null;
        if (until === null || this.#closed) return;
        const left = until - this.#clock.now();
        if (left > 0) await this.#clock.sleep(left, this.#closing.signal);
        else await entry.mutex.run(() => this.#endProbation(entry));
      }
    };
    watch().catch((error: unknown) => this.#log.error({ err: error, serverId }, 'a probation could not be watched'));
  }

  /** Inside the mutex. A start that is still on its way is called off. */
  async #endProbation(entry: Entry): Promise<void> {
    const { serverId, guest } = entry.record;
    if (this.#closed || guest === null || guest.probationUntil === null) return;
    if (guest.probationUntil > this.#clock.now()) return;
    this.#log.warn({ serverId }, 'nobody kept the guest within its probation: it is turned off');
    if (entry.job?.kind === 'power-on') entry.job.cancel();
    if (this.#hypervisor.running(serverId)) await this.#hypervisor.kill(serverId, false);
    await this.#saveGuest(entry, { ...guest, power: 'off', probationUntil: null });
  }

  /** Inside the mutex: the one place where a guest's process comes to be. */
  async #spawn(entry: Entry, control: JobControl, job: HostJob): Promise<void> {
    control.signal.throwIfAborted();
    const { serverId, generation, guest } = entry.record;
    if (generation !== job.generation) throw new HypervisorError(`overtaken by generation ${generation}`);
    if (guest === null || guest.destroying) throw new HypervisorError('the guest is being destroyed');
    if (this.#hypervisor.running(serverId)) return;
    if (guest.probationUntil !== null && guest.probationUntil <= this.#clock.now())
      throw new HypervisorError('its probation was over before it could start');
    await this.#closeExport(entry, guest);
    entry.digest = null;
    await this.#saveGuest(entry, { ...guest, power: 'on', importDigest: null, exported: null });
    await this.#hypervisor.spawn(serverId, guest.spec);
  }

  async #powerOff(entry: Entry, guest: GuestBody, request: PowerRequest): Promise<Step<Job>> {
    const { serverId } = entry.record;
    const deadline = this.#clock.now() + request.graceSeconds * 1000;
    const job = entry.job;
    if (job?.kind === 'power-off' && job.outcome === null) {
      // Grace counts from the first request; a later one can only make it shorter.
      entry.stopDeadline = Math.min(entry.stopDeadline, deadline);
      job.generation = request.generation;
      return { kind: 'job', job };
    }
    const earlier = this.#earlier(entry, 'power-off', '', request.generation);
    if (earlier) return earlier;
    const starting = job?.kind === 'power-on' && job.outcome === null;
    if (guest.power !== 'off' || guest.probationUntil !== null)
      await this.#saveGuest(entry, { ...guest, power: 'off', probationUntil: null });
    if (!this.#hypervisor.running(serverId) && !starting) return ok(JOB_DONE);
    if (starting) job.cancel();
    entry.stopDeadline = deadline;
    return this.#start(entry, 'power-off', '', async (control, previous) => {
      await previous;
      await this.#stop(serverId, () => entry.stopDeadline, control.signal);
    });
  }

  /** Resolves when the guest's process is confirmed gone; until the deadline it is asked, then made to. */
  async #stop(serverId: string, deadline: () => number, signal: AbortSignal): Promise<void> {
    let nextPress = this.#clock.now();
    while (this.#hypervisor.running(serverId)) {
      signal.throwIfAborted();
      const now = this.#clock.now();
      if (now >= deadline()) return this.#hypervisor.kill(serverId, true);
      if (now >= nextPress) {
        nextPress = now + BUTTON_INTERVAL_MS;
        await this.#press(serverId);
      }
      const over = new AbortController();
      const wake = AbortSignal.any([over.signal, signal]);
      const pause = this.#clock.sleep(Math.min(STOP_POLL_MS, deadline() - now), wake);
      await Promise.race([this.#hypervisor.gone(serverId), pause]);
      over.abort();
    }
  }

  async #press(serverId: string): Promise<void> {
    try {
      await this.#hypervisor.pressPowerButton(serverId);
    } catch (error) {
      // A hypervisor that does not listen is dealt with at the deadline; a guest just ending ends anyway.
      this.#log.info({ serverId, reason: messageOf(error) }, 'the power button could not be pressed');
    }
  }

  // ---- disks ----------------------------------------------------------------------------------------------------

  async #import(
    entry: Entry,
    spec: GuestSpec,
    source: DiskExport,
    control: JobControl,
    previous: Promise<void>,
  ): Promise<void> {
    await previous;
    control.signal.throwIfAborted();
    const sha256 = await this.#hypervisor.importDisk(entry.record.serverId, spec, source, control);
    await entry.mutex.run(async () => {
      control.signal.throwIfAborted();
      const guest = entry.record.guest;
      invariant(guest !== null, 'a destroy waits for the import');
      await this.#saveGuest(entry, { ...guest, disk: 'ready', importDigest: sha256 });
    });
  }

  /** The guest, if its disk is there and nobody writes to it. */
  #diskAtRest(entry: Entry): { readonly guest: GuestBody } | Refusal {
    const guest = entry.record.guest;
    if (guest === null) return ABSENT;
    if (guest.destroying) return refused('the guest is being destroyed');
    if (guest.disk !== 'ready') return refused('the guest has no disk yet');
    if (this.#hypervisor.running(entry.record.serverId)) return refused('the guest is running');
    return { guest };
  }

  async #closeExport(entry: Entry, guest: GuestBody): Promise<void> {
    await this.#hypervisor.closeExport(entry.record.serverId);
    if (guest.exported !== null) await this.#saveGuest(entry, { ...guest, exported: null });
  }

  #startDestroy(entry: Entry): Step<Job> {
    const { serverId } = entry.record;
    entry.job?.cancel();
    return this.#start(entry, 'destroy', '', async (control, previous) => {
      await previous;
      control.signal.throwIfAborted();
      await this.#hypervisor.kill(serverId, false);
      await this.#hypervisor.closeExport(serverId);
      await this.#hypervisor.remove(serverId);
      await entry.mutex.run(() => this.#save(entry, { ...entry.record, guest: null }));
      entry.digest = null;
      await this.#hypervisor.sweepImages(this.#imagesInUse());
    });
  }

  // ---- jobs -----------------------------------------------------------------------------------------------------

  /** The job that a repeated call belongs to: under way, or ended with something to tell. */
  #earlier(entry: Entry, kind: JobKind, key: string, generation: number): Step<never> | null {
    const job = entry.job;
    if (job === null || job.kind !== kind || job.key !== key) return null;
    const outcome = job.outcome;
    if (outcome === null) {
      if (job.cancelled) return null;
      // Who asks last owns the job: the newer generation wants the same and must not see it fail as overtaken.
      job.generation = generation;
      return { kind: 'job', job };
    }
    switch (outcome.kind) {
      case 'failed':
        return job.generation === generation ? { kind: 'job', job } : null;
      case 'cancelled':
        return null;
      case 'done':
        // A guest may have stopped or started since: power is compared anew. The rest stays done.
        return kind === 'power-on' || kind === 'power-off' ? null : { kind: 'job', job };
      default:
        return assertNever(outcome);
    }
  }

  /** Starts a job in place of the one before; `previous` resolves when that one has stopped. */
  #start(
    entry: Entry,
    kind: JobKind,
    key: string,
    work: (control: JobControl, previous: Promise<void>, job: () => HostJob) => Promise<void>,
  ): Step<never> {
    const before = entry.job;
    if (before !== null && before.outcome === null && kind === 'import') before.cancel();
    const previous = before?.settled ?? Promise.resolve();
    const { serverId, generation } = entry.record;
    const log = this.#log.child({ serverId, generation });
    const job: HostJob = new HostJob(kind, key, generation, log, before, (control) =>
      work(control, previous, () => job),
    );
    entry.job = job;
    return { kind: 'job', job };
  }

  #active(entry: Entry): boolean {
    return entry.job !== null && entry.job.outcome === null;
  }

  /** Whether a job of another kind than these is under way. */
  #busy(entry: Entry, allowed: readonly JobKind[]): boolean {
    return entry.job !== null && entry.job.outcome === null && !allowed.includes(entry.job.kind);
  }

  // ---- records --------------------------------------------------------------------------------------------------

  /** Makes the record durable, then believes it. */
  async #save(entry: Entry, record: GuestRecord): Promise<void> {
    await this.#records.save(record);
    entry.record = record;
  }

  async #saveGuest(entry: Entry, guest: GuestBody): Promise<void> {
    await this.#save(entry, { ...entry.record, guest });
  }

  #guestCount(): number {
    let count = 0;
    for (const entry of this.#entries.values()) if (entry.record.guest !== null) count += 1;
    return count;
  }

  #imagesInUse(): Set<string> {
    const inUse = new Set<string>();
    for (const { record } of this.#entries.values()) if (record.guest) inUse.add(record.guest.spec.image.sha256);
    return inUse;
  }

  async #recover(): Promise<void> {
    for (const record of await this.#records.load()) this.#entries.set(record.serverId, newEntry(record));
    const guests = new Map<string, GuestBody>();
    for (const [serverId, { record }] of this.#entries) if (record.guest) guests.set(serverId, record.guest);
    await this.#hypervisor.recover(guests);
    for (const entry of this.#entries.values()) {
      if (entry.record.guest) await this.#recoverGuest(entry, entry.record.guest);
    }
    await this.#hypervisor.sweepImages(this.#imagesInUse());
  }

  async #recoverGuest(entry: Entry, guest: GuestBody): Promise<void> {
    const { serverId } = entry.record;
    if (guest.destroying) {
      this.#startDestroy(entry);
      return;
    }
    if (guest.probationUntil !== null) this.#watchProbation(entry);
    const startedAt = this.#hypervisor.startedAt(serverId);
    if (startedAt !== null) {
      this.#log.info({ serverId }, 'guest found running');
      if (guest.startedAt === null) await this.#saveGuest(entry, { ...guest, startedAt });
      return;
    }
    if (guest.exported === null) return;
    try {
      const { name, port } = await this.#hypervisor.openExport(serverId, guest.exported);
      await this.#saveGuest(entry, { ...guest, exported: { name, port } });
    } catch (error) {
      // Whoever reads it notices, and asks for a new one.
      this.#log.warn({ serverId, reason: messageOf(error) }, 'the export could not be opened again');
      await this.#saveGuest(entry, { ...guest, exported: null });
    }
  }

  #power(serverId: string): 'on' | 'off' {
    return this.#hypervisor.running(serverId) ? 'on' : 'off';
  }

  #refusal(serverId: string, error: unknown): Refusal {
    if (!(error instanceof HypervisorError)) throw error;
    this.#log.warn({ serverId, reason: error.message }, 'refused by the hypervisor');
    return refused(error.message);
  }

  #unreachable(): Refusal {
    return { kind: 'unreachable', reason: 'the agent is closed' };
  }
}

function newEntry(record: GuestRecord): Entry {
  return { mutex: new Mutex(), record, job: null, stopDeadline: 0, digest: null };
}

function newGuest(spec: GuestSpec, origin: DefineRequest['disk']): GuestBody {
  return {
    spec,
    origin,
    disk: 'missing',
    importDigest: null,
    power: 'off',
    startedAt: null,
    exported: null,
    probationUntil: null,
    destroying: false,
  };
}

/** A target that has not run yet answers with what it received; a source with what it has read from its disk. */
function knownDigest(entry: Entry): string | null {
  return entry.record.guest?.importDigest ?? entry.digest;
}

/** The last `count` lines; a trailing newline does not make an empty line. */
export function lastLines(text: string, count: number): string {
  if (count <= 0) return '';
  let from = text.endsWith('\n') ? text.length - 1 : text.length;
  for (let found = 0; found < count; found += 1) {
    if (from <= 0) return text;
    from = text.lastIndexOf('\n', from - 1);
    if (from < 0) return text;
  }
  return text.slice(from + 1);
}
