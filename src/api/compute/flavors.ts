// Flavors: list, show, create, describe, delete.
import { Type } from 'typebox';
import {
  createFlavor,
  deleteFlavor,
  describeFlavor,
  type FlavorRecord,
  flavorNotFound,
  listFlavors,
  visibleFlavor,
} from '../../control/flavors.ts';
import type { Platform, Settings } from '../../control/platform.ts';
import { checkDescription } from '../../model/names.ts';
import { mayUseFlavor } from '../../model/resize-rules.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { badRequest, errorOf, refuse } from '../http/errors.ts';
import { type Route, route, versions } from '../http/route.ts';
import {
  BASE,
  booleanOf,
  IdParams,
  Links,
  linksOf,
  markerNotFound,
  nextLink,
  nullable,
  object,
  Page,
  pageOf,
  StringMap,
  text,
} from './common.ts';

const MAX_INTEGER = 0x7fffffff;

const Flavor = object({
  id: text(),
  name: text(),
  vcpus: Type.Integer(),
  ram: Type.Integer(),
  disk: Type.Integer(),
  'OS-FLV-EXT-DATA:ephemeral': Type.Integer(),
  swap: Type.Union([Type.Integer(), Type.Literal('')]),
  rxtx_factor: Type.Number(),
  'OS-FLV-DISABLED:disabled': Type.Boolean(),
  'os-flavor-access:is_public': Type.Boolean(),
  description: Type.Optional(nullable(Type.String())),
  extra_specs: Type.Optional(StringMap),
  links: Links,
});
const FlavorAnswer = object({ flavor: Flavor });
const FlavorRef = object({
  id: text(),
  name: text(),
  description: Type.Optional(nullable(Type.String())),
  links: Links,
});
const pages = { flavors_links: Type.Optional(Links) };

/** Nova takes numbers as text too. */
const count = (minimum: number, maximum = MAX_INTEGER) =>
  Type.Union([Type.Integer({ minimum, maximum }), Type.String({ pattern: '^[0-9]{1,9}$' })]);

const common = {
  name: Type.String({ minLength: 1, maxLength: 255 }),
  id: Type.Optional(
    nullable(
      Type.Union([Type.String({ minLength: 1, maxLength: 255 }), Type.Integer({ minimum: 0, maximum: MAX_INTEGER })]),
    ),
  ),
  ram: count(1),
  vcpus: count(1),
  disk: count(0),
  'OS-FLV-EXT-DATA:ephemeral': Type.Optional(count(0)),
  swap: Type.Optional(count(0)),
  rxtx_factor: Type.Optional(
    Type.Union([
      Type.Number({ exclusiveMinimum: 0, maximum: 3.4e38 }),
      Type.String({ pattern: '^[0-9]{1,9}(\\.[0-9]{1,9})?$' }),
    ]),
  ),
  'os-flavor-access:is_public': Type.Optional(Type.Union([Type.Boolean(), Type.String({ maxLength: 5 })])),
};

const ListQuery = object({
  ...Page,
  is_public: Type.Optional(text(10)),
  minRam: Type.Optional(Type.String({ pattern: '^[0-9]{1,9}$' })),
  minDisk: Type.Optional(Type.String({ pattern: '^[0-9]{1,9}$' })),
  sort_key: Type.Optional(
    Type.Enum([
      'created_at',
      'description',
      'disabled',
      'ephemeral_gb',
      'flavorid',
      'id',
      'is_public',
      'memory_mb',
      'name',
      'root_gb',
      'rxtx_factor',
      'swap',
      'updated_at',
      'vcpu_weight',
      'vcpus',
    ]),
  ),
  sort_dir: Type.Optional(Type.Enum(['asc', 'desc'])),
});

