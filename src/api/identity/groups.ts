// Groups of users, and who is in them. What they may do is among the grants (roles.ts).
import { findAccount, findGroup, type Group } from '../../control/identity/directory.ts';
import {
  addMember,
  checkMember,
  createGroup,
  deleteGroup,
  groupNotFound,
  listGroups,
  type Membership,
  removeMember,
  updateGroup,
} from '../../control/identity/groups.ts';
import { listUsers, userNotFound } from '../../control/identity/users.ts';
import type { Identity } from '../../control/identity.ts';
import type { Target } from '../../model/policy/judge.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { requireRule } from '../http/auth.ts';
import { errorOf, refuse } from '../http/errors.ts';
import { type Route, type RouteSpec, route } from '../http/route.ts';
import { domainAsked, homeDomain, sameDomain } from './projects.ts';
import { listed, namesAsked, outcome, renderGroup, renderUser, stateAsked, V3 } from './render.ts';
import * as schema from './schemas.ts';
import { userTarget } from './users.ts';

const service = 'identity' as const;
const GROUPS = `${V3}/groups`;

export const groupTarget = (id: string, found: Group | null): Target => ({
  'target.group.id': id,
  ...(found ? { 'target.group.domain_id': found.domainId } : {}),
});

export const groupRoutes = ({ directory }: Identity): readonly Route[] => [
  route({
    ...{ method: 'GET', url: GROUPS, service, summary: 'List groups of users' },
    policy: 'identity:list_groups',
    target: 'handler',
    query: schema.query(schema.ByNameInDomain),
    answers: { 200: schema.listOf('groups', schema.Group) },
    handle: async ({ p, actor, query }) => {
      const domain = domainAsked(actor, query.domain_id);
      const words = domain.domainId === undefined ? {} : { 'target.group.domain_id': domain.domainId };
      requireRule(p, service, actor, 'identity:list_groups', words);
      const groups = await listGroups(directory, { ...domain, ...namesAsked(query) });
      const shown = groups.map((each) => renderGroup(p.settings, each));
      return { status: 200, body: listed(p.settings, '/groups', 'groups', shown, query.limit) };
    },
  }),
  route({
    ...{ method: 'POST', url: GROUPS, service, summary: 'Create a group of users' },
    policy: 'identity:create_group',
    body: schema.CreateGroup,
    answers: { 201: schema.one('group', schema.Group) },
    handle: async ({ p, actor, body: { group: wish } }) => {
      const made = await createGroup(directory, {
        ...{ name: wish.name, domainId: homeDomain(actor, wish.domain_id), description: wish.description ?? '' },
      });
      return { status: 201, body: { group: renderGroup(p.settings, outcome(made)) } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${GROUPS}/:id`, service, summary: 'Show a group of users' },
    policy: 'identity:get_group',
    target: 'handler',
    params: schema.IdParams,
    answers: { 200: schema.one('group', schema.Group) },
    handle: async ({ p, actor, params }) => {
      const found = await findGroup(directory, params.id);
      requireRule(p, service, actor, 'identity:get_group', groupTarget(params.id, found));
      if (!found) throw errorOf(groupNotFound(params.id));
      return { status: 200, body: { group: renderGroup(p.settings, found) } };
    },
  }),
  route({
    ...{ method: 'PATCH', url: `${GROUPS}/:id`, service, summary: 'Change a group of users' },
    policy: 'identity:update_group',
    target: (id) => groupTarget(id, null),
    params: schema.IdParams,
    body: schema.UpdateGroup,
    answers: { 200: schema.one('group', schema.Group) },
    handle: async ({ p, params, body: { group: wish } }) => {
      const found = await findGroup(directory, params.id);
      if (!found) throw errorOf(groupNotFound(params.id));
      sameDomain(wish.domain_id, found.domainId);
      const changed = await updateGroup(directory, found.id, {
        ...(wish.name === undefined ? {} : { name: wish.name }),
        ...(wish.description === undefined ? {} : { description: wish.description }),
      });
      return { status: 200, body: { group: renderGroup(p.settings, outcome(changed)) } };
    },
  }),
  route({
    ...{ method: 'DELETE', url: `${GROUPS}/:id`, service, summary: 'Delete a group; its users stay' },
    policy: 'identity:delete_group',
    target: (id) => groupTarget(id, null),
    params: schema.IdParams,
    answers: { 204: null },
    handle: async ({ params }) => {
      const found = await findGroup(directory, params.id);
      if (!found) throw errorOf(groupNotFound(params.id));
      outcome(await deleteGroup(directory, found.id));
      return { status: 204 };
    },
  }),
];

type MemberCall = Parameters<RouteSpec<typeof schema.MemberParams, undefined, undefined>['handle']>[0];

export function memberRoutes({ directory }: Identity): readonly Route[] {
  /** The group and the user that the path names, once the rule allows it. @throws ApiError 403, 404 */
  async function about({ p, actor, params }: MemberCall, rule: RuleName): Promise<Membership> {
    const { id, user_id: userId } = params;
    const [group, account] = await Promise.all([findGroup(directory, id), findAccount(directory, userId)]);
    requireRule(p, service, actor, rule, { ...groupTarget(id, group), ...userTarget(userId, account) });
    if (!group) throw errorOf(groupNotFound(id));
    if (!account) throw errorOf(userNotFound(userId));
    return { groupId: group.id, userId: account.user.id };
  }

  const url = `${GROUPS}/:id/users`;
  const one = { url: `${url}/:user_id`, service, target: 'handler', params: schema.MemberParams } as const;
  return [
    route({
      ...{ method: 'GET', url, service, summary: 'List the users in a group' },
      policy: 'identity:list_users_in_group',
      target: 'handler',
      params: schema.IdParams,
      query: schema.query(schema.ByDomain),
      answers: { 200: schema.listOf('users', schema.User) },
      handle: async ({ p, actor, params, query }) => {
        const found = await findGroup(directory, params.id);
        requireRule(p, service, actor, 'identity:list_users_in_group', groupTarget(params.id, found));
        if (!found) throw errorOf(groupNotFound(params.id));
        const asked = { ...domainAsked(actor, query.domain_id), ...stateAsked(query), ...namesAsked(query) };
        const members = await listUsers(directory, { ...asked, groupId: found.id });
        const shown = members.map((each) => renderUser(p.settings, each));
        return { status: 200, body: listed(p.settings, `/groups/${found.id}/users`, 'users', shown, query.limit) };
      },
    }),
    route({
      ...{
        ...one,
        method: 'GET',
        policy: 'identity:check_user_in_group',
        summary: 'Check whether a user is in a group',
      },
      answers: { 204: null },
      handle: async (call) => {
        refuse(await checkMember(directory, await about(call, 'identity:check_user_in_group')));
        return { status: 204 };
      },
    }),
    route({
      ...{ ...one, method: 'PUT', policy: 'identity:add_user_to_group', summary: 'Take a user into a group' },
      answers: { 204: null },
      handle: async (call) => {
        outcome(await addMember(directory, await about(call, 'identity:add_user_to_group')));
        return { status: 204 };
      },
    }),
    route({
      ...{ ...one, method: 'DELETE', policy: 'identity:remove_user_from_group', summary: 'Take a user out of a group' },
      answers: { 204: null },
      handle: async (call) => {
        outcome(await removeMember(directory, await about(call, 'identity:remove_user_from_group')));
        return { status: 204 };
      },
    }),
    route({
      ...{ method: 'GET', url: `${V3}/users/:id/groups`, service, summary: 'Groups that a user is in' },
      policy: 'identity:list_groups_for_user',
      target: 'handler',
      params: schema.IdParams,
      query: schema.query(schema.ByName),
      answers: { 200: schema.listOf('groups', schema.Group) },
      handle: async ({ p, actor, params, query }) => {
        const account = await findAccount(directory, params.id);
        const words = { ...userTarget(params.id, account), user_id: params.id };
        requireRule(p, service, actor, 'identity:list_groups_for_user', words);
        if (!account) throw errorOf(userNotFound(params.id));
        const groups = await listGroups(directory, { userId: account.user.id, ...namesAsked(query) });
        const shown = groups.map((each) => renderGroup(p.settings, each));
        return { status: 200, body: listed(p.settings, `/users/${params.id}/groups`, 'groups', shown, query.limit) };
      },
    }),
  ];
}
