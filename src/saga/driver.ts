// The real driver: runs conductors over a store, with effects that do things. Holds no state of a saga: a process may
// die at any instruction and another goes on from the row.
import type { Clock } from '../lib/clock.ts';
import { assertNever, messageOf } from '../lib/errors.ts';
import { type Conductor, conductor, type Definitions, type Op } from './conductor.ts';
import type { Direction, Outcome, Row, SagaStore, StepSpec } from './types.ts';

/** What a saga's steps do. May throw: an unexpected error counts as a failure that may pass. */
export interface Effects {
  run(row: Row, step: StepSpec, direction: Direction): Promise<Outcome>;
  raise(row: Row): Promise<void>;
  ended(row: Row): Promise<void>;
  /** An error that no effect may throw into the void. */
  unexpected(row: Row | null, what: string, error: unknown): void;
}

export interface DriverOptions {
  readonly store: SagaStore;
  readonly effects: Effects;
  readonly definitions: Definitions;
  readonly clock: Clock;
  /** Names this process; every lane adds its number. */
  readonly owner: string;
  /** How many sagas are worked on at a time. */
  readonly lanes: number;
  readonly leaseMs: number;
  /** Without a nudge, the store is asked for due work this often. */
  readonly idleMs: number;
}

export interface RunningDriver {
  /** There may be work. */
  nudge(): void;
  /** Stops after the effects under way. */
  stop(): Promise<void>;
}

export function startDriver(options: DriverOptions): RunningDriver {
  const stopping = new AbortController();
  const gate = new Gate();
  const lanes = Array.from({ length: options.lanes }, (_, lane) => runLane(options, lane, gate, stopping.signal));
  const polling = pollForWork(options, gate, stopping.signal);
  return {
    nudge: () => gate.open(),
    async stop() {
      stopping.abort();
      gate.openForAll();
      await Promise.all([...lanes, polling]);
    },
  };
}

/** Lets one waiter through per opening; an opening with nobody waiting is kept for the next. */
class Gate {
  private readonly waiters: (() => void)[] = [];
  private opened = false;
  private forAll = false;

  /** Whether anybody waits. */
  get waitedAt(): boolean {
    return this.waiters.length > 0;
  }

  open(): void {
    const first = this.waiters.shift();
    if (first) first();
    else this.opened = true;
  }

  openForAll(): void {
    this.forAll = true;
    for (const waiter of this.waiters.splice(0)) waiter();
  }

  async pass(): Promise<void> {
    if (this.forAll) return;
    if (this.opened) {
      this.opened = false;
      return;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.waiters.push(resolve);
    await promise;
  }
}

async function pollForWork({ clock, idleMs }: DriverOptions, gate: Gate, stopping: AbortSignal): Promise<void> {
  while (!stopping.aborted) {
    await clock.sleep(idleMs, stopping);
    gate.open();
  }
}

async function runLane(options: DriverOptions, lane: number, gate: Gate, stopping: AbortSignal): Promise<void> {
  const owner = `${options.owner}/${lane}`;
  let generator: Conductor = conductor(options.definitions);
  let answer: unknown;
  while (!stopping.aborted) {
    try {
      const { value: op } = generator.next(answer);
      answer = await carryOut(options, owner, op, gate, stopping);
    } catch (error) {
      // The store cannot be reached, or a defect: this lane drops its saga, whose lease runs out, and starts anew.
      options.effects.unexpected(null, `conductor ${owner}`, error);
      generator = conductor(options.definitions);
      answer = undefined;
      await options.clock.sleep(options.idleMs, stopping);
    }
  }
}

async function carryOut(
  options: DriverOptions,
  owner: string,
  op: Op,
  gate: Gate,
  stopping: AbortSignal,
): Promise<unknown> {
  const { store, effects, clock, leaseMs } = options;
  switch (op.op) {
    case 'claim': {
      const claim = await store.claim(owner, leaseMs);
      if (claim) gate.open(); // where one is due there may be another
      return claim;
    }
    case 'raise':
      // Hosts that do not answer take their time: without the lease the next conductor would take over before this one
      // has begun, and so on for ever.
      return withLease(options, op.row, () => raiseOrNot(effects, op.row));
    case 'effect':
      return withLease(options, op.row, () => runEffect(effects, op.row, op.step, op.direction));
    case 'commit':
      return store.commit(op.row, op.patch, op.release ? 0 : leaseMs);
    case 'ended':
      return effects.ended(op.row);
    case 'now':
      return clock.now();
    case 'wanted':
      return !gate.waitedAt;
    case 'sleep':
      return clock.sleep(op.ms, stopping);
    case 'idle':
      return gate.pass();
    default:
      return assertNever(op);
  }
}

async function runEffect(effects: Effects, row: Row, step: StepSpec, direction: Direction): Promise<Outcome> {
  try {
    return await effects.run(row, step, direction);
  } catch (error) {
    effects.unexpected(row, `${direction} ${step.name}`, error);
    return { kind: 'failed', reason: messageOf(error), final: false };
  }
}

async function raiseOrNot(effects: Effects, row: Row): Promise<boolean> {
  try {
    await effects.raise(row);
    return true;
  } catch (error) {
    effects.unexpected(row, 'fencing at a takeover', error);
    return false;
  }
}

/** Why a renewal ends. Without a reason each abort would make an error, with its stack. */
const OVER = 'the effect is over';

/** Renews the lease while an effect runs: effects take seconds at most, leases last longer, so this rarely writes. */
async function withLease<T>(options: DriverOptions, row: Row, work: () => Promise<T>): Promise<T> {
  const { store, clock, leaseMs, effects } = options;
  const over = new AbortController();
  const renewing = (async () => {
    for (;;) {
      await clock.sleep(leaseMs / 3, over.signal);
      if (over.signal.aborted) return;
      try {
        // Lost: nothing more to renew; the commit behind the effect will find out and stop.
        if ((await store.commit(row, row, leaseMs)) === null) return;
      } catch (error) {
        // Nobody awaits this before the effect has ended, so it must not reject; there are two more tries in a lease.
        effects.unexpected(row, 'renewing the lease', error);
      }
    }
  })();
  try {
    return await work();
  } finally {
    over.abort(OVER);
    await renewing;
  }
}
