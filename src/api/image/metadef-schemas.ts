// Shapes of definitions of metadata on the wire. Source: glance/api/v2/metadef_*.py, glance/api/v2/model/metadef_*.py.
import { Type } from 'typebox';

/** Of names, as Glance has them. */
const MAX_NAME = 80;
const MAX_WORDS = 65_535;
const MAX_ITEMS = 1000;

const object = <P extends Record<string, Type.TSchema>>(properties: P) =>
  Type.Object(properties, { additionalProperties: false });
const oneOf = <const T extends readonly string[]>(values: T) =>
  Type.Unsafe<T[number]>({ type: 'string', enum: [...values] });
const name = Type.String({ minLength: 1, maxLength: MAX_NAME });
const words = Type.String({ maxLength: MAX_WORDS });
const whole = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const type = oneOf(['array', 'boolean', 'integer', 'number', 'object', 'string']);
const values = Type.Array(Type.Unknown(), { maxItems: MAX_ITEMS });
const names = Type.Array(words, { maxItems: MAX_ITEMS, uniqueItems: true });

const property = {
  type,
  title: words,
  description: Type.Optional(words),
  operators: Type.Optional(Type.Array(words, { maxItems: MAX_ITEMS })),
  required: Type.Optional(names),
  minimum: Type.Optional(Type.Number()),
  maximum: Type.Optional(Type.Number()),
  maxLength: Type.Optional(whole),
  minLength: Type.Optional(whole),
  pattern: Type.Optional(words),
  enum: Type.Optional(values),
  readonly: Type.Optional(Type.Boolean()),
  default: Type.Optional(Type.Unknown()),
  items: Type.Optional(object({ type: Type.Optional(type), enum: Type.Optional(values) })),
  maxItems: Type.Optional(whole),
  minItems: Type.Optional(whole),
  uniqueItems: Type.Optional(Type.Boolean()),
  additionalItems: Type.Optional(Type.Boolean()),
};
export const Property = object({ name, ...property });
/** By name; clients give the name within as well. */
const PropertyWithin = object({ name: Type.Optional(name), ...property });
const Properties = Type.Record(Type.String({ pattern: `^.{1,${MAX_NAME}}$` }), PropertyWithin, {
  ...{ additionalProperties: false, maxProperties: MAX_ITEMS },
});
export const PropertyList = object({ properties: Properties });

const object_ = {
  name,
  description: Type.Optional(words),
  required: Type.Optional(names),
  properties: Type.Optional(Properties),
};
export const MetaObject = object(object_);
const times = { created_at: Type.String(), updated_at: Type.String() };
const links = { self: Type.String(), schema: Type.String() };
export const MetaObjectShown = object({ ...object_, ...times, ...links });
export const MetaObjectList = object({ objects: Type.Array(MetaObjectShown), schema: Type.String() });

export const Tag = object({ name });
export const TagShown = object({ name, ...times });
export const TagList = object({ tags: Type.Array(Tag, { maxItems: MAX_ITEMS }) });

const association = { name, prefix: Type.Optional(name), properties_target: Type.Optional(name) };
export const Association = object(association);
export const AssociationShown = object({ ...association, ...times });
export const AssociationList = object({ resource_type_associations: Type.Array(AssociationShown) });
export const ResourceTypeList = object({ resource_types: Type.Array(object({ name })) });

const namespace = {
  namespace: name,
  display_name: Type.Optional(Type.String({ maxLength: MAX_NAME })),
  description: Type.Optional(Type.String({ maxLength: 500 })),
  visibility: Type.Optional(oneOf(['public', 'private'])),
  protected: Type.Optional(Type.Boolean()),
  owner: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
};
const within = {
  properties: Type.Optional(Properties),
  objects: Type.Optional(Type.Array(MetaObject, { maxItems: MAX_ITEMS })),
  tags: Type.Optional(Type.Array(Tag, { maxItems: MAX_ITEMS })),
  resource_type_associations: Type.Optional(Type.Array(Association, { maxItems: MAX_ITEMS })),
};
export const NamespaceBody = object({ ...namespace, ...within });
export const NamespaceShown = object({
  ...namespace,
  ...{ visibility: oneOf(['public', 'private']), protected: Type.Boolean(), owner: Type.String() },
  properties: Type.Optional(Properties),
  objects: Type.Optional(Type.Array(MetaObjectShown)),
  tags: Type.Optional(Type.Array(Tag)),
  resource_type_associations: Type.Optional(Type.Array(AssociationShown)),
  ...times,
  ...links,
});
export const NamespaceList = object({
  namespaces: Type.Array(NamespaceShown),
  first: Type.String(),
  next: Type.Optional(Type.String()),
  schema: Type.String(),
});

export const NamespaceParams = object({ id: Type.String({ maxLength: MAX_NAME }) });
export const EntryParams = object({ id: Type.String({ maxLength: MAX_NAME }), key: Type.String({ maxLength: 255 }) });

const page = {
  limit: Type.Optional(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 })),
  marker: Type.Optional(Type.String({ maxLength: MAX_NAME })),
  sort_dir: Type.Optional(oneOf(['asc', 'desc'])),
};
export const NamespaceQuery = object({
  ...page,
  sort_key: Type.Optional(oneOf(['created_at', 'updated_at', 'namespace'])),
  visibility: Type.Optional(oneOf(['public', 'private'])),
  resource_types: Type.Optional(Type.String({ maxLength: 1024 })),
});
export const EntryQuery = object({ ...page, sort_key: Type.Optional(oneOf(['created_at', 'updated_at', 'name'])) });
export const TypeQuery = object({ resource_type: Type.Optional(Type.String({ maxLength: MAX_NAME })) });
