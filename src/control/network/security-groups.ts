// Security groups: made, listed, changed, deleted; and the default one that every project has.
//
// Theory of operation. A project's default group is made when it is first looked for, by whoever comes first: a unique
// partial index lets one in, with its rules in the same transaction. It is a group like others but for its name, which
// stays, and that only administrators delete it (it is made again when it is next looked for). A group that a port has is
// in use and cannot be deleted; rules of other groups that name it go with it. No driver of hosts enforces groups: guests
// have user-mode networks, which let nothing in. The records travel with the ports, which are global.
import { sql } from 'kysely';
import { newId } from '../../lib/ids.ts';
import { firstRules } from '../../model/security-groups.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { atomically, exclusively, forKeyShare, forUpdate } from '../../store/dialect.ts';
import { type Collection, one, page, type Selection } from './listing.ts';
import { claimQuota, NETWORKS } from './quotas.ts';
import { absent, type NetworkResult, no, refusable, refuseWith, wrongText } from './results.ts';
import { insertRules, type RuleRecord, rulesOfGroups } from './security-group-rules.ts';
import { changed, type Db, flag, given, type Standard, standardOf } from './standard.ts';

export interface GroupRecord extends Standard {
  readonly name: string;
  readonly stateful: boolean;
  readonly rules: readonly RuleRecord[];
}
export interface GroupChange {
  readonly name?: string | undefined;
  readonly description?: string | undefined;
  readonly stateful?: boolean | undefined;
}

export const GROUP_COLUMNS: Collection = {
  table: 'security_groups',
  alias: 'g',
  columns: {
    ...{ id: 'id', name: 'name', description: 'description', project_id: 'project_id', tenant_id: 'project_id' },
    ...{ stateful: 'stateful', created_at: 'created_at', revision_number: 'revision' },
  },
};

/** The groups that the actor sees. */
export async function listGroups(db: Db, actor: Actor, selection: Selection): Promise<GroupRecord[]> {
  let query = db.selectFrom('security_groups as g').selectAll('g');
  if (!isAdmin(actor)) query = query.where('g.project_id', '=', actor.projectId);
  const rows = await page(query, GROUP_COLUMNS, selection);
  const rules = await rulesOfGroups(
    db,
    rows.map((row) => row.id),
  );
  return rows.map((row) => ({
    ...standardOf(row),
    name: row.name,
    stateful: row.stateful === 1,
    rules: rules.get(row.id) ?? [],
  }));
}

export const findGroup = async (db: Db, actor: Actor, id: string): Promise<GroupRecord | null> =>
  (await listGroups(db, actor, one(id)))[0] ?? null;

/** The id of the project's default group, which is made when it is not there. */
export async function defaultGroupOf(db: Db, projectId: string, now: number): Promise<string> {
  const there = () =>
    db
      .selectFrom('security_groups')
      .select('id')
      .where('project_id', '=', projectId)
      // Written out, for the index over default groups.
      .where('is_default', '=', sql.lit(1))
      .executeTakeFirst();
  const before = await there();
  if (before) return before.id;
  const id = newId();
  const group = { id, name: 'default', description: 'Default security group', projectId, isDefault: true, now };
  await atomically(db, (trx) => insertGroup(trx, group));
  // Another may have been faster.
  return (await there())?.id ?? id;
}

/** Creates a group of the actor's project, which lets everything out and nothing in. */
export async function createGroup(
  db: Db,
  actor: Actor,
  request: GroupChange & { readonly name: string; readonly now: number },
): Promise<NetworkResult<GroupRecord>> {
  const wrong = wrongText(request);
  if (wrong) return wrong;
  if (isDefaultName(request.name)) return no(409, 'SecurityGroupDefaultAlreadyExists', DEFAULT_EXISTS);
  const { projectId } = actor;
  const id = newId();
  return refusable(async () => {
    await defaultGroupOf(db, projectId, request.now);
    return atomically(db, async (trx) => {
      await exclusively(trx, NETWORKS);
      await claimQuota(trx, 'security_group', projectId);
      await claimQuota(trx, 'security_group_rule', projectId, firstRules({ id, isDefault: false }).length);
      await insertGroup(trx, { ...request, description: request.description ?? '', id, projectId, isDefault: false });
      return seen(trx, actor, id);
    });
  });
}

const DEFAULT_EXISTS = 'Default security group already exists.';
const isDefaultName = (name: string | undefined): boolean => name?.toLowerCase() === 'default';

/** Changes a group; the default one keeps its name. */
export async function updateGroup(
  db: Db,
  actor: Actor,
  id: string,
  change: GroupChange & { readonly now: number },
): Promise<NetworkResult<GroupRecord>> {
  return refusable(() =>
    atomically(db, async (trx) => {
      await exclusively(trx, NETWORKS);
      const group = await seen(trx, actor, id);
      const wrong = wrongText(change);
      if (wrong) refuseWith(wrong);
      if (isDefaultName(change.name)) refuseWith(no(409, 'SecurityGroupDefaultAlreadyExists', DEFAULT_EXISTS));
      if (group.name === 'default' && change.name !== undefined)
        refuseWith(no(409, 'SecurityGroupCannotUpdateDefault', 'Updating default security group not allowed.'));
      if (change.stateful !== undefined && change.stateful !== group.stateful) await refuseInUse(trx, id);
      await trx
        .updateTable('security_groups')
        .set({
          ...given(change.name, (name) => ({ name })),
          ...given(change.description, (description) => ({ description })),
          ...given(change.stateful, (stateful) => ({ stateful: flag(stateful) })),
          ...changed(change.now),
        })
        .where('id', '=', id)
        .execute();
      return seen(trx, actor, id);
    }),
  );
}

