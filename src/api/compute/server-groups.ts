// Server groups. Until 2.63 a group shows a list of policies and an empty metadata; from 2.64 on one policy and its rules.
import { Type } from 'typebox';
import type { Platform } from '../../control/platform.ts';
import {
  createServerGroup,
  deleteServerGroup,
  findServerGroup,
  listServerGroups,
  type ServerGroup,
} from '../../control/server-groups.ts';
import { isUuid } from '../../lib/ids.ts';
import { checkGroupRules, GROUP_POLICIES, type GroupPolicy, groupNotFound } from '../../model/server-groups.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { requireRule } from '../http/auth.ts';
import { errorOf, refuse } from '../http/errors.ts';
import { type Route, route, versions } from '../http/route.ts';
import { BASE, IdParams, MAX_PAGE, object, text } from './common.ts';

const Name = Type.String({ minLength: 1, maxLength: 255 });
const policies = (...names: readonly GroupPolicy[]) =>
  Type.Array(Type.Enum([...names]), { minItems: 1, maxItems: 1, uniqueItems: true });
const Count = Type.Union([
  Type.Integer({ minimum: 1, maximum: 0x7fffffff }),
  Type.String({ pattern: '^[1-9][0-9]{0,8}$' }),
]);
const CreateBody = versions(
  [1, object({ server_group: object({ name: Name, policies: policies('anti-affinity', 'affinity') }) })],
  [15, object({ server_group: object({ name: Name, policies: policies(...GROUP_POLICIES) }) })],
  [
    64,
    object({
      server_group: object({
        name: Name,
        policy: Type.Enum([...GROUP_POLICIES]),
        rules: Type.Optional(object({ max_server_per_host: Type.Optional(Count) })),
      }),
    }),
  ],
);

const optional = Type.Optional;
const Group = object({
  id: text(),
  name: Type.String(),
  members: Type.Array(text()),
  policies: optional(Type.Array(text())),
  metadata: optional(object({})),
  policy: optional(text()),
  rules: optional(object({ max_server_per_host: optional(Type.Integer()) })),
  project_id: optional(text()),
  user_id: optional(text()),
});

interface Wish {
  readonly name: string;
  readonly policies?: readonly GroupPolicy[];
  readonly policy?: GroupPolicy;
  readonly rules?: { readonly max_server_per_host?: number | string };
}

export const serverGroupRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: `${BASE}/os-server-groups`,
    service: 'compute',
    summary: 'List server groups',
    policy: 'os_compute_api:os-server-groups:index',
    query: object({
      limit: optional(Type.Integer({ minimum: 0 })),
      offset: optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
      all_projects: optional(text()),
    }),
    answers: { 200: object({ server_groups: Type.Array(Group) }) },
    handle: async ({ p, actor, query, minor }) => {
      // As in Nova: whatever the value says; and passed over for those who are not administrators.
      const all = query.all_projects !== undefined && isAdmin(actor);
      if (all) requireRule(p, 'compute', actor, 'os_compute_api:os-server-groups:index:all_projects');
      const groups = await listServerGroups(p, {
        projectId: all ? null : actor.projectId,
        offset: query.offset ?? 0,
        limit: Math.min(query.limit ?? MAX_PAGE, MAX_PAGE),
      });
      return { status: 200, body: { server_groups: groups.map((each) => render(each, minor)) } };
    },
  }),
  route({
    method: 'POST',
    url: `${BASE}/os-server-groups`,
    service: 'compute',
    summary: 'Create a server group',
    policy: 'os_compute_api:os-server-groups:create',
    body: CreateBody,
    answers: { 200: object({ server_group: Group }) },
    handle: async ({ p, actor, body, minor }) => {
      const wish = body.server_group as Wish;
      const policy = wish.policy ?? wish.policies?.[0] ?? 'affinity';
      const max = wish.rules?.max_server_per_host;
      const maxServerPerHost = max === undefined ? null : Number(max);
      refuse(checkGroupRules(policy, maxServerPerHost));
      const result = await createServerGroup(p, actor, { name: wish.name, policy, maxServerPerHost });
      if (result.kind === 'refused') throw errorOf(result.refusal);
      return { status: 200, body: { server_group: render(result.group, minor) } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/os-server-groups/:id`,
    service: 'compute',
    summary: 'Show a server group',
    policy: 'os_compute_api:os-server-groups:show',
    params: IdParams,
    answers: { 200: object({ server_group: Group }) },
    handle: async ({ p, actor, params, minor }) => ({
      status: 200,
      body: { server_group: render(await groupFor(p, actor, params.id), minor) },
    }),
  }),
  route({
    method: 'DELETE',
    url: `${BASE}/os-server-groups/:id`,
    service: 'compute',
    summary: 'Delete a server group; its servers stay',
    policy: 'os_compute_api:os-server-groups:delete',
    params: IdParams,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => {
      const group = await groupFor(p, actor, params.id);
      if (!(await deleteServerGroup(p, group.id))) throw errorOf(groupNotFound(group.id));
      return { status: 204 };
    },
  }),
];

/** @throws ApiError 404, also for those of other projects */
async function groupFor(p: Platform, actor: Actor, id: string): Promise<ServerGroup> {
  const group = isUuid(id) ? await findServerGroup(p, id) : null;
  if (!group || (group.projectId !== actor.projectId && !isAdmin(actor)))
    throw errorOf(groupNotFound(id.slice(0, 255)));
  return group;
}

const render = (group: ServerGroup, minor: number): object => ({
  id: group.id,
  name: group.name,
  members: group.members,
  ...(minor < 64
    ? { policies: [group.policy], metadata: {} }
    : {
        policy: group.policy,
        rules: group.maxServerPerHost === null ? {} : { max_server_per_host: group.maxServerPerHost },
      }),
  ...(minor >= 13 ? { project_id: group.projectId, user_id: group.userId } : {}),
});
