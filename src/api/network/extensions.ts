// What clients ask the network service about itself: its extensions, availability zones, and lists of what it does not
// have, which are empty.
import { type TSchema, Type } from 'typebox';
import { ApiError } from '../http/errors.ts';
import { type Route, type RoutePolicy, route } from '../http/route.ts';
import { EmptyListQuery, Params, service, strict, V2 } from './shapes.ts';

/** Alias, name, what it is. */
export const EXTENSIONS = [
  ['allowed-address-pairs', 'Allowed Address Pairs', 'Addresses that a port may use besides its own'],
  ['availability_zone', 'Availability Zone', 'The availability zones of networks and routers'],
  ['binding', 'Port Binding', 'Where a port is bound; for administrators'],
  ['binding-extended', 'Port Bindings Extended', 'Several bindings of a port, one of them active'],
  ['dns-integration', 'DNS Integration', 'Names of ports, floating IPs and networks, kept and shown'],
  ['ext-gw-mode', 'Neutron L3 Configurable external gateway mode', 'SNAT of gateways, kept and shown'],
  ['external-net', 'Neutron external network', 'Networks that floating IPs and gateways are taken from'],
  ['extraroute', 'Neutron Extra Route', 'Routes of routers'],
  ['extraroute-atomic', 'Atomically add/remove extra routes', 'Routes of routers, one by one'],
  ['extra_dhcp_opt', 'Neutron Extra DHCP options', 'DHCP options of ports, kept and shown'],
  ['filter-validation', 'Filter parameters validation', 'Unknown filters of lists are refused'],
  ['fip-port-details', 'Floating IP Port Details Extension', 'The port that a floating IP leads to'],
  ['ip-substring-filtering', 'IP address substring filtering', 'Ports by parts of their addresses'],
  ['net-mtu', 'Network MTU', 'The MTU of a network'],
  ['network-ip-availability', 'Network IP Availability', 'Addresses of networks that are used'],
  ['network_availability_zone', 'Network Availability Zone', 'The availability zones of networks'],
  ['pagination', 'Pagination support', 'Pages of lists, with links'],
  ['port-security', 'Port Security', 'Ports without security groups'],
  ['project-id', 'project_id field enabled', 'project_id beside tenant_id'],
  ['quotas', 'Quota management support', 'The limits of a project'],
  ['quota_details', 'Quota details management support', 'Limits with usage'],
  ['revision-if-match', 'If-Match constraints based on revision_number', 'Changes of one revision alone'],
  ['router', 'Neutron L3 Router', 'Routers and floating IPs'],
  ['router_availability_zone', 'Router Availability Zone', 'The availability zones of routers'],
  ['security-group', 'security-group', 'Security groups and their rules'],
  ['sorting', 'Sorting support', 'Lists in an order'],
  ['standard-attr-description', 'standard-attr-description', 'Descriptions'],
  ['standard-attr-revisions', 'Resource revision numbers', 'A number that grows with each change'],
  ['standard-attr-tag', 'Tag support for resources with standard attribute', 'Tags'],
  ['standard-attr-timestamp', 'Resource timestamps', 'When a record was made and changed'],
  ['stateful-security-group', 'Stateful security group', 'Groups without state'],
  ['subnet-service-types', 'Subnet service types', 'Subnets for the ports of some owners alone'],
  ['tag-creation', 'Tag creation extension', 'Several tags added at once'],
] as const;
const renderExtension = ([alias, name, description]: (typeof EXTENSIONS)[number]) => ({
  ...{ alias, name, description, updated: '2012-07-29T10:00:00-00:00', links: [] },
});
const Extension = Type.Object(
  {
    ...{ alias: Type.String(), name: Type.String(), description: Type.String(), updated: Type.String() },
    links: Type.Array(Type.Unknown(), { maxItems: 0 }),
  },
  strict,
);
const Zone = Type.Object(
  { name: Type.String(), resource: Type.Enum(['network', 'router']), state: Type.Literal('available') },
  strict,
);

/** What is not here, and the rule that lets somebody see that. */
const EMPTY = [
  ['address-scopes', 'get_subnetpool'],
  // In Neutron whoever may see no agent finds an empty list.
  ['agents', 'anyone'],
  ['address-groups', 'get_network'],
  ['flavors', 'get_flavor'],
  ['rbac-policies', 'get_network'],
  ['service-providers', 'get_service_provider'],
  ['subnetpools', 'get_subnetpool'],
] as const;

export const extensionRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: `${V2}/extensions`, service, summary: 'List extensions', policy: 'anyone' },
    query: EmptyListQuery,
    answers: { 200: Type.Object({ extensions: Type.Array(Extension) }, strict) },
    handle: () => ({ status: 200, body: { extensions: EXTENSIONS.map(renderExtension) } }),
  }),
  route({
    ...{ method: 'GET', url: `${V2}/extensions/:id`, service, summary: 'Show an extension', policy: 'anyone' },
    params: Params,
    answers: { 200: Type.Object({ extension: Extension }, strict) },
    handle: ({ params }) => {
      const found = EXTENSIONS.find(([alias]) => alias === params.id);
      if (!found) {
        const message = `Extension with alias ${params.id} does not exist`;
        throw new ApiError(404, message, { type: 'HTTPNotFound' });
      }
      return { status: 200, body: { extension: renderExtension(found) } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${V2}/availability_zones`, service, summary: 'List availability zones of networks' },
    policy: 'get_availability_zone',
    query: EmptyListQuery,
    answers: { 200: Type.Object({ availability_zones: Type.Array(Zone) }, strict) },
    handle: () => ({
      status: 200,
      body: {
        availability_zones: (['network', 'router'] as const).map((resource) => ({
          name: 'nova',
          resource,
          state: 'available',
        })),
      },
    }),
  }),
  ...EMPTY.map(([collection, policy]) => emptyList(collection, policy)),
];

function emptyList(collection: string, policy: RoutePolicy): Route {
  const key = collection.replaceAll('-', '_');
  const body: TSchema = Type.Object({ [key]: Type.Array(Type.Unknown(), { maxItems: 0 }) }, strict);
  return route({
    ...{ method: 'GET', url: `${V2}/${collection}`, service, summary: `List ${collection}: there are none` },
    policy,
    query: EmptyListQuery,
    answers: { 200: body },
    handle: () => ({ status: 200, body: { [key]: [] } }),
  });
}
