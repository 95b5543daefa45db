// Hosts and storage hosts that have lost records, not files: an operator learns of each, and nothing is deleted unasked.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { destroy, hostsWithRemains, listQuarantine, release } from '../../src/control/quarantine.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { stopServer } from '../../src/moves/power.ts';
import { newVolume } from './volumes.ts';
import { accept, beat, hostOf, newServer, serverOf, settle, type World, withWorld } from './world.ts';

const COMPARE = 6;

const kept = async (world: World) =>
  (await listQuarantine(world.p, { limit: 10 })).map(({ kind, host, serverId, volumeId, reason }) => ({
    ...{ kind, host, of: serverId ?? volumeId, reason },
  }));
const idIn = async (world: World): Promise<string> => (await listQuarantine(world.p, { limit: 10 }))[0]?.id ?? '';

test('a server’s disk without a record is told of as what belongs there, until the record is back', () =>
  withWorld(async (world) => {
    const server = await newServer(world);
    await accept(world, stopServer(world.p, world.user, server));
    await settle(world);
    const host = hostOf(world, (await serverOf(world, server)).host);
    const disk = host.hypervisor.diskWords(server);
    const record = (await host.records.load()).find(({ serverId }) => serverId === server);
    assert(record);
    host.records.lose(server);
    await host.restartAgent();
    await beat(world, COMPARE);
    assert.deepEqual(host.hypervisor.diskWords(server), disk);
    const row = { kind: 'remains', host: host.name, of: server };
    const reason = 'the host has no record of it; its server is there';
    assert.deepEqual(await kept(world), [{ ...row, reason }]);
    assert.equal((await listQuarantine(world.p, { limit: 1 }))[0]?.bytes, 64 * 2 ** 20);
    const refusal = await destroy(world.p, world.admin, await idIn(world));
    assert.match(refusal?.message ?? '', /put records\/.*back from a backup .* or evacuate or delete the server/);

    await host.records.save(record);
    await host.restartAgent();
    await beat(world, COMPARE);
    assert.deepEqual(await kept(world), []);
    assert.equal((await host.agent.guest(server)).kind, 'ok');
  }));

test('the disk of a server that was deleted meanwhile is kept, until an operator has it destroyed', () =>
  withWorld(async (world) => {
    const server = await newServer(world);
    const host = hostOf(world, (await serverOf(world, server)).host);
    host.records.lose(server);
    await host.restartAgent();
    await accept(world, deleteServer(world.p, world.user, server));
    await settle(world);
    await beat(world, COMPARE);
    const row = { kind: 'remains', host: host.name, of: server };
    assert.deepEqual(await kept(world), [{ ...row, reason: 'the host has no record of it; its server was deleted' }]);
    assert.notEqual(host.hypervisor.diskWords(server), null);
    assert.deepEqual(await hostsWithRemains(world.p.stores.global, server), [host.name]);

    assert.equal(await destroy(world.p, world.admin, await idIn(world)), null);
    // Not told of anew while its end is owed.
    await beat(world, COMPARE);
    assert.deepEqual(await kept(world), []);
    await world.clock.pass(20_000);
    await beat(world, COMPARE);
    assert.equal(host.hypervisor.diskWords(server), null);
    assert.deepEqual(await hostsWithRemains(world.p.stores.global, server), []);
    assert.deepEqual(await kept(world), []);
  }));

test('what is released is left alone', () =>
  withWorld(async (world) => {
    const server = await newServer(world);
    const host = hostOf(world, (await serverOf(world, server)).host);
    host.records.lose(server);
    await host.restartAgent();
    await beat(world, COMPARE);
    assert.equal(await release(world.p, world.admin, await idIn(world)), null);
    await beat(world, COMPARE);
    assert.deepEqual(await kept(world), []);
    assert.notEqual(host.hypervisor.diskWords(server), null);
  }));

test('so it is with volumes: one that is on record is never destroyed, one that is not when an operator says so', () =>
  withWorld(async (world) => {
    const volume = await newVolume(world);
    const [storage] = [...world.storage.values()].filter(({ driver }) => driver.words(volume) !== null);
    assert(storage);
    storage.records.volumes.lose(volume);
    await storage.restartAgent();
    await beat(world);
    const row = { kind: 'volume', host: storage.name, of: volume };
    assert.deepEqual(await kept(world), [{ ...row, reason: 'the host has no record of it; the volume is there' }]);
    const refusal = await destroy(world.p, world.admin, await idIn(world));
    assert.match(refusal?.message ?? '', /put records\/volumes\/.* or delete the volume/);

    await world.p.stores.global.deleteFrom('volumes').where('id', '=', volume).execute();
    await beat(world);
    assert.match((await kept(world))[0]?.reason ?? '', /was deleted/);
    assert.equal(await destroy(world.p, world.admin, await idIn(world)), null);
    await world.clock.pass(20_000);
    await beat(world);
    assert.equal(storage.driver.words(volume), null);
    assert.deepEqual(await kept(world), []);
  }));
