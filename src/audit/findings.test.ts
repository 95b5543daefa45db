import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findingsOf, reportFrom, summaryOf } from './findings.ts';
import type { AuditReport } from './tally.ts';

const REPORT: AuditReport = {
  verdict: 'broken',
  takenAt: 1,
  durationMs: 2,
  counts: { cells: 1, hosts: 2, servers: 3, guests: 4, busy: 5 },
  invariants: [
    {
      ...({ name: 'one', sentence: 'One.', held: false, verdict: 'broken', breachCount: 7 } as const),
      breaches: [{ what: 'w', cause: 'c', repair: 'r' }],
      unknown: ['host h: silent'],
    },
    { name: 'two', sentence: 'Two.', held: true, verdict: 'held', breachCount: 0, breaches: [], unknown: [] },
  ],
  owed: [{ what: 'guest', reason: 'down', since: 9 }],
  owedCount: 1,
  repairs: [
    { invariant: 'one', what: 'w', repaired: true, note: 'did' },
    { invariant: 'one', what: 'x', repaired: false, note: 'why' },
  ],
};

test('a report is the same after it went over in pages', () => {
  assert.deepEqual(reportFrom(summaryOf(REPORT), findingsOf(REPORT)), REPORT);
  assert.equal(findingsOf(REPORT).length, 5);
});
