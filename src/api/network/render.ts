// Networks, subnets and ports as the API shows them, and the narrowing that `?fields=` asks for.
import type { Static } from 'typebox';
import type { NetworkRecord, PortRecord, SubnetRecord } from '../../control/network/records.ts';
import { isoSeconds } from '../../model/time.ts';
import type { Network, Port, Subnet } from './schemas.ts';

interface Named {
  readonly id: string;
  readonly name: string;
  readonly projectId: string;
  readonly createdAt: number;
  readonly updatedAt?: number;
}

const record = (of: Named) => ({
  id: of.id,
  name: of.name,
  description: '' as const,
  project_id: of.projectId,
  tenant_id: of.projectId,
  tags: [],
  revision_number: 1,
  created_at: isoSeconds(of.createdAt),
  updated_at: isoSeconds(of.updatedAt ?? of.createdAt),
});

export const renderNetwork = (network: NetworkRecord): Static<typeof Network> => ({
  ...record(network),
  admin_state_up: true,
  status: 'ACTIVE',
  shared: network.shared,
  mtu: network.mtu,
  subnets: [...network.subnetIds],
  'router:external': false,
  port_security_enabled: false,
  availability_zones: [],
  availability_zone_hints: [],
});

export const renderSubnet = (subnet: SubnetRecord): Static<typeof Subnet> => ({
  ...record(subnet),
  network_id: subnet.networkId,
  ip_version: 4,
  cidr: subnet.cidr,
  gateway_ip: subnet.gateway,
  allocation_pools: [{ start: subnet.poolStart, end: subnet.poolEnd }],
  enable_dhcp: true,
  dns_nameservers: [],
  host_routes: [],
  ipv6_address_mode: null,
  ipv6_ra_mode: null,
  subnetpool_id: null,
  service_types: [],
});

/** `admin`: administrators see the host and how the port is plugged in there. */
export const renderPort = (port: PortRecord, admin: boolean): Static<typeof Port> => ({
  ...record(port),
  network_id: port.networkId,
  mac_address: port.mac,
  fixed_ips: [{ subnet_id: port.subnetId, ip_address: port.ip }],
  admin_state_up: true,
  status: port.host === null ? 'DOWN' : 'ACTIVE',
  device_id: port.deviceId,
  device_owner: port.deviceOwner,
  security_groups: [],
  allowed_address_pairs: [],
  extra_dhcp_opts: [],
  port_security_enabled: false,
  'binding:vnic_type': 'normal',
  ...(admin
    ? {
        'binding:host_id': port.host ?? '',
        'binding:vif_type': port.host === null ? 'unbound' : VIF_TYPE,
        'binding:vif_details': {},
        'binding:profile': {},
      }
    : {}),
});

/** User-mode networking on the host; Neutron has no name of its own for it. */
export const VIF_TYPE = 'other';

/** Only the named fields; all when none is named. Unknown names are passed over, as Neutron does. */
export function only<T extends object>(body: T, fields: readonly string[] | undefined): Partial<T> {
  if (!fields || fields.length === 0) return body;
  const wanted = new Set(fields);
  return Object.fromEntries(Object.entries(body).filter(([key]) => wanted.has(key))) as Partial<T>;
}
