// The moves with allocations in a Placement of a few lines: it must be as the ledger says whenever things are at rest,
// whatever failed on the way, and nobody may wait for it but who is about to move.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { followingPlacement } from '../../src/control/placement/follow.ts';
import { FakePlacement } from '../../src/control/placement/testing.ts';
import { newId } from '../../src/lib/ids.ts';
import { confirmResize } from '../../src/moves/confirm.ts';
import { createServer } from '../../src/moves/create-server.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import { ServiceDown } from '../../src/openstack/transport.ts';
import {
  accept,
  assertSound,
  beat,
  FLAVORS,
  newServer,
  openWorld,
  runningOn,
  serverOf,
  settle,
  type World,
  work,
} from './world.ts';

const HOUR_MS = 3_600_000;

const inWorld = (name: string, body: (world: World, placement: FakePlacement) => Promise<void>) =>
  test(name, async () => {
    const opened = await openWorld();
    const placement = new FakePlacement();
    const world: World = { ...opened, p: { ...opened.p, placement: followingPlacement(placement) } };
    try {
      await world.clock.drive(world.p.placement?.settleProviders(world.p) ?? Promise.resolve());
      await body(world, placement);
    } finally {
      await world.close();
    }
  });

/** `consumer provider class amount`, of all. */
async function ledger(world: World): Promise<string[]> {
  const rows = await world.p.stores.global.selectFrom('allocations').selectAll().execute();
  return rows.map((row) => `${row.consumer_id} ${row.provider_id} ${row.resource_class} ${row.used}`).toSorted();
}

async function assertAgree(world: World, placement: FakePlacement, consumers: number): Promise<void> {
  assert.deepEqual(placement.lines(), await ledger(world));
  assert.equal(placement.consumers.size, consumers);
}

const owed = async (world: World): Promise<string[]> =>
  (await world.p.stores.global.selectFrom('placement_consumers').select('settled_json').execute())
    .map((row) => row.settled_json)
    .filter((text) => !text.startsWith('{'));

/** Without waiting for what comes of it. */
const create = (world: World) =>
  world.clock.drive(
    createServer(world.p, world.user, {
      ...{ name: 'one', imageId: world.imageId, flavorId: FLAVORS.small, zone: null, keyName: null, tags: [] },
      ...{ networkIds: [world.networkId], metadata: {}, description: null, diskConfig: 'AUTO' },
    }),
  );

inWorld(
  'forth and back: at every rest Placement has what the ledger says, and at the end nothing',
  async (world, placement) => {
    const serverId = await newServer(world);
    await assertAgree(world, placement, 1);
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    await settle(world);
    await assertAgree(world, placement, 2);
    assert.equal(Object.keys(placement.consumers.get(serverId)?.held ?? {}).length, 1);
    await accept(world, revertResize(world.p, world.user, serverId));
    await settle(world);
    await assertAgree(world, placement, 1);
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    await settle(world);
    await accept(world, confirmResize(world.p, world.user, serverId));
    await settle(world);
    await assertAgree(world, placement, 1);
    assert.deepEqual(await owed(world), []);
    await accept(world, deleteServer(world.p, world.user, serverId));
    await settle(world);
    await assertAgree(world, placement, 0);
    assert.equal((await world.p.stores.global.selectFrom('placement_consumers').selectAll().execute()).length, 0);
    await assertSound(world);
  },
);

inWorld('only hosts that Placement offers are chosen', async (world, placement) => {
  const first = await newServer(world);
  const [only] = Object.keys(placement.consumers.get(first)?.held ?? {});
  for (const [id, provider] of placement.providers) if (id !== only) provider.inventories = {};
  const serverId = await newServer(world);
  assert.deepEqual(Object.keys(placement.consumers.get(serverId)?.held ?? {}), [only]);
  const wish = placement.wishes.at(-1);
  assert.deepEqual(wish?.traits, ['CUSTOM_CROSSCELL', '!COMPUTE_STATUS_DISABLED']);
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  await settle(world);
  assert.equal((await serverOf(world, serverId)).vmState, 'active', 'there is nowhere to go');
  await assertAgree(world, placement, 2);
  await assertSound(world);
});

