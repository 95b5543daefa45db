// The storage driver over QEMU: a qcow2 file for each volume, and a qemu-storage-daemon for each that somebody may use.
//
// Theory of operation. A daemon runs while its volume has a grant: it is started by the first, and ended after the last
// is gone. Whoever is shut out is out when `serve` resolves: first the keys are replaced, so that nobody comes (back)
// in, then the exports go, with their connections. A daemon that ends by itself is started again at the same port with
// the same keys; its guests reconnect. At a restart daemons are found by their command lines and go on, as they are.
// Each volume has a mutex: daemon and qemu-img never have one file open at once, save for copies from a snapshot.
// Not handled: two agents on one state directory (the caller holds a lock).
import { chmod, chown, mkdir, open, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Logger } from 'pino';
import { HypervisorError, type JobControl } from '../../host/hypervisor.ts';
import { Mutex, Semaphore } from '../../host/mutex.ts';
import type { DiskTools } from '../../host/qemu/disk.ts';
import { ImageCache } from '../../host/qemu/images.ts';
import { makeKeysDirectory, removeKeys, writeKeys } from '../../host/qemu/keys.ts';
import { Layout } from '../../host/qemu/layout.ts';
import { chooseIdentity, type Identity } from '../../host/qemu/privileges.ts';
import { isAlive, isCode, listProcesses, type ProcessEntry, signal } from '../../host/qemu/proc.ts';
import { sendFile } from '../../host/qemu/send-file.ts';
import { syncDirectory } from '../../host/record-files.ts';
import type { Clock } from '../../lib/clock.ts';
import { assertNever, messageOf } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { CreateVolumeRequest, RewriteVolumeRequest, UploadVolumeRequest, VolumeSource } from '../contract.ts';
import type { Place, StorageDriver } from '../driver.ts';
import type { Grant, VolumeBody } from '../records.ts';
import { Daemon } from './daemon.ts';
import { convert, growFile, makeBlank, makeCopy, overwrite, revertFile, snapshotFile, syncFile } from './files.ts';
import { StorageLayout } from './layout.ts';

export interface QemuStorageOptions {
  /** Absolute and without symbolic links. */
  readonly stateDir: string;
  /** Names looked up in the PATH, or absolute paths. */
  readonly daemonBinary: string;
  readonly qemuImgBinary: string;
  /** Unprivileged user for QEMU's programs when the agent is root; null: run them as the agent. */
  readonly runAs: string | null;
  /** Address under which compute hosts reach volumes. */
  readonly dataAddress: string;
  /** Bearer token for fetching images. */
  readonly secret: string;
  /** A copy or download without progress is given up after this time, ms. */
  readonly stallMs: number;
  /** Base images are kept up to this many bytes, so that the next volume of one need not fetch it. */
  readonly unusedImageBytes: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What a volume has running. */
interface Served {
  readonly mutex: Mutex;
  daemon: Daemon | null;
  grants: readonly Grant[];
  /** Resolves when the daemon before has let go of the file. Nobody reaches it any more. */
  ended: Promise<void>;
}

const HEAVY_JOBS = 4;
/** Disk space that a new volume leaves free. */
const SPARE_BYTES = 64 * 1024 * 1024;
const ORPHAN_LIMIT_MS = 10_000;
/** Pauses between attempts to bring a daemon back, ms. */
const RESTART_PAUSES_MS = [0, 200, 1000, 5000];

export class QemuStorage implements StorageDriver {
  readonly name = 'qemu-storage-daemon';
  readonly #options: QemuStorageOptions;
  readonly #layout: StorageLayout;
  readonly #identity: Identity | null;
  readonly #tools: DiskTools;
  readonly #images: ImageCache;
  readonly #served = new Map<string, Served>();
  readonly #heavy = new Semaphore(HEAVY_JOBS);
  readonly #closing = new AbortController();

