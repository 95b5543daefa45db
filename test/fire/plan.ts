// Which part is killed at which step: the cases of the campaign, and a sample of them by seed. Pure.
//
// Not every part is there at every step: a source's QEMU is gone behind `stop source`, a target's is there from within
// `start target` on. What is not there cannot be killed, so these pairs are no cases.
import { ROLES } from '../../src/moves/places.ts';
import { RESIZE } from '../../src/moves/resize.ts';
import type { Dice } from '../../src/simulation/dice.ts';

export const VICTIMS = [
  'conductor',
  'source agent',
  'target agent',
  'source QEMU',
  'target QEMU',
  "volume's daemon",
  'storage agent',
] as const;
export type Victim = (typeof VICTIMS)[number];

/** When, seen from the effect of the step. */
export const MOMENTS = ['before', 'within'] as const;
export type Moment = (typeof MOMENTS)[number];

export interface Case {
  readonly victim: Victim;
  readonly step: string;
  readonly moment: Moment;
  /** `within`: so long after the effect began, ms; what the step makes is killed so long after it has come. */
  readonly afterMs: number;
}

export const STEPS: readonly string[] = RESIZE.steps.map(({ step }) => step);

/** Every case for a server on its host's disk, or on a volume. */
export function allCases(backing: 'image' | 'volume', dice: Dice): Case[] {
  const cases: Case[] = [];
  for (const step of STEPS) {
    for (const victim of VICTIMS) {
      for (const moment of MOMENTS) {
        if (isThere(victim, step, moment, backing)) cases.push({ victim, step, moment, afterMs: dice(120) });
      }
    }
  }
  return cases;
}

function isThere(victim: Victim, step: string, moment: Moment, backing: 'image' | 'volume'): boolean {
  const at = STEPS.indexOf(step);
  switch (victim) {
    case 'source QEMU':
      return at <= STEPS.indexOf('stop source');
    case 'target QEMU':
      return at > STEPS.indexOf('start target') || isBorn(victim, step, moment);
    case "volume's daemon":
    case 'storage agent':
      return backing === 'volume';
    case 'conductor':
    case 'source agent':
    case 'target agent':
      return ROLES['resize']?.[step] !== undefined;
    default: {
      const never: never = victim;
      return never;
    }
  }
}

/** Whether the step itself makes what is to be killed within it. */
export const isBorn = (victim: Victim, step: string, moment: Moment): boolean =>
  victim === 'target QEMU' && step === 'start target' && moment === 'within';

/** So many cases by chance, each victim about as often as the others, in an order by chance. */
export function sample(cases: readonly Case[], count: number, dice: Dice): Case[] {
  const left = shuffled(cases, dice);
  const taken: Case[] = [];
  while (taken.length < count && left.length > 0) {
    for (const victim of shuffled(VICTIMS, dice)) {
      const index = left.findIndex((each) => each.victim === victim);
      if (index >= 0 && taken.length < count) taken.push(...left.splice(index, 1));
    }
  }
  return taken;
}

export function shuffled<T>(items: readonly T[], dice: Dice): T[] {
  return items
    .map((item) => ({ item, key: dice(2 ** 30) }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}
