// os-networks and os-tenant-networks: the network service's networks as Nova showed them when it had its own, until 2.35.
// Nova itself fills in no more than ids and names.
import { Type } from 'typebox';
import { findNetwork, isUsableBy, listNetworks, type NetworkRecord } from '../../control/network/networks.ts';
import type { Db } from '../../control/network/standard.ts';
import { isUuid } from '../../lib/ids.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { notFound } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { BASE, IdParams, MAX_PAGE, object, text } from './common.ts';

const EMPTY = ['cidr', 'netmask', 'gateway', 'broadcast', 'dns1', 'dns2', 'cidr_v6', 'gateway_v6', 'netmask_v6'];
const EMPTY_FOR_ADMINS = [
  ...['created_at', 'updated_at', 'deleted_at', 'deleted', 'injected', 'bridge', 'vlan', 'vpn_public_address'],
  ...['vpn_public_port', 'vpn_private_address', 'dhcp_start', 'project_id', 'host', 'bridge_interface', 'multi_host'],
  ...['priority', 'rxtx_base', 'mtu', 'dhcp_server', 'enable_dhcp', 'share_address'],
];
const Network = Type.Object(
  {
    ...{ id: text(), label: text() },
    ...Object.fromEntries([...EMPTY, ...EMPTY_FOR_ADMINS].map((name) => [name, Type.Optional(Type.Null())])),
  },
  { additionalProperties: false },
);
const TenantNetwork = object({ id: text(), label: text(), cidr: Type.Literal('None') });

const nothing = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, null]));
const renderNetwork = (network: NetworkRecord, actor: Actor): object => ({
  ...{ id: network.id, label: network.name },
  ...nothing(isAdmin(actor) ? [...EMPTY, ...EMPTY_FOR_ADMINS] : EMPTY),
});
const renderTenantNetwork = (network: NetworkRecord): object => ({ id: network.id, label: network.name, cidr: 'None' });

/** What servers of the project can be put on. */
async function usable(db: Db, actor: Actor): Promise<NetworkRecord[]> {
  const seen = await listNetworks(db, actor, { limit: MAX_PAGE });
  return seen.filter((each) => isUsableBy(each, actor.projectId));
}

const proxies = (
  path: string,
  item: typeof Network | typeof TenantNetwork,
  rules: { readonly list: RuleName; readonly show: RuleName },
  render: (network: NetworkRecord, actor: Actor) => object,
): Route[] => [
  route({
    ...{ method: 'GET', url: `${BASE}/${path}`, service: 'compute', until: 35, summary: 'List networks' },
    policy: rules.list,
    behind: { service: 'network', rule: 'get_network' },
    query: Type.Object({}, { additionalProperties: true }),
    answers: { 200: object({ networks: Type.Array(item) }) },
    handle: async ({ p, actor }) => {
      const networks = (await usable(p.stores.global, actor)).map((each) => render(each, actor));
      return { status: 200, body: { networks } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${BASE}/${path}/:id`, service: 'compute', until: 35, summary: 'Show a network' },
    policy: rules.show,
    behind: { service: 'network', rule: 'get_network', record: '/network/v2.0/networks/:id' },
    params: IdParams,
    answers: { 200: object({ network: item }) },
    handle: async ({ p, actor, params }) => {
      const network = isUuid(params.id) ? await findNetwork(p.stores.global, actor, params.id) : null;
      if (!network) throw notFound('Network not found');
      return { status: 200, body: { network: render(network, actor) } };
    },
  }),
];

export const networkProxyRoutes: readonly Route[] = [
  ...proxies(
    'os-networks',
    Network,
    { list: 'os_compute_api:os-networks:list', show: 'os_compute_api:os-networks:show' },
    renderNetwork,
  ),
  ...proxies(
    'os-tenant-networks',
    TenantNetwork,
    { list: 'os_compute_api:os-tenant-networks:list', show: 'os_compute_api:os-tenant-networks:show' },
    renderTenantNetwork,
  ),
];
