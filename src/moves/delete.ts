// Delete: allowed at any moment.
//
// With nothing going on it starts at once. While a saga is active the wish is put on record with the mapping and the
// saga is asked to turn back: before its pivot it unwinds, behind it it finishes; when it has ended, the delete starts.
// A server that waits in VERIFY_RESIZE loses both its guests (that is: the resize counts as confirmed). A host that is
// down holds nothing up: what it still has is owed.
import type { Kysely, Selectable } from 'kysely';
import { cellAnswers, isInReachableCell } from '../control/cell-health.ts';
import { discardImages } from '../control/images/records.ts';
import { openMigration } from '../control/migrations.ts';
import { deletePortsOfServer } from '../control/network.ts';
import { release } from '../control/placement.ts';
import type { Platform } from '../control/platform.ts';
import { leaveServerGroup } from '../control/server-groups.ts';
import { cellDownRefusal, findServer } from '../control/servers.ts';
import { dropMappings } from '../control/volumes/mappings.ts';
import { newRequestId } from '../lib/ids.ts';
import { checkAction, serverNotFound, stateOf } from '../model/actions.ts';
import { type Actor, isAdmin, POWER_STATE, type Refusal } from '../model/types.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { OPEN_STATUSES, openSaga, sqlSagaStore } from '../store/sagas.ts';
import { type ActionState, askedBy, letGo, takeHoldWithVolumes } from './claim.ts';
import { ownsSaga } from './fencing.ts';
import { destroyOrOwe } from './hosts.ts';
import { writeMigration } from './migration-record.ts';
import type { Move, StepContext } from './move.ts';
import { done, doneBecause, inGlobal } from './outcomes.ts';
import { type DoomedVolume, deleteReleased, releaseAll } from './released-volumes.ts';
import { type HasVolumes, hasVolumes, revokeAll } from './server-volumes.ts';
import { startMove } from './start.ts';

export interface DeleteState extends ActionState, HasVolumes {
  /** Volumes that are deleted with the server; found out by `release volumes`. */
  readonly doomed?: readonly DoomedVolume[];
  readonly homeCellId: string;
  readonly host: string | null;
  /** What its shelving made goes with it. */
  readonly shelvedImageId: string | null;
  /** The move that waits to be confirmed, and where it left the old guest. */
  readonly open: { readonly migrationId: string; readonly sourceHost: string } | null;
}

type C = StepContext<DeleteState>;

const FORWARD = 'forward only: a server is not half deleted';

export const DELETE: Move<DeleteState> = {
  name: 'delete',
  version: 1,
  pivot: 'take hold',
  parties: (s) => [s.host, s.open?.sourceHost],
  steps: [
    { step: 'take hold', do: takeHold, undo: (c) => letGo(c, c.s.homeCellId, {}, 'Error') },
    { step: 'destroy guest', do: destroyGuest, undo: FORWARD },
    { step: 'destroy old guest', do: destroyOldGuest, undo: FORWARD },
    { step: 'revoke volumes', do: (c) => revokeAll(c, 'volume of a deleted server'), undo: FORWARD },
    // Those that are to go with the server are from now on being deleted, and nobody can have them.
    { step: 'release volumes', do: releaseAll, undo: FORWARD },
    { step: 'delete volumes', do: deleteReleased, undo: FORWARD },
    { step: 'delete ports', do: (c) => inGlobal(c, (trx) => deletePortsOfServer(trx, c.serverId)), undo: FORWARD },
    { step: 'release room', do: releaseRoom, undo: FORWARD },
    { step: 'close migration', do: closeMigration, undo: FORWARD },
    // The record stays as history, marked deleted.
    { step: 'mark record deleted', do: markDeleted, undo: FORWARD },
    { step: 'give up home', do: giveUpHome, undo: FORWARD },
  ],
};

/** All states but that of what is deleted already. */
const DELETABLE = [
  ...(['building', 'active', 'paused', 'suspended', 'rescued', 'stopped', 'resized', 'shelved'] as const),
  ...(['shelved_offloaded', 'soft-delete', 'error'] as const),
];

