// Groups of users. What a group may do, each of its members may do, from the moment it is one: tokens look it up
// (directory.ts). A group that is deleted takes its memberships and its role assignments along; its users stay.
import type { Kysely } from 'kysely';
import { conflict, notFound, type Refusal, refused } from '../../model/refusal.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { type Changed, type Directory, type Group, groupOf, MAX_LISTED, newIdentityId, ok } from './directory.ts';
import { isNamed, type NameFilter } from './names.ts';
import { userNotFound } from './users.ts';

export const groupNotFound = (id: string): Refusal => notFound(`Could not find group: ${id.slice(0, 255)}.`);

export interface GroupFilter extends NameFilter {
  readonly domainId?: string;
  /** Which this user is in. */
  readonly userId?: string;
}

/** By name; one more than MAX_LISTED at most. */
export async function listGroups({ db }: Directory, { domainId, userId, ...names }: GroupFilter): Promise<Group[]> {
  let query = db.selectFrom('user_groups').selectAll().where(isNamed(names));
  if (domainId !== undefined) query = query.where('domain_id', '=', domainId);
  if (userId !== undefined) {
    query = query.where((eb) =>
      eb('id', 'in', eb.selectFrom('group_members').select('group_id').where('user_id', '=', userId)),
    );
  }
  const rows = await query
    .orderBy('name')
    .orderBy('id')
    .limit(MAX_LISTED + 1)
    .execute();
  return rows.map(groupOf);
}

const nameTaken = (name: string, domainId: string): Refusal =>
  conflict(
    `Conflict occurred attempting to store group - Duplicate entry found with name ${name} at domain ID ${domainId}.`,
  );

export const createGroup = (
  { change, clock }: Directory,
  request: { readonly name: string; readonly domainId: string; readonly description: string | null },
): Promise<Changed<Group>> =>
  change(async (trx) => {
    const { name, domainId, description } = request;
    const domain = await trx.selectFrom('domains').select('id').where('id', '=', domainId).executeTakeFirst();
    if (!domain) return refused(notFound(`Could not find domain: ${domainId}.`));
    const row = await trx
      .insertInto('user_groups')
      .values({ id: newIdentityId(), domain_id: domainId, name, description, created_at: clock.now() })
      .onConflict((on) => on.columns(['domain_id', 'name']).doNothing())
      .returningAll()
      .executeTakeFirst();
    return row ? ok(groupOf(row)) : refused(nameTaken(name, domainId));
  });

export const updateGroup = (
  { change }: Directory,
  id: string,
  request: { readonly name?: string; readonly description?: string | null },
): Promise<Changed<Group>> =>
  change(async (trx) => {
    const before = await trx.selectFrom('user_groups').selectAll().where('id', '=', id).executeTakeFirst();
    if (!before) return refused(groupNotFound(id));
    const { name = before.name, description = before.description } = request;
    if (name !== before.name) {
      const other = await trx
        .selectFrom('user_groups')
        .select('id')
        .where('domain_id', '=', before.domain_id)
        .where('name', '=', name)
        .executeTakeFirst();
      if (other) return refused(nameTaken(name, before.domain_id));
    }
    const row = await trx
      .updateTable('user_groups')
      .set({ name, description })
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirstOrThrow();
    return ok(groupOf(row));
  });

export const deleteGroup = ({ change }: Directory, id: string): Promise<Changed<null>> =>
  change(async (trx) => {
    const { numDeletedRows } = await trx.deleteFrom('user_groups').where('id', '=', id).executeTakeFirst();
    return numDeletedRows > 0n ? ok(null) : refused(groupNotFound(id));
  });

export interface Membership {
  readonly groupId: string;
  readonly userId: string;
}

const noMember = ({ groupId, userId }: Membership): Refusal =>
  notFound(`User '${userId}' not found in group '${groupId}'.`);

/** Which of both is not there; null: both are. */
async function missing(db: Kysely<GlobalTables>, { groupId, userId }: Membership): Promise<Refusal | null> {
  const group = await db.selectFrom('user_groups').select('id').where('id', '=', groupId).executeTakeFirst();
  if (!group) return groupNotFound(groupId);
  const user = await db.selectFrom('users').select('id').where('id', '=', userId).executeTakeFirst();
  return user ? null : userNotFound(userId);
}

/** Adding who is a member already changes nothing. */
export const addMember = ({ change }: Directory, membership: Membership): Promise<Changed<null>> =>
  change(async (trx) => {
    const gap = await missing(trx, membership);
    if (gap) return refused(gap);
    await trx
      .insertInto('group_members')
      .values({ group_id: membership.groupId, user_id: membership.userId })
      .onConflict((on) => on.doNothing())
      .execute();
    return ok(null);
  });

export const removeMember = ({ change }: Directory, membership: Membership): Promise<Changed<null>> =>
  change(async (trx) => {
    const { numDeletedRows } = await trx
      .deleteFrom('group_members')
      .where('group_id', '=', membership.groupId)
      .where('user_id', '=', membership.userId)
      .executeTakeFirst();
    return numDeletedRows > 0n ? ok(null) : refused((await missing(trx, membership)) ?? noMember(membership));
  });

/** Null: it is one. */
export async function checkMember({ db }: Directory, membership: Membership): Promise<Refusal | null> {
  const row = await db
    .selectFrom('group_members')
    .select('user_id')
    .where('group_id', '=', membership.groupId)
    .where('user_id', '=', membership.userId)
    .executeTakeFirst();
  return row ? null : ((await missing(db, membership)) ?? noMember(membership));
}
