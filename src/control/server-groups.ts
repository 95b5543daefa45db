// Server groups and their members, in the global database: a group spans cells, and a member's row stays where it is
// when the server moves.
//
// A server is in one group at most, from its creation on, and leaves it when it is deleted. Whoever joins a group or
// claims room for a member asks for the group's name first, so that two of them never go by the same sight of it.
import type { Kysely, Selectable, Transaction } from 'kysely';
import { newId } from '../lib/ids.ts';
import type { Refusal } from '../model/refusal.ts';
import {
  checkGroupQuota,
  checkMemberQuota,
  type GroupPolicy,
  type GroupView,
  groupHintNotFound,
  membersByHost,
} from '../model/server-groups.ts';
import type { Actor } from '../model/types.ts';
import { exclusively } from '../store/dialect.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import type { Platform } from './platform.ts';
import { limitsOf } from './quota.ts';

type Db = Kysely<GlobalTables>;

export interface ServerGroup {
  readonly id: string;
  readonly name: string;
  readonly projectId: string;
  readonly userId: string;
  readonly policy: GroupPolicy;
  /** Null: not said; it is 1 then. */
  readonly maxServerPerHost: number | null;
  /** Ids of its servers, the oldest member first. */
  readonly members: readonly string[];
}

const groupOf = (row: Selectable<GlobalTables['server_groups']>, members: readonly string[]): ServerGroup => ({
  id: row.id,
  name: row.name,
  projectId: row.project_id,
  userId: row.user_id,
  policy: row.policy as GroupPolicy,
  maxServerPerHost: row.max_server_per_host,
  members,
});

const alone = (trx: Db, groupId: string): Promise<void> => exclusively(trx, `server group ${groupId}`);

export type CreatedGroup =
  | { readonly kind: 'created'; readonly group: ServerGroup }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

export async function createServerGroup(
  p: Platform,
  actor: Actor,
  wish: { readonly name: string; readonly policy: GroupPolicy; readonly maxServerPerHost: number | null },
): Promise<CreatedGroup> {
  return p.stores.global.transaction().execute(async (trx): Promise<CreatedGroup> => {
    await exclusively(trx, `server groups of ${actor.projectId}`);
    const limits = await limitsOf(p, actor.projectId, trx);
    const refusal = checkGroupQuota(limits, await countServerGroups(trx, actor.projectId));
    if (refusal) return { kind: 'refused', refusal };
    const row = {
      ...{ id: newId(), project_id: actor.projectId, user_id: actor.userId, name: wish.name, policy: wish.policy },
      ...{ max_server_per_host: wish.maxServerPerHost, created_at: p.clock.now() },
    };
    await trx.insertInto('server_groups').values(row).execute();
    return { kind: 'created', group: groupOf(row, []) };
  });
}

export async function countServerGroups(db: Db, projectId: string): Promise<number> {
  const row = await db
    .selectFrom('server_groups')
    .select((eb) => eb.fn.countAll<number>().as('n'))
    .where('project_id', '=', projectId)
    .executeTakeFirstOrThrow();
  return Number(row.n);
}

/** A page of groups, the oldest first. `projectId` null: of all projects. Two statements. */
export async function listServerGroups(
  p: Platform,
  page: { readonly projectId: string | null; readonly offset: number; readonly limit: number },
): Promise<ServerGroup[]> {
  let query = p.stores.global
    .selectFrom('server_groups')
    .selectAll()
    .orderBy('created_at')
    .orderBy('id')
    .offset(page.offset)
    .limit(page.limit);
  if (page.projectId !== null) query = query.where('project_id', '=', page.projectId);
  const rows = await query.execute();
  const members = await membersOf(
    p.stores.global,
    rows.map((row) => row.id),
  );
  return rows.map((row) => groupOf(row, members.get(row.id) ?? []));
}

export async function findServerGroup(p: Platform, id: string): Promise<ServerGroup | null> {
  const row = await p.stores.global.selectFrom('server_groups').selectAll().where('id', '=', id).executeTakeFirst();
  return row ? groupOf(row, (await membersOf(p.stores.global, [id])).get(id) ?? []) : null;
}

async function membersOf(db: Db, groupIds: readonly string[]): Promise<Map<string, string[]>> {
  const members = new Map<string, string[]>();
  if (groupIds.length === 0) return members;
  const rows = await db
    .selectFrom('server_group_members')
    .selectAll()
    .where('group_id', 'in', groupIds)
    .orderBy('joined_at')
    .orderBy('server_id')
    .execute();
  for (const { group_id, server_id } of rows) members.set(group_id, [...(members.get(group_id) ?? []), server_id]);
  return members;
}

