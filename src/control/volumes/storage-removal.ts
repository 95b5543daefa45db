// How a storage host that will never return is forgotten.
//
// Theory of operation. One transaction says that it is forgotten, and that its volumes and their snapshots are in error, but
// for those that are being deleted; from then on lost-storage.ts answers for it. So what is owed there is settled by whoever
// pays debts (owed.ts): accesses have ended, deleted volumes are gone and count in no quota any more. Sagas that are under
// way on it end by themselves, too; what they say of a volume's status in the end finds it in error, and changes nothing.
// Servers keep their lost volumes on record until somebody detaches these or deletes the server: their data may be on a
// backup. Nothing is taken back when the host returns after all; an administrator may reset what is in error then.
import type { Kysely } from 'kysely';
import type { Actor, Refusal } from '../../model/types.ts';
import { exclusively, forUpdate } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { upAfter } from '../heartbeats.ts';
import { STORAGE_DEBTS } from '../owing.ts';
import type { Platform } from '../platform.ts';
import { isThere } from '../quarantine.ts';
import { CINDER } from './service.ts';

/** What was lost: clean-ups that were owed, and volumes and snapshots that are in error now. */
export interface LostStorage {
  readonly debts: number;
  readonly volumes: number;
  readonly snapshots: number;
}

type Forgotten =
  | { readonly kind: 'removed'; readonly left: LostStorage }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

const refused = (code: 404 | 409, message: string): Forgotten => ({ kind: 'refused', refusal: { code, message } });

/** Forgets a storage host that will never return, with all that it kept. 404 when there is none; 409 while it is up. */
export async function forgetStorageHost(p: Platform, actor: Actor, name: string): Promise<Forgotten> {
  const forgotten = await p.stores.global.transaction().execute(async (trx): Promise<Forgotten> => {
    await exclusively(trx, 'storage hosts');
    const host = await knownHost(trx, name);
    if (!host) return refused(404, `Storage host ${name} could not be found.`);
    if (host.last_seen_at !== null && host.last_seen_at > upAfter(p))
      return refused(409, `Storage host ${name} answers: it is there.`);
    const now = p.clock.now();
    await trx
      .updateTable('storage_hosts')
      .set({ forgotten_at: now, updated_at: now })
      .where('name', '=', name)
      .execute();
    // In one order for all callers: two of them never wait for each other.
    await trx
      .selectFrom('volumes')
      .select('id')
      .where('storage_host', '=', name)
      .orderBy('id')
      .modifyEnd(forUpdate(trx))
      .execute();
    const volumes = await trx
      .updateTable('volumes')
      .set({ status: 'error', updated_at: now })
      .where('storage_host', '=', name)
      .where('status', '<>', 'deleting')
      .executeTakeFirst();
    const snapshots = await trx
      .updateTable('volume_snapshots')
      .set({ status: 'error', updated_at: now })
      .where('volume_id', 'in', (from) => from.selectFrom('volumes').select('id').where('storage_host', '=', name))
      .where('status', '<>', 'deleting')
      .executeTakeFirst();
    const debts = await trx
      .updateTable('debts')
      .set({ due_at: now })
      .where('kind', 'in', STORAGE_DEBTS)
      .where('host', '=', name)
      .where('paid_at', 'is', null)
      .executeTakeFirst();
    await trx
      .updateTable('quarantine')
      .set({ ended_at: now, outcome: 'lost' })
      .where('kind', '=', 'volume')
      .where('host', '=', name)
      .where(isThere)
      .execute();
    const left = {
      ...{ debts: Number(debts.numUpdatedRows), volumes: Number(volumes.numUpdatedRows) },
      snapshots: Number(snapshots.numUpdatedRows),
    };
    return { kind: 'removed', left };
  });
  if (forgotten.kind === 'removed') {
    p.log.warn(
      { storageHost: name, by: actor.userId, ...forgotten.left },
      'storage host forgotten: its volumes are lost',
    );
    p.nudge();
  }
  return forgotten;
}

/** Whether there is a storage host of this name. A Cinder is none that could be forgotten. */
export const isStorageHost = async (p: Platform, name: string): Promise<boolean> =>
  (await knownHost(p.stores.global, name)) !== undefined;

const knownHost = (db: Kysely<GlobalTables>, name: string) =>
  db
    .selectFrom('storage_hosts')
    .select('last_seen_at')
    .where('name', '=', name)
    .where('name', '<>', CINDER)
    .where('forgotten_at', 'is', null)
    .executeTakeFirst();
