// The whole statechart of a saga as pure, total functions: what to do next, what an outcome changes, and what an
// operator's order changes.
import { assertNever, invariant } from '../lib/errors.ts';
import type { Definition, Direction, Entry, Order, Outcome, Patch, Row, StepSpec } from './types.ts';

type Failed = Extract<Outcome, { kind: 'failed' }>;

export type Decision =
  | { readonly kind: 'run'; readonly step: StepSpec; readonly direction: Direction }
  | { readonly kind: 'wait'; readonly until: number }
  | { readonly kind: 'turn'; readonly patch: Patch }
  | { readonly kind: 'ended' };

/** Failed steps are tried again after 200 ms, doubling up to a minute. */
const BACKOFF_FIRST_MS = 200;
const BACKOFF_MOST_MS = 60_000;
const backoff = (attempt: number): number => Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 20));

/**
 * A refused undo is tried this often, which takes about five minutes, for what a host refuses may pass: no memory just now,
 * another job under way. Then only a person can help, and the server must not wait in silence.
 */
export const UNDO_REFUSALS = 12;

const REASON_LENGTH = 2000;

export const CANCELLED = 'cancelled on request';

/** What the journal says of a pivot that was refused and is found to have happened. */
export const LANDED_NOTE = 'it had happened all the same';

/** Whether the step has had its effect, or has found it had. */
export const hasHappened = ({ kind }: Outcome): boolean => kind === 'done' || kind === 'landed';

/** What to do next with this row at this time. */
export function decide(definition: Definition, row: Row, now: number): Decision {
  if (row.status !== 'active') return { kind: 'ended' };
  // At the pivot itself the single write may already have landed: only before it a wish to turn back is granted. One that
  // is going back to go forward again goes all the way back.
  const goesForward = row.direction === 'do' ? row.cursor < definition.pivot : row.backTo !== null;
  if (row.cancelRequested && goesForward) {
    return { kind: 'turn', patch: { ...patchOf(row), ...turnRound(CANCELLED) } };
  }
  if (row.wakeAt > now) return { kind: 'wait', until: row.wakeAt };
  const step = definition.steps[row.cursor];
  invariant(step, `saga ${row.id}: no step ${row.cursor} in ${definition.name} v${definition.version}`);
  return { kind: 'run', step, direction: row.direction };
}

/** What an outcome of the step at the cursor changes. Not for `fenced`: then nothing may be written. */
export function applyOutcome(
  definition: Definition,
  row: Row,
  outcome: Exclude<Outcome, { kind: 'fenced' }>,
  now: number,
): Patch {
  const step = definition.steps[row.cursor];
  invariant(step, `saga ${row.id}: no step ${row.cursor} in ${definition.name} v${definition.version}`);
  const patch = patchOf(row);
  switch (outcome.kind) {
    case 'pending':
      return { ...patch, wakeAt: now + outcome.afterMs, progress: outcome.progress ?? null };
    case 'done': {
      const entry: Entry = {
        step: step.name,
        direction: row.direction,
        outcome: 'done',
        firstAt: now,
        at: now,
        attempts: row.attempt + 1,
        ...(outcome.note === undefined ? {} : { note: outcome.note }),
      };
      return {
        ...patch,
        ...advance(definition, row, now),
        attempt: 0,
        wakeAt: 0,
        progress: null,
        state: outcome.output ? { ...row.state, ...outcome.output } : row.state,
        journal: [...row.journal, entry],
      };
    }
    case 'failed': {
      const entry = failureOf(row, step, outcome, now);
      const failed = { ...patch, progress: null, journal: [...entry.before, entry.last] };
      const retry = { ...failed, attempt: row.attempt + 1, wakeAt: now + backoff(row.attempt) };
      const reason = shorten(`${step.name}: ${outcome.reason}`);
      const spent = outcome.final || row.attempt + 1 >= step.attempts;
      const refusals = entry.last.refusals ?? 0;
      // The reason stays the one why it turned round, which is what the move's history tells; whyStuck() has this one.
      if (row.direction === 'undo') return refusals >= UNDO_REFUSALS ? { ...failed, status: 'stuck' } : retry;
      if (row.cursor < definition.pivot) return spent ? { ...failed, ...goBack(row, step, outcome, reason) } : retry;
      // The pivot's write may have landed although it reported failure, so only a definite no turns the saga round, and
      // its undo, which comes next, makes sure.
      if (row.cursor === definition.pivot) return outcome.final ? { ...failed, ...turnRound(reason) } : retry;
      return outcome.final && refusals >= step.attempts ? { ...failed, status: 'stuck', reason } : retry;
    }
    case 'landed':
      invariant(row.direction === 'undo' && row.cursor === definition.pivot, 'only the undo of a pivot finds that out');
      return applyOutcome(
        definition,
        { ...row, direction: 'do', reason: null },
        { kind: 'done', note: LANDED_NOTE },
        now,
      );
    default:
      return assertNever(outcome);
  }
}

