// The service catalog: which service answers where, as tokens carry it and as administrators list it. One address serves
// them all, and what is in the catalog follows from the configuration: nothing of it can be changed here.
import type { Static } from 'typebox';
import { derivedId } from '../../control/identity/seeds.ts';
import type { Platform, Settings } from '../../control/platform.ts';
import { type ApiError, notFound } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { listed, selfLink, V3 } from './render.ts';
import * as schema from './schemas.ts';

const service = 'identity' as const;

const SERVICES = [
  { type: 'identity', name: 'keystone', path: '/identity' },
  { type: 'compute', name: 'nova', path: '/compute/v2.1' },
  { type: 'image', name: 'glance', path: '/image' },
  { type: 'network', name: 'neutron', path: '/network' },
  { type: 'volumev3', name: 'cinderv3', path: '/volume/v3/{project}' },
  { type: 'block-storage', name: 'cinder', path: '/volume/v3/{project}' },
  // The oldest of its names, which some clients (pkgcloud) know alone. They tell services apart by name.
  { type: 'volume', name: 'cinder-volume', path: '/volume/v3/{project}' },
] as const;
const INTERFACES = ['public', 'internal', 'admin'] as const;

type ServiceType = (typeof SERVICES)[number]['type'];
const serviceId = (type: ServiceType): string => derivedId('service', type);
const endpointId = (type: ServiceType, kind: string): string => derivedId('endpoint', `${type}:${kind}`);

/** `projectId`: the token's, which block storage has in its path. */
export const catalogOf = (settings: Settings, projectId: string): object[] =>
  SERVICES.map(({ type, name, path }) => ({
    ...{ id: serviceId(type), type, name },
    endpoints: INTERFACES.map((kind) => ({
      ...{ id: endpointId(type, kind), interface: kind, region: settings.region, region_id: settings.region },
      url: `${settings.publicUrl}${path.replace('{project}', () => projectId)}`,
    })),
  }));

const servicesOf = (settings: Settings): Static<typeof schema.Service>[] =>
  SERVICES.map(({ type, name }) => ({
    ...{ id: serviceId(type), type, name, description: '', enabled: true },
    links: selfLink(settings, `/services/${serviceId(type)}`),
  }));

const endpointsOf = (settings: Settings): Static<typeof schema.Endpoint>[] =>
  SERVICES.flatMap(({ type, path }) =>
    INTERFACES.map((kind) => ({
      ...{ id: endpointId(type, kind), interface: kind, region: settings.region, region_id: settings.region },
      ...{ service_id: serviceId(type), url: `${settings.publicUrl}${path.replace('{project}', '$(project_id)s')}` },
      ...{ enabled: true, links: selfLink(settings, `/endpoints/${endpointId(type, kind)}`) },
    })),
  );

const regionsOf = (settings: Settings): Static<typeof schema.Region>[] => [
  {
    ...{ id: settings.region, description: '', parent_region_id: null },
    links: selfLink(settings, `/regions/${settings.region}`),
  },
];

export const catalogRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: `${V3}/services`, service, summary: 'List the services of the catalog' },
    policy: 'identity:list_services',
    query: schema.query({ name: schema.asked, type: schema.asked }),
    answers: { 200: schema.listOf('services', schema.Service) },
    handle: ({ p, query }) => answer(p, 'services', servicesOf(p.settings).filter(matching(query))),
  }),
  route({
    ...{ method: 'GET', url: `${V3}/services/:id`, service, summary: 'Show a service of the catalog' },
    policy: 'identity:get_service',
    params: schema.IdParams,
    answers: { 200: schema.one('service', schema.Service) },
    handle: ({ p, params }) => ({
      ...{ status: 200, body: { service: oneOf(servicesOf(p.settings), 'service', params.id) } },
    }),
  }),
  route({
    ...{ method: 'GET', url: `${V3}/endpoints`, service, summary: 'List the endpoints of the catalog' },
    policy: 'identity:list_endpoints',
    query: schema.query({ interface: schema.asked, service_id: schema.asked, region_id: schema.asked }),
    answers: { 200: schema.listOf('endpoints', schema.Endpoint) },
    handle: ({ p, query }) => answer(p, 'endpoints', endpointsOf(p.settings).filter(matching(query))),
  }),
  route({
    ...{ method: 'GET', url: `${V3}/endpoints/:id`, service, summary: 'Show an endpoint of the catalog' },
    policy: 'identity:get_endpoint',
    params: schema.IdParams,
    answers: { 200: schema.one('endpoint', schema.Endpoint) },
    handle: ({ p, params }) => ({
      ...{ status: 200, body: { endpoint: oneOf(endpointsOf(p.settings), 'endpoint', params.id) } },
    }),
  }),
  route({
    ...{ method: 'GET', url: `${V3}/regions`, service, summary: 'List the regions of the catalog' },
    policy: 'identity:list_regions',
    query: schema.query({ parent_region_id: schema.asked }),
    answers: { 200: schema.listOf('regions', schema.Region) },
    handle: ({ p, query }) => answer(p, 'regions', regionsOf(p.settings).filter(matching(query))),
  }),
  route({
    ...{ method: 'GET', url: `${V3}/regions/:id`, service, summary: 'Show a region of the catalog' },
    policy: 'identity:get_region',
    params: schema.IdParams,
    answers: { 200: schema.one('region', schema.Region) },
    handle: ({ p, params }) => ({
      ...{ status: 200, body: { region: oneOf(regionsOf(p.settings), 'region', params.id) } },
    }),
  }),
];

const answer = (p: Platform, plural: string, items: readonly object[]) => ({
  ...{ status: 200, body: listed(p.settings, `/${plural}`, plural, items) },
});

/** Equality of what is asked for by a name that the item has. */
const matching =
  (query: object) =>
  (item: object): boolean =>
    Object.entries(query).every(([key, value]) => !Object.hasOwn(item, key) || Object.is(Object(item)[key], value));

/** @throws ApiError 404 */
function oneOf<T extends { readonly id: string }>(items: readonly T[], what: string, id: string): T {
  const found = items.find((each) => each.id === id);
  if (!found) throw absent(what, id);
  return found;
}

const absent = (what: string, id: string): ApiError => notFound(`Could not find ${what}: ${id.slice(0, 255)}.`);
