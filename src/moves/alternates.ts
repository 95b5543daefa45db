// Another host, when the chosen one does not do.
//
// A move that places a guest has steps that the chosen host alone decides. When one of them fails for good, the saga goes
// back to the step that chose (`retryFrom` in its table) and forward again, at most `scheduler.max_attempts` times in
// all. Undoing the choice writes down the host and the reason, and the next choice leaves that host out. The choice is
// made anew each time, not taken from a list made at first: a copy may have lasted for hours, and what the hosts have
// room for now is known.
import type { StepContext, StepOutcome } from './move.ts';

/** A host that was chosen and did not do. */
export interface Tried {
  readonly host: string;
  readonly cellId: string;
  /** `<step>: <reason>` */
  readonly reason: string;
}

/** What undoing a choice puts out: remembered as tried when another is to be made, else nothing. */
export function givenUp(
  c: StepContext<{ readonly tried?: readonly Tried[] }>,
  place: { readonly host: string; readonly cellId: string } | null,
): readonly Tried[] {
  const tried = c.s.tried ?? [];
  if (c.saga.backTo === null || place === null) return tried;
  return [...tried, { host: place.host, cellId: place.cellId, reason: c.saga.reason ?? '' }];
}

export const triedHosts = (s: { readonly tried?: readonly Tried[] }): readonly string[] =>
  (s.tried ?? []).map((each) => each.host);

/** No host (any more): says of each that was tried why it did not do. */
export function noHost(
  s: { readonly tried?: readonly Tried[] },
  reason: string,
): Extract<StepOutcome<never>, { kind: 'failed' }> {
  const tried = (s.tried ?? []).map((each) => `${each.host} (${each.reason})`).join('; ');
  return { kind: 'failed', reason: tried === '' ? reason : `${reason} Tried before: ${tried}.`, final: true };
}
