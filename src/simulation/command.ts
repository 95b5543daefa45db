// `crosscell simulate`: schedules over a range of seeds, or one in full; exit status 1 when a violation was found.
import { availableParallelism } from 'node:os';
import { CASES, nameOf } from './aims.ts';
import type { Safety } from './safety.ts';
import { DEFAULT_SCENARIO, planFor, runOnce, type Scenario } from './scenario.ts';
import type { Progress } from './schedule.ts';
import { type Failure, type SearchResult, search } from './search.ts';
import { rangesOf } from './shrink.ts';

export interface SimulateOptions extends Scenario {
  readonly seed: number;
  readonly schedules: number;
  readonly threads: number | null;
  /** Of one schedule's events these alone, by their numbers. */
  readonly ops?: readonly number[];
  readonly trace: boolean;
  readonly json: boolean;
}

/** As they are given on the command line. */
export type SimulateFlags = Omit<SimulateOptions, 'hostsPerCell' | 'without' | 'threads'> & {
  readonly hostsPerCell?: number;
  readonly without?: Safety;
  readonly threads?: number;
};

const say = (text: string): void => void process.stdout.write(`${text}\n`);

export async function simulate(options: SimulateOptions): Promise<number> {
  if (options.schedules === 1) return simulateOne(options);
  const threads = options.threads ?? availableParallelism();
  const begun = performance.now();
  const result = await search(options, { first: options.seed, count: options.schedules }, threads);
  const seconds = (performance.now() - begun) / 1000;
  if (options.json) say(JSON.stringify(report(options, result, threads, seconds), null, 2));
  else printSearch(options, result, seconds);
  return result.failure === null ? 0 : 1;
}

/** How often a long simulation says how far it is. */
const PROGRESS_MS = 10_000;

/** Says now and then how far one schedule is, beside what it prints in the end. */
function progressTo(stream: NodeJS.WriteStream, events: number): (progress: Progress) => void {
  const begun = performance.now();
  let said = begun;
  return (progress) => {
    const now = performance.now();
    if (now - said < PROGRESS_MS) return;
    said = now;
    const [hours, megabytes] = [progress.virtualMs / 3_600_000, process.memoryUsage.rss() / 2 ** 20];
    stream.write(
      `${((now - begun) / 1000).toFixed(0)} s: ${hours.toFixed(1)} virtual hours, ${progress.events} of ${events} events, ${progress.steps} steps, ${megabytes.toFixed(0)} MiB\n`,
    );
  };
}

async function simulateOne(options: SimulateOptions): Promise<number> {
  const { seed, ops, trace, json } = options;
  const only = ops ?? null;
  const plan = planFor(options, seed, only);
  const begun = performance.now();
  const result = await runOnce(options, plan, progressTo(process.stderr, plan.events.length));
  const seconds = (performance.now() - begun) / 1000;
  // One that was shortened by hand is not shortened again.
  const failure =
    result.violations.length > 0 && only === null
      ? (await search(options, { first: seed, count: 1 }, 1)).failure
      : null;
  if (json) {
    const { digest, violations, counts, lines } = result;
    say(
      JSON.stringify(
        {
          ...{ seed, digest, seconds, violations, counts, events: plan.events.length },
          ...(failure === null ? {} : { failure: { ...failure, command: commandOf(options, failure) } }),
          ...(trace ? { trace: lines } : {}),
        },
        null,
        2,
      ),
    );
  } else {
    if (trace) for (const line of result.lines) say(line);
    const { requests, accepted, steps, faults, virtualMs } = result.counts;
    say(
      `seed ${seed}: ${requests} requests (${accepted} accepted), ${steps} steps, ${faults} faults in ${(virtualMs / 3_600_000).toFixed(2)} virtual hours; ${seconds.toFixed(1)} s; trace ${result.digest.slice(0, 16)}`,
    );
    for (const each of result.violations) say(`VIOLATION ${each}`);
    if (failure !== null) printFailure(options, failure);
    say(result.violations.length === 0 ? 'every move came to its end and every invariant held' : '');
  }
  return result.violations.length === 0 ? 0 : 1;
}

/** How many cases of a fault at a step of a move there are, how many came about, and which did not. */
function casesOf(struck: ReadonlySet<string>) {
  const missed = CASES.map(nameOf).filter((each) => !struck.has(each));
  return { cases: CASES.length, struck: CASES.length - missed.length, missed };
}

function report(
  options: SimulateOptions,
  { failure, moves, struck, ...result }: SearchResult,
  threads: number,
  seconds: number,
) {
  const { seed, without, servers, cells, conductors, hours, faults } = options;
  return {
    ...{ seed, without, servers, cells, conductors, hours, faults, threads, seconds },
    schedulesPerSecond: result.schedules / seconds,
    ...result,
    moves: [...moves].sort(),
    ...casesOf(struck),
    failure: failure && { ...failure, command: commandOf(options, failure) },
  };
}

function printSearch(options: SimulateOptions, result: SearchResult, seconds: number) {
  const { schedules, counts, digest, failure } = result;
  const { requests, accepted, steps, faults } = counts;
  say(
    `${schedules} schedules from seed ${options.seed} on: ${requests} requests (${accepted} accepted), ${steps} steps, ${faults} faults`,
  );
  say(
    `${seconds.toFixed(1)} s, ${(schedules / seconds).toFixed(1)} schedules per second; traces ${digest.slice(0, 16)}`,
  );
  const { cases, struck } = casesOf(result.struck);
  say(`${struck} of the ${cases} cases of a fault at a step of a move came about`);
  if (failure === null) say('every move came to its end and every invariant held');
  else printFailure(options, failure);
}

function printFailure(options: SimulateOptions, failure: Failure): void {
  const { seed, violations, events, shortest, trace } = failure;
  say(`seed ${seed} fails; ${shortest.length} of its ${events} events are enough:`);
  for (const line of trace) say(`  ${line}`);
  for (const each of violations) say(`VIOLATION ${each}`);
  say(`replay: ${commandOf(options, failure)}`);
}

/** The command that replays the shortest failure; options that are as by default are left out. */
function commandOf(options: SimulateOptions, { seed, shortest }: Failure): string {
  const given = (name: string, key: keyof Scenario): string[] =>
    options[key] === DEFAULT_SCENARIO[key] ? [] : [`--${name} ${options[key]}`];
  return [
    `bin/crosscell simulate --seed ${seed}`,
    ...given('servers', 'servers'),
    ...given('cells', 'cells'),
    ...given('hosts-per-cell', 'hostsPerCell'),
    ...given('conductors', 'conductors'),
    ...given('hours', 'hours'),
    ...given('faults', 'faults'),
    ...given('without', 'without'),
    `--ops ${rangesOf(shortest)} --trace`,
  ].join(' ');
}
