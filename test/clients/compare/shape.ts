// What two answers to the same request have to agree in: status, headers that clients read, the keys of the body, and
// the words of an error. Values are not compared: ids, times and names differ by nature.
import type { Answer } from './cloud.ts';

/** How an answer looks. */
export interface Shape {
  readonly status: number;
  /** Names of headers that matter and are there, `vary` with its value. */
  readonly headers: readonly string[];
  /** Paths of all keys of the body: `servers[].links[].rel`. */
  readonly keys: readonly string[];
  /** An error's sentence, ids left out; null: no error. */
  readonly message: string | null;
}

const HEADERS = [
  'location',
  'openstack-api-version',
  'retry-after',
  'x-compute-request-id',
  'x-openstack-nova-api-version',
  'x-openstack-request-id',
  'x-subject-token',
];
const DEPTH = 8;
/** A shorter value, such as the id of a flavor, is in too many sentences by chance. */
const SHORTEST_NAME = 6;
/** Below these keys users and operators choose the keys. */
const FREE = new Set([
  ...['metadata', 'addresses', 'extra_specs', 'properties', 'meta', 'volume_image_metadata', 'os-extended-volumes'],
  ...['cpu_info', 'image_properties'],
]);

export function shapeOf(answer: Answer, names: ReadonlyMap<string, string>): Shape {
  const keys = new Set<string>();
  collect(answer.json, '', keys, 0);
  return {
    status: answer.status,
    headers: HEADERS.filter((name) => answer.headers.has(name)),
    keys: [...keys].sort(),
    message: answer.status >= 400 ? neutral(messageIn(answer.json) ?? '', names) : null,
  };
}

function collect(value: unknown, path: string, into: Set<string>, depth: number): void {
  if (depth > DEPTH) return;
  if (Array.isArray(value)) {
    for (const each of value) collect(each, `${path}[]`, into, depth + 1);
    if (value.some((each) => typeof each !== 'object')) into.add(`${path}[]`);
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, each] of Object.entries(value)) {
      const below = path === '' ? key : `${path}.${key}`;
      into.add(below);
      if (!FREE.has(key)) collect(each, below, into, depth + 1);
    }
  }
}

/** The first sentence that an error body has, whichever service's form it is in. */
function messageIn(json: unknown): string | null {
  if (typeof json !== 'object' || json === null) return null;
  for (const [key, value] of Object.entries(json)) {
    if (key === 'message' && typeof value === 'string') return value;
    const inner = messageIn(value);
    if (inner !== null) return inner;
  }
  return null;
}

/** The text with everything replaced that is another one's in another deployment. `names`: by value. */
export function neutral(text: string, names: ReadonlyMap<string, string>): string {
  let result = text;
  const longestFirst = [...names].sort(([a], [b]) => b.length - a.length);
  for (const [value, name] of longestFirst)
    if (value.length >= SHORTEST_NAME) result = result.replaceAll(value, `{${name}}`);
  return result
    .replaceAll(/req-[0-9a-f-]{36}/g, '<request>')
    .replaceAll(/[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}/g, '<uuid>')
    .replaceAll(/\b[0-9a-f]{32}\b/g, '<id>')
    .replaceAll(/\s+/g, ' ')
    .trim();
}

/** Sentences, one for each point in which ours differs from the peer's; none: they agree. */
export function differences(ours: Shape, peer: Shape): string[] {
  const found: string[] = [];
  if (ours.status !== peer.status) found.push(`status ${ours.status} instead of ${peer.status}`);
  const lists = [
    ['header', ours.headers, peer.headers],
    // The keys of an error in one form and of an answer in another say nothing that the status has not said.
    ...(ours.status === peer.status ? [['key', ours.keys, peer.keys] as const] : []),
  ] as const;
  for (const [what, mine, theirs] of lists) {
    const missing = outsideEmptyLists(theirs, mine).filter((each) => !mine.includes(each));
    const more = outsideEmptyLists(mine, theirs).filter((each) => !theirs.includes(each));
    if (missing.length > 0) found.push(`lacks ${what} ${missing.join(', ')}`);
    if (more.length > 0) found.push(`more: ${what} ${more.join(', ')}`);
  }
  if (ours.message !== peer.message) found.push(`says "${ours.message ?? ''}" instead of "${peer.message ?? ''}"`);
  return found;
}

/** Without the keys of a list's items where the other has the list and nothing in it: it says nothing of them. */
const outsideEmptyLists = (keys: readonly string[], other: readonly string[]): string[] =>
  keys.filter((key) => {
    const lists = [...key.matchAll(/\[\]/g)].map(({ index }) => key.slice(0, index));
    return !lists.some((list) => other.includes(list) && !other.some((each) => each.startsWith(`${list}[]`)));
  });
