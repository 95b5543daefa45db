// Compute's old view of images (until 2.35; their metadata until 2.38): the image service's records in Nova's words.
// Source: nova/api/openstack/compute/images.py, image_metadata.py, views/images.py.
import { type Static, Type } from 'typebox';
import { type ImageChange, updateImage } from '../../control/images/changes.ts';
import { type ImageFilter, listImages } from '../../control/images/listing.ts';
import { deleteImage, type ImageResult, showImage } from '../../control/images/records.ts';
import { checkNotReserved } from '../../control/images/rules.ts';
import type { Image } from '../../control/images.ts';
import type { Platform, Settings } from '../../control/platform.ts';
import { assertNever } from '../../lib/errors.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { isoSeconds } from '../../model/time.ts';
import type { Actor } from '../../model/types.ts';
import { requireRule } from '../http/auth.ts';
import { ApiError, badRequest, forbidden, notFound } from '../http/errors.ts';
import { type Answer, type Route, route } from '../http/route.ts';
import {
  BASE,
  closed,
  IdAndKeyParams,
  IdParams,
  Links,
  linksOf,
  nextLink,
  nullable,
  object,
  Page,
  pageSize,
  timeOf,
} from './common.ts';

const IMAGES = `${BASE}/images`;
const LAST = 35;
const LAST_OF_METADATA = 38;

const text = Type.String({ maxLength: 1024 });
const Query = Type.Object(
  {
    ...Page,
    name: Type.Optional(text),
    status: Type.Optional(text),
    server: Type.Optional(text),
    type: Type.Optional(text),
    minRam: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
    minDisk: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
    'changes-since': Type.Optional(text),
  },
  // Anything else is passed over, but for `property-<name>`.
  { additionalProperties: text, maxProperties: 64 },
);
type Query = Static<typeof Query>;

const ServerOfImage = object({ id: Type.String(), links: Links });
const Brief = object({ id: Type.String(), name: nullable(Type.String()), links: Links });
const Metadata = Type.Record(
  Type.String({ pattern: '^[a-zA-Z0-9-_:. ]{1,255}$' }),
  Type.String({ maxLength: 255 }),
  closed,
);
const Full = object({
  ...Brief.properties,
  created: Type.String(),
  updated: Type.String(),
  status: Type.String(),
  progress: Type.Integer(),
  minDisk: Type.Integer(),
  minRam: Type.Integer(),
  metadata: Type.Record(Type.String(), Type.String()),
  'OS-EXT-IMG-SIZE:size': Type.Integer(),
  'OS-DCF:diskConfig': Type.Optional(Type.String()),
  server: Type.Optional(ServerOfImage),
});
const listOf = <S extends Type.TSchema>(image: S) =>
  object({ images: Type.Array(image), images_links: Type.Optional(Links) });
const MetadataBody = object({ metadata: Metadata });
const ItemBody = object({ meta: Metadata });

const common = { service: 'compute', policy: 'anyone', until: LAST } as const;
const commonOfMetadata = { service: 'compute', policy: 'anyone', until: LAST_OF_METADATA } as const;

