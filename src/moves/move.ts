// How a move is written down: a table of steps, each with its do and its undo, over a typed state.
//
// The table is both the definition that the saga core works with and the effects that its steps have. A `do` may find
// that it already did, an `undo` that there is nothing to undo: both are repeated after crashes. A step makes one
// external effect. `undo` is a sentence instead of a function where nothing needs undoing: it says why. The pivot's undo is
// never one: whatever the pivot reported, its undo looks, and takes it back or says that it has `landed`.
import type { Logger } from 'pino';
import type { Platform } from '../control/platform.ts';
import type { Host } from '../host/contract.ts';
import { invariant } from '../lib/errors.ts';
import type { Definition, Direction, Outcome, Row, State } from '../saga/types.ts';
import type { StorageHost } from '../storage/contract.ts';

/** Who acts, or whose a server is. */
export interface Owner {
  readonly userId: string;
  readonly projectId: string;
}

/** Where a guest is or is to be. */
export interface Place {
  readonly cellId: string;
  readonly host: string;
  readonly zone: string;
}

/**
 * Like the core's outcome, with the output typed as a part of the move's state. `absent`: it failed because the host does
 * not have what it was to work on.
 */
export type StepOutcome<S> =
  | { readonly kind: 'done'; readonly output?: Partial<S>; readonly note?: string }
  | (Extract<Outcome, { readonly kind: 'failed' }> & { readonly absent?: true })
  | Exclude<Outcome, { readonly kind: 'done' | 'failed' }>;

export interface StepContext<S> {
  readonly p: Platform;
  readonly saga: Row;
  /** What the move has found out so far. */
  readonly s: S;
  /** The saga's fence, newer with every claim, every turn and every try: every effect carries it. */
  readonly generation: number;
  readonly serverId: string;
  readonly log: Logger;
  host(name: string): Promise<Host>;
  storage(name: string): Promise<StorageHost>;
}

export type Effect<S> = (c: StepContext<S>) => Promise<StepOutcome<S>>;

export interface MoveStep<S> {
  readonly step: string;
  readonly do: Effect<S>;
  readonly undo: Effect<S> | string;
  /** How often `do` is tried; see saga/types.ts. */
  readonly attempts?: number;
  /** Name of the step to go back to and forward again from when `do` has failed for good; see saga/types.ts. */
  readonly retryFrom?: string;
}

export interface Move<S> {
  readonly name: string;
  readonly version: number;
  /** What it works on: its saga's key is the id of that. Absent: a server. */
  readonly subject?: 'volume';
  /** The step after which there is only forward. */
  readonly pivot: string;
  /** How many of its first steps the transaction that makes its saga carries out; absent: none. */
  readonly made?: number;
  readonly steps: readonly MoveStep<S>[];
  /** Hosts that hear of a new generation before a conductor that took over does anything. */
  readonly parties: (state: S) => readonly (string | null | undefined)[];
}

/** A move with its state's type forgotten, as the registry holds it. */
export interface AnyMove {
  readonly definition: Definition;
  run(c: StepContext<State>, step: string, direction: Direction): Promise<Outcome>;
  parties(state: State): readonly string[];
}

const ATTEMPTS = 4;

export const definitionOf = <S>(move: Move<S>): Definition => {
  const pivot = move.steps.findIndex((each) => each.step === move.pivot);
  invariant(pivot >= 0, `${move.name}: no step '${move.pivot}' to be the pivot`);
  invariant(typeof move.steps[pivot]?.undo === 'function', `${move.name}: the pivot's undo must make sure`);
  return {
    name: move.name,
    version: move.version,
    subject: move.subject ?? 'server',
    steps: move.steps.map(({ step, attempts, retryFrom }, index) => ({
      name: step,
      attempts: attempts ?? ATTEMPTS,
      ...(retryFrom === undefined ? {} : { retryFrom: earlierStep(move, index, retryFrom) }),
    })),
    pivot,
    made: move.made ?? 0,
    // A server is taken hold of behind what the transaction of the request has done; a volume is with it.
    hold: move.subject === 'volume' ? 0 : (move.made ?? 0),
  };
};

function earlierStep<S>(move: Move<S>, index: number, name: string): number {
  const found = move.steps.findIndex((each) => each.step === name);
  invariant(found >= 0 && found <= index, `${move.name}: no step '${name}' before its step ${index}`);
  return found;
}

export function anyMove<S>(move: Move<S>): AnyMove {
  return {
    definition: definitionOf(move),
    async run(c, stepName, direction) {
      const step = move.steps.find((each) => each.step === stepName);
      invariant(step, `${move.name}: no step '${stepName}'`);
      const effect = direction === 'do' ? step.do : step.undo;
      if (typeof effect === 'string') return { kind: 'done', note: effect };
      // The state is what earlier steps of this very table have put out, read back from JSON.
      return (await effect(c as unknown as StepContext<S>)) as Outcome;
    },
    parties: (state) => move.parties(state as unknown as S).filter((host) => typeof host === 'string'),
  };
}
