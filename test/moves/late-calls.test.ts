// Calls that arrive after their caller has given up, and after what it did next: they change nothing any more. Found by
// the simulation: a start that came behind its own undo had two guests of one server run at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createServerImage } from '../../src/moves/create-image.ts';
import { rebootServer } from '../../src/moves/power.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import type { SimHost } from '../../src/simulation/hosts.ts';
import type { Trouble } from '../../src/simulation/network.ts';
import { volumeBackedServer } from './volumes.ts';
import {
  accept,
  beat,
  FLAVORS,
  hostOf,
  newServer,
  runningOn,
  serverOf,
  settle,
  type World,
  withSoundWorld,
} from './world.ts';

const LATE: Trouble = { kind: 'late', afterMs: 2000 };

for (const direction of ['resize', 'revert'] as const) {
  test(`a start that arrives behind its own undo is refused: ${direction}`, () =>
    withSoundWorld(async (world) => {
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
    }));
}

// The first try of a call is on its way for so long that the second, and what came behind it, are over when it arrives.
const MUCH_LATER: Trouble = { kind: 'late', afterMs: 12_000 };

interface Overtaken {
  readonly what: string;
  readonly call: string;
  begin(world: World, serverId: string): Promise<unknown>;
  /** Where the call is late. */
  at?(world: World, home: string | null): SimHost | undefined;
}

const OVERTAKEN: readonly Overtaken[] = [
  {
    what: 'a start on probation behind the guest that was kept',
    call: 'setPower',
    begin: (world, serverId) =>
      accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.medium })),
    at: (world, home) => [...world.hosts.values()].find(({ cell, name }) => cell === 'cell1' && name !== home),
  },
  {
    what: 'an off behind the on of a reboot',
    call: 'setPower',
    begin: (world, serverId) => accept(world, rebootServer(world.p, world.user, serverId, 'HARD')),
  },
  {
    what: 'a pause behind the guest that goes on when its volumes are kept in an image',
    call: 'setPaused',
    begin: (world, serverId) =>
      world.clock.drive(createServerImage(world.p, world.user, serverId, { name: 'image', metadata: {} })),
  },
];

for (const { what, call, begin, at } of OVERTAKEN) {
  test(`a call of a try that was given up is refused: ${what}`, () =>
    withSoundWorld(async (world) => {
      const { serverId } = await volumeBackedServer(world);
      const home = (await serverOf(world, serverId)).host;
      const host = at ? at(world, home) : hostOf(world, home);
      assert(host);
      let calls = 0;
      host.trouble = (method) => {
        if (method !== call) return 'none';
        calls += 1;
        return calls === 1 ? MUCH_LATER : 'none';
      };
      await begin(world, serverId);
      await settle(world);
      assert.ok(calls >= 2, 'it was not tried again');
      const then = (await serverOf(world, serverId)).vmState;
      await world.clock.pass(60_000);
      await beat(world);
      await settle(world);
      const { vmState, host: now } = await serverOf(world, serverId);
      assert.equal(vmState, then);
      assert.deepEqual(runningOn(world, serverId), [now]);
      assert.equal(hostOf(world, now).hypervisor.paused(serverId), false);
    }));
}
