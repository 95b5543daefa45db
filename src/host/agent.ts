// The agent: the rules of one compute host. Records, fencing and jobs live here; the effects are the hypervisor's.
//
// Theory of operation. Every mutating call passes one gate, under the guest's mutex: a generation older than the
// recorded one is fenced; a newer one is recorded durably before anything else happens. Then the call compares the
// wanted state with what is, and answers `done`, or attaches to the job that is on its way there, or starts one. The
// mutex is free again before the call waits for its job, a moment only.
//   States of a guest: absent → defined (disk missing) → defined (disk ready), off or on → destroying → absent.
// This file answers the calls; what they do is beside it, one file each, with the races that it handles:
//   agent/guests.ts     the entries, the gate, the records
//   agent/work.ts       a guest's one job
//   agent/define.ts     definition and destruction
//   agent/power.ts      on and off
//   agent/suspend.ts    memory kept while a guest is off
//   agent/probation.ts  a start that nobody keeps
//   agent/stuck.ts      guests that an error of a disk has stopped
//   agent/disks.ts      exports, imports, digests, growth
//   agent/spare.ts      a second root disk, for rebuilds and rescues
//   agent/inspect.ts    what a running guest uses
//   agent/snapshots.ts  snapshots of the root disk, and their upload
//   agent/volumes.ts    volumes, plugged in and unplugged
//   agent/ports.ts      the same for ports
//   agent/consoles.ts   screens and serial lines
import type { Duplex } from 'node:stream';
import { messageOf } from '../lib/errors.ts';
import { newId } from '../lib/ids.ts';
import { openConsole, openTcp } from './agent/consoles.ts';
import { define, destroy, startDestroy } from './agent/define.ts';
import { digest, endExport, growDisk, importDisk, knownDigest, openExport } from './agent/disks.ts';
import { Grace } from './agent/grace.ts';
import {
  ABSENT,
  type AgentOptions,
  type Entry,
  GIB,
  Guests,
  NOTHING,
  ok,
  refused,
  UNREACHABLE,
} from './agent/guests.ts';
import { diagnostics, injectNmi } from './agent/inspect.ts';
import { attachPort, detachPort } from './agent/ports.ts';
import { setPaused, setPower, stopGuest } from './agent/power.ts';
import { watchProbation } from './agent/probation.ts';
import { dropSnapshot, takeSnapshot, uploadSnapshot } from './agent/snapshots.ts';
import { dropSpare, makeSpare, spareOf, useSpare } from './agent/spare.ts';
import { watchStuck } from './agent/stuck.ts';
import { attachVolume, detachVolume, growVolume } from './agent/volumes.ts';
import type { ConsoleRequest, Consoles, TcpRequest } from './consoles.ts';
import type {
  AttachPortRequest,
  AttachRequest,
  DefineRequest,
  DestroyRequest,
  DetachPortRequest,
  DetachRequest,
  Diagnostics,
  DigestJob,
  DiskExport,
  DropSpareRequest,
  ExportRequest,
  Files,
  GenerationRequest,
  GrowRequest,
  GrowVolumeRequest,
  Guest,
  Heartbeat,
  Host,
  HostDescription,
  ImportRequest,
  Job,
  PauseRequest,
  PowerRequest,
  Reply,
  SnapshotRequest,
  SpareRequest,
  UploadRequest,
  UseSpareRequest,
} from './contract.ts';
import type { GuestBody } from './records.ts';

export type { AgentOptions, HostResources } from './agent/guests.ts';

/** A start is worth waiting for, ms: the caller's next question would be whether it succeeded. */
const START_PATIENCE_MS = 3000;

export class Agent implements Host, Consoles {
  readonly #name: string;
  readonly #guests: Guests;
  /** Of this process: an agent that begins anew has another one. */
  readonly id = newId();

  private constructor(options: AgentOptions) {
    this.#name = options.name;
    this.#guests = new Guests(options);
  }

