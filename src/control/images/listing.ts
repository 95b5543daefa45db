// Lists of images: filtered, ordered, in pages.
import { type RawBuilder, sql } from 'kysely';
import { type Actor, isAdmin, type Refusal } from '../../model/types.ts';
import { holdsEntry } from '../../store/dialect.ts';
import { tagConditions } from '../../store/tag-filter.ts';
import { type Image, imageOf, type Visibility } from '../images.ts';
import type { Platform } from '../platform.ts';
import { showImage } from './records.ts';

export const SORT_KEYS = [
  ...(['name', 'status', 'disk_format', 'container_format', 'size', 'id', 'created_at', 'updated_at'] as const),
] as const;
export type SortKey = (typeof SORT_KEYS)[number];

export const TIME_KEYS = ['created_at', 'updated_at'] as const;
/** From `from` on and before `before`, in milliseconds since the epoch; `outside`: not so. */
export interface TimeSpan {
  readonly key: (typeof TIME_KEYS)[number];
  readonly from: number;
  readonly before: number;
  readonly outside: boolean;
}

/** Each given field must match; a list of values by one of them. */
export interface ImageFilter {
  readonly id?: readonly string[];
  readonly name?: readonly string[];
  readonly status?: readonly string[];
  /** `all`: community images too. */
  readonly visibility?: Visibility | 'all';
  readonly owner?: string;
  readonly diskFormat?: readonly string[];
  readonly containerFormat?: readonly string[];
  readonly protected?: boolean;
  readonly hidden?: boolean;
  readonly tags?: readonly string[];
  readonly minSize?: number;
  readonly maxSize?: number;
  readonly minRamMb?: number;
  readonly minDiskGb?: number;
  /** Columns that have exactly this value. */
  readonly exactly?: Readonly<Partial<Record<ExactColumn, string | number>>>;
  readonly times?: readonly TimeSpan[];
  readonly properties?: Readonly<Record<string, string>>;
  /** Of images that are shared with the actor's project: how it took that. Absent: accepted. */
  readonly memberStatus?: string;
}

export type ExactColumn = 'min_ram_mb' | 'min_disk_gb' | 'virtual_bytes' | 'md5' | 'sha512';

export interface ImageOrder {
  readonly key: SortKey;
  readonly descending: boolean;
}

export interface ImagePage {
  /** The first counts most; behind all of them comes the id. */
  readonly sort: readonly ImageOrder[];
  readonly limit: number;
  /** Id of the last image of the page before. */
  readonly marker?: string;
}

export type ImageList =
  | { readonly kind: 'ok'; readonly images: readonly Image[] /** There are more. */; readonly more: boolean }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/**
 * The images that the actor sees in lists: its project's and the public ones (community images and hidden ones only when
 * asked for); administrators see all. Refused: 400 when the marker is no image.
 */