export const computeImageRoutes: readonly Route[] = [
  route({
    ...{ ...common, method: 'GET', url: IMAGES, summary: 'List images' },
    query: Query,
    answers: { 200: listOf(Brief) },
    handle: ({ p, actor, query, request }) => listed(p, actor, query, request.url, brief),
  }),
  route({
    ...{ ...common, method: 'GET', url: `${IMAGES}/detail`, summary: 'List images with what is known of them' },
    query: Query,
    answers: { 200: listOf(Full) },
    handle: ({ p, actor, query, request }) => listed(p, actor, query, request.url, full),
  }),
  route({
    ...{ ...common, method: 'GET', url: `${IMAGES}/:id`, summary: 'Show an image' },
    params: IdParams,
    answers: { 200: object({ image: Full }) },
    handle: async ({ p, actor, params }) => ({
      status: 200,
      body: { image: full(p.settings, await imageFor(p, actor, params.id, 'get_image')) },
    }),
  }),
  route({
    ...{ ...common, method: 'DELETE', url: `${IMAGES}/:id`, summary: 'Delete an image' },
    params: IdParams,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => {
      await imageFor(p, actor, params.id, 'delete_image');
      const refusal = await deleteImage(p, actor, params.id);
      if (refusal?.code === 403) throw forbidden('You are not allowed to delete the image.');
      if (refusal) throw notFound('Image not found.');
      return { status: 204 };
    },
  }),
  route({
    ...{ ...commonOfMetadata, method: 'GET', url: `${IMAGES}/:id/metadata`, summary: "List an image's metadata" },
    params: IdParams,
    answers: { 200: MetadataBody },
    handle: async ({ p, actor, params }) => shown((await imageFor(p, actor, params.id, 'get_image')).properties),
  }),
  route({
    ...{ ...commonOfMetadata, method: 'POST', url: `${IMAGES}/:id/metadata`, summary: 'Add or replace metadata items' },
    params: IdParams,
    body: MetadataBody,
    answers: { 200: MetadataBody },
    handle: async ({ p, actor, params, body }) =>
      shown(await changed(p, actor, params.id, () => Object.entries(body.metadata).map(added))),
  }),
  route({
    ...{ ...commonOfMetadata, method: 'PUT', url: `${IMAGES}/:id/metadata`, summary: 'Replace all metadata' },
    params: IdParams,
    body: MetadataBody,
    answers: { 200: MetadataBody },
    handle: async ({ p, actor, params, body }) =>
      shown(
        await changed(p, actor, params.id, (before) => [
          ...Object.keys(before)
            .filter((key) => !Object.hasOwn(body.metadata, key) && checkNotReserved([key]) === null)
            .map(removed),
          ...Object.entries(body.metadata).map(added),
        ]),
      ),
  }),
  route({
    ...{ ...commonOfMetadata, method: 'GET', url: `${IMAGES}/:id/metadata/:key`, summary: 'Show a metadata item' },
    params: IdAndKeyParams,
    answers: { 200: ItemBody },
    handle: async ({ p, actor, params: { id, key } }) => {
      const { properties } = await imageFor(p, actor, id, 'get_image');
      const value = Object.hasOwn(properties, key) ? properties[key] : undefined;
      if (value === undefined) throw notFound('Metadata item was not found');
      return { status: 200, body: { meta: { [key]: value } } };
    },
  }),
  route({
    ...{ ...commonOfMetadata, method: 'PUT', url: `${IMAGES}/:id/metadata/:key`, summary: 'Set a metadata item' },
    params: IdAndKeyParams,
    body: ItemBody,
    answers: { 200: ItemBody },
    handle: async ({ p, actor, params: { id, key }, body: { meta } }) => {
      const value = Object.hasOwn(meta, key) ? meta[key] : undefined;
      if (value === undefined) throw badRequest('Request body and URI mismatch');
      if (Object.keys(meta).length > 1) throw badRequest('Request body contains too many items');
      await changed(p, actor, id, () => [added([key, value])]);
      return { status: 200, body: { meta } };
    },
  }),
  route({
    ...{ ...commonOfMetadata, method: 'DELETE', url: `${IMAGES}/:id/metadata/:key` },
    summary: 'Delete a metadata item',
    params: IdAndKeyParams,
    answers: { 204: null },
    handle: async ({ p, actor, params: { id, key } }) => {
      await changed(p, actor, id, (before) => {
        if (!Object.hasOwn(before, key)) throw notFound('Invalid metadata key');
        return [removed(key)];
      });
      return { status: 204 };
    },
  }),
];

const added = ([path, value]: readonly [string, string]): ImageChange => ({ op: 'add', path, value });
const removed = (path: string): ImageChange => ({ op: 'remove', path });
const shown = (metadata: Readonly<Record<string, string>>): Answer => ({ status: 200, body: { metadata } });

/** The image, when the actor may do with it what the image service's rule says. @throws ApiError 404, 403 */
async function imageFor(p: Platform, actor: Actor, id: string, rule: RuleName): Promise<Image> {
  const found = await showImage(p, actor, id);
  if (found.kind === 'refused') throw notFound('Image not found.');
  const { owner, visibility } = found.image;
  requireRule(p, 'image', actor, rule, { project_id: owner, tenant_id: owner, owner, visibility });
  return found.image;
}

