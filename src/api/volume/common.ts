// What the block storage resources share: links, sorting, paging, filters, and finding what the caller may see.

import { Type } from 'typebox';
import type { Settings } from '../../control/platform.ts';
import { jsonOf } from '../../lib/answers.ts';
import type { Refusal } from '../../model/types.ts';
import { MAX_PAGE, text } from '../compute/common.ts';
import { badRequest, errorOf } from '../http/errors.ts';
import { flagOf } from './filters.ts';

export const V3 = '/volume/v3';

/** @throws ApiError with the refusal */
export function orThrow<T extends object>(found: T | Refusal): T {
  if ('code' in found) throw errorOf(found as Refusal);
  return found;
}

/** `self` and `bookmark` of a resource, in the forms with the project. */
export const linksOf = (settings: Settings, projectId: string, path: string): { rel: string; href: string }[] => [
  { rel: 'self', href: `${settings.publicUrl}${V3}/${projectId}${path}` },
  { rel: 'bookmark', href: `${settings.publicUrl}/volume/${projectId}${path}` },
];

const flag = Type.Optional(Type.String({ maxLength: 10 }));

/** Cinder's parameters of every list. */
export const ListParameters = {
  limit: Type.Optional(Type.Integer({ minimum: 0 })),
  offset: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000 })),
  marker: Type.Optional(text()),
  sort: Type.Optional(text()),
  sort_key: Type.Optional(text()),
  sort_dir: Type.Optional(text(10)),
  all_tenants: flag,
  with_count: flag,
  project_id: Type.Optional(text()),
  user_id: Type.Optional(text()),
  name: Type.Optional(text()),
  'name~': Type.Optional(text()),
  status: Type.Optional(text()),
};

export interface ListWish {
  readonly limit?: number;
  readonly offset?: number;
  readonly marker?: string;
  readonly sort?: string;
  readonly sort_key?: string;
  readonly sort_dir?: string;
  readonly all_tenants?: string;
  readonly with_count?: string;
  readonly project_id?: string;
  readonly user_id?: string;
  readonly name?: string;
  readonly 'name~'?: string;
  readonly status?: string;
}

/** What is absent is all the same. */
interface Listable {
  readonly id: string;
  readonly name: string | null;
  readonly projectId: string;
  readonly userId?: string;
  readonly description?: string | null;
  readonly status?: string;
  readonly createdAt: number;
  readonly updatedAt?: number;
  readonly sizeGb?: number;
}

/** What items are sorted by, by the name of the key. */
type SortKeys<T> = Readonly<Record<string, (item: T) => string | number>>;

const SORT_KEYS: SortKeys<Listable> = {
  id: (each) => each.id,
  name: (each) => each.name ?? '',
  display_name: (each) => each.name ?? '',
  display_description: (each) => each.description ?? '',
  status: (each) => each.status ?? '',
  project_id: (each) => each.projectId,
  user_id: (each) => each.userId ?? '',
  created_at: (each) => each.createdAt,
  updated_at: (each) => each.updatedAt ?? 0,
  size: (each) => each.sizeGb ?? 0,
};

interface Order<T> {
  readonly fieldOf: (item: T) => string | number;
  readonly sign: 1 | -1;
}

/**
 * The order asked for: `sort=name:asc,size` or the older `sort_key` and `sort_dir`, and behind it the time and the id, in
 * the direction of the first; newest first without (cinder/api/common.py, get_sort_params). @throws ApiError 400
 */
function orderOf<T extends Listable>(wish: ListWish, more: SortKeys<T>): readonly Order<T>[] {
  if (wish.sort !== undefined && (wish.sort_key ?? wish.sort_dir) !== undefined) {
    throw badRequest(
      "The 'sort_key' and 'sort_dir' parameters are deprecated and cannot be used with the 'sort' parameter.",
    );
  }
  const keys: SortKeys<T> = { ...SORT_KEYS, ...more };
  const asked = (wish.sort ?? `${wish.sort_key ?? 'created_at'}:${wish.sort_dir ?? ''}`).split(',').map((part) => {
    const [name = '', direction = ''] = part.split(':', 2).map((each) => each.trim());
    const fieldOf = Object.hasOwn(keys, name) ? keys[name] : undefined;
    if (!fieldOf) throw badRequest('Invalid input received: Sort key passed is invalid.');
    if (!['asc', 'desc', ''].includes(direction)) {
      throw badRequest("Invalid input received: Unknown sort direction, must be 'desc' or 'asc'.");
    }
    return { fieldOf, sign: direction === 'asc' ? 1 : -1 } as const;
  });
  const sign = asked[0]?.sign ?? -1;
  return [...asked, { fieldOf: (each) => each.createdAt, sign }, { fieldOf: (each) => each.id, sign }];
}

function sorted<T>(items: readonly T[], order: readonly Order<T>[]): T[] {
  return items.toSorted((a, b) => {
    for (const { fieldOf, sign } of order) {
      const [left, right] = [fieldOf(a), fieldOf(b)];
      if (left !== right) return left < right ? -sign : sign;
    }
    return 0;
  });
}

