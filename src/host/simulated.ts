// A hypervisor that keeps its guests in memory, so that the same agent serves simulated hosts: hundreds of them in one
// process, without files, processes or real time.
//
// Theory of operation. A simulated disk is a size and a list of words; its digest is the SHA-256 of both. Every start
// of a guest writes one word, so a copy that missed a run, or took one too many, shows in the digest; so does growth.
// Exports are reached through a fabric that the hosts of one simulation share, as real exports are reached through the
// network; so are volumes, in which starts and plugs leave a word too.
// Nothing reads the wall clock; a copy takes bytes / copyBytesPerSecond on the injected clock, or no time at all.
// An agent that restarts over the same hypervisor finds its guests as they are. Over a new one it finds them as its
// records describe them: those that were on are on, and a ready disk is there, its history cut down to the server's name.
import { createHash } from 'node:crypto';
import { type Duplex, Readable } from 'node:stream';
import type { Clock } from '../lib/clock.ts';
import { invariant } from '../lib/errors.ts';
import type { ConsoleKind } from './consoles.ts';
import type {
  BaseImage,
  DefineRequest,
  Diagnostics,
  DiskExport,
  GuestPort,
  GuestSpec,
  GuestVolume,
  VolumeConnection,
} from './contract.ts';
import {
  type GuestStart,
  type Hypervisor,
  HypervisorError,
  type HypervisorFacts,
  type JobControl,
} from './hypervisor.ts';
import type { GuestBody, SavedExport } from './records.ts';
import { simulatedConsole, untilGone } from './simulated-console.ts';
import { rawDisk, type SimulatedDisk } from './simulated-disks.ts';
import type { SimulatedFabric } from './simulated-fabric.ts';
import { sendBytes } from './upload.ts';

interface SimulatedGuest {
  disk: SimulatedDisk | null;
  spare: SimulatedDisk | null;
  spec: GuestSpec | null;
  startedAt: number | null;
  /** Only while it runs. */
  paused: boolean;
  exported: DiskExport | null;
  /** What was on the disk when its snapshot was taken. */
  snapshot: { readonly id: string; readonly words: readonly string[] } | null;
  /** What is kept of its memory: how many words its disk had then. */
  memory: { readonly words: number } | null;
  /** What the running guest has plugged in. */
  volumes: readonly GuestVolume[];
  ports: readonly GuestPort[];
  output: string;
  readonly onGone: Array<() => void>;
}

export interface SimulatedOptions {
  readonly clock: Clock;
  readonly fabric: SimulatedFabric;
  /** Name of the host, also the address that its exports show. */
  readonly host: string;
  /** Size of a simulated overlay, which is what a copy moves. */
  readonly overlayBytes?: number;
  /** null: copies take no time. */
  readonly copyBytesPerSecond?: number | null;
  /** Whether the guest heeds its power button at once (else it ignores it and is killed at the deadline). */
  readonly heedsPowerButton?: boolean;
  /** Whether the guest lets go of a volume that is unplugged. Default: it does. */
  readonly heedsUnplug?: (serverId: string) => boolean;
  /** Takes a snapshot's bytes at a URL. Default: over the network, with `secret`. */
  readonly send?: (url: string, bytes: Uint8Array) => Promise<void>;
  readonly secret?: string;
  /** Why the next start must fail; null: it succeeds. Asked at every start. */
  readonly startFault?: (serverId: string) => string | null;
}

const DEFAULT_OVERLAY_BYTES = 64 * 1024 * 1024;
/** A copy shows its progress this often on its way. */
const COPY_STEPS = 10;
/** 1 TiB: a simulated host never runs out of disk by itself. */
const DISK_BYTES = 1024 ** 4;

export class SimulatedHypervisor implements Hypervisor {
  readonly #options: SimulatedOptions;
  readonly #guests = new Map<string, SimulatedGuest>();

  readonly #since: number;

