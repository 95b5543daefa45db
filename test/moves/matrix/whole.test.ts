// Nothing is left out of the matrix: every move that there is has a fixture and a test file that runs its cells.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { MOVES } from '../../../src/moves/registry.ts';
import { FIXTURES } from './fixtures.ts';

/** Of these `make test` tries a sample of the cells, chosen by the seed; `make test-long` tries all. */
const SAMPLED = [
  ...['create backup', 'create image', 'create image of volumes', 'evacuate', 'rebuild root volume'],
  ...['reimage volume', 'revert volume'],
  ...['shelve', 'shelve offload', 'unshelve', 'unshelve offloaded', 'upload volume'],
];

test('every move is tried under every fault, or under a sample of them', () => {
  const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.test.ts'));
  const text = files.map((name) => readFileSync(join(import.meta.dirname, name), 'utf8')).join('\n');
  const moves = MOVES.map(({ definition }) => definition.name).toSorted();
  assert.deepEqual(FIXTURES.map(({ move }) => move).toSorted(), moves);
  const tested = [...text.matchAll(/^test(?:Some)?Cells\('([^']*)'(?:, (?:'([^']*)'|[0-9]+))?\);$/gm)];
  const sampled = [...text.matchAll(/^testSomeCells\('([^']*)'/gm)].map(([, move]) => move);
  assert.deepEqual(sampled.toSorted(), SAMPLED);
  const whole = tested.filter(([, , part]) => part !== 'without outages').map(([, move]) => move);
  assert.deepEqual(whole.toSorted(), moves);
  const [outages, others] = ['outages', 'without outages'].map((wanted) =>
    tested.filter(([, , part]) => part === wanted).map(([, move]) => move),
  );
  assert.deepEqual(outages, others);
});
