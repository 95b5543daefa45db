// The tests of a move's part of the matrix, one per cell. Outages can be had in a file of their own: they take the longest.
import { test } from 'node:test';
import { type Cell, cellName, cellsOf, definitionOfMove, runCell } from './cells.ts';
import { isOutage } from './faults.ts';
import { type Fixture, fixtureOf } from './fixtures.ts';
import { LONG, SEED } from './pair-tests.ts';
import { sample } from './pairs.ts';

export function testCells(move: string, part: 'all' | 'without outages' | 'outages' = 'all'): void {
  for (const cell of cellsOf(move)) {
    if (part !== 'all' && (part === 'outages') !== isOutage(cell.fault)) continue;
    testCell(cell);
  }
}

/**
 * So many of the move's cells, chosen by the seed (CROSSCELL_SEED), and always the pivot that is refused although it took
 * effect; with CROSSCELL_LONG=1 all.
 */
export function testSomeCells(move: string, count: number): void {
  testSomeCellsOf('', fixtureOf(move), count);
}

/** The same with another fixture of its move; `what` says which, in the names of its tests. */
export function testSomeCellsOf(what: string, fixture: Fixture, count: number): void {
  const cells = cellsOf(fixture.move, fixture).filter((cell) => typeof cell.expected !== 'string');
  const always = cells.filter((cell) => isAtPivot(cell) && cell.direction === 'do' && cell.fault === 'error-after');
  for (const cell of LONG ? cells : new Set([...always, ...sample(cells, count, SEED)])) testCell(cell, what, fixture);
}

function isAtPivot({ move, step }: Cell): boolean {
  const { steps, pivot } = definitionOfMove(move);
  return steps[pivot]?.name === step;
}

function testCell(cell: Cell, what = '', fixture = fixtureOf(cell.move)): void {
  if (typeof cell.expected === 'string') return;
  test(`${what}${cellName(cell)}`, () => runCell(cell, fixture).then(() => undefined));
}
