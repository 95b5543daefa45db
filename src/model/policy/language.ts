// The check language of oslo.policy: `rule:admin_only or (role:member and project_id:%(project_id)s)`.
//
// Theory of operation. A check is parsed once into a tree and judged as often as wanted; both are total: whatever the
// text, parsing answers with a tree or with what is wrong, and never throws. Words are parted by blanks; brackets stick
// to them; `not` binds closer than `and`, `and` closer than `or`, any letter case. The empty text and `@` always hold,
// `!` never does. The form of lists in lists is the old one: or over ands.
// Source: oslo.policy, _parser.py and _checks.py. Its `http:` checks are refused: nobody out there is asked here.

export type Check =
  | { readonly kind: 'always' }
  | { readonly kind: 'never' }
  | { readonly kind: 'not'; readonly check: Check }
  | { readonly kind: 'and'; readonly checks: readonly Check[] }
  | { readonly kind: 'or'; readonly checks: readonly Check[] }
  /** What another rule says. */
  | { readonly kind: 'rule'; readonly name: string }
  /** The actor has the role; compared without regard to case. */
  | { readonly kind: 'role'; readonly role: string }
  /** `left` is a word of the actor (user_id) or a literal ('public'); `right` text, or %(word)s of the target. */
  | { readonly kind: 'compare'; readonly left: string; readonly right: string }
  /** field:<resource>:<word>=<value>: the target's word has this value; a value that begins with ~ is a pattern. */
  | { readonly kind: 'field'; readonly resource: string; readonly field: string; readonly value: string };

export type Parsed =
  | { readonly kind: 'ok'; readonly check: Check }
  | { readonly kind: 'bad'; readonly complaint: string };

export const MAX_CHECK_LENGTH = 10_000;
const MAX_DEPTH = 50;

export const ALWAYS: Check = { kind: 'always' };
export const NEVER: Check = { kind: 'never' };
const bad = (complaint: string): Parsed => ({ kind: 'bad', complaint });
const ok = (check: Check): Parsed => ({ kind: 'ok', check });

/** Parses what stands behind a rule's name: text, or lists in the old form. Never throws. */
export function parseCheck(value: unknown): Parsed {
  if (Array.isArray(value)) return parseLists(value);
  if (typeof value !== 'string') return bad('a check is text, or a list of lists of text');
  if (value.length > MAX_CHECK_LENGTH) return bad(`a check has at most ${MAX_CHECK_LENGTH} characters`);
  const words = wordsOf(value);
  if (words.length === 0) return ok(ALWAYS);
  const reader = new Reader(words);
  const parsed = reader.or(0);
  if (parsed.kind === 'bad') return parsed;
  const left = reader.peek();
  return left === undefined ? parsed : bad(`'${left}' is not expected there`);
}

/** Brackets stand for themselves unless they belong to a %(word)s. */
function wordsOf(text: string): string[] {
  return text.split(/\s+/).flatMap((piece) => {
    if (piece === '') return [];
    const opening = piece.match(/^\(*/)?.[0].length ?? 0;
    const rest = piece.slice(opening);
    const closing = rest.match(/\)*$/)?.[0].length ?? 0;
    const word = rest.slice(0, rest.length - closing);
    return [...'('.repeat(opening), ...(word === '' ? [] : [word]), ...')'.repeat(closing)];
  });
}

class Reader {
  readonly #words: readonly string[];
  #at = 0;
  constructor(words: readonly string[]) {
    this.#words = words;
  }

  peek(): string | undefined {
    return this.#words[this.#at];
  }

  or(depth: number): Parsed {
    return this.#chain('or', () => this.and(depth));
  }

  and(depth: number): Parsed {
    return this.#chain('and', () => this.not(depth));
  }

  #chain(kind: 'and' | 'or', next: () => Parsed): Parsed {
    const checks: Check[] = [];
    do {
      const parsed = next();
      if (parsed.kind === 'bad') return parsed;
      checks.push(parsed.check);
    } while (this.#took(kind));
    const [only] = checks;
    return ok(checks.length === 1 && only ? only : { kind, checks });
  }

