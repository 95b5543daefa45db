// Projects see and touch nothing of each other: every route of the table × every id of another project. The ids are
// gathered from the lists that an administrator of project p1 sees, the requests made from the routes' own schemas; a
// new route is tested without a word here, and a new list must have something of p1's in it (see NOTHING_OWNED).
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { emptyListRoutes as noIdentity } from '../../src/api/identity/empty-lists.ts';
import { emptyListRoutes as noVolumes } from '../../src/api/volume/empty-lists.ts';
import { type FuzzWorld, fuzzWorld } from '../fuzz/world.ts';
import { furnish, furnishFirst, KEY, type Owner, publicImage } from './furnish.ts';
import {
  ask,
  bodiesFor,
  isBelow,
  isGone,
  isList,
  kindOf,
  namedBelow,
  type Owned,
  oneOfEachKind,
  ownedBy,
  propertiesOf,
} from './owned.ts';

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
  '/network/v2.0/address-groups',
  '/network/v2.0/extensions',
  '/network/v2.0/flavors',
  // Of all networks, for administrators, and by no ids of its own.
  '/network/v2.0/network-ip-availabilities',
  '/network/v2.0/quotas',
  '/network/v2.0/quotas/project',
  '/network/v2.0/quotas/tenant',
  '/network/v2.0/rbac-policies',
  '/network/v2.0/service-providers',
  '/network/v2.0/subnetpools',
  '/volume/v3/extensions',
  '/volume/v3/limits',
  '/volume/v3/os-availability-zone',
  '/volume/v3/os-services',
  '/volume/v3/resource_filters',
  '/volume/v3/scheduler-stats/get_pools',
  '/volume/v3/types',
  '/volume/v3/types/default',
  '/volume/v3/volumes/summary',
  ...[...noIdentity, ...noVolumes].map(({ url }) => url),
];

/** What answers 2xx although the path names what is another's, and why that tells nothing. */
const OPEN = new Map([
  ['GET /compute/v2.1/os-quota-sets/:id/defaults', 'the same limits for whatever project is named'],
]);

/** Tags and metadata are words of their thing's owner: any text makes one, and none is another's. */
const OWN_WORDS = /^PUT \/(compute|network|volume|image\/v2\/images)\/.*\/(tags|metadata)\/:/;

/** Things that belong to no project, so that a member has none of its own to begin with. */
const NOBODYS = ['domains', 'flavors', 'groups', 'types'];

const P1: Owner = { project: 'p1', user: 'u0', token: 'admin' };
const P2: Owner = { project: 'p2', user: 'u9', token: 'administrator of p2' };

