// Volume attachments as sagas and the volume service see them. The database alone: who has access in fact is the storage
// host's to say (storage/contract.ts), and each saga brings it about.
//
// Theory of operation. A server has at most one attachment of a volume per compute host, and at most one of these is
// active (a unique partial index): where the volume is, or is about to be, plugged in. A move adds inactive ones on its
// target (reserve), turns activity over (activate) and takes those of the host that was left away (drop):
// attachment-hosts.ts.
//   none ── claim ──> active, attached_at null ── settle ──> active, attached ── release ──> none
//   active ── set aside: active at NOWHERE ──> active on a host again (a shelved server that was offloaded)
//   none ── reserve ──> inactive ── activate ──> active ── activate on another host ──> inactive ── drop ──> none
// A volume's status follows from its attachments (model/attachments.ts) whenever these change. While a storage host that
// is down owes that a server's access ends (an open debt `revoke-volume`), the attachment stays, inactive, and the volume
// is `detaching`: nobody else can have it until the access is known to have ended.
// Writers hold a transaction in which they own their saga (moves/fencing.ts): that is what keeps an overtaken one out.
// `generation` is written for people and for the auditor. Two servers' sagas race for a volume by its row, which a claim
// locks.
import type { Kysely, Transaction } from 'kysely';
import { newId } from '../../lib/ids.ts';
import { type AttachmentState, checkClaim, checkDetach, statusByAttachments } from '../../model/attachments.ts';
import type { Refusal } from '../../model/types.ts';
import { forUpdate, isAmong } from '../../store/dialect.ts';
import { fixed } from '../../store/fixed.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { isForgotten } from './lost-storage.ts';

/** Host of the active attachment (or port binding) of a server that is on no host: nobody else can have it. */
export const NOWHERE = '';

export interface Attachment {
  readonly id: string;
  readonly volumeId: string;
  /** Name of the storage host that keeps the volume. */
  readonly storageHost: string;
  readonly serverId: string;
  /** Compute host. */
  readonly host: string;
  readonly active: boolean;
  readonly mode: 'rw' | 'ro';
  readonly generation: number;
  readonly createdAt: number;
  /** When the server got it, ms since epoch; null: it is about to. */
  readonly attachedAt: number | null;
  readonly volumeStatus: string;
  readonly sizeGb: number;
  readonly multiattach: boolean;
}

const attachments = (db: Kysely<GlobalTables>) =>
  db
    .selectFrom('volume_attachments as a')
    .innerJoin('volumes as v', 'v.id', 'a.volume_id')
    .select(['a.id', 'a.volume_id', 'a.server_id', 'a.host', 'a.active', 'a.mode', 'a.generation', 'a.created_at'])
    .select(['a.attached_at', 'v.storage_host', 'v.status', 'v.size_gb', 'v.multiattach'])
    .orderBy('a.created_at')
    .orderBy('a.id');

type AttachmentRow = Awaited<ReturnType<ReturnType<typeof attachments>['execute']>>[number];

const attachmentOf = (row: AttachmentRow): Attachment => ({
  id: row.id,
  volumeId: row.volume_id,
  storageHost: row.storage_host,
  serverId: row.server_id,
  host: row.host,
  active: row.active === 1,
  mode: row.mode === 'ro' ? 'ro' : 'rw',
  generation: row.generation,
  createdAt: row.created_at,
  attachedAt: row.attached_at,
  volumeStatus: row.status,
  sizeGb: row.size_gb,
  multiattach: row.multiattach === 1,
});

const OF_SERVER = fixed<GlobalTables, { readonly serverId: string }, AttachmentRow>((db, { serverId }) =>
  attachments(db).where('a.server_id', '=', serverId),
);

/** The server's attachments on all hosts, oldest first. One statement. */
export const attachmentsOfServer = async (db: Kysely<GlobalTables>, serverId: string): Promise<Attachment[]> =>
  (await OF_SERVER(db, { serverId })).rows.map(attachmentOf);

