// Faults that wait for the effects of steps, and strike them.
//
// One that is armed strikes the next effect that it is meant for, and is gone. A refusal stays: the step that it has struck
// is refused for good each time that it is tried, by whomever, until an operator has ordered something of its saga, also
// when the weather has cleared. So sagas come to be stuck. A refusal is of what can only be helped by an operator: an undo,
// or a step behind the pivot. Some have the effect all the same: those an operator who has looked may skip.
import { assertNever } from '../lib/errors.ts';
import { findMove } from '../moves/registry.ts';
import { hasHappened } from '../saga/decide.ts';
import type { Direction, Outcome, Row } from '../saga/types.ts';
import type { Aim, StepFault, Strike } from './plan.ts';
import type { Process } from './process.ts';
import { LEASE_MS } from './world.ts';

export interface ArmedFault {
  readonly fault: StepFault;
  readonly forMs: number;
  readonly aim: Aim | null;
  skip: number;
}

export interface ArmedRefusal {
  readonly landed: boolean;
  readonly aim: Aim | null;
  skip: number;
}

interface Refusal {
  readonly step: string;
  readonly direction: Direction;
  readonly landed: boolean;
}

/** An effect that somebody is about to have. */
interface Effect {
  readonly process: Process;
  readonly row: Row;
  readonly step: string;
  readonly direction: Direction;
  readonly act: () => Promise<Outcome>;
}

export interface FaultScene {
  /** `strike` strikes this effect: it is counted, and told. */
  struck(strike: Strike, effect: Pick<Effect, 'row' | 'step' | 'direction'>): void;
  kill(process: Process, forMs: number): void;
  pause(process: Process, forMs: number): void;
}

export class StepFaults {
  readonly #scene: FaultScene;
  readonly #armed: ArmedFault[] = [];
  readonly #refusing: ArmedRefusal[] = [];
  /** By saga. */
  readonly #refused = new Map<string, Refusal>();

  constructor(scene: FaultScene) {
    this.#scene = scene;
  }

  arm(fault: ArmedFault): void {
    this.#armed.push(fault);
  }

  armRefusal(refusal: ArmedRefusal): void {
    this.#refusing.push(refusal);
  }

  /** Nothing strikes any more; what is refused goes on being so. */
  disarm(): void {
    this.#armed.length = 0;
    this.#refusing.length = 0;
  }

  /** What is refused of this saga; undefined: nothing. */
  refusalOf(sagaId: string): Refusal | undefined {
    return this.#refused.get(sagaId);
  }

  /** Whether something is refused until an operator comes. */
  get isRefusing(): boolean {
    return this.#refused.size > 0;
  }

  /** An operator has seen to it. */
  relent(sagaId: string): void {
    this.#refused.delete(sagaId);
  }

  /** What comes of the effect: it is had, unless something strikes it. */
  async around(effect: Effect): Promise<Outcome> {
    const refusal = this.#refusalFor(effect);
    if (refusal) return refuse(refusal, effect);
    const armed = this.#armed.find(({ aim }) => isMeant(aim, effect));
    if (!armed) return effect.act();
    if (armed.skip > 0) {
      armed.skip -= 1;
      return effect.act();
    }
    return this.#strike(armed, effect);
  }

  #refusalFor(effect: Effect): Refusal | null {
    const { row, step, direction } = effect;
    const known = this.#refused.get(row.id);
    if (known) return known.step === step && known.direction === direction ? known : null;
    const armed = this.#refusing.find(({ aim }) => isMeant(aim, effect));
    if (!armed || !onlyAnOperatorHelps(row, direction)) return null;
    if (armed.skip > 0) {
      armed.skip -= 1;
      return null;
    }
    this.#refusing.splice(this.#refusing.indexOf(armed), 1);
    const refusal = { step, direction, landed: armed.landed };
    this.#refused.set(row.id, refusal);
    this.#scene.struck(armed.landed ? 'landed refusal' : 'refusal', effect);
    return refusal;
  }

  async #strike(armed: ArmedFault, effect: Effect): Promise<Outcome> {
    const { process, act } = effect;
    const strike = (): void => {
      this.#armed.splice(this.#armed.indexOf(armed), 1);
      this.#scene.struck(armed.fault, effect);
    };
    const failed = (final: boolean): Outcome => ({ kind: 'failed', reason: `injected ${armed.fault}`, final });
    switch (armed.fault) {
      case 'error':
      case 'passing':
        strike();
        return failed(armed.fault === 'error');
      case 'crash-before':
        strike();
        this.#scene.kill(process, armed.forMs);
        return new Promise(() => undefined);
      case 'stall':
        strike();
        this.#scene.pause(process, LEASE_MS + armed.forMs);
        return act();
      case 'error-after':
      case 'lost-reply':
      case 'twice':
      case 'crash-after': {
        const outcome = await act();
        // One that is pending has not happened yet; it may have struck another effect meanwhile.
        if (!hasHappened(outcome) || !this.#armed.includes(armed)) return outcome;
        strike();
        if (armed.fault === 'twice') return act();
        if (armed.fault !== 'crash-after') return failed(armed.fault === 'error-after');
        this.#scene.kill(process, armed.forMs);
        return new Promise(() => undefined);
      }
      default:
        return assertNever(armed.fault);
    }
  }
}

const isMeant = (aim: Aim | null, { row, step, direction }: Effect): boolean =>
  aim === null || (row.definition === aim.definition && step === aim.step && direction === aim.direction);

function onlyAnOperatorHelps(row: Row, direction: Direction): boolean {
  return direction === 'undo' || row.cursor > findMove(row.definition, row.version).definition.pivot;
}

async function refuse(refusal: Refusal, { act }: Effect): Promise<Outcome> {
  const refused = { kind: 'failed', reason: 'injected refusal', final: true } as const;
  if (!refusal.landed) return refused;
  const outcome = await act();
  return hasHappened(outcome) ? refused : outcome;
}
