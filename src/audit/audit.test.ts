// The verdict over a snapshot, and its report. The invariants themselves are shown to find what is planted in a whole
// system: see test/moves/audit.test.ts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { INVARIANTS, judge, renderReport } from './audit.ts';
import type { Snapshot } from './snapshot.ts';

const EMPTY: Snapshot = {
  ...{ startedAt: 10, endedAt: 30, homes: new Map(), cells: [], hosts: [], sagas: [], busy: new Set() },
  ...{ migrations: [], consumers: [], providers: [], ports: [], images: [], debts: [], together: new Map() },
  imageFiles: { unreachable: null, files: [] },
  imagesInUse: new Map(),
  quarantined: [],
  ...{ groupMembers: [], attachments: [], volumes: [], storage: [] },
  ...{ volumesOwed: new Set<string>(), endsOwed: new Set<string>() },
};
const DOWN = { id: 'c1', name: 'cell1', unreachable: 'no such file', records: [], strays: [] };
const SAGA = {
  ...({
    id: 'g',
    definition: 'resize',
    subject: 'server',
    serverId: 's',
    status: 'stuck',
    reason: 'full',
    dueAt: 30,
  } as const),
};

test('an empty system holds every invariant', () => {
  const report = judge(EMPTY);
  assert.equal(report.verdict, 'held');
  assert.ok(report.invariants.every((each) => each.held && each.verdict === 'held'));
  assert.deepEqual([report.takenAt, report.durationMs], [10, 20]);
});

test('every invariant has a name of its own and a sentence', () => {
  assert.equal(new Set(INVARIANTS.map((each) => each.name)).size, INVARIANTS.length);
  for (const { sentence } of INVARIANTS) assert.match(sentence, /^[A-Z].*\.$/);
});

test('what could not be read is unknown, and a breach counts for more than that', () => {
  const unknown = judge({ ...EMPTY, cells: [DOWN] });
  assert.equal(unknown.verdict, 'unknown');
  assert.deepEqual(unknown.invariants[0]?.unknown, ['cell cell1: no such file']);
  assert.equal(unknown.invariants[0]?.held, false);
  const broken = judge({ ...EMPTY, cells: [DOWN], sagas: [SAGA] });
  assert.equal(broken.verdict, 'broken');
  assert.match(renderReport(broken), /audit: BROKEN \(\d+ of \d+ invariants held, 1 broken, \d+ unknown\)\n$/);
});

test('a report shows the first breaches of an invariant and counts the rest', () => {
  const sagas = Array.from({ length: 25 }, (_, n) => ({ ...SAGA, id: `g${n}` }));
  const text = renderReport(judge({ ...EMPTY, sagas }));
  assert.equal(text.split('- resize g').length - 1, 20);
  assert.match(text, /- and 5 more/);
});

test('a report is plain data', () => {
  const report = judge({ ...EMPTY, sagas: [SAGA], cells: [DOWN] });
  assert.deepEqual(JSON.parse(JSON.stringify(report)), report);
});
