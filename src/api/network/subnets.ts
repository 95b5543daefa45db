// Subnets. IPv4 alone: see docs/compatibility.md.
import { type Static, Type } from 'typebox';
import {
  createSubnet,
  deleteSubnet,
  findSubnet,
  listSubnets,
  SUBNET_COLUMNS,
  type SubnetChange,
  type SubnetRecord,
  updateSubnet,
} from '../../control/network/subnets.ts';
import { ApiError } from '../http/errors.ts';
import type { Route } from '../http/route.ts';
import { lenientInteger } from '../http/validation.ts';
import { requireAttributes, resourceRoutes } from './resource.ts';
import {
  boolean,
  ipv4,
  named,
  optional,
  project,
  renderStandard,
  standard,
  strict,
  text,
  texts,
  values,
} from './shapes.ts';

const cidr = Type.String({ maxLength: 50 });
const Pool = Type.Object({ start: Type.String({ maxLength: 50 }), end: Type.String({ maxLength: 50 }) }, strict);
const HostRoute = Type.Object({ destination: cidr, nexthop: ipv4 }, strict);
const changeable = {
  ...named,
  gateway_ip: optional(Type.Union([Type.String({ maxLength: 50 }), Type.Null()])),
  allocation_pools: optional(Type.Array(Pool, { maxItems: 20 })),
  dns_nameservers: optional(Type.Array(Type.Union([ipv4, Type.String({ format: 'ipv6' })]), { maxItems: 20 })),
  host_routes: optional(Type.Array(HostRoute, { maxItems: 50 })),
  enable_dhcp: boolean,
  service_types: optional(Type.Array(text, { maxItems: 50 })),
};
const CreateSubnet = Type.Object(
  {
    ...{ ...project, ...changeable, network_id: text, ip_version: lenientInteger(0, 255), cidr: optional(cidr) },
    ...{ subnetpool_id: optional(Type.Null()), prefixlen: optional(lenientInteger(0, 128)) },
  },
  strict,
);
const UpdateSubnet = Type.Object(changeable, strict);

const Subnet = Type.Partial(
  Type.Object({
    ...standard,
    network_id: Type.String(),
    ip_version: Type.Literal(4),
    cidr: Type.String(),
    gateway_ip: Type.Union([Type.String(), Type.Null()]),
    allocation_pools: Type.Array(Pool),
    enable_dhcp: Type.Boolean(),
    dns_nameservers: texts,
    host_routes: Type.Array(HostRoute),
    ipv6_address_mode: Type.Null(),
    ipv6_ra_mode: Type.Null(),
    subnetpool_id: Type.Null(),
    service_types: texts,
  }),
  strict,
);

export const renderSubnet = (subnet: SubnetRecord): Static<typeof Subnet> => ({
  ...{ ...renderStandard(subnet), name: subnet.name, network_id: subnet.networkId, ip_version: 4, cidr: subnet.cidr },
  ...{ gateway_ip: subnet.gateway, allocation_pools: [...subnet.pools], enable_dhcp: subnet.enableDhcp },
  ...{ dns_nameservers: [...subnet.dns], host_routes: [...subnet.routes], service_types: [...subnet.serviceTypes] },
  ...{ ipv6_address_mode: null, ipv6_ra_mode: null, subnetpool_id: null },
});

const changeOf = (wish: Static<typeof UpdateSubnet>): SubnetChange => ({
  ...{ name: wish.name, description: wish.description, gateway: wish.gateway_ip, pools: wish.allocation_pools },
  ...{ dns: wish.dns_nameservers, routes: wish.host_routes, enableDhcp: wish.enable_dhcp },
  serviceTypes: wish.service_types,
});

const bad = (message: string): ApiError => new ApiError(400, message, { type: 'HTTPBadRequest' });

export const subnetRoutes: readonly Route[] = resourceRoutes<SubnetRecord>({
  ...{ path: 'subnets', single: 'subnet', called: 'a subnet', collection: SUBNET_COLUMNS, item: Subnet },
  filters: { ip_version: values, subnetpool_id: values },
  list: async ({ db, actor }, selection, query) => {
    const versions = query['ip_version'] as readonly string[] | undefined;
    if ((versions && !versions.includes('4')) || query['subnetpool_id'] !== undefined) return [];
    return listSubnets(db, actor, selection);
  },
  find: ({ db, actor }, id) => findSubnet(db, actor, id),
  render: renderSubnet,
  create: {
    attributes: CreateSubnet,
    run: (context, wish: Static<typeof CreateSubnet>) => {
      const { db, actor, now } = context;
      requireAttributes(context, 'create_subnet', wish, { project_id: actor.projectId, tenant_id: actor.projectId });
      if (wish.ip_version !== 4) throw bad('Invalid input for ip_version. Reason: only 4 is offered here.');
      const { cidr: wished } = wish;
      if (wished === undefined)
        throw bad('Bad subnets request: a subnetpool must be specified in the absence of a cidr.');
      const name = wish.name ?? '';
      return createSubnet(db, actor, { ...changeOf(wish), name, networkId: wish.network_id, cidr: wished, now });
    },
  },
  update: {
    attributes: UpdateSubnet,
    run: async (context, id, wish: Static<typeof UpdateSubnet>) => {
      const { db, actor, now } = context;
      const { projectId = '' } = (await findSubnet(db, actor, id)) ?? {};
      requireAttributes(context, 'update_subnet', wish, { project_id: projectId, tenant_id: projectId });
      return updateSubnet(db, actor, id, { ...changeOf(wish), now });
    },
  },
  remove: ({ db, actor }, id) => deleteSubnet(db, actor, id),
});
