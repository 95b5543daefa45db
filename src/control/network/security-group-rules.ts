// The rules of security groups: added and deleted, never changed.
//
// Theory of operation. What a rule may say is model/security-groups.ts's business. That no group has the same rule twice
// is checked in the transaction that adds it, which runs alone among those of the service. Who sees a group sees its
// rules.
import type { Selectable } from 'kysely';
import { newId } from '../../lib/ids.ts';
import { type Rule, type RuleWish, ruleKey, ruleOf } from '../../model/security-groups.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { atomically, exclusively } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { type Collection, one, page, type Selection } from './listing.ts';
import { claimQuota, NETWORKS } from './quotas.ts';
import { absent, type NetworkResult, no, ok, refusable, refused, refuseWith, wrongText } from './results.ts';
import { changed, type Db, type Standard, standardOf } from './standard.ts';

export interface RuleRecord extends Rule, Standard {
  readonly groupId: string;
}

export const RULE_COLUMNS: Collection = {
  table: 'security_group_rules',
  alias: 'r',
  columns: {
    ...{ id: 'id', description: 'description', project_id: 'project_id', tenant_id: 'project_id' },
    ...{ security_group_id: 'group_id', direction: 'direction', ethertype: 'ethertype', protocol: 'protocol' },
    ...{ port_range_min: 'port_min', port_range_max: 'port_max', remote_ip_prefix: 'remote_prefix' },
    ...{ remote_group_id: 'remote_group_id', created_at: 'created_at', revision_number: 'revision' },
  },
};

/** The rules of the groups that the actor sees. */
export async function listRules(db: Db, actor: Actor, selection: Selection): Promise<RuleRecord[]> {
  let query = db
    .selectFrom('security_group_rules as r')
    .innerJoin('security_groups as g', 'g.id', 'r.group_id')
    .selectAll('r');
  if (!isAdmin(actor)) query = query.where('g.project_id', '=', actor.projectId);
  return (await page(query, RULE_COLUMNS, selection)).map(recordOf);
}

export const findRule = async (db: Db, actor: Actor, id: string): Promise<RuleRecord | null> =>
  (await listRules(db, actor, one(id)))[0] ?? null;

/** By group, oldest first. */
export async function rulesOfGroups(db: Db, groupIds: readonly string[]): Promise<Map<string, RuleRecord[]>> {
  const byGroup = new Map<string, RuleRecord[]>();
  if (groupIds.length === 0) return byGroup;
  const rows = await db
    .selectFrom('security_group_rules')
    .selectAll()
    .where('group_id', 'in', groupIds)
    .orderBy('created_at')
    .orderBy('id')
    .execute();
  for (const row of rows) {
    const rules = byGroup.get(row.group_id);
    if (rules) rules.push(recordOf(row));
    else byGroup.set(row.group_id, [recordOf(row)]);
  }
  return byGroup;
}

export interface RuleRequest extends RuleWish {
  readonly groupId: string;
  readonly description?: string | undefined;
}

/** Adds rules to a group that the actor sees: all of them, or none. */
export async function createRules(
  db: Db,
  actor: Actor,
  requests: readonly RuleRequest[],
  now: number,
): Promise<NetworkResult<RuleRecord[]>> {
  const [first] = requests;
  if (!first) return ok([]);
  if (requests.some((each) => each.groupId !== first.groupId)) {
    const message = 'Only allowed to update rules for one security profile at a time';
    return no(400, 'SecurityGroupNotSingleGroupRules', message);
  }
  const rules: (Rule & { readonly description: string })[] = [];
  for (const request of requests) {
    const wrong = wrongText(request);
    if (wrong) return wrong;
    const rule = ruleOf(request);
    if ('code' in rule) return refused(rule);
    rules.push({ ...rule, description: request.description ?? '' });
  }
  return refusable(() =>
    atomically(db, async (trx) => {
      await exclusively(trx, NETWORKS);
      const groups = visibleGroups(trx, actor);
      for (const { remoteGroupId } of rules)
        if (remoteGroupId !== null && !(await groups(remoteGroupId)))
          refuseWith(absent('security_group', remoteGroupId));
      const group = (await groups(first.groupId)) ?? refuseWith(absent('security_group', first.groupId));
      await claimQuota(trx, 'security_group_rule', group.projectId, rules.length);
      await refuseTwice(trx, group.id, rules);
      const ids = await insertRules(trx, { ...group, now }, rules);
      await trx.updateTable('security_groups').set(changed(now)).where('id', '=', group.id).execute();
      const made = await trx.selectFrom('security_group_rules').selectAll().where('id', 'in', ids).execute();
      return ids.flatMap((id) => made.filter((row) => row.id === id).map(recordOf));
    }),
  );
}

