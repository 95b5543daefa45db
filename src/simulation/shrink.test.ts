import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { numbersOf, rangesOf, shrink } from './shrink.ts';

const sorted = (numbers: readonly number[]): number[] => [...new Set(numbers)].sort((a, b) => a - b);
const subset = fc.array(fc.nat(40), { minLength: 1, maxLength: 6 }).map(sorted);

test('nothing but what is needed is left', async () => {
  await fc.assert(
    fc.asyncProperty(subset, async (needed) => {
      const all = Array.from({ length: 41 }, (_, index) => index);
      const shortest = await shrink(all, async (some) => needed.every((each) => some.includes(each)), 100_000);
      assert.deepEqual(shortest, needed);
    }),
  );
});

test('what is left fails, and no more is tried than allowed', async () => {
  let tried = 0;
  const all = Array.from({ length: 100 }, (_, index) => index);
  const fails = async (some: readonly number[]): Promise<boolean> => {
    tried += some.length;
    return some.length >= 30;
  };
  const shortest = await shrink(all, fails, 1000);
  assert.ok(tried < 1000 + all.length);
  assert.ok(shortest.length >= 30 && shortest.length < 100);
});

test('lists of numbers are written as ranges and read back', () => {
  fc.assert(
    fc.property(subset, (numbers) => {
      assert.deepEqual(numbersOf(rangesOf(numbers)), numbers);
    }),
  );
  assert.equal(rangesOf([0, 1, 2, 5, 7, 8]), '0-2,5,7-8');
  for (const wrong of ['', '1,', 'x', '1-', '-1', '1;2', '5-2']) assert.equal(numbersOf(wrong), null, wrong);
});
