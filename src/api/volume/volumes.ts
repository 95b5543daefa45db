// Volumes: list, show, create, change, delete, and their metadata. Actions have a file of their own.
import { type Static, Type } from 'typebox';
import type { VolumeWish } from '../../control/volumes/plan.ts';
import { editVolume, listVolumes, volumeFor } from '../../control/volumes/records.ts';
import { isAdmin } from '../../model/types.ts';
import { volumeNotFound } from '../../model/volumes.ts';
import { createVolume } from '../../moves/volumes/create.ts';
import { deleteVolume } from '../../moves/volumes/delete.ts';
import { IdParams, Links, object } from '../compute/common.ts';
import { requireRule } from '../http/auth.ts';
import { badRequest, errorOf, refuse } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { linksOf, listExtras, orThrow, projectOf, V3 } from './common.ts';
import { type Flag, flagOf, isTrue } from './filters.ts';
import { metadataRoutes } from './metadata.ts';
import { renderFull, renderPlain } from './render.ts';
import * as schema from './schemas.ts';
import { listedVolumes } from './volume-list.ts';

const VOLUMES = `${V3}/volumes`;
const service = 'volume' as const;
const pages = { volumes_links: Type.Optional(Links), count: Type.Optional(Type.Integer()) };

const wishOf = (body: {
  readonly size?: number | string | null;
  readonly name?: string | null;
  readonly display_name?: string | null;
  readonly description?: string | null;
  readonly display_description?: string | null;
  readonly imageRef?: string | null;
  readonly image_id?: string | null;
  readonly snapshot_id?: string | null;
  readonly source_volid?: string | null;
  readonly volume_type?: string | null;
  readonly availability_zone?: string | null;
  readonly metadata?: Record<string, string> | null;
  readonly multiattach?: Static<typeof Flag> | null;
}): VolumeWish => ({
  sizeGb: body.size === undefined || body.size === null ? null : Number(body.size),
  name: body.name ?? body.display_name ?? null,
  description: body.description ?? body.display_description ?? null,
  metadata: body.metadata ?? {},
  zone: body.availability_zone || null,
  type: body.volume_type || null,
  multiattach: isTrue(body.multiattach ?? false),
  source: sourceOf(body),
});

/** @throws ApiError 400 when there are several */
function sourceOf(body: {
  readonly imageRef?: string | null;
  readonly image_id?: string | null;
  readonly snapshot_id?: string | null;
  readonly source_volid?: string | null;
}): VolumeWish['source'] {
  // An image may be named by its URL.
  const imageId = (body.imageRef || body.image_id)?.split('/').at(-1);
  const sources: VolumeWish['source'][] = [
    ...(imageId ? [{ kind: 'image', imageId } as const] : []),
    ...(body.snapshot_id ? [{ kind: 'snapshot', snapshotId: body.snapshot_id } as const] : []),
    ...(body.source_volid ? [{ kind: 'volume', volumeId: body.source_volid } as const] : []),
  ];
  const [source = { kind: 'blank' }, another] = sources;
  if (another) {
    throw badRequest('Invalid input received: A volume is made of one of imageRef, snapshot_id and source_volid.');
  }
  return source;
}

