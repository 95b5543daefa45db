// Schedules that are aimed: at a kind of fault, at one step of a move, in its doing or its undoing.
//
// Chance brings the moves that are often asked for to many of these, and others to few: in 10,000 schedules to a third of
// all that there are. So some small worlds have another plan than chance makes: what leads to the move, that fault, and
// what turns the move back if its undoing is to be struck. All of them have their turn, in an order in which every move is
// aimed at soon.
import { invariant } from '../lib/errors.ts';
import { MOVES } from '../moves/registry.ts';
import { phasesOf } from '../saga/decide.ts';
import type { Definition, Direction } from '../saga/types.ts';
import { type Dice, diceOf, pick } from './dice.ts';
import { type Event, type Operation, type Plan, REFUSALS, STEP_FAULTS, type Strike, struckName } from './plan.ts';

type Wanted = Operation | 'evacuate' | 'reboot';

/** What is asked one after the other, of one server, so that in the end there is this move. */
interface Way {
  readonly ask: readonly Wanted[];
  /** It boots from a volume; else from a disk of its own. */
  readonly fromVolume?: true;
}

const WAYS: Readonly<Record<string, Way>> = {
  create: { ask: [] },
  start: { ask: ['stop', 'start'] },
  stop: { ask: ['stop'] },
  resume: { ask: ['reboot'] },
  reboot: { ask: ['hard reboot'] },
  pause: { ask: ['pause'] },
  unpause: { ask: ['pause', 'unpause'] },
  suspend: { ask: ['suspend'] },
  wake: { ask: ['suspend', 'bring back'] },
  'crash dump': { ask: ['crash dump'] },
  rebuild: { ask: ['rebuild'] },
  'rebuild root volume': { ask: ['rebuild'], fromVolume: true },
  rescue: { ask: ['rescue'] },
  unrescue: { ask: ['rescue', 'bring back'] },
  resize: { ask: ['resize'] },
  evacuate: { ask: ['evacuate'] },
  confirm: { ask: ['resize', 'confirm'] },
  revert: { ask: ['resize', 'revert'] },
  delete: { ask: ['delete'] },
  'soft delete': { ask: ['soft delete'] },
  restore: { ask: ['soft delete', 'restore'] },
  'create image': { ask: ['create image'] },
  'create backup': { ask: ['create backup'] },
  'create image of volumes': { ask: ['create image'], fromVolume: true },
  shelve: { ask: ['shelve'] },
  'shelve offload': { ask: ['shelve', 'offload'] },
  unshelve: { ask: ['shelve', 'bring back'] },
  'unshelve offloaded': { ask: ['shelve', 'offload', 'bring back'] },
  'attach volume': { ask: ['create volume', 'attach'] },
  'detach volume': { ask: ['create volume', 'attach', 'detach'] },
  'attach interface': { ask: ['attach interface'] },
  'detach interface': { ask: ['attach interface', 'detach interface'] },
  'create volume': { ask: ['create volume'] },
  'delete volume': { ask: ['create volume', 'delete volume'] },
  'extend volume': { ask: ['create volume', 'extend volume'] },
  'create snapshot': { ask: ['create volume', 'create snapshot'] },
  'delete snapshot': { ask: ['create volume', 'create snapshot', 'delete snapshot'] },
  'revert volume': { ask: ['create volume', 'create snapshot', 'revert volume'] },
  'upload volume': { ask: ['create volume', 'upload volume'] },
  'reimage volume': { ask: ['create volume', 'reimage volume'] },
};

/** One small world in so many is aimed. */
const AIMED_ONE_IN = 5;
/** Which of them: those that others name by their seeds stay what they are. */
const AIMED = 3;
/** From one to the next that has its turn, modulo their number: a prime, so that each has. */
const STRIDE = 1009;
/** Each of the operations that lead to a move has so much time at least, ms. */
const APART_MS = 5000;
/** The move itself has so much: a host that was rebooted is asked for what it has after a while. */
const LASTS_MS = 60_000;
const OFF_MS = 120_000;
const DOWN_MS = 20_000;

/** What volumes a server has: see disksOf. Where volumes are asked for, it has none that could be meant instead. */
const [ROOT_VOLUMES, OWN_DISKS, NO_VOLUMES] = [[0, 1, 8, 9], [2, 7, 18], [7]] as const;

/** A fault at a step of a move. */
export interface Case {
  readonly definition: Definition;
  /** Of the step. */
  readonly index: number;
  readonly direction: Direction;
  readonly strike: Strike;
}

/** All that there are. */
export const CASES: readonly Case[] = MOVES.flatMap(({ definition }) =>
  definition.steps.flatMap((_, index) =>
    phasesOf(definition, index).flatMap((direction) =>
      strikesAt(definition, index, direction).map((strike) => ({ definition, index, direction, strike })),
    ),
  ),
);

