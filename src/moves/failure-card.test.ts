// The failure card, by situation: what it says failed, what was undone, and what it tells the operator to do.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { definition, rowOf } from '../saga/test-support.ts';
import type { Entry, Row } from '../saga/types.ts';
import { type FailureCard, failureCard, type Owed } from './failure-card.ts';

const D = { ...definition(['a', 'b', 'p', 'c', 'z'], 2, 3), name: 'resize', subject: 'server' };
const entry = (step: string, outcome: Entry['outcome'], more: Partial<Entry> = {}): Entry => ({
  ...{ step, direction: 'do', outcome, firstAt: 10, at: 20, attempts: 1 },
  ...more,
});
const failed = (step: string, note: string, more: Partial<Entry> = {}) => entry(step, 'failed', { note, ...more });
const undone = (step: string) => entry(step, 'done', { direction: 'undo' });
const DEBT: Owed = {
  id: 'd',
  kind: 'destroy-guest',
  where: 'h2',
  reason: 'left over',
  attempts: 3,
  lastError: null,
  since: 5,
};

const cardOf = (change: Partial<Row>, owed: readonly Owed[] = []): FailureCard | null =>
  failureCard({
    row: rowOf(D, change),
    definition: D,
    owed,
    tried: [],
    where: (step) => ({ host: `host of ${step}`, cell: 'c1' }),
  });
function card(change: Partial<Row>, owed: readonly Owed[] = []): FailureCard {
  const made = cardOf(change, owed);
  assert(made);
  return made;
}

test('a move with which nothing is wrong has no card', () => {
  assert.equal(cardOf({}), null);
  assert.equal(cardOf({ cursor: 1, journal: [entry('a', 'done')] }), null);
  assert.equal(cardOf({ status: 'done', cursor: 4, journal: [entry('a', 'done')] }), null);
});

test('waiting before the pivot: what failed and where, and both ways out', () => {
  const made = card({
    cursor: 1,
    attempt: 2,
    journal: [entry('a', 'done'), failed('b', 'disk full', { attempts: 2 })],
  });
  assert.equal(made.situation, 'waiting');
  assert.deepEqual(made.failed, {
    ...{ step: 'b', direction: 'do', reason: 'disk full', attempts: 2, firstAt: 10, lastAt: 20 },
    ...{ host: 'host of b', cell: 'c1' },
  });
  assert.match(made.advice, /tried again by itself.*Remove the cause on host host of b\..*retry.*cancel/);
});

test('at and behind the pivot: only forward, and cancel is not offered', () => {
  for (const [cursor, step] of [
    [2, 'p'],
    [3, 'c'],
  ] as const) {
    const made = card({ cursor, attempt: 1, journal: [failed(step, 'host h1 unreachable: ECONNREFUSED')] });
    assert.equal(made.situation, 'waiting-forward');
    assert.match(made.advice, /only be finished/);
    assert.match(made.advice, /Bring host h1 back/);
    assert.doesNotMatch(made.advice, /cancel/);
  }
});

test('turning back: what is undone, what is still to be, and what holds it up', () => {
  const journal = [entry('a', 'done'), failed('b', 'no room'), undone('b')];
  const going = card({ direction: 'undo', cursor: 0, reason: 'b: no room', journal });
  assert.deepEqual([going.situation, going.failed?.step], ['turning-back', 'b']);
  assert.deepEqual([going.undone, going.toUndo], [['b'], ['a']]);
  const down = failed('a', 'the database of cell c1 cannot be reached: x', { direction: 'undo', attempts: 7 });
  const waits = card({ direction: 'undo', cursor: 0, journal: [...journal, down] });
  assert.deepEqual(
    [waits.situation, waits.failed?.step, waits.failed?.direction, waits.failed?.attempts],
    ['turning-back-waits', 'a', 'undo', 7],
  );
  assert.match(waits.advice, /Bring the database of cell c1 back\. Then 'crosscell moves retry'/);
});

test('turned back: the failure that did it, not one of the way back', () => {
  const back = failed('a', 'host h1 unreachable: x', { direction: 'undo' });
  const journal = [entry('a', 'done'), failed('b', 'no room'), undone('b'), back, undone('a')];
  const made = card({ status: 'unwound', direction: 'undo', endedAt: 9, reason: 'b: no room', journal });
  assert.deepEqual([made.situation, made.failed?.step, made.failed?.reason], ['turned-back', 'b', 'no room']);
  assert.deepEqual([made.undone, made.toUndo], [['b', 'a'], []]);
  assert.match(made.advice, /as it was\. Remove the cause and ask/);
  const owing = card({ status: 'unwound', direction: 'undo', endedAt: 9, journal }, [DEBT]);
  assert.match(owing.advice, /What is owed is paid by itself when h2 can be reached again\./);
  const row = rowOf(D, { definition: 'create', status: 'unwound', direction: 'undo', journal });
  const build = failureCard({ row, definition: D, owed: [], tried: [], where: () => ({ host: null, cell: null }) });
  assert.match(build?.advice ?? '', /not built: delete it/);
});

test('cancelled: by whom, and nothing to do', () => {
  const journal = [entry('a', 'done'), entry('b', 'cancelled', { by: 'me' }), undone('b'), undone('a')];
  const made = card({ status: 'unwound', direction: 'undo', endedAt: 9, reason: 'cancelled on request', journal });
  assert.deepEqual([made.cancelledBy, made.failed], ['me', null]);
  assert.match(made.advice, /^Nothing: it was cancelled/);
});

test('stuck: an operator is needed, retry first', () => {
  const made = card({ status: 'stuck', cursor: 3, reason: 'c: full', journal: [failed('c', 'full', { attempts: 3 })] });
  assert.deepEqual([made.situation, made.failed?.step], ['stuck', 'c']);
  assert.match(made.advice, /does not go on by itself.*Then 'crosscell moves retry'.*skip/);
});

