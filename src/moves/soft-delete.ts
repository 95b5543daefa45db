// Soft delete and restore.
//
// With `reclaim_instance_interval` a DELETE turns the guest off and keeps everything: disks, ports, volumes, room. For that
// long the owner may restore the server; then the monitor puts its delete on record, and that is a delete like any other.
// A soft-deleted server is in no list and counts in no quota, so a restore is refused where the quota has no room for it
// any more. Both hang on one column of the server's mapping, `soft_deleted_at`; reclaiming and restoring meet there too:
// each is one write to that row, and whoever comes second finds it changed.
//
// As with delete, a wish that meets an active saga is put on record, the saga is asked to turn back, and the soft delete
// starts when that has ended. A server in VERIFY_RESIZE is confirmed first, whatever its source host does.
// Once taken hold of, a server is soft-deleted: nothing is undone. A host that is down does not hold it up; when it is
// back, its guest is turned off because its record says so (reconcile.ts).
import type { Transaction } from 'kysely';
import { hasJumped } from '../control/heartbeats.ts';
import { hostIsUp } from '../control/hosts.ts';
import { openMigration } from '../control/migrations.ts';
import type { Platform } from '../control/platform.ts';
import { firstOver, lockQuota, quotasFor } from '../control/quota.ts';
import { type FoundServer, serverOrRefusal } from '../control/servers.ts';
import { checkAction, invalidState, serverNotFound, stateOf } from '../model/actions.ts';
import { checkOneMore } from '../model/quota.ts';
import { type Actor, isAdmin, POWER_STATE, type Refusal, type Server } from '../model/types.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { openSaga, sqlSagaStore } from '../store/sagas.ts';
import { type ActionState, askedBy, letGo, takeHold, unlessLetGo } from './claim.ts';
import { startConfirm } from './confirm.ts';
import { deleteServer, grantWishes } from './delete.ts';
import { unlessDoomed } from './hosts.ts';
import type { Move, StepContext, StepOutcome } from './move.ts';
import { done, doneBecause, inGlobal } from './outcomes.ts';
import { powerOffAgain, powerOffIfThere, powerOn } from './power-effects.ts';
import { startMove } from './start.ts';
import { inTurn } from './turns.ts';

export interface SoftDeleteState extends ActionState {
  readonly cellId: string;
  readonly host: string;
  readonly graceSeconds: number;
  /** vm_state that a restore returns to. */
  readonly returnTo: 'active' | 'stopped';
}

const FORWARD = 'forward only: it is off and stays so until it is restored';

export const SOFT_DELETE: Move<SoftDeleteState> = {
  name: 'soft delete',
  version: 1,
  pivot: 'take hold',
  parties: (s) => [s.host],
  steps: [
    {
      step: 'take hold',
      do: (c) =>
        takeHold(c, c.s.cellId, 'softDelete', 'soft-deleting', {
          from: ['active', 'paused', 'suspended', 'stopped', 'error'],
          host: c.s.host,
        }),
      undo: (c) => letGo(c, c.s.cellId, {}, 'Error'),
    },
    {
      step: 'turn off',
      do: turnOffOrLater,
      undo: FORWARD,
    },
    {
      step: 'put aside',
      do: (c) =>
        inGlobal(c, (trx) =>
          trx
            .updateTable('server_mappings')
            .set({ soft_deleted_at: c.p.clock.now(), soft_delete_requested_at: null })
            .where('server_id', '=', c.serverId)
            .execute(),
        ),
      undo: FORWARD,
    },
    {
      step: 'let go',
      do: (c) =>
        letGo(
          c,
          c.s.cellId,
          { vm_state: 'soft-delete', power_state: POWER_STATE.SHUTDOWN, old_vm_state: c.s.returnTo },
          null,
        ),
      undo: FORWARD,
    },
  ],
};

/** Off; or on a host that is down, and turned off when that is back. */
async function turnOffOrLater(c: StepContext<SoftDeleteState>): Promise<StepOutcome<SoftDeleteState>> {
  const { host } = c.s;
  const off = await unlessDoomed(c, host, await powerOffIfThere(c, host, c.s.graceSeconds));
  if (off.kind !== 'failed' || off.final || (await hostIsUp(c.p, host))) return off;
  return doneBecause(`host ${host} is down: the guest is turned off when it is back`);
}

