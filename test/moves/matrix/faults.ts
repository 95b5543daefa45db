// Faults at one step of one saga. They stand around the step's effect (`Platform.around`), wherever it is had: by a
// conductor, or by the call of the API that begins the saga.
//
// A conductor that dies or stalls is one that says nothing more of its saga: the outcome `fenced`, upon which the core
// writes nothing. Its lease runs out, and whoever claims the saga then has taken it over.
import assert from 'node:assert/strict';
import type { Around } from '../../../src/control/platform.ts';
import { assertNever } from '../../../src/lib/errors.ts';
import { hasHappened } from '../../../src/saga/decide.ts';
import type { Direction, Outcome } from '../../../src/saga/types.ts';
import type { World } from '../world.ts';

/**
 * - `error`, `error-after`: the step is refused for good, without effect or although it took effect. Where that turns the
 *   saga round it strikes once; elsewhere again and again, until the operator who is called has removed the cause;
 * - `lost-call`, `lost-reply`: it fails once, without effect or although it took effect, and is tried again;
 * - `repeated`: its effect is had twice;
 * - `crash-before`, `crash-after`: whoever is at it dies before or after the effect, and another takes over;
 * - `stale`: whoever is at it stalls before the effect, and goes on with it when others have finished everything.
 */
export const STEP_FAULTS = [
  'error',
  'error-after',
  'lost-call',
  'lost-reply',
  'repeated',
  'crash-before',
  'crash-after',
  'stale',
] as const;
export type StepFault = (typeof STEP_FAULTS)[number];

/**
 * From just before the step on, for an hour: no host of the cell where the server was, or of the other cell, answers; or
 * that cell's database does not; or no storage host answers. `hosts-restart`: at that moment all machines restart, and no
 * guest runs any more.
 */
export const OUTAGES = [
  'source-hosts-gone',
  'target-hosts-gone',
  'source-cell-gone',
  'target-cell-gone',
  'storage-gone',
] as const;
export type Outage = (typeof OUTAGES)[number];

export const FAULTS = [...STEP_FAULTS, ...OUTAGES, 'hosts-restart'] as const;
export type Fault = (typeof FAULTS)[number];

export const OUTAGE_MS = 3_600_000;

export const isOutage = (fault: Fault): fault is Outage => OUTAGES.some((each) => each === fault);

export interface Target {
  readonly definition: string;
  readonly step: string;
  readonly direction: Direction;
}

/** One fault that waits for its step. */
export class Strike {
  readonly target: Target;
  readonly fault: Fault;
  struck = false;
  /** When the outage that it brought is over; null: none, or it is over. */
  until: number | null = null;
  /** When one began, if it has. */
  since: number | null = null;
  readonly #world: World;
  readonly #times: number;
  #count = 0;
  #stalled: (() => Promise<Outcome>) | null = null;

  /** `times`: how often an error strikes; everything else strikes once. */
  constructor(world: World, target: Target, fault: Fault, times = 1) {
    this.#world = world;
    this.target = target;
    this.fault = fault;
    this.#times = fault === 'error' || fault === 'error-after' ? times : 1;
  }

  /** The operator has removed the cause. */
  relent(): void {
    this.#count = this.#times;
  }

  /** Has a stalled conductor go on with the effect that it was about to have. */
  async wake(): Promise<void> {
    const stalled = this.#stalled;
    this.#stalled = null;
    try {
      await stalled?.();
    } catch {
      // What it throws is a failure to a conductor, and nobody waits for this one: its tests compare the world.
    }
  }

  /** Ends an outage whose time is over, or whatever its time (`now`). */
  async endOutage(now = this.#world.clock.now()): Promise<void> {
    if (this.until === null || now < this.until) return;
    this.until = null;
    this.#silence(this.fault, false);
  }

  readonly around: Around = async (row, step, direction, effect) => {
    const { target } = this;
    const meant = row.definition === target.definition && step === target.step && direction === target.direction;
    if (!meant || this.#count >= this.#times) return effect();
    const { fault } = this;
    switch (fault) {
      case 'error':
        this.#hit();
        return failed(true);
      case 'lost-call':
        this.#hit();
        return failed(false);
      case 'crash-before':
        this.#hit();
        return SILENT;
      case 'stale':
        this.#hit();
        this.#stalled = effect;
        return SILENT;
      case 'hosts-restart':
        this.#hit();
        for (const host of this.#world.hosts.values()) await host.reboot();
        for (const storage of this.#world.storage.values()) await storage.restartAgent();
        return effect();
      case 'source-hosts-gone':
      case 'target-hosts-gone':
      case 'source-cell-gone':
      case 'target-cell-gone':
      case 'storage-gone':
        this.#hit();
        this.since = this.#world.clock.now();
        this.until = this.since + OUTAGE_MS;
        this.#silence(fault, true);
        return effect();
      case 'error-after':
      case 'lost-reply':
      case 'repeated':
      case 'crash-after':
        return this.#after(fault, await effect(), effect);
      default:
        return assertNever(fault);
    }
  };

  /** What strikes behind the effect waits until the effect is done: one that is pending has not happened yet. */
  #after(
    fault: 'error-after' | 'lost-reply' | 'repeated' | 'crash-after',
    outcome: Outcome,
    effect: () => Promise<Outcome>,
  ): Outcome | Promise<Outcome> {
    if (!hasHappened(outcome)) return outcome;
    this.#hit();
    switch (fault) {
      case 'error-after':
        return failed(true);
      case 'lost-reply':
        return failed(false);
      case 'repeated':
        return effect();
      case 'crash-after':
        return SILENT;
      default:
        return assertNever(fault);
    }
  }

  #hit(): void {
    this.struck = true;
    this.#count += 1;
  }

  #silence(fault: Fault, begins: boolean): void {
    if (fault === 'storage-gone') {
      for (const storage of this.#world.storage.values()) {
        if (begins) storage.down();
        else storage.up();
      }
      return;
    }
    const cell = fault.startsWith('source') ? 'cell1' : 'cell2';
    if (fault.endsWith('cell-gone')) {
      if (begins) this.#world.cellsDown.add(cell);
      else this.#world.cellsDown.delete(cell);
      return;
    }
    for (const host of this.#world.hosts.values()) {
      if (host.cell !== cell) continue;
      if (begins) host.down();
      else host.up();
    }
  }
}

export const INJECTED = 'injected';
const failed = (final: boolean) => ({ kind: 'failed', reason: INJECTED, final }) as const;
const SILENT = { kind: 'fenced' } as const;

/** Has these faults wait for their steps, in this order where they wait for the same one. */
export function arm(world: World, strikes: readonly Strike[]): void {
  const platform = world.p as { -readonly [K in keyof World['p']]: World['p'][K] };
  assert(platform.around === undefined, 'one set of faults per world');
  platform.around = (row, step, direction, effect) =>
    strikes.reduceRight<() => Promise<Outcome>>(
      (inner, strike) => () => strike.around(row, step, direction, inner),
      effect,
    )();
}
