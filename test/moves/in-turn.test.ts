// Requests that meet on one server. What shows no task (a device comes or goes) is waited for, as requests wait for the
// lock of Nova's compute host; what shows one is refused at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Platform } from '../../src/control/platform.ts';
import { findServer } from '../../src/control/servers.ts';
import { newId } from '../../src/lib/ids.ts';
import { attachVolume, detachVolume } from '../../src/moves/attach.ts';
import { askedBy } from '../../src/moves/claim.ts';
import { confirmOverdue } from '../../src/moves/confirm.ts';
import { CRASH_DUMP } from '../../src/moves/crash-dump.ts';
import { attachInterface } from '../../src/moves/interfaces.ts';
import { pauseServer, rebootServer, stopServer } from '../../src/moves/power.ts';
import { rebuildServer } from '../../src/moves/rebuild-server.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { startMove } from '../../src/moves/start.ts';
import { nextFence } from '../../src/store/sagas.ts';
import { attachWish, mappedTo, newVolume, requestAttach } from './volumes.ts';
import {
  accept,
  beat,
  FLAVORS,
  newServer,
  refuse,
  serverOf,
  settle,
  Worker,
  type World,
  withSoundWorld,
  withWorld,
} from './world.ts';

const attach = (world: World, serverId: string, volumeId: string) =>
  attachVolume(world.p, world.user, serverId, attachWish(volumeId));

/** Waits for it while a conductor works, a millisecond a step. */
async function whileWorking<T>(world: World, request: Promise<T>): Promise<T> {
  let ended = false;
  const mark = () => {
    ended = true;
  };
  request.then(mark, mark);
  for (const worker = new Worker(world); !ended; ) {
    await worker.step();
    await world.clock.pass(1);
  }
  return request;
}

test('volumes and interfaces come and go one after the other, whoever asks when; a stop comes behind them', () =>
  withSoundWorld(async (world) => {
    const { p, user, networkId } = world;
    const serverId = await newServer(world);
    const volumes = [await newVolume(world), await newVolume(world), await newVolume(world)] as const;
    const [first, ...others] = volumes;
    assert.equal((await whileWorking(world, attach(world, serverId, first))).kind, 'attached');
    const parallel = await whileWorking(world, Promise.all(others.map((each) => attach(world, serverId, each))));
    assert.deepEqual(
      parallel.map(({ kind }) => kind),
      ['attached', 'attached'],
    );
    const wanted = { kind: 'network', networkId, ip: null } as const;
    assert.equal((await whileWorking(world, attachInterface(p, user, serverId, wanted, null))).kind, 'attached');
    assert.equal(await whileWorking(world, detachVolume(p, user, serverId, first)), null);
    assert.equal(await whileWorking(world, stopServer(p, user, serverId)), null);
    await settle(world);
    assert.equal((await serverOf(world, serverId)).vmState, 'stopped');
    assert.deepEqual((await mappedTo(world, serverId)).toSorted(), others.toSorted());
  }));

test('who came first is served first, however rarely it looks by then', () =>
  withSoundWorld(async (world) => {
    const serverId = await newServer(world);
    const [first, second, third] = [await newVolume(world), await newVolume(world), await newVolume(world)] as const;
    await requestAttach(world, serverId, first);
    const early = attach(world, serverId, second);
    // By now it looks every other second; who comes then looks at once, and often.
    await world.clock.pass(20_000);
    const late = attach(world, serverId, third);
    const order: string[] = [];
    early.then(() => order.push('early'));
    late.then(() => order.push('late'));
    await whileWorking(world, Promise.all([early, late]));
    assert.deepEqual(order, ['early', 'late']);
    await settle(world);
    assert.deepEqual(await mappedTo(world, serverId), [first, second, third]);
  }));