describe('a project', () => {
  let world: FuzzWorld;
  let owned: Owned[];
  /** The foreigner's own. */
  let mine: Owned[];
  let image: string;
  before(async () => {
    world = await fuzzWorld();
    world.people['foreigner'] = { userId: 'u9', projectId: 'p2', roles: ['manager', 'member', 'reader'] };
    world.people[P2.token] = { userId: 'u9', projectId: 'p2', roles: ['admin'] };
    image = await publicImage(world);
    await furnish(world, P1);
    await furnishFirst(world, P2);
    await furnish(world, P2);
    owned = await ownedBy(world, P1.token, 'p1');
    mine = await ownedBy(world, P2.token, 'p2');
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
        const { statusCode, body } = await ask(world, 'foreigner', route, `${route.url}${query}`);
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
    const ids = oneOfEachKind(owned);
    const open = new Set<string>();
    let tried = 0;
    for (const route of world.routes) {
      if (!route.url.includes('/:') || route.policy === 'public' || isGone(route)) continue;
      const name = `${route.method} ${route.url}`;
      const answers = new Set<number>();
      for (const id of ids) {
        for (const body of bodiesFor(route, id)) {
          const url = route.url.replaceAll(/:[a-z_]+/g, () => encodeURIComponent(id));
          const { statusCode, body: text } = await ask(world, 'foreigner', route, url, body);
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

  it("never touches another's things through its own", async () => {
    const before = await world.snapshot();
    const ids = oneOfEachKind(owned);
    const skipped = new Set<string>();
    let tried = 0;
    for (const route of world.routes.filter((each) => isBelow(each) && !isGone(each))) {
      const name = `${route.method} ${route.url}`;
      const own = mine.filter(({ list }) => kindOf(list) === kindOf(route.url)).map(({ id }) => id);
      if (own.length === 0) skipped.add(kindOf(route.url));
      const parent = own[0];
      if (parent === undefined || OWN_WORDS.test(name)) continue;
      const theirs = owned.filter(({ list }) => kindOf(list) === kindOf(route.url)).map(({ id }) => id);
      const below = await namedBelow(world, P1.token, route, theirs);
      const foreign = new Set([...ids, ...below]).difference(await namedBelow(world, 'foreigner', route, own));
      for (const id of foreign) {
        for (const body of bodiesFor(route, id)) {
          const url = route.url.replace(/:[a-z_]+/, parent).replaceAll(/:[a-z_]+/g, () => encodeURIComponent(id));
          const { statusCode, body: text } = await ask(world, 'foreigner', route, url, body);
          tried += 1;
          assert.ok([400, 403, 404].includes(statusCode), `${name} with ${id}: ${statusCode} ${text.slice(0, 300)}`);
        }
      }
    }
    assert.ok(tried > 1000, String(tried));
    assert.deepEqual([...skipped].toSorted(), NOBODYS);
    assert.equal(await world.snapshot(), before, 'something was changed');
  });

  it("never uses another's things in what it makes", async () => {
    const idOf = (list: string): string => owned.find((each) => each.list.endsWith(list))?.id ?? assert.fail(list);
    /** Path of the foreigner's own. */
    const own = (list: string): string => {
      const found = mine.find((each) => each.list.endsWith(list)) ?? assert.fail(list);
      return `${found.list}/${found.id}`;
    };
    const server = { name: 'mine', flavorRef: '1' };
    const open = await world.p.stores.global.selectFrom('networks').select(['id', 'shared', 'external']).execute();
    const shared = open.find((each) => each.shared === 1)?.id;
    const external = open.find((each) => each.external === 1)?.id;
    const requests: readonly (readonly [string, object, 'PUT'?])[] = [
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
      ...[{ port_id: idOf('/ports') }, { net_id: idOf('/networks') }].map(
        (interfaceAttachment) => [`${own('/servers')}/os-interface`, { interfaceAttachment }] as const,
      ),
      [`${own('/servers')}/os-volume_attachments`, { volumeAttachment: { volumeId: idOf('/volumes') } }],
      [`${own('/servers')}/action`, { addSecurityGroup: { name: idOf('/security-groups') } }],
      [`${own('/servers')}/action`, { rebuild: { imageRef: idOf('/images') } }],
      ...[
        { uuid: idOf('/volumes'), source_type: 'volume' },
        { uuid: idOf('/snapshots'), source_type: 'snapshot' },
      ].map(
        (disk) =>
          [
            '/compute/v2.1/servers',
            {
              server: { ...server, block_device_mapping_v2: [{ ...disk, destination_type: 'volume', boot_index: 0 }] },
            },
          ] as const,
      ),
      [
        '/compute/v2.1/servers',
        { server: { ...server, imageRef: image }, 'os:scheduler_hints': { group: idOf('/os-server-groups') } },
      ],
      ...[{ source_volid: idOf('/volumes') }, { snapshot_id: idOf('/snapshots') }, { imageRef: idOf('/images') }].map(
        (source) => ['/volume/v3/volumes', { volume: { size: 1, ...source } }] as const,
      ),
      ['/volume/v3/snapshots', { snapshot: { volume_id: idOf('/volumes'), force: true } }],
      [`${own('/routers')}/add_router_interface`, { subnet_id: idOf('/subnets') }, 'PUT'],
      [`${own('/routers')}/add_router_interface`, { port_id: idOf('/ports') }, 'PUT'],
      [own('/ports'), { port: { security_groups: [idOf('/security-groups')] } }, 'PUT'],
      [own('/floatingips'), { floatingip: { port_id: idOf('/ports') } }, 'PUT'],
      ['/compute/v2.1/os-keypairs', { keypair: { name: 'theirs', user_id: 'u0', public_key: KEY } }],
    ];
    const before = await world.snapshot();
    for (const [url, payload, method = 'POST'] of requests) {
      const response = await world.app.inject({
        method,
        url,
        headers: { 'x-auth-token': 'foreigner', 'openstack-api-version': 'compute 2.91' },
        payload,
      });
      assert.ok([400, 403, 404].includes(response.statusCode), `${url} ${JSON.stringify(payload)}: ${response.body}`);
    }
    assert.equal(await world.snapshot(), before, 'something was changed');
  });
});
