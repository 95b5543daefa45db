// Runs Tempest's tests, as stestr does it, and reads what came of each.
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PACKAGES_DIRECTORY } from './install.ts';
import { type Outcome, outcomesOf, readList } from './outcomes.ts';
import { say } from './say.ts';
import type { Seeded } from './system.ts';
import { stestrConfig, tempestConfig } from './tempest-config.ts';

/** The files of tests, beside this one. */
export const LISTS = ['core', 'login', 'resize', 'rest', 'scenario'] as const;
export type ListName = (typeof LISTS)[number];

const RUN_LIMIT_MS = 2 * 3_600_000;
/** Limit of each test in seconds, and how many run at once: emulated guests boot slowly, and slower beside each other. */
const PACE = {
  simulated: { testLimitS: 300, atOnce: 4 },
  qemu: { testLimitS: 1800, atOnce: 1 },
} as const;

/** The tests of a list whose names contain one of `parts` (none: all). */
export async function testsOf(list: ListName, parts: readonly string[]): Promise<string[]> {
  const tests = readList(await readFile(join(import.meta.dirname, `${list}.txt`), 'utf8'));
  return tests.filter((test) => parts.length === 0 || parts.some((part) => test.includes(part)));
}

/** All tests of an area of Tempest's, such as tempest.api.identity, whose names contain one of `parts` (none: all). */
export async function testsIn(area: string, parts: readonly string[]): Promise<string[]> {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-tests-'));
  try {
    await writeFile(join(directory, '.stestr.conf'), stestrConfig(PACKAGES_DIRECTORY));
    const environment = withoutProxies(process.env);
    await stestr(['init'], directory, environment);
    const listed = await stestr(['list', area.replaceAll('.', String.raw`\.`)], directory, environment);
    const names = listed
      .split('\n')
      .flatMap((line) => (line.startsWith(`${area}.`) ? (line.split('[', 1)[0] ?? []) : []));
    return names.filter((test) => parts.length === 0 || parts.some((part) => test.includes(part)));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Runs the tests against the system; every line of stestr's is shown as it comes, without tracebacks. */
export async function runTempest(system: Seeded, tests: readonly string[]): Promise<Outcome[]> {
  const directory = join(system.directory, 'tempest');
  const pace = PACE[system.hypervisor];
  await mkdir(directory);
  const list = join(directory, 'tests.txt');
  // A test's name ends there, or has its attributes in brackets behind it.
  await writeFile(list, tests.map((test) => `${test.replaceAll('.', String.raw`\.`)}(\\[|$)\n`).join(''));
  await writeFile(join(directory, 'tempest.conf'), tempestConfig(system, directory));
  await writeFile(join(directory, '.stestr.conf'), stestrConfig(PACKAGES_DIRECTORY));
  const environment = {
    ...withoutProxies(process.env),
    TEMPEST_CONFIG_DIR: directory,
    TEMPEST_CONFIG: 'tempest.conf',
    OS_TEST_TIMEOUT: String(pace.testLimitS),
    PYTHONWARNINGS: 'ignore',
  };
  await stestr(['init'], directory, environment);
  const lanes = String(Math.min(availableParallelism(), pace.atOnce));
  const printed = await stestr(['run', '--concurrency', lanes, '--include-list', list], directory, environment);
  return outcomesOf(tests, printed);
}

/** All that it prints; it ends with 1 when a test fails, which is for the outcomes to tell. */
function stestr(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('stestr', args, { cwd, env, stdio: ['ignore', 'pipe', 'inherit'], timeout: RUN_LIMIT_MS });
    const printed: string[] = [];
    createInterface({ input: child.stdout }).on('line', (line) => {
      printed.push(line);
      if (line.startsWith('{')) say(line);
    });
    child.on('error', reject);
    child.on('close', () => resolve(printed.join('\n')));
  });
}

/** The system is on this machine: nothing of the way to it is a proxy's. */
export function withoutProxies(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !/_proxy$/i.test(name)));
}
