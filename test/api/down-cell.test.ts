// A cell whose database cannot be reached: its servers are shown as far as they are known, and nothing else suffers.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { CellDown, type Stores } from '../../src/store/stores.ts';
import { type FuzzWorld, fuzzWorld } from '../fuzz/world.ts';

const C = '/compute/v2.1';

describe('a cell that is down', () => {
  let world: FuzzWorld;
  let lost: string;
  let kept: string;
  const down = new Set<string>();
  before(async () => {
    world = await fuzzWorld();
    const stores = world.p.stores as { -readonly [K in keyof Stores]: Stores[K] };
    const open = stores.cell.bind(stores);
    stores.cell = (cellId) => {
      if (down.has(cellId)) return Promise.reject(new CellDown(cellId, new Error('for the test')));
      return open(cellId);
    };
    const mappings = await stores.global.selectFrom('server_mappings').selectAll().execute();
    [lost, kept] = [mappings[0]?.server_id ?? '', mappings[1]?.server_id ?? ''];
    // The second server lives in the cell that stays up.
    const cells = await stores.global.selectFrom('cells').select('id').execute();
    const other = cells.find((each) => each.id !== mappings[0]?.cell_id)?.id ?? '';
    const record = await (await open(mappings[1]?.cell_id ?? ''))
      .selectFrom('servers')
      .selectAll()
      .where('id', '=', kept)
      .executeTakeFirstOrThrow();
    if (mappings[1]?.cell_id !== other) {
      await (await open(other)).insertInto('servers').values(record).execute();
      await stores.global
        .updateTable('server_mappings')
        .set({ cell_id: other })
        .where('server_id', '=', kept)
        .execute();
    }
    down.add(mappings[0]?.cell_id ?? '');
  });
  after(() => world[Symbol.asyncDispose]());

  const call = (method: 'GET' | 'POST' | 'PUT', path: string, minor = 1, payload?: object) =>
    world.app.inject({
      method,
      url: `${C}${path}`,
      headers: { 'x-auth-token': 'admin', 'openstack-api-version': `compute 2.${minor}` },
      ...(payload ? { payload } : {}),
    });

  const homeOf = (id: string) =>
    world.p.stores.global
      .selectFrom('server_mappings')
      .selectAll()
      .where('server_id', '=', id)
      .executeTakeFirstOrThrow();

  it('leaves the servers of other cells alone', async () => {
    assert.equal((await call('GET', `/servers/${kept}`)).statusCode, 200);
    for (const path of ['/servers', '/servers/detail', '/servers/detail?name=b']) {
      const response = await call('GET', path);
      assert.equal(response.statusCode, 200, response.body);
      assert.deepEqual(
        response.json().servers.map((each: { id: string }) => each.id),
        [kept],
      );
    }
    for (const path of ['/limits', '/flavors', '/os-hypervisors', '/os-migrations', '/os-services']) {
      assert.equal((await call('GET', path)).statusCode, 200, path);
    }
  });

  it('has no usage told rather than too little', async () => {
    for (const path of ['/os-simple-tenant-usage', `/os-simple-tenant-usage/${(await homeOf(lost)).project_id}`]) {
      const response = await call('GET', `${path}?start=2020-01-01T00:00:00`, 40);
      assert.equal(response.statusCode, 503, response.body);
    }
    assert.equal((await call('GET', '/os-simple-tenant-usage/another?start=2020-01-01T00:00:00', 40)).statusCode, 200);
  });

  it('has its servers shown as far as they are known, from 2.69 on', async () => {
    for (const path of ['/servers', '/servers/detail']) {
      const { servers } = (await call('GET', path, 69)).json();
      assert.equal(servers.length, 2);
      const unknown = servers.find((each: { id: string }) => each.id === lost);
      assert.deepEqual(Object.keys(unknown).toSorted(), ['created', 'id', 'links', 'status', 'tenant_id']);
      assert.equal(unknown.status, 'UNKNOWN');
    }
    // Whoever pages sees each once, and comes to an end.
    const paged: string[] = [];
    for (let next = '/servers?limit=1'; next !== ''; ) {
      const { servers, servers_links: links = [] } = (await call('GET', next, 69)).json();
      paged.push(...servers.map((each: { id: string }) => each.id));
      assert.ok(paged.length <= 2, paged.join(' '));
      next = links[0]?.href.slice(links[0].href.indexOf('/servers')) ?? '';
    }
    assert.deepEqual(paged.toSorted(), [lost, kept].toSorted());
    assert.equal(
      (await call('GET', '/servers/detail?status=ACTIVE', 69)).json().servers.length,
      0,
      'not where something is asked of them',
    );
    const { server } = (await call('GET', `/servers/${lost}`, 71)).json();
    assert.deepEqual(Object.keys(server).toSorted(), [
      ...['OS-EXT-AZ:availability_zone', 'OS-EXT-STS:power_state', 'created', 'flavor', 'id', 'image', 'links'],
      ...['server_groups', 'status', 'tenant_id', 'user_id'],
    ]);
    const mapping = await homeOf(lost);
    assert.deepEqual(
      [server.status, server['OS-EXT-AZ:availability_zone'], server['OS-EXT-STS:power_state'], server.image.id],
      ['UNKNOWN', 'UNKNOWN', 0, mapping.image_id],
    );
    assert.equal(server.flavor.original_name, JSON.parse(mapping.flavor_json).name);
    assert.ok(server.flavor.vcpus > 0);
  });

  it('is said to be unavailable by everything else', async () => {
    for (const response of [
      await call('GET', `/servers/${lost}`),
      await call('GET', `/servers/${lost}/metadata`),
      await call('GET', `/servers/${lost}/os-instance-actions`),
      await call('POST', `/servers/${lost}/action`, 1, { 'os-stop': null }),
      await call('PUT', `/servers/${lost}`, 1, { server: { name: 'x' } }),
    ]) {
      assert.equal(response.statusCode, 503, response.body);
      assert.match(response.json().serviceUnavailable.message, /unavailable at this time/);
    }
  });
});
