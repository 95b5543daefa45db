// A second root disk of a guest on its host, named after the saga that has it made; of a rescue, after its server.
import type { GuestSpec, Job } from '../host/contract.ts';
import { jobOutcome, orOweGuest, settled, unlessOwed } from './hosts.ts';
import type { StepContext, StepOutcome } from './move.ts';

export async function makeSpare<S>(
  c: StepContext<S>,
  hostName: string,
  purpose: 'rebuild' | 'rescue' | 'stable-rescue',
  spec: GuestSpec,
  spareId = c.saga.id,
): Promise<StepOutcome<S>> {
  const host = await c.host(hostName);
  const { generation } = c;
  return jobOutcome<S, Job>(await host.makeSpare(c.serverId, { generation, spareId, purpose, spec }));
}

/** The guest's next start is from the spare disk, or from its own. */
export async function useSpare<S>(
  c: StepContext<S>,
  hostName: string,
  used: boolean,
  spareId = c.saga.id,
): Promise<StepOutcome<S>> {
  const host = await c.host(hostName);
  return settled(await host.useSpare(c.serverId, { generation: c.generation, spareId, used }));
}

/** The same, to undo it: tried until it succeeds, or its host counts as down and owes it. */
export const useSpareAgain = <S>(
  c: StepContext<S>,
  hostName: string,
  used: boolean,
  spareId = c.saga.id,
): Promise<StepOutcome<S>> => unlessOwed(c, hostName, () => useSpare(c, hostName, used, spareId));

/** There is no spare disk; see the contract for which disk is left. Owed by a host that counts as down. */
export const dropSpare = async <S>(c: StepContext<S>, hostName: string, spareId = c.saga.id): Promise<StepOutcome<S>> =>
  orOweGuest(c, hostName, await drop(c, hostName, spareId), 'drop-spare');

/**
 * The same, to undo its making: the guest is back on its own disk by then. Where that is owed its own disk is the one that
 * would be left without a name, so that this is owed with it.
 */
export const unmakeSpare = <S>(c: StepContext<S>, hostName: string, spareId = c.saga.id): Promise<StepOutcome<S>> =>
  unlessOwed(c, hostName, () => drop(c, hostName, spareId));

async function drop<S>(c: StepContext<S>, hostName: string, spareId: string): Promise<StepOutcome<S>> {
  const host = await c.host(hostName);
  return jobOutcome<S, Job>(await host.dropSpare(c.serverId, { generation: c.generation, spareId }));
}
