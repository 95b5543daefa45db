// Ports, with the extensions binding, security-group, port-security, allowed-address-pairs, extra_dhcp_opt, dns-integration.
import { type Static, Type } from 'typebox';
import { findNetwork, type NetworkRecord } from '../../control/network/networks.ts';
import { createPort } from '../../control/network/port-create.ts';
import type { PortWish } from '../../control/network/port-rules.ts';
import { updatePort } from '../../control/network/port-update.ts';
import {
  deletePort,
  findPort,
  isActive,
  listPorts,
  PORT_COLUMNS,
  type PortFilter,
  type PortRecord,
} from '../../control/network/ports.ts';
import type { Target } from '../../model/policy/judge.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { ApiError } from '../http/errors.ts';
import type { Route } from '../http/route.ts';
import type { ListQuery } from './listing.ts';
import { type Context, requireAttributes, resourceRoutes } from './resource.ts';
import { boolean, named, optional, project, renderStandard, standard, strict, text, texts, values } from './shapes.ts';

/** neutron-lib/api/definitions/portbindings.py */
const VNIC_TYPES = [
  ...([
    'normal',
    'direct',
    'macvtap',
    'baremetal',
    'direct-physical',
    'virtio-forwarder',
    'smart-nic',
    'vdpa',
  ] as const),
  ...(['accelerator-direct', 'accelerator-direct-physical', 'remote-managed'] as const),
];

const address = Type.String({ maxLength: 50 });
const profile = Type.Record(Type.String(), Type.Unknown());
const FixedIp = Type.Object({ subnet_id: optional(text), ip_address: optional(address) }, strict);
const DhcpOption = Type.Object(
  {
    opt_name: Type.String({ minLength: 1, maxLength: 64 }),
    opt_value: Type.Union([text, Type.Null()]),
    ip_version: optional(Type.Union([Type.Integer(), Type.Enum(['4', '6'])])),
  },
  strict,
);
const changeable = {
  ...named,
  ...{ admin_state_up: boolean, port_security_enabled: boolean, dns_name: optional(text) },
  ...{ device_id: optional(text), device_owner: optional(text) },
  mac_address: optional(address),
  fixed_ips: optional(Type.Array(FixedIp, { maxItems: 20 })),
  security_groups: optional(Type.Union([Type.Array(text, { maxItems: 100 }), Type.Null()])),
  allowed_address_pairs: optional(
    Type.Array(Type.Object({ ip_address: address, mac_address: optional(address) }, strict), { maxItems: 100 }),
  ),
  extra_dhcp_opts: optional(Type.Union([Type.Array(DhcpOption, { maxItems: 50 }), Type.Null()])),
  'binding:vnic_type': optional(Type.Enum(VNIC_TYPES)),
  'binding:host_id': optional(Type.Union([text, Type.Null()])),
  'binding:profile': optional(Type.Union([profile, Type.Null()])),
  qos_policy_id: optional(Type.Null()),
};
const CreatePort = Type.Object({ ...project, ...changeable, network_id: text }, strict);
const UpdatePort = Type.Object(changeable, strict);

const Port = Type.Partial(
  Type.Object({
    ...standard,
    network_id: Type.String(),
    mac_address: Type.String(),
    fixed_ips: Type.Array(Type.Object({ subnet_id: Type.String(), ip_address: Type.String() }, strict)),
    admin_state_up: Type.Boolean(),
    status: Type.Enum(['ACTIVE', 'DOWN']),
    device_id: Type.String(),
    device_owner: Type.String(),
    security_groups: texts,
    allowed_address_pairs: Type.Array(Type.Object({ ip_address: Type.String(), mac_address: Type.String() }, strict)),
    extra_dhcp_opts: Type.Array(
      Type.Object({ opt_name: Type.String(), opt_value: Type.String(), ip_version: Type.Integer() }, strict),
    ),
    port_security_enabled: Type.Boolean(),
    dns_name: Type.String(),
    dns_assignment: Type.Array(
      Type.Object({ ip_address: Type.String(), hostname: Type.String(), fqdn: Type.String() }, strict),
    ),
    'binding:vnic_type': Type.Enum(VNIC_TYPES),
    'binding:host_id': Type.String(),
    'binding:vif_type': Type.String(),
    'binding:vif_details': Type.Object({}, strict),
    'binding:profile': profile,
  }),
  strict,
);

