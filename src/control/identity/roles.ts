// Roles, and who has which of them where.
//
// An assignment gives a user a role in a project, a domain or the whole system. Nothing is inherited: a role in a domain
// counts for tokens of that domain, not in its projects. What a role implies is not assigned but worked out
// (model/policy/roles.ts).

import { RANKED_ROLES, withImplied } from '../../model/policy/roles.ts';
import { conflict, forbidden, notFound, type Refusal } from '../../model/refusal.ts';
import {
  type Changed,
  type Directory,
  MAX_LISTED,
  newIdentityId,
  ok,
  type Role,
  refused,
  roleOf,
} from './directory.ts';
import { type Scope, scopeIdOf } from './tokens.ts';

export type GrantScope = Exclude<Scope, { readonly kind: 'unscoped' }>;

export const roleNotFound = (id: string): Refusal => notFound(`Could not find role: ${id.slice(0, 255)}.`);

/** By name. */
export async function listRoles({ db }: Directory, name?: string): Promise<Role[]> {
  const all = db.selectFrom('roles').selectAll();
  const rows = await (name === undefined ? all : all.where('name', '=', name))
    .orderBy('name')
    .limit(MAX_LISTED + 1)
    .execute();
  return rows.map(roleOf);
}

const nameTaken = (name: string): Refusal =>
  conflict(`Conflict occurred attempting to store role - Duplicate entry found with name ${name}.`);

export const createRole = (
  { change, clock }: Directory,
  { name, description }: { readonly name: string; readonly description: string | null },
): Promise<Changed<Role>> =>
  change(async (trx) => {
    const row = await trx
      .insertInto('roles')
      .values({ id: newIdentityId(), name, description, created_at: clock.now() })
      .onConflict((on) => on.column('name').doNothing())
      .returningAll()
      .executeTakeFirst();
    return row ? ok(roleOf(row)) : refused(nameTaken(name));
  });

export const updateRole = (
  { change }: Directory,
  id: string,
  request: { readonly name?: string; readonly description?: string | null },
): Promise<Changed<Role>> =>
  change(async (trx) => {
    const before = await trx.selectFrom('roles').selectAll().where('id', '=', id).executeTakeFirst();
    if (!before) return refused(roleNotFound(id));
    const { name = before.name, description = before.description } = request;
    if (name !== before.name) {
      const other = await trx.selectFrom('roles').select('id').where('name', '=', name).executeTakeFirst();
      if (other) return refused(nameTaken(name));
    }
    const row = await trx
      .updateTable('roles')
      .set({ name, description })
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirstOrThrow();
    return ok(roleOf(row));
  });

/** With its assignments. The last way in is kept: the role admin stays. */
export const deleteRole = ({ change }: Directory, id: string): Promise<Changed<null>> =>
  change(async (trx) => {
    const row = await trx.selectFrom('roles').select('name').where('id', '=', id).executeTakeFirst();
    if (!row) return refused(roleNotFound(id));
    if (row.name === 'admin') return refused(forbidden('The role admin cannot be deleted.'));
    await trx.deleteFrom('roles').where('id', '=', id).execute();
    return ok(null);
  });

export interface Grant {
  readonly userId: string;
  readonly scope: GrantScope;
  readonly roleId: string;
}

const noSuchGrant = ({ userId, scope, roleId }: Grant): Refusal =>
  notFound(
    `Could not find role assignment with role: ${roleId}, user or group: ${userId}, project, domain, or system: ` +
      `${scope.kind === 'system' ? 'system' : scope.id}.`,
  );

/** Giving what is there already changes nothing. */
export const grantRole = ({ change }: Directory, { userId, scope, roleId }: Grant): Promise<Changed<null>> =>
  change(async (trx) => {
    if (scope.kind !== 'system') {
      const table = scope.kind === 'project' ? 'projects' : 'domains';
      const there = await trx.selectFrom(table).select('id').where('id', '=', scope.id).executeTakeFirst();
      if (!there) return refused(notFound(`Could not find ${scope.kind}: ${scope.id}.`));
    }
    const user = await trx.selectFrom('users').select('id').where('id', '=', userId).executeTakeFirst();
    const role = await trx.selectFrom('roles').select('id').where('id', '=', roleId).executeTakeFirst();
    if (!user) return refused(notFound(`Could not find user: ${userId}.`));
    if (!role) return refused(roleNotFound(roleId));
    await trx
      .insertInto('role_assignments')
      .values({ user_id: userId, scope: scope.kind, scope_id: scopeIdOf(scope), role_id: roleId })
      .onConflict((on) => on.doNothing())
      .execute();
    return ok(null);
  });

export const revokeRole = ({ change }: Directory, grant: Grant): Promise<Changed<null>> =>
  change(async (trx) => {
    const { numDeletedRows } = await trx
      .deleteFrom('role_assignments')
      .where('user_id', '=', grant.userId)
      .where('scope', '=', grant.scope.kind)
      .where('scope_id', '=', scopeIdOf(grant.scope))
      .where('role_id', '=', grant.roleId)
      .executeTakeFirst();
    return numDeletedRows > 0n ? ok(null) : refused(noSuchGrant(grant));
  });

