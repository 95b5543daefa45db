import assert from 'node:assert/strict';
import { test } from 'node:test';
import { POWER_STATE } from '../model/types.ts';
import { definition } from '../saga/test-support.ts';
import { insertSaga, newSaga } from '../store/sagas.ts';
import { CellDown } from '../store/stores.ts';
import type { Platform } from './platform.ts';
import { rowOf, serverOf } from './records.ts';
import { listServers } from './server-lists.ts';
import { consoleOutput, editServer, findServer, serverActions, shouldRun } from './servers.ts';
import { addServer, serverLike, type TestPlatform, withPlatform } from './test-support.ts';

const withoutCell = (p: TestPlatform, down: string): Platform => ({
  ...p,
  stores: {
    ...p.stores,
    cell: async (cellId) => {
      if (cellId === down) throw new CellDown(cellId, 'gone');
      return p.stores.cell(cellId);
    },
  },
});

test('a record and its row are the same, whatever is in it', () => {
  const server = serverLike({
    ...{
      oldFlavor: serverLike().flavor,
      taskState: 'resize_prep',
      oldVmState: 'stopped',
      locked: true,
      lockedBy: 'admin',
    },
    ...{
      metadata: { ä: '"', __proto__x: '' },
      tags: ['a', 'b'],
      fault: { code: 500, message: 'm', details: null, createdAt: 3 },
    },
  });
  assert.deepEqual(serverOf(rowOf(server) as Parameters<typeof serverOf>[0]), server);
});

test('a server is read from its home alone', () =>
  withPlatform(async (p, { c1, c2 }) => {
    const server = await addServer(p, c1);
    await (await p.stores.cell(c2))
      .insertInto('servers')
      .values(rowOf({ ...server, name: 'an old copy' }))
      .execute();
    const found = await findServer(p, server.id);
    assert(found.kind === 'found');
    assert.deepEqual([found.server.name, found.cellId], ['one', c1]);
    await p.stores.global.updateTable('server_mappings').set({ cell_id: c2 }).execute();
    const moved = await findServer(p, server.id);
    assert.equal(moved.kind === 'found' && moved.server.name, 'an old copy');
    assert.equal((await listServers(p, { projectId: null })).servers.length, 1);
  }));

test('deleted servers are absent; a server in a cell that is down is told apart', () =>
  withPlatform(async (p, { c1 }) => {
    const gone = await addServer(p, c1, { deletedAt: 5 });
    const server = await addServer(p, c1);
    assert.equal((await findServer(p, gone.id)).kind, 'absent');
    assert.equal((await findServer(p, 'nobody')).kind, 'absent');
    const found = await findServer(withoutCell(p, c1), server.id);
    assert.equal(found.kind === 'down' && found.mapping.project_id, 'p1');
  }));

test('lists merge all cells, newest first, and name those that did not answer', () =>
  withPlatform(async (p, { c1, c2 }) => {
    const a = await addServer(p, c1, { createdAt: 10, updatedAt: 50 });
    const b = await addServer(p, c2, { createdAt: 20, host: 'h2' });
    const c = await addServer(p, c1, { createdAt: 30, projectId: 'p2' });
    const d = await addServer(p, c1, { createdAt: 5, updatedAt: 60, deletedAt: 60 });
    const ids = async (filter: Parameters<typeof listServers>[1]) =>
      (await listServers(p, filter)).servers.map((server) => server.id);
    assert.deepEqual(await ids({ projectId: null }), [c.id, b.id, a.id]);
    assert.deepEqual(await ids({ projectId: 'p1' }), [b.id, a.id]);
    assert.deepEqual(await ids({ projectId: null, host: 'h2' }), [b.id]);
    assert.deepEqual(await ids({ projectId: null, changesSince: 50, gone: 'too' }), [a.id, d.id]);
    assert.deepEqual(await ids({ projectId: null, gone: 'only' }), [d.id]);
    const partial = await listServers(withoutCell(p, c2), { projectId: null });
    assert.deepEqual([partial.servers.map((server) => server.id), partial.downCells], [[c.id, a.id], [c2]]);
  }));

