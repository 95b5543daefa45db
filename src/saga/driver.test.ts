// The real driver over a store in memory and a virtual clock.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../lib/virtual-clock.ts';
import { type DriverOptions, type Effects, startDriver } from './driver.ts';
import { definition, MemorySagaStore } from './test-support.ts';
import type { Outcome, Row } from './types.ts';

const LEASE_MS = 3000;
const DONE: Outcome = { kind: 'done' };

interface Setup {
  readonly clock: VirtualClock;
  readonly store: MemorySagaStore;
  readonly log: string[];
  readonly unexpected: string[];
  start(effects: Partial<Effects>, options?: Partial<DriverOptions>): ReturnType<typeof startDriver>;
  create(...ids: readonly string[]): Promise<void>;
  /** Lets time pass until the condition holds. */
  until(what: string, condition: () => boolean): Promise<void>;
  ended(): boolean;
}

function setUp(of = definition(['a', 'b', 'c'], 1)): Setup {
  const clock = new VirtualClock(1000);
  const store = new MemorySagaStore(clock);
  const log: string[] = [];
  const unexpected: string[] = [];
  const effects: Effects = {
    run: async (row, step, direction) => {
      log.push(`${row.id} ${direction} ${step.name}`);
      return DONE;
    },
    raise: async (row) => void log.push(`${row.id} raise`),
    ended: async (row) => void log.push(`${row.id} ${row.status}`),
    unexpected: (_row, what) => void unexpected.push(what),
  };
  return {
    ...{ clock, store, log, unexpected },
    start: (changed, options = {}) =>
      startDriver({
        ...{ store, clock, owner: 'test', lanes: 2, leaseMs: LEASE_MS, idleMs: 100, definitions: () => of },
        effects: { ...effects, ...changed },
        ...options,
      }),
    async create(...ids) {
      for (const id of ids) await store.create({ id, definition: of, key: id, state: {}, requestId: 'r' });
    },
    async until(what, condition) {
      for (let turn = 0; turn < 5000; turn += 1) {
        if (condition()) return;
        await clock.pass(10);
      }
      assert.fail(`${what}: ${log.join(', ')}`);
    },
    ended: () => [...store.rows.values()].every((row) => row.status !== 'active'),
  };
}

test('sagas are worked on side by side, step by step', async () => {
  const { start, create, until, log, ended, clock } = setUp();
  await create('s1', 's2', 's3');
  const driver = start({});
  await until('all end', () => ended() && log.filter((line) => line.endsWith(' done')).length === 3);
  for (const id of ['s1', 's2', 's3']) {
    assert.deepEqual(
      log.filter((line) => line.startsWith(id)),
      [`${id} do a`, `${id} do b`, `${id} do c`, `${id} done`],
    );
  }
  await clock.drive(driver.stop());
});

test('a nudge starts work at once; without one the store is asked now and then', async () => {
  const { start, create, until, ended, clock } = setUp();
  const driver = start({}, { idleMs: 1000 });
  await clock.pass(10);
  await create('s1');
  const at = clock.now();
  driver.nudge();
  await until('nudged', ended);
  assert.ok(clock.now() - at < 500);
  await create('s2');
  await until('asked', ended);
  await clock.drive(driver.stop());
});

test('the lease of a saga whose effect takes long is renewed: nobody takes it over', async () => {
  const { start, create, until, log, ended, clock } = setUp();
  await create('s1');
  const slow: Effects['run'] = async (row, step, direction) => {
    log.push(`${row.id} ${direction} ${step.name}`);
    if (step.name === 'b') await clock.sleep(10 * LEASE_MS);
    return DONE;
  };
  const drivers = [start({ run: slow }), start({ run: slow }, { owner: 'other' })];
  await until('it ends', ended);
  assert.deepEqual(
    log.filter((line) => line !== 's1 done'),
    ['s1 do a', 's1 do b', 's1 do c'],
  );
  for (const driver of drivers) await clock.drive(driver.stop());
});

test('a takeover that takes longer than a lease is made once, and then goes on', async () => {
  const { start, create, until, log, ended, clock, store } = setUp();
  await create('s1');
  await store.claim('dead', LEASE_MS);
  const raise = async (row: Row) => {
    log.push(`${row.id} raise`);
    await clock.sleep(3 * LEASE_MS);
  };
  const drivers = [start({ raise }), start({ raise }, { owner: 'other' })];
  await until('it ends', ended);
  await clock.pass(100);
  assert.deepEqual(log, ['s1 raise', 's1 do a', 's1 do b', 's1 do c', 's1 done']);
  for (const driver of drivers) await clock.drive(driver.stop());
});

