// Images of a Glance that is a few lines of this file.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { newId } from '../../lib/ids.ts';
import { findBaseImage, findImage, ImageOnItsWay, imageFile, maySee } from '../images.ts';
import type { Platform } from '../platform.ts';
import { collectUnusedImages, GRACE_MS } from './collect.ts';
import { createImageMirror, KEEP_MS } from './mirror.ts';
import { FakeGlance, type ImageWorld, imageWorld, member, qcow2, stranger } from './testing.ts';

const DATA = qcow2();

const PROPERTIES = { hw_disk_bus: 'scsi', os_glance_importing: 'x', direct_url: 'file:///x' };

async function mirrored(data = DATA) {
  const glance = new FakeGlance();
  const world = await imageWorld();
  const imageMirror = createImageMirror(glance);
  const p: Platform = { ...world.p, imageMirror };
  const id = newId();
  glance.put(id, DATA, PROPERTIES);
  glance.files.set(id, data);
  return { glance, world, p, id, imageMirror };
}

/** Asks as sagas do, until the data is here or cannot be had. */
async function brought(p: Platform, id: string) {
  for (let i = 0; i < 500; i += 1) {
    try {
      return await findBaseImage(p, id);
    } catch (error) {
      if (!(error instanceof ImageOnItsWay)) throw error;
      await delay(10);
    }
  }
  return assert.fail('the image never came');
}

const close = async (world: ImageWorld): Promise<void> => world[Symbol.asyncDispose]();

test('an image is what Glance says, and its data comes once, when it is needed', async () => {
  const { glance, world, p, id } = await mirrored();
  const image = await findImage(p, id);
  assert(image);
  assert.deepEqual(
    [image.status, image.owner, image.minDiskGb, image.properties],
    ['active', 'p1', 1, { hw_disk_bus: 'scsi' }],
  );
  assert.deepEqual([maySee(member, image), maySee(stranger, image)], [true, false]);
  assert.equal(glance.downloads, 0);
  const base = await brought(p, id);
  assert.equal(base?.sha256, createHash('sha256').update(DATA).digest('hex'));
  assert.deepEqual(await readFile(imageFile(p, id)), DATA);
  assert.equal((await findImage(p, id))?.virtualBytes, base?.virtualBytes, 'known from the data');
  glance.put(id, DATA, { ...PROPERTIES, status: 'deactivated', visibility: 'public' });
  const now = await findImage(p, id);
  assert.deepEqual([now?.status, now?.visibility], ['queued', 'public'], 'not offered for new servers');
  glance.images.delete(id);
  assert.equal(await findImage(p, id), null);
  assert.deepEqual(await findBaseImage(p, id), base, 'what was made from it keeps its base');
  assert.equal(glance.downloads, 1);
  await close(world);
});

test('an image that was named before Glance knew all of it can be used later', async () => {
  const { glance, world, p, id } = await mirrored();
  glance.put(id, DATA, { status: 'queued', disk_format: null, container_format: null });
  assert.equal((await findImage(p, id))?.diskFormat, null);
  glance.put(id, DATA);
  await findImage(p, id);
  assert.equal((await brought(p, id))?.id, id);
  await close(world);
});

test('data that is not what Glance says is refused, and tried anew', async () => {
  const { glance, world, p, id } = await mirrored(Buffer.concat([DATA.subarray(0, -1), Buffer.from('!')]));
  await assert.rejects(brought(p, id), /sha512 digest is not/);
  glance.files.set(id, DATA);
  assert.equal((await brought(p, id))?.id, id);
  await close(world);
});

test('an image that is shared is its members’ too, however they took it', async () => {
  const { glance, world, p, id } = await mirrored();
  const at = '2026-01-01T00:00:00Z';
  glance.shares.set(id, [{ member_id: stranger.projectId, status: 'pending', created_at: at, updated_at: at }]);
  const seenBy = async (visibility: string): Promise<boolean[]> => {
    glance.put(id, DATA, { visibility });
    const image = await findImage(p, id);
    assert(image);
    return [maySee(member, image), maySee(stranger, image), maySee({ ...stranger, projectId: 'p3' }, image)];
  };
  assert.deepEqual(await seenBy('shared'), [true, true, false]);
  assert.deepEqual(await seenBy('private'), [true, false, false], 'members that it had are no members any more');
  await close(world);
});

test('what hosts cannot read is refused with the reason', async () => {
  const { glance, world, p, id } = await mirrored();
  glance.put(id, DATA, { disk_format: 'vmdk' });
  await assert.rejects(brought(p, id), /disk_format/);
  await assert.rejects(brought(p, newId()), /Glance has no image/);
  await close(world);
});

test('two that need the same image wait for one download', async () => {
  const { glance, world, p, id } = await mirrored();
  await Promise.all([brought(p, id), brought(p, id), brought(p, id)]);
  assert.equal(glance.downloads, 1);
  await close(world);
});

test('a mirror that nobody names any more goes; one that is named again stays; our own images are no mirrors', async () => {
  const { glance, world, p, id } = await mirrored();
  const other = newId();
  glance.put(other, DATA);
  await brought(p, id);
  await brought(p, other);
  await p.stores.global
    .insertInto('images')
    .values(await ownRow(p, id))
    .execute();
  world.advance(KEEP_MS + 1);
  await collectUnusedImages(p);
  world.advance(GRACE_MS + 1);
  await findImage(p, other);
  const { removed } = await collectUnusedImages(p);
  assert.deepEqual(removed, [id]);
  assert.equal((await findBaseImage(p, OWN))?.id, OWN);
  assert.equal((await findBaseImage(p, other))?.id, other, 'it has its grace again');
  await assert.rejects(findBaseImage(p, id), ImageOnItsWay);
  await close(world);
});

const OWN = newId();
const ownRow = async (p: Platform, like: string) => ({
  ...(await p.stores.global.selectFrom('images').selectAll().where('id', '=', like).executeTakeFirstOrThrow()),
  id: OWN,
});

test('closing ends a download that is under way', async () => {
  const { world, p, id, imageMirror } = await mirrored();
  const endless = new Readable({ read: () => undefined });
  const never = new FakeGlance();
  never.put(id, DATA);
  never.data = async () => endless;
  const stuck = createImageMirror(never);
  const q: Platform = { ...p, imageMirror: stuck };
  await assert.rejects(findBaseImage(q, id), ImageOnItsWay);
  await delay(20);
  await stuck.close();
  assert.equal(endless.destroyed, true);
  await imageMirror.close();
  await close(world);
});

test('closing ends a download that is being asked for, and one that nobody reads yet', async () => {
  const { world, p, id, imageMirror } = await mirrored();
  for (const when of ['asked for', 'unread']) {
    const endless = new Readable({ read: () => undefined });
    const never = new FakeGlance();
    never.put(id, DATA);
    const stuck = createImageMirror(never);
    const closed = new Promise<void>((resolve) => {
      never.data = async () => {
        if (when === 'asked for') resolve(stuck.close());
        else queueMicrotask(() => queueMicrotask(() => resolve(stuck.close())));
        return endless;
      };
    });
    await assert.rejects(findBaseImage({ ...p, imageMirror: stuck }, id), ImageOnItsWay);
    await closed;
    assert.equal(endless.errored?.message, 'the process stops', when);
  }
  await imageMirror.close();
  await close(world);
});
