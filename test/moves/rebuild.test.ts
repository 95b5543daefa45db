// Rebuilt servers: a new disk and new words, back as they were when that fails, and what is refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openDebts } from '../../src/control/debts.ts';
import type { Around } from '../../src/control/platform.ts';
import { resetState } from '../../src/control/server-marks.ts';
import { editServer, findServer } from '../../src/control/servers.ts';
import { setDeleteOnTermination } from '../../src/control/volumes/mappings.ts';
import { findVolume } from '../../src/control/volumes/records.ts';
import { storageHostIsUp } from '../../src/control/volumes/storage-hosts.ts';
import { HypervisorError } from '../../src/host/hypervisor.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { rebootServer, stopServer } from '../../src/moves/power.ts';
import { type RebuildRequest, rebuildServer } from '../../src/moves/rebuild-server.ts';
import { REBUILD_VOLUME } from '../../src/moves/rebuild-volume.ts';
import { rescueServer } from '../../src/moves/rescue.ts';
import { createSnapshot } from '../../src/moves/volumes/snapshots.ts';
import type { StorageDriver } from '../../src/storage/driver.ts';
import { volumeBackedServer } from './volumes.ts';
import {
  accept,
  activeSagas,
  assertSound,
  beat,
  hostOf,
  newServer,
  refuse,
  runningOn,
  serverOf,
  settle,
  Worker,
  type World,
  withSoundWorld,
} from './world.ts';
import { snapshotOf } from './world-snapshot.ts';

const inWorld = (name: string, body: (world: World) => Promise<void>) => test(name, () => withSoundWorld(body));

const rebuild = (world: World, id: string, wish: Partial<RebuildRequest> = {}) =>
  rebuildServer(world.p, world.user, id, { imageId: world.imageId, reimages: false, ...wish });

async function disk(world: World, id: string): Promise<readonly string[]> {
  const { host } = await serverOf(world, id);
  return hostOf(world, host).hypervisor.diskWords(id) ?? [];
}

inWorld('a rebuilt server has a new disk, the words it was given, and all else that it had', async (world) => {
  const id = await newServer(world);
  const before = await serverOf(world, id);
  await accept(world, rebuild(world, id, { name: 'anew', description: null, metadata: { a: 'b' }, userData: null }));
  const during = await serverOf(world, id);
  assert.deepEqual([during.taskState, during.name], ['rebuilding', 'anew']);
  await settle(world);
  const after = await serverOf(world, id);
  assert.deepEqual(
    [after.vmState, after.name, after.description, after.metadata, after.userData],
    ['active', 'anew', null, { a: 'b' }, null],
  );
  assert.deepEqual([after.host, after.tags, after.hostname], [before.host, before.tags, before.hostname]);
  assert.match(JSON.stringify(after.configDrive), /"name":"anew"/);
  assert.equal((await disk(world, id)).length, 2, 'one that has been started once');
  assert.deepEqual(runningOn(world, id), [after.host]);
});

inWorld('a server that is off stays off; one in error runs', async (world) => {
  const id = await newServer(world);
  await accept(world, stopServer(world.p, world.user, id));
  await settle(world);
  await accept(world, rebuild(world, id));
  await settle(world);
  assert.deepEqual([(await serverOf(world, id)).vmState, (await disk(world, id)).length], ['stopped', 1]);
  await accept(world, resetState(world.p, world.admin, id, 'error'));
  await accept(world, rebuild(world, id));
  await settle(world);
  assert.equal((await serverOf(world, id)).vmState, 'active');
});

inWorld(
  'a rebuilt server that cannot be started is as it was, but for what somebody has changed meanwhile',
  async (world) => {
    const id = await newServer(world);
    const before = await snapshotOf(world);
    const { host } = await serverOf(world, id);
    const { hypervisor } = hostOf(world, host);
    const spawn = hypervisor.spawn.bind(hypervisor);
    hypervisor.spawn = async (serverId, start) => {
      if (start.fromSpare) throw new HypervisorError('not from this disk');
      await spawn(serverId, start);
    };
    await accept(world, rebuild(world, id, { name: 'anew', metadata: {} }));
    await settle(world);
    assert.deepEqual(await snapshotOf(world), before);
    await accept(world, rebuild(world, id, { name: 'anew', metadata: {} }));
    await accept(world, editServer(world.p, id, { name: 'renamed meanwhile' }));
    await settle(world);
    const after = await serverOf(world, id);
    assert.deepEqual([after.name, after.metadata, after.vmState], ['renamed meanwhile', { colour: 'blue' }, 'active']);
  },
);

