import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rangeOf } from './ranges.ts';

test('one range of bytes is sent; what is not understood is all', () => {
  assert.deepEqual(rangeOf('bytes=0-3', 10), { first: 0, last: 3 });
  assert.deepEqual(rangeOf('bytes=4-', 10), { first: 4, last: 9 });
  assert.deepEqual(rangeOf('bytes=8-100', 10), { first: 8, last: 9 });
  assert.deepEqual(rangeOf('bytes=-3', 10), { first: 7, last: 9 });
  assert.deepEqual(rangeOf('bytes=-30', 10), { first: 0, last: 9 });
  for (const beyond of ['bytes=10-', 'bytes=10-12', 'bytes=-0']) assert.equal(rangeOf(beyond, 10), 'none');
  for (const other of [undefined, '', 'bytes=-', 'bytes=3-1', 'bytes=0-1,3-4', 'lines=1-2', 'bytes=x-'])
    assert.equal(rangeOf(other, 10), 'all');
});
