// Writing the record of a move: one fenced statement each.
import type { Updateable } from 'kysely';
import type { Flavor, MigrationStatus, MigrationType } from '../model/types.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { ownsSaga } from './fencing.ts';
import type { Owner, Place, StepContext } from './move.ts';
import { done, inGlobal } from './outcomes.ts';

/** The record of a move that begins; its target is not known yet. Harmless when it is there. */
export function openMigrationRecord<S>(
  c: StepContext<S>,
  record: {
    readonly migrationId: string;
    readonly type: MigrationType;
    readonly status: MigrationStatus;
    readonly actor: Owner;
    readonly source: Place;
    readonly oldFlavor: Flavor;
    readonly newFlavor: Flavor;
  },
) {
  const now = c.p.clock.now();
  return inGlobal(c, (trx) =>
    trx
      .insertInto('migrations')
      .values({
        uuid: record.migrationId,
        server_id: c.serverId,
        project_id: record.actor.projectId,
        user_id: record.actor.userId,
        type: record.type,
        status: record.status,
        source_cell_id: record.source.cellId,
        source_host: record.source.host,
        dest_cell_id: null,
        dest_host: null,
        old_flavor_json: JSON.stringify(record.oldFlavor),
        new_flavor_json: JSON.stringify(record.newFlavor),
        saga_id: c.saga.id,
        confirm_at: null,
        created_at: now,
        updated_at: now,
      })
      .onConflict((conflict) => conflict.column('uuid').doNothing())
      .execute(),
  );
}

export async function writeMigration<S>(
  c: StepContext<S>,
  migrationId: string,
  change: Updateable<GlobalTables['migrations']>,
) {
  const { global } = c.p.stores;
  await global
    .updateTable('migrations')
    .set({ ...change, updated_at: c.p.clock.now() })
    .where('uuid', '=', migrationId)
    .where(ownsSaga(global, c))
    .execute();
  return done;
}
