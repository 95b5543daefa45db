// Lists of servers over all cells.
//
// The global mappings say which servers there are, in which order, and where each is at home; the homes say the rest. A
// move may switch a home between those two reads and take the record away from where it is looked for: what is missing is
// therefore looked for once more where the mapping says then. A list leaves out the servers of a cell that is down, or, by
// `newestServers`, has in their places what the mappings know of them: so pages go on where they were whatever comes and
// goes.
//
// Three ways to read: `newestServers` walks the mappings in their order and stops when it has a page; `listServers` reads
// everything that matches, for orders and filters that only the cells know; `serversBetween`, which bills are made from,
// walks them by project, and has no answer when a cell that it needs has none.
import { sql } from 'kysely';
import type { Server } from '../model/types.ts';
import { CellDown } from '../store/stores.ts';
import { askCell } from './ask-cell.ts';
import type { Platform } from './platform.ts';
import { serverOf } from './records.ts';

export interface ServerFilter {
  /** Null: of all projects. */
  readonly projectId: string | null;
  readonly host?: string;
  /** Rows changed at or after this time. */
  readonly changesSince?: number;
  /** Deleted servers: only they, or they too; absent: none. */
  readonly gone?: 'only' | 'too';
  /**
   * Whether soft-deleted ones are among them; absent: where deleted ones are
   * (nova/db/main/api.py:instance_get_all_by_filters_sort).
   */
  readonly softDeleted?: boolean;
}

export interface ServerList {
  /** Newest first: created_at, then id, both descending. */
  readonly servers: readonly Server[];
  /** The cells that did not answer. */
  readonly downCells: readonly string[];
}

/** A server of which its mapping alone can be read: its cell is down. */
export interface Unreachable {
  readonly server_id: string;
  readonly project_id: string;
  readonly created_at: number;
}

/** A place in a list. */
export type Entry =
  | { readonly kind: 'server'; readonly id: string; readonly server: Server }
  | { readonly kind: 'unreachable'; readonly id: string; readonly home: Unreachable };

/** The order of lists. */
export const newestFirst = (a: Server, b: Server): number => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1);

/** All servers that match. Finer filters and paging are the caller's: they work on the merged list of all cells. */
export async function listServers(p: Platform, filter: ServerFilter): Promise<ServerList> {
  const homes = await homesOf(p, filter);
  const asked = await Promise.all(
    [...new Set(homes.values())].map(async (cellId) => ({ cellId, found: await read(p, cellId, filter) })),
  );
  const downCells = asked.flatMap(({ cellId, found }) => (found === null ? [cellId] : []));
  const found = new Map<string, Server>();
  for (const { cellId, found: servers } of asked) {
    for (const server of servers ?? []) if (homes.get(server.id) === cellId) found.set(server.id, server);
  }
  const isMissing = ([id, cellId]: [string, string]): boolean => !found.has(id) && !downCells.includes(cellId);
  if ([...homes].some(isMissing)) {
    const moved = [...(await homesOf(p, filter))].filter(([id, cellId]) => homes.has(id) && homes.get(id) !== cellId);
    const again = await readHomes(p, new Map(moved), filter);
    for (const server of again.servers) found.set(server.id, server);
  }
  const servers = [...found.values()].sort(newestFirst);
  return { servers, downCells };
}

/** How many mappings are looked at in one go: as many as are wanted, then more and more. */
const CHUNK = { least: 20, most: 2000 };

/**
 * The first `limit` servers behind `marker` (absent: from the newest on) that pass the test; deleted ones are left out.
 * Null when the marker is and was no server of the project. A chunk of mappings is one statement and one for each of its cells.
 */
export async function newestServers(
  p: Platform,
  list: {
    readonly projectId: string | null;
    readonly marker: string | undefined;
    readonly limit: number;
    readonly test: (server: Server) => boolean;
    /** Those in cells that are down have their places, too. */
    readonly unreachable: boolean;
  },
): Promise<readonly Entry[] | null> {
  let behind: Position | null = null;
  if (list.marker !== undefined) {
    behind = await positionOf(p, list.projectId, list.marker);
    if (!behind) return null;
  }
  const entries: Entry[] = [];
  let size = Math.min(CHUNK.most, Math.max(CHUNK.least, list.limit));
  while (entries.length < list.limit) {
    const chunk = await mappingsBehind(p, list.projectId, behind, size);
    const read = await readHomes(p, new Map(chunk.map((each) => [each.server_id, each.cell_id])), {
      projectId: list.projectId,
    });
    const byId = new Map(read.servers.map((server) => [server.id, server]));
    for (const home of chunk) {
      if (entries.length === list.limit) break;
      const [id, server] = [home.server_id, byId.get(home.server_id)];
      if (server && list.test(server)) entries.push({ kind: 'server', id, server });
      else if (!server && list.unreachable && read.downCells.includes(home.cell_id))
        entries.push({ kind: 'unreachable', id, home });
    }
    behind = chunk.at(-1) ?? behind;
    if (chunk.length < size) break;
    size = Math.min(CHUNK.most, size * 2);
  }
  return entries;
}