inWorld('room that goes between the offer and the taking is looked for on another host', async (world, placement) => {
  const write = placement.write.bind(placement);
  const full: string[] = [];
  placement.write = async (changes) => {
    const [at] = [...changes.values()].flatMap(({ held }) => Object.keys(held));
    if (full.length > 0 || at === undefined) return write(changes);
    full.push(at);
    return { refused: 'others were faster' };
  };
  const serverId = await newServer(world);
  assert.equal(full.length, 1);
  assert.equal(Object.hasOwn(placement.consumers.get(serverId)?.held ?? {}, full[0] ?? ''), false);
  await assertAgree(world, placement, 1);
});

inWorld(
  'while Placement is away nothing is created, a move turns back, and the server runs on',
  async (world, placement) => {
    const serverId = await newServer(world);
    const { host } = await serverOf(world, serverId);
    placement.isDown = true;
    await assert.rejects(create(world), ServiceDown);
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    assert.equal(await work(world, HOUR_MS), true, 'nobody waits for Placement for ever');
    assert.deepEqual([(await serverOf(world, serverId)).vmState, runningOn(world, serverId)], ['active', [host]]);
    placement.isDown = false;
    await beat(world, 6);
    await assertAgree(world, placement, 1);
    assert.deepEqual(await owed(world), []);
    await assertSound(world);
  },
);

inWorld(
  'Placement goes away in the middle of a move: in the end it has what the ledger says',
  async (world, placement) => {
    const serverId = await newServer(world);
    for (let kept = 1; kept <= 3; kept += 1) {
      let left = kept;
      placement.afterWrite = async () => {
        left -= 1;
        if (left > 0) return;
        placement.isDown = true;
        throw new ServiceDown('the answer is lost');
      };
      await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
      assert.equal(await work(world, HOUR_MS), true);
      placement.isDown = false;
      placement.afterWrite = async () => undefined;
      if ((await serverOf(world, serverId)).vmState === 'resized') {
        await accept(world, revertResize(world.p, world.user, serverId));
        await settle(world);
      }
      await beat(world, 6);
      assert.equal((await serverOf(world, serverId)).vmState, 'active');
      await assertAgree(world, placement, 1);
    }
    await assertSound(world);
  },
);

inWorld(
  'a delete does not wait for Placement; the room is given back when it is there again',
  async (world, placement) => {
    const serverId = await newServer(world);
    placement.isDown = true;
    await accept(world, deleteServer(world.p, world.user, serverId));
    assert.equal(await work(world, HOUR_MS), true);
    assert.equal(placement.consumers.size, 1);
    placement.isDown = false;
    await beat(world, 6);
    await assertAgree(world, placement, 0);
  },
);

inWorld('room of a server that is refused behind the taking is given back at once', async (world, placement) => {
  placement.afterWrite = async () => {
    placement.afterWrite = async () => undefined;
    const quota = { project_id: world.user.projectId, user_id: '', resource: 'cores', hard_limit: 0 };
    await world.p.stores.global.insertInto('quotas').values(quota).execute();
  };
  assert.equal((await create(world)).kind, 'refused');
  assert.deepEqual([placement.writes, placement.consumers.size, await owed(world)], [2, 0, []]);
});

inWorld('room that a process took before it died is given back after a while', async (world, placement) => {
  const [providerId = ''] = placement.providers.keys();
  const [id, owner] = [newId(), { projectId: world.user.projectId, userId: world.user.userId }];
  const consumer = { id, type: 'server', serverId: id, ...owner } as const;
  const took = world.p.placement?.take(world.p, consumer, providerId, { VCPU: 1 });
  assert.equal(await world.clock.drive(took ?? Promise.resolve(false)), true);
  await beat(world, 6);
  assert.equal(placement.consumers.size, 1, 'not before a create that is under way would have recorded it');
  await world.clock.pass(600_000);
  await beat(world, 6);
  await assertAgree(world, placement, 0);
  assert.deepEqual(await owed(world), []);
});

