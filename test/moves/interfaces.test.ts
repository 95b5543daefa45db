// Interfaces of servers: attached and detached while they run, are off or stand still; whose ports are kept; and what
// becomes of a guest whose host goes down midway.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { matchDevices } from '../../src/control/guest-devices.ts';
import type { WantedPort } from '../../src/control/network/interfaces.ts';
import { createPort } from '../../src/control/network/port-create.ts';
import { updatePort } from '../../src/control/network/port-update.ts';
import { deletePort, findPort } from '../../src/control/network/ports.ts';
import { updateSubnet } from '../../src/control/network/subnets.ts';
import { portsOfServer } from '../../src/control/network.ts';
import { detachVolume as requestDetach } from '../../src/moves/attach.ts';
import { confirmResize } from '../../src/moves/confirm.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { attachInterface, detachInterface } from '../../src/moves/interfaces.ts';
import { pauseServer, stopServer } from '../../src/moves/power.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { nextFence } from '../../src/store/sagas.ts';
import { attach, detach as detachVolume, newVolume } from './volumes.ts';
import {
  accept,
  beat,
  FLAVORS,
  hostOf,
  newServer,
  refuse,
  serverOf,
  settle,
  Worker,
  type World,
  withSoundWorld,
} from './world.ts';
import { snapshotOf } from './world-snapshot.ts';

const onNetwork = (world: World): WantedPort => ({ kind: 'network', networkId: world.networkId, ip: null });

const request = (world: World, serverId: string, wanted: WantedPort, tag: string | null = null) =>
  world.clock.drive(attachInterface(world.p, world.user, serverId, wanted, tag));

async function attachPort(world: World, serverId: string, wanted: WantedPort = onNetwork(world)): Promise<string> {
  const attached = await request(world, serverId, wanted);
  assert(attached.kind === 'attached', JSON.stringify(attached));
  await settle(world);
  return attached.portId;
}

async function detachPort(world: World, serverId: string, portId: string): Promise<void> {
  await accept(world, detachInterface(world.p, world.user, serverId, portId));
  await settle(world);
}

const refusal = async (world: World, serverId: string, wanted: WantedPort): Promise<string> => {
  const answer = await request(world, serverId, wanted);
  assert(answer.kind === 'refused', 'it was accepted');
  return `${answer.refusal.code} ${answer.refusal.message}`;
};

async function newPort(world: World): Promise<string> {
  const made = await createPort(world.p.stores.global, world.user, {
    ...{ networkId: world.networkId, name: 'mine', now: world.clock.now() },
  });
  assert(made.kind === 'ok', JSON.stringify(made));
  return made.value.id;
}

/** The records, the guest's definition and, where it runs, its cards say the same. */
async function assertPorts(world: World, serverId: string): Promise<number> {
  const recorded = (await portsOfServer(world.p.stores.global, serverId)).map(({ id }) => id);
  const host = hostOf(world, (await serverOf(world, serverId)).host);
  const guest = await host.agent.guest(serverId);
  assert(guest.kind === 'ok');
  assert.deepEqual(guest.value.spec.ports.map(({ id }) => id).toSorted(), recorded.toSorted());
  if (guest.value.power === 'on') {
    assert.deepEqual([...host.hypervisor.pluggedPorts(serverId)].toSorted(), recorded.toSorted());
  }
  return recorded.length;
}

/** Debts are due, and hosts that answer pay them. */
async function payAll(world: World): Promise<void> {
  for (const round of [1, 6, 1]) {
    await world.clock.pass(11_000);
    await beat(world, round);
    await settle(world);
  }
  const left = await world.p.stores.global.selectFrom('debts').select('id').where('paid_at', 'is', null).execute();
  assert.deepEqual(left, []);
}

test('a new port and one of the user’s, in a running, a paused and a stopped server; the user’s is kept', () =>
  withSoundWorld(async (world) => {
    const { global } = world.p.stores;
    for (const change of [null, pauseServer, stopServer]) {
      const serverId = await newServer(world, FLAVORS.small, change?.name);
      if (change) await accept(world, change(world.p, world.user, serverId));
      await settle(world);
      const mine = await newPort(world);
      const before = await snapshotOf(world);
      const made = await attachPort(world, serverId);
      await attachPort(world, serverId, { kind: 'port', portId: mine });
      assert.equal(await assertPorts(world, serverId), 3);
      assert.equal((await findPort(global, world.user, mine))?.deviceId, serverId);
      for (const portId of [made, mine]) await detachPort(world, serverId, portId);
      assert.equal(await findPort(global, world.user, made), null);
      assert.equal((await findPort(global, world.user, mine))?.deviceId, '');
      assert.deepEqual(await snapshotOf(world), before);
    }
  }));