/** `downCells`: cells that have some of them and did not answer; a list without those is not to be had. */
export type ServersBetween =
  | { readonly kind: 'ok'; readonly servers: readonly Server[] }
  | { readonly kind: 'no marker' }
  | { readonly kind: 'down'; readonly downCells: readonly string[] };

interface Between {
  readonly projectId: string | null;
  /** Times in ms: there before `until`, and still there behind `from`. */
  readonly from: number;
  readonly until: number;
}

/**
 * Servers that were there at some time in a period and pass the test, deleted ones too, by project and id: the first
 * `limit` of them behind `marker`; fewer than that are all that there are. No marker: it is no server (of the project).
 */
export async function serversBetween(
  p: Platform,
  wanted: Between & {
    readonly marker: string | undefined;
    readonly limit: number;
    readonly test: (server: Server) => boolean;
  },
): Promise<ServersBetween> {
  const { projectId, limit, marker } = wanted;
  let behind: Place | null = null;
  if (marker !== undefined) {
    behind = await placeOf(p, projectId, marker);
    if (!behind) return { kind: 'no marker' };
  }
  const servers: Server[] = [];
  let size = Math.min(CHUNK.most, Math.max(CHUNK.least, limit));
  while (servers.length < limit) {
    const chunk = await mappingsBetween(p, wanted, behind, size);
    const homes = new Map(chunk.map((each) => [each.server_id, each.cell_id]));
    const read = await readHomes(p, homes, { projectId, gone: 'too' });
    if (read.downCells.length > 0) return { kind: 'down', downCells: read.downCells };
    const byId = new Map(read.servers.map((server) => [server.id, server]));
    for (const { server_id } of chunk) {
      const server = byId.get(server_id);
      if (server && servers.length < limit && wanted.test(server)) servers.push(server);
    }
    behind = chunk.at(-1) ?? behind;
    if (chunk.length < size) break;
    size = Math.min(CHUNK.most, size * 2);
  }
  return { kind: 'ok', servers };
}

interface Place {
  readonly project_id: string;
  readonly server_id: string;
}

async function placeOf(p: Platform, projectId: string | null, serverId: string): Promise<Place | null> {
  let query = p.stores.global
    .selectFrom('server_mappings')
    .select(['project_id', 'server_id'])
    .where('server_id', '=', serverId);
  if (projectId !== null) query = query.where('project_id', '=', projectId);
  return (await query.executeTakeFirst()) ?? null;
}

async function mappingsBetween(p: Platform, { projectId, from, until }: Between, behind: Place | null, limit: number) {
  let query = p.stores.global
    .selectFrom('server_mappings')
    .select(['server_id', 'cell_id', 'project_id'])
    .where('created_at', '<', until)
    .where((eb) => eb.or([eb('deleted_at', 'is', null), eb('deleted_at', '>', from)]))
    .orderBy('project_id')
    .orderBy('server_id')
    .limit(limit);
  if (projectId !== null) query = query.where('project_id', '=', projectId);
  if (behind) query = query.where(sql<boolean>`(project_id, server_id) > (${behind.project_id}, ${behind.server_id})`);
  return query.execute();
}

interface Position {
  readonly created_at: number;
  readonly server_id: string;
}

/**
 * The server by whose place another page begins, deleted or not: whoever lists servers page by page may delete those that
 * were listed. Null: the project (null: nobody) has had none of that id, or its cell cannot be reached.
 */
export async function markerServer(p: Platform, projectId: string | null, serverId: string): Promise<Server | null> {
  const filter = { projectId, gone: 'too' } as const;
  const { servers } = await readHomes(p, await homesOf(p, filter, [serverId]), filter);
  return servers[0] ?? null;
}

