// Quota sets: the limits of a project, of a user within it, or (as the quota class `default`) of everybody else; -1 is
// unlimited. What counts is said in control/quota.ts.
import { Type } from 'typebox';
import type { Platform } from '../../control/platform.ts';
import { isProject } from '../../control/projects.ts';
import {
  defaultLimits,
  forgetQuota,
  type Limited,
  limitsOf,
  setQuota,
  usageOf,
  userLimitsOf,
} from '../../control/quota.ts';
import { countServerGroups } from '../../control/server-groups.ts';
import type { Target } from '../../model/policy/judge.ts';
import { DEFAULT_LIMITS, type QuotaLimits } from '../../model/quota.ts';
import type { Actor } from '../../model/types.ts';
import { badRequest } from '../http/errors.ts';
import { type Route, route, versions } from '../http/route.ts';
import { BASE, object, text } from './common.ts';

const QUOTA = `${BASE}/os-quota-sets/:id`;
const CLASS = `${BASE}/os-quota-class-sets/:id`;
const service = 'compute';
const ProjectParams = object({ id: Type.String({ minLength: 1, maxLength: 255 }) });
const ClassParams = object({ id: Type.String({ minLength: 1, maxLength: 255 }) });
const UserQuery = object({ user_id: Type.Optional(text()) });

const MAX_LIMIT = 0x7fffffff;
const Limit = Type.Optional(
  Type.Union([Type.Integer({ minimum: -1, maximum: MAX_LIMIT }), Type.String({ pattern: '^(-1|[0-9]{1,9})$' })]),
);

type Resource = keyof QuotaLimits;
const RESOURCES = Object.keys(DEFAULT_LIMITS) as Resource[];
const NETWORK: readonly Resource[] = ['fixed_ips', 'floating_ips', 'security_groups', 'security_group_rules'];
const GROUPS: readonly Resource[] = ['server_groups', 'server_group_members'];
const isOfFiles = (name: Resource): boolean => name.startsWith('injected_file');

/** Limits of the network went with 2.36, those of injected files with 2.57. */
const shownAt = (minor: number): Resource[] =>
  RESOURCES.filter((name) => (minor < 36 || !NETWORK.includes(name)) && (minor < 57 || !isOfFiles(name)));

/** Quota classes got the limits of groups, and lost those of the network, with 2.50. */
const shownOfClassAt = (minor: number): Resource[] =>
  RESOURCES.filter(
    (name) =>
      (minor >= 50 || !GROUPS.includes(name)) &&
      (minor < 50 || !NETWORK.includes(name)) &&
      (minor < 57 || !isOfFiles(name)),
  );

const limitsIn = (names: readonly Resource[]) => Object.fromEntries(names.map((name) => [name, Limit]));
const shown = <T>(names: readonly Resource[], of: (name: Resource) => T): Record<string, T> =>
  Object.fromEntries(names.map((name) => [name, of(name)]));

const QuotaSet = object({
  id: Type.Optional(text()),
  ...shown(RESOURCES, () => Type.Optional(Type.Integer())),
});
const Usage = object({ limit: Type.Integer(), in_use: Type.Integer(), reserved: Type.Integer() });
const DetailedQuotaSet = object({ id: text(), ...shown(RESOURCES, () => Type.Optional(Usage)) });

const updateAt = (minor: number) =>
  object({
    quota_set: object({ ...limitsIn(shownAt(minor)), force: Type.Optional(Type.Union([Type.Boolean(), text(5)])) }),
  });
const updateOfClassAt = (minor: number) =>
  object({
    quota_class_set: object(
      limitsIn(minor < 50 ? RESOURCES.filter((name) => !GROUPS.includes(name)) : shownOfClassAt(minor)),
    ),
  });

const ofProject = (id: string): Target => ({ project_id: id });

