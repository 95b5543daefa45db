// What the tests of storage hosts share.
import type { Reply, VolumeConnection, VolumeOverNbd } from '../host/contract.ts';
import { GIB, value } from '../host/test-support.ts';
import type { StorageHost } from './contract.ts';

const id = (end: string): string => `00000000-0000-4000-8000-${end.padStart(12, '0')}`;

export const VOLUME_ID = id('a1');
export const OTHER_VOLUME = id('a2');
export const SNAPSHOT_ID = id('b1');
export const ATTACHMENT = id('c1');
export const OTHER_ATTACHMENT = id('c2');
export const SERVER_ID = id('d1');
export const OTHER_SERVER_ID = id('d2');

const URL = 'http://127.0.0.1:9/image';

/** Every call that carries a volume's generation. */
export const VOLUME_CALLS: Record<string, (host: StorageHost, generation: number) => Promise<Reply<unknown>>> = {
  fenceVolume: (host, generation) => host.fenceVolume(VOLUME_ID, { generation }),
  create: (host, generation) => host.create(VOLUME_ID, { generation, sizeBytes: GIB, source: { kind: 'blank' } }),
  extend: (host, generation) => host.extend(VOLUME_ID, { generation, sizeBytes: 2 * GIB }),
  snapshot: (host, generation) => host.snapshot(VOLUME_ID, SNAPSHOT_ID, { generation }),
  deleteSnapshot: (host, generation) => host.deleteSnapshot(VOLUME_ID, SNAPSHOT_ID, { generation }),
  rewrite: (host, generation) =>
    host.rewrite(VOLUME_ID, { generation, content: { kind: 'snapshot', snapshotId: SNAPSHOT_ID } }),
  upload: (host, generation) => host.upload(VOLUME_ID, { generation, uploadId: SNAPSHOT_ID, format: 'raw', url: URL }),
  endUpload: (host, generation) => host.endUpload(VOLUME_ID, { generation }),
  delete: (host, generation) => host.delete(VOLUME_ID, { generation }),
};

/** Every call that carries a server's. */
export const SERVER_CALLS: Record<string, (host: StorageHost, generation: number) => Promise<Reply<unknown>>> = {
  fence: (host, generation) => host.fence(SERVER_ID, { generation }),
  grant: (host, generation) => host.grant(VOLUME_ID, ATTACHMENT, { serverId: SERVER_ID, generation, mode: 'rw' }),
  revoke: (host, generation) => host.revoke(VOLUME_ID, ATTACHMENT, { serverId: SERVER_ID, generation }),
};

/** The connection of a reply that must be ok, as storage hosts give it. */
export function overNbd(reply: Reply<VolumeConnection>): VolumeOverNbd {
  const connection = value(reply);
  if (connection.kind !== 'nbd') throw new Error('storage hosts serve volumes over NBD');
  return connection;
}
