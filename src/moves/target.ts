// The steps that every move to another host has: the target is chosen, given up, bound and prepared, the source's room is
// held, and the records cross behind a freeze.
import { activateBindings, bindPorts, unbindPorts } from '../control/network.ts';
import { allocationsOf, release, transfer } from '../control/placement.ts';
import { invariant } from '../lib/errors.ts';
import type { Flavor } from '../model/types.ts';
import { givenUp, type Tried } from './alternates.ts';
import { copyRecords, dropRecords, freeze, thaw } from './carry.ts';
import { jobOutcome } from './hosts.ts';
import type { MoveStep, Owner, Place, StepContext } from './move.ts';
import { done, inGlobal, unlessFenced } from './outcomes.ts';
import { dropVolumes, type HasVolumes, reserveVolumes } from './server-volumes.ts';
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

const bindTarget = async (c: C) =>
  unlessFenced(await bindPorts(c.p.stores.global, c.serverId, target(c).host, c.generation));
const unbindTarget = (c: C) => unbindFrom(c, target(c).host);

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

/** A move that takes the server's record along. */
export interface Crossing extends HasTarget, HasVolumes {
  readonly owner: Owner;
  /** Where its record is. */
  readonly source: Place;
}

export const serverConsumer = ({ serverId, s }: StepContext<Pick<Crossing, 'owner'>>) =>
  ({ id: serverId, type: 'server', serverId, ...s.owner }) as const;

type Migrating = StepContext<Pick<Crossing, 'owner'> & { readonly migrationId: string }>;

const migrationConsumer = ({ serverId, s }: Migrating) =>
  ({ id: s.migrationId, type: 'migration', serverId, ...s.owner }) as const;

/** The source's room passes to the migration and back; no sum changes. */
export const HOLD_SOURCE_ROOM: MoveStep<Migrating['s']> = {
  step: 'hold source room',
  do: (c) => inGlobal(c, (trx) => transfer(trx, serverConsumer(c), migrationConsumer(c))),
  undo: (c) => inGlobal(c, (trx) => transfer(trx, migrationConsumer(c), serverConsumer(c))),
};

export const BIND_PORTS: MoveStep<HasTarget> = { step: 'bind ports', do: bindTarget, undo: unbindTarget };

export const RESERVE_VOLUMES: MoveStep<HasTarget & HasVolumes> = {
  step: 'reserve volumes',
  do: (c) => reserveVolumes(c, target(c).host),
  undo: (c) => dropVolumes(c, target(c).host),
};

export const FREEZE_RECORD: MoveStep<Crossing> = {
  step: 'freeze record',
  do: (c) => freeze(c, c.s.source.cellId, target(c).cellId),
  undo: (c) => thaw(c, c.s.source.cellId, target(c).cellId),
};

export const COPY_RECORDS: MoveStep<Crossing> = {
  ...{ step: 'copy records', ...ELSEWHERE, do: (c) => copyRecords(c, c.s.source.cellId, target(c).cellId) },
  undo: (c) => dropRecords(c, target(c).cellId, c.s.source.cellId),
};

export const DROP_OLD_RECORDS: MoveStep<Crossing> = {
  step: 'drop old records',
  do: (c) => dropRecords(c, c.s.source.cellId, target(c).cellId),
  undo: 'forward only',
};
