// Effects on hosts: what a host's reply means for a step.
//
// A refusal is definite: trying again would not help, so the step fails for good. An unreachable host may have carried
// out the call all the same; every call may be repeated, so the step is tried again and the host tells what is true. Its
// name is in the reason (context.ts), for a step may ask several.
// Neither taking things down nor undoing waits for a host that is gone: then it becomes a debt (control/debts.ts), which
// is paid when the host answers again. Only a host that counts as down gets that credit; a single lost answer does not.
// A host that is up and does not know the guest has lost it (a new disk, a machine installed anew). What was to be done on
// that guest fails; what undoes, or is behind the pivot, has nothing left to be done to, and is done.
import { owe } from '../control/debts.ts';
import { isOwed } from '../control/guest-state.ts';
import { hostAnswers, hostIsUp } from '../control/hosts.ts';
import type { Job, Reply } from '../host/contract.ts';
import { assertNever } from '../lib/errors.ts';
import type { StepContext, StepOutcome } from './move.ts';

const POLL_MS = 150;
const POLL_COPY_MS = 400;

/** A call that answers with plain data: done, with what `output` makes of the data. */
export function settled<S, T>(reply: Reply<T>, output?: (value: T) => Partial<S>): StepOutcome<S> {
  switch (reply.kind) {
    case 'ok':
      return output ? { kind: 'done', output: output(reply.value) } : { kind: 'done' };
    case 'fenced':
      return { kind: 'fenced' };
    case 'refused':
      return { kind: 'failed', reason: reply.reason, final: true };
    case 'absent':
      return { kind: 'failed', reason: 'the host does not know the guest', final: true, absent: true };
    case 'unreachable':
      return { kind: 'failed', reason: reply.reason, final: false };
    default:
      return assertNever(reply);
  }
}

/** A call that starts a job, or tells how it stands. */
export function jobOutcome<S, J extends Job>(reply: Reply<J>, output?: (job: J) => Partial<S>): StepOutcome<S> {
  if (reply.kind !== 'ok') return settled<S, J>(reply);
  const job = reply.value;
  switch (job.state) {
    case 'pending': {
      const { doneBytes, totalBytes } = job;
      return totalBytes > 0
        ? { kind: 'pending', afterMs: POLL_COPY_MS, progress: { doneBytes, totalBytes } }
        : { kind: 'pending', afterMs: POLL_MS };
    }
    case 'done':
      return output ? { kind: 'done', output: output(job) } : { kind: 'done' };
    case 'failed':
      return { kind: 'failed', reason: job.reason ?? 'the host gave no reason', final: true };
    default:
      return assertNever(job.state);
  }
}

/**
 * Of an effect on a host, when the server is to be deleted: a host that is down is not waited for, and one that refuses is
 * not asked again. The delete comes next, and destroys what is on the host or owes that, so that what this effect was to
 * bring about makes no difference.
 */
export async function unlessDoomed<S>(
  c: StepContext<S>,
  hostName: string,
  outcome: StepOutcome<S>,
): Promise<StepOutcome<S>> {
  if (outcome.kind !== 'failed') return outcome;
  if (!outcome.final && (await hostIsUp(c.p, hostName))) return outcome;
  return doomedOr(c, `host ${hostName}`, outcome);
}

/** The outcome, or, when the server is to be deleted, done for that reason. `who` could not or would not do it. */
export async function doomedOr<S>(
  c: StepContext<S>,
  who: string,
  outcome: Extract<StepOutcome<S>, { readonly kind: 'failed' }>,
): Promise<StepOutcome<S>> {
  const doomed = await c.p.stores.global
    .selectFrom('server_mappings')
    .select('server_id')
    .where('server_id', '=', c.serverId)
    .where('delete_requested_at', 'is not', null)
    .executeTakeFirst();
  return doomed ? { kind: 'done', note: `the server is to be deleted, and ${who}: ${outcome.reason}` } : outcome;
}

/** Of an effect that undoes one, or is behind the pivot: there is no guest that anything could be done to. */
export const unlessGone = <S>(outcome: StepOutcome<S>): StepOutcome<S> =>
  outcome.kind === 'failed' && outcome.absent === true ? { kind: 'done', note: outcome.reason } : outcome;

/**
 * Of an effect on a guest that undoes one, or that is behind the pivot: a host that has been silent for so long that it
 * counts as down is not waited for, or the server could never be evacuated from it. That the guest becomes what its record
 * says in the end is owed then (control/guest-state.ts).
 */
export async function orOweGuest<S>(
  c: StepContext<S>,
  hostName: string,
  outcome: StepOutcome<S>,
  kind: 'match-guest' | 'drop-spare' = 'match-guest',
): Promise<StepOutcome<S>> {
  const doomed = await unlessDoomed(c, hostName, unlessGone(outcome));
  if (doomed.kind !== 'failed' || doomed.final || (await hostAnswers(c.p, hostName))) return doomed;
  const { serverId, generation } = c;
  await owe(c.p, { kind, host: hostName, serverId, generation, sagaId: c.saga.id, reason: OWED_REASON[kind] });
  return { kind: 'done', note: `owed: host ${hostName} is down` };
}

/**
 * The same of an effect that is not had at all where it is owed already that the guest becomes what its record says: the host
 * may be back since, and what comes behind an effect that it never saw would be had on another guest than was meant. What
 * is owed is not paid before the saga has ended.
 */
export async function unlessOwed<S>(
  c: StepContext<S>,
  hostName: string,
  effect: () => Promise<StepOutcome<S>>,
): Promise<StepOutcome<S>> {
  if (await isOwed(c.p, 'match-guest', hostName, c.serverId))
    return { kind: 'done', note: 'owed with what came before' };
  return orOweGuest(c, hostName, await effect());
}

const OWED_REASON = {
  'match-guest': 'guest that is not as its record says',
  'drop-spare': 'second root disk that has had its use',
} as const;

/** The guest and its disks are gone from the host, or owed. Harmless when they were never there. */
export async function destroyOrOwe<S>(c: StepContext<S>, hostName: string, reason: string): Promise<StepOutcome<S>> {
  const host = await c.host(hostName);
  const reply = await host.destroy(c.serverId, { generation: c.generation });
  if (reply.kind === 'absent') return { kind: 'done' };
  if (reply.kind === 'unreachable' && !(await hostIsUp(c.p, hostName))) {
    const debt = { host: hostName, serverId: c.serverId, generation: c.generation, sagaId: c.saga.id, reason };
    await owe(c.p, { kind: 'destroy-guest', ...debt });
    return { kind: 'done', note: `owed: host ${hostName} is down` };
  }
  return jobOutcome<S, Job>(reply);
}
