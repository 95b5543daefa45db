// Volume types and their extra specs (cinder/api/v3/types.py, contrib/types_extra_specs.py).
import { Type } from 'typebox';
import type { Platform } from '../../control/platform.ts';
import {
  createVolumeType,
  defaultVolumeType,
  deleteVolumeType,
  findVolumeType,
  listVolumeTypes,
  type TypeResult,
  updateVolumeType,
  type VolumeType,
} from '../../control/volumes/types.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { typeNotFound } from '../../model/volumes.ts';
import { booleanOf, IdAndKeyParams, IdParams, nullable, object, StringMap, text } from '../compute/common.ts';
import { badRequest, errorOf, notFound, refuse } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { V3 } from './common.ts';
import { Flag, isTrue } from './filters.ts';

const TYPES = `${V3}/types`;
const SPECS = `${TYPES}/:id/extra_specs`;
const service = 'volume' as const;

const ExtraSpecs = Type.Record(
  Type.String({ minLength: 1, maxLength: 255, pattern: '^[a-zA-Z0-9-_:. ]{1,255}$' }),
  Type.String({ maxLength: 255 }),
  { additionalProperties: false, maxProperties: 100 },
);
const Answer = object({
  id: text(),
  name: text(),
  description: nullable(text()),
  is_public: Type.Boolean(),
  'os-volume-type-access:is_public': Type.Optional(Type.Boolean()),
  extra_specs: Type.Optional(StringMap),
  qos_specs_id: Type.Optional(Type.Null()),
});
const CreateBody = object({
  volume_type: object({
    name: Type.String({ minLength: 1, maxLength: 255, pattern: '\\S' }),
    description: Type.Optional(nullable(text())),
    'os-volume-type-access:is_public': Type.Optional(Flag),
    extra_specs: Type.Optional(nullable(ExtraSpecs)),
  }),
});
const UpdateBody = object({
  volume_type: Type.Object(
    {
      name: Type.Optional(nullable(Type.String({ minLength: 1, maxLength: 255, pattern: '\\S' }))),
      description: Type.Optional(nullable(text())),
      is_public: Type.Optional(Flag),
    },
    { additionalProperties: false, minProperties: 1 },
  ),
});
const OneType = object({ volume_type: Answer });

/** What tenants may see of the extra specs (cinder's USER_VISIBLE_EXTRA_SPECS). */
const VISIBLE = ['multiattach', 'RESKEY:availability_zones', 'replication_enabled'];

/** As cinder's extensions have it: what has just been made says nothing of QoS, what was changed not who has access. */
function render(type: VolumeType, actor: Actor, what: 'shown' | 'made' | 'changed' = 'shown'): object {
  const admin = isAdmin(actor);
  const specs = admin
    ? type.extraSpecs
    : Object.fromEntries(Object.entries(type.extraSpecs).filter(([key]) => VISIBLE.includes(key)));
  return {
    ...{ id: type.id, name: type.name, description: type.description, is_public: type.isPublic },
    ...(what === 'changed' ? {} : { 'os-volume-type-access:is_public': type.isPublic }),
    extra_specs: specs,
    ...(admin && what === 'shown' ? { qos_specs_id: null } : {}),
  };
}

/** @throws ApiError 404 */
export async function typeFor(p: Platform, actor: Actor, id: string): Promise<VolumeType> {
  const type = await findVolumeType(p, actor, id);
  if (type?.id !== id) throw errorOf(typeNotFound(id.slice(0, 255)));
  return type;
}

/** @throws ApiError with the refusal */
function typeOf(result: TypeResult): VolumeType {
  if (result.kind === 'refused') throw errorOf(result.refusal);
  return result.type;
}

const specOf = (type: VolumeType, key: string): string => {
  const value = Object.hasOwn(type.extraSpecs, key) ? type.extraSpecs[key] : undefined;
  if (value === undefined) {
    throw notFound(`Volume Type ${type.id} has no extra specs with key ${key.slice(0, 255)}.`);
  }
  return value;
};

/** Null: all; without a word the public ones (cinder/api/api_utils.py, _parse_is_public). @throws ApiError 400 */
function publicAsked(value: string | undefined): boolean | null {
  if (value === undefined) return true;
  if (value.toLowerCase() === 'none') return null;
  const wanted = booleanOf(value);
  if (wanted === null) throw badRequest(`Invalid is_public filter [${value}]`);
  return wanted;
}

