import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../src/lib/property-testing.ts';
import { isContinuation, lineDigest, longestGapMs, parseJournal, verifyChain } from './journal.ts';

const ZEROS = '0'.repeat(64);

/** What the guest would have written: gaps in ms before each line. */
function genuine(gaps: readonly number[]): string[] {
  let previous = ZEROS;
  let now = 1_790_000_000_000;
  return gaps.map((gap, index) => {
    now += gap;
    const line = `${index + 1} ${now} 1 94788 ${previous}`;
    previous = lineDigest(line);
    return line;
  });
}

const text = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('');
const verdict = (lines: readonly string[]) => verifyChain(parseJournal(text(lines)));

const gaps = fc.array(fc.integer({ min: 0, max: 5_000 }), { minLength: 3, maxLength: 40 });

/** A journal and one of its lines that is not the last (the chain speaks for all but the last). */
const journalAndPlace = gaps.chain((list) =>
  fc.record({ lines: fc.constant(genuine(list)), at: fc.integer({ min: 0, max: list.length - 2 }) }),
);

test('a genuine journal verifies, and its head is the digest of its last line', () => {
  fc.assert(
    fc.property(gaps, (list) => {
      const lines = genuine(list);
      assert.deepEqual(verdict(lines), { ok: true, head: lineDigest(lines.at(-1) ?? ''), count: lines.length });
    }),
  );
});

test('the digest is of the whole line with its newline, as sha256sum of the line says', () => {
  // printf 'x\n' | sha256sum
  assert.equal(lineDigest('x'), '73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac');
});

test('an empty journal is whole, with a head of zeros', () => {
  assert.deepEqual(verifyChain(parseJournal('')), { ok: true, head: ZEROS, count: 0 });
});

test('any change of a character before the last line is found', () => {
  const changes = journalAndPlace.chain(({ lines, at }) =>
    fc.record({
      lines: fc.constant(lines),
      at: fc.constant(at),
      column: fc.integer({ min: 0, max: (lines[at] ?? '').length - 1 }),
      letter: fc.constantFrom(...'0123456789abcdef xZ\0'),
    }),
  );
  fc.assert(
    fc.property(changes, ({ lines, at, column, letter }) => {
      const line = lines[at] ?? '';
      fc.pre(line[column] !== letter);
      const changed = lines.with(at, line.slice(0, column) + letter + line.slice(column + 1));
      assert.equal(verdict(changed).ok, false);
      assert.equal(isContinuation(parseJournal(text(lines)), parseJournal(text(changed))), false);
    }),
  );
});

test('a change of the last line is found by the head, or by comparing', () => {
  const lines = genuine([200, 200, 200]);
  const last = lines.at(-1) ?? '';
  const changed = lines.with(-1, last.replace('94788', '94789'));
  const [before, after] = [verdict(lines), verdict(changed)];
  assert.ok(before.ok && after.ok && before.head !== after.head);
  assert.equal(isContinuation(parseJournal(text(lines)), parseJournal(text(changed))), false);
});

test('a line that is missing is found', () => {
  fc.assert(fc.property(journalAndPlace, ({ lines, at }) => assert.equal(verdict(lines.toSpliced(at, 1)).ok, false)));
});

test('a journal cut short verifies, but is no continuation of the whole one', () => {
  fc.assert(
    fc.property(journalAndPlace, ({ lines, at }) => {
      const [whole, short] = [parseJournal(text(lines)), parseJournal(text(lines.slice(0, at)))];
      assert.equal(verifyChain(short).ok, true);
      assert.equal(isContinuation(whole, short), false);
      assert.equal(isContinuation(short, whole), true);
    }),
  );
});

test('a line that stands twice is found, the last one too', () => {
  fc.assert(
    fc.property(gaps, fc.nat(), (list, pick) => {
      const lines = genuine(list);
      const at = pick % lines.length;
      assert.equal(verdict(lines.toSpliced(at, 0, lines[at] ?? '')).ok, false);
    }),
  );
});

test('two lines that changed places are found', () => {
  fc.assert(
    fc.property(journalAndPlace, ({ lines, at }) => {
      const swapped = lines.with(at, lines[at + 1] ?? '').with(at + 1, lines[at] ?? '');
      assert.equal(verdict(swapped).ok, false);
    }),
  );
});

test('the first wrong line is named', () => {
  const lines = genuine([200, 200, 200, 200]);
  assert.deepEqual(verdict(lines.toSpliced(2, 1)), { ok: false, at: 3, reason: 'the number is 4, not 3' });
  assert.deepEqual(verdict(lines.with(1, (lines[1] ?? '').replace(' 1 ', ' 2 '))), {
    ok: false,
    at: 3,
    reason: 'the digest is not that of the line before',
  });
  assert.deepEqual(verdict(lines.with(1, 'something else')), {
    ok: false,
    at: 2,
    reason: "the line has another form than a journal's",
  });
});

test('the time may go back by the tolerance of two clocks, and no further', () => {
  assert.equal(verdict(genuine([200, 200, -1_900, 200])).ok, true);
  const back = verdict(genuine([200, 200, -2_100, 200]));
  assert.deepEqual(back, { ok: false, at: 3, reason: 'the time goes back by 2100 ms' });
});

test('half a line at the end is torn, whatever its length, and no fault', () => {
  fc.assert(
    fc.property(gaps, fc.nat(), (list, pick) => {
      const lines = genuine(list);
      const last = lines.at(-1) ?? '';
      const half = last.slice(0, 1 + (pick % last.length));
      const journal = parseJournal(text(lines.slice(0, -1)) + half);
      assert.equal(journal.torn, half);
      assert.equal(journal.entries.length, lines.length - 1);
      assert.equal(verifyChain(journal).ok, true);
      assert.equal(isContinuation(journal, parseJournal(text(lines))), true);
    }),
  );
});

test('an entry tells its parts', () => {
  const [entry] = parseJournal(`1 1790000000000 2 223376 ${ZEROS}\n`).entries;
  const { n, unixMs, cpus, memKb, previous } = entry ?? assert.fail('no entry');
  assert.deepEqual(
    { n, unixMs, cpus, memKb, previous },
    { n: 1, unixMs: 1_790_000_000_000, cpus: 2, memKb: 223_376, previous: ZEROS },
  );
});

test('the longest gap is found, and where it is', () => {
  const { entries } = parseJournal(text(genuine([0, 200, 9_000, 200, 4_000])));
  assert.deepEqual(longestGapMs(entries), { gapMs: 9_000, afterN: 2 });
  assert.deepEqual(longestGapMs(entries, 3), { gapMs: 4_000, afterN: 4 });
  assert.equal(longestGapMs(entries, 5), undefined);
  assert.equal(longestGapMs([]), undefined);
});
