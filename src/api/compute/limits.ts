// Limits and quota sets: the same numbers in two shapes.
import { Type } from 'typebox';
import { limitsOf, quotaOf, setQuota } from '../../control/quota.ts';
import { countServerGroups } from '../../control/server-groups.ts';
import type { Target } from '../../model/policy/judge.ts';
import { DEFAULT_LIMITS, type QuotaLimits } from '../../model/quota.ts';
import { requireRule } from '../http/auth.ts';
import { badRequest } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { BASE, object, text } from './common.ts';

const QUOTA = `${BASE}/os-quota-sets/:id`;
const ProjectParams = object({ id: Type.String({ minLength: 1, maxLength: 255 }) });
const MAX_LIMIT = 0x7fffffff;
const RESOURCES = Object.keys(DEFAULT_LIMITS) as (keyof QuotaLimits)[];
const Limit = Type.Union([
  Type.Integer({ minimum: -1, maximum: MAX_LIMIT }),
  Type.String({ pattern: '^(-1|[0-9]{1,9})$' }),
]);
/** Limits of the network service that Nova showed until 2.35: it has none, and says so. */
const NETWORK_RESOURCES = ['fixed_ips', 'floating_ips', 'security_groups', 'security_group_rules'];
const QuotaSet = object({
  id: Type.Optional(text()),
  ...Object.fromEntries(NETWORK_RESOURCES.map((name) => [name, Type.Optional(Type.Integer())])),
  ...Object.fromEntries(RESOURCES.map((name) => [name, Type.Optional(Type.Integer())])),
});
const Usage = object({ limit: Type.Integer(), in_use: Type.Integer(), reserved: Type.Integer() });
const DetailedQuotaSet = object({
  id: text(),
  ...Object.fromEntries(RESOURCES.map((name) => [name, Type.Optional(Usage)])),
});

/** Files injected into guests are gone from the API since 2.57. */
const shownAt = (minor: number): (keyof QuotaLimits)[] =>
  RESOURCES.filter((name) => minor < 57 || !name.startsWith('injected_file'));

const pick = (limits: QuotaLimits, minor: number): object =>
  Object.fromEntries([
    ...shownAt(minor).map((name) => [name, limits[name]]),
    ...(minor < 36 ? NETWORK_RESOURCES.map((name) => [name, -1]) : []),
  ]);

const ofProject = (id: string): Target => ({ project_id: id });

export const limitRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: `${BASE}/limits`,
    service: 'compute',
    summary: "The project's limits and what it uses of them",
    policy: 'os_compute_api:limits',
    query: object({ tenant_id: Type.Optional(text()), reserved: Type.Optional(text(10)) }),
    answers: {
      200: object({
        limits: object({
          rate: Type.Array(Type.Object({}), { maxItems: 0 }),
          absolute: Type.Record(Type.String(), Type.Integer()),
        }),
      }),
    },
    handle: async ({ p, actor, query, minor }) => {
      if (query.tenant_id !== undefined && query.tenant_id !== actor.projectId) {
        requireRule(p, 'compute', actor, 'os_compute_api:limits:other_project');
      }
      const { limits, used } = await quotaOf(p, query.tenant_id ?? actor.projectId);
      const groups = await countServerGroups(p.stores.global, query.tenant_id ?? actor.projectId);
      const absolute = {
        maxTotalInstances: limits.instances,
        maxTotalCores: limits.cores,
        maxTotalRAMSize: limits.ram,
        maxServerMeta: limits.metadata_items,
        maxTotalKeypairs: limits.key_pairs,
        maxServerGroups: limits.server_groups,
        maxServerGroupMembers: limits.server_group_members,
        ...(minor < 39 ? { maxImageMeta: limits.metadata_items } : {}),
        ...(minor < 57
          ? {
              maxPersonality: limits.injected_files,
              maxPersonalitySize: limits.injected_file_content_bytes,
            }
          : {}),
        totalInstancesUsed: used.instances,
        totalCoresUsed: used.cores,
        totalRAMUsed: used.ram,
        totalServerGroupsUsed: groups,
      };
      return { status: 200, body: { limits: { rate: [], absolute } } };
    },
  }),
  route({
    method: 'GET',
    url: QUOTA,
    service: 'compute',
    summary: "Show a project's quota",
    policy: 'os_compute_api:os-quota-sets:show',
    target: ofProject,
    params: ProjectParams,
    query: object({ user_id: Type.Optional(text()) }),
    answers: { 200: object({ quota_set: QuotaSet }) },
    handle: async ({ p, params, minor }) => {
      const limits = await limitsOf(p, params.id);
      return { status: 200, body: { quota_set: { id: params.id, ...pick(limits, minor) } } };
    },
  }),
  route({
    method: 'GET',
    url: `${QUOTA}/defaults`,
    service: 'compute',
    summary: 'Show the limits of projects without their own',
    policy: 'os_compute_api:os-quota-sets:defaults',
    target: ofProject,
    params: ProjectParams,
    answers: { 200: object({ quota_set: QuotaSet }) },
    handle: ({ p, params, minor }) => ({
      status: 200,
      body: { quota_set: { id: params.id, ...pick({ ...DEFAULT_LIMITS, ...p.settings.quota }, minor) } },
    }),
  }),
  route({
    method: 'GET',
    url: `${QUOTA}/detail`,
    service: 'compute',
    summary: "Show a project's quota and usage",
    policy: 'os_compute_api:os-quota-sets:detail',
    target: ofProject,
    params: ProjectParams,
    query: object({ user_id: Type.Optional(text()) }),
    answers: { 200: object({ quota_set: DetailedQuotaSet }) },
    handle: async ({ p, params, minor }) => {
      const { limits, used } = await quotaOf(p, params.id);
      const groups = await countServerGroups(p.stores.global, params.id);
      const inUse: Partial<Record<string, number>> = { ...used, server_groups: groups };
      const entries = shownAt(minor).map((name) => [
        name,
        { limit: limits[name], in_use: inUse[name] ?? 0, reserved: 0 },
      ]);
      return { status: 200, body: { quota_set: { id: params.id, ...Object.fromEntries(entries) } } };
    },
  }),
  route({
    method: 'PUT',
    url: QUOTA,
    service: 'compute',
    summary: "Change a project's limits; -1 is unlimited",
    policy: 'os_compute_api:os-quota-sets:update',
    target: ofProject,
    params: ProjectParams,
    body: object({
      quota_set: object({
        ...Object.fromEntries(RESOURCES.map((name) => [name, Type.Optional(Limit)])),
        force: Type.Optional(Type.Boolean()),
        tenant_id: Type.Optional(text()),
      }),
    }),
    answers: { 200: object({ quota_set: QuotaSet }) },
    handle: async ({ p, params, body, minor }) => {
      const asked = body.quota_set as { readonly [name: string]: number | string | boolean | undefined };
      const { limits, used } = await quotaOf(p, params.id);
      const changes: Record<string, number> = {};
      for (const name of shownAt(minor)) {
        const value = asked[name];
        if (value === undefined) continue;
        const limit = Number(value);
        const inUse = ({ ...used } as Partial<Record<string, number>>)[name] ?? 0;
        if (limit >= 0 && limit < inUse && asked['force'] !== true) {
          throw badRequest(
            `Quota limit ${limit} for ${name} must be greater than or equal to already used and reserved ${inUse}.`,
          );
        }
        changes[name] = limit;
      }
      await setQuota(p, params.id, changes);
      return { status: 200, body: { quota_set: pick({ ...limits, ...changes }, minor) } };
    },
  }),
];
