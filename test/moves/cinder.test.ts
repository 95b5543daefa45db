// The moves with volumes in a Cinder of a few lines: at every rest each volume of a server is connected once there, from
// its guest's host, and held; whatever answer is lost on the way, nothing stays behind.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CINDER } from '../../src/control/volumes/service.ts';
import { newId } from '../../src/lib/ids.ts';
import { attachVolume } from '../../src/moves/attach.ts';
import { confirmResize } from '../../src/moves/confirm.ts';
import { createServer } from '../../src/moves/create-server.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import { ServiceDown } from '../../src/openstack/transport.ts';
import { type FakeCinder, openCinderWorld } from './cinder-world.ts';
import { attach, attachmentsOf, attachWish, detach, requestAttach } from './volumes.ts';
import {
  accept,
  assertSound,
  beat,
  FLAVORS,
  newServer,
  runningOn,
  serverOf,
  settle,
  type World,
  work,
} from './world.ts';

const HOUR_MS = 3_600_000;
/** Rounds of the monitor in which what is owed is settled, beyond the time for which answers may be late. */
const GRACE_MS = 601_000;

const inWorld = (name: string, body: (world: World, cinder: FakeCinder) => Promise<void>) =>
  test(name, async () => {
    const { world, cinder } = await openCinderWorld();
    try {
      await body(world, cinder);
    } finally {
      await world.close();
    }
  });

async function bootFrom(world: World, volumeId: string, deleteOnTermination = false) {
  const created = await world.clock.drive(
    createServer(world.p, world.user, {
      ...{ name: 'bfv', imageId: null, flavorId: FLAVORS.small, zone: null, keyName: null, metadata: {}, tags: [] },
      ...{ networkIds: [], description: null, diskConfig: 'AUTO' },
      blockDevices: [
        {
          ...{ source: { kind: 'volume', volumeId }, bootIndex: 0, device: null, tag: null, volumeType: null },
          deleteOnTermination,
        },
      ],
    }),
  );
  await settle(world);
  return created;
}

/** Each of the volumes is held and connected from the server's host. */
async function assertHas(world: World, cinder: FakeCinder, serverId: string, volumes: readonly string[]) {
  const { host } = await serverOf(world, serverId);
  const wanted = volumes.flatMap((id) => [id, `${host} ${id}`]).toSorted();
  assert.deepEqual(cinder.has(serverId), wanted);
}

const onRecord = async (world: World): Promise<number> =>
  (await world.p.stores.global.selectFrom('cinder_attachments').select('id').execute()).length;

inWorld(
  'forth and back with two volumes; then nothing is left, and one goes with its server',
  async (world, cinder) => {
    const [root, data] = [cinder.newVolume(), cinder.newVolume()];
    const created = await bootFrom(world, root, true);
    assert(created.kind === 'created', JSON.stringify(created));
    const { serverId } = created;
    await attach(world, serverId, data);
    const both = [root, data];
    await assertHas(world, cinder, serverId, both);
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    await settle(world);
    await assertHas(world, cinder, serverId, both);
    assert.equal((await attachmentsOf(world, serverId)).length, 4, 'the ledger can go back');
    await accept(world, revertResize(world.p, world.user, serverId));
    await settle(world);
    await assertHas(world, cinder, serverId, both);
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    await settle(world);
    await accept(world, confirmResize(world.p, world.user, serverId));
    await settle(world);
    await assertHas(world, cinder, serverId, both);
    await assertSound(world);
    await detach(world, serverId, data);
    await assertHas(world, cinder, serverId, [root]);
    await accept(world, deleteServer(world.p, world.user, serverId));
    await settle(world);
    assert.deepEqual([...cinder.volumes.keys()], [data], 'the root volume went with its server');
    assert.equal(cinder.attachments.size, 0);
    assert.equal(await onRecord(world), 0);
    await world.clock.pass(GRACE_MS);
    await beat(world, 6);
    assert.deepEqual(await world.p.stores.global.selectFrom('volumes').select('id').execute(), []);
    await assertSound(world);
  },
);

