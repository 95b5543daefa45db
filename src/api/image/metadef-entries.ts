// What namespaces of definitions of metadata hold: properties, objects, tags, and associations with resource types. Each is
// found by its name within its namespace.
import type { Static } from 'typebox';
import {
  addEntries,
  type Entry,
  type Kind,
  type Namespace,
  removeEntries,
  showEntry,
  showNamespace,
  updateEntry,
} from '../../control/images/metadefs.ts';
import type { Platform } from '../../control/platform.ts';
import { invariant } from '../../lib/errors.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import type { Actor } from '../../model/types.ts';
import { ApiError } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import {
  entryOf,
  prefixOf,
  renderEntry,
  renderObject,
  renderProperties,
  renderTimed,
  unrefused,
} from './metadef-render.ts';
import {
  Association,
  AssociationList,
  AssociationShown,
  EntryParams,
  EntryQuery,
  MetaObject,
  MetaObjectList,
  MetaObjectShown,
  NamespaceParams,
  Property,
  PropertyList,
  Tag,
  TagList,
  TagShown,
  TypeQuery,
} from './metadef-schemas.ts';

const NAMESPACE = '/image/v2/metadefs/namespaces/:id';
const service = 'image' as const;

/** The entry of that name, of a namespace that has just been written. */
function entryIn(namespace: Namespace, kind: Kind, name: string): Entry {
  const entry = namespace.content[kind].find((each) => each.name === name);
  invariant(entry, 'what was written is there');
  return entry;
}

async function add(p: Platform, actor: Actor, namespace: string, kind: Kind, body: { readonly name: string }) {
  return entryIn(unrefused(await addEntries(p, actor, namespace, kind, [entryOf(body)])), kind, body.name);
}

async function put(
  p: Platform,
  actor: Actor,
  { id, key }: Static<typeof EntryParams>,
  kind: Kind,
  body: { readonly name: string },
) {
  return entryIn(unrefused(await updateEntry(p, actor, id, kind, key, entryOf(body))), kind, body.name);
}

/** Newest first unless told otherwise, from behind the marker on. @throws ApiError 404 for a marker that is not there */
function pageOf(entries: readonly Entry[], query: Static<typeof EntryQuery>): readonly Entry[] {
  const value = (entry: Entry): string | number => {
    if (query.sort_key === 'name') return entry.name;
    return query.sort_key === 'updated_at' ? entry.updatedAt : entry.createdAt;
  };
  const up = entries.toSorted((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0));
  const sorted = query.sort_dir === 'asc' ? up : up.toReversed();
  const first = query.marker === undefined ? 0 : sorted.findIndex((each) => each.name === query.marker) + 1;
  if (query.marker !== undefined && first === 0)
    throw new ApiError(404, `There is no entry of the name ${query.marker}.`);
  return sorted.slice(first, first + Math.min(query.limit ?? sorted.length, sorted.length));
}

const removal = (kind: Kind, one: boolean, policy: RuleName, summary: string): Route =>
  route({
    ...{ method: 'DELETE', url: `${NAMESPACE}/${kind}${one ? '/:key' : ''}`, service, summary, policy },
    params: one ? EntryParams : NamespaceParams,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => {
      const { key = null } = params as { readonly key?: string };
      unrefused(await removeEntries(p, actor, params.id, kind, key));
      return { status: 204 };
    },
  });

const associationRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: `${NAMESPACE}/resource_types`, service },
    summary: 'List what a namespace is associated with',
    policy: 'list_metadef_resource_types',
    params: NamespaceParams,
    answers: { 200: AssociationList },
    handle: async ({ p, actor, params }) => {
      const { content } = unrefused(await showNamespace(p, actor, params.id));
      return { status: 200, body: { resource_type_associations: content.resource_types.map(renderTimed) } };
    },
  }),
  route({
    ...{ method: 'POST', url: `${NAMESPACE}/resource_types`, service, summary: 'Associate a namespace' },
    policy: 'add_metadef_resource_type_association',
    params: NamespaceParams,
    body: Association,
    answers: { 201: AssociationShown },
    handle: async ({ p, actor, params, body }) => ({
      status: 201,
      body: renderTimed(await add(p, actor, params.id, 'resource_types', body)),
    }),
  }),
  removal('resource_types', true, 'remove_metadef_resource_type_association', 'End an association'),
];

const propertyRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: `${NAMESPACE}/properties`, service, summary: 'List the properties of a namespace' },
    policy: 'get_metadef_properties',
    params: NamespaceParams,
    answers: { 200: PropertyList },
    handle: async ({ p, actor, params }) => {
      const { content } = unrefused(await showNamespace(p, actor, params.id));
      return { status: 200, body: { properties: renderProperties(content.properties) } };
    },
  }),
  route({
    ...{ method: 'POST', url: `${NAMESPACE}/properties`, service, summary: 'Create a property' },
    policy: 'add_metadef_property',
    params: NamespaceParams,
    body: Property,
    answers: { 201: Property },
    handle: async ({ p, actor, params, body }) => ({
      status: 201,
      body: renderEntry(await add(p, actor, params.id, 'properties', body)),
    }),
  }),
  removal('properties', false, 'remove_metadef_property', 'Delete all properties of a namespace'),
  route({
    ...{ method: 'GET', url: `${NAMESPACE}/properties/:key`, service, summary: 'Show a property' },
    policy: 'get_metadef_property',
    params: EntryParams,
    query: TypeQuery,
    answers: { 200: Property },
    handle: async ({ p, actor, params: { id, key }, query }) => {
      const type = query.resource_type;
      const prefix = type === undefined ? '' : prefixOf(unrefused(await showNamespace(p, actor, id)), type);
      if (type !== undefined && (prefix === '' || !key.startsWith(prefix)))
        throw new ApiError(
          404,
          `Property ${key} does not start with the expected resource type association prefix of '${prefix}'.`,
        );
      const entry = unrefused(await showEntry(p, actor, id, 'properties', key.slice(prefix.length)));
      return { status: 200, body: renderEntry(entry) };
    },
  }),
  route({
    ...{ method: 'PUT', url: `${NAMESPACE}/properties/:key`, service, summary: 'Change a property' },
    policy: 'modify_metadef_property',
    params: EntryParams,
    body: Property,
    answers: { 200: Property },
    handle: async ({ p, actor, params, body }) => ({
      status: 200,
      body: renderEntry(await put(p, actor, params, 'properties', body)),
    }),
  }),
  removal('properties', true, 'remove_metadef_property', 'Delete a property'),
];

const objectRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: `${NAMESPACE}/objects`, service, summary: 'List the objects of a namespace' },
    policy: 'get_metadef_objects',
    params: NamespaceParams,
    query: EntryQuery,
    answers: { 200: MetaObjectList },
    handle: async ({ p, actor, params, query }) => {
      const { name, content } = unrefused(await showNamespace(p, actor, params.id));
      const objects = pageOf(content.objects, query).map((each) => renderObject(name, each));
      return { status: 200, body: { objects, schema: 'v2/schemas/metadefs/objects' } };
    },
  }),
  route({
    ...{ method: 'POST', url: `${NAMESPACE}/objects`, service, summary: 'Create an object' },
    policy: 'add_metadef_object',
    params: NamespaceParams,
    body: MetaObject,
    answers: { 201: MetaObjectShown },
    handle: async ({ p, actor, params, body }) => ({
      status: 201,
      body: renderObject(params.id, await add(p, actor, params.id, 'objects', body)),
    }),
  }),
  removal('objects', false, 'delete_metadef_object', 'Delete all objects of a namespace'),
  route({
    ...{ method: 'GET', url: `${NAMESPACE}/objects/:key`, service, summary: 'Show an object' },
    policy: 'get_metadef_object',
    params: EntryParams,
    answers: { 200: MetaObjectShown },
    handle: async ({ p, actor, params: { id, key } }) => ({
      status: 200,
      body: renderObject(id, unrefused(await showEntry(p, actor, id, 'objects', key))),
    }),
  }),
  route({
    ...{ method: 'PUT', url: `${NAMESPACE}/objects/:key`, service, summary: 'Change an object' },
    policy: 'modify_metadef_object',
    params: EntryParams,
    body: MetaObject,
    answers: { 200: MetaObjectShown },
    handle: async ({ p, actor, params, body }) => ({
      status: 200,
      body: renderObject(params.id, await put(p, actor, params, 'objects', body)),
    }),
  }),
  removal('objects', true, 'delete_metadef_object', 'Delete an object'),
];

const tagRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: `${NAMESPACE}/tags`, service, summary: 'List the tags of a namespace' },
    policy: 'get_metadef_tags',
    params: NamespaceParams,
    query: EntryQuery,
    answers: { 200: TagList },
    handle: async ({ p, actor, params, query }) => {
      const { content } = unrefused(await showNamespace(p, actor, params.id));
      return { status: 200, body: { tags: pageOf(content.tags, query).map(renderEntry) } };
    },
  }),
  route({
    ...{ method: 'POST', url: `${NAMESPACE}/tags`, service },
    summary: 'Give a namespace these tags and no others; with X-Openstack-Append: beside those that it has',
    policy: 'add_metadef_tags',
    params: NamespaceParams,
    body: TagList,
    answers: { 201: TagList },
    handle: async ({ p, actor, params, body, request }) => {
      const appended = /^(1|t|true|on|y|yes)$/i.test(String(request.headers['x-openstack-append'] ?? ''));
      unrefused(await addEntries(p, actor, params.id, 'tags', body.tags.map(entryOf), !appended));
      return { status: 201, body };
    },
  }),
  removal('tags', false, 'delete_metadef_tags', 'Delete all tags of a namespace'),
  route({
    ...{ method: 'POST', url: `${NAMESPACE}/tags/:key`, service, summary: 'Create a tag' },
    policy: 'add_metadef_tag',
    params: EntryParams,
    answers: { 201: TagShown },
    handle: async ({ p, actor, params: { id, key } }) => ({
      status: 201,
      body: renderTimed(await add(p, actor, id, 'tags', { name: key })),
    }),
  }),
  route({
    ...{ method: 'GET', url: `${NAMESPACE}/tags/:key`, service, summary: 'Show a tag' },
    policy: 'get_metadef_tag',
    params: EntryParams,
    answers: { 200: TagShown },
    handle: async ({ p, actor, params: { id, key } }) => ({
      status: 200,
      body: renderTimed(unrefused(await showEntry(p, actor, id, 'tags', key))),
    }),
  }),
  route({
    ...{ method: 'PUT', url: `${NAMESPACE}/tags/:key`, service, summary: 'Rename a tag' },
    policy: 'modify_metadef_tag',
    params: EntryParams,
    body: Tag,
    answers: { 200: TagShown },
    handle: async ({ p, actor, params, body }) => ({
      status: 200,
      body: renderTimed(await put(p, actor, params, 'tags', body)),
    }),
  }),
  removal('tags', true, 'delete_metadef_tag', 'Delete a tag'),
];

export const metadefEntryRoutes: readonly Route[] = [
  ...associationRoutes,
  ...propertyRoutes,
  ...objectRoutes,
  ...tagRoutes,
];
