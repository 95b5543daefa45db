// Projects see and touch nothing of each other: every route of the table × every id of another project. The ids are
// gathered from the lists that an administrator of project p1 sees, the requests made from the routes' own schemas; a
// new route is tested without a word here, and a new list must have something of p1's in it (see NOTHING_OWNED).
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { bodySchemas, type Route, variantsNow } from '../../src/api/http/route.ts';
import { versionsOf } from '../../src/api/http/versions.ts';
import { newId } from '../../src/lib/ids.ts';
import { fc } from '../../src/lib/property-testing.ts';
import { validValue } from '../fuzz/generate.ts';
import { type FuzzWorld, fuzzWorld } from '../fuzz/world.ts';

/** Lists whose items belong to no project, or that are always empty. */
const NOTHING_OWNED = [
  // They say not whose images are; those of the image service do, and none of these is seen here either.
  '/compute/v2.1/images',
  '/compute/v2.1/images/detail',
  '/compute/v2.1/extensions',
  '/compute/v2.1/flavors',
  '/compute/v2.1/flavors/detail',
  '/compute/v2.1/limits',
  '/compute/v2.1/os-aggregates',
  '/compute/v2.1/os-availability-zone',
  '/compute/v2.1/os-availability-zone/detail',
  '/compute/v2.1/os-floating-ip-pools',
  '/compute/v2.1/os-hypervisors',
  '/compute/v2.1/os-hypervisors/detail',
  '/compute/v2.1/os-hypervisors/statistics',
  '/compute/v2.1/os-hosts',
  '/compute/v2.1/os-instance_usage_audit_log',
  '/compute/v2.1/os-networks',
  '/compute/v2.1/os-services',
  '/compute/v2.1/os-tenant-networks',
  '/compute/v2.1/os-simple-tenant-usage',
  '/identity/v3/auth/catalog',
  '/identity/v3/auth/domains',
  '/identity/v3/auth/projects',
  '/identity/v3/auth/system',
  '/identity/v3/auth/tokens',
  '/identity/v3/domains',
  '/identity/v3/endpoints',
  '/identity/v3/groups',
  '/identity/v3/regions',
  '/identity/v3/role_assignments',
  '/identity/v3/role_inferences',
  '/identity/v3/roles',
  '/identity/v3/services',
  '/image/v2/metadefs/resource_types',
  '/image/v2/schemas/image',
  '/image/v2/schemas/images',
  '/image/v2/schemas/member',
  '/image/v2/schemas/members',
  ...['namespace', 'resource_type', 'object', 'tag'].flatMap((each) => [
    `/image/v2/schemas/metadefs/${each}`,
    `/image/v2/schemas/metadefs/${each}s`,
  ]),
  '/image/v2/schemas/metadefs/property',
  '/image/v2/schemas/metadefs/properties',
  '/image/v2/info/import',
  '/image/v2/info/stores',
  '/network/v2.0/address-scopes',
  '/network/v2.0/agents',
  '/network/v2.0/availability_zones',
  '/network/v2.0/extensions',
  '/network/v2.0/flavors',
  '/network/v2.0/quotas',
  '/network/v2.0/rbac-policies',
  '/network/v2.0/service-providers',
  '/network/v2.0/subnetpools',
  '/volume/v3/extensions',
  '/volume/v3/limits',
  '/volume/v3/os-availability-zone',
  '/volume/v3/os-services',
  '/volume/v3/scheduler-stats/get_pools',
  '/volume/v3/types',
  '/volume/v3/types/default',
  '/volume/v3/volumes/summary',
];

/** What answers 2xx although the path names what is another's, and why that tells nothing. */
const OPEN = new Map([
  ['GET /compute/v2.1/os-quota-sets/:id/defaults', 'the same limits for whatever project is named'],
]);

interface Owned {
  /** Path of the list that it was found in. */
  readonly list: string;
  readonly id: string;
}

