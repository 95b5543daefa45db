// Cells as the scheduler may use them: enabled or not, by an operator's word, and reachable or not, as the monitor finds.
//
// Whether a cell's database can be reached is asked once a round and written down, so that no request has to ask each
// cell. Several monitors may do so; the last one's word counts for a round. A cell that is lost between two rounds is
// found out by the move that needs it, which then tries a host elsewhere.
import type { ExpressionBuilder, Selectable } from 'kysely';
import type { Refusal } from '../model/types.ts';
import type { CellTables } from '../store/cell-schema.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { CellDown } from '../store/stores.ts';
import { askCell } from './ask-cell.ts';
import type { Platform } from './platform.ts';

type KnownCell = Pick<Selectable<GlobalTables['cells']>, 'id' | 'name' | 'unreachable_since'>;

const CELLS = fixed<GlobalTables, object, KnownCell>((db) =>
  db.selectFrom('cells').select(['id', 'name', 'unreachable_since']),
);
const ANYTHING = fixed<CellTables, object, unknown>((cell) =>
  cell.selectFrom('server_fences').select('generation').limit(1),
);

/** Asks every cell's database, side by side, and writes down what has changed. */
export async function watchCells(p: Platform): Promise<void> {
  const cells = (await CELLS(p.stores.global, {})).rows;
  await Promise.all(
    cells.map(async ({ id, name, unreachable_since: since }) => {
      const problem = await problemOf(p, id);
      if ((problem === null) === (since === null)) return;
      await p.stores.global
        .updateTable('cells')
        .set({ unreachable_since: problem === null ? null : p.clock.now() })
        .where('id', '=', id)
        .execute();
      if (problem === null) p.log.info({ cell: name }, 'the database of the cell can be reached again');
      else p.log.warn({ cell: name }, problem);
    }),
  );
}

/** Whether the cell's database answers now. */
export const cellAnswers = async (p: Platform, cellId: string): Promise<boolean> =>
  (await problemOf(p, cellId)) === null;

/** Of a query for servers: those whose cell's database could be reached when it was asked last. */
export const isInReachableCell = ({ not, exists, selectFrom }: ExpressionBuilder<GlobalTables, 'server_mappings'>) =>
  not(
    exists(
      selectFrom('cells')
        .select('cells.id')
        .whereRef('cells.id', '=', 'server_mappings.cell_id')
        .where('cells.unreachable_since', 'is not', null),
    ),
  );

async function problemOf(p: Platform, cellId: string): Promise<string | null> {
  const answer = await askCell(p, cellId, (cell) => ANYTHING(cell, {}));
  return answer instanceof CellDown ? answer.message : null;
}

/** A disabled cell gets no new servers, by create or by move; those that are there stay, and may leave. */
export async function setCellDisabled(p: Platform, name: string, disabled: boolean): Promise<Refusal | null> {
  const { numUpdatedRows } = await p.stores.global
    .updateTable('cells')
    .set({ disabled: disabled ? 1 : 0 })
    .where('name', '=', name)
    .executeTakeFirst();
  return numUpdatedRows === 1n ? null : { code: 404, message: `Cell ${name} could not be found.` };
}
