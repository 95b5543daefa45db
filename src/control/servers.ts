// Servers, read from their homes, and the small changes that need no saga.
//
// The global mapping says which cell is a server's home; only that cell's record counts, whatever any other cell may
// hold (lists: server-lists.ts). User edits (name, description, metadata) are single-row writes that do nothing
// while a move carries the record over (`frozen`).
import type { Selectable, Updateable } from 'kysely';
import { serverNotFound } from '../model/actions.ts';
import { refused } from '../model/refusal.ts';
import { POWER_STATE, type Refusal, type Server } from '../model/types.ts';
import type { Entry } from '../saga/types.ts';
import type { CellTables } from '../store/cell-schema.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { CellDown } from '../store/stores.ts';
import type { Platform } from './platform.ts';
import { serverOf } from './records.ts';

export type Mapping = Selectable<GlobalTables['server_mappings']>;

export type FoundServer =
  | {
      readonly kind: 'found';
      readonly server: Server;
      readonly cellId: string;
      readonly generation: number;
      /** What was asked for and waits for a saga to end. */
      readonly deleteRequested: boolean;
      readonly softDeleteRequested: boolean;
    }
  /** Its cell cannot be reached, or could not be when the record was to be written: all that is known is the mapping. */
  | {
      readonly kind: 'down';
      readonly cellId: string;
      readonly mapping: Mapping;
      /** The cell answered, but has no record of the server. */
      readonly reached: boolean;
    }
  | { readonly kind: 'absent' };

/** How often a server is looked for that is not where its mapping says. */
const LOOKS = 3;

/** The server as its home records it. Deleted servers are absent. */
export async function findServer(p: Platform, serverId: string): Promise<FoundServer> {
  for (let look = 1; ; look += 1) {
    const found = await lookFor(p, serverId);
    // A move may have switched the home, and taken the record away, between the two reads: the mapping knows by now.
    if (found.kind !== 'down' || !found.reached || look === LOOKS) return found;
  }
}

const MAPPING = fixed<GlobalTables, { readonly serverId: string }, Mapping>((db, { serverId }) =>
  db.selectFrom('server_mappings').selectAll().where('server_id', '=', serverId).where('deleted_at', 'is', null),
);

const RECORD = fixed<CellTables, { readonly serverId: string }, Selectable<CellTables['servers']>>((db, { serverId }) =>
  db.selectFrom('servers').selectAll().where('id', '=', serverId),
);

async function lookFor(p: Platform, serverId: string): Promise<FoundServer> {
  const [mapping] = (await MAPPING(p.stores.global, { serverId })).rows;
  if (!mapping) return { kind: 'absent' };
  try {
    const cell = await p.stores.cell(mapping.cell_id);
    const [row] = (await RECORD(cell, { serverId })).rows;
    // A server that was just accepted exists, also while its record is still to be written.
    if (!row) return { kind: 'down', cellId: mapping.cell_id, mapping, reached: true };
    if (row.deleted_at !== null) return { kind: 'absent' };
    return {
      kind: 'found',
      server: serverOf(row),
      cellId: mapping.cell_id,
      generation: mapping.generation,
      deleteRequested: mapping.delete_requested_at !== null,
      softDeleteRequested: mapping.soft_delete_requested_at !== null,
    };
  } catch (error) {
    if (error instanceof CellDown) return { kind: 'down', cellId: mapping.cell_id, mapping, reached: false };
    throw error;
  }
}

export type PowerRecord = Pick<Server, 'vmState' | 'powerState'>;

/** Whether the server's guest is to be running while nothing is going on with it. */
export const shouldRun = (server: PowerRecord): boolean =>
  server.vmState === 'active' ||
  server.vmState === 'paused' ||
  ((server.vmState === 'resized' || server.vmState === 'rescued') && server.powerState === POWER_STATE.RUNNING);

/** Whether it is to be off. What ERROR or any other state means for the guest, its history alone can say. */
export const shouldBeOff = (server: PowerRecord): boolean =>
  server.vmState === 'stopped' ||
  server.vmState === 'shelved' ||
  // Soft-deleted while its host was down.
  server.vmState === 'soft-delete' ||
  ((server.vmState === 'resized' || server.vmState === 'rescued') && server.powerState === POWER_STATE.SHUTDOWN);

/** The server and its home; or 404, or 503 when its cell cannot be reached. */
export async function serverOrRefusal(
  p: Platform,
  serverId: string,
): Promise<Extract<FoundServer, { kind: 'found' }> | Refusal> {
  const found = await findServer(p, serverId);
  switch (found.kind) {
    case 'absent':
      return serverNotFound(serverId);
    case 'down':
      return cellDownRefusal(serverId);
    case 'found':
      return found;
  }
}

export interface ServerEdit {
  readonly name?: string;
  readonly description?: string | null;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly tags?: readonly string[];
  readonly diskConfig?: 'AUTO' | 'MANUAL';
  readonly accessIpV4?: string | null;
  readonly accessIpV6?: string | null;
  readonly hostname?: string;
}

