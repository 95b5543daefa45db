// For tests against a real Placement: what it has of the consumers of a system beside what that has itself.
import assert from 'node:assert/strict';
import { placementOf } from '../../src/openstack/placement.ts';
import type { RealSystem } from './real.ts';

/**
 * Asserts that Placement has what the ledger has of all consumers that were seen by this, and nothing else of them;
 * answers how many hold something.
 */
export function allocationsOf({ session, stores }: RealSystem): () => Promise<number> {
  const placement = placementOf(session);
  const seen = new Set<string>();
  return async () => {
    const rows = await stores.global.selectFrom('allocations').selectAll().execute();
    const here = Map.groupBy(rows, (row) => row.consumer_id);
    for (const id of here.keys()) seen.add(id);
    for (const id of seen) {
      const { held } = await placement.consumption(id);
      const there = Object.entries(held).flatMap(([at, resources]) =>
        Object.entries(resources).map(([name, amount]) => `${at} ${name} ${amount}`),
      );
      const wanted = (here.get(id) ?? []).map((row) => `${row.provider_id} ${row.resource_class} ${row.used}`);
      assert.deepEqual(there.toSorted(), wanted.toSorted(), `consumer ${id}`);
    }
    return here.size;
  };
}