const typeListing: readonly Route[] = [
  route({
    ...{ method: 'GET', url: TYPES, service, summary: 'List volume types' },
    policy: 'volume_extension:type_get_all',
    query: object({
      is_public: Type.Optional(text(10)),
      limit: Type.Optional(Type.Integer({ minimum: 0 })),
      marker: Type.Optional(text()),
      name: Type.Optional(text()),
      sort: Type.Optional(text()),
      sort_key: Type.Optional(text()),
      sort_dir: Type.Optional(text(10)),
    }),
    answers: { 200: object({ volume_types: Type.Array(Answer) }) },
    handle: async ({ p, actor, query }) => {
      const wanted = isAdmin(actor) ? publicAsked(query.is_public) : null;
      const types = (await listVolumeTypes(p, actor))
        .filter((type) => wanted === null || type.isPublic === wanted)
        .filter((type) => query.name === undefined || type.name === query.name);
      const start = query.marker === undefined ? 0 : types.findIndex((type) => type.id === query.marker) + 1;
      const page = types.slice(start, query.limit === undefined ? undefined : start + query.limit);
      return { status: 200, body: { volume_types: page.map((type) => render(type, actor)) } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${TYPES}/default`, service, summary: 'Show the default volume type' },
    policy: 'volume_extension:type_get',
    answers: { 200: OneType },
    handle: async ({ p, actor }) => ({
      ...{ status: 200, body: { volume_type: render(await defaultVolumeType(p), actor) } },
    }),
  }),
  route({
    ...{ method: 'GET', url: `${TYPES}/:id`, service, summary: 'Show a volume type' },
    policy: 'volume_extension:type_get',
    params: IdParams,
    answers: { 200: OneType },
    handle: async ({ p, actor, params }) => ({
      ...{ status: 200, body: { volume_type: render(await typeFor(p, actor, params.id), actor) } },
    }),
  }),
  route({
    ...{ method: 'POST', url: TYPES, service, summary: 'Create a volume type' },
    policy: 'volume_extension:type_create',
    body: CreateBody,
    answers: { 200: OneType },
    handle: async ({ p, actor, body: { volume_type: wish } }) => {
      const result = await createVolumeType(p, {
        ...{ name: wish.name, description: wish.description ?? null, extraSpecs: wish.extra_specs ?? {} },
        isPublic: isTrue(wish['os-volume-type-access:is_public'] ?? true),
      });
      return { status: 200, body: { volume_type: render(typeOf(result), actor, 'made') } };
    },
  }),
  route({
    ...{ method: 'PUT', url: `${TYPES}/:id`, service, summary: 'Change a volume type' },
    policy: 'volume_extension:type_update',
    params: IdParams,
    body: UpdateBody,
    answers: { 200: OneType },
    handle: async ({ p, actor, params, body: { volume_type: wish } }) => {
      const { id } = await typeFor(p, actor, params.id);
      const result = await updateVolumeType(p, id, {
        ...(wish.name ? { name: wish.name } : {}),
        ...(wish.description === undefined ? {} : { description: wish.description }),
        ...(wish.is_public === undefined ? {} : { isPublic: isTrue(wish.is_public) }),
      });
      return { status: 200, body: { volume_type: render(typeOf(result), actor, 'changed') } };
    },
  }),
  route({
    ...{ method: 'DELETE', url: `${TYPES}/:id`, service, summary: 'Delete a volume type that no volume is of' },
    policy: 'volume_extension:type_delete',
    params: IdParams,
    answers: { 202: null },
    handle: async ({ p, actor, params }) => {
      const { id } = await typeFor(p, actor, params.id);
      refuse(await deleteVolumeType(p, id));
      return { status: 202 };
    },
  }),
  route({
    ...{ method: 'GET', url: `${TYPES}/:id/encryption`, service },
    summary: "Show a volume type's encryption: always none",
    policy: 'volume_extension:volume_type_encryption:get',
    params: IdParams,
    answers: { 200: object({}) },
    handle: async ({ p, actor, params }) => {
      await typeFor(p, actor, params.id);
      return { status: 200, body: {} };
    },
  }),
];

const specRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: SPECS, service, summary: "List a volume type's extra specs" },
    policy: 'volume_extension:types_extra_specs:index',
    params: IdParams,
    answers: { 200: object({ extra_specs: StringMap }) },
    handle: async ({ p, actor, params }) => {
      const { extra_specs } = render(await typeFor(p, actor, params.id), actor) as { extra_specs: object };
      return { status: 200, body: { extra_specs } };
    },
  }),
  route({
    ...{ method: 'POST', url: SPECS, service, summary: 'Add or replace extra specs' },
    policy: 'volume_extension:types_extra_specs:create',
    params: IdParams,
    body: object({ extra_specs: ExtraSpecs }),
    answers: { 200: object({ extra_specs: StringMap }) },
    handle: async ({ p, actor, params, body: { extra_specs } }) => {
      const { id } = await typeFor(p, actor, params.id);
      typeOf(await updateVolumeType(p, id, { extraSpecs: (present) => ({ ...present, ...extra_specs }) }));
      return { status: 200, body: { extra_specs } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${SPECS}/:key`, service, summary: 'Show one extra spec' },
    policy: 'volume_extension:types_extra_specs:show',
    params: IdAndKeyParams,
    answers: { 200: StringMap },
    handle: async ({ p, actor, params }) => {
      const type = await typeFor(p, actor, params.id);
      const seen = isAdmin(actor) || VISIBLE.includes(params.key) ? type : { ...type, extraSpecs: {} };
      return { status: 200, body: { [params.key]: specOf(seen, params.key) } };
    },
  }),
  route({
    ...{ method: 'PUT', url: `${SPECS}/:key`, service, summary: 'Set one extra spec' },
    policy: 'volume_extension:types_extra_specs:update',
    params: IdAndKeyParams,
    body: ExtraSpecs,
    answers: { 200: StringMap },
    handle: async ({ p, actor, params, body }) => {
      const { id } = await typeFor(p, actor, params.id);
      const value = body[params.key];
      if (value === undefined || Object.keys(body).length !== 1) throw badRequest('Request body and URI mismatch');
      typeOf(await updateVolumeType(p, id, { extraSpecs: (present) => ({ ...present, [params.key]: value }) }));
      return { status: 200, body: { [params.key]: value } };
    },
  }),
  route({
    ...{ method: 'DELETE', url: `${SPECS}/:key`, service, summary: 'Delete one extra spec' },
    policy: 'volume_extension:types_extra_specs:delete',
    params: IdAndKeyParams,
    answers: { 202: null },
    handle: async ({ p, actor, params }) => {
      const type = await typeFor(p, actor, params.id);
      specOf(type, params.key);
      const without = (present: Readonly<Record<string, string>>) =>
        Object.fromEntries(Object.entries(present).filter(([key]) => key !== params.key));
      typeOf(await updateVolumeType(p, type.id, { extraSpecs: without }));
      return { status: 202 };
    },
  }),
];

export const typeRoutes: readonly Route[] = [...typeListing, ...specRoutes];
