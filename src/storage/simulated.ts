// A storage driver that keeps volumes in memory, for simulations.
//
// Theory of operation. A volume is a list of words: what it was made from, then who wrote, where and by which attachment
// (host/simulated-volumes.ts). Snapshots and copies take the list as it is. A restarted agent with a new driver object
// finds the volumes that are on record, with their history cut down to their name.
import { Readable } from 'node:stream';

import type { VolumeOverNbd } from '../host/contract.ts';

import type { JobControl } from '../host/hypervisor.ts';
import { HypervisorError } from '../host/hypervisor.ts';
import { qcow2Disk, rawDisk } from '../host/simulated-disks.ts';
import type { SimulatedFabric } from '../host/simulated-fabric.ts';
import { sendBytes } from '../host/upload.ts';
import { assertNever, invariant } from '../lib/errors.ts';
import type { CreateVolumeRequest, RewriteVolumeRequest, UploadVolumeRequest, VolumeSource } from './contract.ts';
import type { Place, StorageDriver } from './driver.ts';
import type { Grant, VolumeBody } from './records.ts';

interface Kept {
  readonly volumeId: string;
  readonly words: string[];
  sizeBytes: number;
  readonly snapshots: Map<string, readonly string[]>;
  /** Export names that are open now. */
  open: string[];
  port: number | null;
}

/** 1 PiB: a simulated storage host never runs out of room by itself. */
const TOTAL_BYTES = 1024 ** 5;

export interface SimulatedStorageOptions {
  /** Bearer token for sending images; absent: none is needed. */
  readonly secret?: string;
  /** How bytes are sent to a URL of the control plane; absent: over HTTP. */
  readonly send?: (url: string, bytes: Uint8Array) => Promise<void>;
  readonly fabric: SimulatedFabric;
  /** Name of the storage host, also the address that its volumes show. */
  readonly host: string;
  /** Why the next volume must fail to be made; null: it is made. */
  readonly makeFault?: (volumeId: string) => string | null;
}

export class SimulatedStorage implements StorageDriver {
  readonly name = 'simulated';
  readonly #options: SimulatedStorageOptions;
  readonly #volumes = new Map<string, Kept>();
  #nextPort = 20_000;

  constructor(options: SimulatedStorageOptions) {
    this.#options = options;
  }

