// Networks, subnets and ports of a Neutron, API v2.0 with extended port bindings; with the service user's rights.
//
// Theory of operation. Reads answer what is there; writes say what must be so and may be repeated: what is there already
// (409 of a binding) or gone already (404) is as wanted. Only creating a port is not: who creates looks first. A user's
// port is lent to a server on the condition that nobody has changed it since it was looked at (If-Match), so of two who
// want it one gets it.
import { type Static, Type } from 'typebox';
import type { Said, Session } from './session.ts';

const Text = Type.String({ maxLength: 65_536 });
const Networks = Type.Object({
  networks: Type.Array(
    Type.Object({
      id: Text,
      name: Text,
      project_id: Text,
      shared: Type.Boolean(),
      'router:external': Type.Optional(Type.Boolean()),
      mtu: Type.Optional(Type.Union([Type.Integer(), Type.Null()])),
    }),
    { maxItems: 100_000 },
  ),
});
export type NeutronNetwork = Static<typeof Networks>['networks'][number];

const Subnets = Type.Object({
  subnets: Type.Array(
    Type.Object({
      id: Text,
      name: Text,
      project_id: Text,
      network_id: Text,
      ip_version: Type.Integer(),
      cidr: Text,
      gateway_ip: Type.Union([Text, Type.Null()]),
    }),
    { maxItems: 100_000 },
  ),
});
export type NeutronSubnet = Static<typeof Subnets>['subnets'][number];

/** Which network is shared with which project; '*': with all. */
const NetworkPolicies = Type.Object({
  rbac_policies: Type.Array(Type.Object({ object_id: Text, action: Text, target_tenant: Text }), { maxItems: 100_000 }),
});
export interface NeutronShare {
  readonly networkId: string;
  /** '*': all projects. */
  readonly projectId: string;
}

const Port = Type.Object({
  id: Text,
  name: Text,
  project_id: Text,
  network_id: Text,
  mac_address: Text,
  device_id: Text,
  fixed_ips: Type.Array(Type.Object({ subnet_id: Text, ip_address: Text })),
  revision_number: Type.Integer(),
  /** Absent where the extension for it is. */
  port_security_enabled: Type.Optional(Type.Boolean()),
  security_groups: Type.Optional(Type.Array(Text)),
  'binding:vnic_type': Type.Optional(Text),
});
const OnePort = Type.Object({ port: Port });
const Ports = Type.Object({ ports: Type.Array(Port, { maxItems: 10_000 }) });
export type NeutronPort = Static<typeof Port>;

const MaybeText = Type.Union([Text, Type.Null()]);
const MaybePort = Type.Union([Type.Integer(), Type.Null()]);
const Groups = Type.Object({
  security_groups: Type.Array(
    Type.Object({
      id: Text,
      name: Text,
      description: MaybeText,
      project_id: Text,
      security_group_rules: Type.Array(
        Type.Object({
          ...{ id: Text, security_group_id: Text, direction: Text, protocol: MaybeText },
          ...{ port_range_min: MaybePort, port_range_max: MaybePort },
          ...{ remote_group_id: MaybeText, remote_ip_prefix: MaybeText },
        }),
      ),
    }),
    { maxItems: 100_000 },
  ),
});
export type NeutronGroup = Static<typeof Groups>['security_groups'][number];

/** Most ids in one request: a URL must not grow too long. */
const MOST_IDS = 100;

const Bindings = Type.Object({ bindings: Type.Array(Type.Object({ host: Text, status: Text })) });
export type NeutronBinding = Static<typeof Bindings>['bindings'][number];

/** What a port of ours is called in Neutron: its device is the server. */
const DEVICE_OWNER = 'compute:crosscell';

export interface PortWish {
  readonly serverId: string;
  readonly projectId: string;
  readonly networkId: string;
  /** The addresses to have, and subnets to have any of; null: as Neutron likes. */
  readonly fixedIps: readonly ({ readonly ip_address: string } | { readonly subnet_id: string })[] | null;
  /** Null: the project's default one, if the network's ports have any. */
  readonly groupIds: readonly string[] | null;
  readonly requestId: string;
}