test('refused in Nova’s words; not while a resize waits', () =>
  withSoundWorld(async (world) => {
    const serverId = await newServer(world);
    const other = await newServer(world, FLAVORS.small, 'two');
    const [own] = await portsOfServer(world.p.stores.global, serverId);
    assert(own);
    const nothing = '00000000-0000-4000-8000-00000000000f';
    const port = (portId: string): WantedPort => ({ kind: 'port', portId });
    const network = (networkId: string | null, ip: string | null = null): WantedPort => ({
      ...{ kind: 'network', networkId, ip },
    });
    assert.equal(await refusal(world, other, port(own.id)), `409 Port ${own.id} is still in use.`);
    assert.equal(await refusal(world, other, port(nothing)), `404 Port id ${nothing} could not be found.`);
    assert.equal(await refusal(world, other, network(nothing)), `404 Network ${nothing} could not be found.`);
    assert.equal(
      await refusal(world, other, network(world.networkId, own.ip)),
      `409 Fixed IP address ${own.ip} is already in use on instance ${other}.`,
    );
    assert.match(
      await refusal(world, other, network(world.networkId, '10.99.0.7')),
      /^400 .* is not a valid IP address for network/,
    );
    const foreign = await createPort(world.p.stores.global, world.admin, {
      ...{ networkId: world.networkId, name: '', now: world.clock.now() },
    });
    assert(foreign.kind === 'ok');
    assert.equal(
      await refusal(world, other, port(foreign.value.id)),
      `404 Port id ${foreign.value.id} could not be found.`,
    );
    assert.equal((await refuse(world, detachInterface(world.p, world.user, other, own.id))).code, 404);
    for (let count = 1; count < 16; count += 1) await attachPort(world, other);
    assert.equal(await refusal(world, other, network(world.networkId)), '403 Maximum number of ports exceeded');
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    await settle(world);
    assert.match(await refusal(world, serverId, onNetwork(world)), /^409 Cannot 'attach_interface' .* resized$/);
    await accept(world, confirmResize(world.p, world.user, serverId));
    await settle(world);
  }));

test('what was attached travels, in its order; a deleted server gives the user’s port back', () =>
  withSoundWorld(async (world) => {
    const mine = await newPort(world);
    await world.clock.pass(5000);
    const serverId = await newServer(world);
    await world.clock.pass(1000);
    await attachPort(world, serverId, { kind: 'port', portId: mine });
    const order = (await portsOfServer(world.p.stores.global, serverId)).map(({ id }) => id);
    assert.equal(order[1], mine);
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    await settle(world);
    assert.equal(await assertPorts(world, serverId), 2);
    const guest = await hostOf(world, (await serverOf(world, serverId)).host).agent.guest(serverId);
    assert.deepEqual(guest.kind === 'ok' && guest.value.spec.ports.map(({ id }) => id), order);
    await accept(world, deleteServer(world.p, world.user, serverId));
    await settle(world);
    const kept = await findPort(world.p.stores.global, world.user, mine);
    assert.deepEqual([kept?.deviceId, kept?.host], ['', null]);
  }));

test('a host that goes down midway is not waited for: what the records say is decided, the guest follows later', () =>
  withSoundWorld(async (world) => {
    const serverId = await newServer(world);
    const volumeId = await newVolume(world);
    await attach(world, serverId, volumeId);
    const portId = await attachPort(world, serverId);
    const host = hostOf(world, (await serverOf(world, serverId)).host);
    const begun = [
      () => detachInterface(world.p, world.user, serverId, portId),
      () => requestDetach(world.p, world.user, serverId, volumeId),
    ];
    for (const begin of begun) {
      await accept(world, begin());
      host.trouble = () => 'unreachable';
      await world.clock.pass(120_000);
      const worker = new Worker(world);
      for (let steps = 0; steps < 200; steps += 1) {
        if ((await worker.step()) !== 'idle') continue;
        const active = await world.p.stores.global
          .selectFrom('sagas')
          .select('id')
          .where('status', '=', 'active')
          .execute();
        if (active.length === 0) break;
        await world.clock.pass(1000);
      }
      const open = await world.p.stores.global
        .selectFrom('debts')
        .select('kind')
        .where('paid_at', 'is', null)
        .execute();
      assert.deepEqual(
        open.map(({ kind }) => kind),
        ['match-devices'],
      );
      host.trouble = () => 'none';
      await payAll(world);
    }
    assert.equal(await assertPorts(world, serverId), 1);
    const guest = await host.agent.guest(serverId);
    assert.deepEqual(guest.kind === 'ok' && guest.value.volumes, []);
    // The volume is free for others meanwhile and afterwards.
    const other = await newServer(world, FLAVORS.small, 'two');
    await attach(world, other, volumeId);
    await detachVolume(world, other, volumeId);
  }));

