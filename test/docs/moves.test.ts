// The tables of steps in the documentation are those of the code: same steps, same order, same pivot, and an undo is
// described exactly where there is one.
import assert from 'node:assert/strict';
import test from 'node:test';
import { ATTACH_VOLUME, DETACH_VOLUME } from '../../src/moves/attach.ts';
import { CONFIRM } from '../../src/moves/confirm.ts';
import { CREATE_IMAGE } from '../../src/moves/create-image.ts';
import { EVACUATE } from '../../src/moves/evacuate.ts';
import { ATTACH_INTERFACE, DETACH_INTERFACE } from '../../src/moves/interfaces.ts';
import type { Move } from '../../src/moves/move.ts';
import { RESIZE } from '../../src/moves/resize.ts';
import { REVERT } from '../../src/moves/revert.ts';
import { SHELVE, SHELVE_OFFLOAD } from '../../src/moves/shelve.ts';
import { RESTORE, SOFT_DELETE } from '../../src/moves/soft-delete.ts';
import { UNSHELVE_OFFLOADED } from '../../src/moves/unshelve.ts';
import { CREATE_VOLUME } from '../../src/moves/volumes/create.ts';
import { DELETE_VOLUME } from '../../src/moves/volumes/delete.ts';
import { EXTEND_VOLUME } from '../../src/moves/volumes/extend.ts';
import { CREATE_SNAPSHOT, DELETE_SNAPSHOT } from '../../src/moves/volumes/snapshots.ts';
import { plain, read, tableUnder } from './markdown.ts';

const architecture = read('docs/architecture.md');
const failures = read('docs/failure-model.md');

function compare<S>(move: Move<S>): void {
  const { rows } = tableUnder(architecture, `Steps of ${move.name}`);
  assert.deepEqual(
    rows.map(([step = '']) => plain(step)),
    move.steps.map(({ step }) => step),
  );
  assert.deepEqual(
    rows.filter(([step = '']) => step.startsWith('**')).map(([step = '']) => plain(step)),
    [move.pivot],
  );
  assert.deepEqual(
    rows.filter(([, , undo = '']) => undo.startsWith('—')).map(([step = '']) => plain(step)),
    move.steps.filter(({ undo }) => typeof undo === 'string').map(({ step }) => step),
  );
}

test('the steps of resize in docs/architecture.md', () => compare(RESIZE));
test('the steps of confirm in docs/architecture.md', () => compare(CONFIRM));
test('the steps of evacuate in docs/architecture.md', () => compare(EVACUATE));
test('the steps of revert in docs/architecture.md', () => compare(REVERT));
test('the steps of soft delete in docs/architecture.md', () => compare(SOFT_DELETE));
test('the steps of restore in docs/architecture.md', () => compare(RESTORE));

test('the steps of shelve in docs/architecture.md', () => compare(SHELVE));
test('the steps of shelve offload in docs/architecture.md', () => compare(SHELVE_OFFLOAD));
test('the steps of unshelve offloaded in docs/architecture.md', () => compare(UNSHELVE_OFFLOADED));
test('the steps of create image in docs/architecture.md', () => compare(CREATE_IMAGE));
test('the steps of attaching and detaching in docs/architecture.md', () => {
  compare(ATTACH_VOLUME);
  compare(DETACH_VOLUME);
  compare(ATTACH_INTERFACE);
  compare(DETACH_INTERFACE);
});
test('the steps of the sagas on volumes in docs/architecture.md', () => {
  compare(CREATE_VOLUME);
  compare(DELETE_VOLUME);
  compare(EXTEND_VOLUME);
  compare(CREATE_SNAPSHOT);
  compare(DELETE_SNAPSHOT);
});

test('docs/failure-model.md speaks of every step of resize', () => {
  const { rows } = tableUnder(failures, 'Step by step');
  assert.deepEqual(
    rows.map(([step = '']) => plain(step)),
    RESIZE.steps.map(({ step }) => step),
  );
});
