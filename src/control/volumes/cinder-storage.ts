// A Cinder as the sagas see it: a storage host.
//
// Theory of operation. Granting opens an attachment in Cinder, connects it from the compute host that the ledger has for
// it, and answers how the guest reaches the volume; revoking deletes it. Both look first and may be repeated. Generations
// are compared on record, for Cinder knows none (cinder-attachments.ts). Volumes are made, grown and kept in snapshots in
// Cinder, by its own users: here those are refused. Deleting is there, for volumes that go with their server; one that
// Cinder does not let go stays there, its owner's.
// What a revoke is worth depends on Cinder's backend: a file on a share can be written by whoever has it open. The moves do
// not rely on it: a guest is off before another gets its volumes.
import type { Job, Reply, VolumeConnection } from '../../host/contract.ts';
import { GIB } from '../../model/volumes.ts';
import { type Cinder, CinderRefused } from '../../openstack/cinder.ts';
import { ServiceDown } from '../../openstack/transport.ts';
import type { GrantRequest, StorageHeartbeat, StorageHost, StoredVolume } from '../../storage/contract.ts';
import type { Platform } from '../platform.ts';
import {
  close,
  enter,
  forget,
  forsaken,
  HOLD,
  type Key,
  open,
  openRow,
  rowsOf,
  writeConnection,
} from './cinder-attachments.ts';
import { connectionOf } from './cinder-connection.ts';
import { CINDER } from './service.ts';

const NOTHING = {};
const DONE: Reply<Job> = { kind: 'ok', value: { state: 'done', doneBytes: 0, totalBytes: 0 } };
const PENDING: Reply<Job> = { kind: 'ok', value: { state: 'pending', doneBytes: 0, totalBytes: 0 } };
const MOST_ROWS = 10_000;

export function cinderStorage(p: Platform, cinder: Cinder): StorageHost {
  const elsewhere = async (): Promise<Reply<never>> =>
    refused('volumes are made, grown and kept in snapshots in Cinder');

  return {
    async describe() {
      return { kind: 'ok', value: { name: CINDER, driver: CINDER, totalBytes: 0, freeBytes: 0 } };
    },
    // Whose they are, Cinder knows.
    files: async () => ({ kind: 'ok', value: { missing: [], strays: [] } }),
    heartbeat: () => answering(async () => beat(p, cinder)),
    volume: (volumeId) =>
      answering(async (): Promise<Reply<StoredVolume>> => {
        const found = await cinder.volume(volumeId);
        if (!found) return { kind: 'absent' };
        const known = (await stored(p)).find((each) => each.volumeId === volumeId);
        const bare = { volumeId, generation: 1, sizeBytes: found.size * GIB, snapshots: [], busy: false, grants: [] };
        return { kind: 'ok', value: known ?? bare };
      }),
    fence: (serverId, { generation }) => fenced(p, serverId, generation, async () => ({ kind: 'ok', value: NOTHING })),
    fenceVolume: elsewhere,
    create: elsewhere,
    extend: elsewhere,
    snapshot: elsewhere,
    deleteSnapshot: elsewhere,
    rewrite: elsewhere,
    upload: elsewhere,
    endUpload: elsewhere,
    delete: (volumeId) => answering(() => remove(p, cinder, volumeId)),
    grant: (volumeId, attachmentId, request) =>
      fenced(p, request.serverId, request.generation, () => grant(p, cinder, { volumeId, attachmentId, ...request })),
    revoke: (volumeId, attachmentId, { serverId, generation }) =>
      fenced(p, serverId, generation, () => revoke(p, cinder, { volumeId, attachmentId, serverId })),
  };
}

const refused = (reason: string): Reply<never> => ({ kind: 'refused', reason });

/** What keeps an answer from coming is one. */
async function answering<T>(work: () => Promise<Reply<T>>): Promise<Reply<T>> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ServiceDown) return { kind: 'unreachable', reason: error.message };
    if (error instanceof CinderRefused) return refused(error.message);
    throw error;
  }
}

/** Not for who is older than what was seen of the server. */
async function fenced<T>(
  p: Platform,
  serverId: string,
  generation: number,
  work: () => Promise<Reply<T>>,
): Promise<Reply<T>> {
  const highest = await enter(p.stores.global, serverId, generation);
  return highest > generation ? { kind: 'fenced', generation: highest } : answering(work);
}

type Grant = GrantRequest & { readonly volumeId: string; readonly attachmentId: string };

async function grant(p: Platform, cinder: Cinder, wish: Grant): Promise<Reply<VolumeConnection>> {
  const { volumeId, attachmentId, serverId, generation, mode } = wish;
  const db = p.stores.global;
  const place = await placeOf(p, wish);
  if (place === null) return refused(`the server has no attachment ${attachmentId}`);
  const known = (await openRow(db, wish))?.connection ?? null;
  if (known) return { kind: 'ok', value: { ...known, sizeBytes: place.sizeBytes } };
  const others = (await rowsOf(db, serverId, false)).filter(
    (row) => row.volumeId === volumeId && ![HOLD, attachmentId].includes(row.attachmentId),
  );
  if (others.length > 0) return refused('another attachment of the server has access');
  const held = await open(p, cinder, { volumeId, serverId, attachmentId: HOLD }, { generation, mode });
  if (held.kind === 'refused') return refused(`Cinder: ${held.message}`);
  const opened = await open(p, cinder, wish, { generation, mode });
  if (opened.kind === 'refused') return refused(`Cinder: ${opened.message}`);
  const id = opened.body;
  const info = await connected(p, cinder, wish, id, place.host);
  if (typeof info === 'string') return refused(info);
  const connection = connectionOf(info, { mode, sizeBytes: place.sizeBytes });
  if (connection.kind === 'refused') return refused(connection.reason);
  const completed = await cinder.complete(id);
  if (completed.kind === 'refused') return refused(`Cinder: ${completed.message}`);
  if (await writeConnection(db, id, connection.connection)) return { kind: 'ok', value: connection.connection };
  return { kind: 'unreachable', reason: 'the attachment was closed meanwhile' };
}