/** Its servers stay, in no group. False: there is none. */
export async function deleteServerGroup(p: Platform, id: string): Promise<boolean> {
  return p.stores.global.transaction().execute(async (trx) => {
    await alone(trx, id);
    await trx.deleteFrom('server_group_members').where('group_id', '=', id).execute();
    const { numDeletedRows } = await trx.deleteFrom('server_groups').where('id', '=', id).executeTakeFirst();
    return numDeletedRows === 1n;
  });
}

/** The group that a server is in; null: none. */
export async function groupIdOf(db: Db, serverId: string): Promise<string | null> {
  const row = await db
    .selectFrom('server_group_members')
    .select('group_id')
    .where('server_id', '=', serverId)
    .executeTakeFirst();
  return row?.group_id ?? null;
}

/**
 * In the transaction that makes the server: it is in the group, or why it may not be. The limit counts the user's own
 * servers in the group, as in Nova.
 */
export async function joinServerGroup(
  p: Platform,
  trx: Transaction<GlobalTables>,
  actor: Actor,
  groupId: string,
  serverId: string,
): Promise<Refusal | null> {
  await alone(trx, groupId);
  const group = await trx
    .selectFrom('server_groups')
    .select('id')
    .where('id', '=', groupId)
    .where('project_id', '=', actor.projectId)
    .executeTakeFirst();
  if (!group) return groupHintNotFound(groupId);
  const limits = await limitsOf(p, actor.projectId, trx);
  const own = await trx
    .selectFrom('server_group_members')
    .innerJoin('server_mappings', 'server_mappings.server_id', 'server_group_members.server_id')
    .select((eb) => eb.fn.countAll<number>().as('n'))
    .where('server_group_members.group_id', '=', groupId)
    .where('server_mappings.user_id', '=', actor.userId)
    .executeTakeFirstOrThrow();
  const refusal = checkMemberQuota(limits, Number(own.n));
  if (refusal) return refusal;
  await trx
    .insertInto('server_group_members')
    .values({ server_id: serverId, group_id: groupId, joined_at: p.clock.now() })
    .execute();
  return null;
}

/** Harmless when it is in none. */
export async function leaveServerGroup(db: Db, serverId: string): Promise<void> {
  await db.deleteFrom('server_group_members').where('server_id', '=', serverId).execute();
}

const GROUP = fixed<GlobalTables, { readonly groupId: string }, Selectable<GlobalTables['server_groups']>>(
  (db, { groupId }) => db.selectFrom('server_groups').selectAll().where('id', '=', groupId),
);

interface Holding {
  readonly serverId: string;
  readonly consumer: string;
  readonly hostId: string;
}

/** Where the members of the group but this one hold something. */
const HOLDINGS = fixed<GlobalTables, { readonly groupId: string; readonly serverId: string }, Holding>(
  (db, { groupId, serverId }) =>
    db
      .selectFrom('server_group_members')
      .innerJoin('consumers', 'consumers.server_id', 'server_group_members.server_id')
      .innerJoin('allocations', 'allocations.consumer_id', 'consumers.id')
      .select(['consumers.server_id as serverId', 'consumers.type as consumer', 'allocations.provider_id as hostId'])
      .distinct()
      .where('server_group_members.group_id', '=', groupId)
      .where('server_group_members.server_id', '<>', serverId),
);

/** The group as the scheduler looks at it for this server; null when it is gone. Two statements. */
export async function groupView(db: Db, groupId: string, serverId: string): Promise<GroupView | null> {
  const [group] = (await GROUP(db, { groupId })).rows;
  if (!group) return null;
  const policy = group.policy as GroupPolicy;
  const holdings = (await HOLDINGS(db, { groupId, serverId })).rows;
  const typed = holdings.map((each) => ({ ...each, consumer: each.consumer as 'server' | 'migration' }));
  return { policy, maxServerPerHost: group.max_server_per_host ?? 1, members: membersByHost(policy, typed) };
}

/** The same, and nobody joins the group or claims room for another of its members before the transaction has ended. */
export async function groupViewAlone(
  trx: Transaction<GlobalTables>,
  groupId: string,
  serverId: string,
): Promise<GroupView | null> {
  await alone(trx, groupId);
  return groupView(trx, groupId, serverId);
}
