// How simulated guests reach simulated volumes: the part of the fabric that stands for NBD, TLS and keys.
//
// Theory of operation. A simulated storage host serves a volume's words under a connection; a guest that shows the same
// connection, key included, gets to them, as long as it is served. Guests ask again at every write, so a connection that
// was shut is shut for a running guest too, at once. Words tell who wrote, where and by which attachment, in order:
// what a digest is for a root disk, this journal is for a volume. It also sees who could write at once, as nobody in a
// real network can, and remembers apart from the volumes what has been written to each.
// A file on a share is open to whoever names it, as on an NFS server that knows nothing of attachments.
import type { VolumeConnection, VolumeOverNbd } from './contract.ts';

export interface SimulatedVolume {
  readonly volumeId: string;
  /** What has been written, oldest first. */
  readonly words: string[];
}

interface Served {
  readonly serverId: string;
  readonly connection: VolumeOverNbd;
  readonly volume: SimulatedVolume;
}

/** A volume was open for writing to more than one attachment at once. */
export interface OpenToMany {
  readonly volumeId: string;
  /** Whose attachments they were; one server twice, when two were its. */
  readonly servers: readonly string[];
}

export class SimulatedVolumes {
  readonly #served = new Map<string, Served>();
  readonly #onShares = new Map<string, SimulatedVolume>();
  readonly #written = new Map<string, string[]>();
  /** What had been written when a volume was last kept as a snapshot, and by the snapshot's id. */
  readonly #kept = new Map<string, Map<string, readonly string[]>>();
  /** What tells guests that a volume is kept. */
  readonly #guests: ((volumeId: string) => void)[] = [];
  /** Grows with each snapshot and with each time that a guest is at work on a volume. */
  #moment = 0;
  /** When each snapshot was taken. */
  readonly #keptAt = new Map<string, number>();
  /** When a guest was at work on each volume. */
  readonly #workedAt = new Map<string, number[]>();
  readonly #overwritten: string[] = [];
  readonly #openToMany: OpenToMany[] = [];

  serve(serverId: string, connection: VolumeOverNbd, volume: SimulatedVolume): void {
    if (!this.#served.has(connection.exportName) && connection.mode === 'rw') this.#noteOthers(serverId, volume);
    this.#served.set(connection.exportName, { serverId, connection, volume });
  }

  shut(exportName: string): void {
    this.#served.delete(exportName);
  }

  /** The volume behind this connection; null when nobody serves it, or not with this key. */
  reach(connection: VolumeConnection): SimulatedVolume | null {
    if (connection.kind === 'share') return this.#onShare(`${connection.share}/${connection.file}`);
    const served = this.#served.get(connection.exportName);
    if (!served) return null;
    const { host, port, user, key } = served.connection;
    const right =
      connection.host === host && connection.port === port && connection.user === user && connection.key === key;
    return right ? served.volume : null;
  }

  /** Like reach, for somebody who wants to write. */
  reachToWrite(connection: VolumeConnection): SimulatedVolume | null {
    if (connection.kind === 'share') return connection.mode === 'rw' ? this.reach(connection) : null;
    const mode = this.#served.get(connection.exportName)?.connection.mode;
    return mode === 'rw' && connection.mode === 'rw' ? this.reach(connection) : null;
  }

  /** Writes, if this connection may; else the word is lost, and its writer waits. */
  write(connection: VolumeConnection, word: string): void {
    const volume = this.reachToWrite(connection);
    if (volume === null) return;
    volume.words.push(word);
    const written = this.#written.get(volume.volumeId);
    if (written) written.push(word);
    else this.#written.set(volume.volumeId, [word]);
  }

  /** What guests have written to the volume since it was made, or made anew, oldest first: it has to be there. */
  writtenTo(volumeId: string): readonly string[] {
    return this.#written.get(volumeId) ?? [];
  }

  /** The volume, as it is now, is kept as this snapshot. */
  kept(volumeId: string, snapshotId: string): void {
    const snapshots = this.#kept.get(volumeId) ?? new Map<string, readonly string[]>();
    this.#kept.set(volumeId, snapshots);
    // The newest comes last.
    if (snapshots.has(snapshotId)) return;
    snapshots.set(snapshotId, [...this.writtenTo(volumeId)]);
    this.#moment += 1;
    this.#keptAt.set(snapshotId, this.#moment);
    for (const work of this.#guests) work(volumeId);
  }

  /** A guest that runs writes all the time. It matters when a volume of its is kept: `work` is called then. */
  onKept(work: (volumeId: string) => void): void {
    this.#guests.push(work);
  }

  /** A guest writes, if this connection may, what no check of a volume's words needs to know. */
  work(connection: VolumeConnection): void {
    const volume = this.reachToWrite(connection);
    if (volume === null) return;
    this.#moment += 1;
    const before = this.#workedAt.get(volume.volumeId);
    if (before) before.push(this.#moment);
    else this.#workedAt.set(volume.volumeId, [this.#moment]);
  }

  /** One of these volumes on which a guest was at work between the first and the last of these snapshots; null: none. */
  changedBetween(snapshotIds: readonly string[], volumeIds: readonly string[]): string | null {
    const kept = snapshotIds.flatMap((id) => this.#keptAt.get(id) ?? []);
    const isBetween = (moment: number): boolean => moment > Math.min(...kept) && moment < Math.max(...kept);
    return volumeIds.find((id) => this.#workedAt.get(id)?.some(isBetween)) ?? null;
  }

  /**
   * The volume was written anew: as it was when it was kept, or (null) from an image, which only what is kept may give
   * way to.
   */
  rewritten(volumeId: string, snapshotId: string | null): void {
    const [written, snapshots] = [this.writtenTo(volumeId), this.#kept.get(volumeId)];
    const last = [...(snapshots?.values() ?? [])].at(-1);
    if (snapshotId === null && written.length > 0 && written.length !== last?.length) this.#overwritten.push(volumeId);
    this.#written.set(volumeId, [...((snapshotId === null ? null : snapshots?.get(snapshotId)) ?? [])]);
  }

  /** Ids of volumes that were written anew although a guest had written to them since they were kept. */
  get overwritten(): readonly string[] {
    return this.#overwritten;
  }

  /** Each time that a volume was opened for writing while it was open to others, in order. */
  get openToMany(): readonly OpenToMany[] {
    return this.#openToMany;
  }

  #onShare(volumeId: string): SimulatedVolume {
    const known = this.#onShares.get(volumeId);
    if (known) return known;
    const volume = { volumeId, words: [] };
    this.#onShares.set(volumeId, volume);
    return volume;
  }

  #noteOthers(serverId: string, { volumeId }: SimulatedVolume): void {
    const others = [...this.#served.values()].filter(
      ({ volume, connection }) => volume.volumeId === volumeId && connection.mode === 'rw',
    );
    if (others.length === 0) return;
    this.#openToMany.push({ volumeId, servers: [...others.map((other) => other.serverId), serverId] });
  }
}
