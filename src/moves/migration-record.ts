// Writing the record of a move: one fenced statement each.
import type { Updateable } from 'kysely';
import type { GlobalTables } from '../store/global-schema.ts';
import { ownsSaga } from './fencing.ts';
import type { StepContext } from './move.ts';
import { done } from './outcomes.ts';

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
