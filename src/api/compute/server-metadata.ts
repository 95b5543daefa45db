// Metadata and tags of a server. Each change reads the record, works out the whole new set and writes it; two changes
// of one server at the same time can lose one of them, as they can in Nova.
import { Type } from 'typebox';
import type { Platform } from '../../control/platform.ts';
import { limitsOf } from '../../control/quota.ts';
import { editServer } from '../../control/servers.ts';
import { checkAction, checkTagging, type ServerAction, stateOf } from '../../model/actions.ts';
import { checkMetadata } from '../../model/names.ts';
import { checkMetadataQuota } from '../../model/quota.ts';
import { type Actor, isAdmin, type Server } from '../../model/types.ts';
import { badRequest, notFound, refuse } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { BASE, IdAndKeyParams, IdParams, object, StringMap, serverFor, text } from './common.ts';
import { MAX_TAGS, Metadata, Tag } from './server-schemas.ts';

const METADATA = `${BASE}/servers/:id/metadata`;
const TAGS = `${BASE}/servers/:id/tags`;

export const serverMetadataRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: METADATA,
    service: 'compute',
    summary: "List a server's metadata",
    policy: 'os_compute_api:server-metadata:index',
    params: IdParams,
    answers: { 200: object({ metadata: StringMap }) },
    handle: async ({ p, actor, params }) => ({
      status: 200,
      body: { metadata: (await serverFor(p, actor, params.id)).server.metadata },
    }),
  }),
  route({
    method: 'POST',
    url: METADATA,
    service: 'compute',
    summary: 'Add or replace metadata items',
    policy: 'os_compute_api:server-metadata:create',
    params: IdParams,
    body: object({ metadata: Metadata }),
    answers: { 200: object({ metadata: StringMap }) },
    handle: async ({ p, actor, params, body }) => {
      const { server } = await serverFor(p, actor, params.id);
      const metadata = await write(p, actor, server, 'updateMetadata', { ...server.metadata, ...body.metadata });
      return { status: 200, body: { metadata } };
    },
  }),
  route({
    method: 'PUT',
    url: METADATA,
    service: 'compute',
    summary: 'Replace all metadata',
    policy: 'os_compute_api:server-metadata:update_all',
    params: IdParams,
    body: object({ metadata: Metadata }),
    answers: { 200: object({ metadata: StringMap }) },
    handle: async ({ p, actor, params, body }) => {
      const { server } = await serverFor(p, actor, params.id);
      return { status: 200, body: { metadata: await write(p, actor, server, 'updateMetadata', body.metadata) } };
    },
  }),
  route({
    method: 'GET',
    url: `${METADATA}/:key`,
    service: 'compute',
    summary: 'Show one metadata item',
    policy: 'os_compute_api:server-metadata:show',
    params: IdAndKeyParams,
    answers: { 200: object({ meta: StringMap }) },
    handle: async ({ p, actor, params }) => {
      const { server } = await serverFor(p, actor, params.id);
      return { status: 200, body: { meta: { [params.key]: itemOf(server, params.key) } } };
    },
  }),
  route({
    method: 'PUT',
    url: `${METADATA}/:key`,
    service: 'compute',
    summary: 'Set one metadata item',
    policy: 'os_compute_api:server-metadata:update',
    params: IdAndKeyParams,
    body: object({ meta: Metadata }),
    answers: { 200: object({ meta: StringMap }) },
    handle: async ({ p, actor, params, body }) => {
      const { server } = await serverFor(p, actor, params.id);
      const value = Object.hasOwn(body.meta, params.key) ? body.meta[params.key] : undefined;
      if (value === undefined || Object.keys(body.meta).length !== 1) throw badRequest('Request body and URI mismatch');
      await write(p, actor, server, 'updateMetadata', { ...server.metadata, [params.key]: value });
      return { status: 200, body: { meta: { [params.key]: value } } };
    },
  }),
  route({
    method: 'DELETE',
    url: `${METADATA}/:key`,
    service: 'compute',
    summary: 'Delete one metadata item',
    policy: 'os_compute_api:server-metadata:delete',
    params: IdAndKeyParams,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => {
      const { server } = await serverFor(p, actor, params.id);
      itemOf(server, params.key);
      const { [params.key]: _gone, ...rest } = server.metadata;
      await write(p, actor, server, 'deleteMetadata', rest);
      return { status: 204 };
    },
  }),
];

