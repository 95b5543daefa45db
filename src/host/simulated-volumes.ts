// How simulated guests reach simulated volumes: the part of the fabric that stands for NBD, TLS and keys.
//
// Theory of operation. A simulated storage host serves a volume's words under a connection; a guest that shows the same
// connection, key included, gets to them, as long as it is served. Guests ask again at every write, so a connection that
// was shut is shut for a running guest too, at once. Words tell who wrote, where and by which attachment, in order:
// what a digest is for a root disk, this journal is for a volume.
import type { VolumeConnection } from './contract.ts';

export interface SimulatedVolume {
  readonly volumeId: string;
  /** What has been written, oldest first. */
  readonly words: string[];
}

export class SimulatedVolumes {
  readonly #served = new Map<string, { readonly connection: VolumeConnection; readonly volume: SimulatedVolume }>();

  serve(connection: VolumeConnection, volume: SimulatedVolume): void {
    this.#served.set(connection.exportName, { connection, volume });
  }

  shut(exportName: string): void {
    this.#served.delete(exportName);
  }

  /** The volume behind this connection; null when nobody serves it, or not with this key. */
  reach(connection: VolumeConnection): SimulatedVolume | null {
    const served = this.#served.get(connection.exportName);
    if (!served) return null;
    const { host, port, user, key } = served.connection;
    const right =
      connection.host === host && connection.port === port && connection.user === user && connection.key === key;
    return right ? served.volume : null;
  }

  /** Like reach, for somebody who wants to write. */
  reachToWrite(connection: VolumeConnection): SimulatedVolume | null {
    const mode = this.#served.get(connection.exportName)?.connection.mode;
    return mode === 'rw' && connection.mode === 'rw' ? this.reach(connection) : null;
  }
}
