// Creating, listing, changing and deleting images: everything but their data.
//
// Theory of operation. Each change reads and writes its row in one transaction, so that none is lost to another. Images
// that the actor may not see are answered as if they were not there; those that it may see but not change with 403. Only
// administrators make an image public or give it to another project. Formats are fixed once data is being received.
import { createHash } from 'node:crypto';
import type { Insertable, Kysely, Transaction } from 'kysely';
import { type RawBuilder, sql } from 'kysely';
import { assertNever } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import { type Actor, isAdmin, type Refusal } from '../../model/types.ts';
import { exclusively, forUpdate, holdsText } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import {
  CONTAINER_FORMATS,
  DISK_FORMATS,
  type DiskFormat,
  findImage,
  type Image,
  type ImageStatus,
  imageOf,
  mayChange,
  maySee,
  VISIBILITIES,
  type Visibility,
} from '../images.ts';
import type { Platform } from '../platform.ts';
import { giveUpInGlance } from './glance-writes.ts';
import { checkImage, checkText, isBaseAttribute } from './rules.ts';

/** Most images of one project. */
export const MAX_IMAGES = 1000;

export type ImageResult =
  | { readonly kind: 'ok'; readonly image: Image }
  | { readonly kind: 'refused'; readonly refusal: Refusal };
const no = (code: Refusal['code'], message: string): ImageResult => ({ kind: 'refused', refusal: { code, message } });

const notFound = (id: string) => no(404, `No image found with ID ${id.slice(0, 255)}`);
const notAuthorized = (what: string) => no(403, `You are not authorized to complete ${what} action.`);

export interface NewImage {
  /** Chosen by the client; absent: any. */
  readonly id?: string;
  readonly name: string | null;
  readonly diskFormat: DiskFormat | null;
  readonly containerFormat: string | null;
  readonly visibility: Visibility;
  /** Project; administrators may name another than their own. */
  readonly owner?: string;
  readonly minDiskGb: number;
  readonly minRamMb: number;
  readonly protected: boolean;
  readonly hidden: boolean;
  readonly properties: Readonly<Record<string, string>>;
  readonly tags: readonly string[];
}

/** Creates a queued image without data. Refused: 400 by rules.ts, 403, 409 for a taken id, 413 for too many images. */
export async function createImage(p: Platform, actor: Actor, request: NewImage): Promise<ImageResult> {
  const wrong = checkImage(request);
  if (wrong) return { kind: 'refused', refusal: wrong };
  if (request.visibility === 'public' && !isAdmin(actor)) return notAuthorized('publicize_image');
  const owner = request.owner ?? actor.projectId;
  if (owner !== actor.projectId && !isAdmin(actor)) return notAuthorized('add_image');
  const badOwner = owner === '' ? 'Invalid value for owner: it is empty.' : checkText('owner', owner);
  if (badOwner !== null) return no(400, badOwner);
  const id = request.id ?? newId();
  const now = p.clock.now();
  const image: Image = {
    ...{ id, name: request.name, status: 'queued', visibility: request.visibility, owner },
    ...{ diskFormat: request.diskFormat, containerFormat: request.containerFormat },
    ...{ sizeBytes: null, virtualBytes: null, md5: null, sha256: null, sha512: null },
    ...{ minDiskGb: request.minDiskGb, minRamMb: request.minRamMb },
    ...{ protected: request.protected, hidden: request.hidden, properties: request.properties },
    ...{ tags: [...new Set(request.tags)], members: {}, createdAt: now, updatedAt: now },
  };
  return p.stores.global.transaction().execute((trx) => insertImage(trx, image));
}

/** Writes a new image down. Refused: 409 for a taken id, 413 for too many images of its owner. */
export async function insertImage(trx: Transaction<GlobalTables>, image: Image): Promise<ImageResult> {
  const { id, owner } = image;
  await exclusively(trx, `images of ${owner}`);
  const { count } = await trx
    .selectFrom('images')
    .select((select) => select.fn.countAll<number>().as('count'))
    .where('owner', '=', owner)
    .where('status', '<>', 'deleted')
    .executeTakeFirstOrThrow();
  if (Number(count) >= MAX_IMAGES) return no(413, `The project has ${count} images, the most that it may have.`);
  const inserted = await trx
    .insertInto('images')
    .values(rowOf(image))
    .onConflict((any) => any.doNothing())
    .returning('id')
    .executeTakeFirst();
  return inserted ? { kind: 'ok', image } : no(409, `Image ID ${id} already exists!`);
}