/** Refusals are of what only an operator can help. */
function strikesAt({ pivot }: Definition, index: number, direction: Direction): readonly Strike[] {
  return direction === 'undo' || index > pivot ? [...STEP_FAULTS, ...REFUSALS] : STEP_FAULTS;
}

/** As a schedule says what has struck; see struckName. */
export const nameOf = ({ definition, index, direction, strike }: Case): string =>
  struckName(strike, { definition: definition.name, direction, step: stepOf(definition, index) });

function stepOf({ name, steps }: Definition, index: number): string {
  const step = steps[index];
  invariant(step, `${name} has a step ${index}`);
  return step.name;
}

/** What the schedule of this seed is aimed at; null: nothing, as most. */
export function aimOf(seed: number): Case | null {
  if (seed % AIMED_ONE_IN !== AIMED) return null;
  const aimed = CASES[(Math.floor(seed / AIMED_ONE_IN) * STRIDE) % CASES.length];
  invariant(aimed, 'there are moves');
  return aimed;
}

/** The plan of a schedule that is aimed; null: it is not. */
export function aimedPlan(seed: number): Plan | null {
  const aimed = aimOf(seed);
  if (aimed === null) return null;
  const dice = diceOf(seed, 'aim');
  const { name } = aimed.definition;
  const way = WAYS[name];
  invariant(way, `nothing is known that leads to ${name}`);
  const needsNone = way.ask.includes('create volume');
  const disks = pick(dice, way.fromVolume ? ROOT_VOLUMES : needsNone ? NO_VOLUMES : OWN_DISKS);
  const events: Event[] = [...faultsOf(aimed, dice), { at: 0, what: 'create', flavor: 0, disks, group: 1 }];
  let at = APART_MS;
  for (const wanted of way.ask) {
    events.push(...eventsFor(wanted, at, dice));
    at += APART_MS + dice(APART_MS);
  }
  // The weather clears behind what happens last, and nothing strikes any more.
  events.push({ at: at + LASTS_MS, what: 'operate', operation: 'rename', server: 0, choice: 0 });
  return { seed, events, confirmWindowSeconds: 0, reclaimSeconds: 0, offloadSeconds: -1 };
}

/** It, and what else strikes the same move: the undoing of one has to be brought about, or follows now and then. */
function faultsOf(aimed: Case, dice: Dice): Event[] {
  const { definition, index, direction } = aimed;
  const fault = faultOf(aimed, dice);
  const turnAt = (steps: readonly number[]): Event =>
    faultOf({ definition, index: pick(dice, steps), direction: 'do', strike: 'error' }, dice);
  const [before, { pivot }] = [turnsBefore(definition, index), definition];
  if (direction === 'undo') return [turnAt(before.length > 0 ? before : [pivot]), fault];
  if (index > pivot || dice(2) === 0) return [fault];
  const undoing = { definition, index: dice(index + 1), direction: 'undo', strike: pick(dice, STEP_FAULTS) } as const;
  return [fault, turnAt([...before, pivot]), faultOf(undoing, dice)];
}

/**
 * The steps before the pivot from which the move goes back as far as this one: what is retried elsewhere goes back to where
 * that begins. From the pivot all goes back, unless its undo finds that it has landed, as some do whose effects are there
 * when the step before is done.
 */
const turnsBefore = ({ steps, pivot, made = 0 }: Definition, undone: number): number[] =>
  steps.flatMap(({ retryFrom = 0 }, at) =>
    at >= Math.max(undone, made) && at < pivot && retryFrom <= undone ? [at] : [],
  );

function faultOf({ definition, index, direction, strike }: Case, dice: Dice): Event {
  const aim = { definition: definition.name, step: stepOf(definition, index), direction };
  const forMs = 1000 + dice(DOWN_MS);
  switch (strike) {
    case 'refusal':
    case 'landed refusal':
      return { at: 0, what: 'refusal', landed: strike === 'landed refusal', skip: 0, aim };
    default:
      return { at: 0, what: 'step fault', fault: strike, skip: 0, forMs, aim };
  }
}

function eventsFor(wanted: Wanted, at: number, dice: Dice): Event[] {
  // Another flavor than the server's, the world's own image, a rebuild also of root volumes, a volume of nothing.
  const choice = 60 * dice(10) + 34;
  switch (wanted) {
    case 'evacuate':
      return [{ at, what: 'evacuate', server: 0, choice, forMs: OFF_MS }];
    case 'reboot':
      return [0, 1, 2, 3].map((host) => ({ at, what: 'reboot', host }));
    default:
      return [{ at, what: 'operate', operation: wanted, server: 0, choice }];
  }
}

/** Names of moves that a schedule can be aimed at. */
export const aimedMoves = (): string[] => Object.keys(WAYS);