test('what came between, at another process, is seen by who waited: a resize goes by the image of a rebuild', () =>
  withWorld(async (world) => {
    const { p, user, clock } = world;
    const serverId = await newServer(world);
    const images = p.stores.global;
    const first = await images
      .selectFrom('images')
      .selectAll()
      .where('id', '=', world.imageId)
      .executeTakeFirstOrThrow();
    const imageId = newId();
    await images
      .insertInto('images')
      .values({ ...first, id: imageId, sha256: 'cd'.repeat(32) })
      .execute();
    await requestAttach(world, serverId, await newVolume(world));
    const resized = resizeServer(p, user, serverId, { flavorId: FLAVORS.big });
    // By now it looks every other second; another process looks at once.
    await clock.pass(20_000);
    const rebuilt = rebuildServer({ ...p }, user, serverId, { imageId, reimages: false });
    assert.equal(await whileWorking(world, rebuilt), null);
    assert.equal(await whileWorking(world, resized), null);
    await settle(world);
    const { vmState, host, image } = await serverOf(world, serverId);
    assert.deepEqual([vmState, image.id], ['resized', imageId]);
    const guest = await clock.drive((await p.host(host ?? '')).guest(serverId));
    assert.ok(guest.kind === 'ok' && guest.value.spec.root.kind === 'image');
    assert.equal(guest.value.spec.root.image.id, imageId);
  }));

test('a saga whose state was made before another came and went does not take hold of the server', () =>
  withSoundWorld(async (world) => {
    const { p, user, clock } = world;
    const serverId = await newServer(world);
    const found = await findServer(p, serverId);
    assert(found.kind === 'found');
    const { server, cellId } = found;
    await accept(world, rebootServer(p, user, serverId, 'HARD'));
    await settle(world);
    assert.equal((await serverOf(world, serverId)).vmState, 'active');
    const state = { ...askedBy(user, server), cellId, host: server.host ?? '', vmState: server.vmState };
    const refusal = await clock.drive(startMove(p, { move: CRASH_DUMP, serverId, actor: user, state }, 'dump'));
    assert.equal(refusal?.code, 409);
    await settle(world);
  }));

test('a request that is so slow that a conductor takes its saga over does not tell what came of its own try', () =>
  withSoundWorld(async (world) => {
    const { p, user, clock } = world;
    const serverId = await newServer(world);
    const overtaken: Platform = {
      ...p,
      around: async (saga) => {
        const taken = { owner: 'another', fence: await nextFence(p.stores.global), lease_until: 0 };
        await p.stores.global.updateTable('sagas').set(taken).where('id', '=', saga.id).execute();
        return { kind: 'failed', reason: 'no', final: true };
      },
    };
    assert.equal(await clock.drive(rebootServer(overtaken, user, serverId, 'HARD')), null);
    await settle(world);
    assert.equal((await serverOf(world, serverId)).vmState, 'active');
  }));

test('what takes too long is named; what shows its task, or waits for a person, is refused at once', () =>
  withSoundWorld(async (world) => {
    const { p, user, clock } = world;
    const serverId = await newServer(world);
    await requestAttach(world, serverId, await newVolume(world));
    const begun = clock.now();
    const stop = () => refuse(world, stopServer(p, user, serverId));
    const late = `Cannot 'stop' instance ${serverId} while 'attach volume' is under way`;
    assert.deepEqual(await stop(), { code: 409, message: late });
    const waited = clock.now() - begun;
    assert.ok(waited >= 30_000 && waited < 40_000, `${waited} ms`);

    const sagas = p.stores.global.updateTable('sagas').where('key', '=', serverId);
    await sagas.where('status', '=', 'active').set({ status: 'stuck' }).execute();
    const now = clock.now();
    assert.equal((await stop()).message, late);
    await sagas.where('status', '=', 'stuck').set({ status: 'active' }).execute();
    await settle(world);
    await accept(world, pauseServer(p, user, serverId));
    assert.match((await stop()).message, /while it is in task_state pausing$/);
    assert.ok(clock.now() - now < 60_000);
    await settle(world);
  }));

test('what nobody asked for just now does not wait: it comes again', () =>
  withSoundWorld(async (world) => {
    const { p, user, clock } = world;
    const serverId = await newServer(world);
    await accept(world, resizeServer(p, user, serverId, { flavorId: FLAVORS.big }));
    await settle(world);
    await requestAttach(world, serverId, await newVolume(world));
    await p.stores.global.updateTable('migrations').set({ confirm_at: clock.now() }).execute();
    const begun = clock.now();
    await clock.drive(confirmOverdue(p));
    assert.ok(clock.now() - begun < 1_000);
    await settle(world);
    assert.equal((await serverOf(world, serverId)).vmState, 'resized');
    await clock.pass(61_000);
    await beat(world);
    await settle(world);
    assert.equal((await serverOf(world, serverId)).vmState, 'active');
  }));
