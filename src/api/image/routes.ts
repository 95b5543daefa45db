// The image API v2 (Glance's), as far as the clients need it: records, properties, tags, data.
import type { Static } from 'typebox';
import { addTag, type ImageChange, removeTag, updateImage } from '../../control/images/changes.ts';
import { type ImageOrder, type ImagePage, listImages, SORT_KEYS } from '../../control/images/listing.ts';
import { importMethods } from '../../control/images/members.ts';
import { createImage, deleteImage, type ImageResult, showImage } from '../../control/images/records.ts';
import { isBaseAttribute } from '../../control/images/rules.ts';
import type { Visibility } from '../../control/images.ts';
import { ApiError, badRequest, forbidden, refuse } from '../http/errors.ts';
import { type Answer, type Route, route } from '../http/route.ts';
import { dataRoutes } from './data.ts';
import { filterOf } from './filters.ts';
import { importRoutes } from './import.ts';
import { memberRoutes } from './members.ts';
import { metadefRoutes } from './metadefs.ts';
import { renderImage } from './render.ts';
import { CreateBody, IMAGE_READ_ONLY, Image, ImageList, ListQuery, Params, PatchBody, TagParams } from './schemas.ts';
import { schemaRoute } from './shown-schemas.ts';

const IMAGES = '/image/v2/images';
/** Glance's defaults are 25 and 1000 (limit_param_default, api_limit_max). */
const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1000;

export const imageRoutes: readonly Route[] = [
  route({
    method: 'POST',
    url: IMAGES,
    service: 'image',
    summary: 'Create an image record; its data is uploaded after',
    policy: 'add_image',
    body: CreateBody,
    answers: { 201: Image },
    tells: ['location', 'openstack-image-import-methods'],
    handle: async ({ p, actor, body }) => {
      const result = await createImage(p, actor, newImage(body));
      const answer = shownAs(201, result);
      const location = `${p.settings.publicUrl}${IMAGES}/${result.kind === 'ok' ? result.image.id : ''}`;
      // Clients that are to import the data look here for the ways of it (Glance's response of create).
      const headers = { location, 'openstack-image-import-methods': importMethods(p).join(',') };
      return { ...answer, headers };
    },
  }),
  route({
    method: 'GET',
    url: IMAGES,
    service: 'image',
    summary: 'List images',
    policy: 'get_images',
    query: ListQuery,
    answers: { 200: ImageList },
    handle: async ({ p, actor, query }) => {
      const page = pageOf(query);
      const list = await listImages(p, actor, filterOf(query), page);
      if (list.kind === 'refused') throw new ApiError(list.refusal.code, list.refusal.message);
      const last = list.images.at(-1);
      return {
        status: 200,
        body: {
          images: list.images.map(renderImage),
          first: link(query, undefined),
          ...(list.more && last ? { next: link(query, last.id) } : {}),
          schema: '/v2/schemas/images',
        },
      };
    },
  }),
  route({
    method: 'GET',
    url: `${IMAGES}/:id`,
    service: 'image',
    summary: 'Show an image',
    policy: 'get_image',
    params: Params,
    answers: { 200: Image },
    handle: async ({ p, actor, params }) => shownAs(200, await showImage(p, actor, params.id)),
  }),
  route({
    method: 'PATCH',
    url: `${IMAGES}/:id`,
    service: 'image',
    summary: 'Change an image',
    policy: 'modify_image',
    params: Params,
    body: PatchBody,
    contentTypes: ['application/openstack-images-v2.1-json-patch', 'application/openstack-images-v2.0-json-patch'],
    answers: { 200: Image },
    handle: async ({ p, actor, params, body }) => {
      // Whoever does not see it is told nothing of how it might be changed.
      shownAs(200, await showImage(p, actor, params.id));
      return shownAs(200, await updateImage(p, actor, params.id, body.map(changeOf)));
    },
  }),
  route({
    method: 'DELETE',
    url: `${IMAGES}/:id`,
    service: 'image',
    summary: 'Delete an image',
    policy: 'delete_image',
    params: Params,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => {
      refuse(await deleteImage(p, actor, params.id));
      return { status: 204 };
    },
  }),
  route({
    method: 'PUT',
    url: `${IMAGES}/:id/tags/:tag`,
    service: 'image',
    summary: 'Tag an image',
    policy: 'modify_image',
    params: TagParams,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => done(await addTag(p, actor, params.id, params.tag)),
  }),
  route({
    method: 'DELETE',
    url: `${IMAGES}/:id/tags/:tag`,
    service: 'image',
    summary: 'Remove a tag of an image',
    policy: 'modify_image',
    params: TagParams,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => done(await removeTag(p, actor, params.id, params.tag)),
  }),
  schemaRoute('image', 'image', Image, { readOnly: IMAGE_READ_ONLY }),
  schemaRoute('images', 'images', ImageList),
  ...dataRoutes,
  ...memberRoutes,
  ...importRoutes,
  ...metadefRoutes,
];

