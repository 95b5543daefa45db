// The moves with ports in a Neutron of a few lines: it must be as the ledger says whenever things are at rest, whatever
// failed on the way, and nobody may wait for it but who is about to move.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { neutronNetworks } from '../../src/control/network/neutron.ts';
import { confirmResize } from '../../src/moves/confirm.ts';
import { createServer } from '../../src/moves/create-server.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { attachInterface, detachInterface } from '../../src/moves/interfaces.ts';
import { startServer, stopServer } from '../../src/moves/power.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import { ServiceDown } from '../../src/openstack/transport.ts';
import { FakeNeutron, type FakePort } from './fake-neutron.ts';
import {
  accept,
  assertSound,
  beat,
  FLAVORS,
  newServer,
  openWorld,
  requestServer,
  runningOn,
  serverOf,
  settle,
  type World,
  work,
} from './world.ts';

const HOUR_MS = 3_600_000;

/** What the ledger says, in the words of `bound`. */
async function ledger(world: World, serverId: string): Promise<string[][]> {
  const rows = await world.p.stores.global
    .selectFrom('ports as p')
    .innerJoin('port_bindings as b', 'b.port_id', 'p.id')
    .select(['p.id', 'b.host', 'b.active'])
    .where('p.device_id', '=', serverId)
    .execute();
  const ports = Map.groupBy(rows, (row) => row.id);
  return [...ports.values()].map((bindings) =>
    bindings.map(({ host, active }) => (active === 1 ? `${host}*` : host)).toSorted(),
  );
}

const inWorld = (name: string, body: (world: World, neutron: FakeNeutron) => Promise<void>) =>
  test(name, async () => {
    const opened = await openWorld();
    const { id } = await opened.p.stores.global.selectFrom('subnets').select('id').executeTakeFirstOrThrow();
    const neutron = new FakeNeutron().over(id);
    const world: World = { ...opened, p: { ...opened.p, network: neutronNetworks(neutron) } };
    try {
      await body(world, neutron);
    } finally {
      await world.close();
    }
  });

const owed = async (world: World): Promise<number> =>
  (await world.p.stores.global.selectFrom('neutron_servers').select('server_id').execute()).length;

const portsOnRecord = async (world: World): Promise<number> =>
  (await world.p.stores.global.selectFrom('ports').select('id').execute()).length;

/** The server that has the port by the ledger; '' or undefined: none. */
const portOf = async (world: World, id: string): Promise<string | undefined> =>
  (await world.p.stores.global.selectFrom('ports').select('device_id').where('id', '=', id).executeTakeFirst())
    ?.device_id;

const NEW = { kind: 'network', networkId: null, ip: null } as const;

inWorld(
  'forth and back: at every rest Neutron has what the ledger says, and at the end nothing',
  async (world, neutron) => {
    const serverId = await newServer(world);
    const agree = async (count: number): Promise<void> => {
      assert.deepEqual(neutron.bound(serverId), await ledger(world, serverId));
      assert.equal(neutron.bound(serverId)[0]?.length, count);
    };
    const [port] = await world.p.stores.global
      .selectFrom('ports')
      .selectAll()
      .where('device_id', '=', serverId)
      .execute();
    assert.deepEqual(
      [port?.mac, neutron.ports.has(port?.id ?? '')],
      ['fa:16:3e:00:00:01', true],
      "Neutron's MAC and id",
    );
    await agree(1);
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    await settle(world);
    await agree(2);
    await accept(world, revertResize(world.p, world.user, serverId));
    await settle(world);
    await agree(1);
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    await settle(world);
    await accept(world, confirmResize(world.p, world.user, serverId));
    await settle(world);
    await agree(1);
    await accept(world, deleteServer(world.p, world.user, serverId));
    await settle(world);
    assert.equal(neutron.ports.size, 0);
    assert.equal(await owed(world), 0);
    await assertSound(world);
  },
);