/**
 * Whether the row goes on under a new fence. A call of the former direction, or of a try that came to nothing, may still be
 * under way, and must not land behind what takes it back: its own undo, or a later step.
 */
export const overtakesItself = (row: Row, patch: Patch): boolean =>
  patch.direction !== row.direction || patch.attempt > row.attempt;

/**
 * What becomes of a saga whose definition this program does not know, because another version began it: nobody here can
 * tell what its cursor means, so it is touched no further. A program that knows the definition goes on with it on `retry`.
 */
export function stopUnknown(row: Row, now: number): Patch {
  const note = `this program does not know version ${row.version} of '${row.definition}'`;
  const entry: Entry = {
    ...{ step: `step ${row.cursor + 1}`, direction: row.direction, outcome: 'failed' },
    ...{ firstAt: now, at: now, attempts: 1, note },
  };
  const reason = row.direction === 'undo' ? row.reason : note;
  return { ...patchOf(row), status: 'stuck', reason, journal: [...row.journal, entry] };
}

/** In which phases a step can come to be run by a conductor. */
export const phasesOf = ({ pivot, made = 0 }: Definition, index: number): Direction[] => [
  ...(index >= made ? (['do'] as const) : []),
  ...(index <= pivot ? (['undo'] as const) : []),
];

/** Why a stuck saga does not go on: the step, and what it was refused with. */
export function whyStuck(row: Pick<Row, 'journal' | 'reason'>): string | null {
  const last = row.journal.findLast((entry) => entry.outcome === 'failed');
  if (last === undefined) return row.reason;
  return `${last.direction === 'undo' ? 'undo ' : ''}${last.step}: ${last.note ?? ''}`;
}

export type Ordered =
  | { readonly kind: 'accepted'; readonly patch: Patch }
  /** One sentence that says why not. */
  | { readonly kind: 'refused'; readonly reason: string };

/**
 * What an operator's order changes, and whether it can be given at all. The patch must be written under a new fence (the
 * store's verb `order`): a conductor may be at the step right now.
 */
export function applyOrder(definition: Definition, row: Row, order: Order, by: string, now: number): Ordered {
  const step = definition.steps[row.cursor];
  invariant(step, `saga ${row.id}: no step ${row.cursor} in ${definition.name} v${definition.version}`);
  if (row.status === 'done' || row.status === 'unwound') {
    return refused(`It has ended already (${row.status}).`);
  }
  switch (order.kind) {
    case 'retry':
      return retried(row, step, by, now);
    case 'cancel':
      return cancelled(definition, row, step, by, now);
    case 'skip':
      return skipped(definition, row, step, order.step, by, now);
    default:
      return assertNever(order);
  }
}

function retried(row: Row, step: StepSpec, by: string, now: number): Ordered {
  const patch = { ...patchOf(row), wakeAt: 0, journal: withOrder(row, step, 'retried', by, now) };
  // A new budget: the operator says that the cause is gone.
  if (row.status === 'stuck') {
    return { kind: 'accepted', patch: { ...patch, status: 'active', attempt: 0, reason: reasonToGoOnWith(row) } };
  }
  const waits = row.attempt > 0 && row.wakeAt > now;
  return waits ? { kind: 'accepted', patch } : refused(`Its step '${step.name}' is not waiting to be tried again.`);
}

function cancelled(definition: Definition, row: Row, step: StepSpec, by: string, now: number): Ordered {
  if (row.direction === 'undo' && (row.backTo === null || row.status === 'stuck'))
    return refused('It is turning back already.');
  const pivot = definition.steps[definition.pivot]?.name;
  if (row.cursor > definition.pivot) {
    const passed = pivot === undefined ? 'It only ever goes forward' : `It is past its pivot '${pivot}'`;
    return refused(`${passed} and can only be finished, not turned back.`);
  }
  // As in decide(): the pivot's single write may have landed already.
  if (row.cursor === definition.pivot) {
    return refused(`It is at its pivot '${pivot}', which may have happened already, and can only be finished.`);
  }
  const journal = withOrder(row, step, 'cancelled', by, now);
  return { kind: 'accepted', patch: { ...patchOf(row), ...turnRound(CANCELLED), status: 'active', journal } };
}

