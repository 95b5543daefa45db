// The list of role assignments, with the roles that follow from others and with names where they are asked for.
import type { Static } from 'typebox';
import {
  type Assignment,
  type AssignmentFilter,
  listAssignments,
  listRoles,
  type Named,
  withImpliedAssignments,
} from '../../control/identity/roles.ts';
import type { Identity } from '../../control/identity.ts';
import type { Settings } from '../../control/platform.ts';
import { RANKED_ROLES, withImplied } from '../../model/policy/roles.ts';
import { requireRule } from '../http/auth.ts';
import { type Route, route } from '../http/route.ts';
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
      requireRule(p, service, actor, 'identity:list_role_assignments', words);
      const found = await listAssignments(directory, { ...filterOf(query), ...within });
      const all = isSet(query.effective) ? await withImpliedAssignments(directory, found) : found;
      const roleId = query['role.id'];
      const shown = all
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

/** A role is looked for after what it follows from is known. */
const filterOf = (query: Query): AssignmentFilter => ({
  ...(query['user.id'] === undefined ? {} : { userId: query['user.id'] }),
  ...(query['role.id'] === undefined || isSet(query.effective) ? {} : { roleId: query['role.id'] }),
  ...(query['scope.project.id'] === undefined ? {} : { projectId: query['scope.project.id'] }),
  ...(query['scope.domain.id'] === undefined ? {} : { domainId: query['scope.domain.id'] }),
  ...(query['scope.system'] === undefined ? {} : { system: true }),
});

function render(settings: Settings, { user, role, scope, impliedBy }: Assignment, names: boolean): object {
  const shown = ({ id, name, domain }: Named): object => (names ? { id, name, domain } : { id });
  const place = placeOf(scope);
  const prior = impliedBy === null ? {} : { prior_role: `${settings.publicUrl}${V3}/roles/${impliedBy}` };
  return {
    role: names ? role : { id: role.id },
    user: shown(user),
    scope:
      scope.kind === 'project'
        ? { project: shown(scope.project) }
        : scope.kind === 'domain'
          ? { domain: names ? scope.domain : { id: scope.domain.id } }
          : { system: { all: true } },
    links: {
      assignment: `${settings.publicUrl}${V3}${place}/users/${user.id}/roles/${impliedBy ?? role.id}`,
      ...prior,
    },
  };
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
