// Transfers: a volume that is offered to whoever knows its key, and becomes theirs.
//
// Theory of operation. available → awaiting-transfer (offered) → available, of the other project (accepted) or of the same
// (the offer is taken back). While it is offered a volume has one transfer, and nothing else begins on it, for it is not
// available. Offering, accepting and taking back are one transaction each, under the lock of the volume's row; its snapshots
// go with it unless they were left out, and then stay their project's: the volume cannot be deleted while it has those. Quotas
// are counted from the rows, so they move with them; whoever accepts must have room.
// A transfer is its giver's to see. Whoever accepts proves by the key that it was meant: shown once, 128 bits at random,
// kept as a salted hash and compared in constant time. An accepted transfer is gone, as in Cinder.
// An administrator may say of an offered volume that it is something else (os-reset_status); then the transfer is worth
// nothing, and goes with the next one. Sentences: cinder/transfer/api.py.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Kysely, Selectable } from 'kysely';
import { isUuid, newId } from '../../lib/ids.ts';
import { badRequest, refuse } from '../../model/refusal.ts';
import { type Actor, isAdmin, type Refusal } from '../../model/types.ts';
import { checkVolumeSize } from '../../model/volume-quota.ts';
import { type Volume, volumeNotFound } from '../../model/volumes.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import type { Platform } from '../platform.ts';
import { claimVolumeQuota, volumeQuotaOf } from './quota.ts';
import { changeStatus, lockVolume } from './records.ts';

type Db = Kysely<GlobalTables>;
type Row = Selectable<GlobalTables['volume_transfers']>;

const KEY_BYTES = 16;
const SALT_BYTES = 16;
const MOST_LISTED = 10_000;

export interface Transfer {
  readonly id: string;
  readonly volumeId: string;
  readonly name: string | null;
  /** The project that offers it. */
  readonly projectId: string;
  readonly noSnapshots: boolean;
  readonly createdAt: number;
}

export const transferNotFound = (id: string): Refusal => refuse(404, `Transfer ${id} could not be found.`);
const invalidVolume = (reason: string): Refusal => badRequest(`Invalid volume: ${reason}`);
const invalidSnapshot = (reason: string): Refusal => badRequest(`Invalid snapshot: ${reason}`);

/** The transfer, if the actor may see it: of a volume of its project's, or anybody's for an administrator. Else 404. */
export async function transferFor(db: Db, actor: Actor, id: string): Promise<Transfer | Refusal> {
  const row = isUuid(id) ? await find(db, id) : undefined;
  if (!row || (row.project_id !== actor.projectId && !isAdmin(actor))) return transferNotFound(id.slice(0, 255));
  return transferOf(row);
}

/** Oldest first. @param projectId null: of all projects */
export async function listTransfers(db: Db, projectId: string | null, name?: string): Promise<Transfer[]> {
  let query = db.selectFrom('volume_transfers').selectAll().orderBy('created_at').orderBy('id').limit(MOST_LISTED);
  if (projectId !== null) query = query.where('project_id', '=', projectId);
  if (name !== undefined) query = query.where('name', '=', name);
  return (await query.execute()).map(transferOf);
}

/** Offers a volume that the actor may see, and answers the key with which it can be accepted. */
export async function offerVolume(
  p: Platform,
  volumeId: string,
  wish: { readonly name: string | null; readonly noSnapshots: boolean },
): Promise<{ readonly transfer: Transfer; readonly key: string } | Refusal> {
  return p.stores.global.transaction().execute(async (trx) => {
    const volume = await lockVolume(trx, volumeId);
    if (!volume) return volumeNotFound(volumeId);
    const now = p.clock.now();
    if (volume.status !== 'available') return invalidVolume('status must be available');
    const busy = wish.noSnapshots ? undefined : (await ownSnapshots(trx, volume)).find(isRestless);
    if (busy !== undefined) return invalidSnapshot(`snapshot: ${busy.id} status must be available`);
    await changeStatus(trx, volumeId, ['available'], { status: 'awaiting-transfer', updated_at: now });
    const [key, salt] = [randomBytes(KEY_BYTES).toString('hex'), randomBytes(SALT_BYTES).toString('hex')];
    const row: Row = {
      ...{ id: newId(), volume_id: volumeId, project_id: volume.projectId, name: wish.name, created_at: now },
      ...{ no_snapshots: wish.noSnapshots ? 1 : 0, salt, key_hash: hashOf(salt, key) },
    };
    // One that was left when the volume's status was set by hand.
    await trx.deleteFrom('volume_transfers').where('volume_id', '=', volumeId).execute();
    await trx.insertInto('volume_transfers').values(row).execute();
    return { transfer: transferOf(row), key };
  });
}

