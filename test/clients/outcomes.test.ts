import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { outcomesOf, readList, table } from './outcomes.ts';

const PRINTED = `
{0} tempest.api.A.test_one [0.1s] ... ok
{1} tempest.api.A.test_two [0.2s] ... FAILED

Captured traceback:
~~~~~~~~~~~~~~~~~~~
    b'Traceback (most recent call last):'
    b"Details: {'code': 404}"
    b''

Captured pythonlogging:
~~~~~~~~~~~~~~~~~~~~~~~
    b'a request'
{0} setUpClass (tempest.api.B) ... SKIPPED: not enabled
{0} tearDownClass (tempest.api.A) [0.0s] ... FAILED
`;

describe('what stestr prints', () => {
  it('becomes one outcome per test that was wanted', () => {
    const wanted = readList('# a list\ntempest.api.A\n  test_one\n  test_two\n  test_three\ntempest.api.B\n  test_x\n');
    const outcomes = outcomesOf(wanted, PRINTED);
    assert.deepEqual(
      outcomes.map(({ test, verdict, reason }) => [test, verdict, reason]),
      [
        ['tempest.api.A.test_one', 'passed', ''],
        ['tempest.api.A.test_two', 'failed', "Details: {'code': 404}"],
        ['tempest.api.A.test_three', 'failed', 'it never ran'],
        ['tempest.api.B.test_x', 'skipped', 'not enabled'],
      ],
    );
    const shown = table(outcomes);
    assert.match(shown, /^A +1 +2 *$/m);
    assert.match(shown, /^FAILED tempest\.api\.A\.test_two\n {7}Details/m);
    assert.match(shown, /^skipped 1: not enabled$/m);
  });
});