test('stuck at the pivot, whose undo is to find out what happened: it is not advised to skip it', () => {
  const journal = [failed('p', 'no'), failed('p', 'nor that', { direction: 'undo' })];
  const made = card({ status: 'stuck', direction: 'undo', cursor: 2, reason: 'p: no', journal });
  assert.match(made.advice, /Then 'crosscell moves retry'\. It cannot be skipped: it is what finds out/);
});

test('stuck in an undo: that undo, and what is still to be undone', () => {
  const journal = [
    entry('a', 'done'),
    failed('b', 'no room'),
    failed('b', 'busy', { direction: 'undo', attempts: 12 }),
  ];
  const made = card({ status: 'stuck', direction: 'undo', cursor: 1, reason: 'b: no room', journal });
  assert.deepEqual([made.situation, made.failed?.reason, made.toUndo], ['stuck', 'busy', ['b', 'a']]);
  assert.match(made.advice, /Remove the cause on host host of b\. Then 'crosscell moves retry'/);
});

test('what to do names the host, or the cell whose database it is, or neither', () => {
  const row = rowOf(D, { status: 'stuck', cursor: 3, journal: [failed('c', 'full')] });
  const at = (host: string | null, cell: string | null) =>
    failureCard({ row, definition: D, owed: [], tried: [], where: () => ({ host, cell }) })?.advice ?? '';
  assert.match(at('h1', 'c1'), /Remove the cause on host h1\./);
  assert.match(at(null, 'c1'), /Remove the cause in the database of cell c1\./);
  assert.match(at(null, null), /Remove the cause\. /);
});

test('passed: it went on all the same, and what was skipped or is owed is not forgotten', () => {
  const passed = card({ status: 'done', cursor: 4, endedAt: 9, journal: [failed('a', 'x'), entry('a', 'done')] });
  assert.deepEqual([passed.situation, passed.failed?.step], ['passed', 'a']);
  assert.match(passed.advice, /^Nothing: the failure has passed/);
  const journal = [failed('c', 'full'), entry('c', 'skipped', { by: 'me' }), entry('z', 'done')];
  const skipped = card({ status: 'done', cursor: 4, endedAt: 9, journal });
  assert.deepEqual(skipped.skipped, ['c']);
  assert.match(skipped.advice, /Skipped by hand: c\. 'crosscell audit'/);
  const owing = card({ status: 'done', cursor: 4, endedAt: 9, journal: [entry('a', 'done')] }, [DEBT]);
  assert.deepEqual([owing.failed, owing.owed], [null, [DEBT]]);
  assert.equal(owing.advice, 'What is owed is paid by itself when h2 can be reached again.');
  const refused = { ...DEBT, where: 'h3', lastError: 'the disk is read-only' };
  assert.equal(
    card({ status: 'done', cursor: 4, endedAt: 9, journal: [entry('a', 'done')] }, [DEBT, refused]).advice,
    'What is owed is paid by itself when h2 can be reached again. What is owed is refused at h3: remove the cause there, and it is paid by itself.',
  );
});

test('undone: each step once, however many hosts were tried, and none that was done again', () => {
  const round = [entry('a', 'done'), failed('b', 'no room'), undone('b'), undone('a')];
  const journal = [...round, ...round];
  assert.deepEqual(card({ status: 'unwound', direction: 'undo', endedAt: 9, journal }).undone, ['b', 'a']);
  const went = [...round, entry('a', 'done'), entry('b', 'done')];
  assert.deepEqual(card({ status: 'done', cursor: 4, journal: went }).undone, []);
});

test('skipped: it goes on and is not said to be tried again; turned back it is not said to be as it was', () => {
  const skipped = entry('c', 'skipped', { by: 'me' });
  const on = card({ cursor: 4, journal: [failed('c', 'full', { attempts: 3 }), skipped] });
  assert.deepEqual([on.situation, on.failed?.step, on.skipped], ['passed', 'c', ['c']]);
  assert.match(on.advice, /went on without what was skipped\. Skipped by hand: c\./);
  const back = [failed('b', 'no room'), failed('b', 'busy', { direction: 'undo' })];
  const left = entry('b', 'skipped', { direction: 'undo', by: 'me' });
  const going = card({ direction: 'undo', cursor: 0, journal: [...back, left] });
  assert.deepEqual([going.situation, /but for what was skipped/.test(going.advice)], ['turning-back', true]);
  const ended = { status: 'unwound', direction: 'undo', endedAt: 9 } as const;
  const made = card({ ...ended, journal: [...back, left, undone('a')] });
  assert.match(made.advice, /undone but for what was skipped: the server may not be as it was/);
  assert.doesNotMatch(made.advice, /server is as it was/);
});

test('stuck: a delete is accepted all the same, and what it waits for is said', () => {
  const journal = [failed('c', 'full')];
  const adviceOf = (definition: string, subject = 'server') =>
    failureCard({
      row: rowOf(D, { definition, status: 'stuck', cursor: 3, journal }),
      ...{ definition: { ...D, subject }, owed: [], tried: [], where: () => ({ host: null, cell: null }) },
    })?.advice ?? '';
  assert.match(adviceOf('confirm'), /on the server is accepted; a delete is, but the server stays until a person/);
  assert.match(adviceOf('delete'), /on the server is accepted\. /);
  assert.match(adviceOf('extend volume', 'volume'), /on the volume is accepted\. /);
});

test('a storage host that is silent is named', () => {
  const journal = [failed('c', 'storage host storage1 unreachable: timeout')];
  assert.match(card({ cursor: 3, journal }).advice, /Bring storage host storage1 back\./);
});
