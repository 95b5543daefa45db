// Floating IPs, as Neutron's extensions router and fip-port-details.
import { type Static, Type } from 'typebox';
import {
  type Association,
  createFloatingIp,
  deleteFloatingIp,
  FLOATING_IP_COLUMNS,
  type FloatingIpFilter,
  type FloatingIpRecord,
  type FloatingIpTarget,
  findFloatingIp,
  listFloatingIps,
  updateFloatingIp,
} from '../../control/network/floating-ips.ts';
import { isActive } from '../../control/network/ports.ts';
import type { Route } from '../http/route.ts';
import type { ListQuery } from './listing.ts';
import { requireAttributes, resourceRoutes } from './resource.ts';
import { idOrNull, ipv4, optional, project, renderStandard, standard, strict, text, values } from './shapes.ts';

const fixed_ip_address = optional(Type.Union([ipv4, Type.Null()]));
const CreateFloatingIp = Type.Object(
  {
    ...{ ...project, floating_network_id: text, subnet_id: optional(idOrNull), floating_ip_address: fixed_ip_address },
    ...{ port_id: optional(idOrNull), fixed_ip_address, description: optional(text) },
    ...{ dns_name: optional(text), dns_domain: optional(text) },
  },
  strict,
);
const UpdateFloatingIp = Type.Object(
  { port_id: optional(idOrNull), fixed_ip_address, description: optional(text) },
  strict,
);

const { name: _none, ...nameless } = standard;
const textOrNull = Type.Union([Type.String(), Type.Null()]);
const PortDetails = Type.Object(
  {
    ...{ name: Type.String(), network_id: Type.String(), mac_address: Type.String(), admin_state_up: Type.Boolean() },
    ...{ status: Type.Enum(['ACTIVE', 'DOWN']), device_id: Type.String(), device_owner: Type.String() },
  },
  strict,
);
const FloatingIp = Type.Partial(
  Type.Object({
    ...{ ...nameless, floating_network_id: Type.String(), floating_ip_address: Type.String() },
    ...{ port_id: textOrNull, fixed_ip_address: textOrNull, router_id: textOrNull },
    ...{
      status: Type.Enum(['ACTIVE', 'DOWN']),
      port_details: Type.Union([PortDetails, Type.Null()]),
      dns_name: Type.String(),
      dns_domain: Type.String(),
    },
  }),
  strict,
);

const detailsOf = (port: FloatingIpTarget['port']): Static<typeof PortDetails> => ({
  ...{ name: port.name, network_id: port.networkId, mac_address: port.mac, admin_state_up: port.adminStateUp },
  ...{ status: isActive(port) ? 'ACTIVE' : 'DOWN', device_id: port.deviceId, device_owner: port.deviceOwner },
});

const renderFloatingIp = (floating: FloatingIpRecord): Static<typeof FloatingIp> => ({
  ...{ ...renderStandard(floating), floating_network_id: floating.networkId, floating_ip_address: floating.ip },
  ...{ port_id: floating.target?.port.id ?? null, fixed_ip_address: floating.target?.fixedIp ?? null },
  ...{ router_id: floating.target?.routerId ?? null, status: floating.target ? 'ACTIVE' : 'DOWN' },
  ...{ dns_name: floating.dnsName, dns_domain: floating.dnsDomain },
  port_details: floating.target && detailsOf(floating.target.port),
});

/** What of a wish says where it shall lead; undefined: nothing. */
function associationOf(wish: Static<typeof UpdateFloatingIp>): Association | undefined {
  const fixedIp = wish.fixed_ip_address ?? undefined;
  if (wish.port_id === undefined) return fixedIp === undefined ? undefined : { portId: null, fixedIp };
  return { portId: wish.port_id === '' ? null : wish.port_id, fixedIp };
}

function filterOf(query: ListQuery): FloatingIpFilter | null {
  const list = (name: string) => query[name] as readonly string[] | undefined;
  const [portIds, routerIds, fixedIps, status] = [
    ...[list('port_id'), list('router_id'), list('fixed_ip_address'), list('status')],
  ];
  const [active, down] = [!status || status.includes('ACTIVE'), !status || status.includes('DOWN')];
  if (!active && !down) return null;
  return {
    ...(portIds ? { portIds } : {}),
    ...(routerIds ? { routerIds } : {}),
    ...(fixedIps ? { fixedIps } : {}),
    ...(active && down ? {} : { active }),
  };
}

export const floatingIpRoutes: readonly Route[] = resourceRoutes<FloatingIpRecord>({
  ...{ path: 'floatingips', single: 'floatingip', called: 'a floating IP' },
  ...{ collection: FLOATING_IP_COLUMNS, item: FloatingIp },
  filters: { status: values, port_id: values, router_id: values, fixed_ip_address: values },
  list: async ({ db, actor }, selection, query) => {
    const filter = filterOf(query);
    return filter ? listFloatingIps(db, actor, selection, filter) : [];
  },
  find: ({ db, actor }, id) => findFloatingIp(db, actor, id),
  render: renderFloatingIp,
  create: {
    attributes: CreateFloatingIp,
    run: (context, wish: Static<typeof CreateFloatingIp>) => {
      const { db, actor, now } = context;
      const { floating_ip_address: ip, subnet_id, ...rest } = wish;
      const asked = ip ? { ...rest, floating_ip_address: ip } : rest;
      requireAttributes(context, 'create_floatingip', asked, {
        project_id: actor.projectId,
        tenant_id: actor.projectId,
      });
      const association = associationOf(wish);
      return createFloatingIp(db, actor, {
        ...{ networkId: wish.floating_network_id, subnetId: subnet_id || undefined, ip: ip ?? undefined },
        ...{ association, description: wish.description, dnsName: wish.dns_name, dnsDomain: wish.dns_domain, now },
      });
    },
  },
  update: {
    attributes: UpdateFloatingIp,
    run: ({ db, actor, now }, id, wish: Static<typeof UpdateFloatingIp>) =>
      updateFloatingIp(db, actor, id, { association: associationOf(wish), description: wish.description, now }),
  },
  remove: ({ db, actor }, id) => deleteFloatingIp(db, actor, id),
});
