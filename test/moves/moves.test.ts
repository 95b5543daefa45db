// The moves from end to end, over real stores and agents and simulated hypervisors.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { updateService } from '../../src/control/hosts.ts';
import { listMigrations } from '../../src/control/migrations.ts';
import type { Settings } from '../../src/control/platform.ts';
import { quotaOf } from '../../src/control/quota.ts';
import { lockServer } from '../../src/control/server-marks.ts';
import { editServer, findServer, serverActions } from '../../src/control/servers.ts';
import { newId } from '../../src/lib/ids.ts';
import { apiStatus } from '../../src/model/states.ts';
import { POWER_STATE } from '../../src/model/types.ts';
import { confirmOverdue, confirmResize } from '../../src/moves/confirm.ts';
import { writeInError } from '../../src/moves/create-home.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { rebootServer, startServer, stopServer } from '../../src/moves/power.ts';
import { migrateServer, resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import { Refused } from '../../src/moves/start.ts';
import {
  accept,
  assertSound,
  auditWorld,
  beat,
  FLAVORS,
  homeOf,
  hostOf,
  LEASE_MS,
  newServer,
  refuse,
  requestServer,
  runningOn,
  serverOf,
  settle,
  USER_DATA,
  Worker,
  type World,
  withWorld,
} from './world.ts';
import { snapshotOf } from './world-snapshot.ts';

const BIG = { flavorId: FLAVORS.big };

const inWorld = (name: string, body: (world: World) => Promise<void>, settings: Partial<Settings> = {}) =>
  test(name, () => withWorld(body, settings));

const statusOf = async (world: World, serverId: string): Promise<string> => {
  const server = await serverOf(world, serverId);
  return apiStatus(server.vmState, server.taskState);
};

async function resized(world: World, flavorId: string = FLAVORS.big): Promise<string> {
  const serverId = await newServer(world);
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId }));
  await settle(world);
  assert.equal(await statusOf(world, serverId), 'VERIFY_RESIZE');
  return serverId;
}

/** Nothing of the server is left but history. */
async function assertGone(world: World, serverId: string): Promise<void> {
  assert.equal((await findServer(world.p, serverId)).kind, 'absent');
  assert.deepEqual(runningOn(world, serverId), []);
  for (const host of world.hosts.values()) {
    const record = (await host.records.load()).find((each) => each.serverId === serverId);
    assert.equal(record?.guest ?? null, null, `${host.name} still has it`);
  }
  assert.equal(
    JSON.stringify((await quotaOf(world.p, world.user.projectId)).used),
    '{"instances":0,"cores":0,"ram":0}',
  );
  await assertSound(world);
}

/** What the host was told of the server's guest. */
async function specOn(world: World, serverId: string) {
  const name = (await serverOf(world, serverId)).host ?? '';
  const record = (await hostOf(world, name).records.load()).find((each) => each.serverId === serverId);
  return record?.guest?.spec;
}

inWorld('D4: the config drive has the same bytes on every host, whatever was changed meanwhile', async (world) => {
  const serverId = await newServer(world);
  const before = (await specOn(world, serverId))?.configDrive;
  assert.deepEqual(
    before?.map(({ path }) => path.split('/').at(-1)),
    ['meta_data.json', 'network_data.json', 'vendor_data.json', 'user_data'],
  );
  assert.equal(before?.at(-1)?.content, USER_DATA);
  const metaData = JSON.parse(Buffer.from(before?.[0]?.content ?? '', 'base64').toString());
  assert.deepEqual([metaData.uuid, metaData.name, metaData.devices[0].tags], [serverId, 'one', ['front']]);
  assert.equal(await editServer(world.p, serverId, { name: 'two', metadata: {} }), null);
  await accept(world, resizeServer(world.p, world.user, serverId, BIG));
  await settle(world);
  assert.deepEqual((await specOn(world, serverId))?.configDrive, before);
  await accept(world, confirmResize(world.p, world.user, serverId));
  await settle(world);
  const { userData, configDrive } = await serverOf(world, serverId);
  assert.equal(userData, USER_DATA);
  assert.equal(configDrive?.metaData['name'], 'one');
});

