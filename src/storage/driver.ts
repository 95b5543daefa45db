// The port between the storage agent, which keeps records and rules, and whatever keeps and serves volumes
// (qemu-storage-daemon, or a simulation).
//
// Theory of operation. A driver owns files, daemons and exports and knows nothing of generations. The agent calls it for
// one volume at a time, except that several makes may read one source. Every effect may be repeated. What somebody may
// reach is told as a whole: `serve` makes the volume's exports and keys exactly what the grants say, from whatever they
// were, which is also how a restart finds its way back.
import type { JobControl } from '../host/hypervisor.ts';
import type { CreateVolumeRequest, RewriteVolumeRequest, UploadVolumeRequest } from './contract.ts';
import type { Grant, VolumeBody } from './records.ts';

/** All methods reject with HypervisorError for expected failures. */
export interface StorageDriver {
  readonly name: string;
  /**
   * Called once, before anything else, with every volume on record: drop half-made ones. Those that are not on record are
   * served no longer, and their files stay.
   */
  recover(volumes: ReadonlyMap<string, VolumeBody>): Promise<void>;
  /** Ids of the volumes that have files here, on record or not. */
  kept(): Promise<string[]>;
  /** What a volume's files take here; null: it has none. */
  bytesOf(volumeId: string): Promise<number | null>;
  /** Names of the files that this volume, which is whole, must have and does not. */
  missing(volumeId: string): Promise<string[]>;
  /** Paths below the state directory that belong to no volume that has files here. */
  strays(): Promise<string[]>;
  /** Makes the volume with its content. Leaves nothing when it fails. */
  make(volumeId: string, request: Omit<CreateVolumeRequest, 'generation'>, job: JobControl): Promise<void>;
  /** Deletes all of it, snapshots too. Nobody is served. */
  remove(volumeId: string): Promise<void>;
  /** Grows the volume to `sizeBytes` at least; who is served goes on being served. */
  grow(volumeId: string, sizeBytes: number): Promise<void>;
  snapshot(volumeId: string, snapshotId: string): Promise<void>;
  deleteSnapshot(volumeId: string, snapshotId: string): Promise<void>;
  /** Writes the volume anew, which nobody uses, from an image or a snapshot of it. */
  rewrite(volumeId: string, content: RewriteVolumeRequest['content'], job: JobControl): Promise<void>;
  /** Sends what the volume holds now, which somebody may be using. Leaves nothing behind, whatever comes of it. */
  upload(volumeId: string, upload: Omit<UploadVolumeRequest, 'generation'>, job: JobControl): Promise<void>;
  /**
   * Lets in exactly these, and resolves when everybody else is out: connections closed, keys worth nothing. `port`: the
   * one the volume had before. Returns where it is served; the port stays the same as long as somebody has a grant. Where
   * that fails for a volume that had a port, it is tried again until it succeeds, or nobody has a grant.
   */
  serve(volumeId: string, grants: readonly Grant[], port: number | null): Promise<Place | null>;
  space(): Promise<{ readonly totalBytes: number; readonly freeBytes: number }>;
  /** Lets go of everything; volumes go on being served. */
  close(): Promise<void>;
}

/** Where guests reach a volume; null: nobody has a grant, so nowhere. */
export interface Place {
  readonly host: string;
  readonly port: number;
}
