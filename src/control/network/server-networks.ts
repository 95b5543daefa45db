// What compute shows of a server's networks besides its ports, and does with them under its own old calls: security
// groups and floating IPs of servers.
//
// Theory of operation. Both hang on ports; a server has the groups of all its ports. Adding a group to a server adds it to
// each of its ports, taking it away takes it from each that has it, in one transaction, alone among those of the network
// service. Sentences are Nova's (nova/network/security_group_api.py).
import { badRequest, conflict, notFound } from '../../model/refusal.ts';
import type { Actor, Refusal } from '../../model/types.ts';
import { exclusively, isAmong } from '../../store/dialect.ts';
import { NETWORKS } from './quotas.ts';
import { no, refusable, refusalIn, refuseWith } from './results.ts';
import {
  addGroupsToPort,
  checkGroups,
  defaultGroupOf,
  type GroupRecord,
  groupsOfPorts,
  listGroups,
  setGroupsOfPort,
} from './security-groups.ts';
import type { Db } from './standard.ts';

/** More groups than are shown at once. */
const MANY = 1000;

export interface ServersFloatingIp {
  readonly portId: string;
  readonly fixedIp: string;
  readonly ip: string;
}

/** The names of the groups of each server's ports, once per port that has it; of nameless ones the id. */
export async function groupNamesOfServers(db: Db, serverIds: readonly string[]): Promise<Map<string, string[]>> {
  const byServer = new Map<string, string[]>();
  if (serverIds.length === 0) return byServer;
  const rows = await db
    .selectFrom('ports as p')
    .innerJoin('port_security_groups as b', 'b.port_id', 'p.id')
    .innerJoin('security_groups as g', 'g.id', 'b.group_id')
    .select(['p.device_id', 'g.id', 'g.name'])
    .where(isAmong(db, 'p.device_id', serverIds))
    .orderBy('p.created_at')
    .orderBy('p.id')
    .orderBy('g.name')
    .execute();
  for (const { device_id, id, name } of rows) {
    const names = byServer.get(device_id) ?? [];
    byServer.set(device_id, names);
    names.push(name === '' ? id : name);
  }
  return byServer;
}

/** The groups of the server's ports, once per port that has it, with their rules. */
export async function groupsOfServer(
  db: Db,
  actor: Actor,
  serverId: string,
): Promise<{ readonly groups: readonly GroupRecord[]; readonly named: readonly GroupRecord[] }> {
  const ports = await db
    .selectFrom('ports')
    .select('id')
    .where('device_id', '=', serverId)
    .orderBy('created_at')
    .execute();
  const byPort = await groupsOfPorts(
    db,
    ports.map((port) => port.id),
  );
  const ids = ports.flatMap((port) => byPort.get(port.id) ?? []);
  const groups = await listGroups(db, actor, { where: { id: [...new Set(ids)] }, limit: MANY });
  const remote = groups.flatMap(({ rules }) => rules.flatMap(({ remoteGroupId }) => remoteGroupId ?? []));
  const named = await listGroups(db, actor, { where: { id: [...new Set(remote)] }, limit: MANY });
  return { groups: ids.flatMap((id) => groups.filter((group) => group.id === id)), named };
}

/** The floating IPs that lead to each server. */
export async function floatingIpsOfServers(
  db: Db,
  serverIds: readonly string[],
): Promise<Map<string, ServersFloatingIp[]>> {
  const byServer = new Map<string, ServersFloatingIp[]>();
  if (serverIds.length === 0) return byServer;
  const rows = await db
    .selectFrom('floating_ips as f')
    .innerJoin('ports as p', 'p.id', 'f.fixed_port_id')
    .select(['p.device_id', 'p.id', 'f.fixed_ip', 'f.ip'])
    .where(isAmong(db, 'p.device_id', serverIds))
    .orderBy('f.created_at')
    .orderBy('f.id')
    .execute();
  for (const { device_id, id, fixed_ip, ip } of rows) {
    const list = byServer.get(device_id) ?? [];
    byServer.set(device_id, list);
    list.push({ portId: id, fixedIp: fixed_ip ?? '', ip });
  }
  return byServer;
}

/** The ids of the groups that a new server shall have, by their names or ids. Refused 400 as in Nova. */
export async function groupsForServer(
  db: Db,
  projectId: string,
  names: readonly string[],
  now: number,
): Promise<readonly string[] | Refusal> {
  const ids: string[] = [];
  for (const name of new Set(names)) {
    const found = groupForServer(await groupsNamed(db, projectId, name, now), projectId, name);
    if (typeof found !== 'string') return found;
    ids.push(found);
  }
  return ids;
}

/** Among these groups of the project, the one of this name or id, for a new server. */
export function groupForServer(groups: readonly Named[], projectId: string, name: string): string | Refusal {
  const found = groupAmong(groups, name);
  if (found === 'several') return conflict(several(name));
  return found ?? badRequest(`Security group ${name} not found for project ${projectId}.`);
}

