import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import type { Inventories, Ledger } from './placement.ts';
import {
  capacity,
  claim,
  EMPTY_LEDGER,
  fits,
  holdingsOf,
  moveAllocations,
  release,
  setInventories,
  shortages,
  usageOf,
} from './placement.ts';
import {
  addResources,
  amountOf,
  isEmpty,
  maxResources,
  resourcesOf,
  sameResources,
  subtractResources,
} from './resources.ts';
import { anyFlavor, flavor } from './test-samples.ts';
import type { Resources } from './types.ts';
import { RESOURCE_CLASSES } from './types.ts';

/** Runs per law. */
const RUNS = 1000;
const PROVIDERS = ['p1', 'p2'] as const;
const CONSUMERS = ['s1', 's2', 'm1', 'm2'] as const;

const amounts: fc.Arbitrary<Resources> = fc
  .record({ VCPU: fc.nat(8), MEMORY_MB: fc.nat(4096), DISK_GB: fc.nat(50) })
  .map((r) => addResources(r, {}));

const inventories: fc.Arbitrary<Inventories> = fc.record({
  VCPU: fc.record({ total: fc.nat(16), reserved: fc.nat(4), allocationRatio: fc.constantFrom(1, 1.5, 4) }),
  MEMORY_MB: fc.record({ total: fc.nat(16_384), reserved: fc.nat(512), allocationRatio: fc.constantFrom(1, 1.1) }),
  DISK_GB: fc.record({ total: fc.nat(200), reserved: fc.nat(10), allocationRatio: fc.constant(1) }),
});

type Operation =
  | { readonly kind: 'claim'; readonly consumer: string; readonly provider: string; readonly request: Resources }
  | { readonly kind: 'move'; readonly from: string; readonly to: string }
  | { readonly kind: 'release'; readonly consumer: string; readonly provider: string | undefined };

const consumer = fc.constantFrom(...CONSUMERS);
const provider = fc.constantFrom(...PROVIDERS);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({ kind: fc.constant('claim' as const), consumer, provider, request: amounts }),
  fc.record({ kind: fc.constant('move' as const), from: consumer, to: consumer }),
  fc.record({ kind: fc.constant('release' as const), consumer, provider: fc.option(provider, { nil: undefined }) }),
);

function apply(ledger: Ledger, op: Operation): Ledger {
  if (op.kind === 'release') return release(ledger, op.consumer, op.provider);
  const result =
    op.kind === 'claim' ? claim(ledger, op.consumer, op.provider, op.request) : moveAllocations(ledger, op.from, op.to);
  return result.kind === 'ok' ? result.ledger : ledger;
}

const start = (first: Inventories, second: Inventories): Ledger =>
  setInventories(setInventories(EMPTY_LEDGER, 'p1', first), 'p2', second);

/** The ledger as plain data, for comparison. */
const plain = (ledger: Ledger): unknown =>
  [...ledger.consumers].sort(([a], [b]) => (a < b ? -1 : 1)).map(([id, held]) => [id, [...held].sort()]);

const sumOf = (ledger: Ledger): Resources => PROVIDERS.map((p) => usageOf(ledger, p)).reduce(addResources, {});

const scenario = fc.tuple(inventories, inventories, fc.array(operation, { maxLength: 40 }));

describe('capacity', () => {
  it('is (total − reserved) × ratio in whole units, never negative', () => {
    assert.equal(capacity({ total: 8, reserved: 1, allocationRatio: 4 }), 28);
    assert.equal(capacity({ total: 100, reserved: 0, allocationRatio: 0.29 }), 29); // 28.999999999999996 in floats
    assert.equal(capacity({ total: 3, reserved: 0, allocationRatio: 1.5 }), 4);
    assert.equal(capacity({ total: 1, reserved: 2, allocationRatio: 1 }), 0);
  });

  it('fits up to the last unit and no further; a class without inventory never fits', () => {
    const inv: Inventories = { VCPU: { total: 4, reserved: 0, allocationRatio: 1 } };
    assert.equal(fits(inv, { VCPU: 3 }, { VCPU: 1 }), true);
    assert.equal(fits(inv, { VCPU: 3 }, { VCPU: 2 }), false);
    assert.deepEqual(shortages(inv, { VCPU: 4 }, { VCPU: 1, DISK_GB: 1 }), ['VCPU', 'DISK_GB']);
  });
});

describe('resourcesOf', () => {
  it('counts root, ephemeral and swap as disk, swap rounded up to whole GiB', () => {
    assert.deepEqual(resourcesOf(flavor({ vcpus: 2, memoryMb: 1024, rootGb: 5, ephemeralGb: 3, swapMb: 1025 })), {
      VCPU: 2,
      MEMORY_MB: 1024,
      DISK_GB: 10,
    });
  });

  it('has no zero entries', () => {
    assert.deepEqual(resourcesOf(flavor({ rootGb: 0 })), { VCPU: 1, MEMORY_MB: 512 });
    fc.assert(
      fc.property(anyFlavor, (f) => {
        for (const amount of Object.values(resourcesOf(f))) assert.ok(Number.isInteger(amount) && amount > 0);
      }),
    );
  });

  it('adds, subtracts and takes the larger without leaving zeros', () => {
    fc.assert(
      fc.property(amounts, amounts, (a, b) => {
        assert.ok(sameResources(subtractResources(addResources(a, b), b), a));
        assert.deepEqual(subtractResources(a, a), {});
        const larger = maxResources(a, b);
        for (const c of RESOURCE_CLASSES) assert.equal(amountOf(larger, c), Math.max(amountOf(a, c), amountOf(b, c)));
      }),
    );
  });
});

