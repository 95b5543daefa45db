// The line of a move in `crosscell moves list`: what it is at, apart from why it turned back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MoveView, StepView } from '../moves/view.ts';
import { listText } from './moves.ts';

const failed = (step: string, note: string, direction: 'do' | 'undo' = 'do'): StepView => ({
  ...{ step, direction, outcome: 'failed', startedAt: 1, endedAt: 2, durationMs: 1, attempts: 1, note, by: null },
});
const line = (change: Partial<MoveView>): string =>
  listText([
    {
      ...{
        id: 'id',
        move: 'resize',
        serverId: 'server',
        requestId: 'r',
        status: 'active',
        direction: 'do',
        step: null,
      },
      ...{
        reason: null,
        migrationId: null,
        source: null,
        target: null,
        progress: null,
        copiedBytes: null,
        sha256: null,
      },
      ...{ steps: [], createdAt: 0, endedAt: null },
      ...change,
    },
  ])
    .trimEnd()
    .split('server  ')[1] ?? '';

test('a step that is undone now is told apart from what turned the move back', () => {
  const undoing = { direction: 'undo', step: 'stop source', reason: 'copy disk: full' };
  assert.equal(line(undoing), 'active, turning back  undo of stop source; turned back: copy disk: full');
  const unwound = { status: 'unwound', direction: 'undo', reason: 'copy disk: full' };
  assert.equal(line(unwound), 'unwound   turned back: copy disk: full');
});

test('a stuck move shows the step at which it is stuck, and with what', () => {
  const steps = [failed('copy disk', 'full'), failed('stop source', 'busy', 'undo')];
  const back = { status: 'stuck', direction: 'undo', reason: 'copy disk: full', steps };
  assert.equal(line(back), 'stuck     undo of stop source: busy; turned back: copy disk: full');
  const on = { status: 'stuck', reason: 'let go: no', steps: [failed('let go', 'no')] };
  assert.equal(line(on), 'stuck     let go: no');
});

test('a move that goes on shows its step, one that is done nothing', () => {
  assert.equal(line({ step: 'copy disk' }), 'active    copy disk');
  assert.equal(line({ status: 'done' }), 'done');
});
