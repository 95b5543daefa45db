// The hosts at which a server's volumes are attached, while a move takes it from one to the other. See attachments.ts.
import type { Transaction } from 'kysely';
import { newId } from '../../lib/ids.ts';
import type { GlobalTables } from '../../store/global-schema.ts';

type Trx = Transaction<GlobalTables>;

/** Each volume that the server has gets an inactive attachment on the host, unless it has one there. */
export async function reserveAttachments(
  trx: Trx,
  serverId: string,
  host: string,
  generation: number,
  now: number,
): Promise<void> {
  const active = await trx
    .selectFrom('volume_attachments')
    .select(['volume_id', 'mode', 'attached_at'])
    .where('server_id', '=', serverId)
    .where('active', '=', 1)
    .execute();
  if (active.length === 0) return;
  const rows = active.map((row) => ({
    ...{ id: newId(), volume_id: row.volume_id, server_id: serverId, host, active: 0, mode: row.mode, generation },
    ...{ created_at: now, attached_at: row.attached_at },
  }));
  await trx
    .insertInto('volume_attachments')
    .values(rows)
    .onConflict((conflict) => conflict.columns(['volume_id', 'server_id', 'host']).doNothing())
    .execute();
}

/** The host's attachments are active and no others of the server. Only for volumes that have one there. */
export async function activateAttachments(trx: Trx, serverId: string, host: string, generation: number): Promise<void> {
  const there = trx
    .selectFrom('volume_attachments')
    .select('volume_id')
    .where('server_id', '=', serverId)
    .where('host', '=', host);
  await trx
    .updateTable('volume_attachments')
    .set({ active: 0, generation })
    .where('server_id', '=', serverId)
    .where('host', '<>', host)
    .where('volume_id', 'in', there)
    .execute();
  await trx
    .updateTable('volume_attachments')
    .set({ active: 1, generation })
    .where('server_id', '=', serverId)
    .where('host', '=', host)
    .execute();
}

/** The active attachments of these volumes on the host are new ones: whatever was granted by the old ones is nobody's. */
export async function renewAttachments(
  trx: Trx,
  serverId: string,
  host: string,
  volumeIds: readonly string[],
): Promise<void> {
  const rows = await trx
    .deleteFrom('volume_attachments')
    .where('server_id', '=', serverId)
    .where('host', '=', host)
    .where('active', '=', 1)
    .where('volume_id', 'in', volumeIds)
    .returningAll()
    .execute();
  if (rows.length === 0) return;
  const renewed = rows.map((row) => ({ ...row, id: newId() }));
  await trx.insertInto('volume_attachments').values(renewed).execute();
}

/** The host has no attachments any more of what the server has on another one. One statement. */
export async function dropAttachments(trx: Trx, serverId: string, host: string): Promise<void> {
  await trx
    .deleteFrom('volume_attachments')
    .where('server_id', '=', serverId)
    .where('host', '=', host)
    .where('active', '=', 0)
    // One whose end is owed is active nowhere, and what is owed is read from it.
    .where('volume_id', 'in', (from) =>
      from
        .selectFrom('volume_attachments as elsewhere')
        .select('elsewhere.volume_id')
        .where('elsewhere.server_id', '=', serverId)
        .where('elsewhere.active', '=', 1),
    )
    .execute();
}
