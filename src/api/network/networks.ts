// Networks: Neutron's core resource with its extensions external-net, net-mtu, port-security.
import { type Static, Type } from 'typebox';
import {
  createNetwork,
  deleteNetwork,
  findNetwork,
  listNetworks,
  NETWORK_COLUMNS,
  type NetworkChange,
  type NetworkRecord,
  updateNetwork,
} from '../../control/network/networks.ts';
import { ApiError } from '../http/errors.ts';
import type { Route } from '../http/route.ts';
import { lenientInteger } from '../http/validation.ts';
import { requireAttributes, resourceRoutes } from './resource.ts';
import { boolean, named, optional, project, renderStandard, standard, strict, text, texts, values } from './shapes.ts';

const changeable = {
  ...named,
  ...{ admin_state_up: boolean, shared: boolean, 'router:external': boolean, port_security_enabled: boolean },
  ...{ mtu: optional(lenientInteger(0, 2 ** 31 - 1)), dns_domain: optional(text) },
};
const CreateNetwork = Type.Object(
  {
    ...{ ...project, ...changeable, is_default: boolean, qos_policy_id: optional(Type.Null()) },
    availability_zone_hints: optional(Type.Array(text, { maxItems: 10 })),
  },
  strict,
);
const UpdateNetwork = Type.Object({ ...changeable, is_default: boolean, qos_policy_id: optional(Type.Null()) }, strict);

/** `?fields=` leaves out what is not named, so nothing is required. */
const Network = Type.Partial(
  Type.Object({
    ...standard,
    admin_state_up: Type.Boolean(),
    status: Type.Enum(['ACTIVE', 'DOWN']),
    shared: Type.Boolean(),
    mtu: Type.Integer(),
    dns_domain: Type.String(),
    subnets: texts,
    'router:external': Type.Boolean(),
    is_default: Type.Boolean(),
    port_security_enabled: Type.Boolean(),
    availability_zones: texts,
    availability_zone_hints: texts,
    ipv4_address_scope: Type.Null(),
    ipv6_address_scope: Type.Null(),
  }),
  strict,
);

export const renderNetwork = (network: NetworkRecord): Static<typeof Network> => ({
  ...{ ...renderStandard(network), name: network.name, admin_state_up: network.adminStateUp },
  status: network.adminStateUp ? 'ACTIVE' : 'DOWN',
  ...{ shared: network.shared, mtu: network.mtu, subnets: [...network.subnetIds] },
  ...{ 'router:external': network.external, port_security_enabled: network.portSecurity },
  dns_domain: network.dnsDomain,
  ...(network.external ? { is_default: false } : {}),
  ...{ availability_zones: ['nova'], availability_zone_hints: [], ipv4_address_scope: null, ipv6_address_scope: null },
});

const changeOf = (wish: Static<typeof UpdateNetwork>): NetworkChange => ({
  ...{ name: wish.name, description: wish.description, shared: wish.shared, external: wish['router:external'] },
  ...{ adminStateUp: wish.admin_state_up, portSecurity: wish.port_security_enabled, mtu: wish.mtu },
  dnsDomain: wish.dns_domain,
});

function refuseZoneHints(hints: readonly string[] = []): void {
  const unknown = hints.find((hint) => hint !== 'nova');
  if (unknown === undefined) return;
  const message = `AvailabilityZone ${unknown.slice(0, 100)} could not be found.`;
  throw new ApiError(404, message, { type: 'AvailabilityZoneNotFound' });
}

export const networkRoutes: readonly Route[] = resourceRoutes<NetworkRecord>({
  ...{ path: 'networks', single: 'network', called: 'a network', collection: NETWORK_COLUMNS, item: Network },
  filters: { status: values },
  list: async ({ db, actor }, selection, query) => {
    const status = query['status'] as readonly string[] | undefined;
    // A network is up when it is meant to be.
    const found = status
      ? { admin_state_up: status.flatMap((each) => (each === 'ACTIVE' ? [1] : each === 'DOWN' ? [0] : [])) }
      : {};
    return listNetworks(db, actor, { ...selection, where: { ...selection.where, ...found } });
  },
  find: ({ db, actor }, id) => findNetwork(db, actor, id),
  render: renderNetwork,
  create: {
    attributes: CreateNetwork,
    run: (context, wish: Static<typeof CreateNetwork>) => {
      const { db, actor, now } = context;
      requireAttributes(context, 'create_network', wish, { project_id: actor.projectId, tenant_id: actor.projectId });
      refuseZoneHints(wish.availability_zone_hints);
      return createNetwork(db, actor, { ...changeOf(wish), name: wish.name ?? '', now });
    },
  },
  update: {
    attributes: UpdateNetwork,
    run: async (context, id, wish: Static<typeof UpdateNetwork>) => {
      const { db, actor, now } = context;
      const network = await findNetwork(db, actor, id);
      const projectId = network?.projectId ?? '';
      requireAttributes(context, 'update_network', wish, { project_id: projectId, tenant_id: projectId });
      return updateNetwork(db, actor, id, { ...changeOf(wish), now });
    },
  },
  remove: ({ db, actor }, id) => deleteNetwork(db, actor, id),
});