describe('a project', () => {
  let world: FuzzWorld;
  let owned: Owned[];
  let image: string;
  before(async () => {
    world = await fuzzWorld();
    world.people['foreigner'] = { userId: 'u9', projectId: 'p2', roles: ['manager', 'member', 'reader'] };
    image = await furnish(world);
    owned = await ownedBy(world);
  });
  after(() => world[Symbol.asyncDispose]());

  it('has something of its own in every list', () => {
    const lists = world.routes.filter(isList).map((route) => route.url);
    const found = new Set(owned.map((each) => each.list));
    assert.deepEqual(
      lists.filter((url) => !found.has(url) && !NOTHING_OWNED.includes(url)),
      [],
    );
    assert.ok(owned.length > 10, JSON.stringify(owned));
  });

  it("never sees another's things in a list, whatever it asks for", async () => {
    for (const route of world.routes.filter(isList)) {
      const queries = [
        '',
        ...Object.keys(propertiesOf(route))
          .filter((key) => /project|tenant|all|user|owner/.test(key))
          .map((key) => `?${key}=${/all/.test(key) ? '1' : /user/.test(key) ? 'u0' : 'p1'}`),
      ];
      for (const query of queries) {
        const { statusCode, body } = await asForeigner(world, route, `${route.url}${query}`);
        const said = `GET ${route.url}${query}: ${statusCode}`;
        if (statusCode >= 300) continue;
        // A project's id stands as the owner beside what it shares with all.
        for (const { id, list } of owned.filter((each) => each.id !== 'p1'))
          assert.ok(!body.includes(`"${id}"`), `${said} shows ${id} of ${list}`);
      }
    }
  });

  it("never touches another's things by their ids, and finds them no more than what is not there", async () => {
    const before = await world.snapshot();
    const ids = [...new Set(owned.map((each) => each.id))];
    const open = new Set<string>();
    let tried = 0;
    for (const route of world.routes) {
      if (!route.url.includes('/:') || route.policy === 'public' || isGone(route)) continue;
      const name = `${route.method} ${route.url}`;
      const answers = new Set<number>();
      for (const id of ids) {
        for (const body of bodiesFor(route, id)) {
          const url = route.url.replaceAll(/:[a-z_]+/g, () => encodeURIComponent(id));
          const { statusCode, body: text } = await asForeigner(world, route, url, body);
          tried += 1;
          answers.add(statusCode);
          const said = `${name} with ${id}: ${statusCode} ${text.slice(0, 300)}`;
          if (statusCode < 300) {
            assert.ok(OPEN.has(name), said);
            open.add(name);
          } else assert.ok([400, 403, 404].includes(statusCode), said);
        }
      }
      // A body that was made at random may be refused for what it says; then nothing was shown for this route.
      assert.ok(
        [...answers].some((status) => status !== 400),
        `${name}: only ever 400`,
      );
    }
    assert.ok(tried > 1000, String(tried));
    assert.deepEqual([...open].toSorted(), [...OPEN.keys()].toSorted());
    assert.equal(await world.snapshot(), before, 'something was changed');
  });

  it("never uses another's things in what it makes", async () => {
    const idOf = (list: string): string => owned.find((each) => each.list.endsWith(list))?.id ?? assert.fail(list);
    const server = { name: 'mine', flavorRef: '1' };
    const open = await world.p.stores.global.selectFrom('networks').select(['id', 'shared', 'external']).execute();
    const shared = open.find((each) => each.shared === 1)?.id;
    const external = open.find((each) => each.external === 1)?.id;
    const requests: readonly (readonly [string, object])[] = [
      ['/compute/v2.1/servers', { server: { ...server, imageRef: idOf('/images') } }],
      ['/compute/v2.1/servers', { server: { ...server, imageRef: image, networks: [{ uuid: idOf('/networks') }] } }],
      ['/compute/v2.1/servers', { server: { ...server, imageRef: image, key_name: idOf('/os-keypairs') } }],
      ['/network/v2.0/ports', { port: { network_id: idOf('/networks') } }],
      ['/network/v2.0/subnets', { subnet: { network_id: idOf('/networks'), ip_version: 4, cidr: '10.9.0.0/24' } }],
      ['/network/v2.0/networks', { network: { name: 'theirs', project_id: 'p1' } }],
      ['/network/v2.0/networks', { network: { name: 'for all', shared: true } }],
      ['/network/v2.0/networks', { network: { name: 'outside', 'router:external': true } }],
      ['/network/v2.0/ports', { port: { network_id: shared, security_groups: [idOf('/security-groups')] } }],
      ['/network/v2.0/routers', { router: { external_gateway_info: { network_id: idOf('/networks') } } }],
      ['/network/v2.0/floatingips', { floatingip: { floating_network_id: external, port_id: idOf('/ports') } }],
      [
        '/network/v2.0/security-group-rules',
        { security_group_rule: { security_group_id: idOf('/security-groups'), direction: 'ingress' } },
      ],
      ['/compute/v2.1/os-keypairs', { keypair: { name: 'theirs', user_id: 'u0', public_key: KEY } }],
    ];
    const before = await world.snapshot();
    for (const [url, payload] of requests) {
      const response = await world.app.inject({
        method: 'POST',
        url,
        headers: { 'x-auth-token': 'foreigner', 'openstack-api-version': 'compute 2.91' },
        payload,
      });
      assert.ok([400, 403, 404].includes(response.statusCode), `${url} ${JSON.stringify(payload)}: ${response.body}`);
    }
    assert.equal(await world.snapshot(), before, 'something was changed');
  });
});

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKvxQZ1NGXDTYlG9bFCzz8UKVGsBMPNFmyGXDtqhFZ x';