  /** An agent that has read its records, found its guests again and finishes what was begun. */
  static async open(options: AgentOptions): Promise<Agent> {
    const agent = new Agent(options);
    await recover(agent.#guests);
    return agent;
  }

  /** From now on, guests that a full disk or a lost volume has stopped are let go on time and again. */
  watch(): void {
    // Ends with the agent; nothing that it does throws.
    void watchStuck(this.#guests);
  }

  /** Ends jobs and exports and answers nothing any more. Guests go on running. */
  async close(): Promise<void> {
    await this.#guests.close();
    await this.#guests.hypervisor.close();
  }

  /**
   * Stops every guest, asking first and pulling the plug after `graceSeconds`; returns how many were running. For the
   * end of a whole installation: records stay as they are, and no generation is involved.
   */
  async stopAll(graceSeconds: number): Promise<number> {
    const { clock, hypervisor } = this.#guests;
    const running = this.#guests.all().filter(({ record }) => hypervisor.running(record.serverId));
    const never = new AbortController().signal;
    await Promise.all(
      running.map(({ record }) => stopGuest(this.#guests, record.serverId, new Grace(clock, graceSeconds), never)),
    );
    return running.length;
  }

  async describe(): Promise<Reply<HostDescription>> {
    if (this.#guests.closed) return UNREACHABLE;
    const { hypervisor, resources } = this.#guests;
    const facts = await hypervisor.facts();
    const diskGb = resources.diskGb ?? Math.floor((await hypervisor.diskBytes()) / GIB);
    const { vcpus, memoryMb } = resources;
    return ok({ name: this.#name, ...facts, vcpus, memoryMb, diskGb });
  }

  async files(): Promise<Reply<Files>> {
    return this.#guests.closed ? UNREACHABLE : ok(await this.#guests.files());
  }

  async heartbeat(): Promise<Reply<Heartbeat>> {
    if (this.#guests.closed) return UNREACHABLE;
    const guests: Heartbeat['guests'] = [];
    for (const { record } of this.#guests.all()) {
      if (record.guest === null) continue;
      const { serverId, generation } = record;
      const power = this.#guests.power(serverId);
      const suspended = power === 'off' && record.guest.memory === 'saved';
      guests.push({ serverId, generation, power, suspended, exported: record.guest.exported !== null });
    }
    const remains = await this.#guests.remains();
    return ok({ agentId: this.id, now: this.#guests.clock.now(), guests, remains });
  }

  async guest(serverId: string): Promise<Reply<Guest>> {
    if (this.#guests.closed) return UNREACHABLE;
    const entry = this.#guests.find(serverId);
    const record = entry?.record;
    if (!record?.guest) return ABSENT;
    const power = this.#guests.power(serverId);
    return ok({
      serverId,
      generation: record.generation,
      power,
      suspended: power === 'off' && record.guest.memory === 'saved',
      interrupted: entry?.interrupted === true && power === 'off' && record.guest.power === 'on',
      disk: record.guest.disk === 'ready',
      spec: record.guest.spec,
      volumes: record.guest.volumes.map(({ volumeId, attachmentId, device }) => ({ volumeId, attachmentId, device })),
      spare: spareOf(record.guest),
      startedAt: record.guest.startedAt,
    });
  }

  async diagnostics(serverId: string): Promise<Reply<Diagnostics>> {
    return this.#guests.closed ? UNREACHABLE : diagnostics(this.#guests, serverId);
  }

  async injectNmi(serverId: string, request: GenerationRequest): Promise<Reply<Record<string, never>>> {
    return this.#guests.call(serverId, request.generation, (entry) => injectNmi(this.#guests, entry));
  }

  async console(serverId: string, lines?: number): Promise<Reply<{ output: string }>> {
    if (this.#guests.closed) return UNREACHABLE;
    if (!this.#guests.find(serverId)?.record.guest) return ABSENT;
    const output = await this.#guests.hypervisor.console(serverId);
    return ok({ output: lines === undefined ? output : lastLines(output, lines) });
  }

  async openConsole(serverId: string, request: ConsoleRequest): Promise<Reply<Duplex>> {
    return openConsole(this.#guests, serverId, request);
  }

  async openTcp(serverId: string, request: TcpRequest): Promise<Reply<Duplex>> {
    return openTcp(this.#guests, serverId, request);
  }

  async fence(serverId: string, request: GenerationRequest): Promise<Reply<Record<string, never>>> {
    return this.#guests.call(serverId, request.generation, async () => ok(NOTHING));
  }

  async define(serverId: string, request: DefineRequest): Promise<Reply<Job>> {
    return this.#guests.jobCall(serverId, request.generation, (entry) => define(this.#guests, entry, request));
  }

  async setPower(serverId: string, request: PowerRequest): Promise<Reply<Job>> {
    return this.#guests.jobCall(
      serverId,
      request.generation,
      (entry) => setPower(this.#guests, entry, request),
      request.power === 'on' ? START_PATIENCE_MS : undefined,
    );
  }

  async setPaused(serverId: string, { generation, paused }: PauseRequest): Promise<Reply<Record<string, never>>> {
    return this.#guests.call(serverId, generation, (entry) => setPaused(this.#guests, entry, paused));
  }

  async makeSpare(serverId: string, request: SpareRequest): Promise<Reply<Job>> {
    return this.#guests.jobCall(serverId, request.generation, (entry) => makeSpare(this.#guests, entry, request));
  }

  async useSpare(serverId: string, request: UseSpareRequest): Promise<Reply<Record<string, never>>> {
    return this.#guests.call(serverId, request.generation, (entry) => useSpare(this.#guests, entry, request));
  }

  async dropSpare(serverId: string, request: DropSpareRequest): Promise<Reply<Job>> {
    return this.#guests.jobCall(serverId, request.generation, (entry) => dropSpare(this.#guests, entry, request));
  }

  async openExport(serverId: string, request: ExportRequest): Promise<Reply<DiskExport>> {
    return this.#guests.call(serverId, request.generation, (entry) => openExport(this.#guests, entry, request));
  }

  async closeExport(serverId: string, request: ExportRequest): Promise<Reply<Record<string, never>>> {
    return this.#guests.call(serverId, request.generation, (entry) => endExport(this.#guests, entry, request));
  }

  async importDisk(serverId: string, request: ImportRequest): Promise<Reply<Job>> {
    return this.#guests.jobCall(serverId, request.generation, (entry) => importDisk(this.#guests, entry, request));
  }

  async digest(serverId: string, request: GenerationRequest): Promise<Reply<DigestJob>> {
    const reply = await this.#guests.jobCall(serverId, request.generation, (entry) =>
      digest(this.#guests, entry, request.generation),
    );
    if (reply.kind !== 'ok' || reply.value.state !== 'done') return reply;
    const entry = this.#guests.find(serverId);
    const sha256 = entry ? knownDigest(entry) : null;
    // Null when the guest was started between the end of the job and this line.
    if (sha256 === null) return refused('the disk has changed since its digest was computed');
    return ok({ ...reply.value, sha256 });
  }

  async growDisk(serverId: string, request: GrowRequest): Promise<Reply<Job>> {
    return this.#guests.jobCall(serverId, request.generation, (entry) => growDisk(this.#guests, entry, request));
  }

  async takeSnapshot(serverId: string, request: SnapshotRequest): Promise<Reply<Job>> {
    return this.#guests.jobCall(serverId, request.generation, (entry) => takeSnapshot(this.#guests, entry, request));
  }

  async uploadSnapshot(serverId: string, request: UploadRequest): Promise<Reply<Job>> {
    return this.#guests.jobCall(serverId, request.generation, (entry) => uploadSnapshot(this.#guests, entry, request));
  }

  async dropSnapshot(serverId: string, request: GenerationRequest): Promise<Reply<Record<string, never>>> {
    return this.#guests.call(serverId, request.generation, (entry) => dropSnapshot(this.#guests, entry));
  }

  async attachVolume(serverId: string, request: AttachRequest): Promise<Reply<Job>> {
    return this.#guests.jobCall(serverId, request.generation, (entry) => attachVolume(this.#guests, entry, request));
  }

  async growVolume(serverId: string, request: GrowVolumeRequest): Promise<Reply<Record<string, never>>> {
    return this.#guests.call(serverId, request.generation, (entry) => growVolume(this.#guests, entry, request));
  }

  async detachVolume(serverId: string, request: DetachRequest): Promise<Reply<Job>> {
    return this.#guests.jobCall(serverId, request.generation, (entry) => detachVolume(this.#guests, entry, request));
  }

  async attachPort(serverId: string, request: AttachPortRequest): Promise<Reply<Job>> {
    return this.#guests.jobCall(serverId, request.generation, (entry) => attachPort(this.#guests, entry, request));
  }

  async detachPort(serverId: string, request: DetachPortRequest): Promise<Reply<Job>> {
    return this.#guests.jobCall(serverId, request.generation, (entry) => detachPort(this.#guests, entry, request));
  }

  async destroy(serverId: string, request: DestroyRequest): Promise<Reply<Job>> {
    return this.#guests.jobCall(serverId, request.generation, (entry) => destroy(this.#guests, entry, request));
  }
}

async function recover(guests: Guests): Promise<void> {
  await guests.load();
  const bodies = new Map<string, GuestBody>();
  for (const { record } of guests.all()) if (record.guest) bodies.set(record.serverId, record.guest);
  await guests.hypervisor.recover(bodies);
  for (const entry of guests.all()) if (entry.record.guest) await recoverGuest(guests, entry, entry.record.guest);
  for (const { serverId, bytes } of await guests.remains())
    guests.log.error(
      { serverId, bytes },
      'files of a guest that is not on record: kept, see crosscell quarantine list',
    );
  await guests.sweepImages();
}

async function recoverGuest(guests: Guests, entry: Entry, guest: GuestBody): Promise<void> {
  const { hypervisor, log } = guests;
  const { serverId } = entry.record;
  if (guest.destroying) {
    startDestroy(guests, entry);
    return;
  }
  watchProbation(guests, entry);
  if (hypervisor.running(serverId)) {
    log.info({ serverId }, 'guest found running');
    return;
  }
  entry.interrupted = guest.power === 'on';
  if (guest.exported === null) return;
  try {
    const { name, port } = await hypervisor.openExport(serverId, guest.exported);
    await guests.saveGuest(entry, { ...guest, exported: { name, port } });
  } catch (error) {
    // Whoever reads it notices, and asks for a new one.
    log.warn({ serverId, reason: messageOf(error) }, 'the export could not be opened again');
    await guests.saveGuest(entry, { ...guest, exported: null });
  }
}

/** The last `count` lines, without the end of the last. */
export function lastLines(text: string, count: number): string {
  const whole = text.endsWith('\n') ? text.slice(0, -1) : text;
  if (count <= 0) return '';
  let from = whole.length;
  for (let found = 0; found < count && from >= 0; found += 1) {
    if (from === 0) return whole;
    from = whole.lastIndexOf('\n', from - 1);
  }
  return whole.slice(from + 1);
}
