// Fencing in the databases: a conductor that was overtaken must not write any more, wherever it stalled.
//
// In the global database the saga's own row is the fence: a write holds only while the row still carries the writer's
// fence. In a cell's database a row in server_fences is; a takeover raises it before its first effect. Both checks are
// part of the very statement or transaction that writes, so there is no instant between looking and writing. Hosts and
// port bindings remember generations themselves.
import { type Expression, type Kysely, type SqlBool, sql, type Transaction } from 'kysely';
import type { CellTables } from '../store/cell-schema.ts';
import type { GlobalTables } from '../store/global-schema.ts';

/** Who writes: a claim of a saga. */
export interface Writer {
  readonly saga: { readonly id: string };
  readonly generation: number;
  readonly serverId: string;
}

/** Thrown inside a transaction to undo it; becomes the outcome `fenced`. */
export class Fenced extends Error {
  override readonly name = 'Fenced';
}

/** For the where clause of a write to the global database. */
export const ownsSaga = (writer: Writer): Expression<SqlBool> =>
  sql<SqlBool>`exists (select 1 from sagas where sagas.id = ${writer.saga.id} and sagas.fence = ${writer.generation})`;

/** For the where clause of a write to a cell's database. */
export const notFenced = (writer: Writer): Expression<SqlBool> =>
  sql<SqlBool>`not exists (select 1 from server_fences where server_fences.server_id = ${writer.serverId}
    and server_fences.generation > ${writer.generation})`;

/** A transaction on the global database that holds only while the writer owns its saga. @throws Fenced */
export function globally<T>(
  db: Kysely<GlobalTables>,
  writer: Writer,
  work: (trx: Transaction<GlobalTables>) => Promise<T>,
): Promise<T> {
  return db.transaction().execute(async (trx) => {
    const owned = await trx.selectFrom('sagas').select('fence').where('id', '=', writer.saga.id).executeTakeFirst();
    if (owned?.fence !== writer.generation) throw new Fenced();
    return work(trx);
  });
}

/** A transaction on a cell's database that holds only while the writer has not been overtaken. @throws Fenced */
export function inCell<T>(
  db: Kysely<CellTables>,
  writer: Writer,
  work: (trx: Transaction<CellTables>) => Promise<T>,
): Promise<T> {
  return db.transaction().execute(async (trx) => {
    const fence = await trx
      .selectFrom('server_fences')
      .select('generation')
      .where('server_id', '=', writer.serverId)
      .executeTakeFirst();
    if (fence && fence.generation > writer.generation) throw new Fenced();
    return work(trx);
  });
}

/** From now on older writers are refused in this cell. */
export async function raiseInCell(db: Kysely<CellTables>, writer: Writer): Promise<void> {
  await db
    .insertInto('server_fences')
    .values({ server_id: writer.serverId, generation: writer.generation })
    .onConflict((conflict) =>
      conflict
        .column('server_id')
        .doUpdateSet({ generation: writer.generation })
        .where('server_fences.generation', '<', writer.generation),
    )
    .execute();
}
