// Carrying a server's records from one cell into another, and changing its home.
//
// The record is frozen (user edits are refused for an instant), copied with its history, and then one row, the mapping,
// says that the copy counts. What is left in the former home is deleted for good, so that a later move back meets no
// duplicate. What travels is declared in store/travel.ts. A move inside one cell passes through here without effect.
import type { Kysely, Transaction } from 'kysely';
import { owe } from '../control/debts.ts';
import { messageOf } from '../lib/errors.ts';
import type { Flavor } from '../model/types.ts';
import type { CellTables } from '../store/cell-schema.ts';
import { TRAVEL } from '../store/travel.ts';
import { Fenced, inCell, ownsSaga } from './fencing.ts';
import type { StepContext, StepOutcome } from './move.ts';
import { type HasVolumes, hasVolumes } from './server-volumes.ts';

/** No user edit changes the record until it is thawed: by the undo, or on its arrival. */
export const freeze = <S>(c: StepContext<S>, from: string, to: string) => setFrozen(c, from, to, 1);
export const thaw = <S>(c: StepContext<S>, from: string, to: string) => setFrozen(c, from, to, 0);

async function setFrozen<S>(c: StepContext<S>, from: string, to: string, frozen: 0 | 1): Promise<StepOutcome<S>> {
  if (from === to) return { kind: 'done', note: 'same cell' };
  const cell = await c.p.stores.cell(from);
  await inCell(cell, c, (trx) =>
    trx.updateTable('servers').set({ frozen }).where('id', '=', c.serverId).where('saga_id', '=', c.saga.id).execute(),
  );
  return { kind: 'done' };
}

/** A statement has room for so many values only, and a history is as long as it is. */
const ROWS_AT_ONCE = 1000;

/** The target cell holds the same record and history as the source cell, whatever it held before. */
export async function copyRecords<S extends HasVolumes>(
  c: StepContext<S>,
  from: string,
  to: string,
): Promise<StepOutcome<S>> {
  if (from === to) return { kind: 'done', note: 'same cell' };
  const source = await c.p.stores.cell(from);
  const server = await source
    .selectFrom('servers')
    .select(Object.keys(TRAVEL.servers) as (keyof CellTables['servers'])[])
    .where('id', '=', c.serverId)
    .where('saga_id', '=', c.saga.id)
    .executeTakeFirst();
  if (!server) return { kind: 'failed', reason: 'the record is not there to be copied', final: true };
  const volumes = await mappingsOf(c, source);
  const actions = await source
    .selectFrom('server_actions')
    .select(Object.keys(TRAVEL.server_actions) as (keyof CellTables['server_actions'])[])
    .where('server_id', '=', c.serverId)
    .execute();
  const target = await c.p.stores.cell(to);
  await inCell(target, c, async (trx) => {
    await deleteRecords(trx, c);
    await trx.insertInto('servers').values(server).execute();
    if (volumes.length > 0) await trx.insertInto('block_device_mappings').values(volumes).execute();
    for (let first = 0; first < actions.length; first += ROWS_AT_ONCE) {
      await trx
        .insertInto('server_actions')
        .values(actions.slice(first, first + ROWS_AT_ONCE))
        .execute();
    }
  });
  return { kind: 'done' };
}

/** How often a cell that is not the home is tried before its clean-up is owed. */
const TRIES = 3;

/**
 * No record of the server is left in `cellId`, which is not its home (any more, or not yet), or that is owed: nobody
 * sees a record there, so a cell that is down holds up neither the way back nor the end of a move.
 */
export async function dropRecords<S extends HasVolumes>(
  c: StepContext<S>,
  cellId: string,
  home: string,
): Promise<StepOutcome<S>> {
  if (cellId === home) return { kind: 'done', note: 'same cell' };
  try {
    const cell = await c.p.stores.cell(cellId);
    await inCell(cell, c, (trx) => deleteRecords(trx, c));
    return { kind: 'done' };
  } catch (error) {
    // Whatever it is: the debt tells it, and the server does not wait for it.
    if (error instanceof Fenced || c.saga.attempt < TRIES) throw error;
    const debt = { host: cellId, serverId: c.serverId, generation: c.generation, sagaId: c.saga.id };
    await owe(c.p, { kind: 'drop-records', ...debt, reason: 'records that a move left in a cell that was down' });
    return { kind: 'done', note: `owed: ${messageOf(error)}` };
  }
}

async function deleteRecords<S extends HasVolumes>(trx: Transaction<CellTables>, c: StepContext<S>): Promise<void> {
  await trx.deleteFrom('server_actions').where('server_id', '=', c.serverId).execute();
  if (hasVolumes(c)) await trx.deleteFrom('block_device_mappings').where('server_id', '=', c.serverId).execute();
  await trx.deleteFrom('servers').where('id', '=', c.serverId).execute();
}

async function mappingsOf<S extends HasVolumes>(c: StepContext<S>, cell: Kysely<CellTables>) {
  if (!hasVolumes(c)) return [];
  return cell
    .selectFrom('block_device_mappings')
    .select(Object.keys(TRAVEL.block_device_mappings) as (keyof CellTables['block_device_mappings'])[])
    .where('server_id', '=', c.serverId)
    .execute();
}

/**
 * The pivot: one row says where the server lives. Refused definitely only when a newer generation has written it. The same
 * the other way round undoes it, whether it has happened or not: the copy is frozen, so nobody has changed it meanwhile.
 */
export async function switchHome<S>(c: StepContext<S>, to: string, flavor: Flavor): Promise<StepOutcome<S>> {
  const { global } = c.p.stores;
  const { numUpdatedRows } = await global
    .updateTable('server_mappings')
    .set({ cell_id: to, generation: c.generation, flavor_json: JSON.stringify(flavor) })
    .where('server_id', '=', c.serverId)
    .where('generation', '<=', c.generation)
    .where('deleted_at', 'is', null)
    .where(ownsSaga(global, c))
    .executeTakeFirst();
  return numUpdatedRows === 1n ? { kind: 'done' } : { kind: 'fenced' };
}
