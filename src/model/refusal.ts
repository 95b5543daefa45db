// Refusals: the expected "no" of a rule, as a value.
//
// Theory of operation. A rule is a pure function that answers null (nothing against it) or a Refusal. Rules know no
// HTTP: `code` is the status that OpenStack gives the refusal, `message` is the sentence that the user reads. The API
// renders both unchanged; sagas that meet a refusal record the message.
import type { Refusal } from './types.ts';

export type { Refusal };

export const refuse = (code: Refusal['code'], message: string): Refusal => ({ code, message });
export const badRequest = (message: string): Refusal => refuse(400, message);
export const forbidden = (message: string): Refusal => refuse(403, message);
export const notFound = (message: string): Refusal => refuse(404, message);
export const conflict = (message: string): Refusal => refuse(409, message);

/** A refusal as one kind of a use case's results. */
export interface Refused {
  readonly kind: 'refused';
  readonly refusal: Refusal;
}
export const refused = (refusal: Refusal): Refused => ({ kind: 'refused', refusal });

/**
 * The first refusal of a list of checks, in their order; null when all pass. A check may be a thunk, so that later,
 * dearer checks run only when the earlier ones passed.
 */
export function firstRefusal(...checks: readonly (Refusal | null | (() => Refusal | null))[]): Refusal | null {
  for (const check of checks) {
    const refusal = typeof check === 'function' ? check() : check;
    if (refusal !== null) return refusal;
  }
  return null;
}
