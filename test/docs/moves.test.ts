// The tables of steps in the documentation are those of the code: same steps, same order, same pivot, and an undo is
// described exactly where there is one.
import assert from 'node:assert/strict';
import test from 'node:test';
import { ATTACH_VOLUME, DETACH_VOLUME } from '../../src/moves/attach.ts';
import { CONFIRM } from '../../src/moves/confirm.ts';
import { CREATE_IMAGE } from '../../src/moves/create-image.ts';
import { EVACUATE } from '../../src/moves/evacuate.ts';
import { IMAGE_OF_VOLUMES } from '../../src/moves/image-of-volumes.ts';
import { ATTACH_INTERFACE, DETACH_INTERFACE } from '../../src/moves/interfaces.ts';
import { REBUILD_VOLUME } from '../../src/moves/rebuild-volume.ts';
import { RESIZE } from '../../src/moves/resize.ts';
import { REVERT } from '../../src/moves/revert.ts';
import { SHELVE, SHELVE_OFFLOAD } from '../../src/moves/shelve.ts';
import { RESTORE, SOFT_DELETE } from '../../src/moves/soft-delete.ts';
import { UNSHELVE_OFFLOADED } from '../../src/moves/unshelve.ts';
import { CREATE_VOLUME } from '../../src/moves/volumes/create.ts';
import { DELETE_VOLUME } from '../../src/moves/volumes/delete.ts';
import { EXTEND_VOLUME } from '../../src/moves/volumes/extend.ts';
import { REIMAGE_VOLUME } from '../../src/moves/volumes/reimage.ts';
import { REVERT_VOLUME } from '../../src/moves/volumes/revert.ts';
import { CREATE_SNAPSHOT, DELETE_SNAPSHOT } from '../../src/moves/volumes/snapshots.ts';
import { UPLOAD_VOLUME } from '../../src/moves/volumes/upload.ts';
import { plain, read, tableUnder } from './markdown.ts';

/** A move, whatever its state is. */
interface Told {
  readonly name: string;
  readonly steps: readonly { readonly step: string; readonly undo: unknown }[];
  readonly pivot: string;
}

const TOLD: readonly Told[] = [
  ...[RESIZE, CONFIRM, REVERT, EVACUATE, SOFT_DELETE, RESTORE, SHELVE, SHELVE_OFFLOAD, UNSHELVE_OFFLOADED],
  ...[REBUILD_VOLUME, CREATE_IMAGE, IMAGE_OF_VOLUMES],
  ...[ATTACH_VOLUME, DETACH_VOLUME, ATTACH_INTERFACE, DETACH_INTERFACE],
  ...[
    CREATE_VOLUME,
    DELETE_VOLUME,
    EXTEND_VOLUME,
    REVERT_VOLUME,
    REIMAGE_VOLUME,
    UPLOAD_VOLUME,
    CREATE_SNAPSHOT,
    DELETE_SNAPSHOT,
  ],
];

const architecture = read('docs/architecture.md');
const failures = read('docs/failure-model.md');

for (const move of TOLD) {
  test(`the steps of ${move.name} in docs/architecture.md`, () => {
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
  });
}

test('there is no other table of steps', () => {
  const headings = [...architecture.matchAll(/^### Steps of (.*)$/gm)].map(([, name]) => name);
  assert.deepEqual(headings.toSorted(), TOLD.map(({ name }) => name).toSorted());
});

test('docs/failure-model.md speaks of every step of resize', () => {
  const { rows } = tableUnder(failures, 'Step by step');
  assert.deepEqual(
    rows.map(([step = '']) => plain(step)),
    RESIZE.steps.map(({ step }) => step),
  );
});
