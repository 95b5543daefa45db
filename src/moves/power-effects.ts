// Turning a guest on or off on a host, and knowing that it is.
import { hostIsUp } from '../control/hosts.ts';
import { storageHostsOf } from '../control/volumes/attachments.ts';
import { isForgotten } from '../control/volumes/lost-storage.ts';
import { storageHostIsUp } from '../control/volumes/storage-hosts.ts';
import type { PowerRequest } from '../host/contract.ts';
import { jobOutcome, orOweGuest, settled, unlessGone, unlessOwed } from './hosts.ts';
import type { StepContext, StepOutcome } from './move.ts';

async function setPower<S>(
  c: StepContext<S>,
  hostName: string,
  request: Omit<PowerRequest, 'generation'>,
): Promise<StepOutcome<S>> {
  const host = await c.host(hostName);
  return jobOutcome(await host.setPower(c.serverId, { generation: c.generation, ...request }));
}

/** The guest runs: the host has seen it running. */
export const powerOn = <S>(c: StepContext<S>, hostName: string): Promise<StepOutcome<S>> =>
  setPower(c, hostName, { power: 'on', graceSeconds: 0 });

/**
 * The guest runs, but turns itself off unless `powerOn` keeps it soon: for guests that must not run on where nobody can
 * reach them. A host counts as down a good while after the longest probation that it can have been given, so a guest that
 * was only ever started like this does not run on a host that is down.
 */
export const powerOnProbation = <S>(c: StepContext<S>, hostName: string): Promise<StepOutcome<S>> =>
  setPower(c, hostName, {
    power: 'on',
    graceSeconds: 0,
    probationSeconds: Math.max(1, Math.floor(c.p.settings.hostDownSeconds / 3)),
  });

/** Undoes powerOnProbation where the guest must stay: it is off, or on a host that is down and off by itself. */
export async function endProbation<S>(c: StepContext<S>, hostName: string): Promise<StepOutcome<S>> {
  const off = unlessGone(await powerOff(c, hostName, 0));
  if (off.kind === 'failed' && !off.final && !(await hostIsUp(c.p, hostName))) {
    return { kind: 'done', note: `host ${hostName} is down: the guest's probation is over` };
  }
  return off;
}

/** The guest stands still, or goes on. */
export async function pause<S>(c: StepContext<S>, hostName: string, paused: boolean): Promise<StepOutcome<S>> {
  const host = await c.host(hostName);
  return settled(await host.setPaused(c.serverId, { generation: c.generation, paused }));
}

/** Undoes it; a guest that is off meanwhile is nobody's to pause: the monitor writes down that it is off. */
export async function pauseAgain<S>(c: StepContext<S>, hostName: string, paused: boolean): Promise<StepOutcome<S>> {
  const outcome = await unlessOwed(c, hostName, () => pause(c, hostName, paused));
  return outcome.kind === 'failed' && outcome.final ? { kind: 'done', note: outcome.reason } : outcome;
}

/** Undoes turning off a paused guest: what it had in memory is lost, so it is started anew, and stands still again. */
export async function standStillAgain<S>(c: StepContext<S>, hostName: string): Promise<StepOutcome<S>> {
  const on = await powerOnAgain(c, hostName);
  return on.kind === 'done' ? pauseAgain(c, hostName, true) : on;
}

/** What the guest has in memory is kept, and its process gone. */
export const suspend = <S>(c: StepContext<S>, hostName: string): Promise<StepOutcome<S>> =>
  setPower(c, hostName, { power: 'suspended', graceSeconds: 0 });

/** Undoes it: the guest goes on, whether its process is still there and stands still or was ended. */
export async function goOnAgain<S>(c: StepContext<S>, hostName: string): Promise<StepOutcome<S>> {
  const on = await powerOnAgain(c, hostName);
  return on.kind === 'done' ? pauseAgain(c, hostName, false) : on;
}

/** Undoes a start from memory: it is kept again. `lost`: what there is to do when it is not there any more. */
export async function suspendAgain<S>(
  c: StepContext<S>,
  hostName: string,
  lost: () => Promise<StepOutcome<S>>,
): Promise<StepOutcome<S>> {
  const outcome = await suspend(c, hostName);
  if (outcome.kind !== 'failed') return outcome;
  return outcome.final ? stillSuspended(c, hostName, lost) : orOweGuest(c, hostName, outcome);
}

/** Of a guest that was suspended: its memory is still kept, or `lost` is done about it. */
export async function stillSuspended<S>(
  c: StepContext<S>,
  hostName: string,
  lost: () => Promise<StepOutcome<S>>,
): Promise<StepOutcome<S>> {
  const reply = await (await c.host(hostName)).guest(c.serverId);
  if (reply.kind !== 'ok' && reply.kind !== 'absent') return orOweGuest(c, hostName, settled(reply));
  if (reply.kind === 'ok' && reply.value.suspended) return { kind: 'done', note: 'its memory is kept' };
  if (reply.kind === 'ok' && reply.value.power === 'on')
    return orOweGuest(c, hostName, { kind: 'failed', reason: 'it runs and is not suspended again', final: true });
  const outcome = await lost();
  return outcome.kind === 'done' ? { ...outcome, note: 'its memory is lost' } : outcome;
}

/** The guest's process is gone: asked first, made to after `graceSeconds`. */
export const powerOff = <S>(c: StepContext<S>, hostName: string, graceSeconds: number): Promise<StepOutcome<S>> =>
  setPower(c, hostName, { power: 'off', graceSeconds });

/** The same; also where the host has no guest of the server. */
export async function powerOffIfThere<S>(
  c: StepContext<S>,
  hostName: string,
  graceSeconds: number,
): Promise<StepOutcome<S>> {
  const host = await c.host(hostName);
  const reply = await host.setPower(c.serverId, { generation: c.generation, power: 'off', graceSeconds });
  return reply.kind === 'absent' ? { kind: 'done', note: 'has no guest' } : jobOutcome(reply);
}

/**
 * As powerOn, undoing and behind the pivot: tried until it succeeds, or its host counts as down and owes it. A guest that
 * does not start because a storage host of its is down waits for that; one that has lost a volume for good stays off, which
 * the monitor writes down.
 */
export async function powerOnAgain<S>(c: StepContext<S>, hostName: string): Promise<StepOutcome<S>> {
  const outcome = await unlessOwed(c, hostName, () => powerOn(c, hostName));
  if (outcome.kind !== 'failed' || !outcome.final) return outcome;
  const { global } = c.p.stores;
  for (const name of await storageHostsOf(global, c.serverId)) {
    if (await isForgotten(global, name))
      return { kind: 'done', note: `it has lost a volume, and does not start: ${outcome.reason}` };
    if (!(await storageHostIsUp(c.p, name))) return { ...outcome, final: false };
  }
  return outcome;
}

/** As powerOff without grace, undoing: the same. */
export const powerOffAgain = async <S>(c: StepContext<S>, hostName: string): Promise<StepOutcome<S>> =>
  unlessOwed(c, hostName, () => powerOff(c, hostName, 0));
