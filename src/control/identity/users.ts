// Users. Whatever ends a user's tokens (a new password, being disabled) raises the token epoch in the same write; a user
// that is deleted takes role assignments, memberships of groups and application credentials along.
import type { Updateable } from 'kysely';
import { conflict, forbidden, notFound, type Refusal, refused } from '../../model/refusal.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { type Changed, type Directory, MAX_LISTED, newIdentityId, ok, type User, userOf } from './directory.ts';
import { isNamed, type NameFilter } from './names.ts';
import { hashPassword } from './passwords.ts';

export const userNotFound = (id: string): Refusal => notFound(`Could not find user: ${id.slice(0, 255)}.`);

export interface UserFilter extends NameFilter {
  readonly domainId?: string;
  readonly enabled?: boolean;
  /** Which has them as its members. */
  readonly groupId?: string;
}

/** By name; one more than MAX_LISTED at most. */
export async function listUsers(
  { db }: Directory,
  { domainId, enabled, groupId, ...names }: UserFilter,
): Promise<User[]> {
  let query = db.selectFrom('users').selectAll().where(isNamed(names));
  if (domainId !== undefined) query = query.where('domain_id', '=', domainId);
  if (enabled !== undefined) query = query.where('enabled', '=', enabled ? 1 : 0);
  if (groupId !== undefined) {
    query = query.where((eb) =>
      eb('id', 'in', eb.selectFrom('group_members').select('user_id').where('group_id', '=', groupId)),
    );
  }
  const rows = await query
    .orderBy('name')
    .orderBy('id')
    .limit(MAX_LISTED + 1)
    .execute();
  return rows.map(userOf);
}

export interface UserRequest {
  readonly name: string;
  readonly domainId: string;
  readonly description: string | null;
  readonly email: string | null;
  readonly defaultProjectId: string | null;
  /** As User has it; absent: null. */
  readonly projectId?: string | null;
  readonly enabled: boolean;
  readonly options: Readonly<Record<string, boolean>>;
  /** Null: none; the user cannot log in with one. */
  readonly password: string | null;
}

const nameTaken = (name: string, domainId: string): Refusal =>
  conflict(
    `Conflict occurred attempting to store user - Duplicate entry found with name ${name} at domain ID ${domainId}.`,
  );

export async function createUser(directory: Directory, request: UserRequest): Promise<Changed<User>> {
  const { name, domainId, password } = request;
  const hash = password === null ? null : await hashPassword(password);
  const id = newIdentityId();
  const now = directory.clock.now();
  const result = await directory.change(async (trx) => {
    const domain = await trx.selectFrom('domains').select('id').where('id', '=', domainId).executeTakeFirst();
    if (!domain) return refused(notFound(`Could not find domain: ${domainId}.`));
    const row = await trx
      .insertInto('users')
      .values({
        ...{ id, domain_id: domainId, name, description: request.description, email: request.email },
        ...{ default_project_id: request.defaultProjectId, project_id: request.projectId ?? null },
        ...{ enabled: request.enabled ? 1 : 0 },
        ...{ password_hash: hash, password_at: hash === null ? null : now, seeded_hash: null },
        ...{ options_json: JSON.stringify(request.options), token_epoch: 0, created_at: now },
      })
      .onConflict((on) => on.columns(['domain_id', 'name']).doNothing())
      .returningAll()
      .executeTakeFirst();
    return row ? ok(userOf(row)) : refused(nameTaken(name, domainId));
  });
  if (result.kind === 'ok' && hash !== null && password !== null) {
    directory.passwords.remember(`user ${id}`, hash, password);
  }
  return result;
}

/** Absent: left as it is; null: none from now on. */
export interface UserChange {
  readonly name?: string;
  readonly description?: string | null;
  readonly email?: string | null;
  readonly defaultProjectId?: string | null;
  readonly projectId?: string | null;
  readonly enabled?: boolean;
  readonly options?: Readonly<Record<string, boolean>>;
  readonly password?: string | null;
}

export async function updateUser(directory: Directory, id: string, request: UserChange): Promise<Changed<User>> {
  const { name, password, enabled, options } = request;
  const hash = password === undefined || password === null ? null : await hashPassword(password);
  const now = directory.clock.now();
  return directory.change(async (trx) => {
    const before = await trx.selectFrom('users').selectAll().where('id', '=', id).executeTakeFirst();
    if (!before) return refused(userNotFound(id));
    if (name !== undefined && name !== before.name) {
      const other = await trx
        .selectFrom('users')
        .select('id')
        .where('domain_id', '=', before.domain_id)
        .where('name', '=', name)
        .executeTakeFirst();
      if (other) return refused(nameTaken(name, before.domain_id));
    }
    const endsTokens = password !== undefined || enabled === false;
    const values: Updateable<GlobalTables['users']> = {
      name: name ?? before.name,
      description: request.description === undefined ? before.description : request.description,
      email: request.email === undefined ? before.email : request.email,
      default_project_id: request.defaultProjectId === undefined ? before.default_project_id : request.defaultProjectId,
      project_id: request.projectId === undefined ? before.project_id : request.projectId,
      enabled: (enabled ?? before.enabled === 1) ? 1 : 0,
      options_json: JSON.stringify({ ...userOf(before).options, ...options }),
      ...(password === undefined ? {} : { password_hash: hash, password_at: hash === null ? null : now }),
      token_epoch: before.token_epoch + (endsTokens ? 1 : 0),
    };
    const row = await trx
      .updateTable('users')
      .set(values)
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirstOrThrow();
    return ok(userOf(row));
  });
}

/** A user's own change, after the old password was checked. */
export async function changePassword(directory: Directory, user: User, password: string): Promise<Changed<User>> {
  if (user.options['lock_password'] === true) {
    return refused(forbidden("The password is locked: the user's options do not allow it to be changed."));
  }
  return updateUser(directory, user.id, { password });
}

export const deleteUser = ({ change }: Directory, id: string): Promise<Changed<null>> =>
  change(async (trx) => {
    const { numDeletedRows } = await trx.deleteFrom('users').where('id', '=', id).executeTakeFirst();
    return numDeletedRows > 0n ? ok(null) : refused(userNotFound(id));
  });
