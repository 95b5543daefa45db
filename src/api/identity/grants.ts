// Who has which role in projects, in domains and in the system: the same four calls for every kind of place, and for
// users and groups alike.
import { listAssignments } from '../../control/identity/assignments.ts';
import {
  type Directory,
  findAccount,
  findDomain,
  findGroup,
  findProject,
  findRole,
} from '../../control/identity/directory.ts';
import { domainNotFound } from '../../control/identity/domains.ts';
import { groupNotFound } from '../../control/identity/groups.ts';
import { projectNotFound } from '../../control/identity/projects.ts';
import {
  checkGrant,
  type Grant,
  type GrantScope,
  grantRole,
  type Holder,
  revokeRole,
  roleNotFound,
} from '../../control/identity/roles.ts';
import { userNotFound } from '../../control/identity/users.ts';
import type { Identity } from '../../control/identity.ts';
import type { Target } from '../../model/policy/judge.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { requireRule } from '../http/auth.ts';
import { errorOf, refuse } from '../http/errors.ts';
import { type Route, type RouteSpec, route } from '../http/route.ts';
import { groupTarget } from './groups.ts';
import { projectTarget } from './projects.ts';
import { listed, outcome, renderRole, V3 } from './render.ts';
import * as schema from './schemas.ts';
import { userTarget } from './users.ts';

const service = 'identity' as const;

interface Rules {
  readonly list: RuleName;
  readonly check: RuleName;
  readonly give: RuleName;
  readonly take: RuleName;
}

interface Place {
  readonly url: string;
  readonly where: string;
  readonly rules: Readonly<Record<Holder['kind'], Rules>>;
  /** The scope that the path names (null: it is not there), and its words for rules. */
  readonly find: (id: string) => Promise<{ readonly scope: GrantScope | null; readonly target: Target }>;
  readonly absent: (id: string) => Error;
}

const RULES: Rules = {
  list: 'identity:list_grants',
  check: 'identity:check_grant',
  give: 'identity:create_grant',
  take: 'identity:revoke_grant',
};

const placesOf = (directory: Directory): readonly Place[] => [
  {
    ...{ url: `${V3}/projects/:id`, where: 'in a project', rules: { user: RULES, group: RULES } },
    find: async (id) => {
      const found = await findProject(directory, id);
      return { scope: found && { kind: 'project', id: found.project.id }, target: projectTarget(id, found) };
    },
    absent: (id) => errorOf(projectNotFound(id)),
  },
  {
    ...{ url: `${V3}/domains/:id`, where: 'in a domain', rules: { user: RULES, group: RULES } },
    find: async (id) => {
      const found = await findDomain(directory, id);
      return { scope: found && { kind: 'domain', id: found.id }, target: { 'target.domain.id': id } };
    },
    absent: (id) => errorOf(domainNotFound(id)),
  },
  {
    ...{ url: `${V3}/system`, where: 'in the system' },
    rules: {
      user: {
        list: 'identity:list_system_grants_for_user',
        check: 'identity:check_system_grant_for_user',
        give: 'identity:create_system_grant_for_user',
        take: 'identity:revoke_system_grant_for_user',
      },
      group: {
        list: 'identity:list_system_grants_for_group',
        check: 'identity:check_system_grant_for_group',
        give: 'identity:create_system_grant_for_group',
        take: 'identity:revoke_system_grant_for_group',
      },
    },
    find: async () => ({ scope: { kind: 'system' }, target: {} }),
    absent: (id) => errorOf(projectNotFound(id)),
  },
];

export const grantRoutes = ({ directory }: Identity): readonly Route[] =>
  placesOf(directory).flatMap((place) => [
    ...grantsIn(directory, place, 'user'),
    ...grantsIn(directory, place, 'group'),
  ]);

type GrantCall = Parameters<RouteSpec<typeof schema.GrantParams, undefined, undefined>['handle']>[0];

function grantsIn(directory: Directory, place: Place, kind: Holder['kind']): Route[] {
  const { where, find, absent } = place;
  const rules = place.rules[kind];
  const url = `${place.url}/${kind}s/:${kind}_id/roles`;

  /** Who the path names, and the words for rules. Null: nobody. */
  async function holderOf({ user_id: userId = '', group_id: groupId = '' }: GrantCall['params']) {
    switch (kind) {
      case 'user': {
        const account = await findAccount(directory, userId);
        const holder: Holder | null = account && { kind, id: account.user.id };
        return { holder, target: userTarget(userId, account), absent: userNotFound(userId) };
      }
      case 'group': {
        const group = await findGroup(directory, groupId);
        const holder: Holder | null = group && { kind, id: group.id };
        return { holder, target: groupTarget(groupId, group), absent: groupNotFound(groupId) };
      }
    }
  }

  /** What the path is about, once the rule allows it. @throws ApiError 403, 404 */
  async function about({ p, actor, params }: GrantCall, rule: RuleName): Promise<Omit<Grant, 'roleId'>> {
    const { id = '' } = params;
    const [who, { scope, target }] = await Promise.all([holderOf(params), find(id)]);
    // Roles are in no domain: what a rule compares with None.
    const words = { ...who.target, ...target, 'target.role.domain_id': 'None' };
    requireRule(p, service, actor, rule, words);
    if (!scope) throw absent(id);
    if (!who.holder) throw errorOf(who.absent);
    return { holder: who.holder, scope };
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
      ...{ ...common, method: 'GET', url, summary: `List the roles of a ${kind} ${where}`, policy: rules.list },
      answers: { 200: schema.listOf('roles', schema.Role) },
      handle: async (call) => {
        const { holder, scope } = await about(call, rules.list);
        const given = await listAssignments(directory, { ...holderFilter(holder), ...scopeFilter(scope) });
        const roles = await Promise.all(given.map((each) => findRole(directory, each.role.id)));
        const shown = roles.flatMap((role) => (role ? [renderRole(call.p.settings, role)] : []));
        const path = call.request.url.split('?', 1)[0]?.slice(V3.length) ?? '';
        return { status: 200, body: listed(call.p.settings, path, 'roles', shown) };
      },
    }),
    route({
      ...{ ...common, method: 'GET', url: `${url}/:role_id`, policy: rules.check },
      summary: `Check whether a ${kind} has a role ${where}`,
      answers: { 204: null },
      handle: async (call) => {
        refuse(await checkGrant(directory, await grantOf(call, rules.check)));
        return { status: 204 };
      },
    }),
    route({
      ...{ ...common, method: 'PUT', url: `${url}/:role_id`, policy: rules.give },
      summary: `Give a ${kind} a role ${where}`,
      answers: { 204: null },
      handle: async (call) => {
        outcome(await grantRole(directory, await grantOf(call, rules.give)));
        return { status: 204 };
      },
    }),
    route({
      ...{ ...common, method: 'DELETE', url: `${url}/:role_id`, policy: rules.take },
      summary: `Take a role away from a ${kind} ${where}`,
      answers: { 204: null },
      handle: async (call) => {
        outcome(await revokeRole(directory, await grantOf(call, rules.take)));
        return { status: 204 };
      },
    }),
  ];
}

const holderFilter = ({ kind, id }: Holder): { userId: string } | { groupId: string } =>
  kind === 'user' ? { userId: id } : { groupId: id };

function scopeFilter(scope: GrantScope): { projectIds: string[] } | { domainId: string } | { system: true } {
  switch (scope.kind) {
    case 'project':
      return { projectIds: [scope.id] };
    case 'domain':
      return { domainId: scope.id };
    case 'system':
      return { system: true };
  }
}