describe('the laws of the ledger', () => {
  it('usage never goes above capacity, whatever is tried', () => {
    fc.assert(
      fc.property(scenario, ([first, second, ops]) => {
        let ledger = start(first, second);
        for (const op of ops) {
          ledger = apply(ledger, op);
          for (const p of PROVIDERS) {
            const used = usageOf(ledger, p);
            for (const c of RESOURCE_CLASSES) {
              const inventory = ledger.providers.get(p)?.[c];
              assert.ok(amountOf(used, c) <= (inventory === undefined ? 0 : capacity(inventory)));
            }
          }
        }
      }),
      { numRuns: RUNS },
    );
  });

  it('usage is what was claimed and not released: nothing appears or vanishes', () => {
    fc.assert(
      fc.property(scenario, ([first, second, ops]) => {
        let ledger = start(first, second);
        let owed: Resources = {};
        for (const op of ops) {
          const before = ledger;
          ledger = apply(ledger, op);
          if (op.kind === 'claim' && ledger !== before) owed = addResources(owed, op.request);
          if (op.kind === 'release') {
            const held = holdingsOf(before, op.consumer);
            const freed = op.provider === undefined ? [...held.values()] : [held.get(op.provider) ?? {}];
            owed = freed.reduce(subtractResources, owed);
          }
          assert.ok(sameResources(sumOf(ledger), owed), op.kind);
        }
        for (const c of CONSUMERS) ledger = release(ledger, c);
        assert.equal(ledger.consumers.size, 0);
        assert.ok(isEmpty(sumOf(ledger)));
      }),
      { numRuns: RUNS },
    );
  });

  it('a move passes all or nothing, changes no usage, and its undo restores the ledger exactly', () => {
    fc.assert(
      fc.property(scenario, consumer, consumer, ([first, second, ops], from, to) => {
        const ledger = ops.reduce(apply, start(first, second));
        const moved = moveAllocations(ledger, from, to);
        const possible = holdingsOf(ledger, from).size > 0 && from !== to && holdingsOf(ledger, to).size === 0;
        assert.equal(moved.kind === 'ok', possible);
        if (moved.kind !== 'ok') return;
        for (const p of PROVIDERS) assert.deepEqual(usageOf(moved.ledger, p), usageOf(ledger, p));
        assert.deepEqual(holdingsOf(moved.ledger, to), holdingsOf(ledger, from));
        assert.equal(holdingsOf(moved.ledger, from).size, 0);
        const back = moveAllocations(moved.ledger, to, from);
        assert.ok(back.kind === 'ok');
        assert.deepEqual(plain(back.ledger), plain(ledger));
      }),
      { numRuns: RUNS },
    );
  });

  it('the undo of a whole move across hosts (hold, claim, release, pass back) restores the ledger exactly', () => {
    fc.assert(
      fc.property(inventories, inventories, amounts, amounts, (first, second, old, next) => {
        const placed = claim(start(first, second), 's1', 'p1', old);
        fc.pre(placed.kind === 'ok');
        const held = moveAllocations(placed.ledger, 's1', 'm1');
        assert.ok(held.kind === 'ok');
        const target = claim(held.ledger, 's1', 'p2', next);
        if (target.kind === 'ok') {
          // While the server waits, both sides are held: a revert always fits.
          assert.deepEqual(usageOf(target.ledger, 'p1'), old);
          assert.deepEqual(usageOf(target.ledger, 'p2'), next);
        }
        const unwound = moveAllocations(release(target.kind === 'ok' ? target.ledger : held.ledger, 's1'), 'm1', 's1');
        assert.ok(unwound.kind === 'ok');
        assert.deepEqual(plain(unwound.ledger), plain(placed.ledger));
      }),
      { numRuns: RUNS },
    );
  });

  it('refuses claims of nothing, at unknown providers, and twice', () => {
    const big: Inventories = { VCPU: { total: 10, reserved: 0, allocationRatio: 1 } };
    const ledger = start(big, big);
    assert.equal(claim(ledger, 's1', 'p1', {}).kind, 'refused');
    assert.equal(claim(ledger, 's1', 'nowhere', { VCPU: 1 }).kind, 'refused');
    const once = claim(ledger, 's1', 'p1', { VCPU: 1 });
    assert.ok(once.kind === 'ok');
    assert.equal(claim(once.ledger, 's1', 'p1', { VCPU: 1 }).kind, 'refused');
    const short = claim(once.ledger, 's2', 'p1', { VCPU: 10 });
    assert.deepEqual(short, { kind: 'refused', reason: 'not enough VCPU at p1' });
  });

  it('shrinking an inventory below its usage evicts nobody and stops claims', () => {
    const big: Inventories = { VCPU: { total: 10, reserved: 0, allocationRatio: 1 } };
    const once = claim(start(big, big), 's1', 'p1', { VCPU: 6 });
    assert.ok(once.kind === 'ok');
    const shrunk = setInventories(once.ledger, 'p1', { VCPU: { total: 4, reserved: 0, allocationRatio: 1 } });
    assert.deepEqual(usageOf(shrunk, 'p1'), { VCPU: 6 });
    assert.equal(claim(shrunk, 's2', 'p1', { VCPU: 1 }).kind, 'refused');
  });
});