/** Deletes a rule: a change of its group, too. */
export const deleteRule = (db: Db, actor: Actor, id: string, now: number): Promise<NetworkResult<null>> =>
  atomically(db, async (trx) => {
    await exclusively(trx, NETWORKS);
    const rule = await findRule(trx, actor, id);
    if (!rule) return absent('security_group_rule', id);
    await trx.deleteFrom('security_group_rules').where('id', '=', id).execute();
    await trx.updateTable('security_groups').set(changed(now)).where('id', '=', rule.groupId).execute();
    return ok(null);
  });

/** Inserts rules that have been checked. Returns their ids, in order. */
export async function insertRules(
  trx: Db,
  group: { readonly id: string; readonly projectId: string; readonly now: number },
  rules: readonly (Rule & { readonly description?: string })[],
): Promise<string[]> {
  const rows = rules.map((rule) => ({
    ...{ id: newId(), group_id: group.id, project_id: group.projectId, description: rule.description ?? '' },
    ...{ direction: rule.direction, ethertype: rule.ethertype, protocol: rule.protocol },
    ...{ port_min: rule.portMin, port_max: rule.portMax, remote_prefix: rule.remotePrefix },
    ...{ remote_group_id: rule.remoteGroupId, created_at: group.now, updated_at: group.now },
  }));
  if (rows.length > 0) await trx.insertInto('security_group_rules').values(rows).execute();
  return rows.map((row) => row.id);
}

/** Looks a group up for the actor. */
function visibleGroups(trx: Db, actor: Actor) {
  return async (id: string): Promise<{ readonly id: string; readonly projectId: string } | null> => {
    let query = trx.selectFrom('security_groups').select(['id', 'project_id as projectId']).where('id', '=', id);
    if (!isAdmin(actor)) query = query.where('project_id', '=', actor.projectId);
    return (await query.executeTakeFirst()) ?? null;
  };
}

async function refuseTwice(trx: Db, groupId: string, rules: readonly Rule[]): Promise<void> {
  const keys = rules.map(ruleKey);
  if (new Set(keys).size < keys.length)
    refuseWith(no(409, 'DuplicateSecurityGroupRuleInPost', 'Duplicate Security Group Rule in POST.'));
  const there = (await rulesOfGroups(trx, [groupId])).get(groupId) ?? [];
  const same = there.find((rule) => keys.includes(ruleKey(rule)));
  if (!same) return;
  refuseWith(no(409, 'SecurityGroupRuleExists', `Security group rule already exists. Rule id is ${same.id}.`));
}

const recordOf = (row: Selectable<GlobalTables['security_group_rules']>): RuleRecord => ({
  ...standardOf(row),
  groupId: row.group_id,
  direction: row.direction === 'egress' ? 'egress' : 'ingress',
  ethertype: row.ethertype === 'IPv6' ? 'IPv6' : 'IPv4',
  protocol: row.protocol,
  portMin: row.port_min,
  portMax: row.port_max,
  remotePrefix: row.remote_prefix,
  remoteGroupId: row.remote_group_id,
});
