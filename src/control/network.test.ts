import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Kysely } from 'kysely';
import { isUuid, newId } from '../lib/ids.ts';
import { fc } from '../lib/property-testing.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { openStores } from '../store/stores.ts';
import { ensureSharedNetwork } from './network/seed.ts';
import {
  activateBindings,
  bindPorts,
  createPortForServer,
  deletePortsOfServer,
  fencePorts,
  guestPortOf,
  portsOfServer,
  portsOfServers,
  unbindPorts,
} from './network.ts';

const NOW = 1_800_000_000_000;
const PROJECT = 'p1';

async function withNetwork(cidr: string, use: (world: World) => Promise<void>): Promise<void> {
  const stores = await openStores(':memory:');
  try {
    const { networkId } = await ensureSharedNetwork(stores.global, { cidr, now: NOW });
    await use({ db: stores.global, networkId, statements: stores.statements });
  } finally {
    await stores.close();
  }
}
interface World {
  readonly db: Kysely<GlobalTables>;
  readonly networkId: string;
  statements(): number;
}

const request = (world: World, serverId: string, host = 'h1', generation = 5) => ({
  ...{ serverId, projectId: PROJECT, networkId: world.networkId, host, generation, now: NOW },
});

const bindings = async (db: World['db']) =>
  (await db.selectFrom('port_bindings').select(['host', 'active', 'generation']).orderBy('host').execute()).map(
    (row) => `${row.host} ${row.active === 1 ? 'active' : 'inactive'} ${row.generation}`,
  );

test('a port has a MAC of Neutron, an address of the pool, and an active binding; asked again it is the same', () =>
  withNetwork('10.42.0.0/16', async (world) => {
    const serverId = newId();
    const first = await createPortForServer(world.db, request(world, serverId));
    assert.equal(first.kind, 'ok');
    const { port } = first;
    assert.ok(isUuid(port.id));
    assert.match(port.mac, /^fa:16:3e(:[0-9a-f]{2}){3}$/);
    assert.match(port.ip, /^10\.42\./);
    assert.equal(port.cidr, '10.42.0.0/16');
    assert.equal(port.gateway, '10.42.0.1');
    assert.equal(port.networkName, 'shared');
    assert.deepEqual(await createPortForServer(world.db, request(world, serverId)), first);
    assert.deepEqual(await portsOfServer(world.db, serverId), [port]);
    assert.deepEqual(await bindings(world.db), ['h1 active 5']);
    const { id, mac, ip, cidr, gateway } = port;
    assert.deepEqual(guestPortOf(port), { id, mac, ip, cidr, gateway });
  }));

test("a gateway outside of the subnet is nothing for a guest, whose host stands at the subnet's first address", () =>
  withNetwork('10.42.0.0/16', async (world) => {
    await world.db.updateTable('subnets').set({ gateway_ip: '10.43.0.1' }).execute();
    const made = await createPortForServer(world.db, request(world, newId()));
    assert.equal(made.kind === 'ok' && made.port.gateway, '10.42.0.1');
  }));

test('a second try on another host moves the active binding there', () =>
  withNetwork('10.42.0.0/16', async (world) => {
    const serverId = newId();
    await createPortForServer(world.db, request(world, serverId, 'h1', 5));
    const second = await createPortForServer(world.db, request(world, serverId, 'h2', 6));
    assert.equal(second.kind, 'ok');
    assert.deepEqual(await bindings(world.db), ['h1 inactive 6', 'h2 active 6']);
    const stale = await createPortForServer(world.db, request(world, serverId, 'h1', 5));
    assert.equal(stale.kind === 'refused' && stale.refusal.code, 409);
    assert.deepEqual(await bindings(world.db), ['h1 inactive 6', 'h2 active 6']);
  }));