/** The image, when the actor may see it. */
export async function showImage(p: Platform, actor: Actor, imageId: string): Promise<ImageResult> {
  const image = await findImage(p, imageId);
  return image && maySee(actor, image) ? { kind: 'ok', image } : notFound(imageId);
}

export const SORT_KEYS = [
  ...(['name', 'status', 'disk_format', 'container_format', 'size', 'id', 'created_at', 'updated_at'] as const),
] as const;
export type SortKey = (typeof SORT_KEYS)[number];

/** Each given field must match. */
export interface ImageFilter {
  readonly id?: string;
  readonly name?: string;
  readonly status?: string;
  /** `all`: community images too. */
  readonly visibility?: Visibility | 'all';
  readonly owner?: string;
  readonly diskFormat?: string;
  readonly containerFormat?: string;
  readonly protected?: boolean;
  readonly hidden?: boolean;
  readonly tags?: readonly string[];
  readonly minSize?: number;
  readonly maxSize?: number;
  readonly minRamMb?: number;
  readonly minDiskGb?: number;
  /** Milliseconds since the epoch. */
  readonly changedSince?: number;
  readonly properties?: Readonly<Record<string, string>>;
  /** Of images that are shared with the actor's project: how it took that. Absent: accepted. */
  readonly memberStatus?: string;
}

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
  if (filter.id !== undefined) query = query.where('id', '=', filter.id);
  if (filter.name !== undefined) query = query.where('name', '=', filter.name);
  if (filter.status !== undefined) query = query.where('status', '=', filter.status);
  if (filter.visibility !== undefined && filter.visibility !== 'all')
    query = query.where('visibility', '=', filter.visibility);
  if (filter.owner !== undefined) query = query.where('owner', '=', filter.owner);
  if (filter.diskFormat !== undefined) query = query.where('disk_format', '=', filter.diskFormat);
  if (filter.containerFormat !== undefined) query = query.where('container_format', '=', filter.containerFormat);
  if (filter.protected !== undefined) query = query.where('protected', '=', filter.protected ? 1 : 0);
  if (filter.minSize !== undefined) query = query.where('size_bytes', '>=', filter.minSize);
  if (filter.maxSize !== undefined) query = query.where('size_bytes', '<=', filter.maxSize);
  if (filter.minRamMb !== undefined) query = query.where('min_ram_mb', '>=', wide(filter.minRamMb));
  if (filter.minDiskGb !== undefined) query = query.where('min_disk_gb', '>=', wide(filter.minDiskGb));
  if (filter.changedSince !== undefined) query = query.where('updated_at', '>=', filter.changedSince);
  for (const tag of filter.tags ?? []) query = query.where(holdsText('tags_json', JSON.stringify(tag)));
  for (const [key, value] of Object.entries(filter.properties ?? {})) {
    query = query.where(holdsText('properties_json', `${JSON.stringify(key)}:${JSON.stringify(value)}`));
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
  return sql<boolean>`(visibility = 'shared' and ${holdsText('members_json', `${JSON.stringify(id)}:{"status":${taken}`)})`;
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

/** One operation of a JSON patch (RFC 6902, Glance's subset): `path` is an attribute's or a property's name. */
export interface ImageChange {
  readonly op: 'add' | 'replace' | 'remove';
  readonly path: string;
  /** Absent with `remove`. */
  readonly value?: unknown;
}

/** Applies the changes in their order, all or none. Refused: 400, 403, 404, 409 in Glance's sentences. */
export async function updateImage(
  p: Platform,
  actor: Actor,
  imageId: string,
  changes: readonly ImageChange[],
): Promise<ImageResult> {
  return changeImage(p, actor, imageId, 'modify_image', (image) => {
    let draft = image;
    for (const change of changes) {
      const next = applied(actor, draft, change);
      if (next.kind === 'refused') return next;
      draft = next.image;
    }
    return { kind: 'ok', image: draft };
  });
}

/** Adds a tag; having it already is fine. */
export const addTag = (p: Platform, actor: Actor, imageId: string, tag: string): Promise<ImageResult> =>
  changeImage(p, actor, imageId, 'modify_image', (image) => ({
    kind: 'ok',
    image: { ...image, tags: [...new Set([...image.tags, tag])] },
  }));

/** Removes a tag; 404 when the image does not have it. */
export const removeTag = (p: Platform, actor: Actor, imageId: string, tag: string): Promise<ImageResult> =>
  changeImage(p, actor, imageId, 'modify_image', (image) =>
    image.tags.includes(tag)
      ? { kind: 'ok', image: { ...image, tags: image.tags.filter((each) => each !== tag) } }
      : no(404, `Tag ${tag.slice(0, 255)} could not be found.`),
  );

/** Changes the image under its lock. `policy`: the rule that a refusal names. */
export async function changeImage(
  p: Platform,
  actor: Actor,
  imageId: string,
  policy: string,
  change: (image: Image) => ImageResult,
  may: (actor: Actor, image: Image) => boolean = mayChange,
): Promise<ImageResult> {
  const shown = await showImage(p, actor, imageId);
  if (shown.kind === 'refused') return shown;
  return p.stores.global.transaction().execute(async (trx) => {
    const image = await liveImage(trx, imageId);
    if (!image) return notFound(imageId);
    if (!may(actor, image)) return notAuthorized(policy);
    const changed = change(image);
    if (changed.kind === 'refused') return changed;
    const wrong = checkImage(changed.image);
    if (wrong) return { kind: 'refused', refusal: wrong };
    const updatedAt = isBeingReceived(image) ? image.updatedAt : p.clock.now();
    const { id, status: _status, created_at: _created, ...row } = rowOf({ ...changed.image, updatedAt });
    await trx.updateTable('images').set(row).where('id', '=', id).execute();
    return { kind: 'ok', image: { ...changed.image, updatedAt } };
  });
}

/** Then updated_at is the upload's fence. Staged data that is all here has a size. */
const isBeingReceived = ({ status, sizeBytes }: Image): boolean =>
  status === 'saving' || (status === 'uploading' && sizeBytes === null);

/** The image, which nobody else changes before the transaction ends. */
async function liveImage(db: Kysely<GlobalTables>, imageId: string): Promise<Image | null> {
  const row = await db
    .selectFrom('images')
    .selectAll()
    .where('id', '=', imageId)
    .where('status', '<>', 'deleted')
    .modifyEnd(forUpdate(db))
    .executeTakeFirst();
  return row ? imageOf(row) : null;
}

function applied(actor: Actor, image: Image, change: ImageChange): ImageResult {
  const { op, path, value } = change;
  if (!isBaseAttribute(path)) return withProperty(image, change);
  if (op === 'remove') return no(403, `Property ${path} may not be removed.`);
  const with_ = (part: Partial<Image>): ImageResult => ({ kind: 'ok', image: { ...image, ...part } });
  const bad = (expected: string) => no(400, `Invalid value for ${path}: it must be ${expected}.`);
  switch (path) {
    case 'name':
      return typeof value === 'string' || value === null ? with_({ name: value }) : bad('a string or null');
    case 'visibility': {
      const visibility = VISIBILITIES.find((each) => each === value);
      if (!visibility) return bad(`one of ${VISIBILITIES.join(', ')}`);
      const publicizes = visibility === 'public' && image.visibility !== 'public';
      return publicizes && !isAdmin(actor) ? notAuthorized('publicize_image') : with_({ visibility });
    }
    case 'owner':
      if (!isAdmin(actor)) return no(403, "Owner can't be updated by non admin.");
      return typeof value === 'string' && value !== '' && checkText('owner', value) === null
        ? with_({ owner: value })
        : bad('the id of a project');
    case 'min_disk':
      return typeof value === 'number' ? with_({ minDiskGb: value }) : bad('an integer');
    case 'min_ram':
      return typeof value === 'number' ? with_({ minRamMb: value }) : bad('an integer');
    case 'protected':
      return typeof value === 'boolean' ? with_({ protected: value }) : bad('a boolean');
    case 'os_hidden':
      return typeof value === 'boolean' ? with_({ hidden: value }) : bad('a boolean');
    case 'tags':
      return Array.isArray(value) && value.every((each) => typeof each === 'string')
        ? with_({ tags: [...new Set(value)] })
        : bad('a list of strings');
    case 'disk_format': {
      const diskFormat = DISK_FORMATS.find((each) => each === value);
      if (image.status !== 'queued') return no(403, 'Attribute disk_format can be only replaced for a queued image.');
      return diskFormat ? with_({ diskFormat }) : bad(`one of ${DISK_FORMATS.join(', ')}`);
    }
    case 'container_format':
      if (image.status !== 'queued')
        return no(403, 'Attribute container_format can be only replaced for a queued image.');
      return CONTAINER_FORMATS.some((each) => each === value)
        ? with_({ containerFormat: String(value) })
        : bad(`one of ${CONTAINER_FORMATS.join(', ')}`);
    default:
      return no(403, `Attribute '${path}' is read-only.`);
  }
}

function withProperty(image: Image, { op, path, value }: ImageChange): ImageResult {
  if (op !== 'add' && !Object.hasOwn(image.properties, path)) return no(409, `Property ${path} does not exist.`);
  switch (op) {
    case 'add':
    case 'replace': {
      if (typeof value !== 'string') return no(400, `Invalid value for property ${path}: it must be a string.`);
      // Not by assignment: a property called __proto__ is one like any other.
      const properties = Object.fromEntries([...Object.entries(image.properties), [path, value]]);
      return { kind: 'ok', image: { ...image, properties } };
    }
    case 'remove':
      return {
        kind: 'ok',
        image: {
          ...image,
          properties: Object.fromEntries(Object.entries(image.properties).filter(([key]) => key !== path)),
        },
      };
    default:
      return assertNever(op);
  }
}

/**
 * Deletes the image for its users; null: done. An image without data is gone at once; the file of one with data goes
 * when no server made from it is left (images/collect.ts). Refused: 403 when protected or not the actor's, 404.
 */
export async function deleteImage(p: Platform, actor: Actor, imageId: string): Promise<Refusal | null> {
  const shown = await showImage(p, actor, imageId);
  if (shown.kind === 'refused') return shown.refusal;
  const refusal = (code: Refusal['code'], message: string): Refusal => ({ code, message });
  if (!mayChange(actor, shown.image)) return refusal(403, 'You are not authorized to complete delete_image action.');
  if (shown.image.protected) return refusal(403, `Image ${imageId} is protected and cannot be deleted.`);
  await p.stores.global.transaction().execute((trx) => discardImages(trx, [imageId], p.clock.now()));
  return null;
}

const WITHOUT_DATA: readonly ImageStatus[] = ['queued', 'uploading', 'saving'];
const WITH_DATA: readonly ImageStatus[] = ['active', 'deactivated'];

/** The images are gone for their users, whoever they are; nothing of those that are gone already. */
export async function discardImages(
  trx: Transaction<GlobalTables>,
  imageIds: readonly string[],
  now: number,
): Promise<void> {
  if (imageIds.length === 0) return;
  await giveUpInGlance(trx, imageIds, 'unwanted', now);
  await trx.deleteFrom('images').where('id', 'in', imageIds).where('status', 'in', WITHOUT_DATA).execute();
  await trx
    .updateTable('images')
    .set({ status: 'deleted', updated_at: now })
    .where('id', 'in', imageIds)
    .where('status', 'in', WITH_DATA)
    .execute();
}

/** Those of the images that do not have their data (yet) are gone; in a Glance those that do not have it there. */
export async function discardUnfinished(
  trx: Transaction<GlobalTables>,
  imageIds: readonly string[],
  now: number,
): Promise<void> {
  await giveUpInGlance(trx, imageIds, 'unfinished', now);
  await trx.deleteFrom('images').where('id', 'in', imageIds).where('status', 'in', WITHOUT_DATA).execute();
}

/** Whether the image is there and has its data. */
/** The queued image has all the data that it will ever have: none. False when it is not queued any more. */
export async function activateEmpty(trx: Transaction<GlobalTables>, imageId: string, now: number): Promise<boolean> {
  const digest = (algorithm: string): string => createHash(algorithm).digest('hex');
  const activated = await trx
    .updateTable('images')
    .set({
      ...{ status: 'active', size_bytes: 0, virtual_bytes: 0, updated_at: now },
      ...{ md5: digest('md5'), sha256: digest('sha256'), sha512: digest('sha512') },
    })
    .where('id', '=', imageId)
    .where('status', '=', 'queued')
    .executeTakeFirst();
  return activated.numUpdatedRows > 0n;
}

export async function hasData(trx: Kysely<GlobalTables>, imageId: string): Promise<boolean> {
  const found = trx.selectFrom('images').select('id').where('id', '=', imageId).where('status', 'in', WITH_DATA);
  return (await found.executeTakeFirst()) !== undefined;
}

export function rowOf(image: Image): Insertable<GlobalTables['images']> {
  return {
    id: image.id,
    name: image.name,
    status: image.status,
    visibility: image.visibility,
    owner: image.owner,
    disk_format: image.diskFormat,
    container_format: image.containerFormat,
    size_bytes: image.sizeBytes,
    virtual_bytes: image.virtualBytes,
    md5: image.md5,
    sha256: image.sha256,
    sha512: image.sha512,
    min_disk_gb: image.minDiskGb,
    min_ram_mb: image.minRamMb,
    protected: image.protected ? 1 : 0,
    hidden: image.hidden ? 1 : 0,
    properties_json: JSON.stringify(image.properties),
    tags_json: JSON.stringify(image.tags),
    members_json: JSON.stringify(image.members),
    created_at: image.createdAt,
    updated_at: image.updatedAt,
  };
}
