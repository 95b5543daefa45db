// The hypervisor port over QEMU: one object per agent, holding the guests' processes, exports and the image cache.
//
// Theory of operation. Durable things are in the guests' directories; this object knows which processes exist, which it
// finds again when it starts (leftovers.ts).
// Programs are named in the options and looked up at each use, so a broken one fails that use alone.
// Heavy work (copies, digests) is limited to a few at a time; the rest waits its turn.
// Not handled: two agents on one state directory (the caller holds a lock).
import { chmod, mkdir, open, rename, rm, statfs } from 'node:fs/promises';
import { loadavg, uptime } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import type { Clock } from '../../lib/clock.ts';
import { isUuid } from '../../lib/ids.ts';
import type { ConsoleKind } from '../consoles.ts';
import type {
  BaseImage,
  DefineRequest,
  Diagnostics,
  DiskExport,
  GuestPort,
  GuestSpec,
  GuestVolume,
} from '../contract.ts';
import {
  type GuestStart,
  type Hypervisor,
  HypervisorError,
  type HypervisorFacts,
  type JobControl,
} from '../hypervisor.ts';
import { Semaphore } from '../mutex.ts';
import { syncDirectory } from '../record-files.ts';
import type { GuestBody, SavedExport } from '../records.ts';
import { QemuBinary } from './binary.ts';
import { qemuArguments } from './command.ts';
import { writeConfigDrive } from './config-drive.ts';
import { readConsole } from './console.ts';
import { importOverlay } from './copy.ts';
import { readDiagnostics } from './diagnostics.ts';
import { sha256File } from './digest.ts';
import { type DiskTools, growOverlay } from './disk.ts';
import { allocatedBytes, bytesIn, namesIn, syncFile } from './disk-files.ts';
import { Exports } from './export.ts';
import { Forwards } from './forwards.ts';
import { showGrown } from './grown-volume.ts';
import { makeGuestDirectory, makeOverlay } from './guest-files.ts';
import { keepHouse } from './housekeeping.ts';
import { ImageCache } from './images.ts';
import { missingFiles, strayFiles } from './inventory.ts';
import { makeKeysDirectory, removeKeys, writeKeys } from './keys.ts';
import { Layout, SERIAL_SOCKET, VNC_SOCKET } from './layout.ts';
import { findGuests } from './leftovers.ts';
import { dropMemory, makeMemoryDirectory, saveMemory } from './memory.ts';
import { plugPort, unplugPort } from './nics.ts';
import { chooseIdentity, type Identity } from './privileges.ts';
import { isCode } from './proc.ts';
import { QemuProcess } from './process.ts';
import { removeSnapshots, takeSnapshot, uploadSnapshot } from './snapshot.ts';
import { connectIn } from './sockets.ts';
import { plugVolume, unplugVolume, type VolumePlaces, volumeArguments } from './volumes.ts';

export interface QemuOptions {
  /** Absolute and without symbolic links. */
  readonly stateDir: string;
  /** Names looked up in the PATH, or absolute paths. */
  readonly qemuBinary: string;
  readonly qemuImgBinary: string;
  readonly qemuNbdBinary: string;
  readonly accelerator: 'auto' | 'kvm' | 'tcg';
  /** Unprivileged user for QEMU's programs when the agent is root; null: run them as the agent. */
  readonly runAs: string | null;
  /** Address under which other hosts read this host's exports. */
  readonly dataAddress: string;
  /** Bearer token for fetching images. */
  readonly secret: string;
  /** A copy or download without progress is given up after this time, ms. */
  readonly stallMs: number;
  /** Limit of each incoming copy; null: none. */
  readonly copyBytesPerSecond: number | null;
  /** Base images that no guest uses are kept up to this many bytes. */
  readonly unusedImageBytes: number;
  /** Where shares with volumes are mounted, by name. */
  readonly shares: ReadonlyMap<string, string>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** How long QEMU may take from its creation until it runs the guest, ms. */
const START_LIMIT_MS = 30_000;
/** The same while it reads its memory from the disk, ms. */
const LOAD_LIMIT_MS = 600_000;
/** What keeps this host's disk busy, at once. */
const HEAVY_JOBS = 4;
/** Disks that cross the network, at once. They may take hours: what a user waits for is not behind them. */
const TRANSFERS = 4;

export class QemuHypervisor implements Hypervisor {
  readonly #options: QemuOptions;
  readonly #layout: Layout;
  readonly #identity: Identity | null;
  readonly #tools: DiskTools;
  readonly #binary: QemuBinary;
  readonly #images: ImageCache;
  readonly #exports: Exports;
  readonly #processes = new Map<string, QemuProcess>();
  /** Whoever reads the serial line of a guest. */
  readonly #serialLines = new Map<string, Duplex>();
  readonly #forwards = new Forwards();
  readonly #heavy = new Semaphore(HEAVY_JOBS);
  readonly #transfers = new Semaphore(TRANSFERS);
  readonly #closing = new AbortController();
  #housekeeping: Promise<void> = Promise.resolve();