test('a network of others, an unknown one and one without a subnet are refused with 400', () =>
  withNetwork('10.42.0.0/16', async (world) => {
    const network = { shared: 0, mtu: 1500, created_at: NOW, updated_at: NOW };
    await world.db
      .insertInto('networks')
      .values({ id: 'n-foreign', name: 'x', project_id: 'p2', ...network })
      .execute();
    await world.db
      .insertInto('networks')
      .values({ id: 'n-bare', name: 'y', project_id: PROJECT, ...network })
      .execute();
    for (const [networkId, sentence] of [
      ['n-foreign', 'Network n-foreign could not be found.'],
      ['n-none', 'Network n-none could not be found.'],
      ['n-bare', 'Network n-bare requires a subnet in order to boot instances on.'],
    ] as const) {
      const result = await createPortForServer(world.db, { ...request(world, newId()), networkId });
      assert.deepEqual(result, { kind: 'refused', refusal: { code: 400, message: sentence } });
    }
    assert.equal((await world.db.selectFrom('ports').selectAll().execute()).length, 0);
  }));

test('every address of a small subnet is given once, also to callers at the same time; then 409', () =>
  withNetwork('10.0.0.0/28', async (world) => {
    const ids = Array.from({ length: 20 }, newId);
    const results = await Promise.all(ids.map((id) => createPortForServer(world.db, request(world, id))));
    const ips = results.flatMap((each) => (each.kind === 'ok' ? [each.port.ip] : []));
    // 16 addresses less network, gateway and broadcast.
    assert.equal(ips.length, 13);
    assert.equal(new Set(ips).size, 13);
    const refused = results.find((each) => each.kind === 'refused');
    assert.deepEqual(refused, {
      kind: 'refused',
      refusal: { code: 409, message: `No more IP addresses available on network ${world.networkId}.` },
    });
    const luckless = ids[results.findIndex((each) => each.kind === 'refused')] ?? '';
    const lucky = ids[results.findIndex((each) => each.kind === 'ok')] ?? '';
    await deletePortsOfServer(world.db, lucky);
    assert.equal((await createPortForServer(world.db, request(world, luckless))).kind, 'ok');
  }));

test('a move: bound, activated, unbound, and each of them again', () =>
  withNetwork('10.42.0.0/16', async (world) => {
    const { db } = world;
    const serverId = newId();
    await createPortForServer(db, request(world, serverId, 'src', 1));
    for (let i = 0; i < 2; i += 1) {
      assert.equal(await bindPorts(db, serverId, 'dst', 7), 'ok');
      assert.deepEqual(await bindings(db), ['dst inactive 7', 'src active 1']);
    }
    for (let i = 0; i < 2; i += 1) {
      assert.equal(await activateBindings(db, serverId, 'dst', 7), 'ok');
      assert.deepEqual(await bindings(db), ['dst active 7', 'src inactive 7']);
    }
    assert.equal(await bindPorts(db, serverId, 'dst', 7), 'ok', 'binding again leaves the active one active');
    assert.deepEqual(await bindings(db), ['dst active 7', 'src inactive 7']);
    assert.equal(await activateBindings(db, serverId, 'src', 8), 'ok');
    assert.deepEqual(await bindings(db), ['dst inactive 8', 'src active 8']);
    for (let i = 0; i < 2; i += 1) {
      assert.equal(await unbindPorts(db, serverId, 'dst', 8), 'ok');
      assert.deepEqual(await bindings(db), ['src active 8']);
    }
    await deletePortsOfServer(db, serverId);
    assert.deepEqual(await bindings(db), []);
  }));

test('older generations change nothing, also after the newer one took its binding away', () =>
  withNetwork('10.42.0.0/16', async (world) => {
    const { db } = world;
    const serverId = newId();
    await createPortForServer(db, request(world, serverId, 'src', 1));
    await bindPorts(db, serverId, 'dst', 9);
    assert.equal(await unbindPorts(db, serverId, 'dst', 10), 'ok');
    const before = await bindings(db);
    assert.deepEqual(before, ['src active 10']);
    assert.equal(await bindPorts(db, serverId, 'dst', 9), 'fenced');
    assert.equal(await activateBindings(db, serverId, 'dst', 9), 'fenced');
    assert.equal(await unbindPorts(db, serverId, 'src', 9), 'fenced');
    assert.equal(await fencePorts(db, serverId, 9), 'fenced');
    assert.deepEqual(await bindings(db), before);
    assert.equal(await fencePorts(db, serverId, 11), 'ok');
    assert.deepEqual(await bindings(db), ['src active 11']);
  }));

