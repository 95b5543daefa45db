// The SQL store of sagas keeps the contract, in memory and in a file; and what goes beyond it.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { VirtualClock } from '../lib/virtual-clock.ts';
import { definition, patchOf, testSagaStore } from '../saga/test-support.ts';
import { insertSaga, newSaga, nextFence, sagaOf, sqlSagaStore, voidLeases } from './sagas.ts';
import { openStores, type Stores } from './stores.ts';

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

async function inFile(body: (open: () => Promise<Stores>) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-sagas-'));
  const opened: Stores[] = [];
  try {
    await body(async () => {
      const stores = await openStores(directory);
      opened.push(stores);
      return stores;
    });
  } finally {
    for (const stores of opened) await stores.close();
    await rm(directory, { recursive: true });
  }
}

test('of two connections to one file that claim at once, each saga goes to one', () =>
  inFile(async (open) => {
    const clock = new VirtualClock();
    const stores = [sqlSagaStore((await open()).global, clock), sqlSagaStore((await open()).global, clock)];
    const [first] = stores;
    assert(first);
    for (let n = 0; n < 20; n += 1) {
      await first.create({ id: `s${n}`, definition: D, key: `k${n}`, state: {}, requestId: 'r' });
    }
    const claimed: string[] = [];
    for (let round = 0; round < 40 && claimed.length < 20; round += 1) {
      const claims = await Promise.all(stores.map((store, index) => store.claim(`owner ${index}`, 1000)));
      for (const claim of claims) if (claim) claimed.push(claim.row.id);
    }
    assert.equal(claimed.length, 20);
    assert.equal(new Set(claimed).size, 20);
  }));

test('of two connections that create a saga for one key at once, one does', () =>
  inFile(async (open) => {
    const clock = new VirtualClock();
    const dbs = [(await open()).global, (await open()).global];
    for (let n = 0; n < 10; n += 1) {
      const results = await Promise.all(
        dbs.map((db, index) =>
          sqlSagaStore(db, clock).create({
            ...{ id: `${n}-${index}`, definition: D, key: `k${n}`, state: {}, requestId: 'r' },
          }),
        ),
      );
      assert.deepEqual(results.sort(), [false, true]);
    }
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
