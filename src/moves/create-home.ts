// What a create writes of a server beside its saga: its home and its place in a group; and, where no host would do, all
// there will ever be of it, in ERROR.
import type { Kysely, Transaction } from 'kysely';
import { owe } from '../control/debts.ts';
import type { Platform } from '../control/platform.ts';
import { rowOf } from '../control/records.ts';
import { joinServerGroup } from '../control/server-groups.ts';
import { passed } from '../lib/clock.ts';
import { newId } from '../lib/ids.ts';
import { shownImageOf } from '../model/disk-image.ts';
import { refuse } from '../model/refusal.ts';
import type { Actor, Refusal, Server } from '../model/types.ts';
import type { CellTables } from '../store/cell-schema.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { CellDown } from '../store/stores.ts';
import { createAction } from './create.ts';
import { Refused } from './start.ts';

/** The one row that says where the server lives. */
export async function insertHome(
  trx: Transaction<GlobalTables>,
  actor: Actor,
  server: Server,
  cellId: string,
): Promise<void> {
  await trx
    .insertInto('server_mappings')
    .values({
      server_id: server.id,
      cell_id: cellId,
      project_id: actor.projectId,
      user_id: actor.userId,
      generation: 0,
      delete_requested_at: null,
      soft_delete_requested_at: null,
      soft_deleted_at: null,
      offload_at: null,
      flavor_json: JSON.stringify(server.flavor),
      image_id: shownImageOf(server.image),
      requested_zone: server.requestedZone,
      deleted_at: null,
      created_at: server.createdAt,
    })
    .execute();
}

/** @throws Refused */
export async function joinGroup(
  p: Platform,
  trx: Transaction<GlobalTables>,
  actor: Actor,
  groupId: string | undefined,
  serverId: string,
): Promise<void> {
  const refusal = groupId === undefined ? null : await joinServerGroup(p, trx, actor, groupId, serverId);
  if (refusal) throw new Refused(refusal);
}

/** Twice as long as a request may take between its first write here and its last. */
const RESTS_MS = 120_000;

/**
 * No host would do: the server exists all the same, in ERROR, in the first enabled cell that can be reached. Its record
 * comes first, then the home that makes it visible. Whoever stops in between leaves a record that nobody can see: it is
 * owed beforehand that it goes, and the home is written only as long as nobody may have begun to pay that.
 * @throws Refused
 */
export async function writeInError(
  p: Platform,
  actor: Actor,
  server: Server,
  groupId: string | undefined,
  reason: string,
): Promise<Refusal | null> {
  const cell = await firstCell(p);
  if (!cell) return refuse(503, 'There is no cell to hold servers.');
  const began = passed(p.clock);
  const debtId = newId();
  await owe(p, {
    ...{ kind: 'drop-records', host: cell.id, serverId: server.id, generation: 0, sagaId: debtId, restsMs: RESTS_MS },
    reason: 'record of a server that got no home',
  });
  await writeRecord(cell.db, actor, server, reason);
  await p.stores.global.transaction().execute(async (trx) => {
    if (passed(p.clock) - began > RESTS_MS / 2)
      throw new Refused(refuse(503, 'The server could not be put on record in time.'));
    await insertHome(trx, actor, server, cell.id);
    await joinGroup(p, trx, actor, groupId, server.id);
    await trx.updateTable('debts').set({ paid_at: p.clock.now() }).where('saga_id', '=', debtId).execute();
  });
  p.log.info({ serverId: server.id, requestId: actor.requestId, zone: server.requestedZone }, reason);
  return null;
}

async function writeRecord(cell: Kysely<CellTables>, actor: Actor, server: Server, details: string): Promise<void> {
  const { createdAt } = server;
  const fault = { code: 500, message: 'No valid host was found. ', details, createdAt };
  const broken: Server = { ...server, vmState: 'error', taskState: null, fault };
  const { userId, projectId, requestId } = actor;
  const action = createAction(broken, { userId, projectId }, requestId, null, createdAt);
  await cell.transaction().execute(async (trx) => {
    await trx.insertInto('servers').values(rowOf(broken)).execute();
    await trx
      .insertInto('server_actions')
      .values({ ...action, message: 'Error', finished_at: createdAt })
      .execute();
  });
}

async function firstCell(p: Platform): Promise<{ id: string; db: Kysely<CellTables> } | null> {
  const cells = await p.stores.global.selectFrom('cells').select('id').orderBy('disabled').orderBy('name').execute();
  for (const { id } of cells) {
    try {
      return { id, db: await p.stores.cell(id) };
    } catch (error) {
      if (!(error instanceof CellDown)) throw error;
      p.log.warn({ cell: id }, error.message);
    }
  }
  return null;
}
