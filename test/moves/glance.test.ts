// Images of servers that belong into a Glance of a few lines: it has them with their data when their move has ended well,
// has nothing of them when it has not, and what it could not be told is owed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createImageMirror } from '../../src/control/images/mirror.ts';
import { FakeGlance } from '../../src/control/images/testing.ts';
import { findBaseImage } from '../../src/control/images.ts';
import { createServerBackup, createServerImage, type ImageMade } from '../../src/moves/create-image.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { shelveServer } from '../../src/moves/shelve.ts';
import { unshelveServer } from '../../src/moves/unshelve.ts';
import { uploadVolume } from '../../src/moves/volumes/upload.ts';
import { ServiceDown } from '../../src/openstack/transport.ts';
import { newVolume, volumeBackedServer } from './volumes.ts';
import { accept, assertSound, beat, newServer, openWorld, serverOf, settle, type World, work } from './world.ts';

const HOUR_MS = 3_600_000;
const wish = { name: 'kept', metadata: {} };

const inWorld = (name: string, body: (world: World, glance: FakeGlance, serverId: string) => Promise<void>) =>
  test(name, async () => {
    const opened = await openWorld();
    const serverId = await newServer(opened);
    const glance = new FakeGlance();
    const imageMirror = createImageMirror(glance);
    try {
      await body({ ...opened, p: { ...opened.p, imageMirror } }, glance, serverId);
    } finally {
      await imageMirror.close();
      await opened.close();
    }
  });

async function begun(world: World, made: Promise<ImageMade>): Promise<string> {
  const answer = await world.clock.drive(made);
  assert(answer.kind === 'made', JSON.stringify(answer));
  return answer.imageId;
}

const owed = async (world: World): Promise<number> =>
  (await world.p.stores.global.selectFrom('glance_writes').select('image_id').execute()).length;

inWorld(
  'an image is in Glance when its request is answered, and has its data at the end',
  async (world, glance, id) => {
    const imageId = await begun(
      world,
      createServerImage(world.p, world.user, id, { ...wish, metadata: { note: 'x' } }),
    );
    const made = glance.images.get(imageId);
    assert.deepEqual([made?.status, made?.owner, made?.visibility], ['queued', world.user.projectId, 'private']);
    assert.deepEqual([Reflect.get(made ?? {}, 'note'), Reflect.get(made ?? {}, 'instance_uuid')], ['x', id]);
    await settle(world);
    assert.equal(glance.images.get(imageId)?.status, 'active');
    const base = await findBaseImage(world.p, imageId);
    assert.equal(base?.sizeBytes, glance.files.get(imageId)?.length);
    assert.deepEqual([glance.downloads, await owed(world)], [0, 0], 'what was sent is here already');
    await assertSound(world);
  },
);

inWorld('an image whose data Glance refuses is gone, and the server as it was', async (world, glance, id) => {
  glance.refusal = { kind: 'refused', status: 413, message: 'over quota' };
  const before = await serverOf(world, id);
  await begun(world, createServerImage(world.p, world.user, id, wish));
  await settle(world);
  const { vmState, taskState } = await serverOf(world, id);
  assert.deepEqual([vmState, taskState], [before.vmState, null]);
  assert.deepEqual([glance.images.size, glance.uploads, await owed(world)], [0, 1, 0]);
  await assertSound(world);
});

inWorld('the answer to the upload is lost: it is not sent again', async (world, glance, id) => {
  glance.afterUpload = () => {
    throw new ServiceDown('the answer is lost');
  };
  const imageId = await begun(world, createServerImage(world.p, world.user, id, wish));
  await settle(world);
  assert.deepEqual([glance.images.get(imageId)?.status, glance.uploads, await owed(world)], ['active', 1, 0]);
});

inWorld(
  'Glance goes away in the middle: the image is given up, and goes when it is back',
  async (world, glance, id) => {
    const imageId = await begun(world, createServerImage(world.p, world.user, id, wish));
    glance.isDown = true;
    assert.equal(await work(world, HOUR_MS), true, 'nobody waits for Glance for ever');
    assert.deepEqual([(await serverOf(world, id)).taskState, glance.images.has(imageId)], [null, true]);
    assert.equal(await owed(world), 1);
    glance.isDown = false;
    await beat(world, 6);
    assert.deepEqual([glance.images.size, await owed(world)], [0, 0]);
    await assertSound(world);
  },
);

