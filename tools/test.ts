// All tests, as one command: node tools/test.ts [--no-check] [--check-only] [--limit-s N] [--root DIR] [PATH...]
//
// First the linter and the type check, which count as a test each, then every *.test.ts of the project under
// node:test, in a process of its own. A file that passes says one line; a failure is told with its place, its
// reason and what the file printed. The last line is exactly "N passed, N failed, N skipped"; status 1 when one
// failed. PATH narrows it down: only test files below one of these paths, and no checks.
//
// As many files run at once as there are processors, at most 4. Beside them runs one of those with real parts as long
// as there are others: they wait much of their time, for guests, servers and each other. A file that takes longer than
// its limit is killed with all that it started (its process group), and fails; so does a file that ends badly after its
// last test, or has no test in it. --root takes another directory than the project's, so that this program can be tested
// itself.
import { execFile, spawn } from 'node:child_process';
import { glob, mkdtemp, readFile, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { parseArgs } from 'node:util';
import type { Outcome } from './test-reporter.ts';

const REPORTER = join(import.meta.dirname, 'test-reporter.ts');
const PROCESS = join(import.meta.dirname, 'test-process.ts');
/** In this order: real parts and whole systems first, and last what takes a second, so that nobody waits at the end. */
const PARTS = ['test', 'guest', 'tools', 'bench', 'src'];
/** Where tests wait for real parts. */
const REAL_PARTS = ['demo', 'fire', 'guest', 'postgres', 'qemu', 'up'].map((part) => join('test', part, sep));
const CHECK_LIMIT_MS = 180_000;
const MAX_LIMIT_MS = 24 * 3_600_000;
const MAX_AT_ONCE = 4;
const MAX_KEPT_OUTPUT = 16_384;
const KILL_GRACE_MS = 2_000;

type Counts = { passed: number; failed: number; skipped: number };
type Check = { readonly name: string; readonly program: string; readonly args: readonly string[] };

const CHECKS: readonly Check[] = [
  { name: 'lint', program: 'biome', args: ['check', '--max-diagnostics=50', '.'] },
  { name: 'types', program: 'tsc', args: ['--noEmit', '-p', '.'] },
  { name: 'types of the pages', program: 'tsc', args: ['--noEmit', '-p', 'src/api/console/page'] },
];

function runCheck(root: string, check: Check): Promise<boolean> {
  const program = join(root, 'node_modules', '.bin', check.program);
  const options = { cwd: root, timeout: CHECK_LIMIT_MS, maxBuffer: 64 * 1024 * 1024 };
  return new Promise((done) => {
    execFile(program, [...check.args], options, (error, stdout, stderr) => {
      console.log(`${error === null ? 'ok  ' : 'FAIL'} ${check.name}`);
      if (error !== null) console.log(`${stdout}${stderr}`.trimEnd() || error.message);
      done(error === null);
    });
  });
}

async function testFiles(root: string, paths: readonly string[]): Promise<string[]> {
  const wanted = paths.map((path) => resolve(path));
  const files: string[] = [];
  for (const part of PARTS) {
    const found: string[] = [];
    for await (const path of glob(`${part}/**/*.test.ts`, { cwd: root, exclude: ['**/node_modules/**'] })) {
      found.push(join(root, path));
    }
    files.push(...found.sort());
  }
  if (wanted.length === 0) return files;
  return files.filter((file) => wanted.some((want) => file === want || file.startsWith(want + sep)));
}

type Ended = { readonly how: string | undefined; readonly output: string };

/** Process groups of the files that run, so that an interrupted run leaves nothing behind. */
const running = new Set<number>();

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    // ESRCH: the group has ended by itself, which is what is wanted.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/** Runs one test file to its end or its limit. `how` says what was bad about the end, if anything. */
function runFile(root: string, file: string, events: string, limitMs: number): Promise<Ended> {
  const args = ['--disable-warning=ExperimentalWarning', '--import', PROCESS, '--test-reporter', REPORTER];
  const child = spawn(process.execPath, [...args, '--test-reporter-destination', events, file], {
    cwd: root,
    // Files of one run share what Node.js makes of the modules that they load.
    env: { ...process.env, NODE_COMPILE_CACHE: join(dirname(events), 'compiled') },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const { pid } = child;
  let output = '';
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString('utf8')).slice(-MAX_KEPT_OUTPUT);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  if (pid !== undefined) running.add(pid);
  return new Promise((done) => {
    let late = false;
    const limit = setTimeout(() => {
      late = true;
      if (pid === undefined) return;
      killGroup(pid, 'SIGTERM');
      setTimeout(() => killGroup(pid, 'SIGKILL'), KILL_GRACE_MS);
    }, limitMs);
    const finish = (how: string | undefined): void => {
      clearTimeout(limit);
      if (pid !== undefined) {
        running.delete(pid);
        // What the file left running goes with it.
        killGroup(pid, 'SIGKILL');
      }
      done({ how: late ? `it did not end within ${limitMs / 1000} s and was killed` : how, output });
    };
    child.on('error', (error) => finish(error.message));
    // "exit" and not "close": a process left behind may hold the pipes open for ever.
    child.on('exit', (code, signal) => finish(code === 0 ? undefined : `it ended with ${signal ?? `status ${code}`}`));
  });
}

function indented(text: string, by: string): string {
  return text.replaceAll(/^/gm, by);
}

/** Counts a file's outcomes and says how it went. */
function account(name: string, outcomes: readonly Outcome[], ended: Ended, seconds: string, counts: Counts): void {
  const failures = outcomes
    .filter((outcome) => !outcome.passed)
    .map(({ path, line, reason }) => `  ${path.join(' > ')} (${name}:${line ?? '?'})\n${indented(reason, '    ')}`);
  // A bad end counts only where no test failed: a failed test makes the file's status bad by itself.
  const badEnd =
    failures.length > 0 ? undefined : (ended.how ?? (outcomes.length === 0 ? 'it has no tests' : undefined));
  if (badEnd !== undefined) failures.push(`  the file as a whole: ${badEnd}`);

  const skips = outcomes.filter((outcome) => outcome.skipped !== undefined);
  counts.failed += failures.length;
  counts.skipped += skips.length;
  counts.passed += outcomes.filter((outcome) => outcome.passed && outcome.skipped === undefined).length;

  const tests = outcomes.length === 1 ? '1 test' : `${outcomes.length} tests`;
  console.log(`${failures.length === 0 ? 'ok  ' : 'FAIL'} ${name} (${tests}, ${seconds} s)`);
  for (const { path, skipped } of skips) console.log(`  skipped: ${path.join(' > ')}${skipped ? `: ${skipped}` : ''}`);
  if (failures.length === 0) return;
  for (const failure of failures) console.log(failure);
  const output = ended.output.trim();
  if (output !== '') console.log(`  what it printed last:\n${indented(output, '    ')}`);
}

async function readOutcomes(events: string): Promise<Outcome[]> {
  // Not there when the file died before its first test, which its end tells.
  const text = await readFile(events, 'utf8').catch(() => '');
  // A file that was killed may have left half a line.
  const lines = text.split('\n').slice(0, -1);
  return lines.map((line): Outcome => JSON.parse(line));
}

async function runFiles(root: string, files: readonly string[], limitMs: number, counts: Counts): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'crosscell-tests-'));
  const isReal = (file: string): boolean => REAL_PARTS.some((part) => file.startsWith(join(root, part)));
  const [real, others] = [files.filter(isReal), files.filter((file) => !isReal(file))];
  let begun = 0;
  const lane = async (next: () => string | undefined): Promise<void> => {
    for (let file = next(); file !== undefined; file = next()) {
      begun += 1;
      const events = join(work, `${begun}.ndjson`);
      const startedAt = performance.now();
      const ended = await runFile(root, file, events, limitMs);
      const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
      account(relative(root, file), await readOutcomes(events), ended, seconds, counts);
    }
  };
  const lanes = Math.min(MAX_AT_ONCE, availableParallelism(), files.length);
  await Promise.all([
    lane(() => (others.length > 0 ? real.shift() : undefined)),
    ...Array.from({ length: lanes }, () => lane(() => others.shift() ?? real.shift())),
  ]);
  await rm(work, { recursive: true });
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: {
      'no-check': { type: 'boolean', default: false },
      'check-only': { type: 'boolean', default: false },
      'limit-s': { type: 'string', default: '600' },
      root: { type: 'string', default: join(import.meta.dirname, '..') },
    },
    allowPositionals: true,
  });
  const root = resolve(values.root);
  const limitMs = Number(values['limit-s']) * 1000;
  if (!(limitMs > 0 && limitMs <= MAX_LIMIT_MS)) throw new Error('--limit-s must be a number of seconds, up to a day');
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  if (!values['no-check'] && positionals.length === 0) {
    for (const check of CHECKS) counts[(await runCheck(root, check)) ? 'passed' : 'failed'] += 1;
  }
  if (!values['check-only']) {
    const files = await testFiles(root, positionals);
    if (files.length === 0) {
      console.log('FAIL there is no test file here');
      counts.failed += 1;
    }
    await runFiles(root, files, limitMs, counts);
  }
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts.failed === 0 ? 0 : 1;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    for (const pid of running) killGroup(pid, 'SIGKILL');
    process.exit(130);
  });
}
process.exitCode = await main();
