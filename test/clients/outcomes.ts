// What stestr prints, as outcomes; a list of tests, as text; a table of both. Pure.

export type Verdict = 'passed' | 'failed' | 'skipped';

export interface Outcome {
  /** The full name of the test. */
  readonly test: string;
  readonly verdict: Verdict;
  /** Why it was skipped, or the last line of what went wrong. */
  readonly reason: string;
}

/** A file of tests: a class, and below it, indented, its tests. `#` begins a comment. */
export function readList(text: string): string[] {
  let group = '';
  return text.split('\n').flatMap((line) => {
    if (line.trim() === '' || line.startsWith('#')) return [];
    if (line.startsWith(' ')) return [`${group}.${line.trim()}`];
    group = line.trim();
    return [];
  });
}

const LINE =
  /^\{\d+\} (?:(setUpClass|tearDownClass) \((\S+)\)|(\S+))(?: \[[^\]]*\])? \.\.\. (ok|FAILED|SKIPPED)(?:: (.*))?$/;
const VERDICTS = { ok: 'passed', FAILED: 'failed', SKIPPED: 'skipped' } as const;

interface Seen {
  readonly name: string;
  /** Of the class alone; a class that does not get up counts for each of its tests. */
  readonly setUp: boolean;
  readonly verdict: Verdict;
  reason: string;
}

/**
 * One outcome for every test that was wanted. One of a class that did not get up has the class's; one that never ran has
 * failed.
 */
export function outcomesOf(wanted: readonly string[], printed: string): Outcome[] {
  const seen: Seen[] = [];
  let failed: Seen | null = null;
  for (const line of printed.split('\n')) {
    const match = LINE.exec(line);
    if (!match) {
      if (/^Captured pythonlogging/.test(line)) failed = null;
      const said = line.startsWith('Details:') ? line : unquoted(line);
      if (failed && said !== '') failed.reason = said;
      continue;
    }
    const [, hook, group = '', test = '', word = 'ok', reason = ''] = match;
    failed = null;
    if (hook === 'tearDownClass') continue;
    const verdict = VERDICTS[word as keyof typeof VERDICTS];
    const one = { name: hook === undefined ? test : group, setUp: hook !== undefined, verdict, reason };
    seen.push(one);
    if (verdict === 'failed') failed = one;
  }
  const tests = new Map(seen.filter((each) => !each.setUp).map((each) => [each.name, each]));
  const classes = new Map(seen.filter((each) => each.setUp).map((each) => [each.name, each]));
  return wanted.map((test) => {
    const found = tests.get(test) ?? classes.get(classOf(test));
    return { test, verdict: found?.verdict ?? 'failed', reason: found?.reason ?? 'it never ran' };
  });
}

/** Tracebacks are indented; older versions show their lines as Python's byte strings. */
const unquoted = (line: string): string => /^ {4}(?:b['"](.*)['"]|(.*))$/.exec(line)?.slice(1).join('').trim() ?? '';

export const classOf = (test: string): string => test.slice(0, test.lastIndexOf('.'));

export const countOf = (outcomes: readonly Outcome[], verdict: Verdict): number =>
  outcomes.filter((each) => each.verdict === verdict).length;

/** By class: how many passed, failed, were skipped. Then each failure, and each reason to skip. */
export function table(outcomes: readonly Outcome[]): string {
  const classes = Map.groupBy(outcomes, (each) => classOf(each.test).replace(/^tempest\.(api\.)?/, ''));
  const width = Math.max(...[...classes.keys()].map((name) => name.length), 5);
  const row = (name: string, ...cells: readonly (string | number)[]): string =>
    `${name.padEnd(width)}${cells.map((cell) => String(cell === 0 ? '' : cell).padStart(9)).join('')}`;
  const verdicts = ['passed', 'failed', 'skipped'] as const;
  const rows = [...classes].map(([name, those]) => row(name, ...verdicts.map((verdict) => countOf(those, verdict))));
  const failures = outcomes.filter((each) => each.verdict === 'failed');
  const skips = Map.groupBy(
    outcomes.filter((each) => each.verdict === 'skipped'),
    (each) => each.reason,
  );
  return [
    row('class', ...verdicts),
    ...rows,
    ...failures.map(({ test, reason }) => `FAILED ${test}\n       ${reason.slice(0, 300)}`),
    ...[...skips].map(([reason, those]) => `skipped ${those.length}: ${reason.slice(0, 200)}`),
  ].join('\n');
}
