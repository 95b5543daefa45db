import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dueConfirmations, listMigrations, openMigration } from './migrations.ts';
import type { Platform } from './platform.ts';
import { addServer, FLAVOR, withPlatform } from './test-support.ts';

const add = (p: Platform, uuid: string, change: Record<string, unknown> = {}) =>
  p.stores.global
    .insertInto('migrations')
    .values({
      ...{ uuid, server_id: 's1', project_id: 'p1', user_id: 'u1', type: 'resize', status: 'finished' },
      ...{ source_cell_id: 'c1', source_host: 'h1', dest_cell_id: 'c2', dest_host: 'h2', saga_id: 'g' },
      ...{ old_flavor_json: JSON.stringify(FLAVOR), new_flavor_json: JSON.stringify(FLAVOR), confirm_at: null },
      ...{ created_at: 1, updated_at: 1 },
      ...change,
    })
    .execute();

test('migrations are listed newest first, by every filter, in pages', () =>
  withPlatform(async (p) => {
    await add(p, 'm1');
    await add(p, 'm2', { server_id: 's2', project_id: 'p2', user_id: 'u2', status: 'error', updated_at: 20 });
    await add(p, 'm3', { type: 'migration', source_host: 'h2', dest_host: null, updated_at: 10 });
    const ids = async (filter: Partial<Parameters<typeof listMigrations>[1]>) =>
      (await listMigrations(p, { limit: 10, ...filter }))?.map((each) => each.uuid) ?? null;
    assert.deepEqual(await ids({}), ['m3', 'm2', 'm1']);
    assert.deepEqual(await ids({ serverId: 's2' }), ['m2']);
    assert.deepEqual(await ids({ projectId: 'p1' }), ['m3', 'm1']);
    assert.deepEqual(await ids({ userId: 'u2' }), ['m2']);
    assert.deepEqual(await ids({ status: 'error' }), ['m2']);
    assert.deepEqual(await ids({ type: 'migration' }), ['m3']);
    assert.deepEqual(await ids({ host: 'h2' }), ['m3', 'm2', 'm1']);
    assert.deepEqual(await ids({ sourceHost: 'h2' }), ['m3']);
    assert.deepEqual(await ids({ changesSince: 10 }), ['m3', 'm2']);
    assert.deepEqual(await ids({ changesBefore: 10 }), ['m3', 'm1']);
    assert.deepEqual(await ids({ limit: 1 }), ['m3']);
    assert.deepEqual(await ids({ limit: 1, marker: 'm3' }), ['m2']);
    assert.equal(await ids({ marker: 'nobody' }), null);
  }));

test('the open migration of a server is the one that waits or is being decided on', () =>
  withPlatform(async (p) => {
    assert.equal(await openMigration(p.stores.global, 's1'), null);
    await add(p, 'm1', { status: 'confirmed' });
    await add(p, 'm2', { status: 'error' });
    assert.equal(await openMigration(p.stores.global, 's1'), null);
    await add(p, 'm3', { status: 'reverting' });
    assert.equal((await openMigration(p.stores.global, 's1'))?.uuid, 'm3');
  }));

test('confirmations are due by their time, the longest overdue first, where the cell can be reached', () =>
  withPlatform(async (p, { c1, c2 }) => {
    const now = p.clock.now();
    const [here, away] = [await addServer(p, c1), await addServer(p, c2)];
    await p.stores.global.updateTable('cells').set({ unreachable_since: now }).where('id', '=', c2).execute();
    await add(p, 'm1', { server_id: here.id, confirm_at: now - 1 });
    await add(p, 'm2', { server_id: here.id, confirm_at: now - 2 });
    await add(p, 'm3', { server_id: here.id, confirm_at: now + 1 });
    await add(p, 'm4', { server_id: here.id, confirm_at: now - 3, status: 'confirmed' });
    await add(p, 'm5', { server_id: here.id });
    await add(p, 'm6', { server_id: away.id, confirm_at: now - 4 });
    assert.deepEqual(
      (await dueConfirmations(p)).map((each) => each.uuid),
      ['m2', 'm1'],
    );
  }));