  not(depth: number): Parsed {
    if (depth > MAX_DEPTH) return bad(`checks are in each other at most ${MAX_DEPTH} deep`);
    if (this.#took('not')) {
      const parsed = this.not(depth + 1);
      return parsed.kind === 'bad' ? parsed : ok({ kind: 'not', check: parsed.check });
    }
    if (!this.#took('(')) return this.#single();
    const parsed = this.or(depth + 1);
    if (parsed.kind === 'bad' || this.#took(')')) return parsed;
    return bad("a ')' is missing");
  }

  #single(): Parsed {
    const word = this.peek();
    if (word === undefined) return bad('the check ends too soon');
    if (word === ')' || isOperator(word)) return bad(`'${word}' is not expected there`);
    this.#at += 1;
    return parseWord(word);
  }

  #took(word: string): boolean {
    if (this.peek()?.toLowerCase() !== word) return false;
    this.#at += 1;
    return true;
  }
}

const isOperator = (word: string): boolean => /^(and|or|not)$/i.test(word);

function parseWord(word: string): Parsed {
  if (word === '@') return ok(ALWAYS);
  if (word === '!') return ok(NEVER);
  const [kind = '', ...others] = word.split(':');
  const match = others.join(':');
  if (others.length === 0) return bad(`'${word}' is neither @ nor ! nor of the form kind:match`);
  switch (kind) {
    case 'rule':
      return ok({ kind: 'rule', name: match });
    case 'role':
      return ok({ kind: 'role', role: match });
    case 'http':
    case 'https':
      return bad(`'${word}' would ask somebody over the network, which is not supported`);
    case 'field': {
      const parts = /^([^:]+):(.+?)=(.*)$/.exec(match);
      const [, resource = '', field = '', value = ''] = parts ?? [];
      return parts ? ok({ kind: 'field', resource, field, value }) : bad(`'${word}' is not field:resource:word=value`);
    }
    default:
      return ok({ kind: 'compare', left: kind, right: match });
  }
}

/** The old form: [["role:admin"], ["role:member", "project_id:%(project_id)s"]]; an empty list always holds. */
function parseLists(lists: readonly unknown[]): Parsed {
  if (lists.length === 0) return ok(ALWAYS);
  const checks: Check[] = [];
  for (const inner of lists) {
    const words: unknown[] = Array.isArray(inner) ? inner : [inner];
    if (words.length === 0) continue;
    const all: Check[] = [];
    for (const word of words) {
      if (typeof word !== 'string' || word.length > MAX_CHECK_LENGTH) return bad('lists hold checks as text');
      const parsed = parseWord(word.trim());
      if (parsed.kind === 'bad') return parsed;
      all.push(parsed.check);
    }
    const [only] = all;
    checks.push(all.length === 1 && only ? only : { kind: 'and', checks: all });
  }
  const [only] = checks;
  if (!only) return ok(NEVER);
  return ok(checks.length === 1 ? only : { kind: 'or', checks });
}

/** The check as text, which parses to the same check again. */
export function renderCheck(check: Check): string {
  switch (check.kind) {
    case 'always':
      return '@';
    case 'never':
      return '!';
    case 'rule':
      return `rule:${check.name}`;
    case 'role':
      return `role:${check.role}`;
    case 'compare':
      return `${check.left}:${check.right}`;
    case 'field':
      return `field:${check.resource}:${check.field}=${check.value}`;
    case 'not':
      return `not ${within(check.check)}`;
    case 'and':
    case 'or':
      return check.checks.map(within).join(` ${check.kind} `);
  }
}

const within = (check: Check): string =>
  check.kind === 'and' || check.kind === 'or' ? `(${renderCheck(check)})` : renderCheck(check);

/** The rules that a check names. */
export function rulesIn(check: Check): readonly string[] {
  switch (check.kind) {
    case 'rule':
      return [check.name];
    case 'not':
      return rulesIn(check.check);
    case 'and':
    case 'or':
      return check.checks.flatMap(rulesIn);
    case 'always':
    case 'never':
    case 'role':
    case 'compare':
    case 'field':
      return [];
  }
}