/** Null: it is there. */
export async function checkGrant({ db }: Directory, grant: Grant): Promise<Refusal | null> {
  const row = await db
    .selectFrom('role_assignments')
    .select('role_id')
    .where('user_id', '=', grant.userId)
    .where('scope', '=', grant.scope.kind)
    .where('scope_id', '=', scopeIdOf(grant.scope))
    .where('role_id', '=', grant.roleId)
    .executeTakeFirst();
  return row ? null : noSuchGrant(grant);
}

export interface AssignmentFilter {
  readonly userId?: string;
  readonly roleId?: string;
  readonly projectId?: string;
  readonly domainId?: string;
  readonly system?: boolean;
  /** Only projects of this domain, and the domain itself. */
  readonly within?: string;
}

/** An assignment with the names of what it is about; `impliedBy`: worked out from that role. */
export interface Assignment {
  readonly user: Named;
  readonly role: { readonly id: string; readonly name: string };
  readonly scope:
    | { readonly kind: 'project'; readonly project: Named }
    | { readonly kind: 'domain'; readonly domain: { readonly id: string; readonly name: string } }
    | { readonly kind: 'system' };
  readonly impliedBy: string | null;
}
export interface Named {
  readonly id: string;
  readonly name: string;
  readonly domain: { readonly id: string; readonly name: string };
}

/** By user, scope and role; one more than MAX_LISTED at most. */
export async function listAssignments({ db }: Directory, filter: AssignmentFilter): Promise<Assignment[]> {
  let query = db
    .selectFrom('role_assignments as a')
    .innerJoin('users as u', 'u.id', 'a.user_id')
    .innerJoin('domains as ud', 'ud.id', 'u.domain_id')
    .innerJoin('roles as r', 'r.id', 'a.role_id')
    .leftJoin('projects as p', (on) => on.onRef('p.id', '=', 'a.scope_id').on('a.scope', '=', 'project'))
    .leftJoin('domains as d', (on) =>
      on.on((eb) =>
        eb.or([
          eb('d.id', '=', eb.ref('p.domain_id')),
          eb.and([eb('a.scope', '=', 'domain'), eb('d.id', '=', eb.ref('a.scope_id'))]),
        ]),
      ),
    )
    .select(['a.scope', 'a.scope_id', 'u.id as user_id', 'u.name as user_name', 'ud.id as user_domain_id'])
    .select(['ud.name as user_domain_name', 'r.id as role_id', 'r.name as role_name'])
    .select(['p.name as project_name', 'd.id as domain_id', 'd.name as domain_name']);
  if (filter.userId !== undefined) query = query.where('a.user_id', '=', filter.userId);
  if (filter.roleId !== undefined) query = query.where('a.role_id', '=', filter.roleId);
  for (const [kind, id] of [
    ['project', filter.projectId],
    ['domain', filter.domainId],
    ['system', filter.system === true ? '' : undefined],
  ] as const) {
    if (id !== undefined) query = query.where('a.scope', '=', kind).where('a.scope_id', '=', id);
  }
  if (filter.within !== undefined) query = query.where('d.id', '=', filter.within);
  const rows = await query
    .orderBy('u.name')
    .orderBy('a.scope')
    .orderBy('a.scope_id')
    .orderBy('r.name')
    .limit(MAX_LISTED + 1)
    .execute();
  return rows.map((row) => {
    const domain = { id: row.domain_id ?? '', name: row.domain_name ?? '' };
    return {
      user: {
        ...{ id: row.user_id, name: row.user_name },
        domain: { id: row.user_domain_id, name: row.user_domain_name },
      },
      role: { id: row.role_id, name: row.role_name },
      scope:
        row.scope === 'project'
          ? { kind: 'project', project: { id: row.scope_id, name: row.project_name ?? '', domain } }
          : row.scope === 'domain'
            ? { kind: 'domain', domain }
            : { kind: 'system' },
      impliedBy: null,
    };
  });
}

/** The assignments with those that follow from them, each role once per user and scope. */
export async function withImpliedAssignments(
  directory: Directory,
  assignments: readonly Assignment[],
): Promise<Assignment[]> {
  const ranked = (await listRoles(directory)).filter((role) => (RANKED_ROLES as readonly string[]).includes(role.name));
  const all = new Map<string, Assignment>();
  const keyOf = ({ user, scope, role }: Assignment): string => JSON.stringify([user.id, scope, role.id]);
  for (const each of assignments) all.set(keyOf(each), each);
  for (const each of assignments) {
    const names = withImplied([each.role.name]);
    for (const { id, name } of ranked) {
      const implied = { ...each, role: { id, name }, impliedBy: each.role.id };
      if (names.has(name) && !all.has(keyOf(implied))) all.set(keyOf(implied), implied);
    }
  }
  return [...all.values()];
}

/** Ids of the domains in which the user has a role. */
export async function domainsOf({ db }: Directory, userId: string): Promise<string[]> {
  const rows = await db
    .selectFrom('role_assignments')
    .select('scope_id')
    .distinct()
    .where('user_id', '=', userId)
    .where('scope', '=', 'domain')
    .orderBy('scope_id')
    .execute();
  return rows.map((row) => row.scope_id);
}
