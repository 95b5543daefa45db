// The failure card of a move: what failed, where, what was undone, what is still owed, and what to do about it. A pure
// function of the saga's row and of what is owed; failure.ts fetches these.
import { assertNever } from '../lib/errors.ts';
import { isLast } from '../saga/decide.ts';
import type { Definition, Direction, Entry, Row } from '../saga/types.ts';

/**
 * - waiting: a step failed and is tried again, and may still turn the move round
 * - waiting-forward: the same, at or behind the pivot: it can only be finished
 * - elsewhere: it goes back to choose another host; where an undo fails, see turning-back-waits
 * - turning-back, turning-back-waits: undoing goes on; an undo fails and is tried again
 * - turned-back: it is undone; `owed`, if something is, waits for its host
 * - stuck: an operator is needed
 * - passed: it failed, and went on or ended well all the same
 */
export type Situation =
  | 'waiting'
  | 'waiting-forward'
  | 'elsewhere'
  | 'turning-back'
  | 'turning-back-waits'
  | 'turned-back'
  | 'stuck'
  | 'passed';

export interface Owed {
  readonly id: string;
  readonly kind: string;
  /** The host's name, or (drop-records) the cell's. */
  readonly where: string;
  readonly reason: string;
  readonly attempts: number;
  /** Why it was refused last; null: nobody has answered and refused. */
  readonly lastError: string | null;
  readonly since: number;
}

export interface Where {
  readonly host: string | null;
  readonly cell: string | null;
}

export interface FailureCard {
  readonly situation: Situation;
  /** Null: no step failed; the move was cancelled, or it only owes something. */
  readonly failed: {
    readonly step: string;
    readonly direction: Direction;
    readonly reason: string;
    readonly attempts: number;
    readonly firstAt: number;
    readonly lastAt: number;
    readonly host: string | null;
    readonly cell: string | null;
  } | null;
  /** Hosts that were chosen before and did not do, each with the reason. */
  readonly tried: readonly { readonly host: string; readonly cell: string | null; readonly reason: string }[];
  /** Steps that were undone and not done again since, in the order in which they were. */
  readonly undone: readonly string[];
  /** Steps that are still to be undone, the next one first. */
  readonly toUndo: readonly string[];
  /** Steps that an operator skipped: whatever they should have done is nobody's business any more. */
  readonly skipped: readonly string[];
  /** Who ordered it to turn back; null: nobody. */
  readonly cancelledBy: string | null;
  readonly owed: readonly Owed[];
  /** What to do, in one or two sentences. */
  readonly advice: string;
}

export interface CardFacts {
  readonly row: Row;
  /** Undefined: of a version that this program does not know. */
  readonly definition: Definition | undefined;
  readonly owed: readonly Owed[];
  readonly tried: FailureCard['tried'];
  /** Where a step works, and where the failure with this reason was. */
  readonly where: (step: string, reason: string) => Where;
}

/** Null when nothing failed, nothing was cancelled or skipped, and nothing is owed. */
export function failureCard(facts: CardFacts): FailureCard | null {
  const { row, definition, owed, where } = facts;
  const entry = culprit(row);
  const cancelledBy = row.journal.findLast((each) => each.outcome === 'cancelled')?.by ?? null;
  const undoing = row.direction === 'undo';
  const skipped = row.journal.filter((each) => each.outcome === 'skipped').map((each) => each.step);
  const untouched = entry === null && !undoing && skipped.length === 0 && row.status !== 'stuck';
  if (untouched && owed.length === 0) return null;
  const situation = situationOf(row, definition);
  const card = {
    situation,
    failed:
      entry === null
        ? null
        : {
            step: entry.step,
            direction: entry.direction,
            reason: entry.note ?? '',
            attempts: entry.attempts,
            firstAt: entry.firstAt,
            lastAt: entry.at,
            ...where(entry.step, entry.note ?? ''),
          },
    tried: facts.tried,
    undone: undoneOf(row),
    toUndo: undoing && (row.status === 'active' || row.status === 'stuck') ? stepsBack(row, definition) : [],
    skipped,
    cancelledBy,
    owed,
  };
  return { ...card, advice: adviceFor(card, row, definition) };
}

/** In the order in which they were undone last; what was done again since is not. */
function undoneOf(row: Row): string[] {
  const undone = new Set<string>();
  for (const { step, direction, outcome } of row.journal) {
    if (outcome !== 'done') continue;
    undone.delete(step);
    if (direction === 'undo') undone.add(step);
  }
  return [...undone];
}

/** What came of the step tried last: an operator's `skipped` puts an end to its failure. */
const latest = (row: Row): Entry | undefined =>
  row.journal.findLast(({ outcome }) => outcome === 'done' || outcome === 'failed' || outcome === 'skipped');

/** The failure that keeps it now; else the last one of a do: that is what turned it round, or what has passed. */
function culprit(row: Row): Entry | null {
  const last = latest(row);
  if (row.status !== 'unwound' && last?.outcome === 'failed') return last;
  return row.journal.findLast((each) => each.outcome === 'failed' && each.direction === 'do') ?? null;
}

function situationOf(row: Row, definition: Definition | undefined): Situation {
  const last = latest(row);
  const failing = last?.outcome === 'failed' && last.direction === row.direction;
  switch (row.status) {
    case 'stuck':
      return 'stuck';
    case 'unwound':
      return 'turned-back';
    case 'done':
      return 'passed';
    case 'active':
      if (row.direction === 'undo' && failing) return 'turning-back-waits';
      if (row.direction === 'undo') return row.backTo === null ? 'turning-back' : 'elsewhere';
      if (!failing) return 'passed';
      return definition !== undefined && row.cursor < definition.pivot ? 'waiting' : 'waiting-forward';
    default:
      return assertNever(row.status);
  }
}

