// The shortest list that still fails: delta debugging (Zeller's ddmin) over a list of numbers.
//
// It leaves out ever smaller parts and keeps what still fails, until no single one can be left out, or until it has
// tried enough: a long list takes longer to try than a short one, so that what it may try is counted in numbers. It
// draws no lots: the same list and the same test give the same answer.

/**
 * @param all a list for which `fails` answers true
 * @param budget how many numbers all lists that it tries may have together
 */
export async function shrink(
  all: readonly number[],
  fails: (some: readonly number[]) => Promise<boolean>,
  budget: number,
): Promise<readonly number[]> {
  let kept = all;
  let parts = 2;
  let left = budget;
  while (kept.length > 1 && left > 0) {
    const size = Math.ceil(kept.length / parts);
    let shorter: readonly number[] | null = null;
    for (let from = 0; from < kept.length && left > 0; from += size) {
      const rest = [...kept.slice(0, from), ...kept.slice(from + size)];
      left -= rest.length;
      if (rest.length > 0 && (await fails(rest))) {
        shorter = rest;
        break;
      }
    }
    if (shorter !== null) {
      kept = shorter;
      parts = Math.max(2, parts - 1);
    } else if (size === 1) return kept;
    else parts = Math.min(kept.length, parts * 2);
  }
  return kept;
}

/** 1, 2, 3, 7 is written 1-3,7. */
export function rangesOf(numbers: readonly number[]): string {
  const parts: string[] = [];
  for (let from = 0; from < numbers.length; ) {
    let to = from;
    while (numbers[to + 1] === (numbers[to] ?? 0) + 1) to += 1;
    parts.push(from === to ? `${numbers[from]}` : `${numbers[from]}-${numbers[to]}`);
    from = to + 1;
  }
  return parts.join(',');
}

/** `--ops` names events that the plan does not have. */
export class NoSuchEvents extends Error {
  override readonly name = 'NoSuchEvents';
}

/** What rangesOf has written; null when it is something else. */
export function numbersOf(ranges: string): readonly number[] | null {
  const numbers: number[] = [];
  for (const part of ranges.split(',')) {
    const match = /^([0-9]{1,6})(?:-([0-9]{1,6}))?$/.exec(part);
    if (!match) return null;
    const [from, to] = [Number(match[1]), Number(match[2] ?? match[1])];
    if (from > to) return null;
    for (let number = from; number <= to; number += 1) numbers.push(number);
  }
  return numbers;
}
