// Under which device names servers have their volumes. The names are in the block device mappings of the servers' homes;
// those of a cell that is down are not known.
import type { Platform } from '../../control/platform.ts';
import { CellDown } from '../../store/stores.ts';

/** Device names by `<server id> <volume id>`. One statement, and one per cell. */
export async function devicesOf(p: Platform, serverIds: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const devices = new Map<string, string>();
  if (serverIds.length === 0) return devices;
  const homes = await p.stores.global
    .selectFrom('server_mappings')
    .select(['server_id', 'cell_id'])
    .where('server_id', 'in', [...new Set(serverIds)])
    .execute();
  for (const cellId of new Set(homes.map((home) => home.cell_id))) {
    const ids = homes.filter((home) => home.cell_id === cellId).map((home) => home.server_id);
    for (const [key, device] of await devicesIn(p, cellId, ids)) devices.set(key, device);
  }
  return devices;
}

async function devicesIn(p: Platform, cellId: string, serverIds: readonly string[]): Promise<[string, string][]> {
  try {
    const cell = await p.stores.cell(cellId);
    const rows = await cell
      .selectFrom('block_device_mappings')
      .select(['server_id', 'volume_id', 'device'])
      .where('server_id', 'in', serverIds)
      .execute();
    return rows.map((row) => [`${row.server_id} ${row.volume_id}`, row.device]);
  } catch (error) {
    if (error instanceof CellDown) return [];
    throw error;
  }
}