  private constructor(options: QemuStorageOptions, layout: StorageLayout, identity: Identity | null) {
    this.#options = options;
    this.#layout = layout;
    this.#identity = identity;
    this.#tools = { qemuImg: options.qemuImgBinary, identity };
    const { clock, log, secret, stallMs, unusedImageBytes, stateDir } = options;
    this.#images = new ImageCache({
      ...{ layout: new Layout(stateDir), tools: this.#tools, clock, log, secret, stallMs },
      unusedLimitBytes: unusedImageBytes,
    });
  }

  /** Prepares the directories. */
  static async open(options: QemuStorageOptions): Promise<QemuStorage> {
    const layout = new StorageLayout(options.stateDir);
    await mkdir(layout.volumesDir, { recursive: true });
    await chmod(layout.volumesDir, 0o711);
    await mkdir(layout.logsDir, { recursive: true, mode: 0o700 });
    const identity = await chooseIdentity(options.runAs, layout.volumesDir, options.log);
    await makeKeysDirectory(layout.keysDir, identity);
    const driver = new QemuStorage(options, layout, identity);
    await driver.#images.open();
    return driver;
  }

  async recover(volumes: ReadonlyMap<string, VolumeBody>): Promise<void> {
    for (const found of await listProcesses()) await this.#recoverProcess(found, volumes);
    for (const name of await readdir(this.#layout.volumesDir)) {
      if (isUuid(name) && volumes.get(name)?.state !== 'ready') await this.remove(name);
    }
    for (const name of await readdir(this.#layout.keysDir)) {
      if (isUuid(name) && !volumes.has(name)) await removeKeys(this.#keys(name));
    }
    for (const [volumeId, { state, source }] of volumes) {
      if (state === 'ready') await this.#dropOutgoing(volumeId);
      if (state === 'ready') await rm(this.#layout.template(volumeId), { force: true });
      // The snapshot from which an unfinished volume was being copied.
      if (state === 'making' && source.kind === 'volume' && volumes.get(source.volumeId)?.state === 'ready')
        await this.deleteSnapshot(source.volumeId, copyName(volumeId));
    }
    await this.#images.sweep(new Set());
  }

  async make(volumeId: string, request: Omit<CreateVolumeRequest, 'generation'>, job: JobControl): Promise<void> {
    const { bavail, bsize } = await statfs(this.#layout.volumesDir);
    if (bavail * bsize < SPARE_BYTES) throw new HypervisorError('no room for another volume');
    const directory = this.#layout.volumeDir(volumeId);
    await rm(directory, { recursive: true, force: true });
    await mkdir(directory, { mode: 0o700 });
    if (this.#identity) await chown(directory, this.#identity.uid, this.#identity.gid);
    const partial = this.#layout.partial(volumeId);
    try {
      await this.#fill(volumeId, request.source, partial, request.sizeBytes, job);
      job.signal.throwIfAborted();
      await syncFile(partial);
      await rename(partial, this.#layout.volume(volumeId));
      await syncDirectory(directory);
      await syncDirectory(this.#layout.volumesDir);
    } catch (error) {
      await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  async remove(volumeId: string): Promise<void> {
    await this.serve(volumeId, [], null);
    const served = this.#of(volumeId);
    await served.mutex.run(async () => {
      await served.ended;
      await rm(this.#layout.volumeDir(volumeId), { recursive: true, force: true });
      await rm(this.#layout.log(volumeId), { force: true });
      await syncDirectory(this.#layout.volumesDir);
    });
    this.#served.delete(volumeId);
  }

  async grow(volumeId: string, sizeBytes: number): Promise<void> {
    const served = this.#of(volumeId);
    await served.mutex.run(async () => {
      await served.ended;
      if (served.daemon) await served.daemon.grow(sizeBytes, served.grants);
      else await growFile(this.#tools, this.#layout.volume(volumeId), sizeBytes);
    });
  }

  async snapshot(volumeId: string, snapshotId: string): Promise<void> {
    await this.#snapshot(volumeId, 'take', snapshotId);
  }

  async deleteSnapshot(volumeId: string, snapshotId: string): Promise<void> {
    await this.#snapshot(volumeId, 'delete', snapshotId);
  }

  async rewrite(volumeId: string, content: RewriteVolumeRequest['content'], job: JobControl): Promise<void> {
    const { clock, stallMs } = this.#options;
    const path = this.#layout.volume(volumeId);
    if (content.kind === 'image') await this.#images.ensure(content.image, job);
    const served = this.#of(volumeId);
    await served.mutex.run(async () => {
      await served.ended;
      if (served.daemon) throw new HypervisorError('the volume is served');
      if (content.kind === 'snapshot') await revertFile(this.#tools, path, content.snapshotId);
      else {
        const { image } = content;
        const base = { path: new Layout(this.#layout.stateDir).image(image), format: image.format };
        const template = this.#layout.template(volumeId);
        const tools = { ...this.#tools, clock, stallMs };
        await this.#heavy.run(job.signal, () => overwrite(tools, base, template, path, job));
      }
      await syncFile(path);
    });
  }

  async upload(
    volumeId: string,
    { format, url }: Omit<UploadVolumeRequest, 'generation'>,
    job: JobControl,
  ): Promise<void> {
    const { clock, stallMs, secret } = this.#options;
    const outgoing = this.#layout.outgoing(volumeId);
    const source = this.#layout.volume(volumeId);
    const [{ blocks }, { bavail, bsize }] = await Promise.all([stat(source), statfs(this.#layout.volumesDir)]);
    const most = blocks * 512;
    if (bavail * bsize < most + SPARE_BYTES) throw new HypervisorError(`no room for a copy of ${most} bytes`);
    await this.#dropOutgoing(volumeId);
    const tools = { ...this.#tools, clock, stallMs };
    try {
      // It says that there may be the snapshot.
      await (await open(outgoing, 'wx', 0o600)).close();
      if (this.#identity) await chown(outgoing, this.#identity.uid, this.#identity.gid);
      await this.snapshot(volumeId, OUTGOING);
      const from = { path: source, format: 'qcow2', snapshot: OUTGOING } as const;
      await this.#heavy.run(job.signal, () => convert(tools, from, outgoing, format, most, job));
      await this.deleteSnapshot(volumeId, OUTGOING);
      await sendFile(outgoing, { url, secret, clock, stallMs }, job);
    } finally {
      await this.#dropOutgoing(volumeId);
    }
  }

  /** Neither the copy that is sent nor the snapshot that it is made from is there any more. */
  async #dropOutgoing(volumeId: string): Promise<void> {
    const outgoing = this.#layout.outgoing(volumeId);
    try {
      await stat(outgoing);
    } catch (error) {
      if (isCode(error, 'ENOENT')) return;
      throw error;
    }
    await this.deleteSnapshot(volumeId, OUTGOING);
    await rm(outgoing, { force: true });
  }

  async serve(volumeId: string, grants: readonly Grant[], port: number | null): Promise<Place | null> {
    const served = this.#of(volumeId);
    return served.mutex.run(async () => {
      served.grants = grants;
      if (grants.length === 0) await this.#shut(volumeId, served);
      else await this.#open(volumeId, served, port);
      return served.daemon && { host: this.#options.dataAddress, port: served.daemon.port };
    });
  }

  async space(): Promise<{ totalBytes: number; freeBytes: number }> {
    const { blocks, bavail, bsize } = await statfs(this.#layout.volumesDir);
    return { totalBytes: blocks * bsize, freeBytes: bavail * bsize };
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#images.close();
    for (const { mutex, daemon, ended } of this.#served.values()) {
      await ended;
      await mutex.run(async () => daemon?.detach());
    }
  }

  // ---- content --------------------------------------------------------------------------------------------------

  async #fill(volumeId: string, source: VolumeSource, path: string, bytes: number, job: JobControl): Promise<void> {
    const { clock, stallMs } = this.#options;
    const tools = { ...this.#tools, clock, stallMs };
    switch (source.kind) {
      case 'blank':
        return makeBlank(tools, path, bytes);
      case 'image': {
        const { image } = source;
        await this.#images.ensure(image, job);
        const from = { path: new Layout(this.#layout.stateDir).image(image), format: image.format, snapshot: null };
        return this.#heavy.run(job.signal, () => makeCopy(tools, from, path, bytes, job));
      }
      case 'volume': {
        // Of a volume in use: what it holds at this moment, which only a snapshot keeps still.
        const name = copyName(volumeId);
        await this.snapshot(source.volumeId, name);
        try {
          const from = { path: this.#layout.volume(source.volumeId), format: 'qcow2', snapshot: name } as const;
          return await this.#heavy.run(job.signal, () => makeCopy(tools, from, path, bytes, job));
        } finally {
          await this.deleteSnapshot(source.volumeId, name);
        }
      }
      case 'snapshot': {
        const { snapshotId } = source;
        const from = { path: this.#layout.volume(source.volumeId), format: 'qcow2', snapshot: snapshotId } as const;
        return this.#heavy.run(job.signal, () => makeCopy(tools, from, path, bytes, job));
      }
      default:
        return assertNever(source);
    }
  }

  async #snapshot(volumeId: string, action: 'take' | 'delete', name: string): Promise<void> {
    const served = this.#of(volumeId);
    await served.mutex.run(async () => {
      await served.ended;
      if (served.daemon) await served.daemon.snapshot(action, name);
      else await snapshotFile(this.#tools, this.#layout.volume(volumeId), action, name);
    });
  }

  // ---- daemons, inside the volume's mutex -----------------------------------------------------------------------

  async #open(volumeId: string, served: Served, port: number | null): Promise<void> {
    if (served.daemon?.isGone) served.daemon = null;
    await writeKeys(this.#keys(volumeId), this.#identity, served.grants);
    if (served.daemon && (await this.#adjust(volumeId, served, served.daemon))) return;
    await served.ended;
    const { dataAddress } = this.#options;
    const daemon = await Daemon.start(this.#facts(volumeId), dataAddress, port);
    this.#watch(volumeId, served, daemon);
    await daemon.setExports(served.grants);
  }

  /** Nobody has access: keys and exports first, at once; then the daemon, which may have something to write. */
  async #shut(volumeId: string, served: Served): Promise<void> {
    const daemon = served.daemon;
    if (daemon && !daemon.isGone) {
      await writeKeys(this.#keys(volumeId), this.#identity, []);
      if (await this.#adjust(volumeId, served, daemon)) served.ended = this.#end(volumeId, daemon);
    }
    served.daemon = null;
    await removeKeys(this.#keys(volumeId));
  }

  /** Not waited for by whoever shuts somebody out: who is out is out. */
  async #end(volumeId: string, daemon: Daemon): Promise<void> {
    try {
      await daemon.stop();
    } catch (error) {
      // The next use of the file finds it locked, and says so.
      this.#options.log.error({ volumeId, daemonPid: daemon.pid, reason: messageOf(error) }, 'a daemon does not end');
    }
  }

  /** False when the daemon does not do as it is told, and has been killed: then nobody is in either. */
  async #adjust(volumeId: string, served: Served, daemon: Daemon): Promise<boolean> {
    try {
      await daemon.setExports(served.grants);
      return true;
    } catch (error) {
      if (!(error instanceof HypervisorError)) throw error;
      this.#options.log.warn({ volumeId, reason: error.message }, 'a daemon that does not obey is killed');
      await daemon.kill();
      served.daemon = null;
      return false;
    }
  }

  #watch(volumeId: string, served: Served, daemon: Daemon): void {
    served.daemon = daemon;
    this.#options.log.info({ volumeId, daemonPid: daemon.pid, port: daemon.port }, 'volume served');
    void daemon.gone.then(() => this.#bringBack(volumeId, served, daemon));
  }

  /** A daemon has ended. If it was not told to, another takes its place, for as long as anybody has a grant. */
  async #bringBack(volumeId: string, served: Served, ended: Daemon): Promise<void> {
    const { log, clock } = this.#options;
    for (let attempt = 0; ; attempt += 1) {
      await clock.sleep(RESTART_PAUSES_MS[attempt] ?? RESTART_PAUSES_MS.at(-1) ?? 0, this.#closing.signal);
      const over = await served.mutex.run(async () => {
        if (this.#closing.signal.aborted || served.daemon !== ended || served.grants.length === 0) return true;
        log.warn({ volumeId, daemonPid: ended.pid }, 'the daemon of a volume has ended: another is started');
        try {
          await this.#open(volumeId, served, ended.port);
          return true;
        } catch (error) {
          log.error({ volumeId, reason: messageOf(error) }, 'the volume cannot be served');
          served.daemon ??= ended;
          return false;
        }
      });
      if (over) return;
    }
  }

  // ---- recovery -------------------------------------------------------------------------------------------------

  async #recoverProcess(found: ProcessEntry, volumes: ReadonlyMap<string, VolumeBody>): Promise<void> {
    const { log, daemonBinary, qemuImgBinary } = this.#options;
    const volumeId = this.#volumeOf(found.argv);
    if (volumeId === null) return;
    const isDaemon = found.argv.includes('--pidfile') && found.argv.includes(this.#layout.pidFile(volumeId));
    const body = volumes.get(volumeId);
    if (isDaemon && body?.state === 'ready' && body.port !== null && body.grants.length > 0) {
      log.info({ volumeId, daemonPid: found.pid }, 'daemon found running');
      const daemon = Daemon.adopt(found, body.port, this.#place(volumeId));
      this.#watch(volumeId, this.#of(volumeId), daemon);
      return;
    }
    const program = basename(found.argv[0] ?? '');
    // Anything else that names one of our files is somebody's editor or pager.
    if (!isDaemon && ![daemonBinary, qemuImgBinary].map((path) => basename(path)).includes(program)) return;
    log.warn({ volumeId, foundPid: found.pid, program }, 'a process without an owner is ended');
    // A daemon may still hold what guests have written.
    signal(found, isDaemon ? 'SIGTERM' : 'SIGKILL');
    const deadline = this.#options.clock.now() + ORPHAN_LIMIT_MS;
    while (isAlive(found)) {
      if (this.#options.clock.now() > deadline && !signal(found, 'SIGKILL')) return;
      await this.#options.clock.sleep(20);
    }
  }

  /** The volume whose directory a command line names; null when none. */
  #volumeOf(argv: readonly string[]): string | null {
    const prefix = `${this.#layout.volumesDir}/`;
    for (const argument of argv) {
      if (!argument.startsWith(prefix)) continue;
      const name = argument.slice(prefix.length).split('/')[0] ?? '';
      if (isUuid(name)) return name;
    }
    return null;
  }

  // ---- small things ---------------------------------------------------------------------------------------------

  #of(volumeId: string): Served {
    const known = this.#served.get(volumeId);
    if (known) return known;
    const served: Served = { mutex: new Mutex(), daemon: null, grants: [], ended: Promise.resolve() };
    this.#served.set(volumeId, served);
    return served;
  }

  #keys(volumeId: string): string {
    return this.#layout.keys(volumeId);
  }

  #place(volumeId: string) {
    const { clock } = this.#options;
    return { directory: this.#layout.volumeDir(volumeId), logPath: this.#layout.log(volumeId), clock };
  }

  #facts(volumeId: string) {
    return {
      binary: this.#options.daemonBinary,
      identity: this.#identity,
      volumePath: this.#layout.volume(volumeId),
      keysDir: this.#keys(volumeId),
      pidFile: this.#layout.pidFile(volumeId),
      place: this.#place(volumeId),
    };
  }
}

/** The passing snapshot of a volume that is sent away. */
const OUTGOING = 'upload';
/** The passing snapshot of a source from which this volume is copied. */
const copyName = (volumeId: string): string => `copy-${volumeId}`;
