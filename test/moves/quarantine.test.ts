// A host that comes back is told what it should run before it gets anything new, and what nobody owns is kept.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { owe } from '../../src/control/debts.ts';
import { registerHost } from '../../src/control/host-registration.ts';
import { deleteHost } from '../../src/control/host-removal.ts';
import { hostStates } from '../../src/control/host-states.ts';
import { updateService } from '../../src/control/hosts.ts';
import { destroy, hostsWithRemains, listQuarantine, release } from '../../src/control/quarantine.ts';
import type { Reply } from '../../src/host/contract.ts';
import { newId } from '../../src/lib/ids.ts';
import { confirmResize } from '../../src/moves/confirm.ts';
import { evacuateServer } from '../../src/moves/evacuate.ts';
import { stopServer } from '../../src/moves/power.ts';
import { migrateServer, resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import {
  accept,
  activeSagas,
  auditWorld,
  beat,
  FLAVORS,
  hostOf,
  newServer,
  runningOn,
  serverOf,
  settle,
  Worker,
  type World,
  withWorld,
} from './world.ts';

const COMPARE = 6;
const HOUR_MS = 3_600_000;
const HOST = 'cell2-b';

const ok = <T>(reply: Reply<T>): T => {
  assert(reply.kind === 'ok', JSON.stringify(reply));
  return reply.value;
};

/** A guest that no record puts there, running, at this generation. */
async function plant(world: World, like: string, serverId: string, host = HOST, generation = 1): Promise<void> {
  const { spec } = ok(await hostOf(world, (await serverOf(world, like)).host).agent.guest(like));
  const { agent } = hostOf(world, host);
  ok(await world.clock.drive(agent.define(serverId, { generation, spec, disk: 'fresh' })));
  ok(await world.clock.drive(agent.setPower(serverId, { generation, power: 'on', graceSeconds: 0 })));
}

const homeIdOf = async (world: World, serverId: string): Promise<string> =>
  (
    await world.p.stores.global
      .selectFrom('server_mappings')
      .select('cell_id')
      .where('server_id', '=', serverId)
      .executeTakeFirstOrThrow()
  ).cell_id;

const isOffered = async (world: World, host: string): Promise<boolean> =>
  (await hostStates(world.p)).some((each) => each.hostName === host && each.up);

const kept = async (world: World) =>
  (await listQuarantine(world.p, { limit: 10 })).map(({ host, serverId, wasRunning, reason }) => ({
    ...{ host, serverId, wasRunning, reason },
  }));

test('a guest of a server that nobody knows is turned off and kept, disk and all', () =>
  withWorld(async (world) => {
    const server = await newServer(world);
    const stranger = newId();
    await plant(world, server, stranger);
    await beat(world, COMPARE);
    assert.deepEqual(runningOn(world, stranger), []);
    assert.deepEqual(await kept(world), [
      { host: HOST, serverId: stranger, wasRunning: true, reason: 'nobody knows its server' },
    ]);
    assert.equal(ok(await hostOf(world, HOST).agent.guest(stranger)).disk, true);
    const report = await auditWorld(world);
    assert.equal(report.verdict, 'held');
    assert.match(report.owed[0]?.reason ?? '', /in quarantine/);
    assert.deepEqual(runningOn(world, server), [(await serverOf(world, server)).host]);

    // Started again by hand, it is turned off again; it stays one record.
    ok(
      await world.clock.drive(
        hostOf(world, HOST).agent.setPower(stranger, { generation: 10_000, power: 'on', graceSeconds: 0 }),
      ),
    );
    await world.p.stores.global.updateTable('fences').set({ value: 20_000 }).execute();
    await beat(world, COMPARE);
    assert.deepEqual(runningOn(world, stranger), []);
    assert.equal((await kept(world)).length, 1);
  }));

test('a server that came to run elsewhere: the older guest stops when its host is back, before anything new comes there', () =>
  withWorld(async (world) => {
    const server = await newServer(world);
    const { host } = await serverOf(world, server);
    assert(host !== null);
    // The record says where the server is: on another host, where it runs at a newer generation.
    const other = host === 'cell1-a' ? 'cell1-b' : 'cell1-a';
    hostOf(world, host).down();
    await world.clock.pass(HOUR_MS);
    await beat(world);
    await plant(world, await newServerOn(world, other), server, other, 1_000);
    await world.p.stores.global.updateTable('fences').set({ value: 2_000 }).execute();
    const mapping = world.p.stores.global
      .selectFrom('server_mappings')
      .select('cell_id')
      .where('server_id', '=', server);
    const cell = await world.p.stores.cell((await mapping.executeTakeFirstOrThrow()).cell_id);
    await cell.updateTable('servers').set({ host: other }).where('id', '=', server).execute();

    assert.equal(await isOffered(world, host), false);
    hostOf(world, host).up();
    assert.deepEqual(runningOn(world, server).sort(), ['cell1-a', 'cell1-b']);
    // With the cell's database down nothing can be compared: the host counts as up, and gets nothing.
    world.cellsDown.add('cell1');
    await beat(world);
    assert.equal(await isOffered(world, host), false);
    world.cellsDown.delete('cell1');
    await beat(world);
    assert.deepEqual(runningOn(world, server), [other]);
    assert.deepEqual(await kept(world), [
      { host, serverId: server, wasRunning: true, reason: 'its server is elsewhere' },
    ]);
    assert.equal(await isOffered(world, host), true);
  }));

async function newServerOn(world: World, host: string): Promise<string> {
  for (let count = 0; count < 4; count += 1) {
    const server = await newServer(world, FLAVORS.small, `like-${count}`);
    if ((await serverOf(world, server)).host === host) return server;
  }
  return assert.fail(`no server came to ${host}`);
}

test('a guest that a debt accounts for is destroyed as soon as its host is back, and never kept', () =>
  withWorld(async (world) => {
    const server = await newServer(world);
    const gone = newId();
    await plant(world, server, gone);
    hostOf(world, HOST).down();
    await owe(world.p, {
      ...{ kind: 'destroy-guest', host: HOST, serverId: gone, generation: 2, sagaId: newId(), reason: 'test' },
    });
    await world.clock.pass(HOUR_MS);
    await beat(world);
    hostOf(world, HOST).up();
    await beat(world);
    await world.clock.pass(10_000);
    await beat(world);
    assert.deepEqual(await hostOf(world, HOST).agent.guest(gone), { kind: 'absent' });
    assert.deepEqual(await kept(world), []);
  }));

test('the way back of a move that waits is no stray; it is turned off when it runs', () =>
  withWorld(async (world) => {
    const server = await newServer(world);
    const source = (await serverOf(world, server)).host;
    await accept(world, resizeServer(world.p, world.user, server, { flavorId: FLAVORS.big }));
    await settle(world);
    const { generation } = ok(await hostOf(world, source).agent.guest(server));
    ok(
      await world.clock.drive(
        hostOf(world, source).agent.setPower(server, { generation, power: 'on', graceSeconds: 0 }),
      ),
    );
    assert.equal(runningOn(world, server).length, 2);
    await beat(world, COMPARE);
    assert.deepEqual(runningOn(world, server), [(await serverOf(world, server)).host]);
    assert.deepEqual(await kept(world), []);
  }));

test('a guest that runs although its record says off is turned off, and nothing else is changed', () =>
  withWorld(async (world) => {
    const server = await newServer(world);
    const { host } = await serverOf(world, server);
    const mapping = world.p.stores.global
      .selectFrom('server_mappings')
      .select('cell_id')
      .where('server_id', '=', server);
    const cell = await world.p.stores.cell((await mapping.executeTakeFirstOrThrow()).cell_id);
    await cell.updateTable('servers').set({ vm_state: 'stopped', power_state: 4 }).where('id', '=', server).execute();
    await beat(world, COMPARE);
    await world.clock.pass(120_000);
    assert.deepEqual(runningOn(world, server), []);
    assert.equal(ok(await hostOf(world, host).agent.guest(server)).disk, true);
    assert.equal((await auditWorld(world)).verdict, 'held');
  }));

test('a host that is forced down gets nothing new until it was compared after that', () =>
  withWorld(async (world) => {
    await updateService(world.p, HOST, { forcedDown: true });
    await beat(world);
    await updateService(world.p, HOST, { forcedDown: false });
    assert.equal(await isOffered(world, HOST), false);
    await beat(world);
    assert.equal(await isOffered(world, HOST), true);
  }));

for (const how of ['reverted', 'evacuated'] as const) {
  test(`a server that was ${how} from a host that was cut off: its old guest is off before the host gets anything new`, () =>
    withWorld(async (world) => {
      const { p } = world;
      const serverId = await newServer(world, FLAVORS.plain);
      if (how === 'reverted') {
        await accept(world, migrateServer(p, world.admin, serverId, { host: HOST }));
        await settle(world);
      }
      const old = (await serverOf(world, serverId)).host ?? '';
      hostOf(world, old).down();
      for (let round = 0; round < 8; round += 1) {
        await world.clock.pass(5_000);
        await beat(world);
      }
      await accept(world, updateService(p, old, { forcedDown: true }));
      const move = () =>
        how === 'reverted'
          ? revertResize(p, world.user, serverId)
          : evacuateServer(p, world.admin, serverId, { host: null, staysOff: false });
      await accept(world, move());
      await settle(world);
      const { host } = await serverOf(world, serverId);
      assert.deepEqual(runningOn(world, serverId).sort(), [host, old].sort());

      // What is owed is not paid yet.
      hostOf(world, old).trouble = (method) => (method === 'destroy' ? 'unreachable' : 'none');
      await accept(world, updateService(p, old, { forcedDown: false }));
      for (let round = 0; !(await isOffered(world, old)); round += 1) {
        assert.ok(round < 5, 'it is offered again');
        await beat(world);
      }
      assert.deepEqual(runningOn(world, serverId), [host]);
      hostOf(world, old).up();
      await world.clock.pass(11_000);
      await beat(world);
      assert.equal((await auditWorld(world)).verdict, 'held');
    }));
}

test('an operator releases a guest, which is left alone then; or has it destroyed', () =>
  withWorld(async (world) => {
    const server = await newServer(world);
    const [one, two] = [newId(), newId()];
    await plant(world, server, one);
    await plant(world, server, two);
    await beat(world, COMPARE);
    const found = new Map((await listQuarantine(world.p, { limit: 10 })).map((each) => [each.serverId, each.id]));
    assert.equal(found.size, 2);
    assert.equal(await release(world.p, world.admin, found.get(one) ?? ''), null);
    assert.equal(await destroy(world.p, world.admin, found.get(two) ?? ''), null);
    assert.equal((await release(world.p, world.admin, found.get(one) ?? ''))?.code, 404);
    assert.equal((await destroy(world.p, world.admin, newId()))?.code, 404);
    await world.clock.pass(20_000);
    await beat(world);
    await beat(world, COMPARE);
    assert.deepEqual(await hostOf(world, HOST).agent.guest(two), { kind: 'absent' });
    assert.equal((await hostOf(world, HOST).agent.guest(one)).kind, 'ok');
    assert.deepEqual(await kept(world), []);
    assert.equal((await auditWorld(world)).verdict, 'held');
    // As long as it lies there its server does not come back to the host: that is ended by the same order.
    assert.deepEqual(await hostsWithRemains(world.p.stores.global, one), [HOST]);
    assert.equal(await destroy(world.p, world.admin, found.get(one) ?? ''), null);
    await world.clock.pass(20_000);
    await beat(world);
    assert.deepEqual(await hostOf(world, HOST).agent.guest(one), { kind: 'absent' });
    assert.deepEqual(await hostsWithRemains(world.p.stores.global, one), []);
    assert.equal((await destroy(world.p, world.admin, found.get(one) ?? ''))?.code, 404);
  }));

test('a guest in quarantine that belongs there again is let out, and cannot be destroyed before', () =>
  withWorld(async (world) => {
    const server = await newServer(world);
    const { host } = await serverOf(world, server);
    const mapping = world.p.stores.global
      .selectFrom('server_mappings')
      .select('cell_id')
      .where('server_id', '=', server);
    const cell = await world.p.stores.cell((await mapping.executeTakeFirstOrThrow()).cell_id);
    // As a restored backup would have it: for a while the record names another host.
    await cell.updateTable('servers').set({ host: HOST }).where('id', '=', server).execute();
    await beat(world, COMPARE);
    const [id] = (await listQuarantine(world.p, { limit: 10 })).map((each) => each.id);
    await cell.updateTable('servers').set({ host }).where('id', '=', server).execute();
    assert.equal((await destroy(world.p, world.admin, id ?? ''))?.code, 409);
    await beat(world, COMPARE);
    assert.deepEqual(await kept(world), []);
  }));

test('a guest that moved behind the back of a restored cell goes on running, and its host waits for somebody to look', () =>
  withWorld(async (world) => {
    const { p } = world;
    const serverId = await newServer(world);
    const cell = await p.stores.cell(await homeIdOf(world, serverId));
    const record = await cell.selectFrom('servers').selectAll().where('id', '=', serverId).executeTakeFirstOrThrow();
    const fences = await cell.selectFrom('server_fences').selectAll().execute();
    const other = record.host === 'cell1-a' ? 'cell1-b' : 'cell1-a';
    await accept(world, migrateServer(p, world.admin, serverId, { host: other }));
    await settle(world);
    await accept(world, confirmResize(p, world.user, serverId));
    await settle(world);
    assert.deepEqual(runningOn(world, serverId), [other]);
    // The backup was made before all that.
    await cell.updateTable('servers').set(record).where('id', '=', serverId).execute();
    await cell.deleteFrom('server_fences').execute();
    await cell.insertInto('server_fences').values(fences).execute();
    await hostOf(world, other).restartAgent();
    for (let round = 0; round < 3; round += 1) await beat(world, COMPARE);
    assert.deepEqual(runningOn(world, serverId), [other]);
    assert.deepEqual(await kept(world), []);
    assert.equal(await isOffered(world, other), false);
    // Somebody has looked.
    await cell.updateTable('servers').set({ host: other }).where('id', '=', serverId).execute();
    await accept(world, stopServer(p, world.user, serverId));
    await settle(world);
    await beat(world, COMPARE);
    assert.equal(await isOffered(world, other), true);
  }));

test('a host on which a revert has still to clean up is not forgotten', () =>
  withWorld(async (world) => {
    const { p } = world;
    const serverId = await newServer(world);
    await accept(world, resizeServer(p, world.user, serverId, { flavorId: FLAVORS.big }));
    await settle(world);
    const target = (await serverOf(world, serverId)).host ?? '';
    const hosts = p.stores.global.selectFrom('hosts').select('id').where('name', '=', target);
    const { id } = await hosts.executeTakeFirstOrThrow();
    await accept(world, revertResize(p, world.user, serverId));
    const worker = new Worker(world);
    // Neither room nor record is left there; the guest is.
    const hasGivenBack = async () =>
      (await activeSagas(world)).some((saga) => saga.journal.some((entry) => entry.step === 'take back room'));
    for (let count = 0; count < 400 && !(await hasGivenBack()); count += 1) await worker.step();
    assert.equal(await hasGivenBack(), true);
    assert.equal((await world.clock.drive(deleteHost(p, id)))?.code, 409);
    await settle(world);
    assert.equal(await world.clock.drive(deleteHost(p, id)), null);
  }));

test('a host that was just made known is chosen when what it has has been compared, and not before', () =>
  withWorld(async (world) => {
    const { p } = world;
    const server = await newServer(world);
    const known = await p.stores.global
      .selectFrom('hosts')
      .selectAll()
      .where('name', '=', HOST)
      .executeTakeFirstOrThrow();
    assert.equal(await world.clock.drive(deleteHost(p, known.id)), null);
    const stranger = newId();
    await plant(world, server, stranger);

    const description = ok(await hostOf(world, HOST).agent.describe());
    await registerHost(p, { name: HOST, cellId: known.cell_id, url: known.url, description });
    assert.equal(await isOffered(world, HOST), false);
    assert.deepEqual(runningOn(world, stranger), [HOST]);
    await beat(world);
    assert.equal(await isOffered(world, HOST), true);
    assert.deepEqual(runningOn(world, stranger), []);
  }));
