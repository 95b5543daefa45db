// Roles, and who has which of them where.
//
// An assignment gives a user, or all users of a group, a role in a project, a domain or the whole system. Nothing is
// inherited: a role in a domain counts for tokens of that domain, not in its projects. What a role implies is not
// assigned but worked out (model/policy/roles.ts).
import { conflict, forbidden, notFound, type Refusal, refused } from '../../model/refusal.ts';
import { type Changed, type Directory, MAX_LISTED, newIdentityId, ok, type Role, roleOf } from './directory.ts';
import { isNamed, type NameFilter } from './names.ts';
import { type Scope, scopeIdOf } from './tokens.ts';

export type GrantScope = Exclude<Scope, { readonly kind: 'unscoped' }>;

export const roleNotFound = (id: string): Refusal => notFound(`Could not find role: ${id.slice(0, 255)}.`);

/** By name. */
export async function listRoles({ db }: Directory, names: NameFilter = {}): Promise<Role[]> {
  const rows = await db
    .selectFrom('roles')
    .selectAll()
    .where(isNamed(names))
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

/** Who can be given a role. */
export interface Holder {
  readonly kind: 'user' | 'group';
  readonly id: string;
}

export interface Grant {
  readonly holder: Holder;
  readonly scope: GrantScope;
  readonly roleId: string;
}

const columnOf = ({ kind }: Holder): 'user_id' | 'group_id' => (kind === 'user' ? 'user_id' : 'group_id');

const noSuchGrant = ({ holder, scope, roleId }: Grant): Refusal =>
  notFound(
    `Could not find role assignment with role: ${roleId}, user or group: ${holder.id}, project, domain, or system: ` +
      `${scope.kind === 'system' ? 'system' : scope.id}.`,
  );

/** Giving what is there already changes nothing. */
export const grantRole = ({ change }: Directory, { holder, scope, roleId }: Grant): Promise<Changed<null>> =>
  change(async (trx) => {
    if (scope.kind !== 'system') {
      const table = scope.kind === 'project' ? 'projects' : 'domains';
      const there = await trx.selectFrom(table).select('id').where('id', '=', scope.id).executeTakeFirst();
      if (!there) return refused(notFound(`Could not find ${scope.kind}: ${scope.id}.`));
    }
    const holders = holder.kind === 'user' ? 'users' : 'user_groups';
    const there = await trx.selectFrom(holders).select('id').where('id', '=', holder.id).executeTakeFirst();
    const role = await trx.selectFrom('roles').select('id').where('id', '=', roleId).executeTakeFirst();
    if (!there) return refused(notFound(`Could not find ${holder.kind}: ${holder.id}.`));
    if (!role) return refused(roleNotFound(roleId));
    await trx
      .insertInto('role_assignments')
      .values({
        ...(holder.kind === 'user' ? { user_id: holder.id } : { group_id: holder.id }),
        ...{ scope: scope.kind, scope_id: scopeIdOf(scope), role_id: roleId },
      })
      .onConflict((on) => on.doNothing())
      .execute();
    return ok(null);
  });

export const revokeRole = ({ change }: Directory, grant: Grant): Promise<Changed<null>> =>
  change(async (trx) => {
    const { numDeletedRows } = await trx
      .deleteFrom('role_assignments')
      .where(columnOf(grant.holder), '=', grant.holder.id)
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
    .where(columnOf(grant.holder), '=', grant.holder.id)
    .where('scope', '=', grant.scope.kind)
    .where('scope_id', '=', scopeIdOf(grant.scope))
    .where('role_id', '=', grant.roleId)
    .executeTakeFirst();
  return row ? null : noSuchGrant(grant);
}