/** Of a deleted server, too. */
async function positionOf(p: Platform, projectId: string | null, serverId: string): Promise<Position | null> {
  let query = p.stores.global
    .selectFrom('server_mappings')
    .select(['created_at', 'server_id'])
    .where('server_id', '=', serverId);
  if (projectId !== null) query = query.where('project_id', '=', projectId);
  return (await query.executeTakeFirst()) ?? null;
}

async function mappingsBehind(p: Platform, projectId: string | null, behind: Position | null, limit: number) {
  let query = p.stores.global
    .selectFrom('server_mappings')
    .select(['server_id', 'project_id', 'cell_id', 'created_at'])
    .where('deleted_at', 'is', null)
    .where('soft_deleted_at', 'is', null)
    .orderBy('created_at', 'desc')
    .orderBy('server_id', 'desc')
    .limit(limit);
  if (projectId !== null) query = query.where('project_id', '=', projectId);
  if (behind) {
    query = query.where(sql<boolean>`(created_at, server_id) < (${behind.created_at}, ${behind.server_id})`);
  }
  return query.execute();
}

async function homesOf(p: Platform, filter: ServerFilter, ids?: readonly string[]): Promise<Map<string, string>> {
  let query = p.stores.global.selectFrom('server_mappings').select(['server_id', 'cell_id']);
  if (filter.projectId !== null) query = query.where('project_id', '=', filter.projectId);
  if (filter.gone === undefined) {
    query = query.where('deleted_at', 'is', null);
    if (filter.softDeleted !== true) query = query.where('soft_deleted_at', 'is', null);
  }
  if (ids) query = query.where('server_id', 'in', ids);
  return new Map((await query.execute()).map((each) => [each.server_id, each.cell_id]));
}

/** The servers of these homes that match; one that is not where it was said to be is looked for once more. */
async function readHomes(p: Platform, homes: ReadonlyMap<string, string>, filter: ServerFilter): Promise<ServerList> {
  const first = await readEach(p, homes, filter);
  const seen = new Set(first.servers.map((server) => server.id));
  const missing = [...homes].flatMap(([id, cellId]) => (seen.has(id) || first.downCells.includes(cellId) ? [] : [id]));
  if (missing.length === 0) return first;
  const now = await homesOf(p, filter, missing);
  const moved = [...now].filter(([id, cellId]) => homes.get(id) !== cellId);
  if (moved.length === 0) return first;
  const second = await readEach(p, new Map(moved), filter);
  return {
    servers: [...first.servers, ...second.servers],
    downCells: [...new Set([...first.downCells, ...second.downCells])],
  };
}

async function readEach(p: Platform, homes: ReadonlyMap<string, string>, filter: ServerFilter): Promise<ServerList> {
  const idsByCell = Map.groupBy(homes.keys(), (id) => homes.get(id) ?? '');
  const perCell = await Promise.all(
    [...idsByCell].map(async ([cellId, ids]) => ({ cellId, servers: await read(p, cellId, filter, ids) })),
  );
  return {
    servers: perCell.flatMap(({ servers }) => servers ?? []),
    downCells: perCell.flatMap(({ cellId, servers }) => (servers === null ? [cellId] : [])),
  };
}

/** Null: the cell cannot be reached, or does not answer in time. */
async function read(
  p: Platform,
  cellId: string,
  filter: ServerFilter,
  ids?: readonly string[],
): Promise<Server[] | null> {
  const rows = await askCell(p, cellId, (cell) => {
    let query = cell.selectFrom('servers').selectAll();
    if (ids) query = query.where('id', 'in', ids);
    if (filter.projectId !== null) query = query.where('project_id', '=', filter.projectId);
    if (filter.host !== undefined) query = query.where('host', '=', filter.host);
    if (filter.changesSince !== undefined) query = query.where('updated_at', '>=', filter.changesSince);
    if (filter.gone === 'only' && filter.softDeleted === false) query = query.where('deleted_at', 'is not', null);
    else if (filter.gone === 'only') {
      query = query.where((eb) => eb.or([eb('deleted_at', 'is not', null), eb('vm_state', '=', 'soft-delete')]));
    } else if (filter.gone === undefined) {
      query = query.where('deleted_at', 'is', null);
      if (filter.softDeleted !== true) query = query.where('vm_state', '!=', 'soft-delete');
    }
    return query.execute();
  });
  return rows instanceof CellDown ? null : rows.map(serverOf);
}