/** Changes what the user may change at any time. 409 in the instant in which a move carries the record over. */
export async function editServer(p: Platform, serverId: string, edit: ServerEdit): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const change: Updateable<CellTables['servers']> = { updated_at: p.clock.now() };
  if (edit.name !== undefined) change.name = edit.name;
  if (edit.description !== undefined) change.description = edit.description;
  if (edit.metadata !== undefined) change.metadata_json = JSON.stringify(edit.metadata);
  if (edit.tags !== undefined) change.tags_json = JSON.stringify(edit.tags);
  if (edit.diskConfig !== undefined) change.disk_config = edit.diskConfig;
  if (edit.accessIpV4 !== undefined) change.access_ip_v4 = edit.accessIpV4;
  if (edit.accessIpV6 !== undefined) change.access_ip_v6 = edit.accessIpV6;
  if (edit.hostname !== undefined) change.hostname = edit.hostname;
  const cell = await p.stores.cell(found.cellId);
  const { numUpdatedRows } = await cell
    .updateTable('servers')
    .set(change)
    .where('id', '=', serverId)
    .where('frozen', '=', 0)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  return numUpdatedRows === 1n
    ? null
    : { code: 409, message: `Instance ${serverId} is being moved to another cell; try again in a moment.` };
}

export const cellDownRefusal = (serverId: string): Refusal => ({
  code: 503,
  message: `The cell of instance ${serverId} is unavailable at this time.`,
});

/** The serial console's last `lines` lines (all that the host keeps when undefined). */
export async function consoleOutput(
  p: Platform,
  serverId: string,
  lines?: number,
): Promise<{ kind: 'ok'; output: string } | { kind: 'refused'; refusal: Refusal }> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return refused(found);
  if (found.server.host === null) return refused({ code: 409, message: `Instance ${serverId} is not ready` });
  const reply = await (await p.host(found.server.host)).console(serverId, lines);
  switch (reply.kind) {
    case 'ok':
      return { kind: 'ok', output: reply.value.output };
    case 'absent':
      return refused({ code: 409, message: `Instance ${serverId} is not ready` });
    case 'fenced':
    case 'refused':
    case 'unreachable':
      return refused({ code: 503, message: 'Service is unavailable at this time.' });
  }
}

export interface ServerActionEvent {
  readonly event: string;
  readonly startedAt: number;
  readonly finishedAt: number | null;
  readonly result: 'Success' | 'Error' | null;
  readonly host: string | null;
  readonly details: string | null;
}

export interface ServerAction {
  readonly action: string;
  readonly requestId: string;
  readonly userId: string;
  readonly projectId: string;
  readonly startedAt: number;
  readonly updatedAt: number;
  readonly finishedAt: number | null;
  readonly message: string | null;
  readonly events: readonly ServerActionEvent[];
}

/**
 * What was done to a server, newest first. An action's events are the journal of the saga that carried it out, so
 * they are complete wherever the server has moved since, and cost nothing to keep.
 */
export async function serverActions(p: Platform, serverId: string): Promise<ServerAction[]> {
  const mapping = await p.stores.global
    .selectFrom('server_mappings')
    .select('cell_id')
    .where('server_id', '=', serverId)
    .executeTakeFirst();
  if (!mapping) return [];
  const cell = await p.stores.cell(mapping.cell_id);
  const actions = await cell
    .selectFrom('server_actions')
    .selectAll()
    .where('server_id', '=', serverId)
    .orderBy('started_at', 'desc')
    .orderBy('id', 'desc')
    .execute();
  const sagas = await p.stores.global
    .selectFrom('sagas')
    .select(['id', 'definition', 'journal_json', 'created_at'])
    .where('key', '=', serverId)
    .execute();
  const sagaById = new Map(sagas.map((saga) => [saga.id, saga]));
  return actions.map((action) => {
    const saga = action.saga_id === null ? undefined : sagaById.get(action.saga_id);
    const events = saga ? eventsOf(saga.definition, saga.created_at, JSON.parse(saga.journal_json) as Entry[]) : [];
    return {
      action: action.action,
      requestId: action.request_id,
      userId: action.user_id,
      projectId: action.project_id,
      startedAt: action.started_at,
      updatedAt: events.at(-1)?.finishedAt ?? action.finished_at ?? action.started_at,
      finishedAt: action.finished_at,
      message: action.message,
      events,
    };
  });
}

/** A step's event starts where the one before ended. */
function eventsOf(definition: string, startedAt: number, journal: readonly Entry[]): ServerActionEvent[] {
  let before = startedAt;
  return journal.map((entry) => {
    // An operator's order is no run of its step: it says so in its name.
    const order = entry.outcome === 'done' || entry.outcome === 'failed' ? '' : `${entry.outcome}_`;
    const event: ServerActionEvent = {
      event: `${definition}_${order}${entry.direction === 'undo' ? 'undo_' : ''}${entry.step.replaceAll(' ', '_')}`,
      startedAt: before,
      finishedAt: entry.at,
      result: entry.outcome === 'failed' ? 'Error' : 'Success',
      host: null,
      details: entry.note ?? null,
    };
    before = entry.at;
    return event;
  });
}