test('a takeover that cannot raise the fence does nothing, lets others have the lane, and is made later', async () => {
  const { start, create, until, log, ended, clock, store } = setUp();
  await create('s1');
  await store.claim('dead', LEASE_MS);
  await clock.pass(LEASE_MS);
  let down = true;
  let asked = 0;
  const raise = async () => {
    asked += 1;
    if (down) throw new Error('the database cannot be reached');
  };
  const driver = start({ raise });
  await until('it was asked', () => asked > 0);
  await clock.pass(29_000);
  assert.deepEqual([asked, log], [1, []]);
  down = false;
  await until('it ends', ended);
  assert.equal(asked, 2);
  assert.deepEqual(log, ['s1 do a', 's1 do b', 's1 do c', 's1 done']);
  await clock.drive(driver.stop());
});

test('an effect that throws has failed for now, and is tried again', async () => {
  const { start, create, until, log, ended, clock, unexpected } = setUp();
  await create('s1');
  let thrown = 0;
  const driver = start({
    run: async (_row, step) => {
      if (step.name === 'b' && thrown === 0) {
        thrown += 1;
        throw new Error('surprise');
      }
      return DONE;
    },
  });
  await until('it ends', ended);
  await clock.pass(100);
  assert.deepEqual(log, ['s1 done']);
  assert.deepEqual(unexpected, ['do b']);
  await clock.drive(driver.stop());
});

test('a store that fails while a lease is renewed or a step is committed breaks nothing', async () => {
  const { start, create, until, ended, clock, store, unexpected } = setUp();
  await create('s1');
  let failures = 3;
  const flaky = new Proxy(store, {
    get: (target, name) => {
      if (name !== 'commit') return Reflect.get(target, name).bind(target);
      return async (...args: Parameters<MemorySagaStore['commit']>) => {
        if (failures > 0) {
          failures -= 1;
          throw new Error('the database is locked');
        }
        return target.commit(...args);
      };
    },
  });
  const driver = start(
    {
      run: async () => {
        await clock.sleep(LEASE_MS);
        return DONE;
      },
    },
    { store: flaky },
  );
  await until('it ends', ended);
  assert.ok(unexpected.includes('renewing the lease'));
  assert.ok(unexpected.some((what) => what.startsWith('conductor ')));
  await clock.drive(driver.stop());
});

test('what takes long on hosts, and as many of it as there are lanes, holds up nobody else', async () => {
  const { start, create, until, clock, store, log } = setUp();
  const copies = ['copy1', 'copy2', 'copy3'];
  let copied = false;
  const polls = new Map<string, number>();
  const driver = start({
    run: async (row) => {
      if (!row.id.startsWith('copy')) return DONE;
      polls.set(row.id, (polls.get(row.id) ?? 0) + 1);
      return copied ? DONE : { kind: 'pending', afterMs: 400 };
    },
  });
  await create(...copies);
  await clock.pass(2000);
  const before = clock.now();
  await create('stop');
  driver.nudge();
  await until('the short one ends', () => store.rows.get('stop')?.status === 'done');
  assert.ok(clock.now() - before < 1000, `${clock.now() - before} ms`);
  await clock.pass(10_000);
  for (const copy of copies) assert.ok((polls.get(copy) ?? 0) > 10, `${copy} was asked after ${polls.get(copy)} times`);
  copied = true;
  await until('the copies end', () => copies.every((id) => log.includes(`${id} done`)));
  await clock.drive(driver.stop());
});

test('a stop waits for the effect under way and starts no other', async () => {
  const { start, create, until, log, clock, store } = setUp();
  await create('s1');
  const driver = start({
    run: async (row, step, direction) => {
      log.push(`${row.id} ${direction} ${step.name} begins`);
      await clock.sleep(500);
      log.push(`${row.id} ${direction} ${step.name} ends`);
      return DONE;
    },
  });
  await until('it begins', () => log.length > 0);
  await clock.drive(driver.stop());
  assert.deepEqual(log, ['s1 do a begins', 's1 do a ends']);
  await clock.pass(60_000);
  assert.equal(log.length, 2);
  assert.equal(store.rows.get('s1')?.status, 'active');
});
