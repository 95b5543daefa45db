// The reporter that tools/test.ts gives to each test file: one JSON object per outcome, one per line.
import type { TestEvent } from 'node:test/reporters';

/** One outcome of one test, as tools/test.ts reads it. */
export type Outcome = {
  /** The names of the suites and tests around it, and its own. */
  readonly path: readonly string[];
  readonly passed: boolean;
  /** Why it was left out, when it was. */
  readonly skipped: string | undefined;
  readonly line: number | undefined;
  /** Of a failure: what was thrown, with its stack. */
  readonly reason: string;
};

/** The runner wraps what a test threw; the reader wants what was thrown, and the project's lines of its stack. */
function reasonOf(error: Error): string {
  const thrown = error.cause ?? error;
  if (!(thrown instanceof Error)) return String(thrown);
  const lines = (thrown.stack ?? thrown.message).split('\n');
  return lines.filter((line) => !/^\s+at .*(node:|node_modules)/.test(line)).join('\n');
}

function skipReason(skip: string | boolean | undefined, todo: string | boolean | undefined): string | undefined {
  const mark = skip ?? todo;
  if (mark === undefined || mark === false) return undefined;
  return typeof mark === 'string' ? mark : '';
}

/** Suites are no tests, unless one is left out whole; what fails only because a part of it failed was told already. */
function outcomeOf(event: TestEvent, names: readonly string[]): Outcome | undefined {
  if (event.type === 'test:pass') {
    const skipped = skipReason(event.data.skip, event.data.todo);
    if (event.data.details.type === 'suite' && skipped === undefined) return undefined;
    return { path: names, passed: true, skipped, line: event.data.line, reason: '' };
  }
  if (event.type !== 'test:fail') return undefined;
  const { error } = event.data.details;
  if ('failureType' in error && error.failureType === 'subtestsFailed') return undefined;
  const skipped = skipReason(event.data.skip, event.data.todo);
  return { path: names, passed: skipped !== undefined, skipped, line: event.data.line, reason: reasonOf(error) };
}

/** An event's place among the tests around it: the runner tells starts and ends in order, parts inside wholes. */
async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const names: string[] = [];
  for await (const event of events) {
    if (event.type === 'test:start') {
      names.length = event.data.nesting;
      names.push(event.data.name);
    }
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    const path = [...names.slice(0, event.data.nesting), event.data.name];
    const outcome = outcomeOf(event, path);
    if (outcome !== undefined) yield `${JSON.stringify(outcome)}\n`;
  }
}

// biome-ignore lint/style/noDefaultExport: node:test takes a reporter only as a module's default export
export default report;
