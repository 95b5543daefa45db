// The tests of pairs of faults, one per step at which the first of them strikes.
import { test } from 'node:test';
import { type Pair, runPair } from './pairs.ts';

/** CROSSCELL_LONG=1: all pairs of all moves of servers instead of those of the resize. */
export const LONG = process.env['CROSSCELL_LONG'] === '1';
/** What is chosen where not all are tried; CROSSCELL_SEED has another. */
export const SEED = Number(process.env['CROSSCELL_SEED'] ?? 1);

export function testPairs(what: string, move: string, pairs: readonly Pair[]): void {
  for (const [step, some] of Map.groupBy(pairs, ([first]) => first.target.step)) {
    test(`${move}: ${what}: first at ${step} (${some.length} pairs)`, async () => {
      for (const pair of some) await runPair(move, pair);
    });
  }
}