inWorld('create makes a guest that runs, on a host that its flavor asks for', async (world) => {
  const serverId = await requestServer(world, FLAVORS.small);
  assert.equal(await statusOf(world, serverId), 'BUILD');
  await settle(world);
  const server = await serverOf(world, serverId);
  assert.equal(await statusOf(world, serverId), 'ACTIVE');
  assert.equal(await homeOf(world, serverId), 'cell1');
  assert.deepEqual(runningOn(world, serverId), [server.host]);
  const [action] = await serverActions(world.p, serverId);
  assert.equal(action?.action, 'create');
  assert.notEqual(action?.finishedAt, null);
  assert.equal(action?.message, null);
  await assertSound(world);
});

inWorld('a server that fits nowhere and gets no home leaves no record behind', async (world) => {
  const { p, user, clock } = world;
  const serverId = newId();
  const server = { ...(await serverOf(world, await newServer(world))), id: serverId, host: null };
  // A group that is not there refuses it, when its record is written already.
  await assert.rejects(clock.drive(writeInError(p, user, server, newId(), 'No valid host was found.')), Refused);
  const records = async () => {
    const cells = await p.stores.global.selectFrom('cells').select('id').execute();
    const found = cells.map(async ({ id }) =>
      (await p.stores.cell(id)).selectFrom('servers').select('id').where('id', '=', serverId).execute(),
    );
    return (await Promise.all(found)).flat().length;
  };
  assert.equal(await records(), 1);
  assert.equal((await findServer(p, serverId)).kind, 'absent');
  await clock.pass(121_000);
  await beat(world);
  assert.equal(await records(), 0);
  await assertSound(world);
});

inWorld('a server that fits nowhere is in ERROR with the reason, and can be deleted', async (world) => {
  for (const host of world.hosts.keys()) await updateService(world.p, host, { disabled: true });
  const serverId = await requestServer(world, FLAVORS.small);
  const server = await serverOf(world, serverId);
  assert.equal(await statusOf(world, serverId), 'ERROR');
  assert.match(server.fault?.details ?? '', /No valid host/);
  await assertSound(world);
  await accept(world, deleteServer(world.p, world.user, serverId));
  await settle(world);
  await assertGone(world, serverId);
});

inWorld('a build that fails gives everything back and leaves the record in ERROR', async (world) => {
  for (const host of world.hosts.values()) host.startFault = 'no such machine type';
  const serverId = await requestServer(world, FLAVORS.small);
  await settle(world);
  const server = await serverOf(world, serverId);
  assert.equal(await statusOf(world, serverId), 'ERROR');
  assert.equal(server.host, null);
  assert.match(server.fault?.details ?? '', /no such machine type/);
  await assertSound(world);
});

inWorld('resize into the other cell, then confirm: nothing is left behind', async (world) => {
  const serverId = await newServer(world);
  const before = await serverOf(world, serverId);
  await accept(world, resizeServer(world.p, world.user, serverId, BIG));
  assert.equal(await statusOf(world, serverId), 'RESIZE');
  await settle(world);
  const waiting = await serverOf(world, serverId);
  assert.equal(await statusOf(world, serverId), 'VERIFY_RESIZE');
  assert.equal(await homeOf(world, serverId), 'cell2');
  assert.equal(waiting.flavor.flavorId, FLAVORS.big);
  assert.equal(waiting.oldFlavor?.flavorId, FLAVORS.small);
  assert.deepEqual(runningOn(world, serverId), [waiting.host]);
  assert.deepEqual(waiting.tags, before.tags);
  assert.deepEqual(waiting.metadata, before.metadata);
  const target = hostOf(world, waiting.host);
  assert.deepEqual(target.hypervisor.diskWords(serverId)?.slice(1), [
    `run 1 on ${before.host}`,
    `run 2 on ${waiting.host}`,
  ]);
  await assertSound(world);

  await accept(world, confirmResize(world.p, world.user, serverId));
  await settle(world);
  const after = await serverOf(world, serverId);
  assert.equal(await statusOf(world, serverId), 'ACTIVE');
  assert.equal(after.oldFlavor, null);
  assert.deepEqual(runningOn(world, serverId), [after.host]);
  const left = (await hostOf(world, before.host).records.load()).find((each) => each.serverId === serverId);
  assert.equal(left?.guest, null);
  const [migration] = (await listMigrations(world.p, { serverId, limit: 10 })) ?? [];
  assert.equal(migration?.status, 'confirmed');
  const actions = (await serverActions(world.p, serverId)).map((action) => action.action).sort();
  assert.deepEqual(actions, ['confirmResize', 'create', 'resize']);
  await assertSound(world);
});

