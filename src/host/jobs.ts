// Long work on a host, started by one call and polled by the next.
//
// Theory of operation. A guest (on a storage host: a volume) has at most one job. A job runs until it settles, with
// nobody waiting for it; its outcome stays with it until a caller has been told, or another job takes its place.
// Cancelling is asking: whoever needs the work to have stopped awaits `settled`.
import type { Logger } from 'pino';
import type { Clock } from '../lib/clock.ts';
import { assertNever, InvariantError, messageOf } from '../lib/errors.ts';
import type { Job } from './contract.ts';
import { HypervisorError, type JobControl } from './hypervisor.ts';

export type JobKind =
  | 'define'
  | 'power-on'
  | 'power-off'
  | 'suspend'
  | 'import'
  | 'digest'
  | 'grow'
  | 'snapshot'
  | 'upload'
  | 'make-spare'
  | 'drop-spare'
  | 'plug'
  | 'unplug'
  | 'destroy';

export type JobOutcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly reason: string }
  | { readonly kind: 'cancelled' };

/** Longest reason that a reply carries (the contract's limit is 4096). */
const REASON_LIMIT = 4000;

/** Why a wait ends early. Without a reason each abort would make an error, with its stack. */
const SETTLED = 'the job has settled';

export class HostJob<Kind extends string = JobKind> {
  readonly kind: Kind;
  /** What the job is to achieve: two calls with equal kind and key want the same. */
  readonly key: string;
  /** Who asked last: a failure is only told to callers of the same generation. */
  generation: number;
  /** Resolves (never rejects) when the work has stopped, however it ended. */
  readonly settled: Promise<void>;
  outcome: JobOutcome | null = null;
  /** The job before, which this one's work waits for. */
  readonly #before: HostJob<Kind> | null;
  #doneBytes = 0;
  #totalBytes = 0;
  readonly #abort = new AbortController();

  constructor(
    kind: Kind,
    key: string,
    generation: number,
    log: Logger,
    before: HostJob<Kind> | null,
    work: (control: JobControl) => Promise<void>,
  ) {
    this.kind = kind;
    this.key = key;
    this.generation = generation;
    this.#before = before?.outcome === null ? before : null;
    this.settled = this.#run(log, work);
  }

  /** Also cancels what this job waits for: a stop with an hour's grace must not hold up a destroy. */
  cancel(): void {
    this.#abort.abort();
    this.#before?.cancel();
  }

  /** This job, or one that it waits for, if it is of such a kind and under way. */
  underWay(kinds: readonly Kind[]): HostJob<Kind> | null {
    if (this.outcome === null && kinds.includes(this.kind)) return this;
    return this.#before?.underWay(kinds) ?? null;
  }

  get cancelled(): boolean {
    return this.#abort.signal.aborted;
  }

  /** Resolves when the job has settled or `ms` have passed, whichever is first. */
  async wait(clock: Clock, ms: number): Promise<void> {
    if (this.outcome !== null) return;
    const over = new AbortController();
    await Promise.race([this.settled, clock.sleep(ms, over.signal)]);
    over.abort(SETTLED);
  }

  /** The job as a reply shows it. */
  report(): Job {
    const bytes = { doneBytes: this.#doneBytes, totalBytes: this.#totalBytes };
    const outcome = this.outcome;
    if (outcome === null) return { state: 'pending', ...bytes };
    switch (outcome.kind) {
      case 'done':
        return { state: 'done', ...bytes };
      case 'failed':
        return { state: 'failed', ...bytes, reason: outcome.reason };
      case 'cancelled':
        return { state: 'failed', ...bytes, reason: `the ${this.kind} was cancelled by another request` };
      default:
        return assertNever(outcome);
    }
  }

  async #run(log: Logger, work: (control: JobControl) => Promise<void>): Promise<void> {
    const control: JobControl = {
      signal: this.#abort.signal,
      progress: (done, total) => {
        this.#totalBytes = Math.max(0, Math.floor(total));
        this.#doneBytes = Math.min(Math.max(0, Math.floor(done)), this.#totalBytes);
      },
    };
    try {
      await work(control);
      this.outcome = { kind: 'done' };
    } catch (error) {
      this.outcome = this.#failure(error, log);
    }
  }

  #failure(error: unknown, log: Logger): JobOutcome {
    if (this.cancelled && !(error instanceof InvariantError)) {
      log.info({ job: this.kind, reason: messageOf(error) }, 'job cancelled');
      return { kind: 'cancelled' };
    }
    // A HypervisorError is expected. Anything else (a full file system, a defect) is told the same way, because a job
    // that ends without an answer would strand its server; the log keeps the stack.
    if (error instanceof HypervisorError) log.warn({ job: this.kind, reason: error.message }, 'job failed');
    else log.error({ job: this.kind, err: error }, 'job failed unexpectedly');
    return { kind: 'failed', reason: messageOf(error).slice(0, REASON_LIMIT) };
  }
}