test('edits change what they name; a frozen record refuses them, an absent one is a 404, a lost cell a 503', () =>
  withPlatform(async (p, { c1 }) => {
    const { id } = await addServer(p, c1);
    const edit = {
      name: 'two',
      description: 'd',
      metadata: { a: 'b' },
      tags: ['t'],
    };
    assert.equal(await editServer(p, id, edit), null);
    const found = await findServer(p, id);
    assert(found.kind === 'found');
    for (const [key, value] of Object.entries(edit)) assert.deepEqual(found.server[key as keyof typeof edit], value);
    assert.equal(found.server.updatedAt, p.clock.now());
    const cell = await p.stores.cell(c1);
    await cell.updateTable('servers').set({ frozen: 1 }).execute();
    assert.equal((await editServer(p, id, { name: 'three' }))?.code, 409);
    assert.equal((await editServer(p, 'nobody', { name: 'three' }))?.code, 404);
    assert.equal((await editServer(withoutCell(p, c1), id, { name: 'three' }))?.code, 503);
  }));

test('the console is the host’s; what the host cannot give is a refusal with the right code', () =>
  withPlatform(async (p, { c1 }) => {
    const { id } = await addServer(p, c1);
    const homeless = await addServer(p, c1, { host: null });
    let lines: number | undefined;
    p.fakes.set('h1', {
      console: async (_id, count) => {
        lines = count;
        return { kind: 'ok', value: { output: 'text' } };
      },
    });
    assert.deepEqual(await consoleOutput(p, id, 7), { kind: 'ok', output: 'text' });
    assert.equal(lines, 7);
    const code = async (serverId: string) => {
      const result = await consoleOutput(p, serverId);
      return result.kind === 'refused' ? result.refusal.code : 200;
    };
    assert.equal(await code(homeless.id), 409);
    assert.equal(await code('nobody'), 404);
    p.fakes.set('h1', { console: async () => ({ kind: 'absent' }) });
    assert.equal(await code(id), 409);
    p.fakes.set('h1', { console: async () => ({ kind: 'unreachable', reason: '' }) });
    assert.equal(await code(id), 503);
  }));

test('actions come newest first, with the journal of their saga as events', () =>
  withPlatform(async (p, { c1 }) => {
    const { id } = await addServer(p, c1);
    const saga = newSaga(
      {
        id: 'saga',
        definition: { ...definition(['a b', 'c'], 0), name: 'resize' },
        key: id,
        state: {},
        requestId: 'r',
      },
      100,
    );
    const entry = { firstAt: 0, attempts: 1 } as const;
    const journal = [
      { ...entry, step: 'a b', direction: 'do', outcome: 'done', at: 110 },
      { ...entry, step: 'c', direction: 'do', outcome: 'failed', at: 130, note: 'why' },
      { ...entry, step: 'c', direction: 'undo', outcome: 'done', at: 135 },
    ];
    await insertSaga(p.stores.global, { ...saga, journal_json: JSON.stringify(journal) });
    const action = { server_id: id, request_id: 'r', user_id: 'u', project_id: 'p', message: null };
    await (await p.stores.cell(c1))
      .insertInto('server_actions')
      .values([
        { ...action, id: 'saga', action: 'resize', saga_id: 'saga', started_at: 100, finished_at: 136 },
        { ...action, id: 'old', action: 'create', saga_id: null, started_at: 50, finished_at: 60 },
      ])
      .execute();
    const [resize, create, ...others] = await serverActions(p, id);
    assert.deepEqual(others, []);
    assert.deepEqual([create?.action, create?.updatedAt, create?.events], ['create', 60, []]);
    assert.deepEqual(
      resize?.events.map((event) => [event.event, event.startedAt, event.finishedAt, event.result, event.details]),
      [
        ['resize_a_b', 100, 110, 'Success', null],
        ['resize_c', 110, 130, 'Error', 'why'],
        ['resize_undo_c', 130, 135, 'Success', null],
      ],
    );
    assert.deepEqual(await serverActions(p, 'nobody'), []);
  }));

test('a guest is to run when its server is active, or waits resized and was seen running', () => {
  const { RUNNING, SHUTDOWN } = POWER_STATE;
  assert.equal(shouldRun(serverLike()), true);
  assert.equal(shouldRun(serverLike({ vmState: 'stopped', powerState: SHUTDOWN })), false);
  assert.equal(shouldRun(serverLike({ vmState: 'resized', powerState: RUNNING })), true);
  assert.equal(shouldRun(serverLike({ vmState: 'resized', powerState: SHUTDOWN })), false);
  assert.equal(shouldRun(serverLike({ vmState: 'error' })), false);
});