inWorld('a create whose taking was not answered leaves no room taken', async (world, placement) => {
  placement.afterWrite = async () => {
    placement.isDown = true;
    throw new ServiceDown('the answer is lost');
  };
  await assert.rejects(create(world), ServiceDown);
  placement.afterWrite = async () => undefined;
  assert.equal(placement.consumers.size, 1);
  placement.isDown = false;
  await beat(world, 6);
  await assertAgree(world, placement, 0);
  assert.deepEqual(await owed(world), []);
});

inWorld('whoever settles what is outdated is turned away, and settles again', async (world, placement) => {
  const serverId = await newServer(world);
  const { global } = world.p.stores;
  await global.updateTable('allocations').set({ used: 2 }).where('resource_class', '=', 'VCPU').execute();
  placement.beforeWrite = async () => {
    placement.beforeWrite = async () => undefined;
    // Another settler, of a ledger that is newer by now.
    await global.updateTable('allocations').set({ used: 1 }).where('resource_class', '=', 'VCPU').execute();
    await world.p.placement?.settle(world.p, serverId);
  };
  await world.clock.drive(world.p.placement?.settle(world.p, serverId) ?? Promise.resolve());
  await assertAgree(world, placement, 1);
  assert.deepEqual(await owed(world), []);
});

inWorld('two that settle one server at once do not keep each other from it', async (world, placement) => {
  const serverId = await newServer(world);
  await world.p.stores.global
    .updateTable('allocations')
    .set({ used: 2 })
    .where('resource_class', '=', 'VCPU')
    .execute();
  const pace = async () => world.clock.sleep(50);
  placement.beforeWrite = pace;
  placement.afterWrite = pace;
  const once = async () => world.p.placement?.settle(world.p, serverId);
  await world.clock.drive(Promise.all([once(), once(), once()]));
  await assertAgree(world, placement, 1);
  assert.deepEqual(await owed(world), []);
  assert.ok(placement.writes <= 4, `${placement.writes} writes`);
});

inWorld('hosts are providers, marked while they are disabled, and go with their hosts', async (world, placement) => {
  const hosts = await world.p.stores.global.selectFrom('hosts').select(['id', 'name']).execute();
  assert.deepEqual(
    [...placement.providers].map(([id, { name }]) => `${id} ${name}`).toSorted(),
    hosts.map(({ id, name }) => `${id} ${name}`).toSorted(),
  );
  const [first] = hosts;
  assert(first);
  const traits = () => [...(placement.providers.get(first.id)?.traits ?? [])].toSorted();
  const inventories = await world.p.stores.global
    .selectFrom('inventories')
    .select('resource_class')
    .where('provider_id', '=', first.id)
    .execute();
  assert.equal(Object.keys(placement.providers.get(first.id)?.inventories ?? {}).length, inventories.length);
  const say = (disabled: number) =>
    world.p.stores.global.updateTable('hosts').set({ disabled }).where('id', '=', first.id).execute();
  await say(1);
  await beat(world, 1);
  assert.deepEqual(traits(), ['COMPUTE_STATUS_DISABLED', 'CUSTOM_CROSSCELL']);
  await say(0);
  await beat(world, 1);
  assert.deepEqual(traits(), ['CUSTOM_CROSSCELL']);
  await world.p.stores.global.deleteFrom('providers').where('id', '=', first.id).execute();
  await world.p.stores.global.deleteFrom('hosts').where('id', '=', first.id).execute();
  await beat(world, 1);
  assert.equal(placement.providers.has(first.id), false);
});
