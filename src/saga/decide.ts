// The whole statechart of a saga as two pure, total functions: what to do next, and what an outcome changes.
import { assertNever, invariant } from '../lib/errors.ts';
import type { Definition, Direction, Entry, Outcome, Patch, Row, StepSpec } from './types.ts';

export type Decision =
  | { readonly kind: 'run'; readonly step: StepSpec; readonly direction: Direction }
  | { readonly kind: 'wait'; readonly until: number }
  | { readonly kind: 'turn'; readonly patch: Patch }
  | { readonly kind: 'ended' };

/** Failed steps are tried again after 200 ms, doubling up to a minute. */
const BACKOFF_FIRST_MS = 200;
const BACKOFF_MOST_MS = 60_000;
const backoff = (attempt: number): number => Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 20));

const REASON_LENGTH = 2000;

export const CANCELLED = 'cancelled on request';

/** What to do next with this row at this time. */
export function decide(definition: Definition, row: Row, now: number): Decision {
  if (row.status !== 'active') return { kind: 'ended' };
  // At the pivot itself the single write may already have landed: only before it a wish to turn back is granted.
  if (row.cancelRequested && row.direction === 'do' && row.cursor < definition.pivot) {
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
      const failed = { ...patch, progress: null, journal: withFailure(row, step, outcome.reason, now) };
      const retry = { ...failed, attempt: row.attempt + 1, wakeAt: now + backoff(row.attempt) };
      const reason = shorten(`${step.name}: ${outcome.reason}`);
      const spent = outcome.final || row.attempt + 1 >= step.attempts;
      if (row.direction === 'undo') return retry;
      if (row.cursor < definition.pivot) return spent ? { ...failed, ...turnRound(reason) } : retry;
      // The pivot's write may have landed although it reported failure, so only a definite no turns the saga round.
      if (row.cursor === definition.pivot) return outcome.final ? { ...failed, ...turnRound(reason) } : retry;
      return outcome.final && row.attempt + 1 >= step.attempts ? { ...failed, status: 'stuck', reason } : retry;
    }
    default:
      return assertNever(outcome);
  }
}

function advance(definition: Definition, row: Row, now: number): Pick<Patch, 'cursor' | 'status' | 'endedAt'> {
  const next = row.direction === 'do' ? row.cursor + 1 : row.cursor - 1;
  if (next === definition.steps.length) return { cursor: row.cursor, status: 'done', endedAt: now };
  if (next === -1) return { cursor: row.cursor, status: 'unwound', endedAt: now };
  return { cursor: next, status: 'active', endedAt: null };
}

const turnRound = (reason: string): Pick<Patch, 'direction' | 'attempt' | 'wakeAt' | 'reason' | 'progress'> => ({
  direction: 'undo',
  attempt: 0,
  wakeAt: 0,
  reason,
  progress: null,
});

function withFailure(row: Row, step: StepSpec, reason: string, now: number): readonly Entry[] {
  const last = row.journal.at(-1);
  const again = last?.outcome === 'failed' && last.step === step.name && last.direction === row.direction;
  const entry: Entry = {
    step: step.name,
    direction: row.direction,
    outcome: 'failed',
    firstAt: again ? last.firstAt : now,
    at: now,
    attempts: again ? last.attempts + 1 : 1,
    note: shorten(reason),
  };
  return [...(again ? row.journal.slice(0, -1) : row.journal), entry];
}

const shorten = (text: string): string => (text.length > REASON_LENGTH ? `${text.slice(0, REASON_LENGTH)}…` : text);

const patchOf = (row: Row): Patch => ({
  status: row.status,
  direction: row.direction,
  cursor: row.cursor,
  attempt: row.attempt,
  wakeAt: row.wakeAt,
  state: row.state,
  progress: row.progress,
  journal: row.journal,
  reason: row.reason,
  endedAt: row.endedAt,
});