export const flavorRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: `${BASE}/flavors`,
    service: 'compute',
    summary: 'List flavors',
    policy: 'anyone',
    query: ListQuery,
    answers: { 200: object({ flavors: Type.Array(FlavorRef), ...pages }) },
    handle: async ({ p, actor, query, minor, request }) => {
      const { page, links } = await listed(p, actor, query, request.url);
      const flavors = page.map((flavor) => ({
        id: flavor.flavorId,
        name: flavor.name,
        ...(minor >= 55 ? { description: flavor.description } : {}),
        links: linksOf(p.settings, `/flavors/${encodeURIComponent(flavor.flavorId)}`),
      }));
      return { status: 200, body: { flavors, ...links } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/flavors/detail`,
    service: 'compute',
    summary: 'List flavors with details',
    policy: 'anyone',
    query: ListQuery,
    answers: { 200: object({ flavors: Type.Array(Flavor), ...pages }) },
    handle: async ({ p, actor, query, minor, request }) => {
      const { page, links } = await listed(p, actor, query, request.url);
      const view = flavorView(p, actor, minor);
      return { status: 200, body: { flavors: page.map((each) => renderFlavor(p.settings, each, view)), ...links } };
    },
  }),
  route({
    method: 'POST',
    url: `${BASE}/flavors`,
    service: 'compute',
    summary: 'Create a flavor',
    policy: 'os_compute_api:os-flavor-manage:create',
    body: versions(
      [1, object({ flavor: object(common) })],
      [55, object({ flavor: object({ ...common, description: Type.Optional(nullable(text(65535))) }) })],
    ),
    answers: { 200: FlavorAnswer },
    handle: async ({ p, actor, body, minor }) => {
      const asked = body.flavor;
      const description = ('description' in asked ? (asked.description as string | null | undefined) : null) ?? null;
      if (description !== null) refuse(checkDescription(description));
      const result = await createFlavor(p, {
        flavorId: asked.id === undefined || asked.id === null || asked.id === 'auto' ? null : String(asked.id),
        name: asked.name,
        memoryMb: numberOf('ram', asked.ram, 1),
        vcpus: numberOf('vcpus', asked.vcpus, 1),
        rootGb: numberOf('disk', asked.disk, 0),
        ephemeralGb: numberOf('OS-FLV-EXT-DATA:ephemeral', asked['OS-FLV-EXT-DATA:ephemeral'] ?? 0, 0),
        swapMb: numberOf('swap', asked.swap ?? 0, 0),
        rxtxFactor: Number(asked.rxtx_factor ?? 1),
        isPublic: publicOf(asked['os-flavor-access:is_public']),
        description,
      });
      if (result.kind === 'refused') throw errorOf(result.refusal);
      return { status: 200, body: { flavor: renderFlavor(p.settings, result.flavor, flavorView(p, actor, minor)) } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/flavors/:id`,
    service: 'compute',
    summary: 'Show a flavor',
    policy: 'anyone',
    params: IdParams,
    answers: { 200: FlavorAnswer },
    handle: async ({ p, actor, params, minor }) => ({
      status: 200,
      body: { flavor: renderFlavor(p.settings, await flavorFor(p, actor, params.id), flavorView(p, actor, minor)) },
    }),
  }),
  route({
    method: 'PUT',
    url: `${BASE}/flavors/:id`,
    service: 'compute',
    summary: "Change a flavor's description",
    policy: 'os_compute_api:os-flavor-manage:update',
    since: 55,
    params: IdParams,
    body: object({ flavor: object({ description: nullable(text(65535)) }) }),
    answers: { 200: FlavorAnswer },
    handle: async ({ p, actor, params, body, minor }) => {
      if (body.flavor.description !== null) refuse(checkDescription(body.flavor.description));
      const result = await describeFlavor(p, params.id, body.flavor.description);
      if (result.kind === 'refused') throw errorOf(result.refusal);
      return { status: 200, body: { flavor: renderFlavor(p.settings, result.flavor, flavorView(p, actor, minor)) } };
    },
  }),
  route({
    method: 'DELETE',
    url: `${BASE}/flavors/:id`,
    service: 'compute',
    summary: 'Delete a flavor; servers keep their copy of it',
    policy: 'os_compute_api:os-flavor-manage:delete',
    params: IdParams,
    answers: { 202: null },
    handle: async ({ p, params }) => {
      if (!(await deleteFlavor(p, params.id))) refuse(flavorNotFound(params.id));
      return { status: 202 };
    },
  }),
];

/** The flavor that the actor may see. @throws ApiError 404 */
export async function flavorFor(p: Platform, actor: Actor, id: string): Promise<FlavorRecord> {
  const flavor = await visibleFlavor(p, id, actor);
  if (flavor) return flavor;
  throw errorOf(flavorNotFound(id.slice(0, 255)));
}

type Query = {
  readonly limit?: number;
  readonly marker?: string;
  readonly is_public?: string;
  readonly minRam?: string;
  readonly minDisk?: string;
  readonly sort_key?: string;
  readonly sort_dir?: string;
};