/** User-mode networking on the host; Neutron has no name of its own for it. */
export const VIF_TYPE = 'other';
/** Neutron's default dns_domain. */
const DOMAIN = 'openstacklocal.';

/** Each has a rule of its own. */
function bindingOf(port: PortRecord, { p, actor }: Pick<Context, 'p' | 'actor'>): Partial<Static<typeof Port>> {
  const shows = (rule: RuleName): boolean => p.policies.allows('network', rule, actor);
  return {
    ...(shows('get_port:binding:host_id') ? { 'binding:host_id': port.host ?? port.wantedHost } : {}),
    ...(shows('get_port:binding:vif_type') ? { 'binding:vif_type': port.host === null ? 'unbound' : VIF_TYPE } : {}),
    ...(shows('get_port:binding:vif_details') ? { 'binding:vif_details': {} } : {}),
    ...(shows('get_port:binding:profile') ? { 'binding:profile': { ...port.profile } } : {}),
  };
}

export const renderPort = (port: PortRecord, { p, actor }: Pick<Context, 'p' | 'actor'>): Static<typeof Port> => ({
  ...{ ...renderStandard(port), name: port.name, network_id: port.networkId, mac_address: port.mac },
  fixed_ips: port.fixedIps.map(({ subnetId, ip }) => ({ subnet_id: subnetId, ip_address: ip })),
  ...{ admin_state_up: port.adminStateUp, status: isActive(port) ? 'ACTIVE' : 'DOWN' },
  ...{ device_id: port.deviceId, device_owner: port.deviceOwner, security_groups: [...port.groupIds] },
  ...{ allowed_address_pairs: [...port.addressPairs], extra_dhcp_opts: [...port.dhcpOptions] },
  ...{ port_security_enabled: port.portSecurity, dns_name: port.dnsName, dns_assignment: assignmentsOf(port) },
  'binding:vnic_type': port.vnicType as (typeof VNIC_TYPES)[number],
  ...bindingOf(port, { p, actor }),
});

const assignmentsOf = ({ fixedIps, dnsName }: PortRecord) =>
  fixedIps.map(({ ip }) => {
    const hostname = dnsName === '' ? `host-${ip.replaceAll('.', '-')}` : (dnsName.split('.', 1)[0] ?? dnsName);
    return { ip_address: ip, hostname, fqdn: `${hostname}.${DOMAIN}` };
  });

const wishOf = (wish: Static<typeof UpdatePort>): PortWish => ({
  ...{ name: wish.name, description: wish.description, adminStateUp: wish.admin_state_up, mac: wish.mac_address },
  ...{ deviceId: wish.device_id, deviceOwner: wish.device_owner, portSecurity: wish.port_security_enabled },
  fixedIps: wish.fixed_ips?.map(({ subnet_id, ip_address }) => ({ subnetId: subnet_id, ip: ip_address })),
  groupIds: wish.security_groups === null ? [] : wish.security_groups,
  addressPairs: wish.allowed_address_pairs,
  dhcpOptions: wish.extra_dhcp_opts === undefined ? undefined : optionsOf(wish.extra_dhcp_opts ?? []),
  dnsName: wish.dns_name,
  wantedHost: wish['binding:host_id'] === null ? '' : wish['binding:host_id'],
  vnicType: wish['binding:vnic_type'],
  profile: wish['binding:profile'] === null ? {} : wish['binding:profile'],
});

/** An option without a value is one to be taken away. */
const optionsOf = (options: readonly Static<typeof DhcpOption>[]) =>
  options.flatMap(({ opt_name, opt_value, ip_version }) =>
    opt_value === null ? [] : [{ opt_name, opt_value, ip_version: Number(ip_version ?? 4) }],
  );

