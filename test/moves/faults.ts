// Faults at one step of one saga, as a wrapper around the effects of moves.
import { moveEffects } from '../../src/moves/conductor.ts';
import type { Effects } from '../../src/saga/driver.ts';
import type { Direction, Row, StepSpec } from '../../src/saga/types.ts';
import { Crash, type World } from './world.ts';

/**
 * - `error`, `error-after`: the step fails for good, without effect or although it took effect;
 * - `passing`, `lost-reply`: it fails once, without effect or although it took effect, and is tried again;
 * - `twice`: its effect is had twice;
 * - `crash-before`, `crash-after`: the conductor dies before or after the effect, and another takes over;
 * - `zombie`: the conductor stalls before the effect, and wakes when another has finished everything.
 */
export const FAULTS = [
  'error',
  'error-after',
  'passing',
  'lost-reply',
  'twice',
  'crash-before',
  'crash-after',
  'zombie',
] as const;
export type Fault = (typeof FAULTS)[number];

export interface Target {
  readonly definition: string;
  readonly step: string;
  readonly direction: Direction;
}

export interface FaultyEffects extends Effects {
  /** Whether the fault has struck. */
  readonly struck: () => boolean;
  /** Has a stalled conductor go on with the effect that it was about to have. */
  readonly wake: () => Promise<void>;
}

export function faultyEffects(world: World, target: Target, fault: Fault): FaultyEffects {
  const effects = moveEffects(world.p);
  let struck = false;
  let stalled: (() => Promise<unknown>) | null = null;
  const isTarget = (row: Row, step: StepSpec, direction: Direction): boolean =>
    row.definition === target.definition && step.name === target.step && direction === target.direction;
  const failed = (final: boolean) => ({ kind: 'failed', reason: 'injected', final }) as const;
  return {
    ...effects,
    struck: () => struck,
    wake: async () => {
      await stalled?.();
    },
    async run(row, step, direction) {
      const act = () => effects.run(row, step, direction);
      // A step that only goes on failing is meant to turn its saga round; all other faults strike once.
      const goesOn = fault === 'error' || fault === 'error-after';
      if (!isTarget(row, step, direction) || (struck && !goesOn)) return act();
      if (fault === 'error' || fault === 'passing' || fault === 'crash-before' || fault === 'zombie') {
        struck = true;
        if (fault === 'zombie') stalled = act;
        if (fault === 'error') return failed(true);
        if (fault === 'passing') return failed(false);
        throw new Crash(fault);
      }
      const outcome = await act();
      if (outcome.kind === 'pending') return outcome;
      struck = true;
      switch (fault) {
        case 'error-after':
          return failed(true);
        case 'lost-reply':
          return failed(false);
        case 'twice':
          return act();
        case 'crash-after':
          throw new Crash(fault);
      }
    },
  };
}