inWorld('a server that boots from a volume keeps it, and gets its words', async (world) => {
  const { serverId: id } = await volumeBackedServer(world);
  await accept(world, rebuild(world, id, { name: 'anew' }));
  await settle(world);
  const { vmState, name, image } = await serverOf(world, id);
  assert.deepEqual([vmState, name, image.id], ['active', 'anew', null]);
});

inWorld('a server that boots from a volume can have it written anew, and a snapshot of it stays', async (world) => {
  const { serverId: id, volumes } = await volumeBackedServer(world);
  const [root = ''] = volumes;
  const content = () => [...world.storage.values()].flatMap(({ driver }) => driver.words(root) ?? []);
  const wish = { volumeId: root, name: null, description: null, metadata: {}, force: true };
  assert.equal((await world.clock.drive(createSnapshot(world.p, world.user, wish))).kind, 'created');
  await settle(world);
  await accept(world, rebootServer(world.p, world.user, id, 'HARD'));
  await settle(world);
  assert.equal(content().length, 3, 'what it was made of, and two starts');
  const status = async () => (await findVolume(world.p.stores.global, root))?.status;
  await accept(world, rebuild(world, id, { name: 'anew', reimages: true }));
  assert.equal(await status(), 'downloading');
  const [storage] = [...world.storage.values()].filter(({ driver }) => driver.words(root) !== null);
  assert(storage);
  const { driver } = storage;
  const forget = driver.deleteSnapshot.bind(driver);
  const seen: unknown[] = [];
  driver.deleteSnapshot = async (volumeId, snapshotId) => {
    seen.push(await status());
    await forget(volumeId, snapshotId);
  };
  await settle(world);
  assert.deepEqual(seen, ['downloading'], 'nobody else may begin anything on it before the old content has gone');
  assert.deepEqual([await status(), (await serverOf(world, id)).vmState], ['in-use', 'active']);
  assert.match(content()[0] ?? '', /of image/);
  assert.equal(content().length, 2, 'what is written, and one start');
  const kept = await storage.agent.volume(root);
  assert.equal(kept?.kind === 'ok' && kept.value.snapshots.length, 1, "the user's");
});

inWorld('a root volume written anew holds what it did when the guest cannot be started from it', async (world) => {
  const { serverId: id, volumes } = await volumeBackedServer(world);
  const [root = ''] = volumes;
  const content = () => [...world.storage.values()].flatMap(({ driver }) => driver.words(root) ?? []);
  const { host } = await serverOf(world, id);
  const { hypervisor } = hostOf(world, host);
  const [spawn, old] = [hypervisor.spawn.bind(hypervisor), content()];
  hypervisor.spawn = async () => {
    hypervisor.spawn = spawn;
    throw new HypervisorError('it does not boot');
  };
  await accept(world, rebuild(world, id, { reimages: true }));
  await settle(world);
  assert.deepEqual(content().slice(0, old.length), old);
  assert.equal((await serverOf(world, id)).vmState, 'active');
  assert.equal((await findVolume(world.p.stores.global, root))?.status, 'in-use');
});

const DAY_MS = 86_400_000;

/** The root volume stays when its server is deleted, and the storage host takes a day to write an image over it. */
async function slowToWrite(world: World) {
  const { serverId: id, volumes } = await volumeBackedServer(world);
  const [root = ''] = volumes;
  const home = world.p.stores.global.selectFrom('server_mappings').select('cell_id').where('server_id', '=', id);
  const { cell_id: cellId } = await home.executeTakeFirstOrThrow();
  await accept(world, setDeleteOnTermination(world.p, { serverId: id, cellId }, root, false));
  const storage = [...world.storage.values()].find(({ driver }) => driver.words(root) !== null);
  assert(storage);
  const driver: StorageDriver = storage.driver;
  const rewrite = driver.rewrite.bind(driver);
  const begun: string[] = [];
  driver.rewrite = async (volumeId, content, job) => {
    begun.push(content.kind);
    if (content.kind === 'image') await world.clock.sleep(DAY_MS, job.signal);
    await rewrite(volumeId, content, job);
  };
  return { id, root, storage, begun };
}

