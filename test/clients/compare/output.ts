// What the outputs of one command in two deployments have to agree in: columns, or fields, and the kinds of their values.
// Values are not compared: ids, times and names differ by nature. Of what is no table it counts whether there is any.
import { isIP } from 'node:net';

/** Column or field, with the kinds of its values. */
export type Output = ReadonlyMap<string, ReadonlySet<string>>;

/** Of rows, or of one thing's fields, as a command prints them in JSON. */
export function outputOf(printed: unknown): Output {
  const kinds = new Map<string, Set<string>>();
  for (const row of [printed].flat()) {
    for (const [column, value] of Object.entries(row as object)) {
      const seen = kinds.get(column) ?? new Set();
      kinds.set(column, seen.add(kindOf(value)));
    }
  }
  return kinds;
}

/** Of text: the columns of a table as `nova` draws it, of no kind; otherwise one column for whether there is any. */
export function outputOfText(printed: string): Output {
  const [rule = '', header = ''] = printed.split('\n');
  if (!rule.startsWith('+-') || !header.startsWith('|'))
    return new Map([['text', new Set([printed.trim() === '' ? 'silence' : 'text'])]]);
  const columns = header.split('|').slice(1, -1);
  return new Map(columns.map((column) => [column.trim(), new Set(['nothing'])]));
}

function kindOf(value: unknown): string {
  if (value === null || value === '' || value === 'None') return 'nothing';
  if (Array.isArray(value)) return 'list';
  if (typeof value !== 'string') return typeof value;
  if (/^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$/.test(value)) return 'id';
  if (/^\d{4}-\d\d-\d\d[T ]\d\d:\d\d/.test(value)) return 'time';
  if (isIP(value)) return 'address';
  return /^-?[0-9.]+$/.test(value) ? 'number' : 'text';
}

/** Each in some words. A list that is empty on one side has no columns to compare, and an empty value is of any kind. */
export function differences(ours: Output, peer: Output): string[] {
  const found: string[] = [];
  if (ours.size === 0 || peer.size === 0) return found;
  for (const [column, kinds] of peer) {
    const mine = ours.get(column);
    if (!mine) found.push(`lacks ${column}`);
    else if (mine.isDisjointFrom(kinds) && !mine.has('nothing') && !kinds.has('nothing'))
      found.push(`${column} is ${[...mine].join('/')} instead of ${[...kinds].join('/')}`);
  }
  for (const column of ours.keys()) if (!peer.has(column)) found.push(`more: ${column}`);
  return found;
}