  async recover(volumes: ReadonlyMap<string, VolumeBody>): Promise<void> {
    for (const volumeId of this.#volumes.keys()) if (!volumes.has(volumeId)) await this.serve(volumeId, [], null);
    for (const [volumeId, { state, sizeBytes, snapshots }] of volumes) {
      if (state === 'making') await this.remove(volumeId);
      if (state !== 'ready' || this.#volumes.has(volumeId)) continue;
      this.#keep(volumeId, [`volume ${volumeId}`], sizeBytes);
      for (const snapshotId of snapshots) await this.snapshot(volumeId, snapshotId);
    }
  }

  async kept(): Promise<string[]> {
    return [...this.#volumes.keys()];
  }

  async bytesOf(volumeId: string): Promise<number | null> {
    return this.#volumes.get(volumeId)?.sizeBytes ?? null;
  }

  async missing(volumeId: string): Promise<string[]> {
    return this.#volumes.has(volumeId) ? [] : ['file'];
  }

  async strays(): Promise<string[]> {
    return [];
  }

  /** As by a file system that has lost it. */
  lose(volumeId: string): void {
    this.#volumes.delete(volumeId);
  }

  async make(volumeId: string, request: Omit<CreateVolumeRequest, 'generation'>, job: JobControl): Promise<void> {
    const fault = this.#options.makeFault?.(volumeId) ?? null;
    if (fault !== null) throw new HypervisorError(fault);
    this.#keep(volumeId, this.#contentOf(volumeId, request.source), request.sizeBytes);
    job.progress(request.sizeBytes, request.sizeBytes);
  }

  async remove(volumeId: string): Promise<void> {
    for (const exportName of this.#volumes.get(volumeId)?.open ?? []) this.#options.fabric.volumes.shut(exportName);
    this.#volumes.delete(volumeId);
  }

  async grow(volumeId: string, sizeBytes: number): Promise<void> {
    const volume = this.#volume(volumeId);
    volume.sizeBytes = Math.max(volume.sizeBytes, sizeBytes);
  }

  async snapshot(volumeId: string, snapshotId: string): Promise<void> {
    const volume = this.#volume(volumeId);
    if (!volume.snapshots.has(snapshotId)) volume.snapshots.set(snapshotId, [...volume.words]);
    this.#options.fabric.volumes.kept(volumeId, snapshotId);
  }

  async deleteSnapshot(volumeId: string, snapshotId: string): Promise<void> {
    this.#volume(volumeId).snapshots.delete(snapshotId);
  }

  async rewrite(volumeId: string, content: RewriteVolumeRequest['content']): Promise<void> {
    const source = content.kind === 'image' ? content : ({ ...content, volumeId } as const);
    const words = this.#contentOf(volumeId, source);
    const volume = this.#volume(volumeId);
    volume.words.splice(0, volume.words.length, ...words);
    this.#options.fabric.volumes.rewritten(volumeId, content.kind === 'image' ? null : content.snapshotId);
  }

  async upload(
    volumeId: string,
    { format, url }: Omit<UploadVolumeRequest, 'generation'>,
    job: JobControl,
  ): Promise<void> {
    const { words, sizeBytes } = this.#volume(volumeId);
    const raw = rawDisk(words);
    const bytes = format === 'raw' ? raw : qcow2Disk(raw, sizeBytes);
    const { send, secret = '' } = this.#options;
    if (send) await send(url, bytes);
    else await sendBytes(Readable.from([bytes]), { url, secret, sizeBytes: bytes.length, signal: job.signal });
  }

  async serve(volumeId: string, grants: readonly Grant[], port: number | null): Promise<Place | null> {
    const volume = this.#volumes.get(volumeId);
    if (!volume) return null;
    const { fabric, host } = this.#options;
    const wanted = new Set(grants.map(({ exportName }) => exportName));
    for (const name of volume.open) if (!wanted.has(name)) fabric.volumes.shut(name);
    volume.open = [...wanted];
    if (grants.length === 0) return null;
    volume.port ??= port ?? this.#nextPort++;
    for (const { serverId, exportName, user, key, mode } of grants) {
      const connection: VolumeOverNbd = {
        ...{ kind: 'nbd', host, port: volume.port, exportName, user, key, mode, sizeBytes: volume.sizeBytes },
      };
      fabric.volumes.serve(serverId, connection, volume);
    }
    return { host, port: volume.port };
  }

  async space(): Promise<{ totalBytes: number; freeBytes: number }> {
    let used = 0;
    for (const { sizeBytes } of this.#volumes.values()) used += sizeBytes;
    return { totalBytes: TOTAL_BYTES, freeBytes: Math.max(0, TOTAL_BYTES - used) };
  }

  async close(): Promise<void> {
    // Volumes go on being served, as real ones do by their daemons.
  }

  /** Nobody reaches any volume until the host is opened again: the machine is down, not only its agent. */
  unplug(): void {
    for (const volume of this.#volumes.values()) {
      for (const exportName of volume.open) this.#options.fabric.volumes.shut(exportName);
      volume.open = [];
    }
  }

  /** What is on the volume, for the invariants of a simulation; null when there is none. */
  words(volumeId: string): readonly string[] | null {
    return this.#volumes.get(volumeId)?.words ?? null;
  }

  #keep(volumeId: string, words: string[], sizeBytes: number): void {
    this.#volumes.set(volumeId, { volumeId, words, sizeBytes, snapshots: new Map(), open: [], port: null });
  }

  #contentOf(volumeId: string, source: VolumeSource): string[] {
    switch (source.kind) {
      case 'blank':
        return [`volume ${volumeId}, blank`];
      case 'image':
        return [`volume ${volumeId} of image ${source.image.sha256}`];
      case 'volume':
        return [...this.#volume(source.volumeId).words];
      case 'snapshot': {
        const words = this.#volume(source.volumeId).snapshots.get(source.snapshotId);
        invariant(words, 'the agent knows that the snapshot is there');
        return [...words];
      }
      default:
        return assertNever(source);
    }
  }

  #volume(volumeId: string): Kept {
    const volume = this.#volumes.get(volumeId);
    invariant(volume, 'the agent knows that the volume is there');
    return volume;
  }
}