async function listed(
  p: Platform,
  actor: Actor,
  query: Query,
  url: string,
): Promise<{ page: readonly FlavorRecord[]; links: object }> {
  const admin = isAdmin(actor);
  // Users see what they may use, whatever they ask; administrators see public ones unless they ask for others or all.
  const wantPublic = !admin ? null : query.is_public === undefined ? true : publicFilter(query.is_public);
  const flavors = (await listFlavors(p)).filter(
    (each) =>
      mayUseFlavor(each, actor.projectId, admin) &&
      (wantPublic === null || each.isPublic === wantPublic) &&
      each.memoryMb >= Number(query.minRam ?? 0) &&
      each.rootGb >= Number(query.minDisk ?? 0),
  );
  const sorted = flavors.toSorted(
    (a, b) => compare(keyOf(a, query.sort_key), keyOf(b, query.sort_key)) || compare(a.flavorId, b.flavorId),
  );
  const result = pageOf(query.sort_dir === 'desc' ? sorted.toReversed() : sorted, (each) => each.flavorId, query);
  if (!result) throw markerNotFound(query.marker);
  return { page: result.page, links: nextLink(p.settings, 'flavors_links', url, result.marker) };
}

function publicFilter(value: string): boolean | null {
  if (value.toLowerCase() === 'none') return null;
  const wanted = booleanOf(value);
  if (wanted === null) throw badRequest(`Invalid is_public filter [${value}]`);
  return wanted;
}

function keyOf(flavor: FlavorRecord, key = 'flavorid'): string | number {
  switch (key) {
    case 'name':
      return flavor.name;
    case 'memory_mb':
      return flavor.memoryMb;
    case 'vcpus':
      return flavor.vcpus;
    case 'root_gb':
      return flavor.rootGb;
    case 'ephemeral_gb':
      return flavor.ephemeralGb;
    case 'swap':
      return flavor.swapMb;
    case 'rxtx_factor':
      return flavor.rxtxFactor;
    case 'created_at':
    case 'updated_at':
    case 'id':
      return flavor.createdAt;
    default:
      return flavor.flavorId;
  }
}

const compare = (a: string | number, b: string | number): number => (a < b ? -1 : a > b ? 1 : 0);

function numberOf(field: string, value: number | string, minimum: number): number {
  const number = Number(value);
  if (number >= minimum && number <= MAX_INTEGER) return number;
  throw badRequest(
    `Invalid input for field/attribute ${field}. Value: ${value}. ${value} is less than the minimum of ${minimum}`,
  );
}

function publicOf(value: boolean | string | undefined): boolean {
  if (typeof value === 'boolean') return value;
  const parsed = booleanOf(value);
  if (value !== undefined && parsed === null) {
    throw badRequest(
      `Invalid input for field/attribute os-flavor-access:is_public. Value: ${value}. '${value}' is not a boolean`,
    );
  }
  return parsed ?? true;
}

interface FlavorView {
  readonly minor: number;
  readonly extraSpecs: boolean;
}

/** Extra specs are shown to whom they have a rule of their own for (nova/api/openstack/compute/flavors.py). */
const flavorView = (p: Platform, actor: Actor, minor: number): FlavorView => ({
  minor,
  extraSpecs: minor >= 61 && p.policies.allows('compute', 'os_compute_api:os-flavor-extra-specs:index', actor),
});

const renderFlavor = (settings: Settings, flavor: FlavorRecord, { minor, extraSpecs }: FlavorView): object => ({
  id: flavor.flavorId,
  name: flavor.name,
  vcpus: flavor.vcpus,
  ram: flavor.memoryMb,
  disk: flavor.rootGb,
  'OS-FLV-EXT-DATA:ephemeral': flavor.ephemeralGb,
  swap: flavor.swapMb === 0 && minor < 75 ? '' : flavor.swapMb,
  rxtx_factor: flavor.rxtxFactor,
  'OS-FLV-DISABLED:disabled': flavor.disabled,
  'os-flavor-access:is_public': flavor.isPublic,
  ...(minor >= 55 ? { description: flavor.description } : {}),
  ...(extraSpecs ? { extra_specs: flavor.extraSpecs } : {}),
  links: linksOf(settings, `/flavors/${encodeURIComponent(flavor.flavorId)}`),
});