export const volumeRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: VOLUMES, service, summary: 'List volumes', policy: 'volume:get_all' },
    query: schema.VolumeQuery,
    answers: { 200: object({ volumes: Type.Array(schema.VolumeRef), ...pages }) },
    handle: async ({ p, actor, query, minor, request }) => {
      const found = await listedVolumes(p, actor, query, minor);
      const volumes = found.page.map(({ id, name, projectId }) => ({
        ...{ id, name, links: linksOf(p.settings, projectId, `/volumes/${id}`) },
      }));
      const extras = listExtras(p.settings, 'volumes', found, { url: request.originalUrl, minor, wish: query });
      return { status: 200, body: { volumes, ...extras } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${VOLUMES}/detail`, service, summary: 'List volumes with details' },
    policy: 'volume:get_all',
    query: schema.VolumeQuery,
    answers: { 200: object({ volumes: Type.Array(schema.FullVolume), ...pages }) },
    handle: async ({ p, actor, query, minor, request }) => {
      const found = await listedVolumes(p, actor, query, minor);
      const volumes = await renderFull({ p, actor, minor }, found.page);
      const extras = listExtras(p.settings, 'volumes', found, { url: request.originalUrl, minor, wish: query });
      return { status: 200, body: { volumes, ...extras } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${VOLUMES}/summary`, service, summary: 'How many volumes there are, and how large' },
    policy: 'volume:get_all',
    since: 12,
    query: object({ all_tenants: Type.Optional(Type.String({ maxLength: 10 })) }),
    answers: {
      200: object({
        'volume-summary': object({
          total_count: Type.Integer(),
          total_size: Type.Integer(),
          metadata: Type.Optional(Type.Record(Type.String(), Type.Array(Type.String()))),
        }),
      }),
    },
    handle: async ({ p, actor, query, minor }) => {
      const projectId = projectOf(isAdmin(actor), actor.projectId, query);
      const volumes = await listVolumes(p.stores.global, { projectId });
      // A key may be the name of what every object has.
      const values = Map.groupBy(
        volumes.flatMap((volume) => Object.entries(volume.metadata)),
        ([key]) => key,
      );
      const metadata = Object.fromEntries(
        [...values].map(([key, items]) => [key, [...new Set(items.map(([, value]) => value))]]),
      );
      const summary = {
        ...{ total_count: volumes.length, total_size: volumes.reduce((sum, each) => sum + each.sizeGb, 0) },
        ...(minor >= 36 ? { metadata } : {}),
      };
      return { status: 200, body: { 'volume-summary': summary } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${VOLUMES}/:id`, service, summary: 'Show a volume', policy: 'volume:get' },
    params: IdParams,
    answers: { 200: object({ volume: schema.FullVolume }) },
    handle: async ({ p, actor, params, minor }) => {
      const volume = orThrow(await volumeFor(p.stores.global, actor, params.id));
      return { status: 200, body: { volume: (await renderFull({ p, actor, minor }, [volume]))[0] } };
    },
  }),
  route({
    ...{ method: 'POST', url: VOLUMES, service, summary: 'Create a volume', policy: 'volume:create' },
    body: schema.CreateVolume,
    answers: { 202: object({ volume: schema.Volume }) },
    handle: async ({ p, actor, body, minor }) => {
      const wish = wishOf(body.volume);
      if (wish.source.kind === 'image') requireRule(p, service, actor, 'volume:create_from_image');
      if (wish.multiattach) requireRule(p, service, actor, 'volume:multiattach');
      const result = await createVolume(p, actor, wish);
      if (result.kind === 'refused') throw errorOf(result.refusal);
      return { status: 202, body: { volume: await renderPlain({ p, actor, minor }, result.volume) } };
    },
  }),
  route({
    ...{ method: 'PUT', url: `${VOLUMES}/:id`, service, summary: 'Rename or describe a volume' },
    policy: 'volume:update',
    params: IdParams,
    body: schema.UpdateVolume,
    answers: { 200: object({ volume: schema.Volume }) },
    handle: async ({ p, actor, params, body, minor }) => {
      const { id } = orThrow(await volumeFor(p.stores.global, actor, params.id));
      const volume = await editVolume(p.stores.global, id, editOf(body.volume), p.clock.now());
      if (!volume) throw errorOf(volumeNotFound(id));
      return { status: 200, body: { volume: await renderPlain({ p, actor, minor }, volume) } };
    },
  }),
  route({
    ...{ method: 'DELETE', url: `${VOLUMES}/:id`, service, summary: 'Delete a volume', policy: 'volume:delete' },
    params: IdParams,
    query: object({
      cascade: Type.Optional(Type.String({ maxLength: 10 })),
      force: Type.Optional(Type.String({ maxLength: 10 })),
    }),
    answers: { 202: null },
    handle: async ({ p, actor, params, query, minor }) => {
      const volume = orThrow(await volumeFor(p.stores.global, actor, params.id));
      const force = minor >= 23 && flagOf('force', query.force);
      if (force) requireRule(p, service, actor, 'volume:force_delete', { project_id: volume.projectId });
      const cascade = flagOf('cascade', query.cascade);
      refuse(await deleteVolume(p, actor, volume.id, { cascade, force }));
      return { status: 202 };
    },
  }),
  ...metadataRoutes({
    ...{ url: VOLUMES, noun: 'volume' },
    rules: {
      get: 'volume:get_volume_metadata',
      create: 'volume:create_volume_metadata',
      update: 'volume:update_volume_metadata',
      remove: 'volume:delete_volume_metadata',
    },
    read: async (p, actor, id) => orThrow(await volumeFor(p.stores.global, actor, id)).metadata,
    write: async (p, id, metadata) =>
      (await editVolume(p.stores.global, id, { metadata }, p.clock.now()))?.metadata ?? null,
    absent: volumeNotFound,
  }),
];

/** What a body says of names; `display_…` are their older names. */
export const editOf = (body: {
  readonly name?: string | null;
  readonly display_name?: string | null;
  readonly description?: string | null;
  readonly display_description?: string | null;
  readonly metadata?: Record<string, string> | null;
}) => {
  const name = body.name === undefined ? body.display_name : body.name;
  const description = body.description === undefined ? body.display_description : body.description;
  const { metadata } = body;
  return {
    ...(name === undefined ? {} : { name }),
    ...(description === undefined ? {} : { description }),
    ...(metadata ? { metadata: () => metadata } : {}),
  };
};
