// A second root disk of a guest on its host, named after the saga that has it made; of a rescue, after its server.
import type { GuestSpec, Job } from '../host/contract.ts';
import { jobOutcome, settled, unlessDoomed } from './hosts.ts';
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

/** The same, where it is tried for ever. */
export const useSpareAgain = async <S>(
  c: StepContext<S>,
  hostName: string,
  used: boolean,
  spareId = c.saga.id,
): Promise<StepOutcome<S>> => unlessDoomed(c, hostName, await useSpare(c, hostName, used, spareId));

/** There is no spare disk; see the contract for which disk is left. Tried for ever. */
export async function dropSpare<S>(c: StepContext<S>, hostName: string, spareId = c.saga.id): Promise<StepOutcome<S>> {
  const host = await c.host(hostName);
  const reply = await host.dropSpare(c.serverId, { generation: c.generation, spareId });
  return unlessDoomed(c, hostName, jobOutcome<S, Job>(reply));
}
