// The little language of extra specs: `<in> x`, `s== y`, `>= 4`, `<or> a <or> b`, or a plain value.
//
// Theory of operation. A requirement is compiled once per request into a predicate on one value, then asked for each
// host. Source: nova/scheduler/filters/extra_specs_ops.py, with one difference: where Nova would raise (a number that is
// none, an operator without operand) the requirement is simply not met.

/** A number as Python's float() reads it, finite ones only; null for anything else. */
export function parseNumber(text: string): number | null {
  if (!/^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i.test(text)) return null;
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}

type Compare = (value: string, operand: string) => boolean;

const numeric =
  (compare: (value: number, operand: number) => boolean): Compare =>
  (value, operand) => {
    const [a, b] = [parseNumber(value), parseNumber(operand)];
    return a !== null && b !== null && compare(a, b);
  };

const OPERATORS: ReadonlyMap<string, Compare> = new Map<string, Compare>([
  // A lone = means "at least", as it always has.
  ['=', numeric((a, b) => a >= b)],
  ['==', numeric((a, b) => a === b)],
  ['!=', numeric((a, b) => a !== b)],
  ['>=', numeric((a, b) => a >= b)],
  ['<=', numeric((a, b) => a <= b)],
  ['s==', (a, b) => a === b],
  ['s!=', (a, b) => a !== b],
  ['s<', (a, b) => a < b],
  ['s<=', (a, b) => a <= b],
  ['s>', (a, b) => a > b],
  ['s>=', (a, b) => a >= b],
  ['<in>', (a, b) => a.includes(b)],
]);

/** Compiles a requirement into a predicate on a value. */
export function compileRequirement(requirement: string): (value: string) => boolean {
  const words = requirement.split(/\s+/).filter((word) => word !== '');
  const [operator, first] = words;
  if (operator === '<or>') {
    // <or> a <or> b: every second word is a value.
    const values = words.filter((_, index) => index % 2 === 1);
    return (value) => values.includes(value);
  }
  if (operator === '<all-in>') {
    const values = words.slice(1);
    return (value) => values.length > 0 && values.every((word) => value.includes(word));
  }
  const compare = operator === undefined ? undefined : OPERATORS.get(operator);
  if (compare === undefined) return (value) => value === requirement;
  return first === undefined ? () => false : (value) => compare(value, first);
}
