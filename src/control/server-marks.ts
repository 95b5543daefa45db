// What is written onto a server's record without a saga: its lock, and a state that an administrator sets by hand.
//
// Each is one guarded write to the record in its home, with an entry in the server's history in the same transaction. A
// record that a saga holds gets no other state: the saga says what is true of the server when it lets go. A lock is nobody's
// business but the users', so it waits for no saga, only for a record that is being carried to another cell (`frozen`).
import type { Transaction, Updateable } from 'kysely';
import { newId } from '../lib/ids.ts';
import { invalidState } from '../model/actions.ts';
import type { Actor, LockedBy, Refusal, VmState } from '../model/types.ts';
import type { CellTables } from '../store/cell-schema.ts';
import type { Platform } from './platform.ts';
import { serverOrRefusal } from './servers.ts';

/** Nova: whoever asks from the server's own project locks as its owner, anybody else as an administrator. */
export const lockerOf = (actor: Actor, projectId: string): LockedBy =>
  actor.projectId === projectId ? 'owner' : 'admin';

/** Locks the server. A lock that is there already its owner's does not change. `reason` null: none is given. */
export async function lockServer(
  p: Platform,
  actor: Actor,
  serverId: string,
  reason: string | null,
): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const by = lockerOf(actor, found.server.projectId);
  if (found.server.locked && by === 'owner') return null;
  return mark(p, actor, serverId, found.cellId, 'lock', { locked: by === 'owner' ? 1 : 2, locked_reason: reason });
}

export async function unlockServer(p: Platform, actor: Actor, serverId: string): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  return mark(p, actor, serverId, found.cellId, 'unlock', { locked: 0, locked_reason: null });
}

/** States that stand for more than the record: a guest kept elsewhere, a disk put aside or kept as an image. */
const NOT_BY_HAND: readonly VmState[] = [
  ...(['building', 'resized', 'rescued', 'shelved', 'shelved_offloaded', 'soft-delete', 'deleted'] as const),
];

/**
 * Says that the server is active or in error, whatever its guest does; the monitor follows with what is true of a guest
 * that is off. 409 while a saga holds the server, and in states in which something waits for an action of its own.
 */
export async function resetState(
  p: Platform,
  actor: Actor,
  serverId: string,
  state: 'active' | 'error',
): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const { server, cellId } = found;
  if (server.taskState !== null) return invalidState('resetState', serverId, 'task_state', server.taskState);
  if (server.sagaId !== null || NOT_BY_HAND.includes(server.vmState))
    return invalidState('resetState', serverId, 'vm_state', server.vmState);
  return mark(p, actor, serverId, cellId, 'resetState', { vm_state: state }, server.vmState);
}

/** `from`: the state that the record must still have, held by no saga. */
async function mark(
  p: Platform,
  actor: Actor,
  serverId: string,
  cellId: string,
  action: string,
  change: Updateable<CellTables['servers']>,
  from?: VmState,
): Promise<Refusal | null> {
  const cell = await p.stores.cell(cellId);
  const now = p.clock.now();
  const written = await cell.transaction().execute(async (trx) => {
    let update = trx
      .updateTable('servers')
      .set({ ...change, updated_at: now })
      .where('id', '=', serverId)
      .where('frozen', '=', 0)
      .where('deleted_at', 'is', null);
    if (from !== undefined) update = update.where('vm_state', '=', from).where('saga_id', 'is', null);
    if ((await update.executeTakeFirst()).numUpdatedRows !== 1n) return false;
    await noteAction(trx, actor, serverId, action, now);
    return true;
  });
  return written ? null : { code: 409, message: `Instance ${serverId} is being changed; try again in a moment.` };
}

/** An action that is over as soon as it is written down. */
export async function noteAction(
  trx: Transaction<CellTables>,
  actor: Actor,
  serverId: string,
  action: string,
  now: number,
): Promise<void> {
  const { requestId, userId, projectId } = actor;
  await trx
    .insertInto('server_actions')
    .values({
      ...{ id: newId(), server_id: serverId, action, request_id: requestId, user_id: userId, project_id: projectId },
      ...{ saga_id: null, message: null, started_at: now, finished_at: now },
    })
    .execute();
}