export const quotaRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: QUOTA, service, summary: 'Show the quota of a project, or of a user within it' },
    policy: 'os_compute_api:os-quota-sets:show',
    target: ofProject,
    params: ProjectParams,
    query: UserQuery,
    answers: { 200: object({ quota_set: QuotaSet }) },
    handle: async ({ p, actor, params: { id }, query, minor }) => {
      await requireProject(p, actor, id);
      const limits = await limitsFor(p, limited(id, query.user_id));
      return { status: 200, body: { quota_set: { id, ...shown(shownAt(minor), (name) => limits[name]) } } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${QUOTA}/defaults`, service, summary: 'Show the limits of projects without their own' },
    policy: 'os_compute_api:os-quota-sets:defaults',
    target: ofProject,
    params: ProjectParams,
    answers: { 200: object({ quota_set: QuotaSet }) },
    handle: async ({ p, actor, params: { id }, minor }) => {
      await requireProject(p, actor, id);
      const limits = await defaultLimits(p);
      return { status: 200, body: { quota_set: { id, ...shown(shownAt(minor), (name) => limits[name]) } } };
    },
  }),
  route({
    ...{
      method: 'GET',
      url: `${QUOTA}/detail`,
      service,
      summary: 'Show the quota and usage of a project, or of a user',
    },
    policy: 'os_compute_api:os-quota-sets:detail',
    target: ofProject,
    params: ProjectParams,
    query: UserQuery,
    answers: { 200: object({ quota_set: DetailedQuotaSet }) },
    handle: async ({ p, actor, params: { id }, query, minor }) => {
      await requireProject(p, actor, id);
      const whose = limited(id, query.user_id);
      const limits = await limitsFor(p, whose);
      const used = await counted(p, whose);
      const entry = (name: Resource) => ({ limit: limits[name], in_use: used[name] ?? 0, reserved: 0 });
      return { status: 200, body: { quota_set: { id, ...shown(shownAt(minor), entry) } } };
    },
  }),
  route({
    ...{
      method: 'PUT',
      url: QUOTA,
      service,
      summary: 'Change limits of a project, or of a user within it; -1 is unlimited',
    },
    policy: 'os_compute_api:os-quota-sets:update',
    target: ofProject,
    params: ProjectParams,
    query: UserQuery,
    body: versions([1, updateAt(1)], [36, updateAt(36)], [57, updateAt(57)]),
    answers: { 200: object({ quota_set: QuotaSet }) },
    handle: async ({ p, actor, params: { id }, query, body, minor }) => {
      await requireProject(p, actor, id);
      const whose = limited(id, query.user_id);
      const { force, ...asked } = body.quota_set as Readonly<Record<string, unknown>>;
      const changes = numbers(asked);
      if (String(force).toLowerCase() !== 'true') await checkChanges(p, whose, changes);
      await setQuota(p, whose, changes);
      const limits = await limitsFor(p, whose);
      return { status: 200, body: { quota_set: shown(shownAt(minor), (name) => limits[name]) } };
    },
  }),
  route({
    ...{
      method: 'DELETE',
      url: QUOTA,
      service,
      summary: 'Forget limits of a project, or of a user: defaults count again',
    },
    policy: 'os_compute_api:os-quota-sets:delete',
    target: ofProject,
    params: ProjectParams,
    query: UserQuery,
    answers: { 202: null },
    handle: async ({ p, params: { id }, query }) => {
      await forgetQuota(p, limited(id, query.user_id));
      return { status: 202 };
    },
  }),
  route({
    ...{
      method: 'GET',
      url: CLASS,
      service,
      summary: 'Show the limits of projects without their own: class `default`',
    },
    policy: 'os_compute_api:os-quota-class-sets:show',
    params: ClassParams,
    answers: { 200: object({ quota_class_set: QuotaSet }) },
    handle: async ({ p, params: { id }, minor }) => {
      const limits = await defaultLimits(p);
      return {
        status: 200,
        body: { quota_class_set: { id, ...shown(shownOfClassAt(minor), (name) => limits[name]) } },
      };
    },
  }),
  route({
    ...{
      method: 'PUT',
      url: CLASS,
      service,
      summary: 'Change the limits of projects without their own: class `default`',
    },
    policy: 'os_compute_api:os-quota-class-sets:update',
    params: ClassParams,
    body: versions([1, updateOfClassAt(1)], [50, updateOfClassAt(50)], [57, updateOfClassAt(57)]),
    answers: { 200: object({ quota_class_set: QuotaSet }) },
    handle: async ({ p, params: { id }, body, minor }) => {
      // Nova keeps others too, which nothing ever reads.
      if (id !== 'default') throw badRequest(`There is no quota class but 'default'.`);
      await setQuota(p, 'everybody', numbers(body.quota_class_set as Readonly<Record<string, unknown>>));
      const limits = await defaultLimits(p);
      return { status: 200, body: { quota_class_set: shown(shownOfClassAt(minor), (name) => limits[name]) } };
    },
  }),
];

/** As Nova, which asks Keystone; the actor's own is there. @throws ApiError 400 */
export async function requireProject(p: Platform, actor: Actor, id: string): Promise<void> {
  if (id === actor.projectId || (await isProject(p, id))) return;
  throw badRequest(`Project ID ${id} is not a valid project.`);
}

const limited = (projectId: string, userId: string | undefined): Limited => ({
  projectId,
  ...(userId === undefined ? {} : { userId }),
});

const limitsFor = (p: Platform, { projectId, userId }: Limited): Promise<QuotaLimits> =>
  userId === undefined ? limitsOf(p, projectId) : userLimitsOf(p, projectId, userId);

const numbers = (asked: Readonly<Record<string, unknown>>): Record<string, number> =>
  Object.fromEntries(Object.entries(asked).map(([name, value]) => [name, Number(value)]));

async function counted(p: Platform, whose: Limited): Promise<Partial<Record<Resource, number>>> {
  const { global } = p.stores;
  return { ...(await usageOf(global, whose)), server_groups: await countServerGroups(global, whose.projectId) };
}

/** What is used must fit; and a user gets no more than the project has. @throws ApiError 400 */
async function checkChanges(p: Platform, whose: Limited, changes: Readonly<Record<string, number>>): Promise<void> {
  const used: Readonly<Partial<Record<string, number>>> = await counted(p, whose);
  const most: Readonly<Partial<Record<string, number>>> | null =
    whose.userId === undefined ? null : { ...(await limitsOf(p, whose.projectId)) };
  for (const [name, limit] of Object.entries(changes)) {
    const inUse = used[name] ?? 0;
    if (limit >= 0 && limit < inUse) {
      throw badRequest(
        `Quota limit ${limit} for ${name} must be greater than or equal to already used and reserved ${inUse}.`,
      );
    }
    const top = most?.[name] ?? -1;
    if (top >= 0 && (limit < 0 || limit > top)) {
      throw badRequest(`Quota limit ${limit} for ${name} must be less than or equal to ${top}.`);
    }
  }
}
