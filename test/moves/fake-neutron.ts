// A Neutron of a few lines, in which tests make ports as its users would, take it down, and look at what it has.
import { newId } from '../../src/lib/ids.ts';
import {
  type Neutron,
  type NeutronGroup,
  type NeutronNetwork,
  type NeutronPort,
  NeutronRefused,
  type NeutronShare,
  type NeutronSubnet,
  type PortWish,
} from '../../src/openstack/neutron.ts';
import type { Said } from '../../src/openstack/session.ts';
import { ServiceDown } from '../../src/openstack/transport.ts';

export type FakePort = { -readonly [Key in keyof NeutronPort]: NeutronPort[Key] } & {
  /** Status by host. */
  readonly bindings: Map<string, string>;
};

type Address = NeutronPort['fixed_ips'][number];
const UNKNOWN: Address = { subnet_id: '', ip_address: '' };

export class FakeNeutron implements Neutron {
  readonly ports = new Map<string, FakePort>();
  readonly calls: string[] = [];
  /** What there is besides the networks that are on record. */
  readonly extra: {
    networks: NeutronNetwork[];
    subnets: NeutronSubnet[];
    shares: NeutronShare[];
    groups: NeutronGroup[];
  } = { networks: [], subnets: [], shares: [], groups: [] };
  isDown = false;
  /** Called after each write; may change the world. */
  afterWrite: (what: string) => Promise<void> = async () => undefined;
  /** The addresses of the next ports on a network that is not said to have others. */
  addressesOf: (count: number) => Address[] = () => [];
  #count = 0;

  async networks() {
    await this.#asked('networks');
    return this.extra.networks;
  }
  async subnets() {
    return this.extra.subnets;
  }
  async shares() {
    return this.extra.shares;
  }
  over(subnetId: string): this {
    this.addressesOf = (count) => [{ subnet_id: subnetId, ip_address: `10.42.9.${count}` }];
    return this;
  }

  /** As its users do. */
  make(networkId: string, projectId: string, name = ''): FakePort {
    this.#count += 1;
    const port: FakePort = {
      ...{ id: newId(), name, project_id: projectId, network_id: networkId, device_id: '', revision_number: 1 },
      ...{ mac_address: `fa:16:3e:00:00:0${this.#count}`, fixed_ips: this.addressesOf(this.#count) },
      bindings: new Map(),
    };
    this.ports.set(port.id, port);
    return port;
  }

  async createPort({ serverId, networkId, projectId, groupIds }: PortWish): Promise<Said<NeutronPort>> {
    await this.#asked('create');
    const port = this.make(networkId, projectId);
    this.change(port, { device_id: serverId, security_groups: [...(groupIds ?? [])] });
    await this.afterWrite('create');
    return { kind: 'ok', status: 201, body: port, headers: new Headers() };
  }
  async portsOf(serverId: string) {
    await this.#asked('look');
    return this.portsAt(serverId);
  }
  async portsOfServers(serverIds: readonly string[]) {
    await this.#asked('look');
    return serverIds.flatMap((id) => this.portsAt(id));
  }
  async setGroups(portId: string, security_groups: readonly string[]): Promise<Said<null>> {
    await this.#write('groups', () => this.change(this.#port(portId), { security_groups: [...security_groups] }));
    return { kind: 'ok', status: 200, body: null, headers: new Headers() };
  }
  async setAddresses(portId: string, wishes: PortWish['fixedIps'] & object): Promise<Said<NeutronPort>> {
    const port = this.#port(portId);
    const fixed_ips = wishes.map((wish): Address => {
      if ('ip_address' in wish) return port.fixed_ips.find((each) => each.ip_address === wish.ip_address) ?? UNKNOWN;
      return { subnet_id: wish.subnet_id, ip_address: '10.42.9.200' };
    });
    await this.#write('addresses', () => this.change(port, { fixed_ips }));
    return { kind: 'ok', status: 200, body: port, headers: new Headers() };
  }
  async groupsOf(projectId: string) {
    await this.#asked('look');
    return this.extra.groups.filter((group) => group.project_id === projectId);
  }
  async groups(ids: readonly string[]) {
    await this.#asked('look');
    return this.extra.groups.filter((group) => ids.includes(group.id));
  }
  /** As its users do. */
  makeGroup(name: string, projectId: string, remoteGroupId: string | null = null): string {
    const id = newId();
    const rule = {
      ...{ id: newId(), security_group_id: id, direction: 'ingress', protocol: 'tcp', port_range_min: 22 },
      ...{ port_range_max: 22, remote_group_id: remoteGroupId, remote_ip_prefix: null },
    };
    this.extra.groups.push({ id, name, description: '', project_id: projectId, security_group_rules: [rule] });
    return id;
  }
  async port(portId: string) {
    await this.#asked('look');
    const port = this.ports.get(portId);
    return port ? { ...port } : null;
  }
  async lend(seen: NeutronPort, serverId: string) {
    const port = this.#port(seen.id);
    const unchanged = port.revision_number === seen.revision_number;
    await this.#write('lend', () => unchanged && this.change(port, { device_id: serverId }));
    return unchanged;
  }
  async free(portId: string) {
    await this.#write('free', () => {
      const port = this.ports.get(portId);
      if (!port) return;
      // Inactive bindings stay, as in Neutron.
      for (const [host, status] of port.bindings) if (status === 'ACTIVE') port.bindings.delete(host);
      this.change(port, { device_id: '' });
    });
  }
  async deletePort(portId: string) {
    await this.#write('delete', () => this.ports.delete(portId));
  }
  async bindings(portId: string) {
    await this.#asked('look');
    const { bindings } = this.#port(portId);
    // As Neutron lists a port that is bound nowhere.
    if (bindings.size === 0) return [{ host: '', status: 'ACTIVE' }];
    return [...bindings].map(([host, status]) => ({ host, status }));
  }
  async bindFirst(portId: string, host: string) {
    await this.#write('bind first', () => this.#port(portId).bindings.set(host, 'ACTIVE'));
  }
  async bind(portId: string, host: string) {
    await this.#write('bind', () => this.#port(portId).bindings.set(host, 'INACTIVE'));
  }
  async activate(portId: string, host: string) {
    await this.#write('activate', () => {
      const { bindings } = this.#port(portId);
      if (!bindings.has(host)) throw new NeutronRefused('no such binding');
      for (const each of bindings.keys()) bindings.set(each, each === host ? 'ACTIVE' : 'INACTIVE');
    });
  }
  async unbind(portId: string, host: string) {
    await this.#write('unbind', () => this.#port(portId).bindings.delete(host));
  }

  change(port: FakePort, change: Partial<FakePort>): void {
    Object.assign(port, change, { revision_number: port.revision_number + 1 });
  }
  portsAt(serverId: string): FakePort[] {
    return [...this.ports.values()].filter((port) => port.device_id === serverId);
  }
  /** Hosts of the bindings of the server's ports, the active one with a star. */
  bound(serverId: string): string[][] {
    return this.portsAt(serverId).map(({ bindings }) =>
      [...bindings].map(([host, status]) => (status === 'ACTIVE' ? `${host}*` : host)).toSorted(),
    );
  }

  #port(portId: string): FakePort {
    const port = this.ports.get(portId);
    if (!port) throw new NeutronRefused(`no port ${portId}`);
    return port;
  }
  async #asked(what: string): Promise<void> {
    if (this.isDown) throw new ServiceDown('Neutron is down');
    this.calls.push(what);
  }
  async #write(what: string, change: () => unknown): Promise<void> {
    await this.#asked(what);
    change();
    await this.afterWrite(what);
  }
}
