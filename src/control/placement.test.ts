import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import {
  claim as claimInModel,
  EMPTY_LEDGER,
  holdingsOf,
  type Ledger,
  moveAllocations,
  release as releaseInModel,
  setInventories,
  usageOf,
} from '../model/placement.ts';
import { sameResources } from '../model/resources.ts';
import type { Resources } from '../model/types.ts';
import { allocationsOf, type Consumer, claim, providerStates, release, transfer } from './placement.ts';
import { addHost, type TestPlatform, withPlatform } from './test-support.ts';

const consumer = (id: string, type: Consumer['type'] = 'server'): Consumer => ({
  ...{ id, type, serverId: id, projectId: 'p1', userId: 'u1' },
});
const take = (p: TestPlatform, id: string, host: string, resources: Resources) =>
  p.stores.global.transaction().execute((trx) => claim(trx, consumer(id), host, resources));
const pass = (p: TestPlatform, from: string, to: string) =>
  p.stores.global.transaction().execute((trx) => transfer(trx, consumer(from), consumer(to, 'migration')));
const usedOf = async (p: TestPlatform, host: string): Promise<Resources> =>
  (await providerStates(p.stores.global, [host])).get(host)?.used ?? {};
const consumers = async (p: TestPlatform) =>
  (await p.stores.global.selectFrom('consumers').select(['id', 'type']).orderBy('id').execute()).map(
    (row) => `${row.type} ${row.id}`,
  );

test('a claim takes room; one that does not fit takes nothing', () =>
  withPlatform(async (p, { c1 }) => {
    const host = await addHost(p, c1, 'h1');
    assert.equal(await take(p, 'a', host, { VCPU: 6, MEMORY_MB: 100, DISK_GB: 1 }), true);
    assert.equal(await take(p, 'b', host, { VCPU: 3, MEMORY_MB: 100, DISK_GB: 1 }), false);
    assert.equal(await take(p, 'b', host, { VCPU: 2 }), true);
    assert.deepEqual(await usedOf(p, host), { VCPU: 8, MEMORY_MB: 100, DISK_GB: 1 });
    assert.deepEqual(await consumers(p), ['server a', 'server b']);
    assert.deepEqual(await allocationsOf(p.stores.global, 'b'), [{ providerId: host, resourceClass: 'VCPU', used: 2 }]);
  }));

test('of many claims at once exactly as many succeed as fit', () =>
  withPlatform(async (p, { c1 }) => {
    const host = await addHost(p, c1, 'h1');
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => take(p, `s${n}`, host, { VCPU: 3, MEMORY_MB: 1 })),
    );
    assert.equal(answers.filter(Boolean).length, 2);
    assert.deepEqual(await usedOf(p, host), { VCPU: 6, MEMORY_MB: 2 });
  }));

test('room passes to a migration and back without a sum changing, and passing it twice is harmless', () =>
  withPlatform(async (p, { c1 }) => {
    const host = await addHost(p, c1, 'h1');
    await take(p, 'server', host, { VCPU: 6, DISK_GB: 5 });
    for (let time = 0; time < 2; time += 1) {
      await pass(p, 'server', 'move');
      assert.deepEqual(await consumers(p), ['migration move']);
      assert.deepEqual(await usedOf(p, host), { VCPU: 6, DISK_GB: 5 });
    }
    await p.stores.global
      .transaction()
      .execute((trx) => transfer(trx, consumer('move', 'migration'), consumer('server')));
    assert.deepEqual(await consumers(p), ['server server']);
    await pass(p, 'nobody', 'nothing');
    assert.deepEqual(await consumers(p), ['server server']);
  }));

test('release gives everything back, and releasing nothing is harmless', () =>
  withPlatform(async (p, { c1 }) => {
    const host = await addHost(p, c1, 'h1');
    await take(p, 'a', host, { VCPU: 1 });
    await release(p.stores.global, 'a');
    await release(p.stores.global, 'a');
    assert.deepEqual(await usedOf(p, host), {});
    assert.deepEqual(await allocationsOf(p.stores.global, 'a'), []);
    assert.deepEqual(await consumers(p), []);
  }));

test('the sums are those of the model, whatever is claimed, passed on and released', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          act: fc.constantFrom('claim', 'move', 'release'),
          who: fc.constantFrom('a', 'b', 'c'),
          other: fc.constantFrom('x', 'y'),
          host: fc.constantFrom(0, 1),
          VCPU: fc.integer({ min: 1, max: 4 }),
          MEMORY_MB: fc.integer({ min: 0, max: 4000 }),
        }),
        { maxLength: 25 },
      ),
      (script) =>
        withPlatform(async (p, { c1 }) => {
          const hosts = [await addHost(p, c1, 'h0'), await addHost(p, c1, 'h1')];
          const state = await providerStates(p.stores.global);
          let ledger: Ledger = EMPTY_LEDGER;
          for (const host of hosts) ledger = setInventories(ledger, host, state.get(host)?.inventories ?? {});
          for (const { act, who, other, host, VCPU, MEMORY_MB } of script) {
            const hostId = hosts[host] ?? '';
            const wanted = { VCPU, ...(MEMORY_MB > 0 ? { MEMORY_MB } : {}) };
            // What callers keep to: who claims holds nothing yet; whom room passes to holds nothing yet.
            if (act === 'claim' && holdingsOf(ledger, who).size === 0) {
              const modelled = claimInModel(ledger, who, hostId, wanted);
              assert.equal(await take(p, who, hostId, wanted), modelled.kind === 'ok');
              if (modelled.kind === 'ok') ledger = modelled.ledger;
            } else if (act === 'move' && holdingsOf(ledger, other).size === 0) {
              await pass(p, who, other);
              const modelled = moveAllocations(ledger, who, other);
              if (modelled.kind === 'ok') ledger = modelled.ledger;
            } else if (act === 'release') {
              await release(p.stores.global, other);
              ledger = releaseInModel(ledger, other);
            }
          }
          for (const host of hosts) assert.ok(sameResources(await usedOf(p, host), usageOf(ledger, host)));
          assert.deepEqual(
            (await consumers(p)).map((each) => each.split(' ')[1]).sort(),
            [...ledger.consumers.keys()].sort(),
          );
        }),
    ),
    { numRuns: 40 },
  ));