  private constructor(options: QemuOptions, layout: Layout, identity: Identity | null) {
    this.#options = options;
    this.#layout = layout;
    this.#identity = identity;
    this.#tools = { qemuImg: options.qemuImgBinary, identity };
    const { clock, log, secret, stallMs, qemuBinary, qemuNbdBinary, dataAddress, unusedImageBytes } = options;
    const romPath = join(options.stateDir, 'probe.bin');
    this.#binary = new QemuBinary({ qemuBinary, accelerator: options.accelerator, identity, romPath, log });
    const tools = this.#tools;
    this.#images = new ImageCache({ layout, tools, clock, log, secret, stallMs, unusedLimitBytes: unusedImageBytes });
    this.#exports = new Exports({ layout, qemuNbd: qemuNbdBinary, identity, dataAddress, clock, log });
  }

  /** Prepares the directories. Rejects when this machine cannot be served by this driver. */
  static async open(options: QemuOptions): Promise<QemuHypervisor> {
    if (process.arch !== 'x64') throw new Error(`QEMU guests are x86_64; this machine is ${process.arch}`);
    const layout = new Layout(options.stateDir);
    await mkdir(layout.guestsDir, { recursive: true });
    await mkdir(layout.logsDir, { recursive: true, mode: 0o700 });
    await chmod(layout.guestsDir, 0o711);
    const identity = await chooseIdentity(options.runAs, layout.guestsDir, options.log);
    await makeKeysDirectory(layout.keysDir, identity);
    await makeMemoryDirectory(layout.memoryDir);
    const driver = new QemuHypervisor(options, layout, identity);
    await driver.#images.open();
    // Found out while nobody waits yet: a cold disk and the KVM probe take seconds. Neither rejects.
    void driver.facts();
    return driver;
  }

  async facts(): Promise<HypervisorFacts> {
    const hypervisorVersion = await this.#binary.version();
    return {
      hypervisorType: 'QEMU',
      hypervisorVersion,
      accelerator: await this.#binary.accelerator(),
      architecture: 'x86_64',
      upSeconds: Math.floor(uptime()),
      loads: loadavg() as [number, number, number],
    };
  }

