// An operator's bindings of a server's ports beside those of the moves: while a move holds them every change is refused,
// and no move loses an operator's binding, whichever way it ends.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  activateBinding,
  addBinding,
  listBindings,
  removeBinding,
  updateBinding,
} from '../../src/control/network/bindings.ts';
import { activateBindings, portsOfServer } from '../../src/control/network.ts';
import { confirmResize } from '../../src/moves/confirm.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import {
  accept,
  assertSound,
  auditWorld,
  FLAVORS,
  newServer,
  serverOf,
  settle,
  Worker,
  type World,
  withWorld,
} from './world.ts';
import { snapshotOf } from './world-snapshot.ts';

const portOf = async (world: World, serverId: string): Promise<string> =>
  (await portsOfServer(world.p.stores.global, serverId))[0]?.id ?? '';

/** `host`, active ones with a star, by name. */
async function bindings(world: World, portId: string): Promise<string[]> {
  const listed = await listBindings(world.p.stores.global, world.admin, portId);
  assert(listed.kind === 'ok');
  return listed.value.map((each) => `${each.host}${each.active ? '*' : ''}`).toSorted();
}

const codeOf = async (
  result: Promise<{ kind: 'ok' } | { kind: 'refused'; refusal: { code: number; type: string } }>,
) => {
  const answer = await result;
  return answer.kind === 'ok' ? 'ok' : `${answer.refusal.code} ${answer.refusal.type}`;
};

const resize = (world: World, serverId: string) =>
  accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));

/** Every change that there is, of the server's port at its own host and at another. */
const changes = (world: World, portId: string, own: string, other: string) => {
  const { global } = world.p.stores;
  return [
    () => addBinding(global, world.admin, portId, { host: 'cell1-b', profile: {} }),
    () => updateBinding(global, world.admin, portId, own, { profile: { a: 1 } }),
    () => activateBinding(global, world.admin, portId, other),
    () => removeBinding(global, world.admin, portId, other),
  ];
};

test('added inactive, known to the audit, activated, deleted; the active one is not, and a second is refused', () =>
  withWorld(async (world) => {
    const { global } = world.p.stores;
    const serverId = await newServer(world);
    const portId = await portOf(world, serverId);
    const { host } = await serverOf(world, serverId);
    assert(host);
    const other = [...world.hosts.keys()].find((name) => name !== host) ?? '';
    const before = await snapshotOf(world);
    const add = (name: string) => addBinding(global, world.admin, portId, { host: name, profile: { rack: 7 } });
    assert.equal(await codeOf(add(other)), 'ok');
    assert.equal(await codeOf(add(other)), '409 PortBindingAlreadyExists');
    assert.equal(await codeOf(add('nowhere')), '400 PortBindingError');
    assert.deepEqual(await bindings(world, portId), [`${host}*`, other].toSorted());
    await assertSound(world);
    assert.equal(await codeOf(activateBinding(global, world.admin, portId, host)), '409 PortBindingAlreadyActive');
    assert.equal(await codeOf(activateBinding(global, world.admin, portId, 'nowhere')), '404 PortBindingNotFound');
    assert.equal(await codeOf(activateBinding(global, world.admin, portId, other)), 'ok');
    const breaches = (await auditWorld(world)).invariants.flatMap((each) => each.breaches.map((breach) => breach.what));
    assert.equal(breaches.length, 1);
    assert.match(breaches[0] ?? '', /is bound \(active\) to/);
    assert.equal(await codeOf(removeBinding(global, world.admin, portId, other)), '409 PortInUse');
    assert.equal(await codeOf(activateBinding(global, world.admin, portId, host)), 'ok');
    assert.equal(await codeOf(removeBinding(global, world.admin, portId, other)), 'ok');
    assert.equal(await codeOf(removeBinding(global, world.admin, portId, other)), '404 PortBindingNotFound');
    // What the operator activated is the operator's from then on; otherwise all is as before.
    const active = global.updateTable('port_bindings').set({ by_operator: 0 }).where('active', '=', 1);
    await active.execute();
    assert.deepEqual(await snapshotOf(world), before);
  }));

test('while a move works, and while a resize waits, every change is refused; afterwards the binding is still there', () =>
  withWorld(async (world) => {
    const { global } = world.p.stores;
    const serverId = await newServer(world);
    const portId = await portOf(world, serverId);
    const { host } = await serverOf(world, serverId);
    assert(host);
    // On the host that the move will go to and on one that it has nothing to do with.
    for (const name of ['cell2-a', 'cell2-b']) {
      assert.equal(await codeOf(addBinding(global, world.admin, portId, { host: name, profile: {} })), 'ok');
    }
    await resize(world, serverId);
    const worker = new Worker(world);
    let looked = 0;
    while ((await worker.step()) !== 'idle') {
      const held = await global.selectFrom('sagas').select('id').where('status', '=', 'active').execute();
      if (held.length === 0) break;
      for (const change of changes(world, portId, host, 'cell2-a')) {
        assert.equal(await codeOf(change()), '409 PortInUse');
      }
      looked += 1;
    }
    await settle(world);
    assert.ok(looked > 20, `looked ${looked} times`);
    const target = (await serverOf(world, serverId)).host ?? '';
    for (const change of changes(world, portId, target, host)) assert.equal(await codeOf(change()), '409 PortInUse');
    await accept(world, revertResize(world.p, world.user, serverId));
    await settle(world);
    assert.deepEqual(await bindings(world, portId), [`${host}*`, 'cell2-a', 'cell2-b'].toSorted());
    await assertSound(world);
    await resize(world, serverId);
    await settle(world);
    await accept(world, confirmResize(world.p, world.user, serverId));
    await settle(world);
    const active = (await serverOf(world, serverId)).host;
    assert.deepEqual(
      await bindings(world, portId),
      ['cell2-a', 'cell2-b'].map((name) => (name === active ? `${name}*` : name)),
    );
    await assertSound(world);
  }));

test('a change lowers no fence: a conductor that wakes late is refused as before', () =>
  withWorld(async (world) => {
    const { global } = world.p.stores;
    const serverId = await newServer(world);
    const portId = await portOf(world, serverId);
    const { host } = await serverOf(world, serverId);
    assert(host);
    const { generation } = await global.selectFrom('port_bindings').select('generation').executeTakeFirstOrThrow();
    assert.equal(await codeOf(addBinding(global, world.admin, portId, { host: 'cell2-a', profile: {} })), 'ok');
    assert.equal(await codeOf(activateBinding(global, world.admin, portId, 'cell2-a')), 'ok');
    assert.equal(await codeOf(removeBinding(global, world.admin, portId, host)), 'ok');
    assert.equal(await activateBindings(global, serverId, host, generation - 1), 'fenced');
  }));