/** Also of rows that are going already: what of them is gone is not known. */
async function revoke(p: Platform, cinder: Cinder, key: Key): Promise<Reply<Record<string, never>>> {
  const { global } = p.stores;
  for (const row of [...(await rowsOf(global, key.serverId, false)), ...(await rowsOf(global, key.serverId, true))]) {
    if (row.volumeId === key.volumeId && row.attachmentId === key.attachmentId) await close(p, cinder, row);
  }
  return { kind: 'ok', value: NOTHING };
}

/** What Cinder says of the connection, which it makes unless it has; a sentence when it refuses. */
async function connected(
  p: Platform,
  cinder: Cinder,
  key: Grant,
  id: string,
  host: string,
): Promise<Readonly<Record<string, unknown>> | string> {
  const there = await cinder.attachment(id);
  if (there === null) {
    // Deleted in Cinder, by hand: the next attempt opens another.
    const row = await openRow(p.stores.global, key);
    if (row?.cinderId === id) await forget(p.stores.global, row.id);
    throw new ServiceDown(`attachment ${id} is not in Cinder any more`);
  }
  if (there.connection_info && 'driver_volume_type' in there.connection_info) return there.connection_info;
  const said = await cinder.connect(id, host, key.mode);
  return said.kind === 'refused' ? `Cinder: ${said.message}` : (said.body.connection_info ?? {});
}

/** The compute host of the ledger's attachment, and the volume's size; null: there is no such attachment. */
async function placeOf(p: Platform, { attachmentId, volumeId, serverId }: Grant) {
  const row = await p.stores.global
    .selectFrom('volume_attachments as a')
    .innerJoin('volumes as v', 'v.id', 'a.volume_id')
    .select(['a.host', 'v.size_gb'])
    .where('a.id', '=', attachmentId)
    .where('a.volume_id', '=', volumeId)
    .where('a.server_id', '=', serverId)
    .executeTakeFirst();
  return row ? { host: row.host, sizeBytes: row.size_gb * GIB } : null;
}

/** Of no generation: only who has nothing else to do with a volume any more deletes it. */
async function remove(p: Platform, cinder: Cinder, volumeId: string): Promise<Reply<Job>> {
  for (const row of await forsaken(p.stores.global, p.clock.now(), MOST_ROWS)) {
    if (row.volumeId === volumeId) await close(p, cinder, row);
  }
  const volume = await cinder.volume(volumeId);
  if (volume === null) return DONE;
  if (volume.status === 'deleting') return PENDING;
  const said = volume.status === 'error_deleting' ? null : await cinder.deleteVolume(volumeId);
  if (said?.kind === 'ok') return PENDING;
  // As Nova does: it has snapshots there, or somebody else has it. Its owner sees it and can delete it.
  p.log.warn(
    { volumeId, status: volume.status },
    `Cinder keeps a volume that was to go with its server: ${said?.message}`,
  );
  return DONE;
}

async function beat(p: Platform, cinder: Cinder): Promise<Reply<StorageHeartbeat>> {
  await cinder.ping();
  const value = { agentId: CINDER, now: p.clock.now(), freeBytes: 0, volumes: await stored(p), remains: [] };
  return { kind: 'ok', value };
}

/** As it is on record: asking Cinder for each would take too long. */
async function stored(p: Platform): Promise<StoredVolume[]> {
  const db = p.stores.global;
  const volumes = await db
    .selectFrom('volumes')
    .select(['id', 'generation', 'size_gb'])
    .where('storage_host', '=', CINDER)
    .limit(MOST_ROWS)
    .execute();
  const open = await db
    .selectFrom('cinder_attachments as c')
    .innerJoin('volume_attachments as a', 'a.id', 'c.attachment_id')
    .select(['c.volume_id', 'c.attachment_id', 'c.server_id', 'c.generation', 'a.mode'])
    .where('c.going', '=', 0)
    .where('c.cinder_id', 'is not', null)
    .execute();
  const grants = Map.groupBy(open, (row) => row.volume_id);
  return volumes.map(({ id, generation, size_gb }) => ({
    ...{ volumeId: id, generation: Math.max(1, generation), sizeBytes: size_gb * GIB, snapshots: [], busy: false },
    grants: (grants.get(id) ?? []).map((row) => ({
      ...{ attachmentId: row.attachment_id, serverId: row.server_id, generation: Math.max(1, row.generation) },
      mode: row.mode === 'ro' ? ('ro' as const) : ('rw' as const),
    })),
  }));
}
