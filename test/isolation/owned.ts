// What of the API's things is whose: ids gathered from the lists that the owner sees, and what stands below them.
import { bodySchemas, type Route, variantsNow } from '../../src/api/http/route.ts';
import { versionsOf } from '../../src/api/http/versions.ts';
import { fc } from '../../src/lib/property-testing.ts';
import { validValue } from '../fuzz/generate.ts';
import type { FuzzWorld } from '../fuzz/world.ts';

export interface Owned {
  /** Path of the list that it was found in. */
  readonly list: string;
  readonly id: string;
}

/** Taken away from the API: answers nothing else to anybody. */
export const isGone = ({ answers }: Route): boolean => 410 in answers;

export const isList = (route: Route): boolean =>
  !isGone(route) &&
  route.method === 'GET' &&
  !route.url.includes('/:') &&
  route.policy !== 'public' &&
  route.service !== 'crosscell';

export const propertiesOf = (route: Route): object =>
  (route.query as { properties?: object } | undefined)?.properties ?? {};

function versionOf({ service, until }: Route): string {
  const range = versionsOf(service);
  return range ? `${range.service} ${range.major}.${until ?? range.max}` : 'compute 2.1';
}

/** Where the path must be said again in the body. */
const bodyNaming = (route: Route, id: string): unknown[] =>
  route.method === 'PUT' && route.url.endsWith('/metadata/:key') ? [{ meta: { [id]: 'x' } }] : [];

/** One body per schema, the same in every run, with the id wherever a text may stand. */
export function bodiesFor(route: Route, id: string): unknown[] {
  const schemas = variantsNow(route) ?? bodySchemas(route);
  if (schemas.length === 0) return [undefined];
  const sampled = schemas.flatMap((schema) => fc.sample(validValue(schema, fc.constant(id)), { numRuns: 1, seed: 7 }));
  return [...sampled, ...bodyNaming(route, id)];
}

/** A request of that person, at the newest microversion that has the route. */
export function ask(world: FuzzWorld, token: string, route: Route, url: string, body?: unknown) {
  return world.app.inject({
    method: route.method,
    url,
    headers: {
      'x-auth-token': token,
      'openstack-api-version': versionOf(route),
      ...(body === undefined ? {} : { 'content-type': route.contentTypes?.[0] ?? 'application/json' }),
    },
    ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
  });
}

/** Whatever lists call the project's, or its people's, and do not show to all. */
export async function ownedBy(world: FuzzWorld, token: string, project: string): Promise<Owned[]> {
  const found: Owned[] = [];
  for (const route of world.routes.filter(isList)) {
    const response = await ask(world, token, route, route.url);
    if (response.statusCode >= 300) continue;
    for (const id of ownedIn(response.json(), route.url, project)) found.push({ list: route.url, id });
  }
  return found;
}

/** Lists that show nothing but ids and names: all in them is of the project that asks, or its people. */
const BRIEF = [
  '/compute/v2.1/os-floating-ips',
  '/compute/v2.1/servers',
  '/compute/v2.1/os-keypairs',
  '/compute/v2.1/os-server-groups',
  '/compute/v2.1/os-snapshots',
  '/compute/v2.1/os-snapshots/detail',
  '/compute/v2.1/os-volumes',
  '/compute/v2.1/os-volumes/detail',
  '/identity/v3/users',
  '/volume/v3/volumes',
  '/volume/v3/volumes/detail',
  '/volume/v3/snapshots',
  '/volume/v3/snapshots/detail',
  '/volume/v3/attachments',
  '/volume/v3/attachments/detail',
  ...['', '/detail'].flatMap((each) => [`/volume/v3/os-volume-transfer${each}`, `/volume/v3/volume-transfers${each}`]),
];

function ownedIn(value: unknown, list: string, project: string): string[] {
  if (Array.isArray(value)) return value.flatMap((each) => ownedIn(each, list, project));
  if (typeof value !== 'object' || value === null) return [];
  const { id, uuid, name, namespace, shared, visibility, ...rest } = value as Record<string, unknown>;
  const owner = rest['project_id'] ?? rest['tenant_id'] ?? rest['owner'];
  // A name beside its owner's id says whose something else is.
  if (id === undefined && uuid === undefined && owner !== undefined && Object.keys(value).length === 2) return [];
  const open = shared === true || visibility === 'public' || visibility === 'community';
  const inside = Object.values(rest).flatMap((each) => ownedIn(each, list, project));
  const key = [uuid, id, name, namespace].find((each) => typeof each === 'string');
  if (typeof key !== 'string' || open || inside.includes(key)) return inside;
  if (list.endsWith('/projects')) return key === project ? [key, ...inside] : inside;
  return owner === project || BRIEF.includes(list) ? [key, ...inside] : inside;
}

/** Whether its path names a thing of a thing: /servers/:id/tags/:key. */
export const isBelow = ({ url }: Route): boolean => url.split('/:').length > 2;

/** The list that the first thing of a path is in, by its name alone: images are compute's too. */
export const kindOf = (url: string): string => url.split('/:', 1)[0]?.split('/').at(-1) ?? '';

/** One id of each kind: that of another thing from the same list shows nothing new. */
export const oneOfEachKind = (owned: readonly Owned[]): string[] => [
  ...new Set(
    Map.groupBy(owned, ({ list }) => list)
      .values()
      .map(([first]) => first?.id ?? ''),
  ),
];

/**
 * What the routes below these things speak of, such as tags, ports and requests: every name and text of their lists as
 * that person sees them.
 */
export async function namedBelow(
  world: FuzzWorld,
  token: string,
  route: Route,
  parents: string[],
): Promise<Set<string>> {
  const url = route.url.slice(0, route.url.lastIndexOf('/:'));
  const list = world.routes.find((each) => each.method === 'GET' && each.url === url);
  const found = new Set<string>();
  if (!list || isBelow(list)) return found;
  for (const id of parents) {
    const response = await ask(world, token, list, url.replace(/:[a-z_]+/, encodeURIComponent(id)));
    if (response.statusCode < 300) for (const text of textsOf(response.json())) found.add(text);
  }
  return found;
}

function textsOf(value: unknown): string[] {
  if (typeof value === 'string') return value === '' ? [] : [value];
  if (typeof value !== 'object' || value === null) return [];
  return Array.isArray(value)
    ? value.flatMap(textsOf)
    : Object.entries(value).flatMap(([key, each]) => [key, ...textsOf(each)]);
}