/** The volume's attachments, of all servers on all hosts. One statement. */
export const attachmentsOfVolume = async (db: Kysely<GlobalTables>, volumeId: string): Promise<Attachment[]> =>
  (await attachmentsOfVolumes(db, [volumeId])).get(volumeId) ?? [];

/** The same for many volumes in one statement, by volume id; volumes without attachments are not in the map. */
export async function attachmentsOfVolumes(
  db: Kysely<GlobalTables>,
  volumeIds: readonly string[],
): Promise<Map<string, Attachment[]>> {
  const byVolume = new Map<string, Attachment[]>();
  if (volumeIds.length === 0) return byVolume;
  for (const row of await attachments(db)
    .where(isAmong(db, 'a.volume_id', volumeIds))
    .execute()) {
    const found = byVolume.get(row.volume_id);
    if (found) found.push(attachmentOf(row));
    else byVolume.set(row.volume_id, [attachmentOf(row)]);
  }
  return byVolume;
}

/** Names of the storage hosts that keep volumes of the server. One statement. */
export async function storageHostsOf(db: Kysely<GlobalTables>, serverId: string): Promise<string[]> {
  const rows = await db
    .selectFrom('volume_attachments as a')
    .innerJoin('volumes as v', 'v.id', 'a.volume_id')
    .select('v.storage_host')
    .distinct()
    .where('a.server_id', '=', serverId)
    .execute();
  return rows.map((row) => row.storage_host);
}

type Trx = Transaction<GlobalTables>;