export interface Neutron {
  networks(): Promise<readonly NeutronNetwork[]>;
  subnets(): Promise<readonly NeutronSubnet[]>;
  /** With whom networks are shared. */
  shares(): Promise<readonly NeutronShare[]>;
  /** A new port without a binding; refused for want of addresses or quota. */
  createPort(wish: PortWish): Promise<Said<NeutronPort>>;
  portsOf(serverId: string): Promise<readonly NeutronPort[]>;
  portsOfServers(serverIds: readonly string[]): Promise<readonly NeutronPort[]>;
  /** Null: there is none of that id. */
  port(portId: string): Promise<NeutronPort | null>;
  /** The server has the port as it was seen. False: it is not like that any more. */
  lend(port: NeutronPort, serverId: string): Promise<boolean>;
  /** Nobody has the port, and it is bound nowhere. */
  free(portId: string): Promise<void>;
  /** The port has these security groups, which are the caller's to check, and no others. */
  setGroups(portId: string, groupIds: readonly string[]): Promise<Said<null>>;
  /** The port has these addresses, and one of each subnet that comes without. */
  setAddresses(portId: string, fixedIps: PortWish['fixedIps'] & object): Promise<Said<NeutronPort>>;
  /** The security groups of the project. */
  groupsOf(projectId: string): Promise<readonly NeutronGroup[]>;
  /** Those of these ids that there are. */
  groups(ids: readonly string[]): Promise<readonly NeutronGroup[]>;
  deletePort(portId: string): Promise<void>;
  bindings(portId: string): Promise<readonly NeutronBinding[]>;
  /** The port, which has no binding, is bound on the host, actively. */
  bindFirst(portId: string, host: string): Promise<void>;
  /** The port has a binding on the host: an inactive one if it is new. */
  bind(portId: string, host: string): Promise<void>;
  /** The host's binding is the active one; the one that was becomes inactive. */
  activate(portId: string, host: string): Promise<void>;
  unbind(portId: string, host: string): Promise<void>;
}

/** Neutron said no to what it should not: an operator has to look. */
export class NeutronRefused extends Error {
  override readonly name = 'NeutronRefused';
}