inWorld('a server that is deleted while its volume is written leaves the volume as it was', async (world) => {
  const { id, root, storage, begun } = await slowToWrite(world);
  const old = [...(storage.driver.words(root) ?? [])];
  await accept(world, rebuild(world, id, { reimages: true }));
  const worker = new Worker(world);
  while (begun.length === 0) if ((await worker.step()) === 'idle') await world.clock.pass(100);
  await accept(world, deleteServer(world.p, world.user, id));
  await settle(world);
  assert.deepEqual(begun, ['image', 'snapshot']);
  // The guest was on again when the delete came to it.
  assert.deepEqual(storage.driver.words(root)?.slice(0, old.length), old);
  assert.equal((await findVolume(world.p.stores.global, root))?.status, 'available');
  const kept = await storage.agent.volume(root);
  assert.deepEqual(kept.kind === 'ok' && kept.value.snapshots, []);
});

const debts = async (world: World): Promise<string[]> =>
  ((await openDebts(world.p)) ?? []).map(({ kind }) => kind).toSorted();

/** Storage hosts are back, and what they owe is paid. */
async function paid(world: World): Promise<void> {
  for (const storage of world.storage.values()) storage.up();
  for (let round = 0; round < 4; round += 1) {
    await beat(world);
    await world.clock.pass(11_000);
  }
  assert.deepEqual(await debts(world), []);
}

for (const back of ['when the server is gone', 'before the delete begins', 'when another finds it owed'] as const) {
  inWorld(`deleted while its volume is written, whose storage host goes down, and is back ${back}`, async (world) => {
    const { id, root, storage, begun } = await slowToWrite(world);
    const old = [...(storage.driver.words(root) ?? [])];
    await accept(world, rebuild(world, id, { reimages: true }));
    const worker = new Worker(world);
    const goOn = async () => {
      if ((await worker.step()) === 'idle') await world.clock.pass(100);
    };
    while (begun.length === 0) await goOn();
    storage.down();
    await accept(world, deleteServer(world.p, world.user, id));
    const status = async () => (await findVolume(world.p.stores.global, root))?.status;
    if (back === 'when the server is gone') {
      await settle(world);
      assert.equal((await findServer(world.p, id)).kind, 'absent');
      assert.deepEqual((await debts(world)).slice(0, 1), ['restore-volume']);
      assert.equal(await status(), 'downloading', 'nobody gets it');
      storage.up();
      await assertSound(world);
      storage.trouble = (method) => (method === 'rewrite' ? 'unreachable' : 'none');
      await world.clock.pass(60_000);
      for (const _ of [1, 2]) await beat(world);
      assert.deepEqual(await debts(world), ['restore-volume']);
      await assertSound(world);
    } else {
      while ((await debts(world)).length === 0) {
        await goOn();
        if (!(await storageHostIsUp(world.p, storage.name))) continue;
        await world.clock.pass(1000);
        await beat(world);
      }
      // Written down, so that it is the debt that restores it; or not, and then the next worker does.
      const isKnown = async () => (await activeSagas(world)).some(({ state }) => state['restoreOwed'] === true);
      while (back === 'before the delete begins' && !(await isKnown())) await goOn();
      storage.up();
      await settle(world);
    }
    await paid(world);
    const words = storage.driver.words(root);
    // Where the move itself restored it, the guest was on again when the delete came to it.
    assert.deepEqual(back === 'when another finds it owed' ? words?.slice(0, old.length) : words, old);
    assert.equal(await status(), 'available');
    const kept = await storage.agent.volume(root);
    assert.deepEqual(kept.kind === 'ok' && kept.value.snapshots, []);
  });
}

