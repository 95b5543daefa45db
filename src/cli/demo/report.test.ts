import assert from 'node:assert/strict';
import { test } from 'node:test';
import { columns } from './printer.ts';
import { lastLine, type MoveReport, type Report } from './report.ts';

const scenes = (held: number) =>
  Array.from({ length: 6 }, (_, i) => ({ number: i + 1, title: '', held: i < held, durationMs: 1, error: null }));

const report = (changes: Partial<Report>): Report => ({
  verdict: 'failed',
  lastLine: '',
  hypervisor: 'qemu',
  startedAt: '',
  durationMs: 0,
  waited: { boots: 0, guests: 0, moves: 0, journals: 0 },
  scenes: scenes(6),
  claims: [],
  moves: [{} as MoveReport, {} as MoveReport],
  watch: { looks: 0, longestPauseMs: 0, runs: 0, breaches: [] },
  audit: null,
  lost: [],
  leaked: [],
  logs: '',
  ...changes,
});

test('the last line is ok only when every scene held and nothing was lost, leaked or in trouble', () => {
  assert.deepEqual(lastLine(report({}), null), {
    ok: true,
    line: 'demo: ok (6 of 6 scenes, 2 moves, 0 lost, 0 leaked)',
  });
  const bad: [Partial<Report>, string | null, string][] = [
    [{ scenes: scenes(5) }, null, 'demo: FAILED (5 of 6 scenes, 2 moves, 0 lost, 0 leaked)'],
    [{ lost: ['first'] }, null, 'demo: FAILED (6 of 6 scenes, 2 moves, 1 lost, 0 leaked)'],
    [{ leaked: ['x', 'y'] }, null, 'demo: FAILED (6 of 6 scenes, 2 moves, 0 lost, 2 leaked)'],
    [{ scenes: [] }, 'interrupted', 'demo: FAILED (0 of 6 scenes, 2 moves, 0 lost, 0 leaked; interrupted)'],
    [{}, 'interrupted', 'demo: FAILED (6 of 6 scenes, 2 moves, 0 lost, 0 leaked; interrupted)'],
  ];
  for (const [changes, trouble, line] of bad) {
    assert.deepEqual(lastLine(report(changes), trouble), { ok: false, line });
  }
});

test('columns are aligned, figures to the right', () => {
  const rows = columns([
    ['copy disk', '12.00 s', 'x'],
    ['take hold', '0.01 s', ''],
  ]);
  assert.deepEqual(rows, ['copy disk  12.00 s  x', 'take hold   0.01 s']);
});
