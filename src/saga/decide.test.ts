// The statechart of a saga: for any definition, any outcomes and a wish to turn back at any time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import {
  applyOrder,
  applyOutcome,
  CANCELLED,
  decide,
  LANDED_NOTE,
  stopUnknown,
  UNDO_REFUSALS,
  whyStuck,
} from './decide.ts';
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

/** The same, with steps that have an earlier one (or themselves) to retry from. */
const retrying: fc.Arbitrary<Definition> = definitions.chain((of) =>
  fc.tuple(...of.steps.map((_, index) => fc.option(fc.nat(index), { nil: undefined }))).map((froms) => ({
    ...of,
    steps: of.steps.map((step, index) => {
      const retryFrom = froms[index];
      return retryFrom === undefined ? step : { ...step, retryFrom };
    }),
  })),
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
function play(of: Definition, script: readonly Reported[], cancelAt: number | null, retries = 0) {
  let row: Row = rowOf(of, { retries });
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
        const undoesPivot = decision.direction === 'undo' && row.cursor === of.pivot;
        const next = script[ran.length] ?? { kind: 'done' };
        const outcome: Reported = next.kind === 'landed' && !undoesPivot ? { kind: 'done' } : next;
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

test('every saga ends: done, unwound, or stuck behind its pivot or in an undo; its rows are sensible', () =>
  everyPlay(({ row, rows }, of) => {
    assert.notEqual(row.status, 'active');
    if (row.status === 'stuck') assert.ok((row.cursor > of.pivot || row.direction === 'undo') && row.reason !== null);
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

test('behind the pivot nothing is undone, and before it nothing gets stuck but a refused undo', () =>
  everyPlay(({ row, ran }, of) => {
    const passed = ran.some(
      (each) => each.direction === 'do' && each.outcome.kind === 'done' && indexOf(of, each.step) === of.pivot,
    );
    if (passed || of.pivot < 0) assert.ok(ran.every((each) => each.direction === 'do'));
    else assert.ok(row.status === 'unwound' || (row.status === 'stuck' && row.direction === 'undo'));
  }));

test('a wish to turn back is granted before the pivot at the next step, and never from there on', () =>
  everyPlay(({ row, ran }, of) => {
    for (const each of ran) {
      if (each.cancelled && each.direction === 'do') assert.ok(indexOf(of, each.step) >= of.pivot);
    }
    if (row.reason === CANCELLED) assert.equal(row.direction, 'undo');
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

const everyRetryingPlay = (check: (played: ReturnType<typeof play>, of: Definition, retries: number) => void) =>
  fc.assert(
    fc.property(
      retrying,
      fc.array(outcomes, { maxLength: 120 }),
      fc.option(fc.integer({ min: 0, max: 60 }), { nil: null }),
      fc.integer({ min: 0, max: 4 }),
      (of, script, cancelAt, retries) => check(play(of, script, cancelAt, retries), of, retries),
    ),
    { numRuns: 2000 },
  );

test('with steps to retry from a saga ends as well, within its budget, and never goes back from its pivot on', () =>
  everyRetryingPlay(({ row, rows, ran }, of, retries) => {
    assert.notEqual(row.status, 'active');
    assert.equal(row.backTo, null, 'who has ended goes nowhere');
    if (row.status === 'unwound') assert.ok(row.direction === 'undo' && row.cursor === 0 && row.reason !== null);
    if (row.status === 'done') assert.ok(row.direction === 'do' && row.cursor === of.steps.length - 1);
    const rounds = rows.filter((each, at) => each.direction === 'do' && rows[at - 1]?.direction === 'undo').length;
    assert.ok(rounds <= retries - row.retries && row.retries >= 0);
    for (const each of rows) {
      if (each.backTo === null) continue;
      assert.ok(each.direction === 'undo' && each.backTo <= each.cursor && each.cursor < of.pivot);
    }
    const passed = ran.findIndex(
      (each) => each.direction === 'do' && each.outcome.kind === 'done' && indexOf(of, each.step) === of.pivot,
    );
    if (passed >= 0) assert.ok(ran.slice(passed).every((each) => each.direction === 'do'));
  }));

test('whatever is done is undone before it is done again, and what is left done is exactly what the saga has come to', () =>
  everyRetryingPlay(({ row, ran }, of) => {
    const standing: number[] = [];
    for (const { step, direction, outcome } of ran) {
      if (outcome.kind !== 'done') continue;
      const index = indexOf(of, step);
      if (direction === 'do') {
        assert.equal(index, standing.length, 'done in order, each once');
        standing.push(index);
      } else if (standing.at(-1) === index) standing.pop();
      else assert.equal(index, standing.length, 'the step at the cursor may or may not have been done');
    }
    if (row.status === 'done') assert.equal(standing.length, of.steps.length);
    if (row.status === 'unwound') assert.equal(standing.length, 0);
  }));

test('a wish to turn back, by whomever, is not put off by another round', () => {
  const of = definition(['a', 'b', 'c', 'p'], 3, 1);
  const steps = of.steps.map((step, index) => (index === 2 ? { ...step, retryFrom: 1 } : step));
  const D = { ...of, steps };
  const failed = applyOutcome(D, rowOf(D, { cursor: 2, retries: 2 }), { kind: 'failed', reason: 'no', final: true }, 5);
  assert.deepEqual([failed.direction, failed.backTo, failed.retries, failed.reason], ['undo', 1, 1, 'c: no']);
  const going = rowOf(D, { ...failed, cancelRequested: true });
  const decision = decide(D, going, 6);
  assert(decision.kind === 'turn');
  assert.deepEqual([decision.patch.backTo, decision.patch.reason, decision.patch.cursor], [null, CANCELLED, 2]);
  const ordered = applyOrder(D, rowOf(D, failed), { kind: 'cancel' }, 'me', 6);
  assert(ordered.kind === 'accepted');
  assert.deepEqual([ordered.patch.backTo, ordered.patch.reason], [null, CANCELLED]);
  const again = applyOutcome(D, rowOf(D, { ...failed, cursor: 1 }), { kind: 'done' }, 7);
  assert.deepEqual([again.direction, again.cursor, again.backTo, again.reason], ['do', 1, null, null]);
});

test('what no earlier step can help turns it all the way back, whatever the step could be retried from', () => {
  const of = definition(['a', 'b', 'p'], 2, 2);
  const D = { ...of, steps: of.steps.map((step, index) => (index === 1 ? { ...step, retryFrom: 0 } : step)) };
  const failed = { kind: 'failed', reason: 'the source is silent', final: false, retriable: false } as const;
  const first = applyOutcome(D, rowOf(D, { cursor: 1, retries: 2 }), failed, 5);
  assert.deepEqual([first.direction, first.attempt], ['do', 1]);
  const spent = applyOutcome(D, rowOf(D, { cursor: 1, attempt: 1, retries: 2 }), failed, 5);
  assert.deepEqual([spent.direction, spent.backTo, spent.retries], ['undo', null, 2]);
});

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

test('a pivot that is found to have landed is not taken back: from there on there is only forward', () => {
  let landed = 0;
  fc.assert(
    fc.property(
      retrying,
      fc.array(fc.oneof(outcomes, fc.constant<Reported>({ kind: 'landed' })), { maxLength: 60 }),
      (of, script) => {
        const { row, ran } = play(of, script, null, 2);
        assert.notEqual(row.status, 'active');
        const at = ran.findIndex(({ outcome }) => outcome.kind === 'landed');
        if (at < 0) return;
        landed += 1;
        assert.ok(ran.slice(at + 1).every(({ direction }) => direction === 'do'));
        assert.ok(row.status === 'done' || (row.status === 'stuck' && row.cursor > of.pivot), row.status);
        assert.deepEqual([row.direction, row.status === 'done' ? row.reason : null], ['do', null]);
        const told = row.journal.findLast(({ step }) => step === of.steps[of.pivot]?.name);
        assert.deepEqual([told?.direction, told?.outcome, told?.note], ['do', 'done', LANDED_NOTE]);
      },
    ),
    { numRuns: 2000 },
  );
  assert.ok(landed > 10, `${landed} have landed`);
  const D = definition(['a', 'b'], 1);
  const outcome = { kind: 'landed' } as const;
  assert.throws(() => applyOutcome(D, rowOf(D, { direction: 'undo' }), outcome, 5), /only the undo of a pivot/);
  assert.throws(() => applyOutcome(D, rowOf(D, { cursor: 1 }), outcome, 5), /only the undo of a pivot/);
});

const D4 = definition(['a', 'b', 'p', 'c', 'z'], 2, 2);
const order = (row: Partial<Row>, wish: Parameters<typeof applyOrder>[2], of: Definition = D4) => {
  const before = rowOf(of, row);
  const ordered = applyOrder(of, before, wish, 'me', 1000);
  return ordered.kind === 'refused' ? ordered.reason : { ...before, ...ordered.patch };
};
const accepted = (after: Row | string): Row => {
  assert(typeof after !== 'string', `refused: ${String(after)}`);
  return after;
};

test('retry: a stuck saga goes on with a new budget, a waiting one at once; the journal says who', () => {
  const stuck = accepted(order({ status: 'stuck', cursor: 3, attempt: 2, reason: 'c: full' }, { kind: 'retry' }));
  assert.deepEqual([stuck.status, stuck.attempt, stuck.reason, stuck.cursor], ['active', 0, null, 3]);
  assert.deepEqual(stuck.journal.at(-1), {
    ...{ step: 'c', direction: 'do', outcome: 'retried', firstAt: 1000, at: 1000, attempts: 1, by: 'me' },
  });
  const waiting = accepted(order({ cursor: 1, attempt: 1, wakeAt: 60_000 }, { kind: 'retry' }));
  // Its budget is what it was: before the pivot an operator who is impatient does not make it try for ever.
  assert.deepEqual([waiting.wakeAt, waiting.attempt], [0, 1]);
  assert.equal(decide(D4, waiting, 1000).kind, 'run');
  const undoing = accepted(order({ direction: 'undo', cursor: 1, attempt: 9, wakeAt: 60_000 }, { kind: 'retry' }));
  assert.deepEqual([undoing.wakeAt, undoing.direction], [0, 'undo']);
});

test('retry is refused where nothing waits', () => {
  for (const row of [{ cursor: 1 }, { cursor: 1, attempt: 1, wakeAt: 1000 }, { cursor: 1, attempt: 0, wakeAt: 2000 }]) {
    assert.match(String(order(row, { kind: 'retry' })), /'b' is not waiting/);
  }
});

test('cancel turns back before the pivot, and says honestly when that cannot be', () => {
  const back = accepted(order({ cursor: 1, attempt: 1, wakeAt: 5000 }, { kind: 'cancel' }));
  assert.deepEqual([back.direction, back.cursor, back.attempt, back.wakeAt, back.reason], ['undo', 1, 0, 0, CANCELLED]);
  assert.deepEqual([back.journal.at(-1)?.outcome, back.journal.at(-1)?.by], ['cancelled', 'me']);
  assert.match(String(order({ cursor: 2 }, { kind: 'cancel' })), /at its pivot 'p', which may have happened/);
  assert.match(String(order({ cursor: 3 }, { kind: 'cancel' })), /past its pivot 'p'/);
  assert.match(String(order({ cursor: 3, status: 'stuck' }, { kind: 'cancel' })), /past its pivot 'p'/);
  assert.match(String(order({ cursor: 0, direction: 'undo' }, { kind: 'cancel' })), /turning back already/);
  assert.match(String(order({}, { kind: 'cancel' }, definition(['a'], -1))), /only ever goes forward/);
});

test('skip goes past the step at which a saga is stuck, under its name, and never past the last', () => {
  const at = { status: 'stuck', cursor: 3, attempt: 2, reason: 'c: full' } as const;
  const past = accepted(order(at, { kind: 'skip', step: 'c' }));
  assert.deepEqual([past.status, past.cursor, past.attempt, past.reason], ['active', 4, 0, null]);
  assert.deepEqual([past.journal.at(-1)?.outcome, past.journal.at(-1)?.step], ['skipped', 'c']);
  assert.match(String(order(at, { kind: 'skip', step: 'b' })), /stuck at 'c', not at 'b'/);
  assert.match(String(order({ cursor: 3 }, { kind: 'skip', step: 'c' })), /not stuck/);
  assert.match(String(order({ ...at, cursor: 4 }, { kind: 'skip', step: 'z' })), /last step/);
});

test('letting go is never skipped, whatever had been done before it took hold', () => {
  const of = { ...D4, made: 1, hold: 1 };
  for (const [cursor, step] of [
    [1, 'b'],
    [0, 'a'],
  ] as const) {
    const undoing = { status: 'stuck', direction: 'undo', cursor, reason: `${step}: no` } as const;
    assert.match(String(order(undoing, { kind: 'skip', step }, of)), /lets go of the server, and cannot be skipped/);
    assert.equal(accepted(order(undoing, { kind: 'retry' }, of)).status, 'active');
  }
});

test('a pivot is never skipped: its undo alone finds out whether it has happened', () => {
  const undoing = { status: 'stuck', direction: 'undo', cursor: 2, reason: 'p: no' } as const;
  assert.match(String(order(undoing, { kind: 'skip', step: 'p' })), /its pivot, which may have happened.*then retry/);
  const looking = accepted(order(undoing, { kind: 'retry' }));
  const landed = { ...looking, ...applyOutcome(D4, looking, { kind: 'landed' }, 1000) };
  assert.deepEqual([landed.direction, landed.cursor], ['do', 3]);
});

test('one that another version met before its pivot is retried or cancelled, not taken for done', () => {
  for (const cursor of [1, 2]) {
    const row = rowOf(D4, { cursor });
    const met = { ...row, ...stopUnknown(row, 5) };
    const step = D4.steps[cursor]?.name ?? '';
    assert.match(String(order(met, { kind: 'skip', step })), /pivot/);
    assert.equal(accepted(order(met, { kind: 'retry' })).status, 'active');
  }
  const back = accepted(order({ cursor: 1, status: 'stuck' }, { kind: 'cancel' }));
  assert.deepEqual([back.status, back.direction], ['active', 'undo']);
});

test('an undo that is refused time after time is stuck and keeps the reason why it turned; silence does not count', () => {
  let row = rowOf(D4, { cursor: 1, direction: 'undo', reason: 'b: why it turned' });
  const fail = (final: boolean) => {
    row = { ...row, ...applyOutcome(D4, row, { kind: 'failed', reason: 'no', final }, 1000) };
  };
  for (let n = 0; n < 100; n += 1) fail(false);
  for (let n = 1; n < UNDO_REFUSALS; n += 1) fail(true);
  fail(false);
  assert.equal(row.status, 'active');
  fail(true);
  assert.deepEqual([row.status, row.reason, whyStuck(row)], ['stuck', 'b: why it turned', 'undo b: no']);
  assert.equal(row.journal.length, 1);
  assert.match(String(order(row, { kind: 'cancel' })), /turning back already/);
  const again = accepted(order(row, { kind: 'retry' }));
  assert.deepEqual([again.status, again.direction, again.cursor], ['active', 'undo', 1]);
  const past = accepted(order(row, { kind: 'skip', step: 'b' }));
  assert.deepEqual([past.status, past.direction, past.cursor], ['active', 'undo', 0]);
  for (const each of [again, past]) assert.equal(each.reason, 'b: why it turned');
  assert.match(String(order({ ...row, cursor: 0 }, { kind: 'skip', step: 'a' })), /last step/);
});

test('the same order again is the same entry with a count; nothing is ordered of a saga that has ended', () => {
  let row = rowOf(D4, { cursor: 1, attempt: 1, wakeAt: 60_000 });
  for (let n = 0; n < 1000; n += 1) {
    const ordered = applyOrder(D4, row, { kind: 'retry' }, 'me', n);
    assert(ordered.kind === 'accepted');
    row = { ...row, ...ordered.patch, wakeAt: 60_000 };
  }
  assert.deepEqual(
    row.journal.map((entry) => [entry.outcome, entry.attempts, entry.firstAt, entry.at]),
    [['retried', 1000, 0, 999]],
  );
  for (const status of ['done', 'unwound'] as const) {
    for (const wish of [{ kind: 'retry' }, { kind: 'cancel' }, { kind: 'skip', step: 'a' }] as const) {
      assert.match(String(order({ status }, wish)), /ended already/);
    }
  }
});

test('whatever is ordered and whenever: a saga ends, forward only once its pivot has been tried', () =>
  fc.assert(
    fc.property(retrying, fc.array(outcomes, { maxLength: 40 }), fc.infiniteStream(fc.nat(9)), (of, script, dice) => {
      let row = rowOf(of, { retries: 2 });
      let ran = 0;
      let triedPivot = of.pivot < 0;
      let now = 1;
      for (let turn = 0; turn < 2000; turn += 1) {
        const roll = dice.next().value ?? 9;
        const wish = ([{ kind: 'retry' }, { kind: 'cancel' }, { kind: 'skip', step: `step ${row.cursor}` }] as const)[
          roll
        ];
        if (wish) {
          const ordered = applyOrder(of, row, wish, 'me', now);
          if (ordered.kind === 'accepted') {
            if (wish.kind === 'cancel') assert.equal(triedPivot, false);
            row = { ...row, ...ordered.patch };
          }
        }
        const decision = decide(of, row, now);
        if (decision.kind === 'ended' && row.status !== 'stuck') return;
        // Nobody comes for a last step that is stuck but who retries it.
        if (decision.kind === 'ended' && ran > script.length + 100) return;
        if (decision.kind === 'turn') row = { ...row, ...decision.patch };
        if (decision.kind === 'run') {
          if (row.direction === 'do' && row.cursor === of.pivot) triedPivot = true;
          row = { ...row, ...applyOutcome(of, row, script[ran] ?? { kind: 'done' }, now) };
          ran += 1;
        }
        now = decision.kind === 'wait' ? decision.until : now + 1;
        assert.ok(row.cursor >= 0 && row.cursor < of.steps.length);
      }
      assert.equal(row.status, 'stuck');
    }),
  ));