inWorld('while Neutron is away a move turns back, the server runs on, and the rest is owed', async (world, neutron) => {
  const serverId = await newServer(world);
  const { host } = await serverOf(world, serverId);
  neutron.isDown = true;
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  assert.equal(await work(world, HOUR_MS), true, 'nobody waits for Neutron for ever');
  assert.deepEqual([(await serverOf(world, serverId)).vmState, runningOn(world, serverId)], ['active', [host]]);
  neutron.isDown = false;
  await beat(world, 6);
  assert.deepEqual(neutron.bound(serverId), [[`${host}*`]]);
  await assertSound(world);
});

inWorld('Neutron goes away in the middle of a hand over: the source has its port again', async (world, neutron) => {
  const serverId = await newServer(world);
  const { host } = await serverOf(world, serverId);
  neutron.afterWrite = async (what) => {
    if (what !== 'activate') return;
    neutron.isDown = true;
    throw new ServiceDown('the answer is lost');
  };
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  assert.equal(await work(world, HOUR_MS), true);
  assert.deepEqual([(await serverOf(world, serverId)).vmState, runningOn(world, serverId)], ['active', [host]]);
  neutron.isDown = false;
  neutron.afterWrite = async () => undefined;
  await beat(world, 6);
  assert.deepEqual(neutron.bound(serverId), [[`${host}*`]]);
});

inWorld('a delete does not wait for Neutron; its ports go when it is back', async (world, neutron) => {
  const serverId = await newServer(world);
  neutron.isDown = true;
  await accept(world, deleteServer(world.p, world.user, serverId));
  assert.equal(await work(world, HOUR_MS), true);
  assert.equal(neutron.ports.size, 1);
  neutron.isDown = false;
  await beat(world, 6);
  assert.equal(neutron.ports.size, 0);
  assert.equal(await owed(world), 0);
});

/** Asks for a server on these ports, made beforehand, or on the network for null. */
const create = (world: World, ports: readonly (string | null)[], zone: string | null = null) =>
  world.clock.drive(
    createServer(world.p, world.user, {
      ...{ name: 'one', imageId: world.imageId, flavorId: FLAVORS.small, zone, keyName: null, tags: [] },
      ...{ networkIds: ports.map(() => world.networkId), networkPorts: ports, metadata: {} },
      ...{ description: null, diskConfig: 'AUTO' },
    }),
  );

async function created(world: World, ports: readonly (string | null)[]): Promise<string> {
  const result = await create(world, ports);
  assert(result.kind === 'created', JSON.stringify(result));
  await settle(world);
  return result.serverId;
}

const refusedBy = async (world: World, ports: readonly (string | null)[]): Promise<[number, string] | null> => {
  const result = await create(world, ports);
  return result.kind === 'refused' ? [result.refusal.code, result.refusal.message] : null;
};

const isFree = ({ device_id, bindings }: FakePort): boolean => device_id === '' && bindings.size === 0;

inWorld(
  'a server that cannot be made leaves no port, and gives back those that were lent to it',
  async (world, neutron) => {
    const mine = neutron.make(world.networkId, world.user.projectId, 'mine');
    await create(world, [mine.id, null], 'nowhere');
    assert.deepEqual([[...neutron.ports.values()], isFree(mine)], [[mine], true]);
    assert.equal(await owed(world), 0);
  },
);

inWorld(
  'a create that died with ports in Neutron: they go, but not before it could have recorded them',
  async (world, neutron) => {
    const mine = neutron.make(world.networkId, world.user.projectId, 'mine');
    let left = 2;
    neutron.afterWrite = async () => {
      left -= 1;
      if (left === 0) throw new ServiceDown('the answer is lost');
    };
    await assert.rejects(create(world, [mine.id, null]), ServiceDown);
    await beat(world, 6);
    assert.deepEqual([neutron.ports.size, isFree(mine)], [2, false]);
    assert.deepEqual(await refusedBy(world, [mine.id]), [409, `Port ${mine.id} is still in use.`]);
    await world.clock.pass(601_000);
    await beat(world, 6);
    assert.deepEqual([[...neutron.ports.values()], isFree(mine)], [[mine], true]);
    assert.equal(await owed(world), 0);
  },
);