/** The same for a server that is there. */
export function groupToChange(groups: readonly Named[], projectId: string, name: string): string | Refusal {
  const found = groupAmong(groups, name);
  if (found === 'several') return conflict(several(name));
  return found ?? notFound(`Security group ${name} is not found for project ${projectId}`);
}

/** Every port of the server has the group, too. */
export const addGroupToServer = (
  db: Db,
  actor: Actor,
  serverId: string,
  name: string,
  now: number,
): Promise<Refusal | null> =>
  withGroup(db, actor, serverId, name, now, async (trx, groupId, ports) => {
    for (const port of ports) {
      if (port.port_security === 0 || port.addresses === 0) return CANNOT_APPLY;
      const all = [...port.groups, groupId];
      await checkGroups(trx, port.project_id, all);
      if (!port.groups.includes(groupId)) await addGroupsToPort(trx, port.id, [groupId]);
    }
    return null;
  });

/** No port of the server has the group any more. 404 when none has it. */
export const removeGroupFromServer = (
  db: Db,
  actor: Actor,
  serverId: string,
  name: string,
  now: number,
): Promise<Refusal | null> =>
  withGroup(db, actor, serverId, name, now, async (trx, groupId, ports) => {
    const having = ports.filter((port) => port.groups.includes(groupId));
    for (const port of having) {
      const left = port.groups.filter((each) => each !== groupId);
      await setGroupsOfPort(trx, port.id, left);
    }
    return having.length > 0 ? null : notAssociated(name, serverId);
  });

export const notAssociated = (name: string, serverId: string): Refusal =>
  notFound(`Security group ${name} not associated with the instance ${serverId}`);
export const hasNoPorts = (serverId: string): Refusal =>
  notFound(`instance_id ${serverId} could not be found as device id on any ports`);
export const CANNOT_APPLY = badRequest(
  'Network requires port_security_enabled and subnet associated in order to apply security groups.',
);
const several = (name: string): string =>
  `Multiple security_group matches found for name '${name}', use an ID to be more specific.`;

interface ServersPort {
  readonly id: string;
  readonly project_id: string;
  readonly port_security: number;
  readonly addresses: number;
  readonly groups: readonly string[];
}

async function withGroup(
  db: Db,
  { projectId }: Actor,
  serverId: string,
  name: string,
  now: number,
  work: (trx: Db, groupId: string, ports: readonly ServersPort[]) => Promise<Refusal | null>,
): Promise<Refusal | null> {
  const groupId = groupToChange(await groupsNamed(db, projectId, name, now), projectId, name);
  if (typeof groupId !== 'string') return groupId;
  const result = await refusable(() =>
    db.transaction().execute(async (trx) => {
      await exclusively(trx, NETWORKS);
      const ports = await portsWithGroups(trx, serverId);
      if (ports.length === 0) refuse(hasNoPorts(serverId));
      const refusal = await work(trx, groupId, ports);
      // What was written before the refusal is taken back with the transaction.
      if (refusal) refuse(refusal);
    }),
  );
  return refusalIn(result);
}

const refuse = ({ code, message }: Refusal): never => refuseWith(no(code, '', message));

async function portsWithGroups(trx: Db, serverId: string): Promise<ServersPort[]> {
  const ports = await trx
    .selectFrom('ports as p')
    .select((select) => [
      ...(['p.id', 'p.project_id', 'p.port_security'] as const),
      select
        .selectFrom('port_addresses as a')
        .select((count) => count.fn.countAll<number>().as('count'))
        .whereRef('a.port_id', '=', 'p.id')
        .as('addresses'),
    ])
    .where('p.device_id', '=', serverId)
    .execute();
  const groups = await trx
    .selectFrom('port_security_groups as b')
    .innerJoin('ports as p', 'p.id', 'b.port_id')
    .select(['b.port_id', 'b.group_id'])
    .where('p.device_id', '=', serverId)
    .execute();
  return ports.map((port) => ({
    ...port,
    addresses: Number(port.addresses ?? 0),
    groups: groups.filter((each) => each.port_id === port.id).map((each) => each.group_id),
  }));
}

interface Named {
  readonly id: string;
  readonly name: string;
}

/** The group that has this id, else the one of this name. Null: none; `several`: more than one. */
function groupAmong(groups: readonly Named[], name: string): string | 'several' | null {
  const byId = groups.find((group) => group.id === name);
  if (byId) return byId.id;
  const [first, second] = groups.filter((group) => group.name === name);
  return second ? 'several' : (first?.id ?? null);
}

/** The project's groups of this id or name, as many as it takes to choose. */
async function groupsNamed(db: Db, projectId: string, name: string, now: number): Promise<Named[]> {
  if (name === 'default') await defaultGroupOf(db, projectId, now);
  return db
    .selectFrom('security_groups')
    .select(['id', 'name'])
    .where('project_id', '=', projectId)
    .where((where) => where.or([where('id', '=', name), where('name', '=', name)]))
    .limit(3)
    .execute();
}