const stepsBack = (row: Row, definition: Definition | undefined): string[] =>
  (definition?.steps ?? [])
    .slice(row.backTo ?? 0, row.cursor + 1)
    .map((step) => step.name)
    .toReversed();

type Card = Omit<FailureCard, 'advice'>;

/** What to do, by situation. */
function adviceFor(card: Card, row: Row, definition: Definition | undefined): string {
  const unknown = definition === undefined && row.endedAt === null;
  return [unknown ? UNKNOWN : adviceOn(card, row, definition), adviceOnSkipped(card.skipped), adviceOnOwed(card.owed)]
    .filter((sentence) => sentence !== '')
    .join(' ');
}

/** A delete of a server is accepted at any moment, and begins when nothing else is under way. */
const deleteWaits = ({ definition }: Row, subject: string): string =>
  subject === 'server' && definition !== 'delete'
    ? '; a delete is, but the server stays until a person has helped this one to its end'
    : '';

const UNKNOWN =
  "It was begun by another version of this program, which alone can go on with it, and nothing is done about it here. Run that version, then 'crosscell moves retry'.";

const LAST_RESORT =
  "Only if the step can never succeed: 'crosscell moves skip', and do by hand what the step would have done.";
const AT_LAST = 'It cannot be skipped: without it nothing could ever be done again.';
const AT_PIVOT = 'It cannot be skipped: it is what finds out whether the operation is to go on or to turn back.';

function lastResort(row: Row, definition: Definition | undefined): string {
  if (definition !== undefined && isLast(definition, row)) return AT_LAST;
  return row.cursor === definition?.pivot ? AT_PIVOT : LAST_RESORT;
}

function adviceOn(
  { situation, failed, cancelledBy, skipped }: Card,
  row: Row,
  definition: Definition | undefined,
): string {
  const subject = definition?.subject ?? 'server';
  const cause = removing(failed);
  const whole = skipped.length === 0;
  switch (situation) {
    case 'waiting':
      return `It is tried again by itself and turns back when its attempts are spent. ${cause} Then 'crosscell moves retry' tries it at once; 'crosscell moves cancel' turns it back now.`;
    case 'waiting-forward':
      return `It has reached its pivot and can only be finished: it is tried again by itself until it succeeds. ${cause} Then 'crosscell moves retry' tries it at once.`;
    case 'elsewhere':
      return 'Nothing: the host did not do, and another one is tried.';
    case 'turning-back':
      return whole ? 'Nothing: it is being undone.' : 'Nothing: it is being undone, but for what was skipped.';
    case 'turning-back-waits':
      return `It is being undone, and this undo is tried again by itself until it succeeds. ${cause} Then 'crosscell moves retry' tries it at once.`;
    case 'turned-back':
      if (row.definition === 'create')
        return 'The server was not built: delete it, remove the cause, and create another.';
      if (!whole) {
        return `It was undone but for what was skipped: the ${subject} may not be as it was. See to that before the operation is asked for again.`;
      }
      if (cancelledBy !== null) return `Nothing: it was cancelled, and the ${subject} is as it was.`;
      return `The ${subject} is as it was. Remove the cause and ask for the operation again.`;
    case 'stuck':
      return `It does not go on by itself and no other operation on the ${subject} is accepted${deleteWaits(row, subject)}. ${cause} Then 'crosscell moves retry'. ${lastResort(row, definition)}`;
    case 'passed':
      if (!whole) return 'Nothing: the operation went on without what was skipped.';
      return failed === null ? '' : 'Nothing: the failure has passed, and the operation went on.';
    default:
      return assertNever(situation);
  }
}

function removing(failed: FailureCard['failed']): string {
  if (failed === null) return '';
  const [, storageHost] = /^storage host (\S+) (?:unreachable|is down)/.exec(failed.reason) ?? [];
  if (storageHost !== undefined) return `Bring storage host ${storageHost} back.`;
  const [, host] = /^host (\S+) unreachable/.exec(failed.reason) ?? [];
  if (host !== undefined) return `Bring host ${host} back; it is not waited for any longer when it counts as down.`;
  if (failed.reason.startsWith('the database of cell'))
    return `Bring the database of cell ${failed.cell ?? '(see the reason)'} back.`;
  if (failed.host !== null) return `Remove the cause on host ${failed.host}.`;
  return failed.cell === null ? 'Remove the cause.' : `Remove the cause in the database of cell ${failed.cell}.`;
}

const adviceOnSkipped = (skipped: readonly string[]): string =>
  skipped.length === 0 ? '' : `Skipped by hand: ${skipped.join(', ')}. 'crosscell audit' tells what that left behind.`;

function adviceOnOwed(owed: readonly Owed[]): string {
  const refused = owed.filter((each) => each.lastError !== null);
  const waiting = owed.filter((each) => each.lastError === null);
  const placesOf = (some: readonly Owed[]): string => [...new Set(some.map((each) => each.where))].join(', ');
  return [
    ...(waiting.length === 0 ? [] : [`What is owed is paid by itself when ${placesOf(waiting)} can be reached again.`]),
    ...(refused.length === 0
      ? []
      : [`What is owed is refused at ${placesOf(refused)}: remove the cause there, and it is paid by itself.`]),
  ].join(' ');
}