/** The volume is the actor's project's. */
export async function acceptTransfer(p: Platform, actor: Actor, id: string, key: string): Promise<Transfer | Refusal> {
  const offered = isUuid(id) ? await find(p.stores.global, id) : undefined;
  if (!offered) return transferNotFound(id.slice(0, 255));
  if (!isKey(offered, key)) return badRequest(`Invalid auth key: Attempt to transfer ${id} with invalid auth key.`);
  return p.stores.global.transaction().execute(async (trx) => {
    const volume = await lockVolume(trx, offered.volume_id);
    // Somebody else may have accepted it meanwhile.
    if (!volume || !(await find(trx, id))) return transferNotFound(id);
    const said = `Transfer ${id}: Volume id ${volume.id} expected in awaiting-transfer state.`;
    if (volume.status !== 'awaiting-transfer') return invalidVolume(said);
    const snapshots = offered.no_snapshots === 1 ? [] : await ownSnapshots(trx, volume);
    const busy = snapshots.find(isRestless);
    if (busy) return invalidSnapshot(`Transfer ${id}: Snapshot ${busy.id} is not in the expected available state.`);
    const over = await withoutRoom(p, trx, actor.projectId, volume.sizeGb, snapshots);
    if (over) return over;
    const owner = { project_id: actor.projectId, user_id: actor.userId, updated_at: p.clock.now() };
    await changeStatus(trx, volume.id, ['awaiting-transfer'], { ...owner, status: 'available' });
    if (snapshots.length > 0)
      await trx
        .updateTable('volume_snapshots')
        .set(owner)
        .where('volume_id', '=', volume.id)
        .where('project_id', '=', volume.projectId)
        .execute();
    await trx.deleteFrom('volume_transfers').where('id', '=', id).execute();
    return transferOf(offered);
  });
}

/** The offer is taken back. */
export async function endTransfer(p: Platform, { id, volumeId }: Transfer): Promise<Refusal | null> {
  return p.stores.global.transaction().execute(async (trx) => {
    await lockVolume(trx, volumeId);
    const gone = await trx.deleteFrom('volume_transfers').where('id', '=', id).returning('id').executeTakeFirst();
    if (!gone) return transferNotFound(id);
    await changeStatus(trx, volumeId, ['awaiting-transfer'], { status: 'available', updated_at: p.clock.now() });
    return null;
  });
}

const find = (db: Db, id: string): Promise<Row | undefined> =>
  db.selectFrom('volume_transfers').selectAll().where('id', '=', id).executeTakeFirst();

const hashOf = (salt: string, key: string): string => createHmac('sha256', salt).update(key).digest('hex');

const isKey = ({ salt, key_hash: hash }: Row, key: string): boolean =>
  timingSafeEqual(Buffer.from(hashOf(salt, key), 'hex'), Buffer.from(hash, 'hex'));

/** Those that another project has kept of it are not its owner's to give. */
const ownSnapshots = (trx: Db, { id, projectId }: Volume) =>
  trx
    .selectFrom('volume_snapshots')
    .select(['id', 'status', 'size_gb'])
    .where('volume_id', '=', id)
    .where('project_id', '=', projectId)
    .orderBy('created_at')
    .execute();

const isRestless = ({ status }: { readonly status: string }): boolean => status !== 'available';

/** Why the project can have no volume of this size with these snapshots; null: it can. */
async function withoutRoom(
  p: Platform,
  trx: Db,
  projectId: string,
  sizeGb: number,
  snapshots: readonly { readonly size_gb: number }[],
): Promise<Refusal | null> {
  const { limits } = await volumeQuotaOf(p, projectId, trx);
  const gigabytes = snapshots.reduce((sum, { size_gb }) => sum + size_gb, sizeGb);
  const wanted = { volumes: 1, snapshots: snapshots.length, gigabytes };
  return checkVolumeSize(limits, sizeGb) ?? claimVolumeQuota(p, trx, projectId, wanted);
}

const transferOf = (row: Row): Transfer => ({
  ...{ id: row.id, volumeId: row.volume_id, name: row.name, projectId: row.project_id },
  ...{ noSnapshots: row.no_snapshots === 1, createdAt: row.created_at },
});
