// The OpenAPI 3.1 document, made of the routes alone: every operation with its parameters, bodies, answers and errors.
//
// What OpenAPI has no word for is under `x-openstack`, with the names that OpenStack's own documents use: the microversions
// (`min-ver`, `max-ver`) of an operation or of one schema of a body, the action that a schema is of (`action-name`), and
// the policy's rules (`policy`). Of a body with several schemas `discriminator` says what chooses among them.
import type { TSchema } from 'typebox';
import { microversionText } from '../../model/microversion.ts';
import { renderError, type Service } from './errors.ts';
import { HEADERS, isVersioned, policyText, type Route } from './route.ts';
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

const FORMS = `OpenStack-compatible API of Crosscell.

HEAD is answered wherever GET is. Paths of the volume service are taken with a project's id behind /volume/v3 as well, and
those of the compute service below /compute/v2, without microversions. Every answer has X-OpenStack-Request-Id; a 429 and
a 503 may have Retry-After. A GET of one thing passes over query parameters that are not stated. /healthz and /metrics are no part of the API.`;

export function openApiDocument(routes: readonly Route[]): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const route of routes) {
    const path = pathOf(route.url);
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operationOf(route) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Crosscell',
      version: '1',
      description: FORMS,
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
      responses: {
        ...Object.fromEntries(SERVICES.map((service) => [errorName(service), errorResponse(service)])),
        unauthorized: unauthorizedResponse(),
      },
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
    parameters: [
      ...[...pathParameters(route), ...queryParameters(route), ...headerParameters(route)],
      ...versionReference(route.service),
    ],
    ...(body === null ? {} : { requestBody: { required: true, content: body } }),
    responses: {
      ...answersOf(route),
      ...(asksWho(route) ? { 401: { $ref: '#/components/responses/unauthorized' } } : {}),
      default: { $ref: `#/components/responses/${errorName(route.service)}` },
    },
    'x-openstack': { ...range, policy: policyText(route) },
  };
}

function securityOf({ policy, url }: Route): Json[] {
  if (FOR_HOSTS.test(url)) return [{ fleet: [] }];
  return policy === 'public' ? [] : [{ token: [] }];
}

/** Whether it can be answered 401: it wants a token, or is where one logs in. */
const asksWho = (route: Route): boolean => securityOf(route).length > 0 || route.method === 'POST';

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

const headerParameters = ({ asks = [] }: Route): Json[] =>
  asks.map((name) => ({ name, in: 'header', description: HEADERS[name], schema: { type: 'string' } }));

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

function answersOf({ answers, media = [], tells = [], service }: Route): Json {
  const headers = Object.fromEntries(
    tells.map((name) => [name, { description: HEADERS[name], schema: { type: 'string' } }]),
  );
  const told = tells.length === 0 ? {} : { headers };
  const data = Object.fromEntries(media.map((type) => [type, { schema: { type: 'string', format: 'binary' } }]));
  return Object.fromEntries(
    Object.entries(answers).map(([status, schema]) => {
      if (Number(status) >= 400) return [status, { $ref: `#/components/responses/${errorName(service)}` }];
      if (schema !== null)
        return [status, { description: 'Done', ...told, content: { 'application/json': { schema } } }];
      const content = media.length === 0 ? {} : { content: data };
      return [status, { description: media.length === 0 ? 'Done; no body' : 'Done', ...told, ...content }];
    }),
  );
}

const errorName = (service: Service): string => `${service}Error`;

/** What a refusal of the service looks like: the shape is the same for each status but for the key of its object. */
function errorResponse(service: Service): Json {
  const example = renderError(service, 404, 'What is wrong, in a sentence');
  return {
    description: 'Refused, or failed: 4xx and 5xx',
    content: { 'application/json': { schema: shapeOf(example), example } },
  };
}

/** The same of every service. */
function unauthorizedResponse(): Json {
  const example = renderError('identity', 401, 'The request you have made requires authentication.');
  return {
    description: 'No token, or one that does not count; the shape is that of the identity service everywhere',
    headers: { 'www-authenticate': { description: 'How to log in', schema: { type: 'string' } } },
    content: { 'application/json': { schema: shapeOf(example), example } },
  };
}

/** The schema of an example: of an object with one object in it, whatever that one's key is. */
function shapeOf(example: unknown): Json {
  if (typeof example !== 'object' || example === null)
    return { type: typeof example === 'number' ? 'integer' : 'string' };
  const entries = Object.entries(example);
  const [only] = entries;
  if (entries.length === 1 && only && typeof only[1] === 'object')
    return { type: 'object', additionalProperties: shapeOf(only[1]) };
  const properties = Object.fromEntries(entries.map(([name, value]) => [name, shapeOf(value)]));
  return { type: 'object', properties, required: Object.keys(properties) };
}