/** Taken away from the API: answers nothing else to anybody. */
const isGone = ({ answers }: Route): boolean => 410 in answers;

const isList = (route: Route): boolean =>
  !isGone(route) &&
  route.method === 'GET' &&
  !route.url.includes('/:') &&
  route.policy !== 'public' &&
  route.service !== 'crosscell';

const propertiesOf = (route: Route): object => (route.query as { properties?: object } | undefined)?.properties ?? {};

function versionOf({ service, until }: Route): string {
  const range = versionsOf(service);
  return range ? `${range.service} ${range.major}.${until ?? range.max}` : 'compute 2.1';
}

/** Where the path must be said again in the body. */
const bodyNaming = (route: Route, id: string): unknown[] =>
  route.method === 'PUT' && route.url.endsWith('/metadata/:key') ? [{ meta: { [id]: 'x' } }] : [];

/** One body per schema, the same in every run, with the id wherever a text may stand. */
function bodiesFor(route: Route, id: string): unknown[] {
  const schemas = variantsNow(route) ?? bodySchemas(route);
  if (schemas.length === 0) return [undefined];
  const sampled = schemas.flatMap((schema) => fc.sample(validValue(schema, fc.constant(id)), { numRuns: 1, seed: 7 }));
  return [...sampled, ...bodyNaming(route, id)];
}

function asForeigner(world: FuzzWorld, route: Route, url: string, body?: unknown) {
  return world.app.inject({
    method: route.method,
    url,
    headers: {
      'x-auth-token': 'foreigner',
      'openstack-api-version': versionOf(route),
      ...(body === undefined ? {} : { 'content-type': route.contentTypes?.[0] ?? 'application/json' }),
    },
    ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
  });
}

/** Whatever lists call p1's or u0's and do not show to all. */
async function ownedBy(world: FuzzWorld): Promise<Owned[]> {
  const found: Owned[] = [];
  for (const route of world.routes.filter(isList)) {
    const response = await world.app.inject({
      method: 'GET',
      url: route.url,
      headers: { 'x-auth-token': 'admin', 'openstack-api-version': versionOf(route) },
    });
    if (response.statusCode >= 300) continue;
    for (const id of ownedIn(response.json(), route.url)) found.push({ list: route.url, id });
  }
  return found;
}

/** Lists that show nothing but ids and names: all in them is p1's, for nobody else has made anything. */
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
  '/identity/v3/projects',
  '/volume/v3/volumes',
  '/volume/v3/volumes/detail',
  '/volume/v3/snapshots',
  '/volume/v3/snapshots/detail',
  '/volume/v3/attachments',
  '/volume/v3/attachments/detail',
];

