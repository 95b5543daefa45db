import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reasonOf } from './reasons.ts';

test('a reason names its cause', () => {
  assert.equal(reasonOf(new Error('a')), 'a');
  assert.equal(reasonOf(new Error('a', { cause: new Error('b') })), 'a: b');
  assert.equal(
    reasonOf(new Error('a', { cause: Object.assign(new Error(''), { code: 'ECONNREFUSED' }) })),
    'a: ECONNREFUSED',
  );
  assert.equal(reasonOf('text'), 'text');
});
