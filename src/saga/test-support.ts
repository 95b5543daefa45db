// What the tests of sagas share: a store in memory, and the contract that every store keeps.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../lib/clock.ts';
import { VirtualClock } from '../lib/virtual-clock.ts';
import { overtakesItself } from './decide.ts';
import type { Definition, Patch, Row, SagaStore } from './types.ts';

export const definition = (
  names: readonly string[],
  pivot: number,
  attempts: number | readonly number[] = 3,
): Definition => ({
  name: 'd',
  version: 1,
  subject: 'thing',
  pivot,
  steps: names.map((name, index) => ({
    name,
    attempts: typeof attempts === 'number' ? attempts : (attempts[index] ?? 1),
  })),
});

export const rowOf = (of: Definition, change: Partial<Row> = {}): Row => ({
  ...{ id: 's', definition: of.name, version: of.version, key: 'k', status: 'active', direction: 'do' },
  ...{
    cursor: 0,
    attempt: 0,
    backTo: null,
    retries: 0,
    wakeAt: 0,
    leaseUntil: 0,
    owner: '',
    fence: 1,
    cancelRequested: false,
    state: {},
  },
  ...{ progress: null, journal: [], reason: null, requestId: 'r', createdAt: 0, endedAt: null },
  ...change,
});

/** The part of a row that a commit writes. */
export const patchOf = (row: Row): Patch => {
  const { status, direction, cursor, attempt, backTo, retries, wakeAt, state, progress, journal, reason, endedAt } =
    row;
  return { status, direction, cursor, attempt, backTo, retries, wakeAt, state, progress, journal, reason, endedAt };
};

