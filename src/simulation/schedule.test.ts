// What a schedule does to the product must be what can happen to it: what nothing real brings about would only look
// like a defect.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Event } from './plan.ts';
import { DEFAULT_SCENARIO, openStage } from './scenario.ts';

/** A volume is deleted while its storage host answers badly, and what deletes it is told that it is refused. */
const DELETED_IN_BAD_WEATHER: readonly Event[] = [
  { at: 0, what: 'create', flavor: 0, disks: 7, group: 1 },
  { at: 0, what: 'operate', operation: 'create volume', server: 0, choice: 3 },
  ...[0, 1].map((storage) => ({ at: 5000, what: 'storage network', storage, oneIn: 1, forMs: 1500 }) as const),
  { at: 5000, what: 'operate', operation: 'delete volume', server: 0, choice: 0 },
  { at: 6000, what: 'step fault', fault: 'error', skip: 0, forMs: 1000 },
];

test('a write whose answer was lost is not refused for good: it may have landed', async () => {
  const stage = await openStage(DEFAULT_SCENARIO);
  try {
    let met = 0;
    for (let seed = 1; seed <= 8; seed += 1) {
      const plan = {
        seed,
        events: DELETED_IN_BAD_WEATHER,
        confirmWindowSeconds: 0,
        reclaimSeconds: 0,
        offloadSeconds: 0,
      };
      const { violations, lines } = await stage.run(plan);
      assert.deepEqual(violations, [], `seed ${seed}\n${lines.join('\n')}`);
      const lost = lines.findIndex((line) => /do remove volume: failed .*(lost|no answer)/.test(line));
      const struck = lines.findIndex((line) => line.includes('error strikes delete volume'));
      if (lost >= 0 && struck > lost) met += 1;
    }
    assert.ok(met > 0, 'no answer was lost before the fault struck');
  } finally {
    stage.close();
  }
});

/** Each has the time that it needs. */
const MOVED_TWICE_WHILE_OFF: readonly Event[] = [
  { at: 0, what: 'create', flavor: 0, disks: 2, group: 1 },
  ...(['stop', 'resize', 'confirm', 'migrate'] as const).map(
    (operation, index) => ({ at: 20_000 * (index + 1), what: 'operate', operation, server: 0, choice: 1 }) as const,
  ),
];

test('a server that has a larger disk and has not run since is moved again, and the copy is as it should be', async () => {
  const stage = await openStage(DEFAULT_SCENARIO);
  try {
    const plan = { seed: 1, confirmWindowSeconds: 0, reclaimSeconds: 0, offloadSeconds: -1 };
    const { violations, lines } = await stage.run({ ...plan, events: MOVED_TWICE_WHILE_OFF });
    assert.deepEqual(violations, []);
    assert.equal(lines.filter((line) => line.includes('do compare digests: done')).length, 2, lines.join('\n'));
  } finally {
    stage.close();
  }
});
