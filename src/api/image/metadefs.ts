// Definitions of metadata: namespaces, and what there is to associate them with. What they hold is in metadef-entries.ts.
import type { Static } from 'typebox';
import {
  createNamespace,
  deleteNamespace,
  listNamespaces,
  type NamespaceWish,
  resourceTypes,
  showNamespace,
  updateNamespace,
} from '../../control/images/metadefs.ts';
import { type Route, route } from '../http/route.ts';
import { metadefEntryRoutes } from './metadef-entries.ts';
import { contentOf, prefixed, renderNamespace, unrefused } from './metadef-render.ts';
import {
  AssociationList,
  AssociationShown,
  MetaObjectList,
  MetaObjectShown,
  NamespaceBody,
  NamespaceList,
  NamespaceParams,
  NamespaceQuery,
  NamespaceShown,
  Property,
  PropertyList,
  ResourceTypeList,
  TagList,
  TagShown,
  TypeQuery,
} from './metadef-schemas.ts';
import { schemaRoute } from './shown-schemas.ts';

const NAMESPACES = '/image/v2/metadefs/namespaces';
const service = 'image' as const;
/** Glance's limit_param_default and api_limit_max. */
const DEFAULT_LIMIT = 25;
const MAX_LIMIT = 1000;

const wishOf = (body: Static<typeof NamespaceBody>): NamespaceWish => ({
  name: body.namespace,
  ...(body.owner === undefined ? {} : { owner: body.owner }),
  ...(body.visibility === undefined ? {} : { visibility: body.visibility }),
  ...(body.protected === undefined ? {} : { protected: body.protected }),
  ...(body.display_name === undefined ? {} : { displayName: body.display_name }),
  ...(body.description === undefined ? {} : { description: body.description }),
});

const [times, links] = [
  ['created_at', 'updated_at'],
  ['self', 'schema'],
];
const named = { required: ['name'], readOnly: [...times, ...links] };
const schemaRoutes: readonly Route[] = [
  schemaRoute('metadefs/namespace', 'namespace', NamespaceShown, { ...named, required: ['namespace'] }),
  schemaRoute('metadefs/namespaces', 'namespaces', NamespaceList),
  schemaRoute('metadefs/resource_type', 'resource_type_association', AssociationShown, named),
  schemaRoute('metadefs/resource_types', 'resource_type_associations', AssociationList),
  schemaRoute('metadefs/property', 'property', Property, { required: ['name', 'title', 'type'] }),
  schemaRoute('metadefs/properties', 'properties', PropertyList),
  schemaRoute('metadefs/object', 'object', MetaObjectShown, named),
  schemaRoute('metadefs/objects', 'objects', MetaObjectList),
  schemaRoute('metadefs/tag', 'tag', TagShown, named),
  schemaRoute('metadefs/tags', 'tags', TagList),
];

/** The same list from another place on, as of images. */
function link(query: Static<typeof NamespaceQuery>, marker: string | undefined): string {
  const parameters = new URLSearchParams(
    Object.entries({ ...query, marker }).flatMap(([key, value]) => (value === undefined ? [] : [[key, String(value)]])),
  );
  const text = parameters.toString();
  return `/v2/metadefs/namespaces${text === '' ? '' : `?${text}`}`;
}

export const metadefRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: NAMESPACES, service, summary: 'List namespaces of definitions of metadata' },
    policy: 'get_metadef_namespaces',
    query: NamespaceQuery,
    answers: { 200: NamespaceList },
    handle: async ({ p, actor, query }) => {
      const limit = Math.min(query.limit ?? DEFAULT_LIMIT, MAX_LIMIT);
      const found = unrefused(
        await listNamespaces(p, actor, {
          ...{ limit, sortKey: query.sort_key ?? 'created_at', descending: query.sort_dir !== 'asc' },
          ...(query.marker === undefined ? {} : { marker: query.marker }),
          ...(query.visibility === undefined ? {} : { visibility: query.visibility }),
          ...(query.resource_types === undefined ? {} : { resourceTypes: query.resource_types.split(',') }),
        }),
      );
      const last = found.length === limit ? found.at(-1) : undefined;
      const body = {
        namespaces: found.map((each) => renderNamespace(each, false)),
        first: link(query, undefined),
        ...(last ? { next: link(query, last.name) } : {}),
        schema: '/v2/schemas/metadefs/namespaces',
      };
      return { status: 200, body };
    },
  }),
  route({
    ...{ method: 'POST', url: NAMESPACES, service, summary: 'Create a namespace, with what it is to hold' },
    policy: 'add_metadef_namespace',
    body: NamespaceBody,
    answers: { 201: NamespaceShown },
    tells: ['location'],
    handle: async ({ p, actor, body }) => {
      const made = renderNamespace(unrefused(await createNamespace(p, actor, wishOf(body), contentOf(body))), true);
      return { status: 201, body: made, headers: { location: `${p.settings.publicUrl}/image${made.self}` } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${NAMESPACES}/:id`, service, summary: 'Show a namespace and what it holds' },
    policy: 'get_metadef_namespace',
    params: NamespaceParams,
    query: TypeQuery,
    answers: { 200: NamespaceShown },
    handle: async ({ p, actor, params, query }) => {
      const namespace = unrefused(await showNamespace(p, actor, params.id));
      const type = query.resource_type;
      return { status: 200, body: renderNamespace(type === undefined ? namespace : prefixed(namespace, type), true) };
    },
  }),
  route({
    ...{ method: 'PUT', url: `${NAMESPACES}/:id`, service, summary: 'Change a namespace, but for what it holds' },
    policy: 'modify_metadef_namespace',
    params: NamespaceParams,
    body: NamespaceBody,
    answers: { 200: NamespaceShown },
    handle: async ({ p, actor, params, body }) => {
      const changed = unrefused(await updateNamespace(p, actor, params.id, wishOf(body)));
      return { status: 200, body: renderNamespace(changed, false) };
    },
  }),
  route({
    ...{ method: 'DELETE', url: `${NAMESPACES}/:id`, service, summary: 'Delete a namespace and what it holds' },
    policy: 'delete_metadef_namespace',
    params: NamespaceParams,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => {
      unrefused(await deleteNamespace(p, actor, params.id));
      return { status: 204 };
    },
  }),
  route({
    ...{ method: 'GET', url: '/image/v2/metadefs/resource_types', service },
    summary: 'List what namespaces can be associated with',
    policy: 'list_metadef_resource_types',
    answers: { 200: ResourceTypeList },
    handle: async ({ p, actor }) => {
      const names = await resourceTypes(p, actor);
      return { status: 200, body: { resource_types: names.map((name) => ({ name })) } };
    },
  }),
  ...metadefEntryRoutes,
  ...schemaRoutes,
];
