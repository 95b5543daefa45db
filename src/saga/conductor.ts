// One conductor, without I/O: a generator that yields what it wants done and is told what came of it. The same code
// runs under the real driver and under the simulation. It works on one saga at a time until that saga ends, waits for
// long or while others want the conductor, or is lost to another conductor. It never ends by itself.
import { applyOutcome, decide, stopUnknown } from './decide.ts';
import type { Claim, Definition, Direction, Outcome, Patch, Row, StepSpec } from './types.ts';

export type Op =
  | { readonly op: 'claim' }
  /** Tell every party of this saga the new fence, before the first effect after a takeover. Answered with whether it is. */
  | { readonly op: 'raise'; readonly row: Row }
  | { readonly op: 'effect'; readonly row: Row; readonly step: StepSpec; readonly direction: Direction }
  | { readonly op: 'commit'; readonly row: Row; readonly patch: Patch; readonly release: boolean }
  | { readonly op: 'now' }
  /** Answered with whether every lane is taken, so that another saga may be waiting for this one. */
  | { readonly op: 'wanted' }
  | { readonly op: 'sleep'; readonly ms: number }
  /** Nothing is due: wait until there may be something. */
  | { readonly op: 'idle' }
  /** This saga has ended, or is stuck (and is committed so). */
  | { readonly op: 'ended'; readonly row: Row };

/**
 * Waits up to this long keep the lease and the conductor, unless the conductor is wanted; longer ones release the saga
 * until it is due. What takes an hour on a host is asked after every few hundred milliseconds: as many of these as there
 * are conductors must not hold up everybody else.
 */
const SHORT_WAIT_MS = 2000;
/** A fence that cannot be raised, for the home's database is down, is tried again so much later: others need the lanes. */
const RAISE_AGAIN_MS = 30_000;

export type Definitions = (name: string, version: number) => Definition | undefined;

// biome-ignore lint/suspicious/noExplicitAny: what is sent into the generator depends on the op it yielded
export type Conductor = Generator<Op, never, any>;

export function* conductor(definitions: Definitions): Conductor {
  for (;;) {
    const claim: Claim | null = yield { op: 'claim' };
    if (claim) yield* workOn(definitions, claim);
    else yield { op: 'idle' };
  }
}

// biome-ignore lint/suspicious/noExplicitAny: as above
function* workOn(definitions: Definitions, claim: Claim): Generator<Op, void, any> {
  let row = claim.row;
  const definition = definitions(row.definition, row.version);
  if (definition === undefined) {
    // The lease is kept: who goes on with it is then the next to take it over, and raises the fence everywhere.
    const stopped: Row | null = yield {
      op: 'commit',
      row,
      patch: stopUnknown(row, yield { op: 'now' }),
      release: false,
    };
    if (stopped) yield { op: 'ended', row: stopped };
    return;
  }
  if (claim.takenOver) {
    const raised: boolean = yield { op: 'raise', row };
    if (!raised) {
      const now: number = yield { op: 'now' };
      // The lease is kept: it runs out, and whoever comes next raises the fence.
      yield { op: 'commit', row, patch: { ...row, wakeAt: now + RAISE_AGAIN_MS }, release: false };
      return;
    }
  }
  for (;;) {
    const now: number = yield { op: 'now' };
    const decision = decide(definition, row, now);
    let patch: Patch;
    switch (decision.kind) {
      case 'ended':
        yield { op: 'ended', row };
        return;
      case 'wait': {
        const ms = decision.until - now;
        const letGo: boolean = ms > SHORT_WAIT_MS || (yield { op: 'wanted' });
        if (letGo) {
          yield { op: 'commit', row, patch: row, release: true };
          return;
        }
        yield { op: 'sleep', ms };
        continue;
      }
      case 'turn':
        patch = decision.patch;
        break;
      case 'run': {
        const outcome: Outcome = yield { op: 'effect', row, step: decision.step, direction: decision.direction };
        if (outcome.kind === 'fenced') return;
        patch = applyOutcome(definition, row, outcome, yield { op: 'now' });
        break;
      }
    }
    const committed: Row | null = yield { op: 'commit', row, patch, release: patch.status !== 'active' };
    if (!committed) return;
    row = committed;
  }
}
