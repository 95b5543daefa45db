// What a shelved server may not be said to be.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resetState } from '../../src/control/server-marks.ts';
import { shelveServer } from '../../src/moves/shelve.ts';
import { unshelveServer } from '../../src/moves/unshelve.ts';
import { accept, newServer, refuse, serverOf, settle, withSoundWorld } from './world.ts';

test('the state of a shelved server is not set by hand: its disk is on no host, and it would have no way back', () =>
  withSoundWorld(async (world) => {
    const id = await newServer(world);
    const { p, user, admin } = world;
    await accept(world, shelveServer(p, user, id));
    await settle(world);
    for (const wanted of ['active', 'error'] as const) {
      assert.deepEqual(await refuse(world, resetState(p, admin, id, wanted)), {
        code: 409,
        message: `Cannot 'resetState' instance ${id} while it is in vm_state shelved_offloaded`,
      });
    }
    await accept(world, unshelveServer(p, user, id, {}));
    await settle(world);
    assert.equal((await serverOf(world, id)).vmState, 'active');
  }));
