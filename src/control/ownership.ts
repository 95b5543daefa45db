// Whether a server has a guest on a host by right: it is there now, or it waits with its way back kept there. The same of a
// volume on a storage host.
//
// Who acts on the answer takes a new generation before asking, and acts under it: a saga that begins behind the look has
// a newer one, and one that began before it is seen.
// A cell's database may have been restored from before the server's last move. What its record says is then not believed:
// the move wrote its generation into the mapping, and the home has seen that or a newer one, unless it is older. A home
// that remembers no generation at all says nothing about that.
import { fenceOf } from '../store/cell-fences.ts';
import { openSaga } from '../store/sagas.ts';
import { openMigration } from './migrations.ts';
import type { Platform } from './platform.ts';
import { findServer } from './servers.ts';

/** `perhaps`: a saga is at the server, or its cell cannot be asked, or is older than the mapping. `stray`: nobody owns the guest. */
export async function ownership(p: Platform, host: string, serverId: string): Promise<'owned' | 'stray' | 'perhaps'> {
  if (await openSaga(p.stores.global, serverId)) return 'perhaps';
  const found = await findServer(p, serverId);
  switch (found.kind) {
    case 'absent':
      return 'stray';
    case 'down':
      return 'perhaps';
    case 'found': {
      const seen = await fenceOf(await p.stores.cell(found.cellId), serverId);
      if (seen > 0 && seen < found.generation) {
        p.log.warn({ serverId, host, cell: found.cellId }, 'the cell is older than the last move of the server');
        return 'perhaps';
      }
      const migration = await openMigration(p.stores.global, serverId);
      return found.server.host === host || migration?.sourceHost === host ? 'owned' : 'stray';
    }
  }
}

/** Whether a volume belongs on the storage host by its records; `perhaps`: a saga is at it. */
export async function ownsVolume(p: Platform, host: string, volumeId: string): Promise<'owned' | 'stray' | 'perhaps'> {
  if (await openSaga(p.stores.global, volumeId)) return 'perhaps';
  const row = await p.stores.global
    .selectFrom('volumes')
    .select('id')
    .where('id', '=', volumeId)
    .where('storage_host', '=', host)
    .executeTakeFirst();
  return row ? 'owned' : 'stray';
}

/** Why nobody owns what is left of the server there, of one that `ownership` calls stray. */
export async function whyStray(p: Platform, serverId: string): Promise<string> {
  const found = await p.stores.global
    .selectFrom('server_mappings')
    .select('deleted_at')
    .where('server_id', '=', serverId)
    .executeTakeFirst();
  if (found === undefined) return 'nobody knows its server';
  return found.deleted_at !== null ? 'its server was deleted' : 'its server is elsewhere';
}