test('a server’s port that its user deletes, or gives another address, is told to its guest', () =>
  withSoundWorld(async (world) => {
    const { global } = world.p.stores;
    for (const change of [null, stopServer]) {
      const serverId = await newServer(world, FLAVORS.small, change?.name);
      const [deleted, moved] = [await attachPort(world, serverId), await attachPort(world, serverId)];
      if (change) await accept(world, change(world.p, world.user, serverId));
      await settle(world);
      const now = world.clock.now();
      const wish = { fixedIps: [{ ip: change ? '10.42.9.9' : '10.42.9.8' }], now };
      const host = hostOf(world, (await serverOf(world, serverId)).host);
      host.trouble = () => 'unreachable';
      assert.equal((await deletePort(global, world.user, deleted, now)).kind, 'ok');
      assert.equal((await updatePort(global, world.user, moved, wish)).kind, 'ok');
      host.trouble = () => 'none';
      await payAll(world);
      assert.equal(await assertPorts(world, serverId), 2);
      const guest = await host.agent.guest(serverId);
      const told = guest.kind === 'ok' && guest.value.spec.ports.find(({ id }) => id === moved)?.ip;
      assert.equal(told, wish.fixedIps[0]?.ip);
    }
  }));

test('a port deleted while a resize waits is gone from the guest on either host', () =>
  withSoundWorld(async (world) => {
    const serverId = await newServer(world);
    const portId = await attachPort(world, serverId);
    const source = hostOf(world, (await serverOf(world, serverId)).host);
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    await settle(world);
    assert.equal((await deletePort(world.p.stores.global, world.user, portId, world.clock.now())).kind, 'ok');
    await payAll(world);
    assert.equal(await assertPorts(world, serverId), 1);
    const kept = await source.agent.guest(serverId);
    assert.equal(kept.kind === 'ok' && kept.value.spec.ports.length, 1);
    await accept(world, confirmResize(world.p, world.user, serverId));
    await settle(world);
  }));

test('a storage host that does not grant holds up nothing that has to go', () =>
  withSoundWorld(async (world) => {
    const serverId = await newServer(world);
    const volumeId = await newVolume(world);
    await attach(world, serverId, volumeId);
    const portId = await attachPort(world, serverId);
    const { host: hostName } = await serverOf(world, serverId);
    const { agent } = hostOf(world, hostName);
    const generation = await nextFence(world.p.stores.global);
    await world.clock.drive(agent.detachVolume(serverId, { generation, volumeId }));
    for (const storage of world.storage.values())
      storage.trouble = (method) => (method === 'grant' ? 'unreachable' : 'none');
    await deletePort(world.p.stores.global, world.user, portId, world.clock.now());
    assert.equal(await world.clock.drive(matchDevices(world.p, hostName ?? '', serverId)), 'not yet');
    assert.equal(await assertPorts(world, serverId), 1);
    for (const storage of world.storage.values()) storage.trouble = () => 'none';
    await payAll(world);
    const guest = await agent.guest(serverId);
    assert.deepEqual(guest.kind === 'ok' && guest.value.volumes.map((each) => each.volumeId), [volumeId]);
  }));

test("a subnet's new gateway is no port's address, and takes no guest that runs its card", () =>
  withSoundWorld(async (world) => {
    const serverId = await newServer(world);
    const db = world.p.stores.global;
    const [port] = await portsOfServer(db, serverId);
    assert(port);
    const [a = '', b = '', c = ''] = port.ip.split('.');
    const elsewhere = [a, b, c === '7' ? '8' : '7'].join('.');
    const pools = [{ start: `${elsewhere}.100`, end: `${elsewhere}.200` }];
    const free = `${elsewhere}.250`;
    const change = (gateway: string) =>
      world.clock.drive(updateSubnet(db, world.admin, port.subnetId, { gateway, pools, now: world.clock.now() }));
    const taken = await change(port.ip);
    assert(taken.kind === 'refused');
    assert.equal(taken.refusal.code, 409);
    assert.match(taken.refusal.message, /The IP address .* is in use/);

    assert.equal((await change(free)).kind, 'ok');
    const host = hostOf(world, (await serverOf(world, serverId)).host);
    const told: string[] = [];
    host.trouble = (method) => {
      if (method.endsWith('Port')) told.push(method);
      return 'none';
    };
    const match = () => world.clock.drive(matchDevices(world.p, host.name, serverId));
    assert.equal(await match(), 'settled');
    assert.deepEqual(told, []);

    await accept(world, stopServer(world.p, world.user, serverId));
    await settle(world);
    assert.equal(await match(), 'settled');
    const guest = await world.clock.drive(host.agent.guest(serverId));
    assert(guest.kind === 'ok');
    assert.deepEqual(
      guest.value.spec.ports.map(({ gateway }) => gateway),
      [free],
    );
  }));
