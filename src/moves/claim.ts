// Taking hold of a server, and letting go of it: the first and the last step of every saga.
//
// The unique index over active sagas makes sure that one saga at a time works on a server; the record's task_state and
// saga_id are what users see of it. Both writes below are compare-and-set on saga_id, so that they may be repeated and
// can never touch a server that some other saga holds. The instance action has the saga's id: one row per saga.
// A saga's state is made from what the record said when its user asked. Letting go counts the record's revision up, and
// who has seen an earlier one is kept out: whatever a saga that came between has changed, image and flavor too, is seen.
import type { InsertResult, Transaction, Updateable, UpdateResult } from 'kysely';
import type { Server, TaskState, VmState } from '../model/types.ts';
import type { CellTables } from '../store/cell-schema.ts';
import { isListed, type Listed, listed } from '../store/dialect.ts';
import { fixed } from '../store/fixed.ts';
import { inCell } from './fencing.ts';
import type { Owner, StepContext, StepOutcome } from './move.ts';
import { doneBecause, LANDED } from './outcomes.ts';
import { type HasVolumes, volumesHeld } from './server-volumes.ts';

export interface ActionState {
  readonly actor: Owner;
  /** Of the server's record that the state was made from. */
  readonly revision: number;
}

/** The part of a state that says who asks and what they have seen. */
export const askedBy = ({ userId, projectId }: Owner, { revision }: Pick<Server, 'revision'>): ActionState => ({
  actor: { userId, projectId },
  revision,
});

/** What the caller went by when it made the saga's state: the record must still say so when it is taken hold of. */
export interface Expected {
  readonly from: readonly VmState[];
  readonly host: string | null;
}

interface NewAction {
  readonly id: string;
  readonly serverId: string;
  readonly action: string;
  readonly requestId: string;
  readonly userId: string;
  readonly projectId: string;
  readonly now: number;
}

const IN_NO_STATE = 'the server is in no state to';

/** Whether the server could not be taken hold of because it has changed meanwhile. */
export const isInNoState = (reason: string): boolean => reason.startsWith(IN_NO_STATE);

const OPEN_ACTION = fixed<CellTables, NewAction, InsertResult>((cell, action) =>
  cell
    .insertInto('server_actions')
    .values({
      id: action.id,
      server_id: action.serverId,
      action: action.action,
      request_id: action.requestId,
      user_id: action.userId,
      project_id: action.projectId,
      saga_id: action.id,
      message: null,
      started_at: action.now,
      finished_at: null,
    })
    .onConflict((conflict) => conflict.column('id').doNothing()),
);

interface Hold {
  readonly serverId: string;
  readonly sagaId: string;
  readonly task: TaskState | null;
  readonly now: number;
  readonly from: Listed;
  readonly host: string | null;
  readonly revision: number;
}

/** Answers how many volumes the server has, when it is as expected or held already. */
const HOLD = fixed<CellTables, Hold, { readonly volumes: number | null }>((cell, hold) =>
  cell
    .updateTable('servers')
    .set({ task_state: hold.task, saga_id: hold.sagaId, updated_at: hold.now })
    .where('id', '=', hold.serverId)
    .where('deleted_at', 'is', null)
    .where((eb) =>
      eb.or([
        eb('saga_id', '=', hold.sagaId),
        eb.and([
          eb('saga_id', 'is', null),
          isListed(cell, 'vm_state', hold.from),
          eb('host', 'is not distinct from', hold.host),
          eb('revision', '=', hold.revision),
        ]),
      ]),
    )
    .returning((eb) =>
      eb
        .selectFrom('block_device_mappings as b')
        .select(eb.fn.countAll<number>().as('n'))
        .whereRef('b.server_id', '=', 'servers.id')
        .as('volumes'),
    ),
);

const CLOSE_ACTION = fixed<
  CellTables,
  { readonly id: string; readonly now: number; readonly message: string | null },
  UpdateResult
>((cell, { id, now, message }) =>
  cell.updateTable('server_actions').set({ finished_at: now, message }).where('id', '=', id),
);

/**
 * Sets task and saga on the record in its home, and opens the instance action.
 * @param also happens in the same transaction, once the server is held; is told how many volumes it has
 */
export async function takeHold<S extends ActionState>(
  c: StepContext<S>,
  cellId: string,
  action: string,
  task: TaskState | null,
  expected: Expected,
  also?: (trx: Transaction<CellTables>, volumes: number) => Promise<StepOutcome<S>>,
): Promise<StepOutcome<S>> {
  const cell = await c.p.stores.cell(cellId);
  const now = c.p.clock.now();
  // One transaction: a conductor that stalls between the two writes must not open an action in a cell left behind.
  return inCell(cell, c, async (trx): Promise<StepOutcome<S>> => {
    const hold = { serverId: c.serverId, sagaId: c.saga.id, task, now, host: expected.host, revision: c.s.revision };
    const [held] = (await HOLD(trx, { ...hold, from: listed(trx, expected.from) })).rows;
    if (!held) {
      return { kind: 'failed', reason: `${IN_NO_STATE} ${action}`, final: true };
    }
    const { id, requestId } = c.saga;
    await OPEN_ACTION(trx, { id, serverId: c.serverId, action, requestId, ...c.s.actor, now });
    return also ? also(trx, held.volumes ?? 0) : { kind: 'done' };
  });
}

/** Takes hold as above, and finds out which volumes the server has: see server-volumes.ts. */
export const takeHoldWithVolumes = <S extends ActionState & HasVolumes>(
  c: StepContext<S>,
  cellId: string,
  action: string,
  task: TaskState | null,
  expected: Expected,
): Promise<StepOutcome<S>> =>
  takeHold(c, cellId, action, task, expected, async (trx, count) => {
    const found: HasVolumes = { volumes: await volumesHeld(trx, c.serverId, count) };
    return { kind: 'done', output: found as Partial<S> };
  });

/** Undoes a pivot that lets go of the server: who has let go does not take hold again, but is done. */
export async function unlessLetGo<S>(c: StepContext<S>, cellId: string): Promise<StepOutcome<S>> {
  const cell = await c.p.stores.cell(cellId);
  return inCell(cell, c, async (trx): Promise<StepOutcome<S>> => {
    const held = await trx
      .selectFrom('servers')
      .select('id')
      .where('id', '=', c.serverId)
      .where('saga_id', '=', c.saga.id)
      .executeTakeFirst();
    return held ? doneBecause('it still holds the server') : LANDED;
  });
}

/**
 * Changes the record, clears task and saga, and closes the instance action. `message`: null when all went well.
 * @param also happens in the same transaction
 */
export async function letGo<S>(
  c: StepContext<S>,
  cellId: string,
  change: Updateable<CellTables['servers']>,
  message: string | null,
  also?: (trx: Transaction<CellTables>) => Promise<unknown>,
): Promise<StepOutcome<S>> {
  const cell = await c.p.stores.cell(cellId);
  const now = c.p.clock.now();
  await inCell(cell, c, async (trx) => {
    await also?.(trx);
    await CLOSE_ACTION(trx, { id: c.saga.id, now, message });
    await trx
      .updateTable('servers')
      .set((eb) => ({
        ...{ ...change, task_state: null, saga_id: null, frozen: 0, updated_at: now },
        revision: eb('revision', '+', 1),
      }))
      .where('id', '=', c.serverId)
      .where('saga_id', '=', c.saga.id)
      .execute();
  });
  return { kind: 'done' };
}
