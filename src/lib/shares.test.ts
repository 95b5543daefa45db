import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Shares } from './shares.ts';

test('nobody has more than a share, all together no more than there is, and what is left is free again, once', () => {
  const shares = new Shares(3, 2);
  const [first, second] = [shares.enter('a'), shares.enter('a')];
  assert(first && second);
  assert.equal(shares.enter('a'), null);
  const third = shares.enter('b');
  assert(third);
  assert.equal(shares.enter('c'), null);
  first.leave();
  first.leave();
  assert(shares.enter('c'));
  assert.equal(shares.enter('b'), null);
  second.leave();
  assert(shares.enter('a'));
});
