// Repairs in cells and on hosts, which no transaction of the global database spans: they act under a generation of
// their own, as a saga would (see proof.ts).
import type { Kysely } from 'kysely';
import { owe } from '../../control/debts.ts';
import { openMigration } from '../../control/migrations.ts';
import type { Platform } from '../../control/platform.ts';
import { findServer } from '../../control/servers.ts';
import { raiseInCell } from '../../store/cell-fences.ts';
import type { CellTables } from '../../store/cell-schema.ts';
import { nextFence } from '../../store/sagas.ts';
import { BESIDE_RECORDS } from '../../store/travel.ts';
import {
  mappingOf,
  proven,
  provenDeleted,
  provenIdle,
  provenSettled,
  type Repaired,
  repaired,
  Unproven,
} from './proof.ts';

/**
 * Runs `work` in the cell under a new generation, when no saga works on the server. The cell's fence is held until the
 * transaction ends: a saga that begins meanwhile waits for it before it writes there.
 * @throws Unproven, CellDown
 */
async function fencedInCell(
  p: Platform,
  cellId: string,
  serverId: string,
  work: (trx: Kysely<CellTables>) => Promise<Repaired>,
): Promise<Repaired> {
  const generation = await nextFence(p.stores.global);
  const cell = await p.stores.cell(cellId);
  return cell.transaction().execute(async (trx) => {
    if ((await raiseInCell(trx, serverId, generation)) > generation) throw new Unproven('a saga has just begun');
    await provenIdle(p.stores.global, serverId);
    return work(trx);
  });
}

/** Task, saga and freeze of a record that nothing works on. */
export const letGo = (p: Platform, serverId: string): Promise<Repaired> =>
  proven(async () => {
    const mapping = await mappingOf(p.stores.global, serverId);
    if (!mapping || mapping.deleted_at !== null) throw new Unproven('the server has no home');
    return fencedInCell(p, mapping.cell_id, serverId, async (trx) => {
      if ((await mappingOf(p.stores.global, serverId))?.cell_id !== mapping.cell_id) throw new Unproven('it has moved');
      await trx
        .updateTable('servers')
        .set((eb) => ({
          ...{ task_state: null, saga_id: null, frozen: 0, updated_at: p.clock.now() },
          revision: eb('revision', '+', 1),
        }))
        .where('id', '=', serverId)
        .execute();
      return repaired(`cleared task, saga and freeze of server ${serverId}`);
    });
  });

/** What a cell keeps of a server that lives elsewhere, whole, or was deleted elsewhere. */
export const dropRecords = (p: Platform, cellId: string, serverId: string): Promise<Repaired> =>
  proven(() =>
    fencedInCell(p, cellId, serverId, async (trx) => {
      const mapping = await mappingOf(p.stores.global, serverId);
      // Nobody knows the server: this may be all that is left of it.
      if (!mapping) throw new Unproven('nothing says where the home of the server is');
      const record = await trx.selectFrom('servers').select('id').where('id', '=', serverId).executeTakeFirst();
      const isHome = mapping.cell_id === cellId;
      if (isHome && (record || mapping.deleted_at === null)) throw new Unproven('the cell is the home of the server');
      if (mapping.deleted_at !== null && !isHome) await provenDeleted(p, mapping.cell_id, serverId);
      if (mapping.deleted_at === null) {
        const found = await findServer(p, serverId);
        if (found.kind !== 'found')
          throw new Unproven('its home has no record of the server: this may be the only one');
      }
      await trx.deleteFrom('servers').where('id', '=', serverId).execute();
      for (const table of BESIDE_RECORDS) await trx.deleteFrom(table).where('server_id', '=', serverId).execute();
      return repaired(`deleted what cell ${cellId} kept of server ${serverId}`);
    }),
  );

/**
 * A guest whose server was deleted, or has its guest and disk elsewhere, seen there just now. It becomes a debt, which
 * the control plane pays; the host refuses that as fenced if the server comes back before.
 */
export const destroyGuest = (p: Platform, host: string, serverId: string): Promise<Repaired> =>
  proven(async () => {
    const generation = await nextFence(p.stores.global);
    await provenIdle(p.stores.global, serverId);
    const mapping = await mappingOf(p.stores.global, serverId);
    if (!mapping) throw new Unproven('nobody knows the server: its disk may be all that is left of it');
    if (mapping.deleted_at === null) await provenElsewhere(p, host, serverId);
    else await provenDeleted(p, mapping.cell_id, serverId);
    const reason = `guest that nobody owns, found by the audit`;
    await owe(p, { kind: 'destroy-guest', host, serverId, generation, sagaId: 'audit', reason });
    return repaired(`the guest of server ${serverId} on ${host} will be destroyed (owed)`);
  });

async function provenElsewhere(p: Platform, host: string, serverId: string): Promise<void> {
  await provenSettled(p, serverId);
  const found = await findServer(p, serverId);
  if (found.kind !== 'found' || found.server.host === null) throw new Unproven('where the server is cannot be told');
  const migration = await openMigration(p.stores.global, serverId);
  if (found.server.host === host || migration?.sourceHost === host) throw new Unproven('the guest belongs there');
  const own = await p.stores.global.selectFrom('hosts').select('name').where('name', '=', found.server.host).execute();
  if (own.length === 0) throw new Unproven(`nobody knows the host ${found.server.host} of the server`);
  const reply = await (await p.host(found.server.host)).guest(serverId);
  if (reply.kind !== 'ok' || !reply.value.disk) {
    throw new Unproven(`${found.server.host} does not show the disk of the server: this one may be the only one`);
  }
}

/** An export that no move reads. A move that begins behind the look has a newer generation, and opens its own. */
export const closeExport = (p: Platform, host: string, serverId: string): Promise<Repaired> =>
  proven(async () => {
    const generation = await nextFence(p.stores.global);
    await provenIdle(p.stores.global, serverId);
    const reply = await (await p.host(host)).closeExport(serverId, { generation });
    if (reply.kind === 'fenced') throw new Unproven('a saga has just begun');
    if (reply.kind !== 'ok' && reply.kind !== 'absent') throw new Unproven(`host ${host} did not do it`);
    return repaired(`host ${host} does not export the disk of server ${serverId} any more`);
  });