export interface RestoreState extends ActionState {
  readonly cellId: string;
  readonly host: string;
  /** ms since epoch; what to return to when it cannot be restored. */
  readonly softDeletedAt: number;
  readonly wasOn: boolean;
}

export const RESTORE: Move<RestoreState> = {
  name: 'restore',
  version: 1,
  pivot: 'let go',
  made: 1,
  parties: (s) => [s.host],
  steps: [
    {
      // Done in the transaction that makes the saga, which begins behind it: so it is undone whatever fails.
      step: 'count again',
      do: async () => done,
      undo: (c) =>
        inGlobal(c, (trx) =>
          trx
            .updateTable('server_mappings')
            .set({ soft_deleted_at: c.s.softDeletedAt })
            .where('server_id', '=', c.serverId)
            .execute(),
        ),
    },
    {
      step: 'take hold',
      do: (c) => takeHold(c, c.s.cellId, 'restore', 'restoring', { from: ['soft-delete'], host: c.s.host }),
      undo: (c) => letGo(c, c.s.cellId, {}, 'Error'),
    },
    {
      step: 'turn on',
      do: async (c) => (c.s.wasOn ? powerOn(c, c.s.host) : doneBecause('was off')),
      undo: async (c) => (c.s.wasOn ? powerOffAgain(c, c.s.host) : doneBecause('was off')),
    },
    {
      step: 'let go',
      do: (c) =>
        letGo(
          c,
          c.s.cellId,
          c.s.wasOn
            ? { vm_state: 'active', power_state: POWER_STATE.RUNNING, old_vm_state: null }
            : { vm_state: 'stopped', power_state: POWER_STATE.SHUTDOWN, old_vm_state: null },
          null,
        ),
      undo: (c) => unlessLetGo(c, c.s.cellId),
    },
  ],
};

/** Deletes the server so that it can be restored for a while. One that never ran is deleted for good, as in Nova. */
export async function softDeleteServer(p: Platform, actor: Actor, serverId: string): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const state = stateOf(found.server);
  const refusal = checkAction('delete', state, isAdmin(actor));
  if (refusal) return refusal;
  if (isKept(found.server) || checkAction('softDelete', state, isAdmin(actor))) {
    return deleteServer(p, actor, serverId);
  }
  if (found.server.vmState !== 'resized' && !(await openSaga(p.stores.global, serverId))) {
    const late = await startSoftDelete(p, actor, found);
    // Refused because something else has just begun: that is no reason to refuse a delete.
    if (late === null || late.code !== 409) return late;
  }
  await p.stores.global
    .updateTable('server_mappings')
    .set({ soft_delete_requested_at: p.clock.now() })
    .where('server_id', '=', serverId)
    .where('deleted_at', 'is', null)
    .execute();
  await sqlSagaStore(p.stores.global, p.clock).requestCancel(serverId);
  p.nudge();
  // What was going on may have ended before the wish was on record, and then has not seen it.
  await startRequestedSoftDeletes(p, serverId);
  return null;
}

type Found = Extract<FoundServer, { readonly kind: 'found' }>;

/**
 * What is next for a server that is to be soft-deleted and that nobody works on; null: that is under way, or there is
 * nothing.
 */
async function startSoftDelete(p: Platform, actor: Actor, { server, cellId }: Found): Promise<Refusal | null> {
  const serverId = server.id;
  if (server.vmState === 'soft-delete') {
    await forgetWish(p, serverId);
    return null;
  }
  const { host } = server;
  if (host === null || isKept(server)) return deleteServer(p, actor, serverId);
  if (server.vmState === 'resized') {
    const migration = await openMigration(p.stores.global, serverId);
    return migration ? startConfirm(p, actor, { server, cellId }, migration) : serverNotFound(serverId);
  }
  const wasOn = server.powerState === POWER_STATE.RUNNING || server.powerState === POWER_STATE.PAUSED;
  const state = {
    ...askedBy(actor, server),
    cellId,
    host,
    // A guest that stands still hears no button.
    graceSeconds: server.vmState === 'paused' ? 0 : p.settings.shutdownTimeoutSeconds,
    returnTo: wasOn ? ('active' as const) : ('stopped' as const),
  };
  return startMove(p, { move: SOFT_DELETE, serverId, actor, state }, 'delete');
}

/**
 * There is nothing to keep of it, or an image keeps it already: it is deleted at once. So is one that is rescued, which a
 * restore would start from the wrong disk.
 */