function ownedIn(value: unknown, list: string): string[] {
  if (Array.isArray(value)) return value.flatMap((each) => ownedIn(each, list));
  if (typeof value !== 'object' || value === null) return [];
  const { id, uuid, name, namespace, shared, visibility, ...rest } = value as Record<string, unknown>;
  const owner = rest['project_id'] ?? rest['tenant_id'] ?? rest['owner'];
  // A name beside its owner's id says whose something else is.
  if (id === undefined && uuid === undefined && owner !== undefined && Object.keys(value).length === 2) return [];
  const open = shared === true || visibility === 'public' || visibility === 'community';
  const inside = Object.values(rest).flatMap((each) => ownedIn(each, list));
  const key = [uuid, id, name, namespace].find((each) => typeof each === 'string');
  if (typeof key !== 'string' || open || inside.includes(key)) return inside;
  return owner === 'p1' || (BRIEF.includes(list) && key !== 'p2') ? [key, ...inside] : inside;
}

/** More of p1's: a network with a subnet and a port, an image of its own, a move. Returns the image that is public. */
async function furnish(world: FuzzWorld): Promise<string> {
  const post = async (url: string, payload: object): Promise<Record<string, { id: string }>> => {
    const response = await world.app.inject({ method: 'POST', url, headers: { 'x-auth-token': 'admin' }, payload });
    assert.ok(response.statusCode < 300, `${url}: ${response.body}`);
    return response.body === '' ? {} : response.json();
  };
  const { network } = await post('/network/v2.0/networks', { network: { name: 'private' } });
  const subnet = { network_id: network?.id, ip_version: 4, cidr: '10.77.0.0/24' };
  const { subnet: made } = await post('/network/v2.0/subnets', { subnet });
  const { port } = await post('/network/v2.0/ports', { port: { network_id: network?.id } });
  const external = await world.p.stores.global
    .selectFrom('networks')
    .select('id')
    .where('external', '=', 1)
    .executeTakeFirstOrThrow();
  const gateway = { external_gateway_info: { network_id: external.id } };
  const { router } = await post('/network/v2.0/routers', { router: { name: 'private', ...gateway } });
  await world.app.inject({
    ...{ method: 'PUT', url: `/network/v2.0/routers/${router?.id}/add_router_interface` },
    ...{ headers: { 'x-auth-token': 'admin' }, payload: { subnet_id: made?.id } },
  });
  await post('/network/v2.0/floatingips', { floatingip: { floating_network_id: external.id, port_id: port?.id } });
  await post('/image/v2/images', { name: 'private', disk_format: 'qcow2', container_format: 'bare' });
  await post('/image/v2/metadefs/namespaces', { namespace: 'definitions-of-p1', objects: [{ name: 'object' }] });
  await post('/compute/v2.1/os-server-groups', { server_group: { name: 'private', policies: ['affinity'] } });
  const { global } = world.p.stores;
  const server = await global.selectFrom('server_mappings').selectAll().executeTakeFirstOrThrow();
  await global
    .insertInto('migrations')
    .values({
      ...{ uuid: newId(), server_id: server.server_id, project_id: 'p1', user_id: 'u0', type: 'migration' },
      ...{ status: 'confirmed', source_cell_id: server.cell_id, source_host: 'cell1-host1', saga_id: newId() },
      ...{ old_flavor_json: '{"flavorId":"1"}', new_flavor_json: '{"flavorId":"1"}', created_at: 0, updated_at: 0 },
    })
    .execute();
  const volume = await global.selectFrom('volumes').selectAll().executeTakeFirstOrThrow();
  const when = { created_at: 0, updated_at: 0 };
  const { project_id, user_id, size_gb } = volume;
  await global
    .insertInto('volume_snapshots')
    .values({
      ...{ id: newId(), volume_id: volume.id, name: 's', description: null, status: 'available', metadata_json: '{}' },
      ...{ project_id, user_id, size_gb, ...when },
    })
    .execute();
  await global
    .insertInto('volume_attachments')
    .values({
      ...{ id: newId(), volume_id: volume.id, server_id: server.server_id, host: 'cell1-host1', active: 1, mode: 'rw' },
      ...{ generation: 1, created_at: 0, attached_at: 0 },
    })
    .execute();
  const { id } = await global
    .selectFrom('images')
    .select('id')
    .where('visibility', '=', 'public')
    .executeTakeFirstOrThrow();
  return id;
}
