// The page of the proof: what did not hold is shown as such, and no figure is without its command.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fireOfParts, type Proof, pageOf } from './page.ts';

const simulated = {
  seed: 1,
  schedules: 20_000,
  seconds: 120,
  counts: { requests: 10, accepted: 9, steps: 80, faults: 7, virtualMs: 7_200_000 },
  digest: 'abcdef0123456789abcdef',
  failure: null,
};
const failure = { seed: 7, violations: ['two guests'], events: 20, shortest: [3, 4], command: 'simulate --ops 3-4' };
const PROOF: Proof = {
  date: '2026-01-01',
  machine: 'a machine',
  commit: '0a1b2c3',
  matrix: {
    command: 'print the matrix',
    result: [
      { move: 'resize', step: 'take hold', direction: 'do', fault: 'error', end: 'unwound' },
      { move: 'resize', step: 'take hold', direction: 'undo', fault: 'error', end: 'n/a: behind the pivot' },
      { move: 'resize', step: 'take hold', direction: 'do', fault: 'crash-before', end: 'went forward' },
    ],
  },
  pairs: {
    command: 'print pairs',
    result: [
      { move: 'resize', seed: 1, tried: 30, all: 50_000, ends: { unwound: 10, 'went forward': 20 } },
      { move: 'start', seed: 1, tried: 3, all: 700, ends: { 'went forward': 3 } },
    ],
  },
  simulation: { command: 'simulate much', result: simulated },
  without: [
    { part: 'fencing', means: 'none', command: 'simulate off', result: { ...simulated, schedules: 12, failure } },
    { part: 'debts', means: 'none', command: 'simulate off', result: simulated },
  ],
  fire: {
    ...{ command: 'fire', cases: 430, beforehand: true },
    result: {
      seed: 3,
      results: [
        { backing: 'volume', victim: 'conductor', step: 'x', moment: 'before', killed: true, end: 'forward' },
        { backing: 'volume', victim: 'conductor', step: 'x', moment: 'within', killed: true, end: 'back' },
        { backing: 'volume', victim: 'conductor', step: 'y', moment: 'within', killed: false, end: 'forward' },
      ],
      watched: { looks: 1000, lives: 4, longestPauseMs: 30, breaches: [] },
      left: [],
    },
  },
};

test('the matrix shows doing and undoing, and what there is nothing to try for', () => {
  const page = pageOf(PROOF);
  assert.match(page, /^2 runs of 1 moves/m);
  assert.match(page, /^\| take hold \| back \/ – \| on \/ – \|$/m);
});

test('pairs of faults are told by move and end, and in all', () => {
  const page = pageOf(PROOF);
  assert.match(page, /^33 of 50,700 pairs, /m);
  assert.match(page, /^\| start \| 3 \| 700 \| 0 \| 3 \|$/m);
});

test('each run is followed by its command', () => {
  const page = pageOf(PROOF);
  for (const command of ['print the matrix', 'print pairs', 'simulate much', 'simulate --ops 3-4', 'fire']) {
    assert.ok(page.includes(`\`${command}\``), command);
  }
});

test('cases in which nothing was there to be killed are not counted as kills', () => {
  assert.match(pageOf(PROOF), /^\| volume \| conductor \| 2 \| 1 \| 1 \| 0 \|$/m);
});

test('what did not hold stands out', () => {
  const page = pageOf({
    ...PROOF,
    simulation: { command: 'c', result: { ...simulated, failure } },
    fire: { command: 'fire', cases: 430, beforehand: false, result: { ...fireOf(), left: ['qemu'] } },
  });
  assert.match(page, /\*\*Seed 7 fails: two guests\.\*\*/);
  assert.match(page, /\*\*not found in 20,000 schedules\*\*/);
  assert.match(page, /\*\*two at once\*\*/);
  assert.match(page, /\*\*qemu\*\*/);
});

function fireOf() {
  assert.ok(PROOF.fire);
  const { result } = PROOF.fire;
  return { ...result, watched: { ...result.watched, breaches: ['two at once'] } };
}

test('parts of the kills are told as one run', () => {
  const part = fireOf();
  const both = fireOfParts([part, { ...part, watched: { ...part.watched, longestPauseMs: 50 }, left: ['qemu'] }]);
  assert.deepEqual([both.results.length, both.watched.looks, both.watched.longestPauseMs], [3, 2000, 50]);
  assert.deepEqual(both.left, ['qemu']);
  assert.throws(() => fireOfParts([part, { ...part, seed: 4 }]), /not the parts of one run/);
});
