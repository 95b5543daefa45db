import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Host, Job, Reply } from '../host/contract.ts';
import type { Server } from '../model/types.ts';
import { insertSaga, newSaga } from '../store/sagas.ts';
import { CellDown } from '../store/stores.ts';
import { openDebts, owe, payDebts } from './debts.ts';
import { updateService } from './hosts.ts';
import type { Platform } from './platform.ts';
import { rowOf } from './records.ts';
import { addHost, addServer, type TestPlatform, withPlatform } from './test-support.ts';

const DONE: Job = { state: 'done', doneBytes: 0, totalBytes: 0 };
const debt = (host: string, serverId = 's1', generation = 5) => ({
  ...{ kind: 'destroy-guest' as const, host, serverId, generation, sagaId: 'g', reason: 'target of a move' },
});

/** A host that answers every destroy so; the calls it got. */
function answering(p: TestPlatform, name: string, reply: () => Reply<Job>): string[] {
  const calls: string[] = [];
  const destroy: Host['destroy'] = async (serverId, { generation }) => {
    calls.push(`${serverId} ${generation}`);
    return reply();
  };
  p.fakes.set(name, { destroy });
  return calls;
}
const later = (p: TestPlatform) => p.clock.pass(11_000);

test('a debt is one row per host and server, at the newest generation', () =>
  withPlatform(async (p) => {
    await owe(p, debt('h1', 's1', 5));
    await owe(p, debt('h1', 's1', 9));
    // A conductor that was overtaken comes too late to make the debt older again.
    await owe(p, debt('h1', 's1', 7));
    await owe(p, debt('h1', 's2', 1));
    assert.deepEqual(((await openDebts(p)) ?? []).map((each) => [each.serverId, each.generation]).sort(), [
      ['s1', 9],
      ['s2', 1],
    ]);
  }));

for (const [what, reply] of [
  ['has destroyed the guest', { kind: 'ok', value: DONE }],
  ['knows of no such guest', { kind: 'absent' }],
] as const) {
  test(`a debt is paid when the host ${what}`, () =>
    withPlatform(async (p, { c1 }) => {
      await addHost(p, c1, 'h1');
      const calls = answering(p, 'h1', () => reply);
      await owe(p, debt('h1'));
      assert.equal(await payDebts(p), 0, 'it is not due yet');
      await later(p);
      assert.equal(await payDebts(p), 1);
      assert.deepEqual(calls, ['s1 5']);
      assert.deepEqual(await openDebts(p), []);
      assert.equal(await payDebts(p), 0);
    }));
}

for (const [what, reply, lastError] of [
  ['is still at it', { kind: 'ok', value: { ...DONE, state: 'pending' } }, null],
  ['failed', { kind: 'ok', value: { ...DONE, state: 'failed', reason: 'busy' } }, 'busy'],
  ['refuses', { kind: 'refused', reason: 'the disk is read-only' }, 'the disk is read-only'],
  ['does not answer', { kind: 'unreachable', reason: 'no' }, null],
] as const) {
  test(`a debt stays open and is tried again when the host ${what}`, () =>
    withPlatform(async (p, { c1 }) => {
      await addHost(p, c1, 'h1');
      let now: Reply<Job> = reply;
      const calls = answering(p, 'h1', () => now);
      await owe(p, debt('h1'));
      await later(p);
      assert.equal(await payDebts(p), 0);
      assert.equal(await payDebts(p), 0, 'not again at once');
      const [open] = (await openDebts(p)) ?? [];
      assert.deepEqual([open?.attempts, open?.lastError], [1, lastError]);
      await later(p);
      now = { kind: 'ok', value: DONE };
      assert.equal(await payDebts(p), 1);
      assert.equal(calls.length, 2);
    }));
}

/** When the host was last heard of. */
const heardOf = (p: Platform, name: string, at: number | null) =>
  p.stores.global.updateTable('hosts').set({ last_seen_at: at }).where('name', '=', name).execute();

