// Turning a guest on or off on a host, and knowing that it is.
import { jobOutcome } from './hosts.ts';
import type { StepContext, StepOutcome } from './move.ts';

/** The guest runs: the host has seen it running. */
export async function powerOn<S>(c: StepContext<S>, hostName: string): Promise<StepOutcome<S>> {
  const host = await c.host(hostName);
  return jobOutcome(await host.setPower(c.serverId, { generation: c.generation, power: 'on', graceSeconds: 0 }));
}

/** The guest's process is gone: asked first, made to after `graceSeconds`. */
export async function powerOff<S>(c: StepContext<S>, hostName: string, graceSeconds: number): Promise<StepOutcome<S>> {
  const host = await c.host(hostName);
  return jobOutcome(await host.setPower(c.serverId, { generation: c.generation, power: 'off', graceSeconds }));
}
