// The end of history: what is over goes when it is old enough, what lives or waits keeps what it needs, and a conductor that
// wakes after all that is refused as before.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TURN_MS, trimHistory } from '../../src/control/history.ts';
import { fc } from '../../src/lib/property-testing.ts';
import { confirmResize } from '../../src/moves/confirm.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { Fenced, globally, inCell } from '../../src/moves/fencing.ts';
import { startServer, stopServer } from '../../src/moves/power.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import { floorOf, raiseFloor, raiseInCell } from '../../src/store/cell-fences.ts';
import { openStores } from '../../src/store/stores.ts';
import { attach, newVolume } from './volumes.ts';
import { accept, beat, FLAVORS, newServer, serverOf, settle, type World, withSoundWorld } from './world.ts';

const DAY_MS = 86_400_000;

const within = (body: (world: World) => Promise<void>, days = 90): Promise<void> =>
  withSoundWorld(body, { historyRetentionDays: days });

const resize = async (world: World, serverId: string): Promise<void> => {
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  await settle(world);
};

/** A server that was moved to the other cell, confirmed, and deleted. */
async function gone(world: World): Promise<string> {
  const serverId = await newServer(world, FLAVORS.small, 'gone');
  await attach(world, serverId, await newVolume(world));
  await resize(world, serverId);
  await accept(world, confirmResize(world.p, world.user, serverId));
  await settle(world);
  await accept(world, deleteServer(world.p, world.user, serverId));
  await settle(world);
  return serverId;
}

const cellsOf = async (world: World) => {
  const ids = await world.p.stores.global.selectFrom('cells').select('id').orderBy('id').execute();
  return Promise.all(ids.map(({ id }) => world.p.stores.cell(id)));
};

/** How much there is of each kind of history, over all databases. */
async function counts(world: World): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  const { global } = world.p.stores;
  for (const table of ['sagas', 'migrations', 'server_mappings'] as const) {
    found[table] = (await global.selectFrom(table).selectAll().execute()).length;
  }
  for (const cell of await cellsOf(world)) {
    for (const table of ['servers', 'server_actions'] as const) {
      found[table] = (found[table] ?? 0) + (await cell.selectFrom(table).selectAll().execute()).length;
    }
    const fences = await cell.selectFrom('server_fences').selectAll().where('server_id', '<>', '').execute();
    found['server_fences'] = (found['server_fences'] ?? 0) + fences.length;
  }
  return found;
}

/** Days pass, and as many turns of trimming as it takes. */
async function daysLater(world: World, days: number): Promise<void> {
  await world.clock.pass(days * DAY_MS);
  for (const _ of [1, 2, 3]) {
    await world.clock.pass(TURN_MS);
    await beat(world, 6);
    await settle(world);
  }
}

test('what is over goes after so many days and no sooner; nothing is left of a deleted server', () =>
  within(async (world) => {
    await gone(world);
    const before = await counts(world);
    assert.ok((before['sagas'] ?? 0) > 5 && before['migrations'] === 1 && before['server_mappings'] === 1);
    await daysLater(world, 89);
    assert.deepEqual(await counts(world), before);
    await daysLater(world, 1);
    assert.deepEqual(await counts(world), {
      ...{ sagas: 0, migrations: 0, server_mappings: 0, servers: 0, server_actions: 0, server_fences: 0 },
    });
  }));

test('a server that lives keeps its record, one whose resize waits its way back; both go on', () =>
  within(async (world) => {
    const living = await newServer(world, FLAVORS.small, 'living');
    const waiting = await newServer(world, FLAVORS.small, 'waiting');
    await resize(world, waiting);
    await daysLater(world, 200);
    assert.deepEqual(await counts(world), {
      ...{ sagas: 1, migrations: 1, server_mappings: 2, servers: 2, server_actions: 0, server_fences: 3 },
    });
    await accept(world, revertResize(world.p, world.user, waiting));
    await settle(world);
    assert.equal((await serverOf(world, waiting)).vmState, 'active');
    for (const change of [stopServer, startServer]) {
      await accept(world, change(world.p, world.user, living));
      await settle(world);
    }
    await resize(world, living);
    assert.equal((await serverOf(world, living)).vmState, 'resized');
  }));

