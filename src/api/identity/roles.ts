// Roles, and who has which of them in projects, in domains and in the system.

import { type Directory, findAccount, findDomain, findProject, findRole } from '../../control/identity/directory.ts';
import { domainNotFound } from '../../control/identity/domains.ts';
import { projectNotFound } from '../../control/identity/projects.ts';
import {
  checkGrant,
  createRole,
  deleteRole,
  type Grant,
  type GrantScope,
  grantRole,
  listAssignments,
  listRoles,
  revokeRole,
  roleNotFound,
  updateRole,
} from '../../control/identity/roles.ts';
import { userNotFound } from '../../control/identity/users.ts';
import type { Identity } from '../../control/identity.ts';
import type { Target } from '../../model/policy/judge.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { requireRule } from '../http/auth.ts';
import { errorOf, refuse } from '../http/errors.ts';
import { type Route, type RouteSpec, route } from '../http/route.ts';
import { projectTarget } from './projects.ts';
import { listed, outcome, renderRole, V3 } from './render.ts';
import * as schema from './schemas.ts';
import { userTarget } from './users.ts';

const service = 'identity' as const;
const ROLES = `${V3}/roles`;

export const roleRoutes = ({ directory }: Identity): readonly Route[] => [
  route({
    ...{ method: 'GET', url: ROLES, service, summary: 'List roles' },
    policy: 'identity:list_roles',
    query: schema.query(schema.ByName),
    answers: { 200: schema.listOf('roles', schema.Role) },
    handle: async ({ p, query }) => {
      const shown = (await listRoles(directory, query.name)).map((each) => renderRole(p.settings, each));
      return { status: 200, body: listed(p.settings, '/roles', 'roles', shown, query.limit) };
    },
  }),
  route({
    ...{ method: 'POST', url: ROLES, service, summary: 'Create a role' },
    policy: 'identity:create_role',
    body: schema.CreateRole,
    answers: { 201: schema.one('role', schema.Role) },
    handle: async ({ p, body: { role: wish } }) => {
      const made = await createRole(directory, { name: wish.name, description: wish.description ?? null });
      return { status: 201, body: { role: renderRole(p.settings, outcome(made)) } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${ROLES}/:id`, service, summary: 'Show a role' },
    policy: 'identity:get_role',
    params: schema.IdParams,
    answers: { 200: schema.one('role', schema.Role) },
    handle: async ({ p, params }) => {
      const role = await findRole(directory, params.id);
      if (!role) throw errorOf(roleNotFound(params.id));
      return { status: 200, body: { role: renderRole(p.settings, role) } };
    },
  }),
  route({
    ...{ method: 'PATCH', url: `${ROLES}/:id`, service, summary: 'Change a role' },
    policy: 'identity:update_role',
    params: schema.IdParams,
    body: schema.UpdateRole,
    answers: { 200: schema.one('role', schema.Role) },
    handle: async ({ p, params, body: { role: wish } }) => {
      const role = await findRole(directory, params.id);
      if (!role) throw errorOf(roleNotFound(params.id));
      const changed = await updateRole(directory, role.id, {
        ...(wish.name === undefined ? {} : { name: wish.name }),
        ...(wish.description === undefined ? {} : { description: wish.description }),
      });
      return { status: 200, body: { role: renderRole(p.settings, outcome(changed)) } };
    },
  }),
  route({
    ...{ method: 'DELETE', url: `${ROLES}/:id`, service, summary: 'Delete a role, wherever it was given' },
    policy: 'identity:delete_role',
    params: schema.IdParams,
    answers: { 204: null },
    handle: async ({ params }) => {
      const role = await findRole(directory, params.id);
      if (!role) throw errorOf(roleNotFound(params.id));
      outcome(await deleteRole(directory, role.id));
      return { status: 204 };
    },
  }),
];

interface Place {
  readonly url: string;
  readonly where: string;
  readonly rules: {
    readonly list: RuleName;
    readonly check: RuleName;
    readonly give: RuleName;
    readonly take: RuleName;
  };
  /** The scope that the path names, and its words for rules. @throws nothing: null when it is not there */
  readonly find: (id: string) => Promise<{ readonly scope: GrantScope | null; readonly target: Target }>;
  readonly absent: (id: string) => Error;
}

const RULES: Place['rules'] = {
  list: 'identity:list_grants',
  check: 'identity:check_grant',
  give: 'identity:create_grant',
  take: 'identity:revoke_grant',
};

const placesOf = (directory: Directory): readonly Place[] => [
  {
    ...{ url: `${V3}/projects/:id/users/:user_id/roles`, where: 'in a project', rules: RULES },
    find: async (id) => {
      const found = await findProject(directory, id);
      return { scope: found && { kind: 'project', id: found.project.id }, target: projectTarget(id, found) };
    },
    absent: (id) => errorOf(projectNotFound(id)),
  },
  {
    ...{ url: `${V3}/domains/:id/users/:user_id/roles`, where: 'in a domain', rules: RULES },
    find: async (id) => {
      const found = await findDomain(directory, id);
      return { scope: found && { kind: 'domain', id: found.id }, target: { 'target.domain.id': id } };
    },
    absent: (id) => errorOf(domainNotFound(id)),
  },
  {
    ...{ url: `${V3}/system/users/:user_id/roles`, where: 'in the system' },
    rules: {
      list: 'identity:list_system_grants_for_user',
      check: 'identity:check_system_grant_for_user',
      give: 'identity:create_system_grant_for_user',
      take: 'identity:revoke_system_grant_for_user',
    },
    find: async () => ({ scope: { kind: 'system' }, target: {} }),
    absent: (id) => errorOf(projectNotFound(id)),
  },
];

export const grantRoutes = ({ directory }: Identity): readonly Route[] =>
  placesOf(directory).flatMap((place) => grantsIn(directory, place));

type GrantCall = Parameters<RouteSpec<typeof schema.GrantParams, undefined, undefined>['handle']>[0];

function grantsIn(directory: Directory, { url, where, rules, find, absent }: Place): Route[] {
  /** What the path is about, once the rule allows it. @throws ApiError 403, 404 */
  async function about({ p, actor, params }: GrantCall, rule: RuleName): Promise<Omit<Grant, 'roleId'>> {
    const { id = '', user_id: userId = '' } = params;
    const [account, { scope, target }] = await Promise.all([findAccount(directory, userId), find(id)]);
    // Roles are in no domain: what a rule compares with None.
    const words = { ...userTarget(userId, account), ...target, 'target.role.domain_id': 'None' };
    requireRule(p, service, actor, rule, words);
    if (!scope) throw absent(id);
    if (!account) throw errorOf(userNotFound(userId));
    return { userId: account.user.id, scope };
  }

  async function grantOf(call: GrantCall, rule: RuleName): Promise<Grant> {
    const named = await about(call, rule);
    const { role_id: roleId = '' } = call.params;
    const role = await findRole(directory, roleId);
    if (!role) throw errorOf(roleNotFound(roleId));
    return { ...named, roleId: role.id };
  }

  const common = { service, target: 'handler', params: schema.GrantParams } as const;
  return [
    route({
      ...{ ...common, method: 'GET', url, summary: `List the roles of a user ${where}`, policy: rules.list },
      answers: { 200: schema.listOf('roles', schema.Role) },
      handle: async (call) => {
        const { userId, scope } = await about(call, rules.list);
        const given = await listAssignments(directory, { userId, ...scopeFilter(scope) });
        const roles = await Promise.all(given.map((each) => findRole(directory, each.role.id)));
        const shown = roles.flatMap((role) => (role ? [renderRole(call.p.settings, role)] : []));
        const path = call.request.url.split('?', 1)[0]?.slice(V3.length) ?? '';
        return { status: 200, body: listed(call.p.settings, path, 'roles', shown) };
      },
    }),
    route({
      ...{ ...common, method: 'GET', url: `${url}/:role_id`, policy: rules.check },
      summary: `Check whether a user has a role ${where}`,
      answers: { 204: null },
      handle: async (call) => {
        refuse(await checkGrant(directory, await grantOf(call, rules.check)));
        return { status: 204 };
      },
    }),
    route({
      ...{ ...common, method: 'PUT', url: `${url}/:role_id`, policy: rules.give },
      summary: `Give a user a role ${where}`,
      answers: { 204: null },
      handle: async (call) => {
        outcome(await grantRole(directory, await grantOf(call, rules.give)));
        return { status: 204 };
      },
    }),
    route({
      ...{ ...common, method: 'DELETE', url: `${url}/:role_id`, policy: rules.take },
      summary: `Take a role away from a user ${where}`,
      answers: { 204: null },
      handle: async (call) => {
        outcome(await revokeRole(directory, await grantOf(call, rules.take)));
        return { status: 204 };
      },
    }),
  ];
}

function scopeFilter(scope: GrantScope): { projectId: string } | { domainId: string } | { system: true } {
  switch (scope.kind) {
    case 'project':
      return { projectId: scope.id };
    case 'domain':
      return { domainId: scope.id };
    case 'system':
      return { system: true };
  }
}