export async function listImages(p: Platform, actor: Actor, filter: ImageFilter, page: ImagePage): Promise<ImageList> {
  let query = p.stores.global.selectFrom('images').selectAll().where('status', '<>', 'deleted');
  if (!isAdmin(actor)) {
    const open =
      filter.visibility === 'community' || filter.visibility === 'all' ? ['public', 'community'] : ['public'];
    const own = { id: actor.projectId, status: filter.memberStatus ?? 'accepted' };
    query = query.where((where) =>
      where.or([where('visibility', 'in', open), where('owner', '=', actor.projectId), sharedWith(own)]),
    );
  }
  query = query.where('hidden', '=', filter.hidden === true ? 1 : 0);
  if (filter.id !== undefined) query = query.where('id', 'in', filter.id);
  if (filter.name !== undefined) query = query.where('name', 'in', filter.name);
  if (filter.status !== undefined) query = query.where('status', 'in', filter.status);
  if (filter.visibility !== undefined && filter.visibility !== 'all')
    query = query.where('visibility', '=', filter.visibility);
  if (filter.owner !== undefined) query = query.where('owner', '=', filter.owner);
  if (filter.diskFormat !== undefined) query = query.where('disk_format', 'in', filter.diskFormat);
  if (filter.containerFormat !== undefined) query = query.where('container_format', 'in', filter.containerFormat);
  if (filter.protected !== undefined) query = query.where('protected', '=', filter.protected ? 1 : 0);
  if (filter.minSize !== undefined) query = query.where('size_bytes', '>=', filter.minSize);
  if (filter.maxSize !== undefined) query = query.where('size_bytes', '<=', filter.maxSize);
  if (filter.minRamMb !== undefined) query = query.where('min_ram_mb', '>=', wide(filter.minRamMb));
  if (filter.minDiskGb !== undefined) query = query.where('min_disk_gb', '>=', wide(filter.minDiskGb));
  for (const [column, value] of Object.entries(filter.exactly ?? {}) as [ExactColumn, string | number][])
    query = query.where(column, '=', typeof value === 'number' ? wide(value) : value);
  for (const { key, from, before, outside } of filter.times ?? []) {
    query = query.where((where) =>
      outside
        ? where.or([where(key, '<', from), where(key, '>=', before)])
        : where.and([where(key, '>=', from), where(key, '<', before)]),
    );
  }
  if (filter.tags?.length) {
    for (const condition of tagConditions('tags_json', { all: filter.tags })) query = query.where(condition);
  }
  for (const [key, value] of Object.entries(filter.properties ?? {})) {
    query = query.where(holdsEntry('properties_json', `${JSON.stringify(key)}:${JSON.stringify(value)}`));
  }
  const last = page.sort.at(-1) ?? { key: 'created_at', descending: true };
  const order: readonly ImageOrder[] = [...page.sort, { key: 'id', descending: last.descending }];
  if (page.marker !== undefined) {
    const marker = await showImage(p, actor, page.marker);
    if (marker.kind === 'refused') return refusedMarker(page.marker);
    query = query.where(behind(marker.image, order));
  }
  for (const { key, descending } of order) query = query.orderBy(sortExpression(key), descending ? 'desc' : 'asc');
  const rows = await query.limit(page.limit + 1).execute();
  return { kind: 'ok', images: rows.slice(0, page.limit).map(imageOf), more: rows.length > page.limit };
}

/** A number that may be larger than the column that it is compared with can hold. */
const wide = (value: number) => sql<number>`cast(${value} as bigint)`;

const refusedMarker = (marker: string): ImageList => ({
  kind: 'refused',
  refusal: { code: 400, message: `Marker ${marker.slice(0, 255)} could not be found.` },
});

/** Whether the image is shared with the project, which took that so (or `all`: in whatever way). */
function sharedWith({ id, status }: { readonly id: string; readonly status: string }) {
  const taken = status === 'all' ? '' : `"${status}"`;
  return sql<boolean>`(visibility = 'shared' and ${holdsEntry('members_json', `${JSON.stringify(id)}:{"status":${taken}`)})`;
}

/** Whether a row comes behind this image in that order. */
function behind(image: Image, order: readonly ImageOrder[]): RawBuilder<boolean> {
  const [first, ...rest] = order;
  if (!first) return sql<boolean>`1 = 0`;
  const [key, value] = [sortExpression(first.key), sortValue(image, first.key)];
  const further = first.descending ? sql`<` : sql`>`;
  return sql<boolean>`(${key} ${further} ${value} or (${key} = ${value} and ${behind(image, rest)}))`;
}

/** Nulls sort as the least value on every database. */
function sortExpression(key: SortKey) {
  switch (key) {
    case 'name':
    case 'disk_format':
    case 'container_format':
      return sql<string>`coalesce(${sql.ref(key)}, '')`;
    case 'size':
      return sql<number>`coalesce(size_bytes, 0)`;
    case 'status':
    case 'id':
    case 'created_at':
    case 'updated_at':
      return sql<string | number>`${sql.ref(key)}`;
  }
}

function sortValue(image: Image, key: SortKey): string | number {
  switch (key) {
    case 'name':
      return image.name ?? '';
    case 'status':
      return image.status;
    case 'disk_format':
      return image.diskFormat ?? '';
    case 'container_format':
      return image.containerFormat ?? '';
    case 'size':
      return image.sizeBytes ?? 0;
    case 'id':
      return image.id;
    case 'created_at':
      return image.createdAt;
    case 'updated_at':
      return image.updatedAt;
  }
}