inWorld("a port made beforehand crosses with its server and is its user's again afterwards", async (world, neutron) => {
  const mine = neutron.make(world.networkId, world.user.projectId, 'mine');
  const { mac_address: mac } = mine;
  const serverId = await created(world, [mine.id, null]);
  assert.equal(neutron.portsAt(serverId).length, 2);
  assert.deepEqual(neutron.bound(serverId), await ledger(world, serverId));
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  await settle(world);
  assert.equal(mine.bindings.size, 2);
  await accept(world, revertResize(world.p, world.user, serverId));
  await settle(world);
  assert.deepEqual(neutron.bound(serverId), await ledger(world, serverId));
  assert.deepEqual(await refusedBy(world, [mine.id]), [409, `Port ${mine.id} is still in use.`]);
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  await settle(world);
  neutron.isDown = true;
  await accept(world, deleteServer(world.p, world.user, serverId));
  await work(world, HOUR_MS);
  neutron.isDown = false;
  await beat(world, 6);
  assert.deepEqual([...neutron.ports.values()], [mine]);
  assert.deepEqual([isFree(mine), mine.mac_address, mine.name], [true, mac, 'mine']);
  assert.deepEqual([await owed(world), await portsOnRecord(world)], [0, 0]);
  await assertSound(world);
  await created(world, [mine.id]);
});

inWorld('ports that cannot be had are refused, and nothing is left', async (world, neutron) => {
  const theirs = neutron.make(world.networkId, 'b'.repeat(32));
  const routers = neutron.make(world.networkId, world.user.projectId);
  neutron.change(routers, { device_id: 'a router' });
  const gone = '3f6d0e2a-0000-4000-8000-000000000000';
  assert.deepEqual(await refusedBy(world, [gone]), [400, `Port id ${gone} could not be found.`]);
  assert.match((await refusedBy(world, [null, theirs.id]))?.join(' ') ?? '', /^400 Port .* not usable for instance/);
  assert.deepEqual(await refusedBy(world, [routers.id]), [409, `Port ${routers.id} is still in use.`]);
  assert.deepEqual([[...neutron.ports.values()], await owed(world)], [[theirs, routers], 0]);
  // Somebody else has it between the look and the order.
  const mine = neutron.make(world.networkId, world.user.projectId);
  const look = neutron.port.bind(neutron);
  neutron.port = async (id) => {
    const seen = await look(id);
    if (mine.device_id === '') neutron.change(mine, { device_id: 'another' });
    return seen;
  };
  assert.deepEqual(await refusedBy(world, [mine.id]), [409, `Port ${mine.id} is still in use.`]);
  assert.deepEqual([mine.device_id, await owed(world)], ['another', 0]);
});

inWorld("interfaces are attached and detached: new ones and users' own", async (world, neutron) => {
  const serverId = await newServer(world);
  const [first] = neutron.portsAt(serverId);
  const mine = neutron.make(world.networkId, world.user.projectId, 'mine');
  const attach = async (wanted: Parameters<typeof attachInterface>[3]) => {
    const result = await world.clock.drive(attachInterface(world.p, world.user, serverId, wanted, null));
    assert(result.kind === 'attached', JSON.stringify(result));
    await settle(world);
    assert.deepEqual(neutron.bound(serverId), await ledger(world, serverId));
    return result.portId;
  };
  const made = await attach({ kind: 'network', networkId: world.networkId, ip: null });
  assert.equal(await attach({ kind: 'port', portId: mine.id }), mine.id);
  assert.deepEqual(new Set(neutron.ports.keys()), new Set([first?.id, made, mine.id]));
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  await settle(world);
  await accept(world, confirmResize(world.p, world.user, serverId));
  await settle(world);
  assert.deepEqual(neutron.bound(serverId), await ledger(world, serverId));
  for (const portId of [made, mine.id]) {
    await accept(world, detachInterface(world.p, world.user, serverId, portId));
    await settle(world);
  }
  assert.deepEqual([new Set(neutron.ports.keys()), isFree(mine)], [new Set([first?.id, mine.id]), true]);
  assert.equal(await portsOnRecord(world), 1);
  await assertSound(world);
});