  async recover(guests: ReadonlyMap<string, GuestBody>): Promise<void> {
    const { qemuImgBinary, qemuNbdBinary, clock, log } = this.#options;
    const search = { layout: this.#layout, helpers: [qemuImgBinary, qemuNbdBinary], clock, log };
    for (const [serverId, found] of await findGuests(search, guests)) {
      this.#processes.set(serverId, QemuProcess.adopt(found, this.#place(serverId)));
    }
    for (const [serverId, guest] of guests) {
      await rm(this.#layout.partialDisk(serverId), { force: true });
      // The job of one that runs is ended by whoever takes the next.
      await removeSnapshots(this.#layout, clock, serverId, null);
      if (guest.disk === 'missing') await rm(this.#layout.disk(serverId), { force: true });
      if (guest.spare?.ready !== true) await this.removeSpare(serverId);
      if (guest.memory !== 'saved') await dropMemory(this.#layout.memory(serverId));
    }
    const running = () => [...this.#processes.keys()].filter((serverId) => this.running(serverId));
    this.#housekeeping = keepHouse({ layout: this.#layout, clock, log }, running, this.#closing.signal);
  }

  async kept(): Promise<string[]> {
    return (await namesIn(this.#layout.guestsDir)).filter(isUuid);
  }

  async bytesOf(serverId: string): Promise<number | null> {
    const bytes = await bytesIn(this.#layout.guestDir(serverId));
    return bytes === null ? null : bytes + ((await allocatedBytes(this.#layout.memory(serverId))) ?? 0);
  }

  async missing(serverId: string, guest: GuestBody): Promise<string[]> {
    return missingFiles(this.#layout, serverId, guest);
  }

  async strays(): Promise<string[]> {
    return strayFiles(this.#layout);
  }

  async prepare(serverId: string, { root }: GuestSpec, disk: DefineRequest['disk'], job: JobControl): Promise<void> {
    if (root.kind === 'image') await this.#images.ensure(root.image, job);
    await makeGuestDirectory(this.#files(), serverId);
    if (root.kind === 'image' && disk === 'fresh')
      await makeOverlay(this.#files(), serverId, root, this.#layout.disk(serverId), job.signal);
  }

  async makeSpare(serverId: string, { root }: GuestSpec, job: JobControl): Promise<void> {
    if (root.kind === 'volume') return;
    await this.#images.ensure(root.image, job);
    await makeOverlay(this.#files(), serverId, root, this.#layout.spareDisk(serverId), job.signal);
  }

  async adoptSpare(serverId: string): Promise<void> {
    try {
      await rename(this.#layout.spareDisk(serverId), this.#layout.disk(serverId));
    } catch (error) {
      // It is there already, or the guest boots from a volume.
      if (!isCode(error, 'ENOENT')) throw error;
    }
    await syncDirectory(this.#layout.guestDir(serverId));
  }

  async removeSpare(serverId: string): Promise<void> {
    await rm(this.#layout.spareDisk(serverId), { force: true });
  }

  async spawn(serverId: string, { spec, volumes, fromMemory, fromSpare, rescue }: GuestStart): Promise<void> {
    await removeKeys(this.#layout.guestKeys(serverId));
    for (const volume of volumes) await this.#writeKey(serverId, volume);
    const args = qemuArguments({
      serverId,
      spec,
      accelerator: await this.#binary.accelerator(),
      diskPath: fromSpare ? this.#layout.spareDisk(serverId) : this.#layout.disk(serverId),
      rescue: rescue && {
        diskPath: this.#layout.spareDisk(serverId),
        imagePath: this.#layout.image(rescue.image),
        format: rescue.image.format,
        last: rescue.last,
      },
      imagePath: spec.root.kind === 'image' ? this.#layout.image(spec.root.image) : '',
      configDrivePath: this.#layout.configDrive(serverId),
      pidFile: this.#layout.pidFile(serverId),
      volumeArguments: volumeArguments(volumes, this.#placesOf(serverId)),
      fromMemory,
    });
    if (spec.configDrive) await writeConfigDrive(this.#layout.configDrive(serverId), spec.configDrive);
    const memory = fromMemory ? await open(this.#layout.memory(serverId), 'r') : null;
    try {
      const files = memory === null ? [] : [memory.fd];
      const { qemuBinary, log } = this.#options;
      const guest = await QemuProcess.spawn(qemuBinary, args, this.#identity, this.#place(serverId), files);
      this.#processes.set(serverId, guest);
      log.info({ serverId, qemuPid: guest.ref.pid }, 'guest started');
      void guest.gone.then(() => log.info({ serverId, qemuPid: guest.ref.pid }, 'guest ended'));
    } finally {
      await memory?.close();
    }
  }

  async awaitRunning(serverId: string, job: JobControl): Promise<void> {
    const guest = this.#processes.get(serverId);
    if (!guest) throw new HypervisorError('the guest was not started');
    await guest.awaitStatus(['running'], START_LIMIT_MS, job.signal);
  }

  async awaitLoaded(serverId: string, job: JobControl): Promise<void> {
    await this.#running(serverId).awaitStatus(['paused', 'postmigrate'], LOAD_LIMIT_MS, job.signal);
  }

  async saveMemory(serverId: string, { memoryMb }: GuestSpec, job: JobControl): Promise<void> {
    const guest = this.#running(serverId);
    const { clock } = this.#options;
    const directory = this.#layout.guestDir(serverId);
    const place = { directory, file: this.#layout.memory(serverId), identity: this.#identity, clock };
    await this.#heavy.run(job.signal, () => saveMemory(guest, memoryMb, place, job));
  }

  async dropMemory(serverId: string): Promise<void> {
    await dropMemory(this.#layout.memory(serverId));
  }

  running(serverId: string): boolean {
    return this.#runningGuest(serverId) !== null;
  }

  startedAt(serverId: string): number | null {
    return this.#runningGuest(serverId)?.startedAt ?? null;
  }

  async gone(serverId: string): Promise<void> {
    await this.#processes.get(serverId)?.gone;
  }

  async plug(serverId: string, volume: GuestVolume): Promise<void> {
    const guest = this.#running(serverId);
    await this.#writeKey(serverId, volume);
    await plugVolume(guest, volume, this.#placesOf(serverId), this.#options.clock);
  }

  async unplug(serverId: string, volume: GuestVolume, job: JobControl): Promise<void> {
    const guest = this.#runningGuest(serverId);
    if (guest !== null) await unplugVolume(guest, volume, this.#options.clock, job);
    await removeKeys(this.#layout.keys(serverId, volume.volumeId));
  }

  async showGrown(serverId: string, volume: GuestVolume): Promise<void> {
    const place = { directory: this.#layout.guestDir(serverId), tools: this.#tools, clock: this.#options.clock };
    await showGrown(this.#running(serverId), volume, place);
  }

  async plugPort(serverId: string, port: GuestPort): Promise<void> {
    await plugPort(this.#running(serverId), port);
  }

  async unplugPort(serverId: string, portId: string, job: JobControl): Promise<void> {
    const guest = this.#runningGuest(serverId);
    if (guest === null) return;
    this.#forwards.forget(guest, portId);
    await unplugPort(guest, portId, this.#options.clock, job);
    // One that was made meanwhile.
    this.#forwards.forget(guest, portId);
  }

  async pressPowerButton(serverId: string): Promise<void> {
    await this.#processes.get(serverId)?.pressPowerButton();
  }

  async setPaused(serverId: string, paused: boolean): Promise<void> {
    await this.#processes.get(serverId)?.setPaused(paused);
  }

  async isStuck(serverId: string): Promise<boolean> {
    const guest = this.#runningGuest(serverId);
    return guest !== null && (await guest.isStuck());
  }

  async injectNmi(serverId: string): Promise<void> {
    await this.#processes.get(serverId)?.execute('inject-nmi');
  }

  async diagnostics(serverId: string, spec: GuestSpec): Promise<Diagnostics> {
    return readDiagnostics(this.#running(serverId), spec, this.#options.clock);
  }

  async kill(serverId: string, flush: boolean): Promise<void> {
    await this.#processes.get(serverId)?.kill(flush);
  }

  async openExport(serverId: string, saved: SavedExport | null): Promise<DiskExport> {
    return this.#exports.open(serverId, saved);
  }

  async closeExport(serverId: string): Promise<void> {
    await this.#exports.close(serverId);
  }

  async importDisk(serverId: string, image: BaseImage, source: DiskExport, job: JobControl): Promise<string> {
    const { clock, stallMs, copyBytesPerSecond } = this.#options;
    const options = { ...this.#files(), clock, stallMs, bytesPerSecond: copyBytesPerSecond };
    await makeGuestDirectory(this.#files(), serverId);
    return this.#transfers.run(job.signal, () => importOverlay(options, serverId, image, source, job));
  }

  async digest(serverId: string, job: JobControl): Promise<string> {
    return this.#heavy.run(job.signal, () => sha256File(this.#layout.disk(serverId), job));
  }

  async grow(serverId: string, rootBytes: number): Promise<void> {
    await growOverlay(this.#tools, this.#layout.disk(serverId), rootBytes);
    await syncFile(this.#layout.disk(serverId), 'the disk');
  }

  async takeSnapshot(serverId: string, image: BaseImage, snapshotId: string, job: JobControl): Promise<void> {
    await this.#heavy.run(job.signal, () =>
      takeSnapshot(this.#snapshots(), { serverId, snapshotId, image }, this.#runningGuest(serverId), job),
    );
  }

  async uploadSnapshot(serverId: string, snapshotId: string, url: string, job: JobControl): Promise<void> {
    const { secret } = this.#options;
    await this.#transfers.run(job.signal, () =>
      uploadSnapshot(this.#snapshots(), { serverId, snapshotId, url, secret }, job),
    );
  }

  async dropSnapshot(serverId: string): Promise<void> {
    await removeSnapshots(this.#layout, this.#options.clock, serverId, this.#runningGuest(serverId));
  }

  async remove(serverId: string): Promise<void> {
    if (this.running(serverId)) throw new HypervisorError('the guest still runs');
    await this.#processes.get(serverId)?.detach();
    this.#processes.delete(serverId);
    await rm(this.#layout.guestDir(serverId), { recursive: true, force: true });
    await rm(this.#layout.log(serverId), { force: true });
    await dropMemory(this.#layout.memory(serverId));
    await removeKeys(this.#layout.guestKeys(serverId));
    await syncDirectory(this.#layout.guestsDir);
  }

  async sweepImages(inUse: () => ReadonlySet<string>): Promise<void> {
    await this.#images.sweep(inUse);
  }

  async console(serverId: string): Promise<string> {
    return readConsole(this.#layout.guestDir(serverId));
  }

  async openConsole(serverId: string, kind: ConsoleKind): Promise<Duplex> {
    const directory = this.#layout.guestDir(serverId);
    if (kind === 'vnc') return connectIn(directory, VNC_SOCKET);
    // QEMU takes the next one when this one is gone.
    this.#serialLines.get(serverId)?.destroy();
    const line = await connectIn(directory, SERIAL_SOCKET);
    this.#serialLines.get(serverId)?.destroy();
    this.#serialLines.set(serverId, line);
    line.once('close', () => {
      if (this.#serialLines.get(serverId) === line) this.#serialLines.delete(serverId);
    });
    return line;
  }

  async openTcp(serverId: string, portId: string, tcpPort: number): Promise<Duplex> {
    return this.#forwards.connect(this.#running(serverId), portId, tcpPort);
  }

  async diskBytes(): Promise<number> {
    const { blocks, bsize } = await statfs(this.#layout.guestsDir);
    return blocks * bsize;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#housekeeping;
    await this.#exports.closeAll();
    await this.#images.close();
    for (const guest of this.#processes.values()) await guest.detach();
  }

  // ---- small things ---------------------------------------------------------------------------------------------

  #runningGuest(serverId: string): QemuProcess | null {
    const guest = this.#processes.get(serverId);
    return guest && !guest.isGone ? guest : null;
  }

  #files() {
    return { layout: this.#layout, tools: this.#tools };
  }

  #snapshots() {
    const { clock, stallMs } = this.#options;
    return { ...this.#files(), clock, stallMs };
  }

  #running(serverId: string): QemuProcess {
    const guest = this.#runningGuest(serverId);
    if (guest === null) throw new HypervisorError('the guest does not run');
    return guest;
  }

  #place(serverId: string) {
    return {
      directory: this.#layout.guestDir(serverId),
      logPath: this.#layout.log(serverId),
      clock: this.#options.clock,
    };
  }

  #placesOf(serverId: string): VolumePlaces {
    return { keysDir: (volumeId) => this.#layout.keys(serverId, volumeId), shares: this.#options.shares };
  }

  /** Where QEMU reads it, and nobody else. */
  async #writeKey(serverId: string, { volumeId, connection }: GuestVolume): Promise<void> {
    if (connection.kind === 'share') return;
    await makeKeysDirectory(this.#layout.guestKeys(serverId), this.#identity);
    await writeKeys(this.#layout.keys(serverId, volumeId), this.#identity, [connection]);
  }
}