inWorld('resize and revert: the world is as it was', async (world) => {
  const serverId = await newServer(world);
  // A guest that ran again has a new launch time, as in Nova.
  const before = await snapshotOf(world, { except: ['launched_at'] });
  await accept(world, resizeServer(world.p, world.user, serverId, BIG));
  await settle(world);
  await accept(world, revertResize(world.p, world.user, serverId));
  assert.equal(await statusOf(world, serverId), 'REVERT_RESIZE');
  await settle(world);
  assert.equal(await statusOf(world, serverId), 'ACTIVE');
  assert.deepEqual(await snapshotOf(world, { except: ['launched_at'] }), before);
  const [migration] = (await listMigrations(world.p, { serverId, limit: 10 })) ?? [];
  assert.equal(migration?.status, 'reverted');
  await assertSound(world);
});

inWorld('a stopped server that is resized never runs on any host', async (world) => {
  const serverId = await newServer(world);
  await accept(world, stopServer(world.p, world.user, serverId));
  await settle(world);
  const runs = () =>
    [...world.hosts.values()]
      .map((host) => host.hypervisor.diskWords(serverId)?.length ?? 0)
      .reduce((a, b) => Math.max(a, b));
  const words = runs();
  await accept(world, resizeServer(world.p, world.user, serverId, BIG));
  await settle(world);
  assert.equal(await statusOf(world, serverId), 'VERIFY_RESIZE');
  assert.deepEqual(runningOn(world, serverId), []);
  await assertSound(world);
  await accept(world, confirmResize(world.p, world.user, serverId));
  await settle(world);
  assert.equal(await statusOf(world, serverId), 'SHUTOFF');
  assert.equal(runs(), words, 'it was started on the way');
  await assertSound(world);
  await accept(world, startServer(world.p, world.user, serverId));
  await settle(world);
  assert.deepEqual(runningOn(world, serverId), [(await serverOf(world, serverId)).host]);
});

inWorld('a server that was resized while it was off can be moved again before it runs', async (world) => {
  const serverId = await newServer(world);
  await accept(world, stopServer(world.p, world.user, serverId));
  await settle(world);
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.medium }));
  await settle(world);
  await accept(world, confirmResize(world.p, world.user, serverId));
  await settle(world);
  const { host } = await serverOf(world, serverId);
  await accept(world, migrateServer(world.p, world.admin, serverId, { host: null }));
  await settle(world);
  assert.equal(await statusOf(world, serverId), 'VERIFY_RESIZE');
  assert.notEqual((await serverOf(world, serverId)).host, host);
  await assertSound(world);
});

inWorld('a stopped server that is reverted stays off', async (world) => {
  const serverId = await newServer(world);
  await accept(world, stopServer(world.p, world.user, serverId));
  await settle(world);
  const before = await snapshotOf(world);
  await accept(world, resizeServer(world.p, world.user, serverId, BIG));
  await settle(world);
  await accept(world, revertResize(world.p, world.user, serverId));
  await settle(world);
  assert.deepEqual(await snapshotOf(world), before);
  assert.deepEqual(runningOn(world, serverId), []);
});

inWorld('a resize inside one cell is the same move', async (world) => {
  const serverId = await newServer(world);
  const before = await serverOf(world, serverId);
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.medium }));
  await settle(world);
  const after = await serverOf(world, serverId);
  assert.equal(await homeOf(world, serverId), 'cell1');
  assert.notEqual(after.host, before.host);
  await assertSound(world);
  await accept(world, confirmResize(world.p, world.user, serverId));
  await settle(world);
  assert.equal(await statusOf(world, serverId), 'ACTIVE');
  await assertSound(world);
});

inWorld('migrate to a host that is named, in another cell', async (world) => {
  const serverId = await newServer(world, FLAVORS.plain);
  const other = (await homeOf(world, serverId)) === 'cell1' ? 'cell2' : 'cell1';
  await accept(world, migrateServer(world.p, world.admin, serverId, { host: `${other}-b` }));
  await settle(world);
  const server = await serverOf(world, serverId);
  assert.equal(server.host, `${other}-b`);
  assert.equal(await homeOf(world, serverId), other);
  const [migration] = (await listMigrations(world.p, { serverId, limit: 10 })) ?? [];
  assert.equal(migration?.type, 'migration');
  await accept(world, confirmResize(world.p, world.admin, serverId));
  await settle(world);
  await assertSound(world);
});

