// The storage driver over QEMU: a qcow2 file for each volume, and a qemu-storage-daemon for each that somebody may use.
//
// Theory of operation. What the volumes hold is here: it is made, grown, kept and sent by qemu-img, or by the volume's
// daemon when it has the file open (daemons.ts has the volume's mutex). A file that is not whole has another name, and is
// worth nothing after a restart.
// Not handled: two agents on one state directory (the caller holds a lock).
import { chmod, chown, mkdir, open, readdir, rename, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { BaseImage } from '../../host/contract.ts';
import { HypervisorError, type JobControl } from '../../host/hypervisor.ts';
import { Semaphore } from '../../host/mutex.ts';
import type { DiskTools } from '../../host/qemu/disk.ts';
import { allocatedBytes, bytesIn, checkRoom, namesIn, syncFile } from '../../host/qemu/disk-files.ts';
import { ImageCache } from '../../host/qemu/images.ts';
import { makeKeysDirectory, removeKeys } from '../../host/qemu/keys.ts';
import { Layout } from '../../host/qemu/layout.ts';
import { endProcess, findLeftovers, isOneOf, type Leftover } from '../../host/qemu/leftovers.ts';
import { chooseIdentity, type Identity } from '../../host/qemu/privileges.ts';
import { sendFile } from '../../host/qemu/send-file.ts';
import { syncDirectory } from '../../host/record-files.ts';
import type { Clock } from '../../lib/clock.ts';
import { assertNever } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { CreateVolumeRequest, RewriteVolumeRequest, UploadVolumeRequest, VolumeSource } from '../contract.ts';
import type { Place, StorageDriver } from '../driver.ts';
import type { Grant, VolumeBody } from '../records.ts';
import { Daemons } from './daemons.ts';
import { convert, growFile, makeBlank, makeCopy, overwrite, revertFile, snapshotFile } from './files.ts';
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

const HEAVY_JOBS = 4;

export class QemuStorage implements StorageDriver {
  readonly name = 'qemu-storage-daemon';
  readonly #options: QemuStorageOptions;
  readonly #layout: StorageLayout;
  readonly #identity: Identity | null;
  readonly #tools: DiskTools;
  readonly #images: ImageCache;
  readonly #daemons: Daemons;
  readonly #heavy = new Semaphore(HEAVY_JOBS);
  /** Each use of a base image that goes on. */
  readonly #uses = new Set<{ readonly sha256: string }>();

  private constructor(options: QemuStorageOptions, layout: StorageLayout, identity: Identity | null) {
    this.#options = options;
    this.#layout = layout;
    this.#identity = identity;
    this.#tools = { qemuImg: options.qemuImgBinary, identity };
    const { clock, log, secret, stallMs, unusedImageBytes, stateDir, daemonBinary, dataAddress } = options;
    this.#daemons = new Daemons({ daemonBinary, dataAddress, layout, identity, clock, log });
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
    for (const found of await findLeftovers(this.#layout.volumesDir)) await this.#recoverProcess(found, volumes);
    for (const name of await readdir(this.#layout.volumesDir)) {
      const state = volumes.get(name)?.state ?? null;
      if (state === 'making' || state === 'deleting') await this.remove(name);
    }
    for (const name of await readdir(this.#layout.keysDir)) {
      if (isUuid(name) && !volumes.has(name)) await removeKeys(this.#layout.keys(name));
    }
    for (const [volumeId, { state, source }] of volumes) {
      if (state === 'ready') await this.#dropOutgoing(volumeId);
      if (state === 'ready') await rm(this.#layout.template(volumeId), { force: true });
      // The snapshot from which an unfinished volume was being copied.
      if (state === 'making' && source.kind === 'volume' && volumes.get(source.volumeId)?.state === 'ready')
        await this.deleteSnapshot(source.volumeId, copyName(volumeId));
    }
    await this.#sweep();
  }

  async kept(): Promise<string[]> {
    return (await namesIn(this.#layout.volumesDir)).filter(isUuid);
  }

  async bytesOf(volumeId: string): Promise<number | null> {
    return bytesIn(this.#layout.volumeDir(volumeId));
  }

  async missing(volumeId: string): Promise<string[]> {
    return (await allocatedBytes(this.#layout.volume(volumeId))) === null ? ['file'] : [];
  }

  async strays(): Promise<string[]> {
    const volumes = await namesIn(this.#layout.volumesDir);
    const known = new Set(volumes.filter(isUuid));
    return [
      ...volumes.filter((name) => !known.has(name)).map((name) => join('volumes', name)),
      ...(await namesIn(this.#layout.keysDir)).filter((name) => !known.has(name)).map((name) => join('keys', name)),
    ];
  }

  async make(volumeId: string, request: Omit<CreateVolumeRequest, 'generation'>, job: JobControl): Promise<void> {
    await checkRoom(this.#layout.volumesDir, 0, 'another volume');
    const directory = this.#layout.volumeDir(volumeId);
    await rm(directory, { recursive: true, force: true });
    await mkdir(directory, { mode: 0o700 });
    if (this.#identity) await chown(directory, this.#identity.uid, this.#identity.gid);
    const partial = this.#layout.partial(volumeId);
    try {
      await this.#fill(volumeId, request.source, partial, request.sizeBytes, job);
      job.signal.throwIfAborted();
      await syncFile(partial, 'the volume');
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
    await this.#daemons.withFile(volumeId, async () => {
      await rm(this.#layout.volumeDir(volumeId), { recursive: true, force: true });
      await rm(this.#layout.log(volumeId), { force: true });
      await syncDirectory(this.#layout.volumesDir);
    });
    this.#daemons.forget(volumeId);
  }

  async grow(volumeId: string, sizeBytes: number): Promise<void> {
    await this.#daemons.withFile(volumeId, async (daemon, grants) => {
      if (daemon) await daemon.grow(sizeBytes, grants);
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
    const write = (fill: () => Promise<void>): Promise<void> =>
      this.#daemons.withFile(volumeId, async (daemon) => {
        if (daemon) throw new HypervisorError('the volume is served');
        await fill();
        await syncFile(path, 'the volume');
      });
    if (content.kind === 'snapshot') return write(() => revertFile(this.#tools, path, content.snapshotId));
    const { image } = content;
    await this.#withImage(image, job, (base) => {
      const template = this.#layout.template(volumeId);
      const tools = { ...this.#tools, clock, stallMs };
      const from = { path: base, format: image.format };
      return write(() => this.#heavy.run(job.signal, () => overwrite(tools, from, template, path, job)));
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
    const most = await allocatedBytes(source);
    if (most === null) throw new HypervisorError('the volume is not there');
    await checkRoom(this.#layout.volumesDir, most, `a copy of ${most} bytes`);
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
    if ((await allocatedBytes(outgoing)) === null) return;
    await this.deleteSnapshot(volumeId, OUTGOING);
    await rm(outgoing, { force: true });
  }

  async serve(volumeId: string, grants: readonly Grant[], port: number | null): Promise<Place | null> {
    return this.#daemons.serve(volumeId, grants, port);
  }

  async space(): Promise<{ totalBytes: number; freeBytes: number }> {
    const { blocks, bavail, bsize } = await statfs(this.#layout.volumesDir);
    return { totalBytes: blocks * bsize, freeBytes: bavail * bsize };
  }

  async close(): Promise<void> {
    await this.#daemons.close();
    await this.#images.close();
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
        return this.#withImage(image, job, (base) => {
          const from = { path: base, format: image.format, snapshot: null };
          return this.#heavy.run(job.signal, () => makeCopy(tools, from, path, bytes, job));
        });
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

  /** `work` has the image's file, which is kept while it lasts; then those that are too much go. */
  async #withImage(image: BaseImage, job: JobControl, work: (path: string) => Promise<void>): Promise<void> {
    const use = { sha256: image.sha256 };
    // Before it is asked for: see the theory of operation of the cache.
    this.#uses.add(use);
    try {
      await this.#images.ensure(image, job);
      await work(new Layout(this.#layout.stateDir).image(image));
    } finally {
      this.#uses.delete(use);
      await this.#sweep();
    }
  }

  /** What fails in it is no fault of the volume's that was made. */
  async #sweep(): Promise<void> {
    try {
      await this.#images.sweep(() => new Set([...this.#uses].map(({ sha256 }) => sha256)));
    } catch (error) {
      this.#options.log.error({ err: error }, 'base images that are too much could not be dropped; tried again later');
    }
  }

  async #snapshot(volumeId: string, action: 'take' | 'delete', name: string): Promise<void> {
    await this.#daemons.withFile(volumeId, async (daemon) => {
      if (daemon) await daemon.snapshot(action, name);
      else await snapshotFile(this.#tools, this.#layout.volume(volumeId), action, name);
    });
  }

  // ---- recovery -------------------------------------------------------------------------------------------------

  async #recoverProcess(found: Leftover, volumes: ReadonlyMap<string, VolumeBody>): Promise<void> {
    const { log, clock, daemonBinary, qemuImgBinary } = this.#options;
    const { owner: volumeId, program } = found;
    const isDaemon = found.argv.includes('--pidfile') && found.argv.includes(this.#layout.pidFile(volumeId));
    const body = volumes.get(volumeId);
    if (isDaemon && body?.state === 'ready' && body.port !== null && body.grants.length > 0) {
      log.info({ volumeId, daemonPid: found.pid }, 'daemon found running');
      this.#daemons.adopt(volumeId, found, body.port);
      return;
    }
    if (!isDaemon && !isOneOf(found, [daemonBinary, qemuImgBinary])) return;
    log.warn({ volumeId, foundPid: found.pid, program }, 'a process without an owner is ended');
    // A daemon may still hold what guests have written.
    await endProcess(clock, found, isDaemon ? 'SIGTERM' : 'SIGKILL');
  }
}

/** The passing snapshot of a volume that is sent away. */
const OUTGOING = 'upload';
/** The passing snapshot of a source from which this volume is copied. */
const copyName = (volumeId: string): string => `copy-${volumeId}`;
