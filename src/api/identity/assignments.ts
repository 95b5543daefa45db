// The list of role assignments, with the roles that follow from others and with names where they are asked for.
import type { Static } from 'typebox';
import {
  type Assignment,
  type AssignmentFilter,
  listAssignments,
  listEffective,
  type Named,
} from '../../control/identity/assignments.ts';
import { type Directory, findProject } from '../../control/identity/directory.ts';
import { projectNotFound } from '../../control/identity/projects.ts';
import { listRoles } from '../../control/identity/roles.ts';
import type { Identity } from '../../control/identity.ts';
import type { Settings } from '../../control/platform.ts';
import { RANKED_ROLES, withImplied } from '../../model/policy/roles.ts';
import { requireRule } from '../http/auth.ts';
import { badRequest, errorOf } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { idsOfTree } from './project-tree.ts';
import { isSet, listed, selfLink, V3 } from './render.ts';
import * as schema from './schemas.ts';

const service = 'identity' as const;
type Query = Static<typeof schema.AssignmentQuery>;

export const assignmentRoutes = ({ directory }: Identity): readonly Route[] => [
  route({
    ...{ method: 'GET', url: `${V3}/role_assignments`, service, summary: 'List who has which role where' },
    policy: 'identity:list_role_assignments',
    target: 'handler',
    query: schema.AssignmentQuery,
    answers: { 200: schema.listOf('role_assignments', schema.RoleAssignment) },
    handle: async ({ p, actor, query }) => {
      const within = actor.domainId === undefined ? {} : { within: actor.domainId };
      const words = actor.domainId === undefined ? {} : { 'target.domain_id': actor.domainId };
      const tree = isSet(query.include_subtree);
      const rule = tree ? 'identity:list_role_assignments_for_tree' : 'identity:list_role_assignments';
      requireRule(p, service, actor, rule, words);
      soundFilter(query);
      const list = isSet(query.effective) ? listEffective : listAssignments;
      const projects = await placesAsked(directory, query['scope.project.id'], tree);
      const all = await list(directory, { ...filterOf(query), ...projects, ...within });
      const roleId = query['role.id'];
      const shown = all
        .filter(() => query['scope.OS-INHERIT:inherited_to'] === undefined)
        .filter((each) => roleId === undefined || each.role.id === roleId)
        .map((each) => render(p.settings, each, isSet(query.include_names)));
      return { status: 200, body: listed(p.settings, '/role_assignments', 'role_assignments', shown, query.limit) };
    },
  }),
  route({
    ...{ method: 'GET', url: `${V3}/role_inferences`, service, summary: 'List which role implies which others' },
    policy: 'identity:list_role_inference_rules',
    answers: { 200: schema.RoleInferences },
    handle: async ({ p }) => {
      const roles = (await listRoles(directory)).filter((role) =>
        (RANKED_ROLES as readonly string[]).includes(role.name),
      );
      const brief = ({ id, name }: { id: string; name: string }): object => ({
        ...{ id, name, links: selfLink(p.settings, `/roles/${id}`) },
      });
      const inferences = roles.flatMap((prior) => {
        const names = withImplied([prior.name]);
        const implied = roles.filter((role) => role.id !== prior.id && names.has(role.name));
        return implied.length === 0 ? [] : [{ prior_role: brief(prior), implies: implied.map(brief) }];
      });
      return { status: 200, body: { role_inferences: inferences, links: selfLink(p.settings, '/role_inferences') } };
    },
  }),
];

/** @throws ApiError 400 with Keystone's sentences: nothing could be found by it */
function soundFilter(query: Query): void {
  const asks = (key: keyof Query): boolean => query[key] !== undefined;
  if (asks('user.id') && asks('group.id')) throw badRequest('Specify a user or group, not both');
  if (isSet(query.effective) && asks('group.id')) {
    throw badRequest('Combining effective and group filter will always result in an empty list.');
  }
}

/** A role is looked for after what it follows from is known. */
const filterOf = (query: Query): AssignmentFilter => ({
  ...(query['user.id'] === undefined ? {} : { userId: query['user.id'] }),
  ...(query['group.id'] === undefined ? {} : { groupId: query['group.id'] }),
  ...(query['role.id'] === undefined || isSet(query.effective) ? {} : { roleId: query['role.id'] }),
  ...(query['scope.domain.id'] === undefined ? {} : { domainId: query['scope.domain.id'] }),
  ...(query['scope.system'] === undefined ? {} : { system: true }),
});

/** The project that is asked for, or it and all below it. @throws ApiError 400, 404 */
async function placesAsked(directory: Directory, id: string | undefined, tree: boolean): Promise<AssignmentFilter> {
  if (tree && id === undefined)
    throw badRequest('scope.project.id must be specified if include_subtree is also specified');
  if (id === undefined) return {};
  if (!tree) return { projectIds: [id] };
  const project = await findProject(directory, id);
  if (!project) throw errorOf(projectNotFound(id));
  return { projectIds: await idsOfTree(directory, project.project) };
}

function render(settings: Settings, { holder, role, scope, impliedBy }: Assignment, names: boolean): object {
  const shown = ({ id, name, domain }: Named): object => (names ? { id, name, domain } : { id });
  const place = placeOf(scope);
  const prior = impliedBy === null ? {} : { prior_role: `${settings.publicUrl}${V3}/roles/${impliedBy}` };
  const { prefix, whose, membership } = holderShown(settings, holder, shown);
  return {
    role: names ? role : { id: role.id },
    ...whose,
    scope:
      scope.kind === 'project'
        ? { project: shown(scope.project) }
        : scope.kind === 'domain'
          ? { domain: names ? scope.domain : { id: scope.domain.id } }
          : { system: { all: true } },
    links: {
      assignment: `${settings.publicUrl}${V3}${place}${prefix}/roles/${impliedBy ?? role.id}`,
      ...membership,
      ...prior,
    },
  };
}

/** Whose it is, where it was given to them, and by which membership it is a user's. */
function holderShown(
  { publicUrl }: Settings,
  holder: Assignment['holder'],
  shown: (named: Named) => object,
): { prefix: string; whose: object; membership: object } {
  switch (holder.kind) {
    case 'group':
      return { prefix: `/groups/${holder.group.id}`, whose: { group: shown(holder.group) }, membership: {} };
    case 'user': {
      const { user, through } = holder;
      if (through === null) return { prefix: `/users/${user.id}`, whose: { user: shown(user) }, membership: {} };
      const membership = { membership: `${publicUrl}${V3}/groups/${through}/users/${user.id}` };
      return { prefix: `/groups/${through}`, whose: { user: shown(user) }, membership };
    }
  }
}

function placeOf(scope: Assignment['scope']): string {
  switch (scope.kind) {
    case 'project':
      return `/projects/${scope.project.id}`;
    case 'domain':
      return `/domains/${scope.domain.id}`;
    case 'system':
      return '/system';
  }
}
