// Roles. Who has which of them is among the grants (grants.ts).
import { findRole } from '../../control/identity/directory.ts';
import { createRole, deleteRole, listRoles, roleNotFound, updateRole } from '../../control/identity/roles.ts';
import type { Identity } from '../../control/identity.ts';
import { errorOf } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { listed, namesAsked, outcome, renderRole, V3 } from './render.ts';
import * as schema from './schemas.ts';

const service = 'identity' as const;
const ROLES = `${V3}/roles`;

export const roleRoutes = ({ directory }: Identity): readonly Route[] => [
  route({
    ...{ method: 'GET', url: ROLES, service, summary: 'List roles' },
    policy: 'identity:list_roles',
    query: schema.query(schema.ByNameInDomain),
    answers: { 200: schema.listOf('roles', schema.Role) },
    handle: async ({ p, query }) => {
      // No role is a domain's own.
      const roles = query.domain_id === undefined ? await listRoles(directory, namesAsked(query)) : [];
      const shown = roles.map((each) => renderRole(p.settings, each));
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