test('a server without ports is no obstacle', () =>
  withNetwork('10.42.0.0/16', async ({ db }) => {
    const serverId = newId();
    assert.equal(await bindPorts(db, serverId, 'h', 1), 'ok');
    assert.equal(await activateBindings(db, serverId, 'h', 1), 'ok');
    assert.equal(await unbindPorts(db, serverId, 'h', 1), 'ok');
    assert.equal(await fencePorts(db, serverId, 1), 'ok');
    await deletePortsOfServer(db, serverId);
    assert.deepEqual(await portsOfServer(db, serverId), []);
    assert.deepEqual(await portsOfServers(db, [serverId]), new Map());
  }));

test('all of it works inside a transaction and is undone with it', () =>
  withNetwork('10.42.0.0/16', async (world) => {
    const serverId = newId();
    const failing = world.db.transaction().execute(async (trx) => {
      await createPortForServer(trx, request(world, serverId));
      await bindPorts(trx, serverId, 'dst', 6);
      await activateBindings(trx, serverId, 'dst', 6);
      await unbindPorts(trx, serverId, 'h1', 6);
      assert.deepEqual(await bindings(trx), ['dst active 6']);
      throw new Error('turned back');
    });
    await assert.rejects(failing, /turned back/);
    assert.deepEqual(await portsOfServer(world.db, serverId), []);
  }));

test('statements: six and a transaction to create a port, one to bind or activate, two to unbind or delete', () =>
  withNetwork('10.42.0.0/16', async (world) => {
    const { db } = world;
    const serverId = newId();
    // The first port of a project makes its default group.
    await createPortForServer(db, request(world, newId()));
    const cost = async (what: Promise<unknown>): Promise<number> => {
      const before = world.statements();
      await what;
      return world.statements() - before;
    };
    assert.equal(await cost(createPortForServer(db, request(world, serverId))), 8);
    assert.equal(await cost(portsOfServer(db, serverId)), 1);
    assert.equal(await cost(bindPorts(db, serverId, 'dst', 6)), 1);
    assert.equal(await cost(activateBindings(db, serverId, 'dst', 6)), 1);
    assert.equal(await cost(unbindPorts(db, serverId, 'h1', 6)), 2);
    assert.equal(await cost(deletePortsOfServer(db, serverId)), 2);
  }));

test('whatever the order of calls, a port has at most one active binding, and generations never fall', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          what: fc.constantFrom(bindPorts, activateBindings, unbindPorts),
          host: fc.constantFrom('a', 'b', 'c'),
          generation: fc.integer({ min: 1, max: 6 }),
        }),
        { maxLength: 12 },
      ),
      async (calls) =>
        withNetwork('10.42.0.0/24', async (world) => {
          const serverId = newId();
          await createPortForServer(world.db, request(world, serverId, 'a', 1));
          let highest = 1;
          for (const { what, host, generation } of calls) {
            const had = await world.db.selectFrom('port_bindings').selectAll().execute();
            const result = await what(world.db, serverId, host, generation);
            const has = await world.db.selectFrom('port_bindings').selectAll().execute();
            if (had.length > 0) {
              assert.equal(result, generation < highest ? 'fenced' : 'ok');
              if (result === 'fenced') assert.deepEqual(has, had);
            }
            if (has.length > 0) highest = Math.max(...has.map((row) => row.generation));
            assert.ok(has.filter((row) => row.active === 1).length <= 1);
            if (what === activateBindings && result === 'ok')
              assert.deepEqual(
                has.filter((row) => row.active === 1).map((row) => row.host),
                [host],
              );
          }
        }),
    ),
    { numRuns: 60 },
  ));
