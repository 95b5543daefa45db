// The target of a move, in the steps that every move to another host has: chosen, given up, bound, prepared.
import { activateBindings, bindPorts, unbindPorts } from '../control/network.ts';
import { allocationsOf, release } from '../control/placement.ts';
import { invariant } from '../lib/errors.ts';
import type { Flavor } from '../model/types.ts';
import { givenUp, type Tried } from './alternates.ts';
import { jobOutcome } from './hosts.ts';
import type { Place, StepContext } from './move.ts';
import { done, inGlobal, unlessFenced } from './outcomes.ts';
import { guestSpec, recordedDrive } from './spec.ts';

export interface HasTarget {
  /** Null: given up, another is to be chosen. */
  readonly target?: Place | null;
  readonly tried?: readonly Tried[];
}

type C = StepContext<HasTarget>;

/** Of the steps that depend on the target: another one may do better. */
export const ELSEWHERE = { retryFrom: 'choose target' } as const;

export const target = (c: C): Place => {
  invariant(c.s.target, 'a step behind `choose target` needs the target');
  return c.s.target;
};

/** A choice whose answer was lost: its room would count against the hosts, and stay beside the new one's. */
export async function giveBackLostChoice(c: C): Promise<void> {
  if ((await allocationsOf(c.p.stores.global, c.serverId)).length === 0) return;
  await inGlobal(c, (trx) => release(trx, c.serverId));
}

export async function giveUpTarget(c: C) {
  await inGlobal(c, (trx) => release(trx, c.serverId));
  // All the way back the target stays known: the failure card tells where it was.
  if (c.saga.backTo === null) return done;
  return { kind: 'done', output: { tried: givenUp(c, c.s.target ?? null), target: null } } as const;
}

export const bindTarget = async (c: C) =>
  unlessFenced(await bindPorts(c.p.stores.global, c.serverId, target(c).host, c.generation));
export const unbindTarget = (c: C) => unbindFrom(c, target(c).host);

export const unbindFrom = async (c: C, host: string) =>
  unlessFenced(await unbindPorts(c.p.stores.global, c.serverId, host, c.generation));

/** The ports' traffic goes there from now on. */
export const portsTo = async (c: C, host: string) =>
  unlessFenced(await activateBindings(c.p.stores.global, c.serverId, host, c.generation));

/** What a target is prepared for. */
export interface Wanted {
  /** Where the server's record is. */
  readonly cellId: string;
  readonly flavor: Flavor;
  readonly imageId: string | null;
  readonly hasConfigDrive: boolean;
  /** Of a server with a disk on its host. */
  readonly disk: 'incoming' | 'fresh';
}

export async function prepare(c: C, { cellId, flavor, imageId, hasConfigDrive, disk }: Wanted) {
  const drive = hasConfigDrive ? await recordedDrive(c.p, cellId, c.serverId) : null;
  const spec = await guestSpec(c.p, c.serverId, imageId, flavor, drive);
  const host = await c.host(target(c).host);
  const how = { generation: c.generation, spec, disk: imageId === null ? 'none' : disk } as const;
  return jobOutcome(await host.define(c.serverId, how));
}