export interface ListPage<T> {
  readonly page: readonly T[];
  /** How many there are without paging, where that is asked for. */
  readonly count: number;
  readonly next: string | null;
}

/** Filters and sorts what is there, and pages. @throws ApiError 400, or as `absent` says of a marker that is not there; `sortKeys` are those that not every list has */
export function listPage<T extends Listable>(
  items: readonly T[],
  wish: ListWish,
  absent: (id: string) => Refusal,
  sortKeys: SortKeys<T>,
): ListPage<T> {
  const wanted = sorted(items.filter(isWanted(wish)), orderOf(wish, sortKeys));
  const behind = wish.marker === undefined ? 0 : wanted.findIndex((each) => each.id === wish.marker) + 1;
  if (wish.marker !== undefined && behind === 0) {
    throw errorOf(absent(wish.marker));
  }
  const start = behind + (wish.offset ?? 0);
  const size = sizeOf(wish);
  const page = wanted.slice(start, start + size);
  const last = page.at(-1);
  // Of a page that is just full too, as in Cinder.
  return { page, count: wanted.length, next: last && page.length === size ? last.id : null };
}

const sizeOf = ({ limit = MAX_PAGE }: ListWish): number => Math.min(limit, MAX_PAGE);

const isWanted =
  ({ project_id, user_id, 'name~': like }: ListWish) =>
  (each: Listable): boolean =>
    (project_id === undefined || each.projectId === project_id) &&
    (user_id === undefined || each.userId === user_id) &&
    (like === undefined || (each.name ?? '').toLowerCase().includes(like.toLowerCase()));

/**
 * The same of what is read newest first: no more of it than the page needs, unless it is to be sorted in another way, or
 * counted. `from`: the id to begin with.
 */
export async function newestPage<T extends Listable>(
  read: (from?: string) => AsyncIterable<readonly T[]>,
  asked: { readonly wish: ListWish; readonly minor: number },
  absent: (id: string) => Refusal,
  sortKeys: SortKeys<T>,
): Promise<ListPage<T>> {
  const { wish, minor } = asked;
  const isNewestFirst = (wish.sort ?? wish.sort_key ?? wish.sort_dir) === undefined && !isCounted(wish, minor);
  // With the marker itself, which the page comes behind.
  const enough = isNewestFirst ? 1 + (wish.offset ?? 0) + sizeOf(wish) : Number.POSITIVE_INFINITY;
  const items: T[] = [];
  for await (const part of read(isNewestFirst ? wish.marker : undefined)) {
    items.push(...part.filter(isWanted(wish)));
    if (items.length >= enough) break;
  }
  return listPage(items, wish, absent, sortKeys);
}

const COUNTED_FROM = 45;

const isCounted = (wish: ListWish, minor: number): boolean =>
  minor >= COUNTED_FROM && flagOf('with_count', wish.with_count);

/** `{"<name>_links": [next]}`, and `count` when it is asked for (3.45). */
export function listExtras<T>(
  settings: Settings,
  name: string,
  { next, count }: ListPage<T>,
  around: { readonly url: string; readonly minor: number; readonly wish: ListWish },
): object {
  const counted = isCounted(around.wish, around.minor) ? { count } : {};
  if (next === null) return counted;
  const [path = '', query = ''] = around.url.split('?', 2);
  const params = new URLSearchParams(query);
  params.set('marker', next);
  params.delete('offset');
  return { ...counted, [`${name}_links`]: [{ rel: 'next', href: `${settings.publicUrl}${path}?${params}` }] };
}

/** The project whose things are listed; null: all, which administrators may ask for. @throws ApiError 400 */
export function projectOf(admin: boolean, own: string, wish: ListWish): string | null {
  const all = flagOf('all_tenants', wish.all_tenants);
  if (!admin) return own;
  return wish.project_id ?? (all ? null : own);
}

/** A dictionary in a query, as clients write it: JSON, or Python's repr. @throws ApiError 400 */
export function dictionaryOf(name: string, value: string): Record<string, string> {
  const json = value.replace(/u?'((?:[^'\\]|\\.)*)'/g, (_all, inner: string) => JSON.stringify(inner));
  for (const candidate of [value, json]) {
    const parsed = parsedObject(candidate);
    if (parsed) return parsed;
  }
  throw badRequest(
    `Invalid input for query parameters ${name}. Value: ${value.slice(0, 200)}. A dictionary is needed.`,
  );
}

function parsedObject(candidate: string): Record<string, string> | null {
  const value = jsonOf(candidate);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  return Object.values(value).every((each) => typeof each === 'string') ? (value as Record<string, string>) : null;
}

/** cinder/api/validation/parameter_types.py: extra_specs */
export const Metadata = Type.Record(Type.String({ pattern: '^[a-zA-Z0-9\\-_:. /]{1,255}$' }), text(), {
  additionalProperties: false,
  maxProperties: 128,
});