/** A store in memory; its clock is the one it is given. */
export class MemorySagaStore implements SagaStore {
  readonly rows = new Map<string, Row>();
  readonly #clock: Clock;
  #fence = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async create(saga: Parameters<SagaStore['create']>[0]): Promise<boolean> {
    const taken = [...this.rows.values()].some(
      (row) => row.key === saga.key && (row.status === 'active' || row.status === 'stuck'),
    );
    if (taken) return false;
    const { id, key, state, retries = 0, requestId } = saga;
    this.rows.set(
      id,
      rowOf(saga.definition, { id, key, state, retries, requestId, fence: 0, createdAt: this.#clock.now() }),
    );
    return true;
  }

  async claim(owner: string, leaseMs: number) {
    const now = this.#clock.now();
    const [due] = [...this.rows.values()]
      .filter((row) => row.status === 'active' && row.wakeAt <= now && row.leaseUntil <= now)
      .sort((a, b) => a.wakeAt - b.wakeAt);
    if (!due) return null;
    this.#fence += 1;
    const row = { ...due, owner, fence: this.#fence, leaseUntil: now + leaseMs };
    this.rows.set(row.id, row);
    return { row, takenOver: due.leaseUntil > 0 };
  }

  async commit(row: Row, patch: Patch, leaseMs: number): Promise<Row | null> {
    const now = this.rows.get(row.id);
    if (!now || now.owner !== row.owner || now.fence !== row.fence || now.status !== 'active') return null;
    const leaseUntil = leaseMs === 0 ? 0 : this.#clock.now() + leaseMs;
    const { cancelRequested } = now;
    const overtakes = overtakesItself(row, patch);
    if (overtakes) this.#fence += 1;
    const fence = overtakes ? this.#fence : row.fence;
    const wakeAt = cancelRequested && !row.cancelRequested ? 0 : patch.wakeAt;
    const next = { ...now, ...patchOf({ ...row, ...patch, wakeAt }), fence, leaseUntil, cancelRequested };
    this.rows.set(row.id, next);
    return next;
  }

  async requestCancel(key: string): Promise<boolean> {
    const row = [...this.rows.values()].find((each) => each.key === key && each.status === 'active');
    if (!row) return false;
    this.rows.set(row.id, { ...row, cancelRequested: true, wakeAt: 0 });
    return true;
  }

  async order(row: Row, patch: Patch, by: string): Promise<boolean> {
    const now = this.rows.get(row.id);
    const decided = (of: Row) => JSON.stringify([of.fence, of.status, of.direction, of.cursor, of.attempt, of.journal]);
    if (!now || decided(now) !== decided(row)) return false;
    this.#fence += 1;
    const { state } = now;
    const leaseUntil = now.leaseUntil > 0 ? 1 : 0;
    this.rows.set(row.id, { ...now, ...patch, state, owner: `order/${by}`, fence: this.#fence, leaseUntil });
    return true;
  }

  async nextDue(): Promise<number | null> {
    const due = [...this.rows.values()].filter((row) => row.status === 'active').map((row) => row.wakeAt);
    return due.length === 0 ? null : Math.min(...due);
  }
}

const D = definition(['a', 'b'], 1);
const LEASE_MS = 1000;

export interface OpenStore {
  readonly store: SagaStore;
  close(): Promise<void>;
}

/** The contract of a saga store, as tests. */
export function testSagaStore(kind: string, open: (clock: Clock) => Promise<OpenStore>): void {
  const contract = (name: string, body: (store: SagaStore, clock: VirtualClock) => Promise<void>) =>
    test(`${kind}: ${name}`, async () => {
      const clock = new VirtualClock();
      const opened = await open(clock);
      try {
        await body(opened.store, clock);
      } finally {
        await opened.close();
      }
    });
  const create = (store: SagaStore, id: string, key = id) =>
    store.create({ id, definition: D, key, state: { from: id }, requestId: `req-${id}` });
  const claimed = async (store: SagaStore, owner: string): Promise<Row> => {
    const claim = await store.claim(owner, LEASE_MS);
    assert(claim, 'nothing to claim');
    return claim.row;
  };

  contract('a new saga is claimed as it was made, and by one only', async (store, clock) => {
    assert.equal(await store.claim('x', LEASE_MS), null);
    assert.equal(await create(store, 's1', 'k1'), true);
    const claim = await store.claim('x', LEASE_MS);
    assert.equal(claim?.takenOver, false);
    const { fence, leaseUntil, ...row } = claim.row;
    assert.ok(fence > 0);
    const {
      fence: _f,
      leaseUntil: _l,
      ...expected
    } = rowOf(D, {
      ...{ id: 's1', key: 'k1', owner: 'x', state: { from: 's1' }, requestId: 'req-s1', createdAt: clock.now() },
    });
    assert.deepEqual(row, expected);
    assert.equal(await store.claim('y', LEASE_MS), null);
  });

  contract('one active or stuck saga per key, and as many ended ones as there were', async (store) => {
    assert.equal(await create(store, 's1', 'k'), true);
    assert.equal(await create(store, 's2', 'k'), false);
    const row = await claimed(store, 'x');
    assert.ok(await store.commit(row, { ...patchOf(row), status: 'stuck' }, 0));
    assert.equal(await create(store, 's3', 'k'), false);
    assert.equal(await create(store, 's4', 'other'), true);
    const other = await claimed(store, 'x');
    assert.equal(other.id, 's4');
    assert.ok(await store.commit(other, { ...patchOf(other), status: 'done', endedAt: 5 }, 0));
    assert.equal(await create(store, 's5', 'other'), true);
  });

  contract('the saga that has been due longest comes first; what is not due does not come', async (store, clock) => {
    for (const [id, wait] of [
      ['s1', 300],
      ['s2', 100],
      ['s3', 200],
    ] as const) {
      await create(store, id);
      const row = await claimed(store, 'x');
      assert.ok(await store.commit(row, { ...patchOf(row), wakeAt: clock.now() + wait }, 0));
    }
    assert.equal(await store.claim('x', LEASE_MS), null);
    assert.equal(await store.nextDue(), clock.now() + 100);
    await clock.pass(250);
    assert.equal((await claimed(store, 'x')).id, 's2');
    assert.equal((await claimed(store, 'x')).id, 's3');
    assert.equal(await store.claim('x', LEASE_MS), null);
  });

  contract('fences grow with every claim of whatever saga', async (store, clock) => {
    await create(store, 's1');
    await create(store, 's2');
    const fences = [(await claimed(store, 'x')).fence, (await claimed(store, 'y')).fence];
    await clock.pass(LEASE_MS);
    fences.push((await claimed(store, 'x')).fence, (await claimed(store, 'y')).fence);
    assert.deepEqual(
      fences,
      [...new Set(fences)].sort((a, b) => a - b),
    );
  });

  contract('a lease that ran out is taken over; one that was let go of is not', async (store, clock) => {
    await create(store, 's1');
    const first = await claimed(store, 'x');
    await clock.pass(LEASE_MS - 1);
    assert.equal(await store.claim('y', LEASE_MS), null);
    await clock.pass(1);
    const second = await store.claim('y', LEASE_MS);
    assert.equal(second?.takenOver, true);
    assert.ok(second.row.fence > first.fence);
    const let_go = await store.commit(second.row, patchOf(second.row), 0);
    assert.ok(let_go);
    assert.equal((await store.claim('z', LEASE_MS))?.takenOver, false);
  });

  contract('a commit writes everything and renews the lease', async (store, clock) => {
    await create(store, 's1');
    const row = await claimed(store, 'x');
    await clock.pass(LEASE_MS - 1);
    const entry = { step: 'a', direction: 'do', outcome: 'done', firstAt: 1, at: 2, attempts: 1, note: 'n' } as const;
    const patch: Patch = {
      ...{ status: 'active', direction: 'undo', cursor: 1, attempt: 2, wakeAt: 0, state: { x: [1, { y: null }] } },
      ...{ backTo: 1, retries: 2 },
      ...{ progress: { doneBytes: 1, totalBytes: 2 }, journal: [entry], reason: 'because', endedAt: null },
    };
    const committed = await store.commit(row, patch, LEASE_MS);
    assert(committed);
    assert.deepEqual(patchOf(committed), patch);
    await clock.pass(LEASE_MS - 1);
    assert.equal(await store.claim('y', LEASE_MS), null);
    await clock.pass(1);
    assert.deepEqual(patchOf(await claimed(store, 'y')), patch);
  });

  contract('a commit that changes the direction puts the saga under a new fence', async (store) => {
    await create(store, 's1');
    const row = await claimed(store, 'x');
    const back = await store.commit(row, { ...patchOf(row), direction: 'undo' }, LEASE_MS);
    assert(back);
    assert.ok(back.fence > row.fence);
    assert.equal(await store.commit(row, patchOf(row), LEASE_MS), null);
    const kept = await store.commit(back, patchOf(back), LEASE_MS);
    assert.equal(kept?.fence, back.fence);
  });

  contract('a step that is tried again is tried under a new fence; one that is polled is not', async (store) => {
    await create(store, 's1');
    const row = await claimed(store, 'x');
    const polled = await store.commit(row, { ...patchOf(row), wakeAt: 1 }, LEASE_MS);
    assert.equal(polled?.fence, row.fence);
    const again = await store.commit(row, { ...patchOf(row), attempt: 1 }, LEASE_MS);
    assert(again);
    assert.ok(again.fence > row.fence);
    const done = await store.commit(again, { ...patchOf(again), attempt: 0 }, LEASE_MS);
    assert.equal(done?.fence, again.fence);
  });

  contract('a wish to turn back is not put off by a commit that does not know of it', async (store, clock) => {
    await create(store, 's1');
    const row = await claimed(store, 'x');
    assert.ok(await store.requestCancel(row.key));
    const later = clock.now() + 60_000;
    const waiting = await store.commit(row, { ...patchOf(row), wakeAt: later }, 0);
    assert.ok(waiting?.cancelRequested);
    const due = await claimed(store, 'x');
    assert.ok(due.cancelRequested);
    // It is known now, and must not make a saga that cannot turn back try again and again.
    await store.commit(due, { ...patchOf(due), wakeAt: later }, 0);
    assert.equal(await store.claim('x', LEASE_MS), null);
  });

  contract('a loser’s commit changes nothing', async (store, clock) => {
    await create(store, 's1');
    const old = await claimed(store, 'x');
    await clock.pass(LEASE_MS);
    const now = await claimed(store, 'x'); // the same owner by name, under a new fence
    const lost = { ...patchOf(old), cursor: 1, state: { lost: true } };
    assert.equal(await store.commit(old, lost, LEASE_MS), null);
    assert.equal(await store.commit({ ...now, owner: 'y' }, lost, LEASE_MS), null);
    const kept = await store.commit(now, patchOf(now), LEASE_MS);
    assert.deepEqual(kept && patchOf(kept), patchOf(now));
  });

  contract('an ended saga is neither claimed nor written any more', async (store, clock) => {
    await create(store, 's1');
    const row = await claimed(store, 'x');
    assert.ok(await store.commit(row, { ...patchOf(row), status: 'unwound', endedAt: clock.now() }, 0));
    assert.equal(await store.commit(row, patchOf(row), 0), null);
    await clock.pass(10 * LEASE_MS);
    assert.equal(await store.claim('x', LEASE_MS), null);
    assert.equal(await store.nextDue(), null);
  });

  contract('a wish to turn back reaches the conductor with its next commit', async (store) => {
    assert.equal(await store.requestCancel('s1'), false);
    await create(store, 's1');
    await create(store, 's2');
    const row = await claimed(store, 'x');
    assert.equal(row.cancelRequested, false);
    assert.equal(await store.requestCancel(row.key), true);
    const next = await store.commit(row, patchOf(row), 0);
    assert.equal(next?.cancelRequested, true);
    const other = await claimed(store, 'x');
    assert.equal(other.cancelRequested, other.id === row.id);
    const ended = await store.commit(next, patchOf(next), 0);
    assert.equal(ended === null, other.id === row.id);
  });

  contract('an order is written under a new fence: whoever is at the saga is overtaken', async (store) => {
    await create(store, 's1');
    const row = await claimed(store, 'x');
    const entry = {
      step: 'a',
      direction: 'do',
      outcome: 'cancelled',
      firstAt: 1,
      at: 1,
      attempts: 1,
      by: 'me',
    } as const;
    const patch: Patch = { ...patchOf(row), direction: 'undo', reason: 'ordered', journal: [entry] };
    assert.equal(await store.order(row, patch, 'me'), true);
    assert.equal(await store.commit(row, patchOf(row), LEASE_MS), null);
    const next = await store.claim('y', LEASE_MS);
    assert(next);
    assert.equal(next.takenOver, true);
    assert.ok(next.row.fence > row.fence + 1);
    assert.deepEqual(patchOf(next.row), patch);
  });

  contract('an order to a saga that nobody is at is no takeover; a stuck one goes on by it', async (store) => {
    await create(store, 's1');
    const row = await claimed(store, 'x');
    const stuck = await store.commit(row, { ...patchOf(row), status: 'stuck', reason: 'full' }, 0);
    assert(stuck);
    assert.equal(await store.claim('x', LEASE_MS), null);
    assert.equal(await store.order(stuck, { ...patchOf(stuck), status: 'active', reason: null }, 'me'), true);
    const next = await store.claim('y', LEASE_MS);
    assert.deepEqual([next?.takenOver, next?.row.status, next?.row.reason], [false, 'active', null]);
  });

  contract('an order about a saga that has gone on since changes nothing', async (store, clock) => {
    await create(store, 's1');
    const row = await claimed(store, 'x');
    const entry = { step: 'a', direction: 'do', outcome: 'done', firstAt: 1, at: 1, attempts: 1 } as const;
    const gone = await store.commit(row, { ...patchOf(row), cursor: 1, journal: [entry] }, LEASE_MS);
    assert(gone);
    assert.equal(await store.order(row, { ...patchOf(row), direction: 'undo' }, 'me'), false);
    // Lost, or renewed: its lease is no matter of an order.
    const renewed = await store.commit(gone, patchOf(gone), LEASE_MS);
    assert(renewed);
    const ended = await store.commit(renewed, { ...patchOf(renewed), status: 'done', endedAt: clock.now() }, 0);
    assert(ended);
    assert.equal(await store.order(renewed, { ...patchOf(renewed), direction: 'undo' }, 'me'), false);
  });

  contract('a saga that waits is due at once when it is asked to turn back', async (store, clock) => {
    await create(store, 's1');
    const row = await claimed(store, 'x');
    assert.ok(await store.commit(row, { ...patchOf(row), wakeAt: clock.now() + 60_000 }, 0));
    assert.equal(await store.claim('x', LEASE_MS), null);
    assert.equal(await store.requestCancel('s1'), true);
    assert.equal((await claimed(store, 'x')).cancelRequested, true);
  });
}