function takeHold(c: C) {
  return takeHoldWithVolumes(c, c.s.homeCellId, 'delete', 'deleting', { from: DELETABLE, host: c.s.host });
}

async function destroyGuest(c: C) {
  return c.s.host === null ? doneBecause('has no guest') : destroyOrOwe(c, c.s.host, 'deleted server');
}

async function destroyOldGuest(c: C) {
  return c.s.open === null ? done : destroyOrOwe(c, c.s.open.sourceHost, 'deleted server, source of its last move');
}

function releaseRoom(c: C) {
  return inGlobal(c, async (trx) => {
    await leaveServerGroup(trx, c.serverId);
    await release(trx, c.serverId);
    if (c.s.open) await release(trx, c.s.open.migrationId);
    if (c.s.shelvedImageId !== null) await discardImages(trx, [c.s.shelvedImageId], c.p.clock.now());
  });
}

async function closeMigration(c: C) {
  const { open } = c.s;
  if (open === null) return done;
  return writeMigration(c, open.migrationId, { status: 'confirmed', confirm_at: null, saga_id: c.saga.id });
}

function markDeleted(c: C) {
  const gone = {
    ...({ vm_state: 'deleted', power_state: POWER_STATE.NOSTATE, host: null } as const),
    ...{ old_flavor_json: null, old_vm_state: null, deleted_at: c.p.clock.now() },
  };
  return letGo(c, c.s.homeCellId, gone, null, async (trx) => {
    if (hasVolumes(c)) await dropMappings(trx, c.serverId);
  });
}

async function giveUpHome(c: C) {
  const { global } = c.p.stores;
  await global
    .updateTable('server_mappings')
    .set({
      ...{ deleted_at: c.p.clock.now(), delete_requested_at: null, soft_delete_requested_at: null, offload_at: null },
      // The last that will have been at the server: see control/history.ts.
      generation: c.generation,
    })
    .where('server_id', '=', c.serverId)
    .where(ownsSaga(global, c))
    .execute();
  return done;
}

/** Deletes the server, now or as soon as what is going on with it has ended. */
export async function deleteServer(p: Platform, actor: Actor, serverId: string): Promise<Refusal | null> {
  const found = await findServer(p, serverId);
  if (found.kind === 'absent') return serverNotFound(serverId);
  if (found.kind === 'down') return cellDownRefusal(serverId);
  const refusal = checkAction('delete', stateOf(found.server), isAdmin(actor));
  if (refusal) return refusal;
  if (!(await openSaga(p.stores.global, serverId))) {
    const late = await startDelete(p, actor, serverId);
    // Refused because something else has just begun: that is no reason to refuse a delete.
    if (late === null || late.code !== 409) return late;
  }
  await requestDelete(p, serverId);
  return null;
}

/** Puts on record that the server is to be deleted, and starts that as soon as it can be. Asks nobody's leave. */
export async function requestDelete(p: Platform, serverId: string): Promise<void> {
  await p.stores.global
    .updateTable('server_mappings')
    .set({ delete_requested_at: p.clock.now() })
    .where('server_id', '=', serverId)
    .where('deleted_at', 'is', null)
    .execute();
  await sqlSagaStore(p.stores.global, p.clock).requestCancel(serverId);
  p.nudge();
  // What was going on may have ended before the wish was on record, and then has not seen it.
  await startRequestedDeletes(p, serverId);
}

async function startDelete(p: Platform, actor: Actor, serverId: string): Promise<Refusal | null> {
  const found = await findServer(p, serverId);
  if (found.kind === 'absent') return serverNotFound(serverId);
  if (found.kind === 'down') return cellDownRefusal(serverId);
  const migration = await openMigration(p.stores.global, serverId);
  return startMove(
    p,
    {
      move: DELETE,
      serverId,
      actor,
      state: {
        ...askedBy(actor, found.server),
        homeCellId: found.cellId,
        host: found.server.host,
        shelvedImageId: found.server.shelvedImageId,
        open: migration ? { migrationId: migration.uuid, sourceHost: migration.sourceHost } : null,
      },
    },
    'delete',
  );
}

