// A guest's job: who joins it, who must wait, who takes its place.
//
// Theory of operation. A guest has one job at most, kept in its entry also after it has ended, until somebody was told
// how. All of this is called inside the guest's mutex. A repeated call joins the job that wants the same; a job's
// failure is told once, to the next call that wants the same at the same generation; the call after that tries again.
import { assertNever } from '../../lib/errors.ts';
import type { JobControl } from '../hypervisor.ts';
import { HostJob, type JobKind } from '../jobs.ts';
import type { Entry, Guests, Step } from './guests.ts';

const REPEATED: readonly JobKind[] = ['power-on', 'power-off', 'suspend', 'plug', 'unplug'];

/** The job that a repeated call belongs to: under way, or ended with something to tell. */
export function earlierJob(entry: Entry, kind: JobKind, key: string, generation: number): Step<never> | null {
  const job = entry.job;
  if (job === null || job.kind !== kind || job.key !== key) return null;
  const outcome = job.outcome;
  if (outcome === null) {
    if (job.cancelled) return null;
    // Who asks last owns the job: the newer generation wants the same and must not see it fail as overtaken.
    job.generation = generation;
    return { kind: 'job', job };
  }
  switch (outcome.kind) {
    case 'failed':
      return job.generation === generation ? { kind: 'job', job } : null;
    case 'cancelled':
      return null;
    case 'done':
      // A guest may have stopped or started since: power and volumes are compared anew. The rest stays done.
      return REPEATED.includes(kind) ? null : { kind: 'job', job };
    default:
      return assertNever(outcome);
  }
}

/** Starts a job in place of the one before; `previous` resolves when that one has stopped. */
export function startJob(
  guests: Guests,
  entry: Entry,
  kind: JobKind,
  key: string,
  work: (control: JobControl, previous: Promise<void>, job: () => HostJob) => Promise<void>,
): Step<never> {
  const before = entry.job;
  if (before !== null && before.outcome === null && kind === 'import') before.cancel();
  const previous = before?.settled ?? Promise.resolve();
  const { serverId, generation } = entry.record;
  const log = guests.log.child({ serverId, generation });
  const job: HostJob = new HostJob(kind, key, generation, log, before, (control) => work(control, previous, () => job));
  entry.job = job;
  return { kind: 'job', job };
}

/** The kind of the job that is under way, if it is none of these; null: nothing is in the way. */
export function busyWith(entry: Entry, allowed: readonly JobKind[]): JobKind | null {
  const job = entry.job;
  return job !== null && job.outcome === null && !allowed.includes(job.kind) ? job.kind : null;
}