inWorld('an interface that cannot be attached leaves Neutron as it was', async (world, neutron) => {
  const serverId = await newServer(world);
  const mine = neutron.make(world.networkId, world.user.projectId, 'mine');
  const attach = (wanted: Parameters<typeof attachInterface>[3]) =>
    world.clock.drive(attachInterface(world.p, world.user, serverId, wanted, null));
  const theirs = neutron.make(world.networkId, 'b'.repeat(32));
  const refused = await attach({ kind: 'port', portId: theirs.id });
  assert.equal(refused.kind === 'refused' && refused.refusal.code, 400);
  // Neutron goes away while the guest gets its card.
  neutron.afterWrite = async (what) => {
    if (what !== 'bind first') return;
    neutron.isDown = true;
    throw new ServiceDown('the answer is lost');
  };
  for (const wanted of [{ kind: 'port', portId: mine.id } as const, NEW]) {
    assert.equal((await attach(wanted)).kind, 'attached');
    await work(world, HOUR_MS);
    neutron.isDown = false;
    await beat(world, 6);
    assert.deepEqual([neutron.ports.size, isFree(mine)], [3, true]);
  }
  assert.deepEqual(neutron.bound(serverId), await ledger(world, serverId));
  // Refused by the ledger, when Neutron has made it already.
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  assert.equal((await attach(NEW)).kind, 'refused');
  neutron.afterWrite = async () => undefined;
  await settle(world);
  assert.equal(neutron.ports.size, 3);
  await assertSound(world);
});

inWorld('a port that another has set free meanwhile, and somebody took, is left alone', async (world, neutron) => {
  const mine = neutron.make(world.networkId, world.user.projectId, 'mine');
  const serverId = await created(world, [mine.id]);
  const look = neutron.portsOf.bind(neutron);
  neutron.portsOf = async (id) => {
    const seen = await look(id);
    const copies = seen.map((port) => ({ ...port }));
    if (!(await portOf(world, mine.id))) for (const port of seen) neutron.change(port, { device_id: 'another' });
    return copies;
  };
  await accept(world, deleteServer(world.p, world.user, serverId));
  await settle(world);
  assert.deepEqual([mine.device_id, await owed(world)], ['another', 0]);
});

inWorld('whoever settles what is outdated by then settles again', async (world, neutron) => {
  const serverId = await requestServer(world, FLAVORS.small);
  await settle(world);
  const { global } = world.p.stores;
  const { host } = await serverOf(world, serverId);
  const bindings = global.updateTable('port_bindings');
  await bindings.set({ host: 'elsewhere' }).execute();
  neutron.afterWrite = async (what) => {
    if (what === 'activate') await bindings.set({ host: host ?? '' }).execute();
  };
  await world.clock.drive(world.p.network?.settle(world.p, serverId) ?? Promise.resolve());
  assert.deepEqual(neutron.bound(serverId), [[`${host}*`]]);
});

inWorld(
  'a port that its user deletes in Neutron bars nothing: its interface can be detached',
  async (world, neutron) => {
    const { p, user, clock } = world;
    const id = await newServer(world);
    const [port] = neutron.portsAt(id);
    assert.ok(port);
    neutron.ports.delete(port.id);
    for (const request of [
      () => resizeServer(p, user, id, { flavorId: FLAVORS.big }),
      () => confirmResize(p, user, id),
      () => stopServer(p, user, id),
      () => startServer(p, user, id),
      () => detachInterface(p, user, id, port.id),
    ]) {
      await accept(world, request());
      await settle(world);
    }
    assert.equal((await serverOf(world, id)).flavor.flavorId, FLAVORS.big);
    assert.deepEqual([await ledger(world, id), await owed(world)], [[], 0]);
    const attached = await clock.drive(
      attachInterface(p, user, id, { kind: 'network', networkId: null, ip: null }, null),
    );
    assert.notEqual(attached.kind, 'refused');
    await settle(world);
    assert.equal(neutron.portsAt(id).length, 1);
    await accept(world, deleteServer(p, user, id));
    await settle(world);
    assert.deepEqual([neutron.ports.size, await owed(world)], [0, 0]);
  },
);