for (const what of ['rebuilt', 'deleted'] as const) {
  inWorld(`${what} when nothing but the old content is left to drop, it waits for no storage host`, async (world) => {
    const { serverId: id, volumes } = await volumeBackedServer(world);
    const [root = ''] = volumes;
    await accept(world, rebuild(world, id, { reimages: true }));
    const worker = new Worker(world);
    const { step } = REBUILD_VOLUME.steps[12] ?? {};
    assert.equal(step, 'drop old content');
    const atIt = async () => (await activeSagas(world)).some((saga) => saga.cursor === 12);
    while (!(await atIt())) if ((await worker.step()) === 'idle') await world.clock.pass(100);
    for (const storage of world.storage.values()) storage.down();
    if (what === 'deleted') await accept(world, deleteServer(world.p, world.user, id));
    await settle(world);
    if (what === 'rebuilt') {
      assert.deepEqual(await debts(world), ['drop-kept-content']);
      assert.equal((await serverOf(world, id)).taskState, null);
    }
    await paid(world);
    const answers = await Promise.all([...world.storage.values()].map(({ agent }) => agent.volume(root)));
    const kept = answers.flatMap((answer) => (answer.kind === 'ok' ? [answer.value.snapshots] : []));
    assert.deepEqual(kept, what === 'rebuilt' ? [[]] : []);
  });
}

inWorld('what is not there, and what a state does not allow, is refused in Nova’s words', async (world) => {
  const id = await newServer(world);
  const nowhere = '00000000-0000-4000-8000-00000000dead';
  assert.deepEqual(await refuse(world, rebuild(world, id, { imageId: nowhere })), {
    code: 400,
    message: 'Cannot find image for rebuild',
  });
  assert.deepEqual(await refuse(world, rebuild(world, id, { keyName: 'none' })), {
    code: 400,
    message: 'Invalid key_name provided.',
  });
  assert.equal((await refuse(world, rebuild(world, nowhere))).code, 404);
  await accept(world, rebuild(world, id));
  assert.deepEqual(await refuse(world, rebuild(world, id)), {
    code: 409,
    message: `Cannot 'rebuild' instance ${id} while it is in task_state rebuilding`,
  });
  await accept(world, editServer(world.p, id, { name: 'renamed meanwhile' }));
  await settle(world);
  assert.equal((await serverOf(world, id)).name, 'renamed meanwhile');
});

inWorld('a server is neither rebuilt nor rescued from an image that no guest can boot', async (world) => {
  const id = await newServer(world);
  const { global } = world.p.stores;
  await global.updateTable('images').set({ disk_format: 'vmdk' }).where('id', '=', world.imageId).execute();
  assert.deepEqual(await refuse(world, rebuild(world, id)), {
    code: 400,
    message: `Image ${world.imageId} is unacceptable: no guest can boot its format.`,
  });
  const rescue = rescueServer(world.p, world.user, id, { imageRef: world.imageId, fromVolume: false });
  assert.equal((await refuse(world, rescue)).message, `Requested rescue image '${world.imageId}' is not supported`);
  await global.updateTable('images').set({ disk_format: 'raw' }).where('id', '=', world.imageId).execute();
});

for (const step of ['turn off', 'make disk'])
  inWorld(
    `a host that is back when the undo has come to '${step}' keeps the disk that the server had`,
    async (world) => {
      const id = await newServer(world);
      const host = hostOf(world, (await serverOf(world, id)).host);
      // It has run more often than a new one will have.
      for (let count = 0; count < 3; count += 1) {
        await accept(world, rebootServer(world.p, world.user, id, 'HARD'));
        await settle(world);
      }
      const before = await disk(world, id);
      // Silent from the start of the new guest on, for so long that what is undone there is owed.
      const around: Around = async (_row, at, direction, effect) => {
        if (at === 'start guest' && direction === 'do') host.trouble = () => 'unreachable';
        if (at === step && direction === 'undo') host.up();
        return effect();
      };
      Object.assign(world.p, { around });
      await accept(world, rebuild(world, id));
      await settle(world);
      Object.assign(world.p, { around: undefined });
      assert.ok(((await openDebts(world.p)) ?? []).some(({ kind }) => kind === 'match-guest'));
      for (let count = 0; count < 3; count += 1) {
        await world.clock.pass(20_000);
        await beat(world, 6);
      }
      assert.deepEqual((await disk(world, id)).slice(0, before.length), before);
      assert.deepEqual(runningOn(world, id), [host.name]);
    },
  );