export interface Claim {
  readonly volumeId: string;
  readonly serverId: string;
  readonly projectId: string;
  /** Where the server is. */
  readonly host: string;
  /** Where it may yet go back to: the source of a resize that waits to be confirmed. */
  readonly sourceHost: string | null;
  readonly mode: 'rw' | 'ro';
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/**
 * The server is about to have the volume, and nobody else can (but for multiattach).
 * Refused: 404 when the project has no such volume, 400 when it is not free.
 */
export async function claimVolume(trx: Trx, claim: Claim): Promise<Refusal | null> {
  const volume = await lockedVolume(trx, claim.volumeId);
  const refusal = checkClaim(volume, volume?.attachments ?? [], claim);
  if (refusal) return refusal;
  await insertClaim(trx, claim);
  await settleStatus(trx, [claim.volumeId], claim.now);
  return null;
}

/** The same of a volume that is only made for the server: it stays `creating` until it is. */
export async function claimNewVolume(trx: Trx, claim: Claim): Promise<void> {
  await insertClaim(trx, claim);
}

async function insertClaim(trx: Trx, claim: Claim): Promise<void> {
  const common = {
    ...{ volume_id: claim.volumeId, server_id: claim.serverId, mode: claim.mode, generation: 0 },
    ...{ created_at: claim.now, attached_at: null },
  };
  const rows = [{ ...common, id: newId(), host: claim.host, active: 1 }];
  if (claim.sourceHost !== null) rows.push({ ...common, id: newId(), host: claim.sourceHost, active: 0 });
  await trx.insertInto('volume_attachments').values(rows).execute();
}

/**
 * The server is to be parted from the volume: its status says so until it is (release), or stays (settle).
 * Refused: 404 when the server does not have it, 400 when it boots from it or when it is not at rest.
 */
export async function beginDetach(
  trx: Trx,
  ids: { readonly volumeId: string; readonly serverId: string; readonly now: number },
  mapping: { readonly bootIndex: number | null } | null,
): Promise<Refusal | null> {
  const volume = await lockedVolume(trx, ids.volumeId);
  const has = volume?.attachments.some((each) => each.serverId === ids.serverId) ?? false;
  const isLost = volume?.status === 'error' && (await isForgotten(trx, volume.storageHost));
  const refusal = checkDetach(has && volume ? volume.status : null, mapping, { ...ids, isLost });
  // One that is lost stays in error, whoever has it.
  if (refusal || isLost) return refusal;
  await trx
    .updateTable('volumes')
    .set({ status: 'detaching', updated_at: ids.now })
    .where('id', '=', ids.volumeId)
    .execute();
  return null;
}

/** The server has the volumes: they are in use. */
export async function settleVolumes(
  trx: Trx,
  serverId: string,
  volumeIds: readonly string[],
  generation: number,
  now: number,
): Promise<void> {
  if (volumeIds.length === 0) return;
  await trx
    .updateTable('volume_attachments')
    .set({ attached_at: now, generation })
    .where('server_id', '=', serverId)
    .where('volume_id', 'in', volumeIds)
    .where('attached_at', 'is', null)
    .execute();
  await settleStatus(trx, volumeIds, now);
}

/**
 * The server has none of these volumes any more, on no host, and whoever else wants them may have them; those whose
 * storage host still owes that the access has ended stay `detaching`.
 */
export async function releaseVolumes(
  trx: Trx,
  serverId: string,
  volumeIds: readonly string[],
  now: number,
): Promise<void> {
  if (volumeIds.length === 0) return;
  const owed = await trx
    .selectFrom('debts')
    .select('volume_id')
    .where('server_id', '=', serverId)
    .where('kind', '=', 'revoke-volume')
    .where('paid_at', 'is', null)
    .execute();
  const kept = new Set(owed.map((debt) => debt.volume_id));
  const free = volumeIds.filter((id) => !kept.has(id));
  const still = volumeIds.filter((id) => kept.has(id));
  await forgetAttachments(trx, serverId, free, now);
  if (still.length === 0) return;
  await trx
    .updateTable('volume_attachments')
    .set({ active: 0 })
    .where('server_id', '=', serverId)
    .where('volume_id', 'in', still)
    .execute();
  await trx
    .updateTable('volumes')
    .set({ status: 'detaching', updated_at: now })
    .where('id', 'in', still)
    .where('status', 'in', ['reserved', 'attaching', 'in-use'])
    .execute();
}

/** The same of volumes to which the server's access is known to have ended. */
export async function forgetAttachments(
  trx: Trx,
  serverId: string,
  volumeIds: readonly string[],
  now: number,
): Promise<void> {
  if (volumeIds.length === 0) return;
  await trx
    .deleteFrom('volume_attachments')
    .where('server_id', '=', serverId)
    .where('volume_id', 'in', volumeIds)
    .execute();
  await settleStatus(trx, volumeIds, now);
}

interface LockedVolume {
  readonly id: string;
  readonly storageHost: string;
  readonly projectId: string;
  readonly status: string;
  readonly multiattach: boolean;
  readonly attachments: readonly AttachmentState[];
}

/** The volume with its attachments; nobody else changes either before the transaction ends. */
async function lockedVolume(trx: Trx, volumeId: string): Promise<LockedVolume | null> {
  const row = await trx
    .selectFrom('volumes')
    .select(['id', 'project_id', 'status', 'multiattach', 'storage_host'])
    .where('id', '=', volumeId)
    .modifyEnd(forUpdate(trx))
    .executeTakeFirst();
  if (!row) return null;
  const { id, status, storage_host: storageHost } = row;
  const states = await statesOf(trx, volumeId);
  return {
    id,
    storageHost,
    projectId: row.project_id,
    status,
    multiattach: row.multiattach === 1,
    attachments: states,
  };
}

async function statesOf(trx: Trx, volumeId: string): Promise<AttachmentState[]> {
  const rows = await trx
    .selectFrom('volume_attachments')
    .select(['server_id', 'attached_at'])
    .where('volume_id', '=', volumeId)
    .execute();
  return rows.map((row) => ({ serverId: row.server_id, attached: row.attached_at !== null }));
}

/** The volumes' statuses are what their attachments say, where nothing else is going on with them. */
export async function settleStatus(trx: Trx, volumeIds: readonly string[], now: number): Promise<void> {
  // In one order for all callers: two of them never wait for each other.
  for (const id of volumeIds.toSorted()) {
    const volume = await lockedVolume(trx, id);
    if (!volume) continue;
    const status = statusByAttachments(volume.status, volume.attachments);
    if (status === volume.status) continue;
    await trx.updateTable('volumes').set({ status, updated_at: now }).where('id', '=', id).execute();
  }
}
