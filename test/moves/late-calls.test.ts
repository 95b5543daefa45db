// Calls that arrive after their caller has given up, and after what it did next: they change nothing any more. Found by
// the simulation: a start that came behind its own undo had two guests of one server run at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import type { Trouble } from '../../src/simulation/network.ts';
import { accept, assertSound, FLAVORS, hostOf, newServer, openWorld, runningOn, serverOf, settle } from './world.ts';

const LATE: Trouble = { kind: 'late', afterMs: 2000 };

for (const direction of ['resize', 'revert'] as const) {
  test(`a start that arrives behind its own undo is refused: ${direction}`, async () => {
    const world = await openWorld();
    try {
      const serverId = await newServer(world);
      const home = (await serverOf(world, serverId)).host;
      await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.medium }));
      if (direction === 'revert') {
        await settle(world);
        await accept(world, revertResize(world.p, world.user, serverId));
      }
      // The next guest is started on the other host of the cell, or on the one that it came from.
      const next = [...world.hosts.values()].filter(({ cell, name }) => cell === 'cell1' && name !== home);
      const starting = direction === 'revert' ? hostOf(world, home) : next[0];
      assert(starting);
      let starts = 0;
      starting.trouble = (method) => {
        if (method !== 'setPower') return 'none';
        starts += 1;
        // Both tries of the start are late; what undoes them is not.
        return starts <= 2 ? LATE : 'none';
      };
      await settle(world);
      await world.clock.pass(10_000);
      assert.ok(starts >= 2);
      assert.deepEqual(world.fabric.ranTwice, []);
      assert.equal(runningOn(world, serverId).length, 1);
      await assertSound(world);
    } finally {
      await world.close();
    }
  });
}