  constructor(options: SimulatedOptions) {
    this.#options = options;
    this.#since = options.clock.now();
    options.fabric.volumes.onKept((volumeId) => this.#work(volumeId));
  }

  async facts(): Promise<HypervisorFacts> {
    const upSeconds = Math.max(0, Math.floor((this.#options.clock.now() - this.#since) / 1000));
    return {
      ...{ hypervisorType: 'simulated', hypervisorVersion: 1000000, accelerator: 'none', architecture: 'x86_64' },
      ...{ upSeconds, loads: [0, 0, 0] },
    };
  }

  async recover(guests: ReadonlyMap<string, GuestBody>): Promise<void> {
    for (const serverId of this.#guests.keys()) if (!guests.has(serverId)) this.#end(serverId);
    for (const [serverId, body] of guests) {
      if (this.#guests.has(serverId)) continue;
      const guest = this.#guest(serverId);
      guest.spec = body.spec;
      if (body.disk === 'ready') guest.disk = this.#newDisk(serverId, body.spec);
      if (body.spare?.ready) guest.spare = this.#newDisk(serverId, body.spare.spec);
      if (body.memory === 'saved') guest.memory = { words: guest.disk?.words.length ?? 0 };
      if (body.power !== 'on' || body.startedAt === null) continue;
      guest.startedAt = body.startedAt;
      guest.volumes = body.volumes;
      guest.ports = body.spec.ports;
      this.#options.fabric.started(serverId, this.#options.host);
    }
  }

  async kept(): Promise<string[]> {
    return [...this.#guests.keys()].filter((serverId) => this.#bytesOf(serverId) !== null);
  }

  async bytesOf(serverId: string): Promise<number | null> {
    return this.#bytesOf(serverId);
  }

  async missing(serverId: string, { spec, disk, spare }: GuestBody): Promise<string[]> {
    const guest = this.#guests.get(serverId);
    const isMissing = (on: GuestSpec, there: SimulatedDisk | null | undefined) => on.root.kind === 'image' && !there;
    return [
      ...(disk === 'ready' && isMissing(spec, guest?.disk) ? ['disk'] : []),
      ...(spare?.ready && isMissing(spare.spec, guest?.spare) ? ['second disk'] : []),
    ];
  }

  async strays(): Promise<string[]> {
    return [];
  }

  /** As by a file system that has lost it. */
  loseDisk(serverId: string): void {
    this.#guest(serverId).disk = null;
  }

  #bytesOf(serverId: string): number | null {
    const guest = this.#guests.get(serverId);
    if (!guest?.spec) return null;
    const disks = [guest.disk, guest.spare].filter((disk) => disk !== null);
    return disks.length * (this.#options.overlayBytes ?? DEFAULT_OVERLAY_BYTES);
  }

  async prepare(serverId: string, spec: GuestSpec, disk: DefineRequest['disk'], job: JobControl): Promise<void> {
    const guest = this.#guest(serverId);
    guest.spec = spec;
    if (disk === 'fresh' && guest.disk === null) guest.disk = this.#newDisk(serverId, spec);
    if (spec.root.kind === 'image') job.progress(spec.root.image.sizeBytes, spec.root.image.sizeBytes);
  }

  async spawn(serverId: string, { spec, volumes, fromMemory, fromSpare, rescue }: GuestStart): Promise<void> {
    const guest = this.#guest(serverId);
    const booted = fromSpare || rescue ? guest.spare : guest.disk;
    invariant(booted !== null || spec.root.kind === 'volume', 'a guest is started with its disk');
    invariant(!rescue || guest.disk !== null || spec.root.kind === 'volume', 'a rescued guest has its own disk');
    invariant(guest.startedAt === null, 'a guest is started once');
    const fault = this.#options.startFault?.(serverId) ?? null;
    if (fault !== null) throw new HypervisorError(fault);
    for (const volume of volumes) this.#checkAccess(volume);
    if (fromMemory) {
      invariant(guest.memory !== null, 'memory that is loaded was kept');
      invariant(guest.memory.words === (guest.disk?.words.length ?? 0), 'no disk changes under a memory that is kept');
    }
    guest.spec = spec;
    guest.startedAt = this.#options.clock.now();
    guest.paused = fromMemory;
    guest.volumes = volumes;
    guest.ports = spec.ports;
    this.#options.fabric.started(serverId, this.#options.host);
    if (fromMemory) return;
    if (booted !== null) {
      if (!rescue) this.#options.fabric.runs.ran(serverId, booted);
      this.#writeOwn(booted, 'run');
    }
    for (const volume of volumes) this.#write(volume, 'run');
    guest.output += 'simulated guest\nno kernel, no clock\n';
    guest.output += `GUEST UP cpus=${spec.vcpus} mem_kb=${spec.memoryMb * 1024}\n`;
  }

  async awaitRunning(serverId: string): Promise<void> {
    if (!this.running(serverId)) throw new HypervisorError('the guest stopped while it was being started');
  }

  awaitLoaded(serverId: string): Promise<void> {
    return this.awaitRunning(serverId);
  }

  async saveMemory(serverId: string): Promise<void> {
    const guest = this.#guest(serverId);
    if (guest.startedAt === null) throw new HypervisorError('the guest does not run');
    guest.paused = true;
    guest.memory = { words: guest.disk?.words.length ?? 0 };
  }

  async makeSpare(serverId: string, spec: GuestSpec): Promise<void> {
    this.#guest(serverId).spare = this.#newDisk(serverId, spec);
  }

  async adoptSpare(serverId: string): Promise<void> {
    const guest = this.#guest(serverId);
    guest.disk = guest.spare ?? guest.disk;
    guest.spare = null;
  }

  async removeSpare(serverId: string): Promise<void> {
    this.#guest(serverId).spare = null;
  }

  async dropMemory(serverId: string): Promise<void> {
    this.#guest(serverId).memory = null;
  }

  running(serverId: string): boolean {
    return this.startedAt(serverId) !== null;
  }

  startedAt(serverId: string): number | null {
    return this.#guests.get(serverId)?.startedAt ?? null;
  }

  gone(serverId: string): Promise<void> {
    const guest = this.#guests.get(serverId);
    if (!guest || guest.startedAt === null) return Promise.resolve();
    return new Promise((resolve) => guest.onGone.push(resolve));
  }

  async plug(serverId: string, volume: GuestVolume): Promise<void> {
    const guest = this.#guest(serverId);
    if (guest.volumes.some(({ volumeId }) => volumeId === volume.volumeId)) return;
    this.#checkAccess(volume);
    guest.volumes = [...guest.volumes, volume];
    this.#write(volume, 'plug');
  }

  async unplug(serverId: string, volume: GuestVolume): Promise<void> {
    const guest = this.#guest(serverId);
    if (this.#options.heedsUnplug?.(serverId) === false)
      throw new HypervisorError(`the guest does not let go of volume ${volume.volumeId}`);
    guest.volumes = guest.volumes.filter(({ volumeId }) => volumeId !== volume.volumeId);
  }

  async showGrown(serverId: string, volume: GuestVolume): Promise<void> {
    const guest = this.#guest(serverId);
    this.#checkAccess(volume);
    guest.volumes = guest.volumes.map((each) => (each.volumeId === volume.volumeId ? volume : each));
  }

  async plugPort(serverId: string, port: GuestPort): Promise<void> {
    const guest = this.#guest(serverId);
    if (!guest.ports.some(({ id }) => id === port.id)) guest.ports = [...guest.ports, port];
  }

  async unplugPort(serverId: string, portId: string): Promise<void> {
    const guest = this.#guest(serverId);
    if (this.#options.heedsUnplug?.(serverId) === false)
      throw new HypervisorError(`the guest does not let go of port ${portId}`);
    guest.ports = guest.ports.filter(({ id }) => id !== portId);
  }

  async pressPowerButton(serverId: string): Promise<void> {
    // A guest that stands still does not notice.
    if ((this.#options.heedsPowerButton ?? true) && !this.paused(serverId)) this.#end(serverId);
  }

  async setPaused(serverId: string, paused: boolean): Promise<void> {
    const guest = this.#guests.get(serverId);
    if (!guest || guest.startedAt === null) return;
    // What goes on writes: a memory that is kept, and loaded after this, would be found out.
    if (guest.paused && !paused && guest.disk !== null) this.#writeOwn(guest.disk, 'on');
    guest.paused = paused;
  }

  async isStuck(_serverId: string): Promise<boolean> {
    return false;
  }

  paused(serverId: string): boolean {
    return this.#guests.get(serverId)?.paused ?? false;
  }

  async injectNmi(serverId: string): Promise<void> {
    this.#guest(serverId).output += 'NMI received\n';
  }

  async diagnostics(serverId: string, spec: GuestSpec): Promise<Diagnostics> {
    const { paused, startedAt, disk, volumes } = this.#guest(serverId);
    const idle = { readBytes: 0, readRequests: 0, writeBytes: 0, writeRequests: 0, errors: 0 };
    const names = [...(disk === null ? [] : ['root']), ...volumes.map(({ device }) => device.slice('/dev/'.length))];
    return {
      paused,
      uptimeSeconds: Math.max(0, Math.floor((this.#options.clock.now() - (startedAt ?? 0)) / 1000)),
      cpus: Array.from({ length: spec.vcpus }, (_, id) => ({ id, timeNs: 0 })),
      memoryMb: { maximum: spec.memoryMb, used: spec.memoryMb },
      disks: names.map((name) => ({ name, ...idle })),
    };
  }

  async kill(serverId: string): Promise<void> {
    this.#end(serverId);
  }

  /** The guest stops by itself, as a guest that crashed or was shut down from inside. */
  crash(serverId: string): void {
    this.#end(serverId);
  }

  async openExport(serverId: string, saved: SavedExport | null): Promise<DiskExport> {
    const guest = this.#guest(serverId);
    const disk = this.#disk(guest);
    if (guest.exported === null) {
      const { name, port } = this.#options.fabric.open(disk, saved);
      const sizeBytes = this.#options.overlayBytes ?? DEFAULT_OVERLAY_BYTES;
      guest.exported = { host: this.#options.host, port, name, sizeBytes, allocatedBytes: sizeBytes };
    }
    return guest.exported;
  }

  async closeExport(serverId: string): Promise<void> {
    const guest = this.#guests.get(serverId);
    if (!guest?.exported) return;
    this.#options.fabric.close(guest.exported.name);
    guest.exported = null;
  }

  async importDisk(serverId: string, _image: BaseImage, source: DiskExport, job: JobControl): Promise<string> {
    await this.#moveBytes(source.allocatedBytes, job, () => this.#reach(source));
    const from = this.#reach(source);
    const guest = this.#guest(serverId);
    guest.disk = { words: [...from.words], virtualBytes: from.virtualBytes };
    this.#options.fabric.runs.copied(from, guest.disk);
    return digestOf(guest.disk);
  }

  async digest(serverId: string): Promise<string> {
    return digestOf(this.#disk(this.#guest(serverId)));
  }

  async grow(serverId: string, rootBytes: number): Promise<void> {
    const disk = this.#disk(this.#guest(serverId));
    disk.virtualBytes = Math.max(disk.virtualBytes, rootBytes);
  }

  async takeSnapshot(serverId: string, _image: BaseImage, snapshotId: string, job: JobControl): Promise<void> {
    const guest = this.#guest(serverId);
    if (guest.snapshot?.id === snapshotId) return;
    const disk = this.#disk(guest);
    this.#options.fabric.runs.kept(disk);
    guest.snapshot = { id: snapshotId, words: [...disk.words] };
    await this.#moveBytes(this.#options.overlayBytes ?? DEFAULT_OVERLAY_BYTES, job);
  }

  async uploadSnapshot(serverId: string, snapshotId: string, url: string, job: JobControl): Promise<void> {
    const { snapshot } = this.#guest(serverId);
    if (snapshot?.id !== snapshotId) throw new HypervisorError('the snapshot is not there');
    await this.#moveBytes(this.#options.overlayBytes ?? DEFAULT_OVERLAY_BYTES, job);
    const bytes = rawDisk(snapshot.words);
    const { send, secret } = this.#options;
    if (send) await send(url, bytes);
    else {
      const { signal } = job;
      await sendBytes(Readable.from([bytes]), { url, secret: secret ?? '', sizeBytes: bytes.length, signal });
    }
  }

  async dropSnapshot(serverId: string): Promise<void> {
    const guest = this.#guests.get(serverId);
    if (guest) guest.snapshot = null;
  }

  /** The id of the guest's snapshot, for the invariants of a simulation; null: it has none. */
  snapshotId(serverId: string): string | null {
    return this.#guests.get(serverId)?.snapshot?.id ?? null;
  }

  async remove(serverId: string): Promise<void> {
    invariant(!this.running(serverId), 'a guest is removed when its process is gone');
    this.#guests.delete(serverId);
  }

  async sweepImages(): Promise<void> {
    // Images are not kept: a simulated disk has no base.
  }

  async console(serverId: string): Promise<string> {
    return this.#guests.get(serverId)?.output ?? '';
  }

  async openConsole(serverId: string, kind: ConsoleKind): Promise<Duplex> {
    const guest = this.#guest(serverId);
    if (guest.startedAt === null) throw new HypervisorError('the guest does not run');
    return untilGone(guest.onGone, simulatedConsole(kind, serverId, guest.output));
  }

  async openTcp(serverId: string): Promise<Duplex> {
    const guest = this.#guest(serverId);
    if (guest.startedAt === null) throw new HypervisorError('the guest does not run');
    // Whichever port that is: it greets, and echoes.
    return untilGone(guest.onGone, simulatedConsole('serial', serverId, `SSH-2.0-simulated-${serverId}\r\n`));
  }

  async diskBytes(): Promise<number> {
    return DISK_BYTES;
  }

  async close(): Promise<void> {
    for (const serverId of this.#guests.keys()) await this.closeExport(serverId);
  }

  /** What is on the disk, for the invariants of a simulation; null when there is none. */
  diskWords(serverId: string): readonly string[] | null {
    return this.diskOf(serverId)?.words ?? null;
  }

  /** The disk itself; null when there is none. */
  diskOf(serverId: string): SimulatedDisk | null {
    return this.#guests.get(serverId)?.disk ?? null;
  }

  /** Ids of the ports for which the running guest has network cards. */
  pluggedPorts(serverId: string): readonly string[] {
    return this.#guests.get(serverId)?.ports.map(({ id }) => id) ?? [];
  }

  /** How long the running guest thinks that its volume is, bytes; null: it has none. */
  seenBytes(serverId: string, volumeId: string): number | null {
    const seen = this.#guests.get(serverId)?.volumes.find((each) => each.volumeId === volumeId);
    return seen?.connection.sizeBytes ?? null;
  }

  /** The volumes that the running guest could write now, for the invariants of a simulation. */
  writableVolumes(serverId: string): readonly string[] {
    const guest = this.#guests.get(serverId);
    if (!guest || guest.startedAt === null) return [];
    const { volumes } = this.#options.fabric;
    return guest.volumes
      .filter(({ connection }) => volumes.reachToWrite(connection) !== null)
      .map(({ volumeId }) => volumeId);
  }

  #checkAccess({ volumeId, connection }: GuestVolume): void {
    if (this.#options.fabric.volumes.reach(connection) === null)
      throw new HypervisorError(`volume ${volumeId} cannot be reached at ${addressOf(connection)}`);
  }

  /** Those that run with this volume are at work on each of theirs. */
  #work(volumeId: string): void {
    for (const { startedAt, paused, volumes } of this.#guests.values()) {
      if (startedAt === null || paused || !volumes.some((each) => each.volumeId === volumeId)) continue;
      for (const { connection } of volumes) this.#options.fabric.volumes.work(connection);
    }
  }

  #writeOwn(disk: SimulatedDisk, what: string): void {
    this.#options.fabric.runs.write(disk, `${what} ${disk.words.length} on ${this.#options.host}`);
  }

  #write({ attachmentId, connection }: GuestVolume, what: string): void {
    this.#options.fabric.volumes.write(connection, `${what} on ${this.#options.host} by ${attachmentId}`);
  }

  /** As long as that many bytes take. `look` is asked on the way, and may throw. */
  async #moveBytes(bytes: number, job: JobControl, look: () => unknown = () => null): Promise<void> {
    const rate = this.#options.copyBytesPerSecond ?? null;
    if (rate !== null) {
      const pause = (bytes / rate / COPY_STEPS) * 1000;
      for (let step = 0; step < COPY_STEPS; step += 1) {
        job.progress((bytes * step) / COPY_STEPS, bytes);
        look();
        await this.#options.clock.sleep(pause, job.signal);
        job.signal.throwIfAborted();
      }
    }
    job.progress(bytes, bytes);
  }

  #reach(source: DiskExport): SimulatedDisk {
    const disk = this.#options.fabric.find(source.name);
    if (!disk) throw new HypervisorError(`the copy failed: no export at ${source.host}:${source.port}`);
    return disk;
  }

  #guest(serverId: string): SimulatedGuest {
    const known = this.#guests.get(serverId);
    if (known) return known;
    const guest = {
      disk: null,
      spare: null,
      spec: null,
      startedAt: null,
      paused: false,
      exported: null,
      snapshot: null,
      memory: null,
      volumes: [],
      ports: [],
      output: '',
      onGone: [],
    };
    this.#guests.set(serverId, guest);
    return guest;
  }

  #newDisk(serverId: string, { root }: GuestSpec): SimulatedDisk | null {
    if (root.kind === 'volume') return null;
    const { sha256 } = root.image;
    const disk = { words: [`disk of ${serverId} on ${sha256}`], virtualBytes: root.bytes };
    this.#options.fabric.runs.madeOf(sha256, disk);
    return disk;
  }

  #disk(guest: SimulatedGuest): SimulatedDisk {
    invariant(guest.disk !== null, 'the agent knows that the disk is there');
    return guest.disk;
  }

  #end(serverId: string): void {
    const guest = this.#guests.get(serverId);
    if (!guest || guest.startedAt === null) return;
    guest.startedAt = null;
    guest.paused = false;
    this.#options.fabric.ended(serverId, this.#options.host);
    guest.volumes = [];
    guest.ports = [];
    for (const resolve of guest.onGone.splice(0)) resolve();
  }
}

function digestOf(disk: SimulatedDisk): string {
  return createHash('sha256')
    .update(`${disk.virtualBytes}\n${disk.words.join('\n')}`)
    .digest('hex');
}

const addressOf = (connection: VolumeConnection): string =>
  connection.kind === 'nbd' ? `${connection.host}:${connection.port}` : connection.share;
