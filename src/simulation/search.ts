// The search: one schedule per seed, over a range of seeds, on as many threads as wanted, until one fails.
//
// Theory of operation. Threads are given parts of the range in order, and each answers with what came of its part. When
// one has failed no further part is given out; all parts before it have been, so the lowest failing seed is the same
// however many threads there are. So is the digest, which is made of those of the parts in their order.
import { createHash } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { invariant } from '../lib/errors.ts';
import { openStage, planFor, type Scenario } from './scenario.ts';
import type { Counts } from './schedule.ts';
import { shrink } from './shrink.ts';
import type { Stage } from './stage.ts';

/** Schedules that a thread is given at a time. */
const PART = 25;
/** Events that all runs of shrinking a failing schedule may have together. */
const SHRINKING_EVENTS = 20_000;

export interface Part {
  readonly first: number;
  readonly count: number;
}

export interface PartResult extends Part {
  /** Those that were run: up to and with the first that failed. */
  readonly schedules: number;
  readonly failed: number | null;
  readonly counts: Counts;
  /** Which moves there were, by the names of their definitions. */
  readonly moves: ReadonlySet<string>;
  /** What has struck which steps of them, as struckName says it. */
  readonly struck: ReadonlySet<string>;
  readonly digest: string;
}

export interface Failure {
  readonly seed: number;
  readonly violations: readonly string[];
  /** How many events the whole plan has. */
  readonly events: number;
  /** The numbers of those that are enough to make it fail. */
  readonly shortest: readonly number[];
  /** Trace of the shortest. */
  readonly trace: readonly string[];
}

export interface SearchResult {
  /** How many schedules were run; up to and with the one that failed. */
  readonly schedules: number;
  readonly counts: Counts;
  /** Which moves there were, by the names of their definitions. */
  readonly moves: ReadonlySet<string>;
  /** What has struck which steps of them, as struckName says it. */
  readonly struck: ReadonlySet<string>;
  readonly digest: string;
  readonly failure: Failure | null;
}

const NOTHING: Counts = { requests: 0, accepted: 0, steps: 0, faults: 0, virtualMs: 0 };

const sum = (a: Counts, b: Counts): Counts => ({
  requests: a.requests + b.requests,
  accepted: a.accepted + b.accepted,
  steps: a.steps + b.steps,
  faults: a.faults + b.faults,
  virtualMs: a.virtualMs + b.virtualMs,
});

/** Runs a part of a search on this thread. */
export async function runPart(stage: Stage, scenario: Scenario, part: Part): Promise<PartResult> {
  const hash = createHash('sha256');
  let counts = NOTHING;
  let moves: ReadonlySet<string> = new Set();
  const struck = new Set<string>();
  for (let done = 0; done < part.count; done += 1) {
    const seed = part.first + done;
    const result = await stage.run(planFor(scenario, seed));
    counts = sum(counts, result.counts);
    moves = moves.union(result.moves);
    for (const each of result.struck) struck.add(each);
    hash.update(result.digest);
    if (result.violations.length > 0) {
      return { ...part, schedules: done + 1, failed: seed, counts, moves, struck, digest: hash.digest('hex') };
    }
  }
  return { ...part, schedules: part.count, failed: null, counts, moves, struck, digest: hash.digest('hex') };
}

/**
 * Runs the schedules of `count` seeds from `first` on, until one fails; that one is shrunk.
 * @param onProgress told how many have been run so far
 */
export async function search(
  scenario: Scenario,
  range: Part,
  threads: number,
  onProgress: (schedules: number) => void = () => undefined,
): Promise<SearchResult> {
  const parts = await runAll(scenario, range, threads, onProgress);
  const hash = createHash('sha256');
  let schedules = 0;
  let counts = NOTHING;
  let moves: ReadonlySet<string> = new Set();
  const struck = new Set<string>();
  for (const part of parts) {
    schedules += part.schedules;
    counts = sum(counts, part.counts);
    moves = moves.union(part.moves);
    for (const each of part.struck) struck.add(each);
    hash.update(part.digest);
    if (part.failed !== null) {
      return {
        schedules,
        counts,
        moves,
        struck,
        digest: hash.digest('hex'),
        failure: await explain(scenario, part.failed),
      };
    }
  }
  return { schedules, counts, moves, struck, digest: hash.digest('hex'), failure: null };
}

/** The parts that were run, in their order. */
async function runAll(
  scenario: Scenario,
  { first, count }: Part,
  threads: number,
  onProgress: (schedules: number) => void,
): Promise<PartResult[]> {
  const results: PartResult[] = [];
  let next = first;
  let failed = false;
  let schedules = 0;
  const end = first + count;
  const take = (): Part | null => {
    if (failed || next >= end) return null;
    const part = { first: next, count: Math.min(PART, end - next) };
    next += part.count;
    return part;
  };
  const took = (result: PartResult): void => {
    results.push(result);
    failed ||= result.failed !== null;
    schedules += result.schedules;
    onProgress(schedules);
  };
  await Promise.all(
    Array.from({ length: Math.min(threads, Math.ceil(count / PART)) }, () => runThread(scenario, take, took)),
  );
  return results.sort((a, b) => a.first - b.first);
}

async function runThread(
  scenario: Scenario,
  take: () => Part | null,
  took: (result: PartResult) => void,
): Promise<void> {
  const worker = new Worker(new URL('./thread.ts', import.meta.url), {
    workerData: scenario,
    // Most of what a schedule makes is gone a moment later: with room for it, little is ever collected.
    resourceLimits: { maxYoungGenerationSizeMb: 64 },
  });
  for (let part = take(); part !== null; part = take()) {
    worker.postMessage(part);
    took(await answerOf(worker));
  }
  // It closes its stage and ends; one that broke has ended already, and its error is on its way up.
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  worker.postMessage(null);
  await ended;
}

const answerOf = (worker: Worker): Promise<PartResult> =>
  new Promise((resolve, reject) => {
    const over = (): void => {
      worker.off('message', got);
      worker.off('error', broke);
    };
    const got = (result: PartResult): void => {
      over();
      resolve(result);
    };
    const broke = (error: unknown): void => {
      over();
      reject(error);
    };
    worker.once('message', got);
    worker.once('error', broke);
  });

/** What went wrong with this seed, and with how little of it the same goes wrong. */
export async function explain(scenario: Scenario, seed: number): Promise<Failure> {
  const stage = await openStage(scenario);
  try {
    const { events } = planFor(scenario, seed);
    const whole = await stage.run(planFor(scenario, seed));
    const kind = kindOf(whole.violations);
    invariant(
      kind !== null,
      `seed ${seed} failed once and not again: the simulation depends on something but its seed`,
    );
    const shortest = await shrink(
      events.map((_, index) => index),
      async (some) => kindOf((await stage.run(planFor(scenario, seed, some))).violations) === kind,
      SHRINKING_EVENTS,
    );
    const { violations, lines } = await stage.run(planFor(scenario, seed, shortest));
    return { seed, violations, events: events.length, shortest, trace: lines };
  } finally {
    stage.close();
  }
}

/** The first thing that is wrong, without what differs from run to run; null: nothing is. */
function kindOf([first]: readonly string[]): string | null {
  return first?.replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}|cell[0-9]+(-[a-z]+)?|[0-9]+/g, '…') ?? null;
}
