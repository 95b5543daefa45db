// What attaching and detaching have in common, of volumes and of interfaces.
//
// A guest's devices are changed on its one host. When that host, or a storage host that has to say yes, goes down midway,
// the saga does not wait: what the records say in the end is decided, and that the guest is to follow is owed
// (control/guest-devices.ts).
import { owe } from '../control/debts.ts';
import { hostIsUp } from '../control/hosts.ts';
import type { Platform } from '../control/platform.ts';
import { serverOrRefusal } from '../control/servers.ts';
import { NOWHERE } from '../control/volumes/attachments.ts';
import { storageHostIsUp } from '../control/volumes/storage-hosts.ts';
import { checkAction, checkServiceUp, type ServerAction, stateOf } from '../model/actions.ts';
import { conflict } from '../model/refusal.ts';
import { type Actor, isAdmin, type Refusal, type Server, type VmState } from '../model/types.ts';
import { type ActionState, askedBy } from './claim.ts';
import { unlessDoomed, unlessGone } from './hosts.ts';
import type { StepContext, StepOutcome } from './move.ts';

/** What the sagas carry of the server whose guest they change. */
export interface GuestState extends ActionState {
  readonly cellId: string;
  readonly host: string;
  readonly vmState: VmState;
}

/** What `take hold` expects: the record as it was when the saga was made. */
export const asFound = (s: GuestState) => ({ from: [s.vmState], host: hostOf(s) });

/** Null: its server is NOWHERE, as a shelved one that was offloaded. */
export const hostOf = (s: GuestState): string | null => (s.host === NOWHERE ? null : s.host);

export const guestState = (actor: Actor, server: Server, cellId: string, host: string): GuestState => ({
  ...askedBy(actor, server),
  ...{ cellId, host, vmState: server.vmState },
});

/**
 * Of an effect on the guest's devices: done, and owed, when it could not be because somebody whom it takes is down.
 * @param storageHosts those that it takes besides the guest's host
 */
export async function orOweDevices<S extends GuestState>(
  c: StepContext<S>,
  outcome: StepOutcome<S>,
  reason: string,
  storageHosts: readonly string[] = [],
): Promise<StepOutcome<S>> {
  if (outcome.kind !== 'failed' || outcome.final) return outcome;
  const silent = await whoIsDown(c.p, c.s.host, storageHosts);
  if (silent === null) return outcome;
  const { serverId, generation } = c;
  await owe(c.p, { kind: 'match-devices', host: c.s.host, serverId, generation, sagaId: c.saga.id, reason });
  return { kind: 'done', note: `owed: ${silent} is down` };
}

/** The same for an undo: what a guest that is to be deleted anyway cannot give back makes no difference. */
export const orOweBack = async <S extends GuestState>(
  c: StepContext<S>,
  outcome: StepOutcome<S>,
  reason: string,
  storageHosts: readonly string[] = [],
): Promise<StepOutcome<S>> =>
  unlessDoomed(c, c.s.host, await orOweDevices(c, unlessGone(outcome), reason, storageHosts));

async function whoIsDown(p: Platform, host: string, storageHosts: readonly string[]): Promise<string | null> {
  if (!(await hostIsUp(p, host))) return `host ${host}`;
  for (const name of storageHosts) if (!(await storageHostIsUp(p, name))) return `storage host ${name}`;
  return null;
}

/** The server and its host (NOWHERE if it was offloaded), when its states allow the action and its host is up. */
export async function serverWithHost(
  p: Platform,
  actor: Actor,
  serverId: string,
  action: ServerAction,
): Promise<{ readonly server: Server; readonly host: string; readonly cellId: string } | Refusal> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const { server, cellId } = found;
  const refusal = checkAction(action, stateOf(server), isAdmin(actor));
  if (refusal) return refusal;
  if (server.vmState === 'shelved_offloaded') return { server, host: NOWHERE, cellId };
  if (server.host === null) return conflict(`Instance ${serverId} is not ready`);
  return checkServiceUp(await hostIsUp(p, server.host)) ?? { server, host: server.host, cellId };
}
