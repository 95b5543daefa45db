import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eachAtMost } from './pool.ts';

test('a slow item holds up nobody else, and no more than the limit are begun', async () => {
  const begun: number[] = [];
  const ended: number[] = [];
  let most = 0;
  let finish: () => void = () => undefined;
  const slow = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const all = eachAtMost(2, [0, 1, 2, 3, 4, 5], async (item) => {
    begun.push(item);
    most = Math.max(most, begun.length - ended.length);
    if (item === 0) await slow;
    ended.push(item);
    if (item === 5) finish();
  });
  await all;
  assert.deepEqual(ended, [1, 2, 3, 4, 5, 0]);
  assert.equal(most, 2);
});

test('an error is thrown when what runs has ended; nothing is begun behind it', async () => {
  const ended: number[] = [];
  const work = async (item: number): Promise<void> => {
    await Promise.resolve();
    if (item === 0) throw new Error('no');
    await new Promise((resolve) => setImmediate(resolve));
    ended.push(item);
  };
  await assert.rejects(eachAtMost(2, [0, 1, 2, 3], work), /no/);
  assert.deepEqual(ended, [1]);
});
