// The network API v2.0 (Neutron's), as far as clients and servers need it: networks, subnets, ports, and empty lists of
// what the embedded service does not have.
import { type Static, type TSchema, Type } from 'typebox';
import {
  createNetwork,
  createPort,
  createSubnet,
  deleteNetwork,
  deletePort,
  deleteSubnet,
  findNetwork,
  findPort,
  findSubnet,
  listNetworks,
  listPorts,
  listSubnets,
  NETWORK_LIMITS,
  type NetworkResult,
  type Page,
  type PortFilter,
  updateNetwork,
  updatePort,
} from '../../control/network/records.ts';
import type { Platform, Settings } from '../../control/platform.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { requireRule } from '../http/auth.ts';
import { ApiError } from '../http/errors.ts';
import { type Answer, type Route, route } from '../http/route.ts';
import { bindingRoutes } from './bindings.ts';
import { orThrow } from './refusals.ts';
import { only, renderNetwork, renderPort, renderSubnet } from './render.ts';
import * as schema from './schemas.ts';

const V2 = '/network/v2.0';
/** Most that one page holds (Neutron: pagination_max_limit); more is reached by the link `next`. */
const MAX_PAGE = 1000;

type Db = Parameters<typeof listPorts>[0];
const service = 'network' as const;

const networkRoutesProper: readonly Route[] = [
  route({
    ...{ method: 'GET', url: `${V2}/networks`, service, summary: 'List networks', policy: 'get_network' },
    query: schema.NetworkQuery,
    answers: { 200: schema.Networks },
    handle: async ({ p, actor, query }) => {
      const filter = {
        ...common(query),
        ...(query.shared === undefined ? {} : { shared: isTrue(query.shared) }),
      };
      const up = query.admin_state_up === undefined || isTrue(query.admin_state_up);
      const external = query['router:external'] !== undefined && isTrue(query['router:external']);
      const none = !isIn('ACTIVE', query.status) || !up || external;
      const found = none ? [] : await listNetworks(p.stores.global, actor, filter, onePageMore(query));
      return listed('networks', found, query, p.settings, renderNetwork);
    },
  }),
  route({
    ...{ method: 'GET', url: `${V2}/networks/:id`, service, summary: 'Show a network', policy: 'get_network' },
    params: schema.Params,
    query: schema.ShowQuery,
    answers: { 200: schema.OneNetwork },
    handle: async ({ p, actor, params, query }) => {
      const network = await findNetwork(p.stores.global, actor, params.id);
      if (!network) throw absent('Network', params.id);
      return { status: 200, body: { network: only(renderNetwork(network), query.fields) } };
    },
  }),
  route({
    ...{ method: 'POST', url: `${V2}/networks`, service, summary: 'Create a network', policy: 'create_network' },
    body: schema.CreateNetwork,
    answers: { 201: schema.OneNetwork },
    handle: async ({ p, actor, body: { network } }) => {
      if (network.shared) requireRule(p, 'network', actor, 'create_network:shared');
      const request = { name: network.name ?? '', shared: network.shared ?? false, now: p.clock.now() };
      const created = orThrow(await createNetwork(p.stores.global, acting(actor, network), request));
      return { status: 201, body: { network: renderNetwork(created) } };
    },
  }),
  route({
    ...{ method: 'PUT', url: `${V2}/networks/:id`, service, summary: 'Rename a network', policy: 'update_network' },
    params: schema.Params,
    body: schema.UpdateNetwork,
    answers: { 200: schema.OneNetwork },
    handle: async ({ p, actor, params, body }) => {
      const network = orThrow(await updateNetwork(p.stores.global, actor, params.id, nameOf(body.network)));
      return { status: 200, body: { network: renderNetwork(network) } };
    },
  }),
  removal('networks', 'Delete a network and its subnet', 'delete_network', deleteNetwork),
];

const subnetRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: `${V2}/subnets`, service, summary: 'List subnets', policy: 'get_subnet' },
    query: schema.SubnetQuery,
    answers: { 200: schema.Subnets },
    handle: async ({ p, actor, query }) => {
      const filter = {
        ...common(query),
        ...(query.network_id ? { networkIds: query.network_id } : {}),
        ...(query.cidr ? { cidrs: query.cidr } : {}),
      };
      const none = (query.ip_version ?? 4) !== 4 || (query.enable_dhcp !== undefined && !isTrue(query.enable_dhcp));
      const found = none ? [] : await listSubnets(p.stores.global, actor, filter, onePageMore(query));
      return listed('subnets', found, query, p.settings, renderSubnet);
    },
  }),
  route({
    ...{ method: 'GET', url: `${V2}/subnets/:id`, service, summary: 'Show a subnet', policy: 'get_subnet' },
    params: schema.Params,
    query: schema.ShowQuery,
    answers: { 200: schema.OneSubnet },
    handle: async ({ p, actor, params, query }) => {
      const subnet = await findSubnet(p.stores.global, actor, params.id);
      if (!subnet) throw absent('Subnet', params.id);
      return { status: 200, body: { subnet: only(renderSubnet(subnet), query.fields) } };
    },
  }),
  route({
    ...{ method: 'POST', url: `${V2}/subnets`, service, summary: "Create a network's subnet", policy: 'create_subnet' },
    body: schema.CreateSubnet,
    answers: { 201: schema.OneSubnet },
    handle: async ({ p, actor, body: { subnet } }) => {
      const pool = subnet.allocation_pools?.[0];
      const created = orThrow(
        await createSubnet(p.stores.global, acting(actor, subnet), {
          ...{ networkId: subnet.network_id, name: subnet.name ?? '', cidr: subnet.cidr, now: p.clock.now() },
          ...(subnet.gateway_ip === undefined ? {} : { gateway: subnet.gateway_ip }),
          ...(pool ? { pool } : {}),
        }),
      );
      return { status: 201, body: { subnet: renderSubnet(created) } };
    },
  }),
  removal('subnets', 'Delete a subnet', 'delete_subnet', deleteSubnet),
];

const portRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: `${V2}/ports`, service, summary: 'List ports', policy: 'get_port' },
    query: schema.PortQuery,
    answers: { 200: schema.Ports },
    handle: async ({ p, actor, query }) => {
      const none = query.admin_state_up !== undefined && !isTrue(query.admin_state_up);
      const found = none ? [] : await listPorts(p.stores.global, actor, portFilter(query), onePageMore(query));
      return listed('ports', found, query, p.settings, (port) => renderPort(port, seesBindings(p, actor)));
    },
  }),
  route({
    ...{ method: 'GET', url: `${V2}/ports/:id`, service, summary: 'Show a port', policy: 'get_port' },
    params: schema.Params,
    query: schema.ShowQuery,
    answers: { 200: schema.OnePort },
    handle: async ({ p, actor, params, query }) => {
      const port = await findPort(p.stores.global, actor, params.id);
      if (!port) throw absent('Port', params.id);
      return { status: 200, body: { port: only(renderPort(port, seesBindings(p, actor)), query.fields) } };
    },
  }),
  route({
    ...{ method: 'POST', url: `${V2}/ports`, service, summary: 'Create a port', policy: 'create_port' },
    body: schema.CreatePort,
    answers: { 201: schema.OnePort },
    handle: async ({ p, actor, body: { port } }) => {
      const fixed = port.fixed_ips?.[0];
      const created = orThrow(
        await createPort(p.stores.global, acting(actor, port), {
          ...{ networkId: port.network_id, name: port.name ?? '', now: p.clock.now() },
          ...(fixed?.subnet_id === undefined ? {} : { subnetId: fixed.subnet_id }),
          ...(fixed?.ip_address === undefined ? {} : { ip: fixed.ip_address }),
        }),
      );
      return { status: 201, body: { port: renderPort(created, seesBindings(p, actor)) } };
    },
  }),
  route({
    ...{ method: 'PUT', url: `${V2}/ports/:id`, service, summary: 'Rename a port', policy: 'update_port' },
    params: schema.Params,
    body: schema.UpdatePort,
    answers: { 200: schema.OnePort },
    handle: async ({ p, actor, params, body }) => {
      const change = { ...nameOf(body.port), now: p.clock.now() };
      const port = orThrow(await updatePort(p.stores.global, actor, params.id, change));
      return { status: 200, body: { port: renderPort(port, seesBindings(p, actor)) } };
    },
  }),
  removal('ports', 'Delete a port that no server uses', 'delete_port', deletePort),
];

