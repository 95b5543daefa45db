// What of real files an audit is told: those that are missing of a guest or volume, and those that are nobody's.
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { newGuest } from '../agent/guests.ts';
import type { GuestBody } from '../records.ts';
import { IMAGE, OTHER_SERVER, SERVER, SPARE, SPEC } from '../test-support.ts';
import { missingFiles, strayFiles } from './inventory.ts';
import { Layout } from './layout.ts';

test('each file that a guest cannot do without is missed, and each that is no guest’s is told', async () => {
  const layout = new Layout(await mkdtemp(join(tmpdir(), 'crosscell-inventory-')));
  try {
    for (const directory of [layout.guestDir(SERVER), layout.keysDir, layout.memoryDir, layout.imagesDir])
      await mkdir(directory, { recursive: true });
    const spare = { id: SPARE, purpose: 'rescue' as const, spec: SPEC, ready: true, used: false };
    const guest: GuestBody = { ...newGuest(SPEC, 'fresh'), disk: 'ready', memory: 'saved', spare };
    const files = [layout.disk(SERVER), layout.image(IMAGE), layout.spareDisk(SERVER), layout.memory(SERVER)];
    for (const file of files) await writeFile(file, '');
    assert.deepEqual(await missingFiles(layout, SERVER, guest), []);
    assert.deepEqual(await strayFiles(layout), []);

    for (const file of files) await rm(file);
    const image = 'base image of the';
    const all = ['disk', `${image} disk`, 'second disk', `${image} second disk`, 'memory'];
    assert.deepEqual(await missingFiles(layout, SERVER, guest), all);
    assert.deepEqual(await missingFiles(layout, SERVER, newGuest(SPEC, 'incoming')), [], 'none was to be there yet');

    await writeFile(join(layout.guestsDir, 'notes.txt'), '');
    await mkdir(join(layout.keysDir, OTHER_SERVER));
    await writeFile(layout.memory(OTHER_SERVER), '');
    assert.deepEqual(await strayFiles(layout), [
      'guests/notes.txt',
      `keys/${OTHER_SERVER}`,
      `memory/${OTHER_SERVER}.ram`,
    ]);
  } finally {
    await rm(layout.stateDir, { recursive: true });
  }
});
