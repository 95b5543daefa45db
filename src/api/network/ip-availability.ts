// Addresses of networks that are left, for administrators (openstack ip availability list).
import { Type } from 'typebox';
import {
  type AvailabilityFilter,
  listIpAvailability,
  type NetworkAvailability,
} from '../../control/network/ip-availability.ts';
import { absent } from '../../control/network/results.ts';
import { type Route, route } from '../http/route.ts';
import { orThrow } from './refusals.ts';
import { only, Params, ShowQuery, service, strict, V2, values } from './shapes.ts';

const PATH = `${V2}/network-ip-availabilities`;
const counts = { total_ips: Type.Integer(), used_ips: Type.Integer() };
const Availability = Type.Object(
  {
    network_id: Type.String(),
    network_name: Type.String(),
    project_id: Type.String(),
    tenant_id: Type.String(),
    ...counts,
    subnet_ip_availability: Type.Array(
      Type.Object(
        {
          ...{ subnet_id: Type.String(), subnet_name: Type.String(), cidr: Type.String() },
          ...{ ip_version: Type.Literal(4), ...counts },
        },
        strict,
      ),
    ),
  },
  strict,
);

const sum = (all: readonly number[]): number => all.reduce((one, other) => one + other, 0);

const render = ({ id, name, projectId, subnets }: NetworkAvailability) => ({
  ...{ network_id: id, network_name: name, project_id: projectId, tenant_id: projectId },
  total_ips: sum(subnets.map(({ total }) => total)),
  used_ips: sum(subnets.map(({ used }) => used)),
  subnet_ip_availability: subnets.map((each) => ({
    ...{ subnet_id: each.id, subnet_name: each.name, cidr: each.cidr, ip_version: 4 },
    ...{ total_ips: each.total, used_ips: each.used },
  })),
});

export const ipAvailabilityRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: PATH, service, summary: 'List how many addresses networks have, and how many are used' },
    policy: 'get_network_ip_availability',
    query: Type.Object(
      {
        ...{ network_id: values, network_name: values, project_id: values, tenant_id: values, fields: values },
        ip_version: Type.Optional(Type.Array(Type.Enum(['4', '6']), { maxItems: 2 })),
      },
      strict,
    ),
    answers: { 200: Type.Object({ network_ip_availabilities: Type.Array(Type.Partial(Availability)) }, strict) },
    handle: async ({ p, query }) => {
      const { network_id: ids, network_name: names, ip_version: versions } = query;
      const filter: AvailabilityFilter = { ids, names, projectIds: query.project_id ?? query.tenant_id };
      // Subnets are of version 4; a network without any has no version.
      const asked = (each: NetworkAvailability): boolean =>
        versions === undefined || (versions.includes('4') && each.subnets.length > 0);
      const found = (await listIpAvailability(p.stores.global, filter)).filter(asked);
      const shown = found.map((each) => only(render(each), query.fields));
      return { status: 200, body: { network_ip_availabilities: shown } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${PATH}/:id`, service, summary: 'Show how many addresses a network has, and uses' },
    policy: 'get_network_ip_availability',
    params: Params,
    query: ShowQuery,
    answers: { 200: Type.Object({ network_ip_availability: Type.Partial(Availability) }, strict) },
    handle: async ({ p, params, query }) => {
      const [found] = await listIpAvailability(p.stores.global, { ids: [params.id] });
      const shown = render(found ?? orThrow<NetworkAvailability>(absent('network', params.id)));
      return { status: 200, body: { network_ip_availability: only(shown, query.fields) } };
    },
  }),
];