/** All throw ServiceDown, and NeutronRefused for a refusal that they do not answer. Ids are UUIDs, from Neutron. */
export function neutronOf(session: Session): Neutron {
  const service = 'network' as const;
  const at = (portId: string): string => `/ports/${encodeURIComponent(portId)}`;
  const binding = (portId: string, host: string): string => `${at(portId)}/bindings/${encodeURIComponent(host)}`;

  async function write(method: 'POST' | 'PUT' | 'DELETE', path: string, fine: readonly number[], body?: object) {
    const ask = { service, method, path, repeatable: true, ...(body === undefined ? {} : { body }) };
    const said = await session.ask(null, ask);
    if (said.kind === 'refused' && !fine.includes(said.status)) {
      throw new NeutronRefused(`Neutron refuses ${method} ${path}: ${said.status} ${said.message}`);
    }
  }

  /** Of how many ids there are, so many requests. */
  async function byIds<T>(ids: readonly string[], look: (query: string) => Promise<readonly T[]>, key: string) {
    const found: T[] = [];
    for (let first = 0; first < ids.length; first += MOST_IDS) {
      const some = ids.slice(first, first + MOST_IDS);
      found.push(...(await look(some.map((id) => `&${key}=${encodeURIComponent(id)}`).join(''))));
    }
    return found;
  }
  const ports = async (query: string): Promise<readonly NeutronPort[]> => {
    const path = `/ports?device_owner=${encodeURIComponent(DEVICE_OWNER)}${query}`;
    return (await answered(session.ask(Ports, { service, method: 'GET', path }))).ports;
  };
  const groups = async (query: string): Promise<readonly NeutronGroup[]> => {
    const path = `/security-groups?${query.slice(1)}`;
    return (await answered(session.ask(Groups, { service, method: 'GET', path }))).security_groups;
  };
  const put = (portId: string, port: object) => ({ service, method: 'PUT', path: at(portId), body: { port } }) as const;

  return {
    networks: async () =>
      (await answered(session.ask(Networks, { service, method: 'GET', path: '/networks' }))).networks,
    subnets: async () => (await answered(session.ask(Subnets, { service, method: 'GET', path: '/subnets' }))).subnets,
    async shares() {
      const ask = { service, method: 'GET', path: '/rbac-policies?object_type=network' } as const;
      const { rbac_policies } = await answered(session.ask(NetworkPolicies, ask));
      return rbac_policies
        .filter(({ action }) => action === 'access_as_shared')
        .map(({ object_id, target_tenant }) => ({ networkId: object_id, projectId: target_tenant }));
    },
    async createPort({ serverId, projectId, networkId, fixedIps, groupIds, requestId }) {
      const port = {
        ...{ network_id: networkId, project_id: projectId, device_id: serverId, device_owner: DEVICE_OWNER },
        ...(fixedIps === null ? {} : { fixed_ips: fixedIps }),
        ...(groupIds === null ? {} : { security_groups: groupIds }),
      };
      const said = await session.ask(OnePort, { service, method: 'POST', path: '/ports', requestId, body: { port } });
      return said.kind === 'ok' ? { ...said, body: said.body.port } : said;
    },
    portsOf: (serverId) => ports(`&device_id=${encodeURIComponent(serverId)}`),
    portsOfServers: (serverIds) => byIds(serverIds, ports, 'device_id'),
    setGroups: (portId, security_groups) => session.ask(null, put(portId, { security_groups })),
    async setAddresses(portId, fixed_ips) {
      const said = await session.ask(OnePort, put(portId, { fixed_ips }));
      return said.kind === 'ok' ? { ...said, body: said.body.port } : said;
    },
    groupsOf: (projectId) => groups(`&project_id=${encodeURIComponent(projectId)}`),
    groups: (ids) => byIds(ids, groups, 'id'),
    async port(portId) {
      const said = await session.ask(OnePort, { service, method: 'GET', path: at(portId) });
      if (said.kind === 'ok') return said.body.port;
      if (said.status === 404) return null;
      throw new NeutronRefused(`Neutron refuses a look: ${said.status} ${said.message}`);
    },
    async lend({ id, revision_number: seen }, serverId) {
      const said = await session.ask(null, {
        ...{ service, method: 'PUT', path: at(id), headers: { 'if-match': `revision_number=${seen}` } },
        body: { port: { device_id: serverId, device_owner: DEVICE_OWNER } },
      });
      if (said.kind === 'ok') return true;
      if (said.status === 404 || said.status === 412) return false;
      throw new NeutronRefused(`Neutron refuses to lend port ${id}: ${said.status} ${said.message}`);
    },
    free: (portId) => {
      const nobodys = { device_id: '', device_owner: '', 'binding:host_id': null };
      return write('PUT', at(portId), [404], { port: nobodys });
    },
    deletePort: (portId) => write('DELETE', at(portId), [404]),
    bindings: async (portId) =>
      (await answered(session.ask(Bindings, { service, method: 'GET', path: `${at(portId)}/bindings` }))).bindings,
    bindFirst: (portId, host) => write('PUT', at(portId), [], { port: { 'binding:host_id': host } }),
    bind: (portId, host) => write('POST', `${at(portId)}/bindings`, [409], { binding: { host } }),
    activate: (portId, host) => write('PUT', `${binding(portId, host)}/activate`, [409]),
    unbind: (portId, host) => write('DELETE', binding(portId, host), [404]),
  };
}

async function answered<T>(said: Promise<Said<T>>): Promise<T> {
  const answer = await said;
  if (answer.kind === 'ok') return answer.body;
  throw new NeutronRefused(`Neutron refuses a look: ${answer.status} ${answer.message}`);
}