function shownAs(status: number, result: ImageResult): Answer {
  if (result.kind === 'refused') throw new ApiError(result.refusal.code, result.refusal.message);
  return { status, body: renderImage(result.image) };
}

function done(result: ImageResult): Answer {
  if (result.kind === 'refused') throw new ApiError(result.refusal.code, result.refusal.message);
  return { status: 204 };
}

function newImage(body: Static<typeof CreateBody>) {
  const { id, name, disk_format, container_format, visibility, owner, min_disk, min_ram, ...rest } = body;
  const { protected: isProtected, os_hidden, tags, ...properties } = rest as typeof rest & Record<string, string>;
  for (const key of Object.keys(properties)) {
    if (isBaseAttribute(key)) throw forbidden(`Attribute '${key}' is read-only.`);
  }
  return {
    ...(id === undefined ? {} : { id: id.toLowerCase() }),
    ...(owner == null ? {} : { owner }),
    name: name ?? null,
    diskFormat: disk_format ?? null,
    containerFormat: container_format ?? null,
    // Glance's default since v2.5; without members it means private.
    visibility: visibility ?? ('shared' satisfies Visibility),
    minDiskGb: min_disk ?? 0,
    minRamMb: min_ram ?? 0,
    protected: isProtected ?? false,
    hidden: os_hidden ?? false,
    tags: tags ?? [],
    properties: properties as Record<string, string>,
  };
}

function operationOf(item: Static<typeof PatchBody>[number]) {
  const { value } = item;
  if ('op' in item) return { op: item.op, path: item.path, value };
  if ('add' in item) return { op: 'add', path: item.add, value } as const;
  if ('replace' in item) return { op: 'replace', path: item.replace, value } as const;
  return { op: 'remove', path: item.remove, value } as const;
}

function changeOf(item: Static<typeof PatchBody>[number]): ImageChange {
  const { op, path, value } = operationOf(item);
  const name = path.slice(1);
  if (name.includes('/') || /~(?![01])/.test(name)) {
    throw badRequest(`Invalid JSON pointer for this resource: '${path}'`);
  }
  if (op !== 'remove' && value === undefined) throw badRequest(`Operation "${op}" requires a member named "value".`);
  // RFC 6901: ~1 first, so that ~01 becomes ~1 and not a slash.
  return { op, path: name.replaceAll('~1', '/').replaceAll('~0', '~'), value };
}

function orderOf([key, direction]: readonly [string | undefined, string | undefined]): ImageOrder {
  const sortKey = SORT_KEYS.find((each) => each === (key ?? 'created_at'));
  if (!sortKey) throw badRequest(`Invalid sort key: ${key}. It must be one of the following: ${SORT_KEYS.join(', ')}.`);
  if (direction !== undefined && direction !== 'asc' && direction !== 'desc')
    throw badRequest(`Invalid sort direction: ${direction}. It must be one of the following: asc, desc.`);
  return { key: sortKey, descending: direction !== 'asc' };
}

/**
 * `sort=name:asc,size:desc`, or the older `sort_key=name&sort_dir=asc&sort_key=size&sort_dir=desc`, where one direction
 * counts for all keys (glance/api/v2/images.py, _get_sorting_params). @throws ApiError 400
 */
function ordersIn({ sort, sort_key: keys = [], sort_dir: directions = [] }: Static<typeof ListQuery>): ImageOrder[] {
  if (sort === undefined) {
    if (directions.length > 1 && directions.length !== keys.length)
      throw badRequest('Number of sort dirs does not match the number of sort keys');
    const wished = keys.length === 0 ? [undefined] : keys;
    return wished.map((key, index) => orderOf([key, directions.length > 1 ? directions[index] : directions[0]]));
  }
  if (keys.length + directions.length > 0) throw badRequest('Old and new sorting syntax cannot be combined');
  return sort.split(',').map((each) => {
    const [key, direction] = each.split(':', 2).map((part) => part.trim());
    return orderOf([key, direction]);
  });
}

function pageOf(query: Static<typeof ListQuery>): ImagePage {
  return {
    sort: ordersIn(query),
    limit: Math.min(query.limit ?? DEFAULT_LIMIT, MAX_LIMIT),
    ...(query.marker === undefined ? {} : { marker: query.marker }),
  };
}

/** The same list from another place on; without a marker its beginning. Relative, as Glance's links are. */
function link(query: Static<typeof ListQuery>, marker: string | undefined): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (key === 'marker') continue;
    for (const each of [value].flat()) parameters.append(key, String(each));
  }
  if (marker !== undefined) parameters.append('marker', marker);
  const text = parameters.toString();
  return `/v2/images${text === '' ? '' : `?${text}`}`;
}
