import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import type { Server } from '../model/types.ts';
import type { Stores } from '../store/stores.ts';
import { CellDown } from '../store/stores.ts';
import { ensureCell } from './cells.ts';
import { rowOf } from './records.ts';
import { type Entry, listServers, newestServers } from './server-lists.ts';
import { addServer, type TestPlatform, withPlatform } from './test-support.ts';

const all = (): boolean => true;
const idsOf = (servers: readonly { readonly id: string }[] | null): string[] => (servers ?? []).map(({ id }) => id);
const kindsOf = (list: readonly Entry[] | null): string[] => (list ?? []).map(({ kind }) => kind);
const editable = (p: TestPlatform) => p.stores as { -readonly [K in keyof Stores]: Stores[K] };

/** All pages of this size, one after the other. */
async function walk(
  p: TestPlatform,
  projectId: string | null,
  size: number,
  test: (server: Server) => boolean,
  unreachable = false,
) {
  const ids: string[] = [];
  for (;;) {
    const list = await newestServers(p, { projectId, marker: ids.at(-1), limit: size, test, unreachable });
    assert(list);
    ids.push(...idsOf(list));
    if (list.length < size) return ids;
  }
}

test('pages hold what the whole list holds, in its order, whatever their size and the filter', () =>
  withPlatform(async (p, { c1, c2 }) => {
    for (let n = 0; n < 90; n += 1) {
      // Several of the same age, in both cells and two projects; some are deleted.
      await addServer(p, n % 3 === 0 ? c1 : c2, {
        createdAt: Math.floor(n / 4),
        projectId: n % 5 === 0 ? 'p2' : 'p1',
        name: `server-${n}`,
        ...(n % 7 === 0 ? { deletedAt: 99 } : {}),
      });
    }
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(null, 'p1', 'p2', 'p3'),
        fc.integer({ min: 1, max: 100 }),
        fc.constantFrom('', '1', '8', 'nothing'),
        async (projectId, size, part) => {
          const wanted = (server: Server): boolean => server.name.includes(part);
          const whole = (await listServers(p, { projectId })).servers.filter(wanted);
          assert.deepEqual(await walk(p, projectId, size, wanted), idsOf(whole));
        },
      ),
      { numRuns: 40 },
    );
  }));

test('a page costs no more for the servers behind it', () =>
  withPlatform(async (p, { c1, c2 }) => {
    for (let n = 0; n < 200; n += 1) await addServer(p, n % 2 === 0 ? c1 : c2, { createdAt: n });
    const before = p.stores.statements();
    const list = await newestServers(p, {
      projectId: null,
      marker: undefined,
      limit: 10,
      test: all,
      unreachable: true,
    });
    assert.equal(list?.length, 10);
    assert.equal(p.stores.statements() - before, 3);
  }));

test('a marker that is unknown or of another project is none; behind one that was deleted the list goes on', () =>
  withPlatform(async (p, { c1 }) => {
    const older = await addServer(p, c1, { createdAt: 1 });
    const gone = await addServer(p, c1, { createdAt: 2, deletedAt: 5 });
    const other = await addServer(p, c1, { projectId: 'p2' });
    for (const marker of [other.id, 'nobody']) {
      assert.equal(await newestServers(p, { projectId: 'p1', marker, limit: 1, test: all, unreachable: true }), null);
    }
    const page = { projectId: 'p1', marker: gone.id, limit: 1, test: all, unreachable: true };
    assert.deepEqual(idsOf(await newestServers(p, page)), [older.id]);
  }));

test('servers of a cell that is down are left out, or have their places, which pages of any size keep', () =>
  withPlatform(async (p, { c1, c2 }) => {
    for (let n = 0; n < 30; n += 1) await addServer(p, n % 3 === 0 ? c1 : c2, { createdAt: Math.floor(n / 2) });
    const whole = idsOf((await listServers(p, { projectId: null })).servers);
    const stores = editable(p);
    const open = stores.cell;
    stores.cell = async (cellId) => {
      if (cellId === c2) throw new CellDown(cellId, 'gone');
      return open(cellId);
    };
    const kept = idsOf((await listServers(p, { projectId: null })).servers);
    assert.equal(kept.length, 10);
    for (const size of [1, 2, 3, 7, 30, 100]) {
      assert.deepEqual(await walk(p, null, size, all), kept);
      assert.deepEqual(await walk(p, null, size, all, true), whole);
    }
    const list = await newestServers(p, { projectId: null, marker: undefined, limit: 4, test: all, unreachable: true });
    assert.deepEqual(kindsOf(list).toSorted(), ['server', 'unreachable', 'unreachable', 'unreachable']);
  }));

test('a list over many cells, one of which does not answer, is partial within the limit, and at once the next time', () =>
  withPlatform(async (p) => {
    const cells = await Promise.all(Array.from({ length: 50 }, (_, n) => ensureCell(p, `many-${n}`)));
    for (const [n, cellId] of cells.entries()) await addServer(p, cellId, { createdAt: n });
    const silent = cells[17] ?? '';
    const stores = editable(p);
    const open = stores.cell;
    stores.cell = (cellId) => (cellId === silent ? new Promise(() => undefined) : open(cellId));
    const waited: number[] = [];
    for (let round = 0; round < 2; round += 1) {
      const before = p.clock.now();
      const page = { projectId: null, marker: undefined, limit: 1000, test: all, unreachable: true };
      const list = await p.clock.drive(newestServers(p, page));
      waited.push(p.clock.now() - before);
      assert.equal(list?.length, 50);
      assert.deepEqual(
        kindsOf(list).filter((kind) => kind === 'unreachable'),
        ['unreachable'],
      );
    }
    assert.deepEqual(waited, [5000, 500]);
    stores.cell = open;
    assert.equal((await walk(p, null, 1000, all)).length, 50);
  }));

test('a server whose home changes while a page is read is in the page', () =>
  withPlatform(async (p, { c1, c2 }) => {
    const server = await addServer(p, c1);
    const stores = editable(p);
    const open = stores.cell;
    stores.cell = async (cellId) => {
      stores.cell = open;
      await (await open(c2)).insertInto('servers').values(rowOf(server)).execute();
      await p.stores.global.updateTable('server_mappings').set({ cell_id: c2 }).execute();
      await (await open(c1)).deleteFrom('servers').execute();
      return open(cellId);
    };
    const list = await newestServers(p, { projectId: null, marker: undefined, limit: 5, test: all, unreachable: true });
    assert.deepEqual(idsOf(list), [server.id]);
  }));
