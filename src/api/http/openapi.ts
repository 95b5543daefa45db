// The OpenAPI 3.1 document, made of the routes alone: every operation with its parameters, bodies, answers and errors.
//
// What OpenAPI has no word for is under `x-openstack`, with the names that OpenStack's own documents use: the microversions
// (`min-ver`, `max-ver`) of an operation or of one schema of a body, the action that a schema is of (`action-name`), and
// the policy's rules (`policy`). Of a body with several schemas `discriminator` says what chooses among them.
import type { TSchema } from 'typebox';
import { microversionText } from '../../model/microversion.ts';
import { renderError, type Service } from './errors.ts';
import { isVersioned, policyText, type Route } from './route.ts';
import { versionsOf } from './versions.ts';

type Json = Readonly<Record<string, unknown>>;

const TAGS: Readonly<Record<Service, string>> = {
  compute: "Nova's API: servers, flavors, moves and what belongs to them",
  identity: "Keystone's API: tokens, projects, users, roles",
  image: "Glance's API: images and their data",
  network: "Neutron's API: networks, ports, routers, security groups",
  volume: "Cinder's API: volumes, snapshots, types",
  crosscell: 'What OpenStack has no word for: cells, moves, the audit; and pages',
};
const SERVICES = Object.keys(TAGS) as Service[];

/** Hosts show the fleet's secret instead of a token. */
const FOR_HOSTS = /^\/crosscell\/v1\/images\//;

export function openApiDocument(routes: readonly Route[]): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const route of routes) {
    if (route.method === 'HEAD') continue;
    const path = pathOf(route.url);
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operationOf(route) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Crosscell',
      version: '1',
      description: 'OpenStack-compatible API of Crosscell',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    tags: SERVICES.map((name) => ({ name, description: TAGS[name] })),
    paths,
    components: {
      securitySchemes: {
        token: { type: 'apiKey', in: 'header', name: 'X-Auth-Token', description: 'POST /identity/v3/auth/tokens' },
        fleet: { type: 'http', scheme: 'bearer', description: "The fleet's secret: for hosts" },
      },
      parameters: Object.fromEntries(SERVICES.flatMap((service) => versionParameter(service) ?? [])),
      responses: Object.fromEntries(SERVICES.map((service) => [errorName(service), errorResponse(service)])),
    },
  };
}

/** With OpenAPI's parameters instead of Fastify's. */
export const pathOf = (url: string): string => url.replaceAll(/:(\w+)/g, '{$1}');

/** Unique, and the same for as long as the route is: the method and the path in words. */
const idOf = ({ method, url }: Route): string => `${method.toLowerCase()}${url.replaceAll(/[^A-Za-z0-9]+/g, '_')}`;

function operationOf(route: Route): Json {
  const range = rangeOf(route.service, route.since, route.until);
  const body = bodyOf(route);
  return {
    operationId: idOf(route),
    summary: route.summary,
    tags: [route.service],
    security: securityOf(route),
    parameters: [...pathParameters(route), ...queryParameters(route), ...versionReference(route.service)],
    ...(body === null ? {} : { requestBody: { required: true, content: body } }),
    responses: { ...answersOf(route), default: { $ref: `#/components/responses/${errorName(route.service)}` } },
    'x-openstack': { ...range, policy: policyText(route) },
  };
}

function securityOf({ policy, url }: Route): Json[] {
  if (FOR_HOSTS.test(url)) return [{ fleet: [] }];
  return policy === 'public' ? [] : [{ token: [] }];
}

/** `min-ver` and `max-ver` in the service's words; nothing for services without microversions. */
function rangeOf(service: Service, from: number | undefined, to: number | undefined): Json {
  const range = versionsOf(service);
  if (range === null) return {};
  return {
    'min-ver': microversionText(from ?? range.min, range),
    ...(to === undefined ? {} : { 'max-ver': microversionText(to, range) }),
  };
}

// ---- parameters -------------------------------------------------------------------------------------------------

type Properties = Readonly<Record<string, TSchema>>;
const propertiesOf = (schema: TSchema | undefined): Properties =>
  ((schema as { properties?: Properties } | undefined)?.properties ?? {}) as Properties;

function pathParameters({ url, params }: Route): Json[] {
  const schemas = propertiesOf(params);
  return [...url.matchAll(/:(\w+)/g)].map(([, name = '']) => ({
    ...{ name, in: 'path', required: true, schema: schemas[name] ?? { type: 'string' } },
  }));
}

function queryParameters({ query }: Route): Json[] {
  const required = (query as { required?: readonly string[] } | undefined)?.required ?? [];
  const named = Object.entries(propertiesOf(query)).map(([name, schema]) => ({
    ...{ name, in: 'query', schema },
    ...(required.includes(name) ? { required: true } : {}),
  }));
  if (query === undefined || !('patternProperties' in query)) return named;
  // Anything is taken, and passed over.
  return [...named, { name: 'query', in: 'query', style: 'form', explode: true, schema: { type: 'object' } }];
}

const versionReference = (service: Service): Json[] =>
  versionsOf(service) === null ? [] : [{ $ref: `#/components/parameters/${service}Version` }];

function versionParameter(service: Service): [string, Json][] | null {
  const range = versionsOf(service);
  if (range === null) return null;
  const description = `Microversion, from ${microversionText(range.min, range)} (what counts without this header) to ${microversionText(range.max, range)}`;
  const schema = { type: 'string', pattern: `^${range.service} (latest|${range.major}\\.[0-9]+)$` };
  return [[`${service}Version`, { name: 'OpenStack-API-Version', in: 'header', description, schema }]];
}

// ---- bodies -----------------------------------------------------------------------------------------------------

/** By content type; null: the route takes none. */
function bodyOf(route: Route): Json | null {
  const types = route.contentTypes ?? ['application/json'];
  const schema = route.rawBody ? { type: 'string', format: 'binary' } : bodySchema(route);
  return schema === null ? null : Object.fromEntries(types.map((type) => [type, { schema }]));
}

function bodySchema(route: Route): Json | null {
  const { body, variants, service } = route;
  if (variants) {
    const anyOf = variants.map(({ schema, action, from, to }) => ({
      ...schema,
      'x-openstack': { 'action-name': action, ...rangeOf(service, from, to) },
    }));
    return { anyOf, 'x-openstack': { discriminator: 'action' } };
  }
  if (body === undefined) return null;
  if (!isVersioned(body)) return { ...body, 'x-openstack': rangeOf(service, route.since, route.until) };
  const anyOf = body.byVersion.map(({ from, schema }, index) => {
    const next = body.byVersion[index + 1];
    const to = next === undefined ? route.until : next.from - 1;
    return { ...schema, 'x-openstack': rangeOf(service, Math.max(from, route.since ?? 0), to) };
  });
  return { anyOf, 'x-openstack': { discriminator: 'microversion' } };
}

function answersOf(route: Route): Json {
  return Object.fromEntries(
    Object.entries(route.answers).map(([status, schema]) => [
      status,
      schema === null
        ? { description: Number(status) < 300 ? 'Done; no JSON body' : 'Refused' }
        : { description: 'Done', content: { 'application/json': { schema } } },
    ]),
  );
}

const errorName = (service: Service): string => `${service}Error`;

/** What a refusal of the service looks like: the shape is the same for each status but for the key of its object. */
function errorResponse(service: Service): Json {
  const example = renderError(service, 404, 'What is wrong, in a sentence');
  return {
    description: 'Refused, or failed: 4xx and 5xx. A 401 has the shape of the identity service everywhere',
    content: { 'application/json': { schema: { type: 'object' }, example } },
  };
}