/** How many wishes one round tries to start. */
const BATCH = 50;

type Wish = 'delete_requested_at' | 'soft_delete_requested_at';

const wished = (db: Kysely<GlobalTables>, wish: Wish) =>
  db
    .selectFrom('server_mappings')
    .select(['server_id', 'cell_id', 'user_id', 'project_id'])
    .where(wish, 'is not', null)
    .where('deleted_at', 'is', null)
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('sagas')
            .select('id')
            .whereRef('sagas.key', '=', 'server_mappings.server_id')
            .where('sagas.status', 'in', OPEN_STATUSES),
        ),
      ),
    )
    .where(isInReachableCell)
    .orderBy(wish)
    .limit(BATCH);

type Wisher = Pick<Selectable<GlobalTables['server_mappings']>, 'server_id' | 'cell_id' | 'user_id' | 'project_id'>;

/** Asked in every round. */
const ALL_WISHED = {
  delete_requested_at: fixed<GlobalTables, object, Wisher>((db) => wished(db, 'delete_requested_at')),
  soft_delete_requested_at: fixed<GlobalTables, object, Wisher>((db) => wished(db, 'soft_delete_requested_at')),
} as const;

const wishedOf = (wish: Wish) =>
  fixed<GlobalTables, { readonly serverId: string }, Wisher>((db, { serverId }) =>
    wished(db, wish).where('server_id', '=', serverId),
  );
/** Asked whenever a saga has ended. */
const WISHED_OF_ONE = {
  delete_requested_at: wishedOf('delete_requested_at'),
  soft_delete_requested_at: wishedOf('soft_delete_requested_at'),
} as const;

/**
 * Starts what is wished, of one server or of all of which no saga is active, in the name of their owners. What cannot start
 * yet goes to the end of the queue, so that it keeps nothing else from its turn. No server of a cell that does not answer is
 * tried: each would be waited for.
 */
export async function grantWishes(
  p: Platform,
  wish: Wish,
  serverId: string | undefined,
  start: (actor: Actor, serverId: string) => Promise<Refusal | null>,
): Promise<void> {
  const db = p.stores.global;
  const { rows } = await (serverId === undefined ? ALL_WISHED[wish](db, {}) : WISHED_OF_ONE[wish](db, { serverId }));
  const answering = new Map<string, boolean>();
  for (const row of rows) {
    const answers = answering.get(row.cell_id) ?? (await cellAnswers(p, row.cell_id));
    answering.set(row.cell_id, answers);
    const actor = { userId: row.user_id, projectId: row.project_id, roles: ['admin'], requestId: newRequestId() };
    const problem = answers ? await problemOf(() => start(actor, row.server_id)) : cellDownRefusal(row.server_id);
    if (problem === null) continue;
    p.log.warn({ serverId: row.server_id, wish, problem }, 'what is wished of a server could not start yet');
    await putOff(p, wish, row.server_id);
  }
}

/** Whatever goes wrong with one is no reason not to try the others. */
async function problemOf(start: () => Promise<Refusal | null>): Promise<Refusal | { readonly err: unknown } | null> {
  try {
    return await start();
  } catch (err) {
    return { err };
  }
}

async function putOff(p: Platform, wish: Wish, serverId: string): Promise<void> {
  await p.stores.global
    .updateTable('server_mappings')
    .set({ [wish]: p.clock.now() })
    .where('server_id', '=', serverId)
    .where(wish, 'is not', null)
    .execute();
}

/** Deletes that were asked for while a saga was active and can start now: of one server, or of all. */
export function startRequestedDeletes(p: Platform, serverId?: string): Promise<void> {
  return grantWishes(p, 'delete_requested_at', serverId, (actor, id) => startDelete(p, actor, id));
}
