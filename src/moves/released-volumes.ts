// What becomes of a server's volumes when it is deleted: they are free for others, or deleted with it.
//
// A volume goes with its server when its mapping says so (`delete_on_termination`), nobody else has it, and it has no
// snapshots, which are its owner's and would go too (Cinder refuses such a delete, and Nova leaves the volume then).
import type { Transaction } from 'kysely';
import { owe } from '../control/debts.ts';
import { attachmentsOfVolume, releaseVolumes } from '../control/volumes/attachments.ts';
import { deleteVolumeRecord } from '../control/volumes/records.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { globally } from './fencing.ts';
import type { StepContext, StepOutcome } from './move.ts';
import { done, inGlobal } from './outcomes.ts';
import { type HasVolumes, hasVolumes } from './server-volumes.ts';
import { removeVolume } from './volumes/effects.ts';

export interface DoomedVolume {
  readonly volumeId: string;
  readonly storageHost: string;
}

export interface HasDoomed extends HasVolumes {
  readonly doomed?: readonly DoomedVolume[];
}

/** The server has no volumes any more; those that go with it are `deleting`. */
export async function releaseAll<S extends HasDoomed>(c: StepContext<S>): Promise<StepOutcome<S>> {
  const volumes = c.s.volumes ?? [];
  if (!hasVolumes(c)) return done;
  const doomed = await globally(c.p.stores.global, c, async (trx) => {
    const now = c.p.clock.now();
    await releaseVolumes(
      trx,
      c.serverId,
      volumes.map((volume) => volume.volumeId),
      now,
    );
    const unwanted = volumes.filter((volume) => volume.deleteOnTermination).map((volume) => volume.volumeId);
    return markDeleting(trx, c.serverId, unwanted, now);
  });
  const output: HasDoomed = { doomed };
  return { kind: 'done', output: output as Partial<S> };
}

async function markDeleting(
  trx: Transaction<GlobalTables>,
  serverId: string,
  volumeIds: readonly string[],
  now: number,
): Promise<DoomedVolume[]> {
  if (volumeIds.length === 0) return [];
  const rows = await trx
    .updateTable('volumes')
    .set({ status: 'deleting', updated_at: now })
    .where('id', 'in', volumeIds)
    // `deleting`: the step is repeated. `detaching`: the end of the server's access is owed.
    .where('status', 'in', ['available', 'detaching', 'deleting'])
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('volume_attachments as a')
            .select('a.id')
            .whereRef('a.volume_id', '=', 'volumes.id')
            .where('a.server_id', '<>', serverId),
        ),
      ),
    )
    .where(({ not, exists, selectFrom }) =>
      not(exists(selectFrom('volume_snapshots as s').select('s.id').whereRef('s.volume_id', '=', 'volumes.id'))),
    )
    .returning(['id', 'storage_host'])
    .execute();
  return rows.map((row) => ({ volumeId: row.id, storageHost: row.storage_host }));
}

/** The doomed volumes are gone from their storage hosts, or that is owed. */
export async function deleteReleased<S extends HasDoomed>(c: StepContext<S>): Promise<StepOutcome<S>> {
  const reason = 'volume that goes with its deleted server';
  for (const volume of c.s.doomed ?? []) {
    const { volumeId, storageHost: host } = volume;
    if ((await attachmentsOfVolume(c.p.stores.global, volumeId)).length > 0) {
      // The end of the server's access is owed and comes first; then the record goes too.
      const debt = { host, serverId: c.serverId, volumeId, generation: c.generation, sagaId: c.saga.id, reason };
      await owe(c.p, { kind: 'delete-volume', ...debt });
      continue;
    }
    const gone = await removeVolume(c, volume, reason);
    if (gone.kind !== 'done') return gone;
    await inGlobal(c, (trx) => deleteVolumeRecord(trx, volumeId));
  }
  return done;
}
