// The matrix: every step of every move × every fault, in doing and in undoing, with the end that it must come to or the
// reason why there is nothing to try.
import assert from 'node:assert/strict';
import { MOVES } from '../../../src/moves/registry.ts';
import type { Definition, Direction } from '../../../src/saga/types.ts';
import { FAULTS, type Fault, isOutage, STEP_FAULTS } from './faults.ts';
import { type Fixture, fixtureOf } from './fixtures.ts';
import { type End, type Planned, run } from './run.ts';

export interface Cell {
  readonly move: string;
  readonly step: string;
  readonly direction: Direction;
  readonly fault: Fault;
  /** Ends that are allowed, or why there is nothing to try. */
  readonly expected: readonly End[] | string;
}

export interface CellResult extends Omit<Cell, 'expected'> {
  /** What it came to: an end, or `n/a: …`. */
  readonly end: End | `n/a: ${string}`;
}

export const definitionOfMove = (move: string): Definition => {
  const known = MOVES.find((each) => each.definition.name === move);
  assert(known, `no move ${move}`);
  return known.definition;
};

export const cellName = ({ move, step, direction, fault }: Cell): string => `${move}: ${direction} ${step}: ${fault}`;

/** More refusals than a step is tried: it is stuck. */
const AGAIN_AND_AGAIN = 1000;

/** All cells of this move. */
export function cellsOf(move: string, fixture = fixtureOf(move)): Cell[] {
  const definition = definitionOfMove(move);
  return (['do', 'undo'] as const).flatMap((direction) =>
    definition.steps.flatMap(({ name: step }, index) =>
      FAULTS.map((fault) => ({
        ...{ move, step, direction, fault },
        expected:
          notApplicable(fixture, definition, index, direction, fault) ?? ends(definition, index, direction, fault),
      })),
    ),
  );
}

function notApplicable(
  fixture: Fixture,
  { pivot, made = 0 }: Definition,
  index: number,
  direction: Direction,
  fault: Fault,
): string | null {
  if (direction === 'do' && index < made) return 'the step is the transaction that makes the saga';
  if (direction === 'undo' && index > pivot) return 'behind the pivot there is only forward';
  return hasNoPart(fixture, fault);
}

/** Why a move is not touched by that; null: it may be. */
export function hasNoPart({ crosses, storage }: Fixture, fault: Fault): string | null {
  if (fault.startsWith('target') && !crosses) return 'the move works in one cell';
  if (fault === 'storage-gone' && storage === 'no part') return 'no volume has a part in it';
  if (fault.startsWith('source') && storage === 'alone') return 'no compute host and no cell has a part in it';
  return null;
}

function ends({ pivot }: Definition, index: number, direction: Direction, fault: Fault): readonly End[] {
  const error = fault === 'error' || fault === 'error-after';
  // An outage outlasts the attempts of most steps, and some it does not touch; which, is the steps' business.
  if (isOutage(fault))
    return direction === 'undo' && index < pivot ? ['unwound', 'refused'] : ['unwound', 'went forward', 'refused'];
  // A pivot that was refused may have had its effect, or find that there is none to be had: then there is only forward.
  if (index === pivot && direction === 'do' && error) return ['unwound', 'went forward', 'refused'];
  if (index === pivot && direction === 'undo' && error) return ['unwound after retry', 'went forward after retry'];
  if (index === pivot && direction === 'undo') return ['unwound', 'went forward', 'refused'];
  if (direction === 'undo') return error ? ['unwound after retry'] : ['unwound', 'refused'];
  if (error) return index > pivot ? ['went forward after retry'] : ['unwound', 'refused'];
  // What a host does when it restarts under a step may be a definite no.
  if (fault === 'hosts-restart' && index < pivot) return ['went forward', 'unwound'];
  return ['went forward'];
}

/** The faults of a cell: its own, and for an undo the one that turns the saga round. */
export function plan({ move, step, direction, fault }: Omit<Cell, 'expected'>): Planned[] {
  const definition = definitionOfMove(move);
  const { steps, pivot } = definition;
  const index = steps.findIndex((each) => each.name === step);
  const lasting = direction === 'undo' || index > pivot ? { times: AGAIN_AND_AGAIN } : {};
  const own = { target: { definition: move, step, direction }, fault, ...lasting };
  return direction === 'do' ? [own] : [turn(definition, index), own];
}

/** What turns the move round as late as it can be, so that it has the most to undo; at the pivot, without its write. */
function turn(definition: Definition, index: number): Planned {
  const { name, steps, pivot } = definition;
  const at = index === pivot ? pivot : turnIndex(definition, index);
  const fault = at === pivot ? 'error' : 'error-after';
  return { target: { definition: name, step: steps[at]?.name ?? '', direction: 'do' }, fault };
}

/** A reboot is undone differently when turning the guest on again is what failed: that is tried with that step itself. */
function turnIndex({ name, pivot, made = 0 }: Definition, index: number): number {
  if (name === 'reboot') return index;
  // A step that is done with the request cannot be refused later: then the pivot is.
  return made === pivot ? pivot : Math.max(index, pivot - 1);
}

/**
 * The same for a move that may try another host: on the way back to its choice, something happens in an undo. What fails
 * is over by then, so that the move gets to its end on the other host.
 */
export function cellsOnTheWayElsewhere(): Cell[] {
  const { name: move, steps } = definitionOfMove('resize');
  const from = steps.findLast((step) => step.retryFrom !== undefined)?.retryFrom ?? 0;
  const last = steps.findLastIndex((step) => step.retryFrom !== undefined);
  const expected = ['went forward'] as const;
  return steps
    .slice(from, last + 1)
    .flatMap(({ name: step }) =>
      STEP_FAULTS.filter((fault) => fault !== 'error' && fault !== 'error-after').map(
        (fault): Cell => ({ move, step, direction: 'undo', fault, expected }),
      ),
    );
}

/** Runs one of these. */
export async function runElsewhere(cell: Cell): Promise<void> {
  const { move, step, direction, fault } = cell;
  const { steps } = definitionOfMove(move);
  const last = steps.findLast((each) => each.retryFrom !== undefined)?.name ?? '';
  const turn: Planned = { target: { definition: move, step: last, direction: 'do' }, fault: 'error-after' };
  const ran = await run(move, [turn, { target: { definition: move, step, direction }, fault }], 2);
  assert.deepEqual([ran.end, ran.struck], ['went forward', [true, true]]);
}

/** Runs the cell. @throws AssertionError when it comes to another end than it must */
export async function runCell(cell: Cell, fixture = fixtureOf(cell.move)): Promise<CellResult> {
  const { move, step, direction, fault, expected } = cell;
  const result = { move, step, direction, fault };
  if (typeof expected === 'string') return { ...result, end: `n/a: ${expected}` };
  const ran = await run(move, plan(cell), 1, fixture);
  assert.equal(ran.struck.at(-1), true, 'the fault did not strike');
  assert.ok(expected.includes(ran.end), `${ran.end} (${ran.reason}), not ${expected.join(' or ')}`);
  return { ...result, end: ran.end };
}

/** The whole matrix of these moves, cell by cell. */
export async function* runMatrix(moves: readonly string[]): AsyncGenerator<CellResult> {
  for (const move of moves) for (const cell of cellsOf(move)) yield await runCell(cell);
}
