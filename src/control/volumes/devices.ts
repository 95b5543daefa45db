// Which volumes servers have and under which device names, for views: from the servers' homes. Servers whose cell is down
// have none there: what is in their homes is not known.
import { CellDown } from '../../store/stores.ts';
import type { Platform } from '../platform.ts';
import { type Mapping, mappingsOfServers } from './mappings.ts';

/** By server id; servers without volumes are not in the map. One statement, and one per cell. */
export async function mappingsInHomes(p: Platform, serverIds: readonly string[]): Promise<Map<string, Mapping[]>> {
  const found = new Map<string, Mapping[]>();
  if (serverIds.length === 0) return found;
  const homes = await p.stores.global
    .selectFrom('server_mappings')
    .select(['server_id', 'cell_id'])
    .where('server_id', 'in', [...new Set(serverIds)])
    .execute();
  for (const cellId of new Set(homes.map((home) => home.cell_id))) {
    const ids = homes.filter((home) => home.cell_id === cellId).map((home) => home.server_id);
    for (const [serverId, mappings] of await mappingsIn(p, cellId, ids)) found.set(serverId, mappings);
  }
  return found;
}

async function mappingsIn(p: Platform, cellId: string, serverIds: readonly string[]): Promise<Map<string, Mapping[]>> {
  try {
    return await mappingsOfServers(await p.stores.cell(cellId), serverIds);
  } catch (error) {
    if (error instanceof CellDown) return new Map();
    throw error;
  }
}
