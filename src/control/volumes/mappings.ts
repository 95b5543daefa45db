// Block device mappings: the volumes that a server has, in its home, in the words of its creator.
//
// Written by the sagas that hold the server; `deleteOnTermination` also by its user, like any other edit (servers.ts).
import type { Kysely, Selectable } from 'kysely';
import type { Refusal } from '../../model/types.ts';
import type { CellTables } from '../../store/cell-schema.ts';
import type { Platform } from '../platform.ts';

export interface Mapping {
  readonly id: string;
  readonly serverId: string;
  readonly volumeId: string;
  readonly device: string;
  /** 0: what the server boots from; null: never. */
  readonly bootIndex: number | null;
  readonly deleteOnTermination: boolean;
  readonly tag: string | null;
  readonly createdAt: number;
}

const mappingOf = (row: Selectable<CellTables['block_device_mappings']>): Mapping => ({
  id: row.id,
  serverId: row.server_id,
  volumeId: row.volume_id,
  device: row.device,
  bootIndex: row.boot_index,
  deleteOnTermination: row.delete_on_termination === 1,
  tag: row.tag,
  createdAt: row.created_at,
});

/** The server's, by device. One statement. */
export const mappingsOfServer = async (cell: Kysely<CellTables>, serverId: string): Promise<Mapping[]> =>
  (await mappingsOfServers(cell, [serverId])).get(serverId) ?? [];

/** Those of many servers of the cell in one statement, by server id; servers without volumes are not in the map. */
export async function mappingsOfServers(
  cell: Kysely<CellTables>,
  serverIds: readonly string[],
): Promise<Map<string, Mapping[]>> {
  const byServer = new Map<string, Mapping[]>();
  if (serverIds.length === 0) return byServer;
  const rows = await cell
    .selectFrom('block_device_mappings')
    .selectAll()
    .where('server_id', 'in', serverIds)
    .orderBy('device')
    .execute();
  for (const mapping of rows.map(mappingOf)) {
    const found = byServer.get(mapping.serverId);
    if (found) found.push(mapping);
    else byServer.set(mapping.serverId, [mapping]);
  }
  return byServer;
}

/** Writes mappings; harmless when repeated. */
export async function insertMappings(cell: Kysely<CellTables>, mappings: readonly Mapping[]): Promise<void> {
  if (mappings.length === 0) return;
  const rows = mappings.map((each) => ({
    ...{ id: each.id, server_id: each.serverId, volume_id: each.volumeId, device: each.device, tag: each.tag },
    ...{ boot_index: each.bootIndex, delete_on_termination: each.deleteOnTermination ? 1 : 0 },
    created_at: each.createdAt,
  }));
  await cell
    .insertInto('block_device_mappings')
    .values(rows)
    .onConflict((conflict) => conflict.columns(['server_id', 'volume_id']).doNothing())
    .execute();
}

/** The server's home knows of no volumes of it any more, or of this one. */
export async function dropMappings(cell: Kysely<CellTables>, serverId: string, volumeId?: string): Promise<void> {
  let query = cell.deleteFrom('block_device_mappings').where('server_id', '=', serverId);
  if (volumeId !== undefined) query = query.where('volume_id', '=', volumeId);
  await query.execute();
}

/** Nova's sentence for a volume that the server does not have. */
export const notAttached = (serverId: string, volumeId: string): Refusal => ({
  code: 404,
  message: `Instance ${serverId} is not attached to volume ${volumeId}`,
});

/** Whether the volume is deleted with the server. 404 without it, 409 while a move carries the record over. */
export async function setDeleteOnTermination(
  p: Platform,
  server: { readonly serverId: string; readonly cellId: string },
  volumeId: string,
  deleteOnTermination: boolean,
): Promise<Refusal | null> {
  const { serverId } = server;
  const cell = await p.stores.cell(server.cellId);
  return cell.transaction().execute(async (trx) => {
    // The server's row is held meanwhile: a move freezes it before it reads the mappings, or after this has landed.
    const { numUpdatedRows } = await trx
      .updateTable('servers')
      .set({ updated_at: p.clock.now() })
      .where('id', '=', serverId)
      .where('frozen', '=', 0)
      .where('deleted_at', 'is', null)
      .executeTakeFirst();
    if (numUpdatedRows === 0n) {
      return { code: 409, message: `Instance ${serverId} is being moved to another cell; try again in a moment.` };
    }
    const changed = await trx
      .updateTable('block_device_mappings')
      .set({ delete_on_termination: deleteOnTermination ? 1 : 0 })
      .where('server_id', '=', serverId)
      .where('volume_id', '=', volumeId)
      .executeTakeFirst();
    return changed.numUpdatedRows === 0n ? notAttached(serverId, volumeId) : null;
  });
}
