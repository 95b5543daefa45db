// Pairs of faults: one at a step, and another at that step or a later one, or while what the first one brought about is
// being undone. Whichever of them come to strike: the move ends, and everything that run() asserts holds.
import assert from 'node:assert/strict';
import { diceOf } from '../../../src/simulation/dice.ts';
import { definitionOfMove, hasNoPart } from './cells.ts';
import { FAULTS, type Fault, isOutage, STEP_FAULTS } from './faults.ts';
import { fixtureOf } from './fixtures.ts';
import { type End, type Planned, run } from './run.ts';

export type Pair = readonly [Planned, Planned];

const turns = (fault: Fault): boolean => fault === 'error' || fault === 'error-after';
const OFTEN = 1000;

/** Of a move: first a refusal that turns it round at a step, then a fault in one of the undos. */
export function pairsInUndoing(move: string, faults: readonly Fault[] = STEP_FAULTS): Pair[] {
  const { steps, pivot, made = 0 } = definitionOfMove(move);
  const possible = faults.filter((fault) => hasNoPart(fixtureOf(move), fault) === null);
  return steps.slice(made, pivot + 1).flatMap((turned, first) =>
    (['error', 'error-after'] as const).flatMap((refusal) =>
      steps.slice(0, made + first + 1).flatMap((undone) =>
        possible.map(
          (fault): Pair => [
            { target: { definition: move, step: turned.name, direction: 'do' }, fault: refusal },
            { target: { definition: move, step: undone.name, direction: 'undo' }, fault, times: OFTEN },
          ],
        ),
      ),
    ),
  );
}

/** Of a move: first a fault that does not turn it round by itself, then any fault at that step or a later one. */
export function pairsInDoing(move: string, faults: readonly Fault[] = FAULTS): Pair[] {
  const { steps, pivot, made = 0 } = definitionOfMove(move);
  const possible = faults.filter((fault) => hasNoPart(fixtureOf(move), fault) === null);
  return steps.slice(made).flatMap((one, first) =>
    possible
      .filter((fault) => !turns(fault))
      .flatMap((fault) =>
        steps.slice(made + first).flatMap((other, later) =>
          possible.map(
            (second): Pair => [
              { target: { definition: move, step: one.name, direction: 'do' }, fault },
              {
                target: { definition: move, step: other.name, direction: 'do' },
                fault: second,
                ...(made + first + later > pivot ? { times: OFTEN } : {}),
              },
            ],
          ),
        ),
      ),
  );
}

/** Two outages of an hour each, one after the other, take long to play. */
export const isLong = (pair: Pair): boolean => pair.some(({ fault }) => isOutage(fault));

/** So many of them, chosen by the seed. */
export function sample<T>(from: readonly T[], count: number, seed: number): T[] {
  const dice = diceOf(seed, 'pairs');
  const left = [...from];
  return Array.from({ length: Math.min(count, left.length) }, () => left.splice(dice(left.length), 1)).flat();
}

export interface PairsResult {
  readonly move: string;
  readonly seed: number;
  readonly tried: number;
  /** So many there are. */
  readonly all: number;
  /** How often each end was come to. */
  readonly ends: Readonly<Partial<Record<End, number>>>;
}

/** So many pairs of each move, doing and undoing, chosen by the seed. */
export async function* runPairs(moves: readonly string[], count: number, seed: number): AsyncGenerator<PairsResult> {
  for (const move of moves) {
    const all = [...pairsInDoing(move), ...pairsInUndoing(move, FAULTS)];
    const chosen = sample(all, count, seed);
    const ends: Partial<Record<End, number>> = {};
    for (const pair of chosen) {
      const end = await runPair(move, pair);
      ends[end] = (ends[end] ?? 0) + 1;
    }
    yield { move, seed, tried: chosen.length, all: all.length, ends };
  }
}

const nameOf = ({ target, fault }: Planned): string => `${target.direction} ${target.step}: ${fault}`;

/** Resolves with the end that it came to. @throws Error that names the pair when a promise is broken */
export async function runPair(move: string, pair: Pair): Promise<End> {
  const [one, other] = pair;
  try {
    const { struck, end } = await run(move, pair);
    // Whether the second strikes may depend on what the first did; at one step the inner one may leave nothing to the other.
    const sameStep = one.target.step === other.target.step;
    assert.ok(struck[0] === true || (sameStep && struck[1] === true), 'the first fault did not strike');
    return end;
  } catch (error) {
    throw new Error(`${move}: ${nameOf(one)}, then ${nameOf(other)}`, { cause: error });
  }
}
