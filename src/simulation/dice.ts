// Chance that repeats: the same numbers for the same seed, everywhere.

/** A number from 0 to `sides` - 1. */
export type Dice = (sides: number) => number;

/** Mulberry32. `stream` names what the dice are for: two streams of one seed have nothing to do with each other. */
export function diceOf(seed: number, stream = ''): Dice {
  let state = seed >>> 0;
  for (const letter of stream) state = Math.imul(state ^ (letter.codePointAt(0) ?? 0), 0x9e3779b1) >>> 0;
  return (sides) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % sides;
  };
}

/** One of them. @throws when there is none */
export function pick<T>(dice: Dice, from: readonly T[]): T {
  const one = from[dice(from.length)];
  if (one === undefined) throw new Error('there is nothing to choose from');
  return one;
}

const hex = (dice: Dice, digits: number): string => {
  let text = '';
  for (let left = digits; left > 0; left -= 4) text += dice(0x10000).toString(16).padStart(4, '0');
  return text;
};

/** UUIDs (of version 4, by their looks) from these dice. */
export const uuidsOf =
  (dice: Dice): (() => string) =>
  () =>
    `${hex(dice, 8)}-${hex(dice, 4)}-4${hex(dice, 4).slice(1)}-8${hex(dice, 4).slice(1)}-${hex(dice, 12)}`;
