// The SQL store of sagas keeps the contract, in memory and in a file; and what goes beyond it.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { VirtualClock } from '../lib/virtual-clock.ts';
import { definition, patchOf, testSagaStore } from '../saga/test-support.ts';
import { insertSaga, newSaga, nextFence, sagaOf, sqlSagaStore, voidLeases } from './sagas.ts';
import { openStores, type Stores } from './stores.ts';
import { claimAll } from './test-support.ts';

testSagaStore('sqlite in memory', async (clock) => {
  const stores = await openStores(':memory:');
  return { store: sqlSagaStore(stores.global, clock), close: stores.close };
});

testSagaStore('sqlite in a file', async (clock) => {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-sagas-'));
  const stores = await openStores(directory);
  return {
    store: sqlSagaStore(stores.global, clock),
    close: async () => {
      await stores.close();
      await rm(directory, { recursive: true });
    },
  };
});

const D = definition(['a'], 0);

async function inFile(body: (open: () => Promise<Stores>, directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-sagas-'));
  const opened: Stores[] = [];
  try {
    await body(async () => {
      const stores = await openStores(directory);
      opened.push(stores);
      return stores;
    }, directory);
  } finally {
    for (const stores of opened) await stores.close();
    await rm(directory, { recursive: true });
  }
}

test('of several threads that claim from one file, each saga goes to one', () =>
  inFile(async (open, directory) => {
    const store = sqlSagaStore((await open()).global, systemClock);
    for (let n = 0; n < 60; n += 1) {
      await store.create({ id: `s${n}`, definition: D, key: `k${n}`, state: {}, requestId: 'r' });
    }
    const claims = await Promise.all(['a', 'b', 'c'].map((owner) => claimAll(directory, owner)));
    const all = claims.flat();
    assert.equal(all.length, 60);
    assert.equal(new Set(all).size, 60);
  }));

test('fences are one sequence with whoever else takes from it, and survive a restart', () =>
  inFile(async (open) => {
    const clock = new VirtualClock();
    const before = await open();
    assert.equal(await nextFence(before.global), 1);
    assert.equal(await nextFence(before.global), 2);
    const after = await open();
    const store = sqlSagaStore(after.global, clock);
    await store.create({ id: 's', definition: D, key: 'k', state: {}, requestId: 'r' });
    assert.equal((await store.claim('x', 1000))?.row.fence, 3);
  }));

test('leases of a dead process are voided: its sagas are taken over at once, and are known to be', async () => {
  const stores = await openStores(':memory:');
  const clock = new VirtualClock();
  const store = sqlSagaStore(stores.global, clock);
  for (const id of ['held', 'free', 'ended'])
    await store.create({ id, definition: D, key: id, state: {}, requestId: 'r' });
  for (let n = 0; n < 3; n += 1) {
    const claim = await store.claim('dead', 60_000);
    assert(claim);
    if (claim.row.id === 'free') await store.commit(claim.row, patchOf(claim.row), 0);
    if (claim.row.id === 'ended') await store.commit(claim.row, { ...patchOf(claim.row), status: 'done' }, 0);
    if (claim.row.id === 'free') break;
  }
  await voidLeases(stores.global);
  const taken = new Map<string, boolean>();
  for (let claim = await store.claim('x', 1000); claim; claim = await store.claim('x', 1000)) {
    taken.set(claim.row.id, claim.takenOver);
  }
  assert.equal(taken.get('held'), true);
  assert.equal(taken.get('free'), false);
  await stores.close();
});

test('a saga that is inserted with other rows goes with them', async () => {
  const stores = await openStores(':memory:');
  const saga = newSaga({ id: 's', definition: D, key: 'k', state: { a: 1 }, requestId: 'r' }, 5);
  await assert.rejects(
    stores.global.transaction().execute(async (trx) => {
      assert.equal(await insertSaga(trx, saga), true);
      throw new Error('no');
    }),
  );
  assert.equal(await insertSaga(stores.global, saga), true);
  const [record] = await stores.global.selectFrom('sagas').selectAll().execute();
  assert(record);
  assert.deepEqual(sagaOf(record).state, { a: 1 });
  await stores.close();
});