test('a host that has been silent for long is not asked, and holds up nobody else’s debts', () =>
  withPlatform(
    async (p, { c1 }) => {
      await addHost(p, c1, 'down');
      await addHost(p, c1, 'h1');
      await heardOf(p, 'down', null);
      const asked = answering(p, 'down', () => ({ kind: 'unreachable', reason: '' }));
      answering(p, 'h1', () => ({ kind: 'ok', value: DONE }));
      // More than a page of them, all older.
      for (let n = 0; n < 120; n += 1) await owe(p, debt('down', `s${n}`));
      await later(p);
      await owe(p, debt('h1', 'mine'));
      await later(p);
      let paid = 0;
      for (let round = 0; round < 3; round += 1) paid += await payDebts(p);
      assert.equal(paid, 1);
      assert.deepEqual(asked, []);
      // It answers, and that will do: somebody may have forced it down.
      await updateService(p, 'down', { forcedDown: true });
      await later(p);
      await heardOf(p, 'down', p.clock.now());
      const back = answering(p, 'down', () => ({ kind: 'ok', value: DONE }));
      assert.equal((await payDebts(p)) + (await payDebts(p)), 120);
      assert.equal(back.length, 120);
    },
    { hostDownSeconds: 3600 },
  ));

test('an error with one debt is no reason not to pay the others', () =>
  withPlatform(async (p, { c1 }) => {
    await addHost(p, c1, 'odd');
    await addHost(p, c1, 'h1');
    const asked = answering(p, 'odd', () => assert.fail('nobody expected this'));
    answering(p, 'h1', () => ({ kind: 'ok', value: DONE }));
    await owe(p, debt('odd'));
    await p.clock.pass(1_000);
    await owe(p, debt('h1'));
    await later(p);
    assert.equal(await payDebts(p), 1);
    assert.equal(await payDebts(p), 0);
    assert.equal(asked.length, 1, 'it waits its turn like every other');
    const [open] = (await openDebts(p)) ?? [];
    assert.deepEqual([open?.attempts, open?.lastError], [1, 'nobody expected this']);
  }));

test('a host that falls silent is asked once in a round', () =>
  withPlatform(async (p, { c1 }) => {
    await addHost(p, c1, 'h1');
    const calls = answering(p, 'h1', () => ({ kind: 'unreachable', reason: '' }));
    for (let n = 0; n < 10; n += 1) await owe(p, debt('h1', `s${n}`));
    await later(p);
    assert.equal(await payDebts(p), 0);
    assert.equal(calls.length, 1);
  }));

test('owed records are dropped when their cell can be reached, unless they are not those of the debt any more', () =>
  withPlatform(async (p, { c1, c2 }) => {
    const owing = async (server: { readonly id: string }) =>
      owe(p, { ...debt(c2, server.id), kind: 'drop-records', sagaId: 'g' });
    const copy = async (server: Server, sagaId: string | null) => {
      const cell = await p.stores.cell(c2);
      await cell
        .insertInto('servers')
        .values(rowOf({ ...server, sagaId }))
        .execute();
      const action = { server_id: server.id, request_id: 'r', user_id: 'u', project_id: 'p', message: null };
      await cell
        .insertInto('server_actions')
        .values({ ...action, id: server.id, action: 'resize', saga_id: 'g', started_at: 1, finished_at: null })
        .execute();
    };
    const [left, later, home] = [await addServer(p, c1), await addServer(p, c1), await addServer(p, c1)];
    await copy(left, 'g');
    await copy(later, 'another saga');
    await copy(home, 'g');
    await p.stores.global
      .updateTable('server_mappings')
      .set({ cell_id: c2 })
      .where('server_id', '=', home.id)
      .execute();
    for (const server of [left, later, home]) await owing(server);
    await p.clock.pass(11_000);
    const down: Platform = {
      ...p,
      stores: { ...p.stores, cell: (cellId) => Promise.reject(new CellDown(cellId, 'gone')) },
    };
    assert.equal(await payDebts(down), 0);
    await p.clock.pass(11_000);
    assert.equal(await payDebts(p), 3);
    const cell = await p.stores.cell(c2);
    const ids = (await cell.selectFrom('servers').select('id').execute()).map((row) => row.id);
    assert.deepEqual(ids.sort(), [later.id, home.id].sort());
    assert.equal((await cell.selectFrom('server_actions').selectAll().execute()).length, 2);
  }));