function skipped(
  definition: Definition,
  row: Row,
  step: StepSpec,
  confirmed: string,
  by: string,
  now: number,
): Ordered {
  if (row.status !== 'stuck') return refused('It is not stuck: only a step at which it is stuck can be skipped.');
  if (confirmed !== step.name) return refused(`It is stuck at '${step.name}', not at '${confirmed}'.`);
  const next = row.direction === 'do' ? 1 : -1;
  if (isLast(definition, row)) {
    return refused(`'${step.name}' is its last step, which lets go of the server, and cannot be skipped.`);
  }
  // Back or forward is decided by what it finds: taken for undone although it landed, it would cost what is behind it.
  if (row.cursor === definition.pivot) {
    return refused(
      `'${step.name}' is its pivot, which may have happened, and only its undo finds out: remove what refuses that, then retry.`,
    );
  }
  // Nobody has refused it: it is stuck because another version of the program met it.
  if (row.direction === 'do' && row.cursor < definition.pivot) {
    return refused(`'${step.name}' is before its pivot and has not been undone: retry, or cancel.`);
  }
  const journal = withOrder(row, step, 'skipped', by, now);
  const goOn = { cursor: row.cursor + next, attempt: 0, wakeAt: 0, progress: null, reason: reasonToGoOnWith(row) };
  // What has not been undone must not be done once more: it turns back for good.
  return { kind: 'accepted', patch: { ...patchOf(row), ...goOn, backTo: null, status: 'active', journal } };
}

/**
 * Whether it is at what frees the key for others, or what it had claimed: without that the saga would end and keep hold. What
 * a saga on its way back undoes behind letting go was done before it took hold.
 */
export function isLast({ steps, hold = 0 }: Definition, { direction, cursor }: Row): boolean {
  return direction === 'do' ? cursor === steps.length - 1 : cursor <= hold;
}

/** Going forward the reason was why it was stuck, and is gone; turning back it is still why it turned. */
const reasonToGoOnWith = (row: Row): string | null => (row.direction === 'undo' ? row.reason : null);

const refused = (reason: string): Ordered => ({ kind: 'refused', reason });

/** The same order again and again is one entry with a count, so that nobody makes a journal grow without end. */
function withOrder(
  row: Row,
  step: StepSpec,
  outcome: 'retried' | 'cancelled' | 'skipped',
  by: string,
  now: number,
): readonly Entry[] {
  const last = row.journal.at(-1);
  const again =
    last?.outcome === outcome && last.step === step.name && last.direction === row.direction && last.by === by;
  const entry: Entry = {
    step: step.name,
    direction: row.direction,
    outcome,
    firstAt: again ? last.firstAt : now,
    at: now,
    attempts: again ? last.attempts + 1 : 1,
    by,
  };
  return [...(again ? row.journal.slice(0, -1) : row.journal), entry];
}

function advance(definition: Definition, row: Row, now: number): Partial<Patch> {
  // Undone as far back as it was to be: forward again from this very step.
  if (row.direction === 'undo' && row.cursor === row.backTo) return { direction: 'do', backTo: null, reason: null };
  const next = row.direction === 'do' ? row.cursor + 1 : row.cursor - 1;
  if (next === definition.steps.length) return { cursor: row.cursor, status: 'done', endedAt: now };
  if (next === -1) return { cursor: row.cursor, status: 'unwound', endedAt: now };
  return { cursor: next, status: 'active', endedAt: null };
}

/** All the way back. */
const turnRound = (reason: string) =>
  ({ direction: 'undo', attempt: 0, wakeAt: 0, reason, progress: null, backTo: null }) satisfies Partial<Patch>;

/** Back to the step that the failed one names to retry from, while the budget lasts; else all the way. */
const goBack = (row: Row, step: StepSpec, { retriable }: Failed, reason: string) =>
  step.retryFrom !== undefined && retriable !== false && row.retries > 0
    ? { ...turnRound(reason), backTo: step.retryFrom, retries: row.retries - 1 }
    : turnRound(reason);

/** The journal's last entry with this failure in it, and the entries before: failures of a step in a row are one. */
function failureOf(
  row: Row,
  step: StepSpec,
  failure: Failed,
  now: number,
): { readonly before: readonly Entry[]; readonly last: Entry } {
  const last = row.journal.at(-1);
  const again = last?.outcome === 'failed' && last.step === step.name && last.direction === row.direction;
  const refusals = (again ? (last.refusals ?? 0) : 0) + (failure.final ? 1 : 0);
  return {
    before: again ? row.journal.slice(0, -1) : row.journal,
    last: {
      step: step.name,
      direction: row.direction,
      outcome: 'failed',
      firstAt: again ? last.firstAt : now,
      at: now,
      attempts: again ? last.attempts + 1 : 1,
      ...(refusals === 0 ? {} : { refusals }),
      note: shorten(failure.reason),
    },
  };
}

const shorten = (text: string): string => (text.length > REASON_LENGTH ? `${text.slice(0, REASON_LENGTH)}…` : text);

const patchOf = (row: Row): Patch => ({
  status: row.status,
  direction: row.direction,
  cursor: row.cursor,
  attempt: row.attempt,
  backTo: row.backTo,
  retries: row.retries,
  wakeAt: row.wakeAt,
  state: row.state,
  progress: row.progress,
  journal: row.journal,
  reason: row.reason,
  endedAt: row.endedAt,
});
