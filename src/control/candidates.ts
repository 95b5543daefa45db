// Candidates: the hosts that are looked at for one request, in pages, so that a choice among thousands of hosts reads few.
//
// Theory of operation. The database leaves out what it can tell by itself: cells that are disabled or down, hosts that are
// disabled, down or without room, another zone, hosts ignored or not asked for. Everything is filtered once more by
// model/scheduling.ts, so this may let through too much but must never leave out a host that the filters let pass. A page is
// the first `limit` of what is left, by id, beginning at the id asked for and going round: servers begin at different
// hosts, so that not all of them want the same few. Of a move that may leave its cell, a page has hosts of that cell and as
// many of others, for the weigher of cells to compare. Hosts of a group that wants to be together are in the first page,
// or are all there is. Weights are compared within a page: with more hosts than `limit` the choice is the best of those
// that were looked at, with fewer the best of all (docs/decisions/0033-candidates-in-pages.md).
import { type Expression, type SqlBool, sql } from 'kysely';
import type { HostState, ScheduleRequest } from '../model/hosts.ts';
import { amountOf } from '../model/resources.ts';
import { RESOURCE_CLASSES, type Resources } from '../model/types.ts';
import { isAmong } from '../store/dialect.ts';
import { upAfter } from './heartbeats.ts';
import { hostStates } from './host-states.ts';
import type { Platform } from './platform.ts';

/**
 * Pages of hosts until there are no more; no page is empty, no host is in two.
 * @param startAt an id of the same kind as those of hosts: where to begin
 */
export async function* candidatePages(
  p: Platform,
  request: ScheduleRequest,
  startAt: string,
): AsyncGenerator<HostState[]> {
  const limit = p.settings.maxCandidates;
  const left = windowsOf(request).map((inCell) => new Window(p, request, inCell, startAt));
  const seen = new Set<string>();
  let ids = await companions(p, request);
  while (left.some((window) => !window.over)) {
    for (const window of left) ids.push(...(await window.next(limit)));
    ids = ids.filter((id) => !seen.has(id));
    for (const id of ids) seen.add(id);
    const page = [...new Set(ids)];
    ids = [];
    if (page.length > 0) yield hostStates(p, page);
  }
}

type Cells = { readonly id: string; readonly is: boolean } | null;

function windowsOf({ homeCellId: id, crossCellAllowed }: ScheduleRequest): Cells[] {
  if (id === null) return [null];
  return crossCellAllowed
    ? [
        { id, is: true },
        { id, is: false },
      ]
    : [{ id, is: true }];
}

/** Hosts that other members of a softly affine group are on. */
async function companions(p: Platform, request: ScheduleRequest): Promise<string[]> {
  const { group } = request;
  if (group?.policy !== 'soft-affinity' || group.members.size === 0) return [];
  const rows = await eligible(p, request)
    .where('hosts.id', 'in', [...group.members.keys()])
    .execute();
  return rows.map((row) => row.id);
}

/** Goes once round the ids of the hosts of some cells. */
class Window {
  readonly #p: Platform;
  readonly #request: ScheduleRequest;
  readonly #cells: Cells;
  readonly #startAt: string;
  #after: string;
  #wrapped = false;
  over = false;

  constructor(p: Platform, request: ScheduleRequest, cells: Cells, startAt: string) {
    this.#p = p;
    this.#request = request;
    this.#cells = cells;
    this.#startAt = startAt;
    this.#after = startAt;
  }

  /** The next ids, `limit` of them unless there are no more. */
  async next(limit: number): Promise<string[]> {
    const ids: string[] = [];
    while (!this.over && ids.length < limit) {
      const wanted = limit - ids.length;
      let query = eligible(this.#p, this.#request)
        .where('hosts.id', '>', this.#after)
        .orderBy('hosts.id')
        .limit(wanted);
      if (this.#wrapped) query = query.where('hosts.id', '<=', this.#startAt);
      if (this.#cells) query = query.where('hosts.cell_id', this.#cells.is ? '=' : '<>', this.#cells.id);
      const rows = await query.execute();
      ids.push(...rows.map((row) => row.id));
      const last = rows.at(-1);
      if (rows.length === wanted && last) this.#after = last.id;
      else if (this.#wrapped) this.over = true;
      else {
        this.#wrapped = true;
        this.#after = '';
      }
    }
    return ids;
  }
}

function eligible(p: Platform, request: ScheduleRequest) {
  let query = p.stores.global
    .selectFrom('hosts')
    .innerJoin('cells', 'cells.id', 'hosts.cell_id')
    .select('hosts.id')
    .where('cells.disabled', '=', 0)
    .where('cells.unreachable_since', 'is', null)
    .where('hosts.disabled', '=', 0)
    .where('hosts.forced_down', '=', 0)
    .where('hosts.reconciled', '=', 1)
    .where('hosts.last_seen_at', '>', upAfter(p))
    .where(({ and }) => and(hasRoom(request.resources)));
  const { group, hostsWithRemains = [], ignoreHosts, offeredIds, onlyHosts, requestedHost, zone } = request;
  const leftOut = [...ignoreHosts, ...hostsWithRemains];
  if (leftOut.length > 0) query = query.where('hosts.name', 'not in', leftOut);
  if (requestedHost !== null) query = query.where('hosts.name', '=', requestedHost);
  if (onlyHosts !== undefined) {
    query = query.where((eb) => (onlyHosts.length === 0 ? eb.lit(false) : eb('hosts.name', 'in', onlyHosts)));
  }
  if (offeredIds !== undefined) query = query.where(isAmong(p.stores.global, 'hosts.id', offeredIds));
  if (zone !== null) query = query.where(isInZone(zone, zone === p.settings.defaultZone));
  if (group?.policy === 'affinity' && group.members.size > 0) {
    query = query.where('hosts.id', 'in', [...group.members.keys()]);
  }
  return query;
}

/** The rule of model/placement.ts, `fits`: used and wanted are whole, so that the capacity need not be rounded down. */
const hasRoom = (wanted: Resources): Expression<SqlBool>[] =>
  RESOURCE_CLASSES.filter((each) => amountOf(wanted, each) > 0).map(
    (each) => sql<SqlBool>`
      (select (i.total - i.reserved) * i.allocation_ratio + 0.000001 from inventories i
        where i.provider_id = hosts.id and i.resource_class = ${each})
      >= ${amountOf(wanted, each)} + coalesce((select sum(a.used) from allocations a
        where a.provider_id = hosts.id and a.resource_class = ${each}), 0)`,
  );

/** Hosts that are in no aggregate with a zone are in the default zone. */
function isInZone(zone: string, isDefault: boolean): Expression<SqlBool> {
  const inAggregate = (which: Expression<SqlBool>) => sql<SqlBool>`exists (select 1 from aggregate_hosts m
    join aggregates g on g.id = m.aggregate_id where m.host = hosts.name and ${which})`;
  const inIt = inAggregate(sql`g.zone = ${zone}`);
  return isDefault ? sql<SqlBool>`(${inIt} or not ${inAggregate(sql`g.zone is not null`)})` : inIt;
}
