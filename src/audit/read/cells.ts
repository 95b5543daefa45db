// What the cells' databases keep of the servers of a slice.
import type { Kysely } from 'kysely';
import type { Platform } from '../../control/platform.ts';
import { serverOf } from '../../control/records.ts';
import { messageOf } from '../../lib/errors.ts';
import type { CellTables } from '../../store/cell-schema.ts';
import { BESIDE_RECORDS, type BesideRecords } from '../../store/travel.ts';
import type { CellView, ServerRecord } from '../snapshot.ts';
import { inSlice, SLICE_ROWS, type Slice } from './slice.ts';

/** Servers without a record that are told of one table of one cell in one slice. */
const STRAYS = 100;
/** Records of one cell in one slice, at most: many more than homes are an error that a person has to look at. */
const RECORDS = 4 * SLICE_ROWS;

export async function readCells(p: Platform, slice: Slice): Promise<CellView[]> {
  const cells = await p.stores.global.selectFrom('cells').select(['id', 'name']).orderBy('name').execute();
  return Promise.all(cells.map((cell) => readCell(p, cell, slice)));
}

async function readCell(
  p: Platform,
  cell: { readonly id: string; readonly name: string },
  slice: Slice,
): Promise<CellView> {
  try {
    const db = await p.stores.cell(cell.id);
    const kept = db.selectFrom('servers').selectAll().where('deleted_at', 'is', null);
    const rows = await inSlice(kept, 'id', slice)
      .limit(RECORDS + 1)
      .execute();
    if (rows.length > RECORDS) throw new Error(`it keeps more than ${RECORDS} records behind id '${slice.after}'`);
    const strays: CellView['strays'][number][] = [];
    for (const table of BESIDE_RECORDS) {
      for (const serverId of await straysOf(db, table, slice)) strays.push({ serverId, table });
    }
    const mappings = await inSlice(
      db.selectFrom('block_device_mappings').select(['server_id', 'volume_id']),
      'server_id',
      slice,
    ).execute();
    const volumes = Map.groupBy(mappings, (mapping) => mapping.server_id);
    const records = rows.map(
      (row): ServerRecord => ({
        ...{ server: serverOf(row), frozen: row.frozen === 1 },
        volumes: (volumes.get(row.id) ?? []).map((mapping) => mapping.volume_id),
      }),
    );
    return { ...cell, unreachable: null, records, strays };
  } catch (error) {
    // Whatever keeps a cell from being read is for the operator to know, and no reason not to look at the others.
    return { ...cell, unreachable: messageOf(error), records: [], strays: [] };
  }
}

/** Servers that the table has rows of and the cell has no record of. */
async function straysOf(db: Kysely<CellTables>, table: BesideRecords, slice: Slice): Promise<string[]> {
  // The tables are alike in the one column that is read here.
  const rows = db.selectFrom(`${table} as beside` as 'server_actions as beside');
  const strayed = rows
    .select('beside.server_id')
    .distinct()
    .where(({ not, exists, selectFrom }) =>
      not(exists(selectFrom('servers').select('id').whereRef('servers.id', '=', 'beside.server_id'))),
    );
  return (await inSlice(strayed, 'beside.server_id', slice).limit(STRAYS).execute()).map((row) => row.server_id);
}
