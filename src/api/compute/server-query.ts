// What the query of a server list asks for: which parameters count for whom and from which microversion, and what is
// refused (nova/api/openstack/compute/servers.py:_get_servers). Pure.
import { statesOf } from '../../model/states.ts';
import type { TaskState, VmState } from '../../model/types.ts';
import { badRequest, forbidden } from '../http/errors.ts';
import { booleanOf, timeOf } from './common.ts';
import type { Query } from './server-filters.ts';
import { IGNORED_SORT_KEYS, JOINED_TABLES } from './server-schemas.ts';

export interface Asking {
  readonly minor: number;
  readonly admin: boolean;
  /** What the rule allow_all_filters says: otherwise filters that are not for everybody are passed over. */
  readonly allFilters: boolean;
}

export interface Wish {
  /** What of the query counts. */
  readonly query: Query;
  readonly allProjects: boolean;
  /** One of these; null: any. Empty: there is no such status, and nothing is found. */
  readonly states: readonly { readonly vm: VmState; readonly task: TaskState | null }[] | null;
  readonly changesSince: number | undefined;
  readonly changesBefore: number | undefined;
  /** Deleted servers: only they, or they too; null: none. */
  readonly gone: 'only' | 'too' | null;
  readonly softDeleted: boolean | undefined;
}

/** Parameters that are not there before a microversion. */
const SINCE: Readonly<Partial<Record<keyof Query, number>>> = {
  ...{ tags: 26, 'tags-any': 26, 'not-tags': 26, 'not-tags-any': 26, 'changes-before': 66, locked: 73 },
};

/** Filters for everybody, with the microversion from which they are. */
const OF_ALL: Readonly<Partial<Record<keyof Query, number>>> = {
  ...{ limit: 1, marker: 1, sort_key: 1, sort_dir: 1, all_tenants: 1 },
  ...{ reservation_id: 1, name: 1, status: 1, image: 1, flavor: 1, ip: 1, 'changes-since': 1, ip6: 5 },
  ...SINCE,
  ...{ availability_zone: 83, config_drive: 83, key_name: 83, created_at: 83, launched_at: 83, terminated_at: 83 },
  ...{ power_state: 83, task_state: 83, vm_state: 83, progress: 83, user_id: 83, hostname: 90 },
};

/** @throws ApiError 400, 403 */
export function wishOf(asked: Query, asking: Asking): Wish {
  const known = Object.entries(asked).filter(([name]) => counts(name as keyof Query, asking));
  const query: Query = sortable(Object.fromEntries(known), asking);
  const joined = JOINED_TABLES.find((name) => query[name] !== undefined);
  if (joined !== undefined) throw badRequest(`Invalid filter field: ${joined}.`);
  const changesSince = timeOf('changes-since', query['changes-since']);
  const changesBefore = timeOf('changes-before', query['changes-before']);
  if (changesSince !== undefined && changesBefore !== undefined && changesBefore < changesSince) {
    throw badRequest('The value of changes-since must be less than or equal to changes-before.');
  }
  const states = query.status?.flatMap(statesOf) ?? null;
  if (states?.length === 0 && asking.minor >= 38) throw badRequest('Invalid status value');
  const deletedOnly = states !== null && states.length > 0 && states.every(({ vm }) => vm === 'deleted');
  if (deletedOnly && !asking.admin) throw forbidden('Only administrators may list deleted instances');
  const changed = changesSince !== undefined || changesBefore !== undefined;
  const deleted = query.deleted === undefined ? null : booleanOf(query.deleted) === true;
  return {
    ...{ query, states, changesSince, changesBefore },
    allProjects: query.all_tenants !== undefined && (query.all_tenants === '' || strict(query.all_tenants)),
    gone: deletedOnly || deleted === true ? 'only' : changed && deleted === null ? 'too' : null,
    softDeleted: booleanOf(query.soft_deleted) ?? undefined,
  };
}

function counts(name: keyof Query, { minor, allFilters }: Asking): boolean {
  if (minor < (SINCE[name] ?? 1)) return false;
  return allFilters || minor >= (OF_ALL[name] ?? Number.POSITIVE_INFINITY);
}

/** Only administrators see where servers are; keys that mean nothing are passed over before 2.75, with their directions. */
function sortable(query: Query, { minor, admin }: Asking): Query {
  const { sort_key: keys, ...others } = query;
  if (!keys) return query;
  const hidden = admin ? undefined : keys.find((key) => key === 'host' || key === 'node');
  if (hidden) throw forbidden(`Only administrators can sort servers by ${hidden}`);
  const isIgnored = (key: string): boolean => IGNORED_SORT_KEYS.includes(key) || (key === 'locked' && minor < 73);
  const bad = minor >= 75 ? keys.find(isIgnored) : undefined;
  if (bad)
    throw badRequest(`Invalid input for query parameters sort_key. Value: ${bad}. '${bad}' is not one of the keys`);
  const kept = keys.flatMap((key, index) => (isIgnored(key) ? [] : [{ key, direction: query.sort_dir?.[index] }]));
  return {
    ...others,
    sort_key: kept.map(({ key }) => key),
    sort_dir: kept.map(({ direction }) => direction ?? 'desc'),
  };
}

/** As oslo.utils reads booleans strictly. @throws ApiError 400 */
export function strict(value: string): boolean {
  const read = booleanOf(value.trim());
  if (read !== null) return read;
  const words = ['0', '1', 'f', 'false', 'n', 'no', 'off', 'on', 't', 'true', 'y', 'yes'].map((word) => `'${word}'`);
  throw badRequest(`Invalid input received: Unrecognized value '${value}', acceptable values are: ${words.join(', ')}`);
}