/** What the rules about a port's attributes are asked about: whose it is, and whose its network is. */
async function targetOf({ db, actor }: Context, projectId: string, networkId: string, owner: string): Promise<Target> {
  return portTarget(projectId, await findNetwork(db, actor, networkId), owner);
}

export const portTarget = (
  projectId: string,
  network: Pick<NetworkRecord, 'projectId' | 'shared'> | null,
  owner: string,
): Target => ({
  ...{ project_id: projectId, tenant_id: projectId, device_owner: owner },
  ...(network ? { 'network:tenant_id': network.projectId, shared: network.shared ? 'True' : 'False' } : {}),
});

/** `ip_address=…`, `ip_address_substr=…` and `subnet_id=…`, and the other filters that are no columns. */
function filterOf(query: ListQuery): PortFilter | null {
  const list = (name: string) => query[name] as readonly string[] | undefined;
  const fixed = (list('fixed_ips') ?? []).map((each) => {
    const match = /^(ip_address|ip_address_substr|subnet_id)=(.*)$/.exec(each);
    if (match) return { key: match[1], value: match[2] ?? '' };
    const message = `Invalid input for fixed_ips. Reason: '${each}' is neither ip_address=… nor subnet_id=….`;
    throw new ApiError(400, message);
  });
  const ips = fixed.filter((each) => each.key === 'ip_address').map((each) => each.value);
  const ipParts = fixed.filter((each) => each.key === 'ip_address_substr').map((each) => each.value);
  const subnetIds = fixed.filter((each) => each.key === 'subnet_id').map((each) => each.value);
  const status = list('status');
  const [active, down] = [!status || status.includes('ACTIVE'), !status || status.includes('DOWN')];
  if (!active && !down) return null;
  const [deviceIds, hosts, groupIds] = [list('device_id'), list('binding:host_id'), list('security_groups')];
  return {
    ...(ips.length > 0 ? { ips } : {}),
    ...(ipParts.length > 0 ? { ipParts } : {}),
    ...(subnetIds.length > 0 ? { subnetIds } : {}),
    ...(deviceIds ? { deviceIds } : {}),
    ...(hosts ? { hosts } : {}),
    ...(groupIds ? { groupIds } : {}),
    ...(active && down ? {} : { active }),
  };
}

export const portRoutes: readonly Route[] = resourceRoutes<PortRecord>({
  ...{ path: 'ports', single: 'port', called: 'a port', collection: PORT_COLUMNS, item: Port },
  filters: { status: values, device_id: values, fixed_ips: values, security_groups: values, 'binding:host_id': values },
  list: async ({ db, actor }, selection, query) => {
    const filter = filterOf(query);
    return filter ? listPorts(db, actor, selection, filter) : [];
  },
  find: ({ db, actor }, id) => findPort(db, actor, id),
  render: renderPort,
  create: {
    attributes: CreatePort,
    run: async (context, wish: Static<typeof CreatePort>) => {
      const { db, actor, now } = context;
      const target = await targetOf(context, actor.projectId, wish.network_id, wish.device_owner ?? '');
      if (target['network:tenant_id'] !== undefined) requireAttributes(context, 'create_port', wish, target);
      return createPort(db, actor, { ...wishOf(wish), networkId: wish.network_id, now });
    },
  },
  update: {
    attributes: UpdatePort,
    run: async (context, id, wish: Static<typeof UpdatePort>) => {
      const { db, actor, now } = context;
      const port = await findPort(db, actor, id);
      if (port) {
        const owner = wish.device_owner ?? port.deviceOwner;
        const target = await targetOf(context, port.projectId, port.networkId, owner);
        requireAttributes(context, 'update_port', wish, target);
      }
      return updatePort(db, actor, id, { ...wishOf(wish), now });
    },
  },
  remove: ({ db, actor, now }, id) => deletePort(db, actor, id, now),
});