inWorld('migrate without a host stays in the cell when it can', async (world) => {
  const serverId = await newServer(world, FLAVORS.plain);
  const cell = await homeOf(world, serverId);
  await accept(world, migrateServer(world.p, world.admin, serverId, { host: null }));
  await settle(world);
  assert.equal(await homeOf(world, serverId), cell);
  await assertSound(world);
});

inWorld('no valid host: the server is as it was, and the action says why', async (world) => {
  const serverId = await newServer(world);
  for (const host of world.hosts.keys())
    if (host.startsWith('cell2')) await updateService(world.p, host, { disabled: true });
  const before = await snapshotOf(world);
  await accept(world, resizeServer(world.p, world.user, serverId, BIG));
  await settle(world);
  assert.equal(await statusOf(world, serverId), 'ACTIVE');
  assert.deepEqual(await snapshotOf(world), before);
  const action = (await serverActions(world.p, serverId)).find((each) => each.action === 'resize');
  assert.equal(action?.message, 'Error');
  assert.match(action?.events.find((event) => event.result === 'Error')?.details ?? '', /No valid host was found/);
  const [migration] = (await listMigrations(world.p, { serverId, limit: 10 })) ?? [];
  assert.equal(migration?.status, 'error');
  await assertSound(world);
});

inWorld('a target that refuses to start: the server runs again as before, and a second try succeeds', async (world) => {
  const serverId = await newServer(world);
  const before = await snapshotOf(world);
  for (const host of world.hosts.values()) if (host.cell === 'cell2') host.startFault = 'the hypervisor is broken';
  await accept(world, resizeServer(world.p, world.user, serverId, BIG));
  await settle(world);
  assert.equal(await statusOf(world, serverId), 'ACTIVE');
  assert.deepEqual(await snapshotOf(world), before);
  await assertSound(world);
  for (const host of world.hosts.values()) host.startFault = null;
  await accept(world, resizeServer(world.p, world.user, serverId, BIG));
  await settle(world);
  assert.equal(await statusOf(world, serverId), 'VERIFY_RESIZE');
  await assertSound(world);
});

inWorld('a source that refuses to start: the revert is undone and the resize waits on', async (world) => {
  const serverId = await resized(world);
  const before = await snapshotOf(world);
  for (const host of world.hosts.values()) if (host.cell === 'cell1') host.startFault = 'the hypervisor is broken';
  await accept(world, revertResize(world.p, world.user, serverId));
  await settle(world);
  assert.equal(await statusOf(world, serverId), 'VERIFY_RESIZE');
  assert.deepEqual(await snapshotOf(world), before);
  await assertSound(world);
});

inWorld('a revert that turns back leaves a guest off that had turned itself off', async (world) => {
  const serverId = await resized(world);
  const { host } = await serverOf(world, serverId);
  hostOf(world, host).hypervisor.crash(serverId);
  await beat(world, 6);
  const before = await snapshotOf(world);
  assert.equal((await serverOf(world, serverId)).powerState, POWER_STATE.SHUTDOWN);
  for (const each of world.hosts.values()) if (each.cell === 'cell1') each.startFault = 'the hypervisor is broken';
  await accept(world, revertResize(world.p, world.user, serverId));
  await settle(world);
  assert.equal(await statusOf(world, serverId), 'VERIFY_RESIZE');
  assert.deepEqual([await snapshotOf(world), runningOn(world, serverId)], [before, []]);
  await assertSound(world);
});

for (const [name, prepare] of [
  ['ACTIVE', newServer],
  ['VERIFY_RESIZE', resized],
] as const) {
  inWorld(`delete in ${name} leaves nothing`, async (world) => {
    const serverId = await prepare(world);
    await accept(world, deleteServer(world.p, world.user, serverId));
    await settle(world);
    await assertGone(world, serverId);
    assert.equal((await refuse(world, deleteServer(world.p, world.user, serverId))).code, 404);
  });
}