for (const [what, prepare, calls, left] of [
  ['the server has come back to the host', { host: 'h1' }, ['5'], 0],
  ['the server is elsewhere: a takeover was there', { host: 'h2' }, ['5', '6'], 0],
  ['the server is deleted', { host: null, deletedAt: 1 }, ['5', '6'], 0],
] as const) {
  test(`a host that has seen a newer generation, and ${what}`, () =>
    withPlatform(async (p, { c1 }) => {
      await addHost(p, c1, 'h1');
      const { id } = await addServer(p, c1, prepare);
      const got: string[] = [];
      const destroy: Host['destroy'] = async (_id, { generation }) => {
        got.push(String(generation));
        return generation < 6 ? { kind: 'fenced', generation: 6 } : { kind: 'ok', value: DONE };
      };
      p.fakes.set('h1', { destroy });
      await owe(p, debt('h1', id));
      await later(p);
      await payDebts(p);
      assert.deepEqual(got, calls);
      assert.equal(((await openDebts(p)) ?? []).length, left);
    }));
}

test('a host that has seen a newer generation while a saga works on the server is asked again later', () =>
  withPlatform(async (p, { c1 }) => {
    await addHost(p, c1, 'h1');
    const { id } = await addServer(p, c1, { host: 'h2' });
    const definition = { name: 'resize', version: 1, subject: 'server', steps: [], pivot: 0 };
    await insertSaga(p.stores.global, newSaga({ id: 'g', definition, key: id, state: {}, requestId: 'r' }, 1));
    const calls = answering(p, 'h1', () => ({ kind: 'fenced', generation: 6 }));
    await owe(p, debt('h1', id));
    await later(p);
    assert.equal(await payDebts(p), 0);
    assert.deepEqual(calls, [`${id} 5`]);
    assert.equal(((await openDebts(p)) ?? []).length, 1);
  }));

test('open debts come in pages, oldest first', () =>
  withPlatform(async (p) => {
    const ids = ['3', '1', '2'];
    for (const serverId of ids) {
      const sagaId = 'saga';
      await owe(p, { kind: 'destroy-guest', host: 'h', serverId, generation: 1, sagaId, reason: 'test' });
      await p.clock.pass(10);
    }
    const found: string[] = [];
    for (let marker: string | undefined; ; ) {
      const page = (await openDebts(p, { limit: 1, ...(marker === undefined ? {} : { marker }) })) ?? [];
      found.push(...page.map((each) => each.serverId));
      marker = page.at(-1)?.id;
      if (marker === undefined) break;
    }
    assert.deepEqual(found, ids);
    assert.equal(await openDebts(p, { marker: 'nobody' }), null);
  }));

test('a storage host that is silent holds up no debt of a compute host of its name', () =>
  withPlatform(async (p, { c1 }) => {
    await addHost(p, c1, 'both');
    answering(p, 'both', () => ({ kind: 'ok', value: DONE }));
    await owe(p, { ...debt('both'), kind: 'revoke-volume', volumeId: 'v1' });
    await p.clock.pass(1_000);
    await owe(p, debt('both'));
    await later(p);
    assert.equal(await payDebts(p), 1);
    assert.deepEqual(
      (await openDebts(p))?.map((each) => each.kind),
      ['revoke-volume'],
    );
  }));
