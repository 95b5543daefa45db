// One host, or all storage hosts, are gone for good in the middle of a move, and an operator says so: what has to be so then.
import assert from 'node:assert/strict';
import { openDebts } from '../../src/control/debts.ts';
import { forgetHost } from '../../src/control/host-removal.ts';
import { updateService } from '../../src/control/hosts.ts';
import type { Platform } from '../../src/control/platform.ts';
import { findServer } from '../../src/control/servers.ts';
import { forgetStorageHost } from '../../src/control/volumes/storage-removal.ts';
import { confirmResize } from '../../src/moves/confirm.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { evacuateServer } from '../../src/moves/evacuate.ts';
import { findMove } from '../../src/moves/registry.ts';
import { revertResize } from '../../src/moves/revert.ts';
import { whyStuck } from '../../src/saga/decide.ts';
import type { Row } from '../../src/saga/types.ts';
import { sagaOf } from '../../src/store/sagas.ts';
import type { Fixture } from './matrix/fixtures.ts';
import {
  accept,
  assertSound,
  beat,
  hostOf,
  openWorld,
  runningOn,
  serverOf,
  settle,
  type World,
  work,
} from './world.ts';

/** A round in which what hosts run is compared with the records. */
const COMPARE = 6;

/** Who is gone: all storage hosts, or one of those that a saga names as its parties, by its place among them. */
export type Victim = 'storage' | 0 | 1;

const partiesOf = (row: Row): readonly string[] => {
  const all = findMove(row.definition, row.version).parties(row.state);
  return [...new Set(all.flatMap((each) => (each ? [each] : [])))];
};

/**
 * The machines are off at the beginning of this step, and stay so; `replaced`: at once there is another one under that name,
 * which has nothing, until all has ended.
 * @returns the host that is gone; null where the step never came, or has no such party: nothing has been tried then
 */
export async function playOut(
  fixture: Fixture,
  step: string,
  victim: Victim,
  replaced = false,
): Promise<string | null> {
  const world = await openWorld();
  try {
    const prepared = await fixture.prepare(world);
    const gone: { name?: string } = {};
    dieAt(world, fixture.move, step, async (row) => {
      const name = victim === 'storage' ? 'storage' : partiesOf(row)[victim];
      if (name === undefined) return;
      gone.name = name;
      if (victim === 'storage') for (const storage of world.storage.values()) storage.crash();
      else if (replaced) await hostOf(world, name).replace();
      else await die(world, name);
    });
    const { serverId } = await fixture.start(world, prepared);
    await work(world, 300_000);
    const { name } = gone;
    if (name === undefined) return null;
    if (replaced) {
      await settle(world);
      await beat(world, COMPARE);
      await settle(world);
      await assertNobodyWaits(world);
      await assertNotShownActive(world, serverId, name);
      await die(world, name);
    }
    for (let round = 0; round < 8; round += 1) {
      await world.clock.pass(5_000);
      await beat(world);
    }
    if (victim === 'storage') await forgetStorage(world);
    else await accept(world, updateService(world.p, name, { forcedDown: true }));
    await settle(world);
    await assertNobodyWaits(world);
    await save(world, serverId, name);
    await assertNobodyWaits(world);
    if (victim !== 'storage') {
      const removal = await world.clock.drive(forgetHost(world.p, world.admin, name));
      assert.equal(removal.kind, 'removed', removal.kind === 'refused' ? removal.refusal.message : '');
    }
    await world.clock.pass(11_000);
    await beat(world);
    await settle(world);
    assert.deepEqual(await openDebts(world.p), []);
    await assertSound(world);
    return name;
  } finally {
    await world.close();
  }
}

async function die(world: World, name: string): Promise<void> {
  await hostOf(world, name).reboot();
  hostOf(world, name).down();
}

/** A server that its host has lost is not shown as one that runs. */
async function assertNotShownActive(world: World, serverId: string, name: string): Promise<void> {
  const found = await findServer(world.p, serverId);
  if (found.kind !== 'found' || found.server.host !== name || runningOn(world, serverId).includes(name)) return;
  assert.notEqual(found.server.vmState, 'active');
}

function dieAt(world: World, move: string, step: string, die: (row: Row) => Promise<void>): void {
  const platform = world.p as { -readonly [K in keyof Platform]: Platform[K] };
  let died = false;
  platform.around = async (row, at, direction, effect) => {
    if (!died && row.definition === move && at === step && direction === 'do') {
      died = true;
      await die(row);
    }
    return effect();
  };
}

async function forgetStorage(world: World): Promise<void> {
  for (const name of world.storage.keys()) {
    assert.equal((await world.clock.drive(forgetStorageHost(world.p, world.admin, name))).kind, 'removed');
  }
}

async function assertNobodyWaits(world: World): Promise<void> {
  const open = world.p.stores.global.selectFrom('sagas').selectAll().where('ended_at', 'is', null);
  assert.deepEqual(
    (await open.execute()).map(sagaOf).map((row) => [row.definition, row.status, row.reason, whyStuck(row)]),
    [],
  );
}

/** The server leaves the host that is gone, by what there is for that; one that cannot, by Nova's rules, is deleted. */
async function save(world: World, serverId: string, gone: string): Promise<void> {
  const { p } = world;
  if ((await findServer(p, serverId)).kind !== 'found') return;
  const waits = (await serverOf(world, serverId)).vmState === 'resized';
  if (waits) {
    const isThere = (await serverOf(world, serverId)).host === gone;
    await accept(world, (isThere ? revertResize : confirmResize)(p, world.user, serverId));
    await settle(world);
  }
  const { vmState, host } = await serverOf(world, serverId);
  if (host === gone && ['active', 'stopped', 'error'].includes(vmState)) {
    await accept(world, evacuateServer(p, world.admin, serverId, { host: null, staysOff: false }));
    await settle(world);
  }
  const saved = await serverOf(world, serverId);
  if (saved.vmState === 'active') {
    assert.notEqual(saved.host, gone);
    if (gone !== 'storage') assert.deepEqual(runningOn(world, serverId), [saved.host]);
  }
  if (saved.host === gone || gone === 'storage') {
    await accept(world, deleteServer(p, world.user, serverId));
    await settle(world);
  }
}