inWorld('while Glance is away no image is begun; one that was never recorded goes', async (world, glance, id) => {
  glance.isDown = true;
  await assert.rejects(world.clock.drive(createServerImage(world.p, world.user, id, wish)), ServiceDown);
  glance.isDown = false;
  const [row] = await world.p.stores.global.selectFrom('glance_writes').selectAll().execute();
  assert(row);
  glance.put(row.image_id, Buffer.alloc(0), { status: 'queued' });
  await beat(world, 6);
  assert.equal(glance.images.size, 1, 'not before a request that is under way would have recorded it');
  await world.clock.pass(600_000);
  await beat(world, 6);
  assert.deepEqual([glance.images.size, await owed(world)], [0, 0]);
});

inWorld('of backups only the youngest are left in Glance, and those that are protected', async (world, glance, id) => {
  const backup = () =>
    begun(world, createServerBackup(world.p, world.user, id, { ...wish, backupType: 'daily', rotation: 1 }));
  const first = await backup();
  await settle(world);
  const image = glance.images.get(first);
  assert(image);
  glance.images.set(first, { ...image, protected: true });
  const second = await backup();
  await settle(world);
  const third = await backup();
  await settle(world);
  assert.deepEqual(
    [first, second, third].map((each) => glance.images.has(each)),
    [true, false, true],
  );
  assert.equal(await owed(world), 0);
});

inWorld('the image of a shelving goes from Glance when the server is taken up again', async (world, glance, id) => {
  await accept(world, shelveServer(world.p, world.user, id));
  await settle(world);
  const { shelvedImageId } = await serverOf(world, id);
  assert.equal(glance.images.get(shelvedImageId ?? '')?.status, 'active');
  assert.equal(await owed(world), 0);
  await accept(world, unshelveServer(world.p, world.user, id, {}));
  await settle(world);
  assert.deepEqual([(await serverOf(world, id)).vmState, glance.images.size, await owed(world)], ['active', 0, 0]);
  await assertSound(world);
});

inWorld('a delete does not wait for Glance to take the image of a shelving away', async (world, glance, id) => {
  await accept(world, shelveServer(world.p, world.user, id));
  await settle(world);
  glance.isDown = true;
  await accept(world, deleteServer(world.p, world.user, id));
  assert.equal(await work(world, HOUR_MS), true);
  assert.deepEqual([glance.images.size, await owed(world)], [1, 1]);
  glance.isDown = false;
  await beat(world, 6);
  assert.deepEqual([glance.images.size, await owed(world)], [0, 0]);
});

inWorld('a volume becomes an image in Glance, protected when it is all there', async (world, glance) => {
  const volumeId = await newVolume(world);
  const upload = () =>
    world.clock.drive(
      uploadVolume(world.p, world.user, volumeId, {
        ...{ name: 'of a volume', format: 'raw', containerFormat: 'bare', visibility: 'shared' },
        ...{ protected: true, force: false },
      }),
    );
  glance.refusal = { kind: 'refused', status: 413, message: 'over quota' };
  assert.equal((await upload()).kind, 'uploading');
  await settle(world);
  assert.deepEqual([glance.images.size, await owed(world)], [0, 0]);
  glance.refusal = null;
  const begun = await upload();
  assert(begun.kind === 'uploading');
  assert.equal(glance.images.get(begun.image.id)?.protected, false);
  await settle(world);
  const image = glance.images.get(begun.image.id);
  assert.deepEqual([image?.status, image?.visibility, image?.protected], ['active', 'shared', true]);
  assert.equal(await owed(world), 0);
  await assertSound(world);
});

inWorld('an image of volumes is active in Glance without data, or is not there', async (world, glance) => {
  glance.put(world.imageId, Buffer.from('an image'), { visibility: 'public', disk_format: 'raw' });
  const { serverId } = await volumeBackedServer(world);
  glance.refusal = { kind: 'refused', status: 413, message: 'over quota' };
  await begun(world, createServerImage(world.p, world.user, serverId, wish));
  await settle(world);
  assert.deepEqual([[...glance.images.keys()], await owed(world)], [[world.imageId], 0]);
  glance.refusal = null;
  const imageId = await begun(world, createServerImage(world.p, world.user, serverId, wish));
  await settle(world);
  const image = glance.images.get(imageId);
  assert.deepEqual([image?.status, image?.size], ['active', 0]);
  assert.match(String(Reflect.get(image ?? {}, 'block_device_mapping')), /snapshot_id/);
  assert.equal(await owed(world), 0);
  await assertSound(world);
});
