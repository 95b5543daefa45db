// Security groups of a Neutron's, as compute's users name, see and change them.
//
// Nothing of them is on record here: Neutron is asked each time. It is asked with the service user's rights, to whom it
// refuses no group: so whose a group is, is looked at here. A port has groups of its own project alone; users are shown
// their project's, administrators all. Groups that RBAC shares with a project are left to Neutron's own API. Sentences are
// Nova's, and where it has none Neutron's (nova/network/security_group_api.py).
import { notFound } from '../../model/refusal.ts';
import { type Actor, isAdmin, type Refusal } from '../../model/types.ts';
import type { Neutron, NeutronGroup, NeutronPort } from '../../openstack/neutron.ts';
import { inItsWords } from './neutron-ports.ts';
import { CANNOT_APPLY, groupForServer, groupToChange, hasNoPorts, notAssociated } from './server-networks.ts';
import type { ServersGroups, ShownGroup } from './service.ts';

/** Ids of groups of the project, for new ports. */
export async function groupIdsNamed(
  neutron: Neutron,
  projectId: string,
  names: readonly string[],
): Promise<readonly string[] | Refusal> {
  const groups = await neutron.groupsOf(projectId);
  const ids: string[] = [];
  for (const name of new Set(names)) {
    const found = groupForServer(groups, projectId, name);
    if (typeof found !== 'string') return found;
    ids.push(found);
  }
  return ids;
}

/** What the actor sees of the groups of each server's ports: names, or ids of nameless ones. */
export async function groupNamesAt(
  neutron: Neutron,
  actor: Actor,
  serverIds: readonly string[],
): Promise<Map<string, string[]>> {
  const ports = await neutron.portsOfServers(serverIds);
  const groups = await seenBy(neutron, actor, ports.flatMap(groupsOn));
  const byServer = new Map<string, string[]>();
  for (const port of ports) {
    const names = groupsOn(port).flatMap((id) =>
      groups.filter((group) => group.id === id).map(({ name }) => name || id),
    );
    byServer.set(port.device_id, [...(byServer.get(port.device_id) ?? []), ...names.toSorted()]);
  }
  return byServer;
}

export async function groupsAt(neutron: Neutron, actor: Actor, serverId: string): Promise<ServersGroups> {
  const ids = (await neutron.portsOf(serverId)).flatMap(groupsOn);
  const groups = (await seenBy(neutron, actor, ids)).map(shown);
  const remote = groups.flatMap(({ rules }) => rules.flatMap(({ remoteGroupId }) => remoteGroupId ?? []));
  const named = (await seenBy(neutron, actor, remote)).map(shown);
  return { groups: ids.flatMap((id) => groups.filter((group) => group.id === id)), named };
}

/** The group of the actor's project that is to come or go, and the ports of the server; or why it cannot. */
async function groupAndPorts(
  neutron: Neutron,
  actor: Actor,
  serverId: string,
  name: string,
): Promise<{ readonly groupId: string; readonly ports: readonly NeutronPort[] } | Refusal> {
  const groupId = groupToChange(await neutron.groupsOf(actor.projectId), actor.projectId, name);
  if (typeof groupId !== 'string') return groupId;
  const ports = await neutron.portsOf(serverId);
  return ports.length === 0 ? hasNoPorts(serverId) : { groupId, ports };
}

/** Every port of the server has the group of the actor's project, too. */
export async function addGroupAt(
  neutron: Neutron,
  actor: Actor,
  serverId: string,
  name: string,
): Promise<Refusal | null> {
  const meant = await groupAndPorts(neutron, actor, serverId, name);
  if ('code' in meant) return meant;
  const { groupId, ports } = meant;
  for (const port of ports) {
    if (port.port_security_enabled === false || port.fixed_ips.length === 0) return CANNOT_APPLY;
    if (port.project_id !== actor.projectId) return notFound(`Security group ${groupId} does not exist`);
  }
  for (const port of ports) {
    if (groupsOn(port).includes(groupId)) continue;
    const refusal = await setGroups(neutron, port, [...groupsOn(port), groupId]);
    if (refusal) return refusal;
  }
  return null;
}

/** No port of the server has the group any more. 404 when none has it. */
export async function removeGroupAt(
  neutron: Neutron,
  actor: Actor,
  serverId: string,
  name: string,
): Promise<Refusal | null> {
  const meant = await groupAndPorts(neutron, actor, serverId, name);
  if ('code' in meant) return meant;
  const { groupId, ports } = meant;
  const having = ports.filter((port) => groupsOn(port).includes(groupId));
  for (const port of having) {
    const left = groupsOn(port).filter((id) => id !== groupId);
    const refusal = await setGroups(neutron, port, left);
    if (refusal) return refusal;
  }
  return having.length > 0 ? null : notAssociated(name, serverId);
}

async function setGroups(neutron: Neutron, { id }: NeutronPort, groupIds: readonly string[]): Promise<Refusal | null> {
  const said = await neutron.setGroups(id, groupIds);
  return said.kind === 'ok' ? null : inItsWords(said);
}

async function seenBy(neutron: Neutron, actor: Actor, ids: readonly string[]): Promise<NeutronGroup[]> {
  const groups = await neutron.groups([...new Set(ids)]);
  return groups.filter((group) => isAdmin(actor) || group.project_id === actor.projectId);
}

const groupsOn = ({ security_groups: ids = [] }: NeutronPort): readonly string[] => ids;

const shown = (group: NeutronGroup): ShownGroup => ({
  ...{ id: group.id, name: group.name, description: group.description ?? '', projectId: group.project_id },
  rules: group.security_group_rules.map((rule) => ({
    ...{ id: rule.id, groupId: rule.security_group_id, protocol: rule.protocol },
    direction: rule.direction === 'egress' ? 'egress' : 'ingress',
    ...{ portMin: rule.port_range_min, portMax: rule.port_range_max },
    ...{ remoteGroupId: rule.remote_group_id, remotePrefix: rule.remote_ip_prefix },
  })),
});
