import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { admin, imageWorld, qcow2 } from '../control/images/testing.ts';
import { GUEST_IMAGE } from './guest-image.ts';
import { offerImage } from './offer-image.ts';

test('the guest image is there once, also when the first start ended before its data was', async () => {
  await using world = await imageWorld();
  const { p } = world;
  const images = () => p.stores.global.selectFrom('images').select(['id', 'name', 'status', 'visibility']).execute();
  await offerImage(p, admin, async () => null);
  assert.deepEqual(await images(), []);
  const [file, tooLarge] = [join(world.directory, 'guest.qcow2'), join(world.directory, 'large')];
  await mkdir(world.directory, { recursive: true });
  await writeFile(tooLarge, Buffer.alloc(5 * 1024 * 1024));
  await assert.rejects(offerImage(p, admin, async () => tooLarge));
  const [begun] = await images();
  assert.equal(begun?.status, 'queued');

  await writeFile(file, qcow2());
  await offerImage(p, admin, async () => file);
  assert.deepEqual(
    (await images()).map((each) => ({ ...each })),
    [{ id: begun.id, name: GUEST_IMAGE, status: 'active', visibility: 'public' }],
  );
  await offerImage(p, admin, () => assert.fail('it is there'));
  assert.equal((await images()).length, 1);
});
