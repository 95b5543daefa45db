// The fence of a server in a cell's database: the highest generation that has written there, or taken over.
import type { Kysely } from 'kysely';
import type { CellTables } from './cell-schema.ts';

/**
 * From now on older writers are refused in this cell. Answers the highest generation seen there, this one included.
 * Looking and raising are one statement, which holds the fence's row until the transaction ends: an older writer has
 * then either ended, or has not yet looked and will be refused.
 */
export async function raiseInCell(db: Kysely<CellTables>, serverId: string, generation: number): Promise<number> {
  const row = await db
    .insertInto('server_fences')
    .values({ server_id: serverId, generation })
    .onConflict((conflict) =>
      conflict.column('server_id').doUpdateSet((eb) => ({
        generation: eb
          .case()
          .when('server_fences.generation', '<', generation)
          .then(eb.ref('excluded.generation'))
          .else(eb.ref('server_fences.generation'))
          .end(),
      })),
    )
    .returning('generation')
    .executeTakeFirstOrThrow();
  return row.generation;
}