for (const operations of [0, 3, 12, 30, 60, 90]) {
  inWorld(
    `delete while a resize runs (after ${operations} operations of its conductor) leaves nothing`,
    async (world) => {
      const serverId = await newServer(world);
      await accept(world, resizeServer(world.p, world.user, serverId, BIG));
      const worker = new Worker(world);
      for (let count = 0; count < operations; count += 1) await worker.step();
      await accept(world, deleteServer(world.p, world.user, serverId));
      for (let op = await worker.step(); op !== 'idle'; op = await worker.step()) {
        // the first conductor goes on as if nothing had happened
      }
      await settle(world);
      await assertGone(world, serverId);
    },
  );
}

inWorld('delete while it is being built leaves nothing', async (world) => {
  const serverId = await requestServer(world, FLAVORS.small);
  await accept(world, deleteServer(world.p, world.user, serverId));
  await settle(world);
  await assertGone(world, serverId);
});

inWorld('delete of a server whose host is down is answered at once, and the rest is owed and paid', async (world) => {
  const serverId = await newServer(world);
  const host = hostOf(world, (await serverOf(world, serverId)).host);
  host.down();
  await world.clock.pass(31_000);
  await beat(world);
  await accept(world, deleteServer(world.p, world.user, serverId));
  await settle(world);
  assert.equal((await findServer(world.p, serverId)).kind, 'absent');
  const report = await auditWorld(world);
  assert.equal(report.verdict, 'unknown');
  assert.deepEqual(
    report.owed.map((owed) => owed.what),
    [`guest of server ${serverId} on ${host.name}`],
  );
  assert.equal(host.hypervisor.running(serverId), true);
  host.up();
  await beat(world);
  await world.clock.pass(11_000);
  await beat(world);
  await assertGone(world, serverId);
});

inWorld('a target that dies on the way does not delay the source’s return', async (world) => {
  const serverId = await newServer(world);
  const before = await snapshotOf(world);
  await accept(world, resizeServer(world.p, world.user, serverId, BIG));
  const worker = new Worker(world);
  const targets = [...world.hosts.values()].filter((host) => host.cell === 'cell2');
  while (!targets.some((host) => host.hypervisor.diskWords(serverId) !== null)) await worker.step();
  for (const host of targets) host.down();
  await settle(world);
  assert.equal(await statusOf(world, serverId), 'ACTIVE');
  assert.equal(runningOn(world, serverId).length, 1);
  assert.equal((await auditWorld(world)).owed.length > 0, true);
  for (const host of targets) host.up();
  await beat(world);
  await world.clock.pass(11_000);
  await beat(world);
  assert.deepEqual(await snapshotOf(world), before);
  await assertSound(world);
});

inWorld('quota counts a server once while its resize waits', async (world) => {
  const serverId = await resized(world);
  assert.deepEqual((await quotaOf(world.p, world.user.projectId)).used, { instances: 1, cores: 4, ram: 1024 });
  await accept(world, revertResize(world.p, world.user, serverId));
  await settle(world);
  assert.deepEqual((await quotaOf(world.p, world.user.projectId)).used, { instances: 1, cores: 1, ram: 256 });
});

inWorld(
  'a resize that waits longer than its window is confirmed by itself',
  async (world) => {
    const serverId = await resized(world);
    await world.clock.drive(confirmOverdue(world.p));
    assert.equal(await statusOf(world, serverId), 'VERIFY_RESIZE');
    await world.clock.pass(101_000);
    await beat(world);
    await settle(world);
    await beat(world);
    await settle(world);
    assert.equal(await statusOf(world, serverId), 'ACTIVE');
    assert.equal((await serverOf(world, serverId)).flavor.flavorId, FLAVORS.big);
    await assertSound(world);
  },
  { resizeConfirmWindowSeconds: 100 },
);

for (const [word, prepare, request] of [
  ['resize', newServer, (w: World, id: string) => resizeServer(w.p, w.user, id, BIG)],
  ['confirm', resized, (w: World, id: string) => confirmResize(w.p, w.user, id)],
  ['revert', resized, (w: World, id: string) => revertResize(w.p, w.user, id)],
  ['stop', newServer, (w: World, id: string) => stopServer(w.p, w.user, id)],
] as const) {
  inWorld(`of five that want to ${word} at once, exactly one does`, async (world) => {
    const serverId = await prepare(world);
    const answers = await world.clock.drive(Promise.all([1, 2, 3, 4, 5].map(() => request(world, serverId))));
    assert.equal(answers.filter((answer) => answer === null).length, 1);
    for (const answer of answers)
      assert.ok(answer === null || [400, 409].includes(answer.code), JSON.stringify(answer));
    await settle(world);
    assert.equal((await refuse(world, request(world, serverId))).code, 409);
    await assertSound(world);
  });
}

