// Rescued servers: which disk they run from, what they may not do meanwhile, and how they come back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resetState } from '../../src/control/server-marks.ts';
import { attachVolume, detachVolume } from '../../src/moves/attach.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { rebootServer, stopServer } from '../../src/moves/power.ts';
import { rebuildServer } from '../../src/moves/rebuild-server.ts';
import { rescueServer, unrescueServer } from '../../src/moves/rescue.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { attach, newVolume, volumeBackedServer } from './volumes.ts';
import {
  accept,
  beat,
  FLAVORS,
  hostOf,
  newServer,
  refuse,
  runningOn,
  serverOf,
  settle,
  type World,
  withSoundWorld,
} from './world.ts';

const inWorld = (name: string, body: (world: World) => Promise<void>) => test(name, () => withSoundWorld(body));

const rescue = (world: World, id: string, imageRef: string | null = null, fromVolume = false) =>
  rescueServer(world.p, world.user, id, { imageRef, fromVolume });

const its = async (world: World, id: string) => hostOf(world, (await serverOf(world, id)).host);
/** How often its own disk has been booted. */
const boots = async (world: World, id: string) =>
  (await its(world, id)).hypervisor.diskWords(id)?.filter((word) => word.startsWith('run')).length;

async function rescued(world: World): Promise<{ readonly id: string; readonly volumeId: string }> {
  const id = await newServer(world);
  const volumeId = await newVolume(world);
  await attach(world, id, volumeId);
  await accept(world, rescue(world, id));
  await settle(world);
  return { id, volumeId };
}

inWorld('a rescued server runs from the rescue disk, and then again from its own', async (world) => {
  const { id, volumeId } = await rescued(world);
  const { vmState, host } = await serverOf(world, id);
  assert.deepEqual([vmState, runningOn(world, id), await boots(world, id)], ['rescued', [host], 1]);
  const { p, user } = world;
  for (const [word, refused] of [
    ['resize', () => resizeServer(p, user, id, { flavorId: FLAVORS.big })],
    ['stop', () => stopServer(p, user, id)],
    ['reboot', () => rebootServer(p, user, id, 'HARD')],
    ['rebuild', () => rebuildServer(p, user, id, { imageId: world.imageId, reimages: false })],
    ['rescue', () => rescue(world, id)],
    ['detach_volume', () => detachVolume(p, user, id, volumeId)],
    ['resetState', () => resetState(p, world.admin, id, 'active')],
  ] as const) {
    assert.deepEqual(await refuse(world, refused()), {
      code: 409,
      message: `Cannot '${word}' instance ${id} while it is in vm_state rescued`,
    });
  }
  const wish = { volumeId: await newVolume(world), device: null, tag: null };
  const attached = await world.clock.drive(
    attachVolume(p, user, id, { ...wish, deleteOnTermination: false, readOnly: false }),
  );
  assert.equal(attached.kind, 'refused');
  await accept(world, unrescueServer(p, user, id));
  await settle(world);
  assert.deepEqual([(await serverOf(world, id)).vmState, await boots(world, id)], ['active', 2]);
  const [record] = (await (await its(world, id)).records.load()).filter(({ serverId }) => serverId === id);
  assert.equal(record?.guest?.spare, null);
  assert.equal((await refuse(world, unrescueServer(p, user, id))).code, 409);
});

inWorld(
  'a rescued server is rescued still when its host restarts, and when its guest turns itself off',
  async (world) => {
    const { id } = await rescued(world);
    await (await its(world, id)).reboot();
    await beat(world);
    await settle(world);
    assert.deepEqual([(await serverOf(world, id)).vmState, runningOn(world, id).length], ['rescued', 1]);
    assert.equal(await boots(world, id), 1, 'not from its own disk');
    (await its(world, id)).hypervisor.crash(id);
    await beat(world, 0);
    assert.equal((await serverOf(world, id)).vmState, 'rescued');
    await accept(world, unrescueServer(world.p, world.user, id));
    await settle(world);
    assert.equal((await serverOf(world, id)).vmState, 'active');
  },
);

inWorld('a stopped server is rescued, too; a rescued one is deleted', async (world) => {
  const id = await newServer(world);
  await accept(world, stopServer(world.p, world.user, id));
  await settle(world);
  await accept(world, rescue(world, id));
  await settle(world);
  assert.equal((await serverOf(world, id)).vmState, 'rescued');
  await accept(world, deleteServer(world.p, world.user, id));
  await settle(world);
  assert.deepEqual(runningOn(world, id), []);
});

inWorld(
  'from a volume only with an image that says how, and from 2.87 on; images that are not there will not do',
  async (world) => {
    const { serverId: id } = await volumeBackedServer(world);
    const no = `Instance ${id} cannot be rescued: Cannot rescue a volume-backed instance`;
    assert.equal((await refuse(world, rescue(world, id))).message, no);
    assert.equal((await refuse(world, rescue(world, id, world.imageId, true))).message, no);
    assert.deepEqual(await refuse(world, rescue(world, id, id)), {
      code: 400,
      message: `Requested rescue image '${id}' is not supported`,
    });
    await world.p.stores.global
      .updateTable('images')
      .set({ properties_json: JSON.stringify({ hw_rescue_bus: 'virtio', hw_rescue_device: 'disk' }) })
      .where('id', '=', world.imageId)
      .execute();
    await accept(world, rescue(world, id, world.imageId, true));
    await settle(world);
    assert.equal((await serverOf(world, id)).vmState, 'rescued');
    const [record] = (await (await its(world, id)).records.load()).filter(({ serverId }) => serverId === id);
    assert.equal(record?.guest?.spare?.purpose, 'stable-rescue');
    await accept(world, unrescueServer(world.p, world.user, id));
    await settle(world);
    assert.equal((await serverOf(world, id)).vmState, 'active');
  },
);