test('whichever answer is lost, the server has its volume once, and leaves nothing', async () => {
  for (let loses = 1; ; loses += 1) {
    const { world, cinder } = await openCinderWorld();
    try {
      const serverId = await newServer(world);
      const volume = cinder.newVolume();
      cinder.calls = 0;
      cinder.loses = loses;
      try {
        await requestAttach(world, serverId, volume);
      } catch (error) {
        assert.ok(error instanceof ServiceDown, String(error));
      }
      await settle(world);
      const resize = resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big });
      await accept(world, resize);
      await settle(world);
      const has = (await attachmentsOf(world, serverId)).length > 0;
      if ((await serverOf(world, serverId)).vmState === 'resized') {
        await accept(world, confirmResize(world.p, world.user, serverId));
        await settle(world);
      }
      await world.clock.pass(GRACE_MS);
      for (const _ of [1, 2]) await beat(world, 6);
      await assertHas(world, cinder, serverId, has ? [volume] : []);
      cinder.loses = 0;
      await assertSound(world);
      cinder.loses = loses;
      await accept(world, deleteServer(world.p, world.user, serverId));
      await settle(world);
      await world.clock.pass(GRACE_MS);
      for (const _ of [1, 2]) await beat(world, 6);
      assert.equal(cinder.attachments.size, 0, `the answer to call ${loses}`);
      assert.equal(await onRecord(world), 0);
      if (cinder.calls < loses) {
        assert.ok(loses > 15, 'there were answers to lose');
        return;
      }
    } finally {
      await world.close();
    }
  }
});

inWorld(
  'while Cinder is away a move turns back, the server runs on, and a delete waits for nobody',
  async (world, cinder) => {
    const serverId = await newServer(world);
    const volume = cinder.newVolume();
    await attach(world, serverId, volume);
    const { host } = await serverOf(world, serverId);
    cinder.isDown = true;
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    assert.equal(await work(world, HOUR_MS), true);
    assert.deepEqual([(await serverOf(world, serverId)).vmState, runningOn(world, serverId)], ['active', [host]]);
    await accept(world, deleteServer(world.p, world.user, serverId));
    assert.equal(await work(world, HOUR_MS), true, 'what Cinder has to let go is owed');
    cinder.isDown = false;
    for (const _ of [1, 2, 3]) {
      await world.clock.pass(GRACE_MS);
      await beat(world, 6);
    }
    assert.equal(cinder.attachments.size, 0);
    await settle(world);
    await assertSound(world);
  },
);

inWorld('what cannot be had is refused, and holds nothing', async (world, cinder) => {
  const serverId = await newServer(world);
  const ask = (volumeId: string) =>
    world.clock.drive(attachVolume(world.p, world.user, serverId, attachWish(volumeId)));
  const codeOf = async (volumeId: string) => {
    const said = await ask(volumeId);
    return said.kind === 'refused' ? said.refusal.code : said.kind;
  };
  assert.equal(await codeOf(newId()), 404, 'none of that id');
  assert.equal(await codeOf(cinder.newVolume({ 'os-vol-tenant-attr:tenant_id': 'other' })), 404, "another project's");
  assert.equal(await codeOf(cinder.newVolume({ encrypted: true })), 400);
  const taken = cinder.newVolume();
  await cinder.reserve({ volumeId: taken, serverId: newId(), mode: 'rw' });
  assert.equal(await codeOf(taken), 400, 'somebody else has it');
  assert.equal(await onRecord(world), 0);
  cinder.backend = 'iscsi';
  const volume = cinder.newVolume();
  await requestAttach(world, serverId, volume);
  await settle(world);
  assert.deepEqual([cinder.has(serverId), await attachmentsOf(world, serverId)], [[], []]);
  const saga = await world.p.stores.global
    .selectFrom('sagas')
    .select('reason')
    .where('definition', '=', 'attach volume')
    .executeTakeFirst();
  assert.match(saga?.reason ?? '', /serves the volume by iscsi, which hosts here cannot open/);
});

inWorld('a hold that nobody claims goes; an older generation gets no access', async (world, cinder) => {
  const serverId = await newServer(world);
  const volume = cinder.newVolume();
  await world.p.volumes?.take(world.p, { serverId, projectId: cinder.projectId, volumeId: volume });
  await beat(world, 6);
  assert.deepEqual(cinder.has(serverId), [volume], 'not before a request that is under way would have claimed it');
  await world.clock.pass(121_000);
  await beat(world, 6);
  assert.deepEqual(cinder.has(serverId), []);
  await attach(world, serverId, volume);
  const storage = await world.p.storage(CINDER);
  await storage.fence(serverId, { generation: 1_000_000 });
  const row = await world.p.stores.global.selectFrom('volume_attachments').select('id').executeTakeFirstOrThrow();
  const late = { serverId, generation: 999_999, mode: 'rw' } as const;
  assert.equal((await storage.grant(volume, row.id, late)).kind, 'fenced');
  assert.equal((await storage.revoke(volume, row.id, late)).kind, 'fenced');
  await assertHas(world, cinder, serverId, [volume]);

  // Who is overtaken between being let in and its first word to Cinder says none.
  cinder.attachments.clear();
  await world.p.stores.global.deleteFrom('cinder_attachments').execute();
  cinder.afterReserve = () => storage.fence(serverId, { generation: 2_000_000 });
  assert.equal((await storage.grant(volume, row.id, { ...late, generation: 1_000_001 })).kind, 'unreachable');
  assert.deepEqual(cinder.has(serverId), [volume], 'held, and not connected');
});