const isKept = ({ host, vmState }: Server): boolean =>
  host === null || vmState === 'shelved' || vmState === 'shelved_offloaded' || vmState === 'rescued';

async function forgetWish(p: Platform, serverId: string): Promise<void> {
  await p.stores.global
    .updateTable('server_mappings')
    .set({ soft_delete_requested_at: null })
    .where('server_id', '=', serverId)
    .where('soft_deleted_at', 'is not', null)
    .execute();
}

/** Soft deletes that were asked for while a saga was active and can start now: of one server, or of all. */
export function startRequestedSoftDeletes(p: Platform, serverId?: string): Promise<void> {
  return grantWishes(p, 'soft_delete_requested_at', serverId, async (actor, id) => {
    const found = await serverOrRefusal(p, id);
    return 'code' in found ? found : startSoftDelete(p, actor, found);
  });
}

/** Brings a soft-deleted server back as it was. 403 when the quota has no room for it any more. */
export const restoreServer = inTurn(beginRestore);

async function beginRestore(p: Platform, actor: Actor, serverId: string): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const { server, cellId } = found;
  const refusal = checkAction('restore', stateOf(server), isAdmin(actor));
  if (refusal) return refusal;
  const mapping = await p.stores.global
    .selectFrom('server_mappings')
    .select('soft_deleted_at')
    .where('server_id', '=', serverId)
    .executeTakeFirst();
  if (server.host === null || typeof mapping?.soft_deleted_at !== 'number') return notNow(found);
  const state = {
    ...askedBy(actor, server),
    cellId,
    host: server.host,
    softDeletedAt: mapping.soft_deleted_at,
    wasOn: server.oldVmState === 'active',
  };
  const claim = (trx: Transaction<GlobalTables>): Promise<Refusal | null> => countAgain(p, trx, found);
  return startMove(p, { move: RESTORE, serverId, actor, state, claim }, 'restore');
}

/** The server counts in its project's quota again; refused when there is no room, or when it is to be deleted for good. */
async function countAgain(p: Platform, trx: Transaction<GlobalTables>, found: Found): Promise<Refusal | null> {
  const { server } = found;
  await lockQuota(trx, server.projectId);
  const over = firstOver(await quotasFor(p, server, trx), (limits, used) => checkOneMore(limits, used, server.flavor));
  if (over) return over;
  const { numUpdatedRows } = await trx
    .updateTable('server_mappings')
    .set({ soft_deleted_at: null })
    .where('server_id', '=', server.id)
    .where('soft_deleted_at', 'is not', null)
    .where('delete_requested_at', 'is', null)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  return numUpdatedRows === 1n ? null : notNow(found);
}

const notNow = ({ server, deleteRequested }: Found): Refusal =>
  invalidState('restore', server.id, 'task_state', deleteRequested ? 'deleting' : server.taskState);

/** How many servers one round reclaims. */
const BATCH = 50;

const RECLAIM = fixed<GlobalTables, { readonly now: number; readonly before: number }, { readonly server_id: string }>(
  (db, { now, before }) =>
    db
      .updateTable('server_mappings')
      .set({ delete_requested_at: now })
      .where('server_id', 'in', (from) =>
        from
          .selectFrom('server_mappings')
          .select('server_id')
          .where('soft_deleted_at', '<=', before)
          .where('delete_requested_at', 'is', null)
          .where('deleted_at', 'is', null)
          .limit(BATCH),
      )
      // Once more: one that is restored meanwhile stays.
      .where('soft_deleted_at', 'is not', null)
      .where('deleted_at', 'is', null)
      .returning('server_id'),
);

/**
 * Puts the delete of servers on record that have been soft-deleted for longer than the interval. Not shortly after the clock
 * has jumped: nobody has asked for a delete if the clock is put right again.
 */
export async function reclaimSoftDeleted(p: Platform): Promise<void> {
  const { reclaimInstanceIntervalSeconds } = p.settings;
  if (reclaimInstanceIntervalSeconds === 0 || hasJumped(p)) return;
  const now = p.clock.now();
  const before = now - reclaimInstanceIntervalSeconds * 1000;
  for (const { server_id } of (await RECLAIM(p.stores.global, { now, before })).rows)
    p.log.info({ serverId: server_id }, 'a soft-deleted server is reclaimed');
}
