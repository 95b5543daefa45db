// The steps that volumes take part in once more, of a server that boots from a volume, with two data volumes and two ports.
import { test } from 'node:test';
import { cellName, cellsOf, runCell } from './cells.ts';
import { STEP_FAULTS } from './faults.ts';
import { VOLUME_BACKED } from './fixtures.ts';

/** Where volumes, or what depends on them, change hands. */
const CONCERNED =
  /volume|attachments|guest$|prepare target|stop|start (source|target)|copy records|drop .*records|let go/;
const faults: readonly string[] = [...STEP_FAULTS, 'storage-gone', 'hosts-restart'];

for (const fixture of VOLUME_BACKED) {
  for (const cell of cellsOf(fixture.move, fixture)) {
    if (typeof cell.expected === 'string' || !CONCERNED.test(cell.step) || !faults.includes(cell.fault)) continue;
    test(`volume-backed ${cellName(cell)}`, () => runCell(cell, fixture).then(() => undefined));
  }
}