test('a conductor that wakes after the end of history is refused, in every cell and in the global database', () =>
  within(async (world) => {
    const serverId = await gone(world);
    const sagas = await world.p.stores.global
      .selectFrom('sagas')
      .select(['id', 'fence'])
      .where('key', '=', serverId)
      .execute();
    await daysLater(world, 100);
    assert.ok(sagas.length > 2);
    for (const { id, fence } of sagas) {
      const late = { saga: { id }, generation: fence, serverId };
      for (const cell of await cellsOf(world)) {
        const write = inCell(cell, late, (trx) => trx.deleteFrom('servers').where('id', '=', 'x').execute());
        await assert.rejects(write, Fenced);
        assert.deepEqual(
          await cell.selectFrom('server_fences').selectAll().where('server_id', '=', serverId).execute(),
          [],
        );
      }
      await assert.rejects(
        globally(world.p.stores.global, late, async () => undefined),
        Fenced,
      );
    }
    // Whoever begins now is above every floor.
    await newServer(world, FLAVORS.small, 'new');
  }));

test('a cell that is down keeps deleted servers until it is back; 0 days keep everything', async () => {
  await within(async (world) => {
    await gone(world);
    world.cellsDown.add('cell2');
    await daysLater(world, 100);
    const kept = await world.p.stores.global.selectFrom('server_mappings').select('server_id').execute();
    assert.equal(kept.length, 1);
    world.cellsDown.delete('cell2');
    await daysLater(world, 0);
    assert.equal((await counts(world))['server_mappings'], 0);
  });
  await within(async (world) => {
    await gone(world);
    const before = await counts(world);
    await daysLater(world, 10_000);
    assert.deepEqual(await counts(world), before);
  }, 0);
});

test('an evacuation that is done is over like every other move', () =>
  within(async (world) => {
    await gone(world);
    await world.p.stores.global.updateTable('migrations').set({ status: 'done' }).execute();
    await daysLater(world, 100);
    const { migrations, sagas } = await counts(world);
    assert.deepEqual([migrations, sagas], [0, 0]);
  }));

test('one process at a time has the turn; a clock that was set back does not keep it', () =>
  within(async (world) => {
    await world.clock.pass(TURN_MS);
    assert.ok(await trimHistory(world.p));
    assert.equal(await trimHistory(world.p), null);
    await world.p.stores.global
      .updateTable('turns')
      .set({ next_at: world.clock.now() + 10 * TURN_MS })
      .execute();
    assert.ok(await trimHistory(world.p));
  }));

test('property: whatever rows go, no generation is accepted that was refused before', async () => {
  const Event = fc.oneof(
    fc.record({ kind: fc.constant('write' as const), server: fc.nat(2), generation: fc.integer({ min: 1, max: 9 }) }),
    fc.record({ kind: fc.constant('purge' as const), server: fc.nat(2) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(Event, { maxLength: 20 }), async (events) => {
      const stores = await openStores(':memory:');
      try {
        const cell = await stores.cell('c');
        const highest = new Map<string, number>();
        for (const event of events) {
          const server = `s${event.server}`;
          const seen = highest.get(server) ?? 0;
          if (event.kind === 'write') {
            const answer = await raiseInCell(cell, server, event.generation);
            if (event.generation < seen) assert.ok(answer > event.generation, `${event.generation} after ${seen}`);
            highest.set(server, Math.max(seen, event.generation));
            continue;
          }
          await raiseFloor(cell, seen + 1);
          const floor = await floorOf(cell);
          await cell
            .deleteFrom('server_fences')
            .where('server_id', '=', server)
            .where('generation', '<', floor)
            .execute();
        }
      } finally {
        await stores.close();
      }
    }),
    { numRuns: 60 },
  );
});
