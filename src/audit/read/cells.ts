// What the cells' databases keep of the servers of a slice.
import type { Platform } from '../../control/platform.ts';
import { serverOf } from '../../control/records.ts';
import { messageOf } from '../../lib/errors.ts';
import type { CellView, ServerRecord } from '../snapshot.ts';
import { inSlice, SLICE_ROWS, type Slice } from './slice.ts';

/** Stray instance actions that are told of one cell in one slice. */
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
    const strayed = db
      .selectFrom('server_actions')
      .select('server_id')
      .distinct()
      .where(({ not, exists, selectFrom }) =>
        not(exists(selectFrom('servers').select('id').whereRef('servers.id', '=', 'server_actions.server_id'))),
      );
    const strays = await inSlice(strayed, 'server_id', slice).limit(STRAYS).execute();
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
    return { ...cell, unreachable: null, records, strayActions: strays.map((row) => row.server_id) };
  } catch (error) {
    // Whatever keeps a cell from being read is for the operator to know, and no reason not to look at the others.
    return { ...cell, unreachable: messageOf(error), records: [], strayActions: [] };
  }
}