const EXTENSIONS = [
  ['binding', 'Port Binding', 'Where a port is bound; for administrators'],
  ['binding-extended', 'Port Bindings Extended', 'Several bindings of a port, one of them active'],
  ['quotas', 'Quota management support', 'Shows the limits of a project'],
] as const;
const renderExtension = ([alias, name, description]: (typeof EXTENSIONS)[number]) => ({
  ...{ alias, name, description, updated: '2012-07-29T10:00:00-00:00', links: [] },
});

const EMPTY = [
  ['security-groups', 'get_security_group'],
  ['security-group-rules', 'get_security_group_rule'],
  ['routers', 'get_router'],
  ['floatingips', 'get_floatingip'],
] as const;

const otherRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: `${V2}/extensions`, service, summary: 'List extensions', policy: 'anyone' },
    query: schema.EmptyListQuery,
    answers: { 200: Type.Object({ extensions: Type.Array(schema.Extension) }, { additionalProperties: false }) },
    handle: () => ({ status: 200, body: { extensions: EXTENSIONS.map(renderExtension) } }),
  }),
  route({
    ...{ method: 'GET', url: `${V2}/extensions/:id`, service, summary: 'Show an extension', policy: 'anyone' },
    params: schema.Params,
    answers: { 200: Type.Object({ extension: schema.Extension }, { additionalProperties: false }) },
    handle: ({ params }) => {
      const found = EXTENSIONS.find(([alias]) => alias === params.id);
      if (!found) throw absent('Extension', params.id);
      return { status: 200, body: { extension: renderExtension(found) } };
    },
  }),
  ...EMPTY.map(([collection, policy]) => emptyList(collection, policy)),
  ...['', '/default'].map((suffix) =>
    route({
      ...{ method: 'GET', url: `${V2}/quotas/:id${suffix}`, service, summary: 'Show the limits of a project' },
      policy: 'get_quota',
      target: (id) => ({ project_id: id }),
      params: schema.Params,
      answers: { 200: schema.Quota },
      handle: () => {
        const unused = { router: 0, floatingip: 0, security_group: 0, security_group_rule: 0, subnetpool: 0 };
        return { status: 200, body: { quota: { ...NETWORK_LIMITS, ...unused, rbac_policy: 0 } } };
      },
    }),
  ),
];

export const networkRoutes: readonly Route[] = [
  ...networkRoutesProper,
  ...subnetRoutes,
  ...portRoutes,
  ...bindingRoutes,
  ...otherRoutes,
];

function removal(
  collection: string,
  summary: string,
  policy: RuleName,
  remove: (db: Db, actor: Actor, id: string) => Promise<NetworkResult<null>>,
): Route {
  return route({
    ...{ method: 'DELETE', url: `${V2}/${collection}/:id`, service, summary, policy },
    params: schema.Params,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => {
      orThrow(await remove(p.stores.global, actor, params.id));
      return { status: 204 };
    },
  });
}

function emptyList(collection: string, policy: RuleName): Route {
  const key = collection.replaceAll('-', '_');
  const body: TSchema = Type.Object(
    { [key]: Type.Array(Type.Unknown(), { maxItems: 0 }) },
    { additionalProperties: false },
  );
  return route({
    ...{ method: 'GET', url: `${V2}/${collection}`, service, summary: `List ${collection}: there are none` },
    policy,
    query: schema.EmptyListQuery,
    answers: { 200: body },
    handle: () => ({ status: 200, body: { [key]: [] } }),
  });
}

const absent = (what: 'Network' | 'Subnet' | 'Port' | 'Extension', id: string): ApiError =>
  new ApiError(404, `${what} ${id} could not be found.`, { type: `${what}NotFound` });

