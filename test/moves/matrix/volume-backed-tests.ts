// The tests of the steps that volumes take part in, once more of a server that boots from a volume, with two data volumes
// and two ports.
import { test } from 'node:test';
import { cellName, cellsOf, runCell } from './cells.ts';
import type { Fault } from './faults.ts';
import { VOLUME_BACKED } from './fixtures.ts';

/** Where volumes, or what depends on them, change hands. */
const CONCERNED =
  /volume|attachments|guest$|prepare target|stop|start (source|target)|copy records|drop .*records|let go/;

/** @param moves of these; all that take volumes along, when none is named */
export function testVolumeBacked(faults: readonly Fault[], moves: readonly string[] = []): void {
  for (const fixture of VOLUME_BACKED) {
    if (moves.length > 0 && !moves.includes(fixture.move)) continue;
    for (const cell of cellsOf(fixture.move, fixture)) {
      if (typeof cell.expected === 'string' || !CONCERNED.test(cell.step) || !faults.includes(cell.fault)) continue;
      test(`volume-backed ${cellName(cell)}`, () => runCell(cell, fixture).then(() => undefined));
    }
  }
}
