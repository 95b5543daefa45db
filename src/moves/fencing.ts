// Fencing in the databases: a conductor that was overtaken must not write any more, wherever it stalled.
//
// In the global database the saga's own row is the fence: a write holds only while the row still carries the writer's
// fence. In a cell's database a row in server_fences is; a takeover raises it before its first effect, and so does every
// write. Both checks are part of the very statement or transaction that writes, and hold the row that they look at, so
// there is no instant between looking and writing. Hosts and port bindings remember generations themselves.
import { type Expression, type Kysely, type SqlBool, sql, type Transaction } from 'kysely';
import { raiseInCell } from '../store/cell-fences.ts';
import type { CellTables } from '../store/cell-schema.ts';
import { forShare } from '../store/dialect.ts';
import { fixed } from '../store/fixed.ts';
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

/**
 * For the where clause of a write to the global database. The saga's row is locked until the write has landed: a
 * takeover comes before it or after it.
 */
export const ownsSaga = (db: Kysely<GlobalTables>, writer: Writer): Expression<SqlBool> =>
  sql<SqlBool>`exists (select 1 from sagas where sagas.id = ${writer.saga.id} and sagas.fence = ${writer.generation} ${forShare(db)})`;

type Fence = { readonly fence: number };

const fenceOf = (db: Kysely<GlobalTables>, id: string) => db.selectFrom('sagas').select('fence').where('id', '=', id);

const FENCE = fixed<GlobalTables, { readonly id: string }, Fence>((db, { id }) => fenceOf(db, id));
/** Nobody raises it before the transaction ends. */
const FENCE_TO_KEEP = fixed<GlobalTables, { readonly id: string }, Fence>((db, { id }) =>
  fenceOf(db, id).modifyEnd(forShare(db)),
);

/** Whether somebody else has claimed the saga since. What is true can only stay so. */
export async function isOvertaken(
  db: Kysely<GlobalTables>,
  saga: { readonly id: string; readonly fence: number },
): Promise<boolean> {
  const [now] = (await FENCE(db, { id: saga.id })).rows;
  return now?.fence !== saga.fence;
}

/** A transaction on the global database that holds only while the writer owns its saga. @throws Fenced */
export function globally<T>(
  db: Kysely<GlobalTables>,
  writer: Writer,
  work: (trx: Transaction<GlobalTables>) => Promise<T>,
): Promise<T> {
  return db.transaction().execute(async (trx) => {
    const [owned] = (await FENCE_TO_KEEP(trx, { id: writer.saga.id })).rows;
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
    if ((await raiseInCell(trx, writer.serverId, writer.generation)) > writer.generation) throw new Fenced();
    return work(trx);
  });
}
