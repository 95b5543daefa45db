// Whether a check holds for an actor and what it acts on, and why.
//
// Theory of operation. Words on the left of a comparison are the actor's, %(words)s on the right the target's; a word
// that is not there makes its check fail, so that a rule about projects never holds for a target without one. The
// verdict is a tree of the checks that were looked at, each with whether it held; nothing is looked at that cannot
// change the answer. Rules are looked up by name and cannot go round in circles (see rules.ts).
import { type Check, NEVER } from './language.ts';

/** Who asks, in oslo.context's words. */
export interface Credentials {
  /** With all that they imply, in lower case. */
  readonly roles: ReadonlySet<string>;
  /** Such as user_id, project_id, is_admin; words with dots stand as they are. */
  readonly words: Readonly<Record<string, string>>;
}

/** What is acted on, in the service's words: project_id, user_id, visibility, … */
export type Target = Readonly<Record<string, string>>;

export interface Verdict {
  readonly check: Check;
  readonly holds: boolean;
  /** Of the parts that were looked at, in order. */
  readonly parts: readonly Verdict[];
}

export interface Question {
  readonly rules: ReadonlyMap<string, Check>;
  readonly credentials: Credentials;
  readonly target: Target;
}

export function judge(check: Check, question: Question): Verdict {
  switch (check.kind) {
    case 'always':
      return { check, holds: true, parts: [] };
    case 'never':
      return { check, holds: false, parts: [] };
    case 'not': {
      const part = judge(check.check, question);
      return { check, holds: !part.holds, parts: [part] };
    }
    case 'and':
      return chain(check, check.checks, question, false);
    case 'or':
      return chain(check, check.checks, question, true);
    case 'rule': {
      // oslo.policy falls back to the rule `default`, and without it to a no.
      const named = question.rules.get(check.name) ?? question.rules.get('default') ?? NEVER;
      const part = judge(named, question);
      return { check, holds: part.holds, parts: [part] };
    }
    case 'role': {
      const role = filled(check.role, question.target)?.toLowerCase();
      return { check, holds: role !== undefined && question.credentials.roles.has(role), parts: [] };
    }
    case 'compare':
      return { check, holds: compares(check.left, check.right, question), parts: [] };
    case 'field':
      return { check, holds: hasField(check.field, check.value, question.target), parts: [] };
  }
}

function chain(check: Check, checks: readonly Check[], question: Question, ends: boolean): Verdict {
  const parts: Verdict[] = [];
  for (const each of checks) {
    const part = judge(each, question);
    parts.push(part);
    if (part.holds === ends) return { check, holds: ends, parts };
  }
  return { check, holds: !ends, parts };
}

function compares(left: string, right: string, { credentials, target }: Question): boolean {
  const wanted = filled(right, target);
  const given = literalOf(left) ?? wordOf(credentials.words, left);
  return wanted !== undefined && given !== undefined && given === wanted;
}

/** Literals of Python, as oslo.policy reads them: quoted text, numbers, True, False, None. */
function literalOf(word: string): string | undefined {
  const quoted = /^(['"])(.*)\1$/.exec(word);
  if (quoted) return quoted[2];
  return /^(-?\d+|True|False|None)$/.test(word) ? word : undefined;
}

/** The text with the target's words in it; undefined when one of them is not there. */
function filled(text: string, target: Target): string | undefined {
  let missing = false;
  const result = text.replaceAll(/%\(([^)]*)\)s/g, (_all, word: string) => {
    const value = wordOf(target, word);
    missing ||= value === undefined;
    return value ?? '';
  });
  return missing ? undefined : result;
}

/** Neutron's FieldCheck: equal as text; behind ~ (a pattern in Neutron) the text that it begins with. */
function hasField(field: string, value: string, target: Target): boolean {
  const given = wordOf(target, field);
  if (given === undefined) return false;
  return value.startsWith('~') ? given.startsWith(value.slice(1).replace(/^\^/, '')) : given === value;
}

const wordOf = (words: Readonly<Record<string, string>>, word: string): string | undefined =>
  Object.hasOwn(words, word) ? words[word] : undefined;

/** The verdict for a person, a line per check, what it depends on indented below it. */
export function explain(verdict: Verdict, render: (check: Check) => string, depth = 0): string[] {
  const line = `${'  '.repeat(depth)}${verdict.holds ? 'yes' : 'no '}  ${render(verdict.check)}`;
  return [line, ...verdict.parts.flatMap((part) => explain(part, render, depth + 1))];
}