/** The properties after the change. @throws ApiError */
async function changed(
  p: Platform,
  actor: Actor,
  id: string,
  changesOf: (before: Readonly<Record<string, string>>) => readonly ImageChange[],
): Promise<Readonly<Record<string, string>>> {
  const image = await imageFor(p, actor, id, 'modify_image');
  const result: ImageResult = await updateImage(p, actor, id, changesOf(image.properties));
  if (result.kind === 'refused') throw new ApiError(result.refusal.code, result.refusal.message);
  return result.image.properties;
}

async function listed(
  p: Platform,
  actor: Actor,
  query: Query,
  url: string,
  render: (settings: Settings, image: Image) => object,
): Promise<Answer> {
  requireRule(p, 'image', actor, 'get_images', { project_id: actor.projectId, tenant_id: actor.projectId });
  const { marker } = query;
  const list = await listImages(p, actor, filterOf(query), {
    sort: [{ key: 'created_at', descending: true }],
    limit: pageSize(query.limit),
    ...(marker === undefined ? {} : { marker }),
  });
  if (list.kind === 'refused') throw new ApiError(list.refusal.code, list.refusal.message);
  const last = list.more ? (list.images.at(-1)?.id ?? null) : null;
  const images = list.images.map((image) => render(p.settings, image));
  return { status: 200, body: { images, ...nextLink(p.settings, 'images_links', url, last) } };
}

/** Nova's statuses, as they are asked for. */
const STATUSES: Readonly<Record<string, string>> = {
  ACTIVE: 'active',
  SAVING: 'saving',
  DELETED: 'deleted',
  ERROR: 'killed',
  UNKNOWN: 'deactivated',
};

function filterOf(query: Query): ImageFilter {
  const { name, status, server, type, minRam, minDisk } = query;
  const since = timeOf('changes-since', query['changes-since']);
  const properties = Object.entries(query).flatMap(([key, value]) =>
    key.startsWith('property-') ? [[key.slice('property-'.length), String(value)] as const] : [],
  );
  if (server !== undefined) properties.push(['instance_uuid', server.split('/').at(-1) ?? '']);
  if (type !== undefined) properties.push(['image_type', type]);
  return {
    ...(name === undefined ? {} : { name: [name] }),
    ...(status === undefined ? {} : { status: [STATUSES[status.toUpperCase()] ?? status.toLowerCase()] }),
    ...(minRam === undefined ? {} : { minRamMb: minRam }),
    ...(minDisk === undefined ? {} : { minDiskGb: minDisk }),
    ...(since === undefined
      ? {}
      : { times: [{ key: 'updated_at', from: since, before: Number.MAX_SAFE_INTEGER, outside: false }] }),
    properties: Object.fromEntries(properties),
  };
}

const brief = (settings: Settings, { id, name }: Image) => ({
  id,
  name,
  links: [
    ...linksOf(settings, `/images/${id}`),
    {
      rel: 'alternate',
      type: 'application/vnd.openstack.image',
      href: `${settings.publicUrl}/image/v2/images/${id}`,
    },
  ],
});

function full(settings: Settings, image: Image): object {
  const serverId = image.properties['instance_uuid'];
  const auto = image.properties['auto_disk_config'];
  const { word, progress } = stateOf(image);
  return {
    ...brief(settings, image),
    created: isoSeconds(image.createdAt),
    updated: isoSeconds(image.updatedAt),
    ...{ status: word, progress, minDisk: image.minDiskGb, minRam: image.minRamMb },
    metadata: image.properties,
    'OS-EXT-IMG-SIZE:size': image.sizeBytes ?? 0,
    ...(auto === undefined ? {} : { 'OS-DCF:diskConfig': /^(1|t|true|on|y|yes)$/i.test(auto) ? 'AUTO' : 'MANUAL' }),
    ...(serverId === undefined ? {} : { server: { id: serverId, links: linksOf(settings, `/servers/${serverId}`) } }),
  };
}

function stateOf({ status }: Image): { readonly word: string; readonly progress: number } {
  switch (status) {
    case 'queued':
      return { word: 'SAVING', progress: 25 };
    case 'saving':
      return { word: 'SAVING', progress: 50 };
    case 'uploading':
      return { word: 'SAVING', progress: 25 };
    case 'deactivated':
      return { word: 'UNKNOWN', progress: 0 };
    case 'active':
      return { word: 'ACTIVE', progress: 100 };
    case 'deleted':
      return { word: 'DELETED', progress: 0 };
    default:
      return assertNever(status);
  }
}
