// The fence of a server in a cell's database: the highest generation that has written there, or taken over.
import type { Kysely } from 'kysely';
import { invariant } from '../lib/errors.ts';
import type { CellTables } from './cell-schema.ts';
import { fixed } from './fixed.ts';

interface Raise {
  readonly serverId: string;
  readonly generation: number;
}

const RAISE = fixed<CellTables, Raise, { generation: number }>((db, { serverId, generation }) =>
  db
    .insertInto('server_fences')
    .values({ server_id: serverId, generation })
    .onConflict((conflict) =>
      conflict.column('server_id').doUpdateSet((eb) => ({
        generation: eb
          .case()
          .when('server_fences.generation', '<', eb.ref('excluded.generation'))
          .then(eb.ref('excluded.generation'))
          .else(eb.ref('server_fences.generation'))
          .end(),
      })),
    )
    .returning('generation'),
);

/**
 * From now on older writers are refused in this cell. Answers the highest generation seen there, this one included.
 * Looking and raising are one statement, which holds the fence's row until the transaction ends: an older writer has
 * then either ended, or has not yet looked and will be refused.
 */
export async function raiseInCell(db: Kysely<CellTables>, serverId: string, generation: number): Promise<number> {
  const [row] = (await RAISE(db, { serverId, generation })).rows;
  invariant(row, 'a fence that was raised is there');
  return row.generation;
}
