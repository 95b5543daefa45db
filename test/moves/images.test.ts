// Images of servers, and what may be done with a server that an image is made of.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findImage } from '../../src/control/images.ts';
import { findServer } from '../../src/control/servers.ts';
import { createServerBackup, createServerImage, type ImageMade } from '../../src/moves/create-image.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { accept, newServer, settle, Worker, type World, withSoundWorld } from './world.ts';

const wish = { name: 'kept', metadata: {} };
const MAKES: Readonly<Record<string, (world: World, id: string) => Promise<ImageMade>>> = {
  'create image': (world, id) => createServerImage(world.p, world.user, id, wish),
  'create backup': (world, id) =>
    createServerBackup(world.p, world.user, id, { ...wish, backupType: 'daily', rotation: 1 }),
};

for (const [move, make] of Object.entries(MAKES)) {
  test(`${move}: who deletes the server as soon as the image is active keeps the image`, () =>
    withSoundWorld(async (world) => {
      const id = await newServer(world);
      const made = await world.clock.drive(make(world, id));
      assert(made.kind === 'made');
      const status = async () => (await findImage(world.p, made.imageId))?.status;
      const worker = new Worker(world);
      // The move itself has not heard yet that the image is complete: it can still turn back.
      while ((await status()) !== 'active') {
        if ((await worker.step()) === 'idle') await world.clock.pass(10);
      }
      await accept(world, deleteServer(world.p, world.user, id));
      await settle(world);
      assert.equal((await findServer(world.p, id)).kind, 'absent');
      assert.equal(await status(), 'active');
      const saga = world.p.stores.global.selectFrom('sagas').select('reason').where('definition', '=', move);
      assert.equal((await saga.executeTakeFirstOrThrow()).reason, 'cancelled on request');
    }));
}
