// The statechart of a saga: for any definition, any outcomes and a wish to turn back at any time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { applyOutcome, CANCELLED, decide } from './decide.ts';
import { definition, rowOf } from './test-support.ts';
import type { Definition, Direction, Outcome, Row } from './types.ts';

type Reported = Exclude<Outcome, { kind: 'fenced' }>;

const definitions: fc.Arbitrary<Definition> = fc
  .array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 7 })
  .chain((attempts) =>
    fc.integer({ min: -1, max: attempts.length - 1 }).map((pivot) =>
      definition(
        attempts.map((_, index) => `step ${index}`),
        pivot,
        attempts,
      ),
    ),
  );

const outcomes: fc.Arbitrary<Reported> = fc.oneof(
  { weight: 5, arbitrary: fc.constant<Reported>({ kind: 'done' }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('done' as const), output: fc.constant({ x: 1 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('pending' as const), afterMs: fc.integer({ min: 0, max: 5000 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('failed' as const), reason: fc.string(), final: fc.boolean() }),
  },
);

interface Ran {
  readonly step: string;
  readonly direction: Direction;
  readonly outcome: Reported;
  readonly cancelled: boolean;
}

/** Plays the saga to its end; outcomes that run out are `done`. */
function play(of: Definition, script: readonly Reported[], cancelAt: number | null) {
  let row: Row = rowOf(of);
  let now = 1000;
  const ran: Ran[] = [];
  const rows: Row[] = [row];
  for (let turn = 0; turn < 1000; turn += 1) {
    if (turn === cancelAt) row = { ...row, cancelRequested: true };
    const decision = decide(of, row, now);
    switch (decision.kind) {
      case 'ended':
        return { row, ran, rows };
      case 'wait':
        assert.ok(decision.until > now);
        now = decision.until;
        continue;
      case 'turn':
        row = { ...row, ...decision.patch };
        break;
      case 'run': {
        const outcome = script[ran.length] ?? { kind: 'done' };
        ran.push({ step: decision.step.name, direction: decision.direction, outcome, cancelled: row.cancelRequested });
        row = { ...row, ...applyOutcome(of, row, outcome, now) };
        break;
      }
    }
    rows.push(row);
    now += 1;
  }
  throw new Error('it does not end');
}

const plays = fc.tuple(
  definitions,
  fc.array(outcomes, { maxLength: 60 }),
  fc.option(fc.integer({ min: 0, max: 40 }), { nil: null }),
);
const everyPlay = (check: (played: ReturnType<typeof play>, of: Definition) => void) =>
  fc.assert(
    fc.property(plays, ([of, script, cancelAt]) => check(play(of, script, cancelAt), of)),
    { numRuns: 2000 },
  );
const indexOf = (of: Definition, step: string): number => of.steps.findIndex((each) => each.name === step);

test('every saga ends: done, unwound, or stuck behind its pivot; on every way its rows are sensible', () =>
  everyPlay(({ row, rows }, of) => {
    assert.notEqual(row.status, 'active');
    if (row.status === 'stuck') assert.ok(row.cursor > of.pivot && row.direction === 'do' && row.reason !== null);
    if (row.status !== 'stuck') assert.notEqual(row.endedAt, null);
    if (row.status === 'unwound') assert.ok(row.direction === 'undo' && row.cursor === 0 && row.reason !== null);
    if (row.status === 'done') assert.ok(row.direction === 'do' && row.cursor === of.steps.length - 1);
    for (const each of rows) assert.ok(each.cursor >= 0 && each.cursor < of.steps.length && each.attempt >= 0);
  }));

test('steps are done in order, each until it says so, and undone in exactly the reverse order of what may be done', () =>
  everyPlay(({ row, ran }, of) => {
    const dos = ran.filter((each) => each.direction === 'do');
    const undos = ran.filter((each) => each.direction === 'undo');
    // Whatever has been undone is not done again.
    assert.deepEqual(ran, [...dos, ...undos]);
    const done = dos.filter((each) => each.outcome.kind === 'done').map((each) => indexOf(of, each.step));
    assert.deepEqual(done, [...done.keys()]);
    if (row.status === 'done') assert.equal(done.length, of.steps.length);
    if (row.status === 'unwound') {
      const undone = undos.filter((each) => each.outcome.kind === 'done').map((each) => indexOf(of, each.step));
      // All that were done, and the one at the cursor when it turned, which may be.
      assert.deepEqual(undone, [...undone.keys()].reverse());
      const tried = new Set(dos.map((each) => each.step)).size;
      assert.ok(undone.length >= tried && undone.length <= tried + 1);
    }
  }));

test('behind the pivot nothing is undone, and before it nothing gets stuck', () =>
  everyPlay(({ row, ran }, of) => {
    const passed = ran.some(
      (each) => each.direction === 'do' && each.outcome.kind === 'done' && indexOf(of, each.step) === of.pivot,
    );
    if (passed || of.pivot < 0) assert.ok(ran.every((each) => each.direction === 'do'));
    else assert.equal(row.status, 'unwound');
  }));

test('a wish to turn back is granted before the pivot at the next step, and never from there on', () =>
  everyPlay(({ row, ran }, of) => {
    for (const each of ran) {
      if (each.cancelled && each.direction === 'do') assert.ok(indexOf(of, each.step) >= of.pivot);
    }
    if (row.reason === CANCELLED) assert.equal(row.status, 'unwound');
  }));

test('a step is tried as often as it may be, and every failure is in the journal', () =>
  everyPlay(({ row, ran }, of) => {
    for (const [index, step] of of.steps.entries()) {
      const failures = ran.filter(
        (each) => each.direction === 'do' && each.step === step.name && each.outcome.kind === 'failed',
      ).length;
      if (index < of.pivot) assert.ok(failures <= step.attempts);
    }
    const count = (direction: Direction, kind: 'done' | 'failed') => ({
      ran: ran.filter((each) => each.direction === direction && each.outcome.kind === kind).length,
      told: row.journal
        .filter((entry) => entry.direction === direction && entry.outcome === kind)
        .reduce((sum, entry) => sum + (kind === 'failed' ? entry.attempts : 1), 0),
    });
    for (const direction of ['do', 'undo'] as const) {
      for (const kind of ['done', 'failed'] as const) {
        const { ran: happened, told } = count(direction, kind);
        assert.equal(told, happened);
      }
    }
  }));

test('failures wait twice as long each time, up to a minute; a pending step as long as it says', () => {
  const of = definition(['a'], 0, 100);
  const waits = [0, 1, 2, 8, 50].map((attempt) => {
    const patch = applyOutcome(of, rowOf(of, { attempt }), { kind: 'failed', reason: 'no', final: false }, 1000);
    return patch.wakeAt - 1000;
  });
  assert.deepEqual(waits, [200, 400, 800, 51_200, 60_000]);
  const progress = { doneBytes: 3, totalBytes: 4 };
  const pending = applyOutcome(of, rowOf(of, { attempt: 2 }), { kind: 'pending', afterMs: 70, progress }, 1000);
  assert.deepEqual([pending.wakeAt, pending.attempt, pending.progress], [1070, 2, progress]);
});

test('outputs are merged into the state; an absurdly long reason is cut', () => {
  const of = definition(['a', 'b'], 1, 1);
  const row = rowOf(of, { state: { kept: 1, old: 1 } });
  assert.deepEqual(applyOutcome(of, row, { kind: 'done', output: { old: 2, fresh: 3 } }, 5).state, {
    ...{ kept: 1, old: 2, fresh: 3 },
  });
  const failed = applyOutcome(of, row, { kind: 'failed', reason: 'x'.repeat(1e6), final: true }, 5);
  assert.ok((failed.reason ?? '').length < 3000);
});

test('at the pivot a failure that may pass is tried again for ever: its write may have landed', () => {
  const of = definition(['a', 'p', 'c'], 1, 2);
  const at = rowOf(of, { cursor: 1, attempt: 50 });
  const passing = applyOutcome(of, at, { kind: 'failed', reason: 'timeout', final: false }, 5);
  assert.deepEqual([passing.direction, passing.status], ['do', 'active']);
  const definite = applyOutcome(of, at, { kind: 'failed', reason: 'no', final: true }, 5);
  assert.deepEqual([definite.direction, definite.reason], ['undo', 'p: no']);
});