inWorld('deletes at once, and a delete beside a resize, are all granted', async (world) => {
  const serverId = await newServer(world);
  const answers = await world.clock.drive(
    Promise.all([
      resizeServer(world.p, world.user, serverId, BIG),
      deleteServer(world.p, world.user, serverId),
      deleteServer(world.p, world.user, serverId),
    ]),
  );
  assert.deepEqual(answers.slice(1), [null, null]);
  await settle(world);
  await assertGone(world, serverId);
});

inWorld('what is changed while the resize waits survives a revert', async (world) => {
  const serverId = await resized(world);
  await accept(world, editServer(world.p, serverId, { name: 'two', tags: ['x', 'y'] }));
  await accept(world, lockServer(world.p, world.user, serverId, 'mine'));
  await accept(world, revertResize(world.p, world.admin, serverId));
  await settle(world);
  const server = await serverOf(world, serverId);
  assert.equal(server.name, 'two');
  assert.deepEqual(server.tags, ['x', 'y']);
  assert.equal(server.lockedReason, 'mine');
  assert.equal(server.flavor.flavorId, FLAVORS.small);
  assert.equal(await homeOf(world, serverId), 'cell1');
  await assertSound(world);
});

inWorld('reboot turns the guest off and on, and is undone when its host does not answer', async (world) => {
  const serverId = await newServer(world);
  const host = hostOf(world, (await serverOf(world, serverId)).host);
  await accept(world, rebootServer(world.p, world.user, serverId, 'SOFT'));
  await settle(world);
  assert.equal(host.hypervisor.diskWords(serverId)?.length, 3);
  assert.equal(await statusOf(world, serverId), 'ACTIVE');
  // The order arrives, its answers do not: after four tries the reboot is given up, and the guest runs again.
  let lost = 0;
  host.trouble = (method) => {
    if (method !== 'setPower' || lost === 4) return 'none';
    lost += 1;
    return 'lost';
  };
  await accept(world, rebootServer(world.p, world.user, serverId, 'SOFT'));
  await settle(world);
  assert.equal(await statusOf(world, serverId), 'ACTIVE');
  assert.equal(host.hypervisor.running(serverId), true);
  await assertSound(world);
});

inWorld(
  'a guest that turns itself off is recorded so, and one whose host restarted is turned on again',
  async (world) => {
    const serverId = await newServer(world);
    const waiting = await resized(world);
    for (const id of [serverId, waiting]) hostOf(world, (await serverOf(world, id)).host).hypervisor.crash(id);
    await beat(world, 6);
    assert.equal(await statusOf(world, serverId), 'SHUTOFF');
    assert.equal(await statusOf(world, waiting), 'VERIFY_RESIZE');
    await assertSound(world);
    await accept(world, confirmResize(world.p, world.user, waiting));
    await accept(world, startServer(world.p, world.user, serverId));
    await settle(world);
    assert.equal(await statusOf(world, waiting), 'SHUTOFF');

    await world.clock.drive(hostOf(world, (await serverOf(world, serverId)).host).reboot());
    await beat(world);
    await settle(world);
    assert.equal(await statusOf(world, serverId), 'ACTIVE');
    assert.equal(runningOn(world, serverId).length, 1);
    await assertSound(world);
  },
);

inWorld('a host that restarts at any moment of a move leaves its server running in the end', async (world) => {
  const serverId = await newServer(world);
  for (let operations = 0; operations < 100; operations += 4) {
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    const worker = new Worker(world);
    for (let count = 0; count < operations; count += 1) await worker.step();
    for (const host of world.hosts.values()) await world.clock.drive(host.reboot());
    // The monitor sees the new agents while the saga is still at it, and the guests only when it is over.
    await beat(world);
    await settle(world);
    for (const round of [0, 6]) {
      await world.clock.pass(LEASE_MS);
      await beat(world, round);
      await settle(world);
    }
    const { vmState, host } = await serverOf(world, serverId);
    assert.deepEqual(runningOn(world, serverId), [host], `after ${operations} operations, ${vmState}`);
    await assertSound(world);
    if (vmState === 'active') continue;
    await accept(world, revertResize(world.p, world.user, serverId));
    await settle(world);
  }
});
