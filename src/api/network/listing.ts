// From the query of a list to what is selected, and from the records found to a page with links, the same for every
// collection. Filters, fields, sort keys, markers and the reversed page are Neutron's; a parameter that the collection
// does not know is refused (Neutron's extension filter-validation).
import { type TSchema, Type } from 'typebox';
import { type Collection, hasColumn, type Selection, type Value } from '../../control/network/listing.ts';
import type { Settings } from '../../control/platform.ts';
import { ApiError } from '../http/errors.ts';
import type { Answer } from '../http/route.ts';
import { only, strict, text, V2, values } from './shapes.ts';

/** Most that one page holds (Neutron: pagination_max_limit); more is reached by the link `next`. */
const MAX_PAGE = 1000;
const MAX_SORT_KEYS = 5;

/** Columns that hold 0 or 1 and are asked for as truth values. */
const FLAGS = new Set([
  'shared',
  'router:external',
  'admin_state_up',
  'port_security_enabled',
  'enable_dhcp',
  'stateful',
]);
const NUMBERS = new Set(['mtu', 'port_range_min', 'port_range_max']);
const LARGE_NUMBERS = new Set(['revision_number', 'created_at']);
const TAGS = { tags: 'all', 'tags-any': 'any', 'not-tags': 'notAll', 'not-tags-any': 'none' } as const;
/** Of one filter; each is a condition of the statement. */
const MAX_TAGS = 50;

const paging = {
  fields: values,
  limit: Type.Optional(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 })),
  marker: Type.Optional(text),
  page_reverse: Type.Optional(text),
  sort_key: values,
  sort_dir: values,
};

/** The query of a list; `more`: filters that are no columns. */
export const listQuery = (collection: Collection, more: Record<string, TSchema> = {}) =>
  Type.Object(
    {
      ...Object.fromEntries(Object.keys(collection.columns).map((name) => [name, values])),
      ...Object.fromEntries(Object.keys(TAGS).map((name) => [name, values])),
      ...more,
      ...paging,
    },
    strict,
  );

export type ListQuery = Readonly<Record<string, unknown>> & {
  readonly fields?: string[];
  readonly limit?: number;
  readonly marker?: string;
  readonly page_reverse?: string;
  readonly sort_key?: string[];
  readonly sort_dir?: string[];
};

/** What is selected: one record more than a page shows, to know whether there is another. @throws ApiError 400 */
export function selectionOf(collection: Collection, query: ListQuery): Selection {
  const where: Record<string, Value[]> = {};
  for (const name of Object.keys(collection.columns)) {
    const wanted = query[name];
    if (Array.isArray(wanted)) where[name] = wanted.map((value: string) => columnValue(name, value));
  }
  if (query['tenant_id'] !== undefined && query['project_id'] !== undefined)
    throw new ApiError(400, 'Both tenant_id and project_id passed as filters.', {
      type: 'TenantIdProjectIdFilterConflict',
    });
  const tags = Object.fromEntries(
    Object.entries(TAGS).flatMap(([name, key]) => {
      const wanted = query[name];
      if (!Array.isArray(wanted)) return [];
      const some = wanted.flatMap((each: string) => each.split(','));
      if (some.length > MAX_TAGS)
        throw new ApiError(400, `Invalid input for ${name}. Reason: more than ${MAX_TAGS} tags.`);
      return [[key, some]];
    }),
  );
  return {
    ...{ where, tags, sort: sortOf(collection, query), limit: pageSize(query) + 1, reverse: isReversed(query) },
    ...(query.marker === undefined ? {} : { marker: query.marker }),
  };
}

/** The page, with links to the next and, behind a marker, to the one before. */
export function listed<T extends { readonly id: string }>(
  settings: Settings,
  path: string,
  found: readonly T[],
  query: ListQuery,
  render: (record: T) => object,
): Answer {
  const key = path.replaceAll('-', '_');
  const size = pageSize(query);
  const [more, reversed] = [found.length > size, isReversed(query)];
  const shown = reversed ? found.slice(-size) : found.slice(0, size);
  const [first, last] = [shown[0], shown.at(-1)];
  const link = (rel: string, marker: string, back: boolean) => ({
    rel,
    href: pageLink(settings, path, query, marker, back),
  });
  const links = [
    ...(last && (more || reversed) ? [link('next', last.id, false)] : []),
    ...(first && query.marker !== undefined && (more || !reversed) ? [link('previous', first.id, true)] : []),
  ];
  const body = { [key]: shown.map((each) => only(render(each), query.fields)) };
  return { status: 200, body: links.length === 0 ? body : { ...body, [`${key}_links`]: links } };
}

/** The answer of a list whose items are of the schema. */
export const listAnswer = (path: string, item: TSchema): TSchema => {
  const key = path.replaceAll('-', '_');
  const link = Type.Object({ rel: Type.Enum(['next', 'previous']), href: Type.String() }, strict);
  return Type.Object(
    { [key]: Type.Array(item), [`${key}_links`]: Type.Optional(Type.Array(link, { maxItems: 2 })) },
    strict,
  );
};

export const isTrue = (value: string): boolean => /^(true|1|yes|on|t|y)$/i.test(value);
const isFalse = (value: string): boolean => /^(false|0|no|off|f|n)$/i.test(value);

/** @throws ApiError 400, as Neutron's converter says it */
function flagOf(value: string): boolean {
  if (isTrue(value) || isFalse(value)) return isTrue(value);
  const sentence = `Invalid input for operation: '${value.slice(0, 255)}' cannot be converted to boolean.`;
  throw new ApiError(400, sentence, { type: 'InvalidInput' });
}

const isReversed = (query: ListQuery): boolean => query.page_reverse !== undefined && isTrue(query.page_reverse);

const pageSize = (query: ListQuery): number => Math.min(query.limit || MAX_PAGE, MAX_PAGE);

/** What such a column cannot hold is a value that no record has. */
const numberUpTo = (maximum: number, value: string): number =>
  /^\d{1,16}$/.test(value) && Number(value) <= maximum ? Number(value) : -1;

function columnValue(name: string, value: string): Value {
  if (FLAGS.has(name)) return flagOf(value) ? 1 : 0;
  if (NUMBERS.has(name)) return numberUpTo(2 ** 31 - 1, value);
  if (LARGE_NUMBERS.has(name)) return numberUpTo(Number.MAX_SAFE_INTEGER, value);
  return name === 'mac_address' ? value.toLowerCase() : value;
}

function sortOf(collection: Collection, { sort_key = [], sort_dir = [] }: ListQuery) {
  if (sort_key.length > MAX_SORT_KEYS || sort_dir.length > sort_key.length)
    throw new ApiError(400, 'The number of sort_keys and sort_dirs must be same', { type: 'HTTPBadRequest' });
  return sort_key.map((by, index) => {
    if (!hasColumn(collection, by)) throw new ApiError(400, `['${by}'] is invalid attribute for sort_keys`);
    const direction = sort_dir[index] ?? 'asc';
    if (direction !== 'asc' && direction !== 'desc')
      throw new ApiError(400, `'asc' and 'desc' are valid for sort_dirs, not ${direction.slice(0, 20)}`);
    return { by, descending: direction === 'desc' };
  });
}

function pageLink(settings: Settings, path: string, query: ListQuery, marker: string, back: boolean): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (key === 'marker' || key === 'page_reverse') continue;
    for (const each of [value].flat()) parameters.append(key, String(each));
  }
  parameters.append('marker', marker);
  if (back) parameters.append('page_reverse', 'True');
  return `${settings.publicUrl}${V2}/${path}?${parameters.toString()}`;
}
