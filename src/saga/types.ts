// The saga core's words. A saga is a durable list of steps; each step has a `do` and an `undo`. This folder is pure: it
// knows nothing of servers, databases, time or I/O.
//
// Theory of operation. A row says which step is at the cursor and in which direction the saga goes. One write per step
// (`commit`) records the step's outcome and moves the cursor, guarded by owner and fence: if no row is updated, the
// lease was lost and the conductor stops silently. There is no "started" record: the undo of the step at the cursor
// runs whether or not its do has landed, so every undo accepts "it never happened" and every do "it already did".
// Up to the pivot a failing do turns the saga round; behind it the saga only goes forward. What may pass is then tried for
// ever, also in undoing; what is refused time after time makes the saga stuck, in either direction.
// A pivot that failed may have landed all the same, however definite its no was. So it is undone before all else, and that
// undo never takes the no for granted: it takes back what it finds, or says that it has `landed`, and the saga goes forward.
// A step may name an earlier one to retry from: then its failure undoes only what lies between, that step included, and
// the saga goes forward again from there, as often as the row's budget of retries allows. So a move tries another host.
// What can race: two conductors after a stall. The older one's commits update nothing, and its effects carry an older
// fence, which the other parties refuse.

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };
/** What the steps of a saga have found out so far; outputs of steps are merged into it. */
export type State = Readonly<Record<string, Json>>;

export type Direction = 'do' | 'undo';

export interface StepSpec {
  readonly name: string;
  /** How often `do` is tried before the saga turns round (before the pivot) or says it is stuck (behind it). */
  readonly attempts: number;
  /** Index of the step, this one or an earlier one, to go back to and forward again from when this one fails for good. */
  readonly retryFrom?: number;
}

export interface Definition {
  readonly name: string;
  /** Rows remember it: a row of an old version is finished by the old definition. */
  readonly version: number;
  /** What its key is the id of. Rows remember it, for those who know sagas by their rows alone. */
  readonly subject: string;
  readonly steps: readonly StepSpec[];
  /** Index of the step after which the saga only goes forward; -1: it only ever goes forward. Its undo makes sure. */
  readonly pivot: number;
  /** How many of its first steps are carried out by whoever creates it; absent: none. */
  readonly made?: number;
  /** Index of the step whose undo lets go of the key for others; absent: the first. */
  readonly hold?: number;
}

/** active: somebody has to go on with it. stuck: only an operator can. unwound: back as it was. */
export type Status = 'active' | 'done' | 'unwound' | 'stuck';

/** What became of one step, in one direction; failures of the same step in a row are one entry with a count. */
export interface Entry {
  readonly step: string;
  readonly direction: Direction;
  /** done, failed: what became of the step. The others: an operator's order, given while the step was at the cursor. */
  readonly outcome: 'done' | 'failed' | 'retried' | 'cancelled' | 'skipped';
  /** Milliseconds since the Unix epoch: when the first and the last attempt counted here ended. */
  readonly firstAt: number;
  readonly at: number;
  readonly attempts: number;
  /** How many of these attempts ended in a definite no; absent: none. */
  readonly refusals?: number;
  readonly note?: string;
  /** Of an order: who gave it. */
  readonly by?: string;
}

/**
 * What an operator may want of a saga that does not go on as it should. retry: the step at the cursor, now. cancel: turn
 * back. skip: take the step at which it is stuck for done; `step` is its name, typed as a confirmation.
 */
export type Order =
  | { readonly kind: 'retry' }
  | { readonly kind: 'cancel' }
  | { readonly kind: 'skip'; readonly step: string };

export interface Progress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface Row {
  readonly id: string;
  readonly definition: string;
  readonly version: number;
  readonly key: string;
  readonly status: Status;
  readonly direction: Direction;
  readonly cursor: number;
  readonly attempt: number;
  /** While undoing: index of the step that, once undone, is done again; null: everything is undone. */
  readonly backTo: number | null;
  /** How often it may still go back to an earlier step and forward again. */
  readonly retries: number;
  readonly wakeAt: number;
  readonly leaseUntil: number;
  readonly owner: string;
  readonly fence: number;
  readonly cancelRequested: boolean;
  readonly state: State;
  readonly progress: Progress | null;
  readonly journal: readonly Entry[];
  readonly reason: string | null;
  readonly requestId: string;
  readonly createdAt: number;
  readonly endedAt: number | null;
}

/** What running one step in one direction came to. A lost answer is none of these: the effect asks what is true first. */
export type Outcome =
  | { readonly kind: 'done'; readonly output?: State; readonly note?: string }
  | { readonly kind: 'pending'; readonly afterMs: number; readonly progress?: Progress }
  /** `final`: trying again would not help; `retriable` false: nor would it from an earlier step, if the step names one. */
  | { readonly kind: 'failed'; readonly reason: string; readonly final: boolean; readonly retriable?: false }
  /** Of the pivot's undo alone: it has happened, and is not taken back. The saga goes forward from there. */
  | { readonly kind: 'landed' }
  /** Some party has seen a newer fence: stop at once and touch nothing. */
  | { readonly kind: 'fenced' };

/** The part of a row that a commit writes. */
export type Patch = Pick<
  Row,
  | 'status'
  | 'direction'
  | 'cursor'
  | 'attempt'
  | 'backTo'
  | 'retries'
  | 'wakeAt'
  | 'state'
  | 'progress'
  | 'journal'
  | 'reason'
  | 'endedAt'
>;

export interface NewSaga {
  readonly id: string;
  readonly definition: Definition;
  readonly key: string;
  readonly state: State;
  /** How often it may go back to an earlier step and forward again; absent: never. */
  readonly retries?: number;
  readonly requestId: string;
}

/** The port to durable storage; six verbs. Leases and wake-ups use the store's own clock. */
export interface SagaStore {
  /** False when another saga with this key is still active. */
  create(saga: NewSaga): Promise<boolean>;
  /** The due saga that has waited longest, leased to `owner` under a new fence; null when none is due. */
  claim(owner: string, leaseMs: number): Promise<Claim | null>;
  /**
   * Null when the lease was lost. `leaseMs` 0 releases it. Where the patch overtakes what the row may have under way
   * (decide.ts), the row goes on under a new fence: what arrives late is then refused like a stranger's.
   */
  commit(row: Row, patch: Patch, leaseMs: number): Promise<Row | null>;
  /** Asks the active saga with this key to turn back if it still can. False when there is none. */
  requestCancel(key: string): Promise<boolean>;
  /**
   * Writes what an operator has ordered, under a new fence: whoever is at the saga is overtaken, and the next claim counts
   * as a takeover. False when the saga is no longer as it was read: then look again.
   */
  order(row: Row, patch: Patch, by: string): Promise<boolean>;
  /** When the next saga becomes due, ms since epoch; null: never. */
  nextDue(): Promise<number | null>;
}

export interface Claim {
  readonly row: Row;
  /** The former owner did not let go by itself: it may have died with an effect under way, or still be at it. */
  readonly takenOver: boolean;
}
