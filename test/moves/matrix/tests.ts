// The tests of a move's part of the matrix, one per cell. Outages can be had in a file of their own: they take the longest.
import { test } from 'node:test';
import { cellName, cellsOf, runCell } from './cells.ts';
import { isOutage } from './faults.ts';

export function testCells(move: string, part: 'all' | 'without outages' | 'outages' = 'all'): void {
  for (const cell of cellsOf(move)) {
    if (typeof cell.expected === 'string') continue;
    if (part !== 'all' && (part === 'outages') !== isOutage(cell.fault)) continue;
    test(cellName(cell), () => runCell(cell).then(() => undefined));
  }
}