/** The project that a new record is for: the actor's, or another's when an administrator names it. */
function acting(actor: Actor, named: { readonly project_id?: string; readonly tenant_id?: string }): Actor {
  const projectId = named.project_id ?? named.tenant_id ?? actor.projectId;
  if (projectId === actor.projectId) return actor;
  if (!isAdmin(actor)) {
    throw new ApiError(403, 'Specifying a project_id other than your own is disallowed by policy', {
      type: 'PolicyNotAuthorized',
    });
  }
  return { ...actor, projectId };
}

/** Neutron has a rule for each of the four fields; the host's stands for all. */
const seesBindings = (p: Platform, actor: Actor): boolean =>
  p.policies.allows('network', 'get_port:binding:host_id', actor);

const nameOf = ({ name }: { readonly name?: string }) => (name === undefined ? {} : { name });
const isTrue = (text: string): boolean => /^([Tt]rue|1)$/.test(text);
const isIn = (value: string, wanted: readonly string[] | undefined): boolean => !wanted || wanted.includes(value);

interface Listing {
  readonly fields?: string[];
  readonly id?: string[];
  readonly name?: string[];
  readonly project_id?: string[];
  readonly tenant_id?: string[];
  readonly limit?: number;
  readonly marker?: string;
}

function common(query: Listing) {
  const projectIds = query.project_id ?? query.tenant_id;
  return {
    ...(query.id ? { ids: query.id } : {}),
    ...(query.name ? { names: query.name } : {}),
    ...(projectIds ? { projectIds } : {}),
  };
}

function portFilter(query: Static<typeof schema.PortQuery>): PortFilter {
  const fixed = (query.fixed_ips ?? []).map((text) => {
    const match = /^(ip_address|subnet_id)=(.*)$/.exec(text);
    if (!match) {
      throw new ApiError(
        400,
        `Invalid input for fixed_ips. Reason: '${text}' is neither ip_address=… nor subnet_id=….`,
      );
    }
    return { key: match[1], value: match[2] ?? '' };
  });
  const ips = fixed.filter((each) => each.key === 'ip_address').map((each) => each.value);
  const subnetIds = fixed.filter((each) => each.key === 'subnet_id').map((each) => each.value);
  const [active, down] = [isIn('ACTIVE', query.status), isIn('DOWN', query.status)];
  return {
    ...common(query),
    ...(query.network_id ? { networkIds: query.network_id } : {}),
    ...(query.device_id ? { deviceIds: query.device_id } : {}),
    ...(query.device_owner ? { deviceOwners: query.device_owner } : {}),
    ...(query.mac_address ? { macs: query.mac_address.map((mac) => mac.toLowerCase()) } : {}),
    ...(query['binding:host_id'] ? { hosts: query['binding:host_id'] } : {}),
    ...(ips.length > 0 ? { ips } : {}),
    ...(subnetIds.length > 0 ? { subnetIds } : {}),
    ...(active && down ? {} : active || down ? { active } : { ids: [] }),
  };
}

const pageSize = (query: Listing): number => Math.min(query.limit ?? MAX_PAGE, MAX_PAGE);
/** One more than is shown, to know whether there is another page. */
const onePageMore = (query: Listing): Page => ({
  limit: pageSize(query) + 1,
  ...(query.marker === undefined ? {} : { marker: query.marker }),
});

function listed<T extends { readonly id: string }>(
  collection: 'networks' | 'subnets' | 'ports',
  found: readonly T[],
  query: Listing,
  settings: Settings,
  render: (record: T) => object,
): Answer {
  const size = pageSize(query);
  const shown = found.slice(0, size);
  const last = shown.at(-1);
  const links =
    found.length > size && last
      ? { [`${collection}_links`]: [{ rel: 'next', href: nextPage(settings, collection, query, last.id) }] }
      : {};
  return { status: 200, body: { [collection]: shown.map((each) => only(render(each), query.fields)), ...links } };
}

function nextPage(settings: Settings, collection: string, query: Listing, marker: string): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (key === 'marker') continue;
    for (const each of [value].flat()) parameters.append(key, String(each));
  }
  parameters.append('marker', marker);
  return `${settings.publicUrl}${V2}/${collection}?${parameters.toString()}`;
}