export const serverTagRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: TAGS,
    service: 'compute',
    summary: "List a server's tags",
    policy: 'os_compute_api:os-server-tags:index',
    since: 26,
    params: IdParams,
    answers: { 200: object({ tags: Type.Array(text()) }) },
    handle: async ({ p, actor, params }) => ({
      status: 200,
      body: { tags: (await serverFor(p, actor, params.id)).server.tags },
    }),
  }),
  route({
    method: 'PUT',
    url: TAGS,
    service: 'compute',
    summary: 'Replace all tags',
    policy: 'os_compute_api:os-server-tags:update_all',
    since: 26,
    params: IdParams,
    body: object({ tags: Type.Array(Tag, { maxItems: MAX_TAGS }) }),
    answers: { 200: object({ tags: Type.Array(text()) }) },
    handle: async ({ p, actor, params, body }) => {
      const { server } = await serverFor(p, actor, params.id);
      const tags = [...new Set(body.tags)];
      await writeTags(p, server, 'update tags', tags);
      return { status: 200, body: { tags } };
    },
  }),
  route({
    method: 'DELETE',
    url: TAGS,
    service: 'compute',
    summary: 'Delete all tags',
    policy: 'os_compute_api:os-server-tags:delete_all',
    since: 26,
    params: IdParams,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => {
      const { server } = await serverFor(p, actor, params.id);
      await writeTags(p, server, 'delete tags', []);
      return { status: 204 };
    },
  }),
  route({
    method: 'GET',
    url: `${TAGS}/:key`,
    service: 'compute',
    summary: 'Whether a server has a tag',
    policy: 'os_compute_api:os-server-tags:show',
    since: 26,
    params: IdAndKeyParams,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => {
      tagOf((await serverFor(p, actor, params.id)).server, params.key);
      return { status: 204 };
    },
  }),
  route({
    method: 'PUT',
    url: `${TAGS}/:key`,
    service: 'compute',
    summary: 'Add a tag: 201 when it is new, else 204',
    policy: 'os_compute_api:os-server-tags:update',
    since: 26,
    params: object({ ...IdParams.properties, key: Tag }),
    answers: { 201: null, 204: null },
    tells: ['location'],
    handle: async ({ p, actor, params }) => {
      const { server } = await serverFor(p, actor, params.id);
      if (server.tags.includes(params.key)) return { status: 204 };
      if (server.tags.length >= MAX_TAGS)
        throw badRequest(`The number of tags exceeded the per-server limit ${MAX_TAGS}`);
      await writeTags(p, server, 'update tag', [...server.tags, params.key]);
      const location = `${p.settings.publicUrl}${BASE}/servers/${server.id}/tags/${encodeURIComponent(params.key)}`;
      return { status: 201, headers: { location } };
    },
  }),
  route({
    method: 'DELETE',
    url: `${TAGS}/:key`,
    service: 'compute',
    summary: 'Delete a tag',
    policy: 'os_compute_api:os-server-tags:delete',
    since: 26,
    params: IdAndKeyParams,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => {
      const { server } = await serverFor(p, actor, params.id);
      tagOf(server, params.key);
      await writeTags(
        p,
        server,
        'delete tag',
        server.tags.filter((tag) => tag !== params.key),
      );
      return { status: 204 };
    },
  }),
];

function itemOf(server: Server, key: string): string {
  const value = Object.hasOwn(server.metadata, key) ? server.metadata[key] : undefined;
  if (value === undefined) throw notFound('Metadata item was not found');
  return value;
}

function tagOf(server: Server, tag: string): void {
  if (!server.tags.includes(tag)) throw notFound(`Server ${server.id} has no tag '${tag.slice(0, 100)}'`);
}

async function write(
  p: Platform,
  actor: Actor,
  server: Server,
  action: ServerAction,
  metadata: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, string>>> {
  refuse(checkAction(action, stateOf(server), isAdmin(actor)));
  refuse(checkMetadata(metadata));
  const limits = await limitsOf(p, server.projectId);
  if (action === 'updateMetadata') refuse(checkMetadataQuota(limits, Object.keys(metadata).length));
  refuse(await editServer(p, server.id, { metadata }));
  return metadata;
}

/** Looks at what the server is in before it changes the tags. @throws ApiError 409 */
async function writeTags(p: Platform, server: Server, doing: string, tags: readonly string[]): Promise<void> {
  refuse(checkTagging(doing, stateOf(server)));
  refuse(await editServer(p, server.id, { tags }));
}
