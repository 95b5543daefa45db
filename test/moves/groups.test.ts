// Server groups over cells: on create, resize and migrate, in races, and when members go.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listCells } from '../../src/control/cells.ts';
import { setQuota } from '../../src/control/quota.ts';
import { createServerGroup, findServerGroup } from '../../src/control/server-groups.ts';
import type { GroupPolicy } from '../../src/model/server-groups.ts';
import { confirmResize } from '../../src/moves/confirm.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { migrateServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import {
  accept,
  assertSound,
  beat,
  FLAVORS,
  requestServer,
  runningOn,
  serverOf,
  settle,
  type World,
  withWorld,
} from './world.ts';

const HOSTS = ['cell1-a', 'cell1-b', 'cell2-a', 'cell2-b'];

const inGroup = (
  name: string,
  policy: GroupPolicy,
  body: (world: World, groupId: string) => Promise<void>,
  maxServerPerHost: number | null = null,
) =>
  test(name, () =>
    withWorld(async (world) => {
      const made = await world.clock.drive(
        createServerGroup(world.p, world.user, { name: 'g', policy, maxServerPerHost }),
      );
      assert(made.kind === 'created');
      await body(world, made.group.id);
    }),
  );

const request = (world: World, groupId: string) => requestServer(world, FLAVORS.plain, 'one', { groupId });
const hostsOf = async (world: World, ids: readonly string[]) =>
  (await Promise.all(ids.map(async (id) => (await serverOf(world, id)).host))).toSorted();
const migrate = (world: World, id: string, host: string | null = null) =>
  accept(world, migrateServer(world.p, world.admin, id, { host }));

inGroup(
  'anti-affinity: one member per host over all cells, and no room for one more',
  'anti-affinity',
  async (world, g) => {
    const ids: string[] = [];
    for (const _ of HOSTS) ids.push(await request(world, g));
    const fifth = await request(world, g);
    await settle(world);
    assert.deepEqual(await hostsOf(world, ids), HOSTS);
    const refused = await serverOf(world, fifth);
    assert.equal(refused.vmState, 'error');
    assert.match(refused.fault?.details ?? '', /ServerGroupAntiAffinityFilter 4/);
    assert.deepEqual((await findServerGroup(world.p, g))?.members.toSorted(), [...ids, fifth].toSorted());
    await assertSound(world);
  },
);

inGroup(
  'a member too many is refused where there is no room either, and leaves nothing behind',
  'anti-affinity',
  async (world, g) => {
    for (const _ of HOSTS) await request(world, g);
    await setQuota(world.p, { projectId: world.user.projectId }, { server_group_members: HOSTS.length });
    await assert.rejects(request(world, g), /Quota exceeded, too many servers in group/);
    await settle(world);
    // Its record was there first, and went as what is owed does.
    await world.clock.pass(121_000);
    await beat(world);
    for (const { id } of await listCells(world.p)) {
      const records = await (await world.p.stores.cell(id)).selectFrom('servers').select('id').execute();
      assert.equal(records.length, HOSTS.length / 2);
    }
    await assertSound(world);
  },
);

inGroup('anti-affinity: members that are created at once do not pass each other', 'anti-affinity', async (world, g) => {
  const ids = await world.clock.drive(
    Promise.all(
      HOSTS.map(() => requestServer({ ...world, clock: sideBySide(world) }, FLAVORS.plain, 'one', { groupId: g })),
    ),
  );
  await settle(world);
  assert.deepEqual(await hostsOf(world, ids), HOSTS);
  await assertSound(world);
});

/** The clock is driven by whoever waits for all of them. */
const sideBySide = (world: World): World['clock'] =>
  Object.assign(Object.create(world.clock) as World['clock'], { drive: <T>(work: Promise<T>) => work });

inGroup(
  'max_server_per_host lets so many together',
  'anti-affinity',
  async (world, g) => {
    const ids: string[] = [];
    for (const _ of [...HOSTS, ...HOSTS]) ids.push(await request(world, g));
    const ninth = await request(world, g);
    await settle(world);
    assert.deepEqual(await hostsOf(world, ids), [...HOSTS, ...HOSTS].toSorted());
    assert.equal((await serverOf(world, ninth)).vmState, 'error');
  },
  2,
);

// Nova's test_anti_affinity_group: what holds in one cell holds for a move into another.
inGroup(
  'anti-affinity: a migration does not go to a host of another member, also when asked to',
  'anti-affinity',
  async (world, g) => {
    const [one, two] = [await request(world, g), await request(world, g)];
    await settle(world);
    const taken = (await serverOf(world, two)).host;
    await migrate(world, one, taken);
    await settle(world);
    assert.notEqual((await serverOf(world, one)).host, taken);
    assert.equal((await serverOf(world, one)).vmState, 'active');
    const [last] = await world.p.stores.global.selectFrom('migrations').selectAll().execute();
    assert.equal(last?.status, 'error');
    await assertSound(world);
  },
);

inGroup(
  'anti-affinity: two members that move at once, and the place that a revert needs, stay apart',
  'anti-affinity',
  async (world, g) => {
    const ids = [await request(world, g), await request(world, g)];
    await settle(world);
    const before = await hostsOf(world, ids);
    for (const id of ids) await migrate(world, id);
    await settle(world);
    // Both wait now, each with two places: no third member finds a host.
    assert.deepEqual([...before, ...(await hostsOf(world, ids))].toSorted(), HOSTS);
    const third = await request(world, g);
    await settle(world);
    assert.equal((await serverOf(world, third)).vmState, 'error');
    const [one = '', two = ''] = ids;
    await accept(world, revertResize(world.p, world.user, one));
    await accept(world, confirmResize(world.p, world.user, two));
    await settle(world);
    assert.equal(new Set(await hostsOf(world, ids)).size, 2);
    await assertSound(world);
  },
);

inGroup(
  'affinity: all go where the first is; one cannot leave the others, the last one can',
  'affinity',
  async (world, g) => {
    const ids = await world.clock.drive(
      Promise.all(
        [1, 2, 3].map(() =>
          requestServer({ ...world, clock: sideBySide(world) }, FLAVORS.plain, 'one', { groupId: g }),
        ),
      ),
    );
    await settle(world);
    const [host, ...others] = new Set(await hostsOf(world, ids));
    assert.deepEqual(others, []);
    const [one = '', two = '', three = ''] = ids;
    await migrate(world, one);
    await settle(world);
    assert.equal((await serverOf(world, one)).host, host);
    for (const id of [two, three]) await accept(world, deleteServer(world.p, world.user, id));
    await settle(world);
    assert.deepEqual((await findServerGroup(world.p, g))?.members, [one]);
    await migrate(world, one);
    await settle(world);
    assert.notEqual((await serverOf(world, one)).host, host);
    await assertSound(world);
  },
);

for (const [policy, hosts] of [
  ['soft-affinity', 1],
  ['soft-anti-affinity', 4],
] as const) {
  inGroup(`${policy}: prefers, and refuses nothing`, policy, async (world, g) => {
    // More than the weights of free room, which would spread them.
    const weights = { ...world.p.settings.weights, soft_affinity_weight_multiplier: 100 };
    Object.assign(world.p.settings, { weights: { ...weights, soft_anti_affinity_weight_multiplier: 100 } });
    const ids: string[] = [];
    for (const _ of HOSTS) ids.push(await request(world, g));
    await settle(world);
    assert.equal(new Set(await hostsOf(world, ids)).size, hosts);
    const fifth = await request(world, g);
    await settle(world);
    assert.equal(runningOn(world, fifth).length, 1);
  });
}
