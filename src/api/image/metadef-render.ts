// Definitions of metadata as the API shows them, and entries as they are kept.
import type { Static } from 'typebox';
import type { Entry, MetadefResult, Namespace } from '../../control/images/metadefs.ts';
import { isoSeconds } from '../../model/time.ts';
import { ApiError } from '../http/errors.ts';
import type { MetaObject, NamespaceBody, NamespaceShown } from './metadef-schemas.ts';

/** @throws ApiError when it was refused */
export function unrefused<T>(result: MetadefResult<T>): T {
  if (result.kind === 'refused') throw new ApiError(result.refusal.code, result.refusal.message);
  return result.value;
}

type Named = { readonly name: string };

/** The name stands beside the rest of it. */
export function entryOf<T extends Named>({ name, ...body }: T): Pick<Entry, 'name' | 'body'> {
  return { name, body };
}

/** What a new namespace is to hold. */
export const contentOf = (body: Static<typeof NamespaceBody>) => ({
  resource_types: (body.resource_type_associations ?? []).map(entryOf),
  properties: Object.entries(body.properties ?? {}).map(([name, each]) => entryOf({ ...each, name })),
  objects: (body.objects ?? []).map(entryOf),
  tags: (body.tags ?? []).map(entryOf),
});

const times = ({ createdAt, updatedAt }: Pick<Entry, 'createdAt' | 'updatedAt'>) => ({
  created_at: isoSeconds(createdAt),
  updated_at: isoSeconds(updatedAt),
});

/** As a single one; what is within a namespace or a list has no times. */
export const renderEntry = (entry: Entry): Named => ({ name: entry.name, ...entry.body });
export const renderTimed = (entry: Entry) => ({ ...renderEntry(entry), ...times(entry) });

const pathOf = (namespace: string): string => `/v2/metadefs/namespaces/${encodeURIComponent(namespace)}`;

export const renderObject = (namespace: string, entry: Entry) => ({
  ...renderTimed(entry),
  self: `${pathOf(namespace)}/objects/${encodeURIComponent(entry.name)}`,
  schema: '/v2/schemas/metadefs/object',
});

export const renderProperties = (entries: readonly Entry[]): Record<string, unknown> =>
  Object.fromEntries(entries.map(({ name, body }) => [name, body]));

type Shown = Static<typeof NamespaceShown>;

/** @param whole with properties, objects and tags; lists of namespaces show associations alone */
export function renderNamespace(namespace: Namespace, whole: boolean): Shown {
  const { content } = namespace;
  const some = <T>(key: string, list: readonly T[]) => (list.length === 0 ? {} : { [key]: list });
  return {
    ...{ namespace: namespace.name, visibility: namespace.visibility, protected: namespace.protected },
    owner: namespace.owner,
    ...(namespace.displayName === null ? {} : { display_name: namespace.displayName }),
    ...(namespace.description === null ? {} : { description: namespace.description }),
    ...some('resource_type_associations', content.resource_types.map(renderTimed)),
    ...(whole && content.properties.length > 0 ? { properties: renderProperties(content.properties) } : {}),
    ...(whole
      ? some(
          'objects',
          content.objects.map((each) => renderObject(namespace.name, each)),
        )
      : {}),
    ...(whole ? some('tags', content.tags.map(renderEntry)) : {}),
    ...times(namespace),
    self: pathOf(namespace.name),
    schema: '/v2/schemas/metadefs/namespace',
  } as Shown;
}

/** Names as they are to be put on a resource of the type: with what the namespace says they begin with there. */
export function prefixed(namespace: Namespace, resourceType: string): Namespace {
  const prefix = prefixOf(namespace, resourceType);
  if (prefix === '') return namespace;
  const { content } = namespace;
  const rename = <T extends Named>(each: T): T => ({ ...each, name: prefix + each.name });
  const objects = content.objects.map((each) => ({ ...each, body: withPrefix(each.body, prefix) }));
  return { ...namespace, content: { ...content, properties: content.properties.map(rename), objects } };
}

/** '': none, also where the type is not associated. */
export function prefixOf(namespace: Namespace, resourceType: string): string {
  const association = namespace.content.resource_types.find(({ name }) => name === resourceType);
  const prefix = association?.body['prefix'];
  return typeof prefix === 'string' ? prefix : '';
}

function withPrefix(body: Entry['body'], prefix: string): Entry['body'] {
  // As the schema of its request made sure.
  const { properties, required, ...rest } = body as Omit<Static<typeof MetaObject>, 'name'>;
  const renamed = properties && Object.fromEntries(Object.entries(properties).map(([key, of]) => [prefix + key, of]));
  return {
    ...rest,
    ...(required ? { required: required.map((each) => prefix + each) } : {}),
    ...(renamed ? { properties: renamed } : {}),
  };
}