/** Deletes a group that no port has. */
export async function deleteGroup(db: Db, actor: Actor, id: string): Promise<NetworkResult<null>> {
  const group = await findGroup(db, actor, id);
  if (!group) return absent('security_group', id);
  return refusable(() =>
    atomically(db, async (trx) => {
      await exclusively(trx, NETWORKS);
      await refuseInUse(trx, id);
      if (group.name === 'default' && !isAdmin(actor)) {
        const message = 'Insufficient rights for removing default security group.';
        refuseWith(no(409, 'SecurityGroupCannotRemoveDefault', message));
      }
      await trx.deleteFrom('security_groups').where('id', '=', id).execute();
      return null;
    }),
  );
}

/**
 * Whether ports of the project can have the groups.
 * @throws Refused 404 for the first that is not there, 409 when stateful ones and others are mixed
 */
export async function checkGroups(trx: Db, projectId: string, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  const rows = await trx
    .selectFrom('security_groups')
    .select(['id', 'stateful'])
    .where('id', 'in', ids)
    .where('project_id', '=', projectId)
    .execute();
  const lost = ids.find((id) => !rows.some((row) => row.id === id));
  if (lost !== undefined) refuseWith(absent('security_group', lost));
  if (new Set(rows.map((row) => row.stateful)).size < 2) return;
  const reason = 'Cannot apply both stateful and stateless security groups on the same port at the same time';
  refuseWith(no(409, 'SecurityGroupConflict', `Error ${reason} while attempting the operation.`));
}

/** The port has these groups and no others. In a transaction that has checked them. */
export async function setGroupsOfPort(trx: Db, portId: string, ids: readonly string[]): Promise<void> {
  await trx.deleteFrom('port_security_groups').where('port_id', '=', portId).execute();
  await addGroupsToPort(trx, portId, ids);
}

/** A new port gets the groups. @throws Refused 404 for one that has been deleted meanwhile */
export async function addGroupsToPort(trx: Db, portId: string, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  const rows = await trx
    .insertInto('port_security_groups')
    .columns(['port_id', 'group_id'])
    .expression((from) =>
      from
        .selectFrom('security_groups')
        .select((select) => [select.cast<string>(select.val(portId), 'text').as('port_id'), 'id'])
        .where('id', 'in', ids)
        .modifyEnd(forKeyShare(trx)),
    )
    .returning('group_id')
    .execute();
  const lost = ids.find((id) => !rows.some((row) => row.group_id === id));
  if (lost !== undefined) refuseWith(absent('security_group', lost));
}

/** The ids of the groups of each port. */
export async function groupsOfPorts(db: Db, portIds: readonly string[]): Promise<Map<string, string[]>> {
  const byPort = new Map<string, string[]>();
  if (portIds.length === 0) return byPort;
  const rows = await db
    .selectFrom('port_security_groups')
    .select(['port_id', 'group_id'])
    .where('port_id', 'in', portIds)
    .orderBy('group_id')
    .execute();
  for (const row of rows) byPort.set(row.port_id, [...(byPort.get(row.port_id) ?? []), row.group_id]);
  return byPort;
}

async function insertGroup(
  trx: Db,
  group: GroupChange & {
    readonly id: string;
    readonly name: string;
    readonly description: string;
    readonly projectId: string;
    readonly isDefault: boolean;
    readonly now: number;
  },
): Promise<void> {
  const inserted = await trx
    .insertInto('security_groups')
    .values({
      ...{ id: group.id, name: group.name, description: group.description, project_id: group.projectId },
      ...{ is_default: flag(group.isDefault), stateful: flag(group.stateful ?? true) },
      ...{ created_at: group.now, updated_at: group.now },
    })
    .onConflict((any) => any.doNothing())
    .returning('id')
    .executeTakeFirst();
  if (inserted) await insertRules(trx, group, firstRules(group));
}

async function seen(trx: Db, actor: Actor, id: string): Promise<GroupRecord> {
  return (await findGroup(trx, actor, id)) ?? refuseWith(absent('security_group', id));
}

/** And nobody begins to use it before the transaction ends: servers get theirs beside the other writers. */
async function refuseInUse(trx: Db, id: string): Promise<void> {
  await trx.selectFrom('security_groups').select('id').where('id', '=', id).modifyEnd(forUpdate(trx)).execute();
  const query = trx.selectFrom('port_security_groups').select('port_id').where('group_id', '=', id).limit(1);
  if (await query.executeTakeFirst()) refuseWith(no(409, 'SecurityGroupInUse', `Security Group ${id} in use.`));
}
