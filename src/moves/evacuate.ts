// Evacuation: a server whose host is down is built anew on another host, in whatever cell, with its ports, volumes, address
// and config drive. One that boots from a volume has all its data there; one that boots from an image gets a fresh disk, as
// in Nova without shared storage, and its old one is kept for an operator.
//
// ACTIVE | SHUTOFF | ERROR → REBUILD → ACTIVE | SHUTOFF. A resize whose source says nothing. Until `switch home`
// everything can be undone, and the server is where it was, on a host that is down; behind it there is only forward.
// What can race: the old host comes back. While the saga is at the server the comparison with the records leaves its guest
// alone (reconcile.ts), so the saga turns it off itself, before another has its ports and volumes and once more behind the
// pivot. If the host counts as up again by then, there is nothing to evacuate. A host that is only cut off may go on running
// the guest until it answers: without its volumes, whose storage hosts have ended its access. That it really is off is what
// whoever evacuates answers for, as in Nova (docs/failure-model.md).
// A Cinder need not be able to end access (control/volumes/cinder-storage.ts): a server with volumes there is evacuated only
// from a host that an administrator has forced down, and so vouches for.
// In the end the guest on the old host is nobody's. One with a disk of its own is put in quarantine, for that disk may have
// what is nowhere else; one without is destroyed, or that is owed.
import type { Transaction } from 'kysely';
import { hostAnswers, hostIsUp, isForcedDown, isHost } from '../control/hosts.ts';
import { release } from '../control/placement.ts';
import type { Platform } from '../control/platform.ts';
import { hostsWithRemains, quarantineWithin } from '../control/quarantine.ts';
import { chooseHost } from '../control/scheduling.ts';
import { groupIdOf } from '../control/server-groups.ts';
import { serverOrRefusal } from '../control/servers.ts';
import { storageHostsOf } from '../control/volumes/attachments.ts';
import { CINDER } from '../control/volumes/service.ts';
import { invariant } from '../lib/errors.ts';
import { newId } from '../lib/ids.ts';
import { checkAction, stateOf } from '../model/actions.ts';
import { diskImageOf } from '../model/disk-image.ts';
import { badRequest, notFound } from '../model/refusal.ts';
import { flavorOnHost } from '../model/resources.ts';
import { type Actor, type Flavor, isAdmin, POWER_STATE, type Refusal, type VmState } from '../model/types.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { noHost, triedHosts } from './alternates.ts';
import { switchHome } from './carry.ts';
import { type ActionState, askedBy, letGo, takeHoldWithVolumes } from './claim.ts';
import { globally } from './fencing.ts';
import { destroyOrOwe, jobOutcome } from './hosts.ts';
import { openMigrationRecord, writeMigration } from './migration-record.ts';
import type { Move, Owner, Place, StepContext, StepOutcome } from './move.ts';
import { doneBecause, inGlobal } from './outcomes.ts';
import { powerOnAgain, powerOnProbation } from './power-effects.ts';
import { dropVolumes, type HasVolumes, handBackOrOwe, handOverVolumes } from './server-volumes.ts';
import { startMove } from './start.ts';
import {
  BIND_PORTS,
  COPY_RECORDS,
  DROP_OLD_RECORDS,
  ELSEWHERE,
  FREEZE_RECORD,
  giveBackLostChoice,
  giveUpTarget,
  type HasTarget,
  HOLD_SOURCE_ROOM,
  portsTo,
  prepare,
  RESERVE_VOLUMES,
  serverConsumer,
  target,
  unbindFrom,
} from './target.ts';
import { inTurn } from './turns.ts';

export interface EvacuateState extends ActionState, HasVolumes, HasTarget {
  readonly owner: Owner;
  readonly migrationId: string;
  /** Null: it boots from a volume. */
  readonly imageId: string | null;
  readonly imageProperties: Readonly<Record<string, string>>;
  readonly flavor: Flavor;
  readonly source: Place;
  readonly requestedHost: string | null;
  readonly requestedZone: string | null;
  readonly vmState: VmState;
  /** Whether its guest ran when its host was last heard of, and whether it is to run on the new one. */
  readonly wasOn: boolean;
  readonly willRun: boolean;
  readonly hasConfigDrive: boolean;
}

type C = StepContext<EvacuateState>;

const FORWARD = 'forward only';
const STAYS_OFF = doneBecause('it stays off');

export const EVACUATE: Move<EvacuateState> = {
  name: 'evacuate',
  version: 1,
  pivot: 'switch home',
  parties: (s) => [s.source.host, s.target?.host],
  steps: [
    { step: 'take hold', do: takeHold, undo: (c) => letGo(c, c.s.source.cellId, {}, 'Error') },
    // The record of a failed evacuation stays, with its status: it is history.
    { step: 'open migration', do: openMigration, undo: (c) => writeMigration(c, c.s.migrationId, { status: 'error' }) },
    HOLD_SOURCE_ROOM,
    { step: 'choose target', attempts: 3, do: chooseTarget, undo: giveUpTarget },
    BIND_PORTS,
    RESERVE_VOLUMES,
    {
      ...{ step: 'prepare target', ...ELSEWHERE, do: prepareTarget },
      undo: (c) => destroyOrOwe(c, target(c).host, 'target of an evacuation that was undone'),
    },
    // A host that was forced down a moment ago may still answer: it has to be silent as long as any that counts as down.
    { step: 'shut out source', attempts: 10, do: shutOutSource, undo: turnOnSource },
    { step: 'hand over ports', do: (c) => portsTo(c, target(c).host), undo: (c) => portsTo(c, c.s.source.host) },
    {
      // Undone towards a host that is down: its guest is told when it answers.
      step: 'hand over volumes',
      do: (c) => handOverVolumes(c, c.s.source.host, target(c).host),
      undo: (c) => handBackOrOwe(c, target(c).host, c.s.source.host, 'volumes of a server that was not evacuated'),
    },
    {
      // On probation until the home is switched: see resize.ts.
      ...{ step: 'start target', ...ELSEWHERE, attempts: 2 },
      do: async (c) => (c.s.willRun ? powerOnProbation(c, target(c).host) : STAYS_OFF),
      undo: (c) => destroyOrOwe(c, target(c).host, 'guest of an evacuation that was undone'),
    },
    FREEZE_RECORD,
    COPY_RECORDS,
    {
      step: 'switch home',
      do: (c) => switchHome(c, target(c).cellId, c.s.flavor),
      undo: (c) => switchHome(c, c.s.source.cellId, c.s.flavor),
    },
    { step: 'keep target', do: keepTarget, undo: FORWARD },
    DROP_OLD_RECORDS,
    { step: 'leave source', do: leaveSource, undo: FORWARD },
    { step: 'unbind source ports', do: (c) => unbindFrom(c, c.s.source.host), undo: FORWARD },
    { step: 'drop source attachments', do: (c) => dropVolumes(c, c.s.source.host), undo: FORWARD },
    // What it keeps there takes disk alone, and quarantine is not counted.
    { step: 'release source room', do: (c) => inGlobal(c, (trx) => release(trx, c.s.migrationId)), undo: FORWARD },
    { step: 'close migration', do: (c) => writeMigration(c, c.s.migrationId, { status: 'done' }), undo: FORWARD },
    { step: 'let go', do: letGoAtTarget, undo: FORWARD },
  ],
};

function takeHold(c: C) {
  const expected = { from: [c.s.vmState], host: c.s.source.host };
  return takeHoldWithVolumes(c, c.s.source.cellId, 'evacuate', 'rebuilding', expected);
}

function openMigration(c: C) {
  const { migrationId, actor, source, flavor } = c.s;
  const record = { migrationId, actor, source, oldFlavor: flavor, newFlavor: flavor };
  return openMigrationRecord(c, { ...record, type: 'evacuation', status: 'pre-migrating' });
}

function prepareTarget(c: C) {
  const { source, flavor, imageId, hasConfigDrive } = c.s;
  return prepare(c, { cellId: source.cellId, flavor, imageId, hasConfigDrive, disk: 'fresh' });
}

async function keepTarget(c: C) {
  return c.s.willRun ? powerOnAgain(c, target(c).host) : STAYS_OFF;
}

function letGoAtTarget(c: C) {
  const runs = { vm_state: 'active', power_state: POWER_STATE.RUNNING, launched_at: c.p.clock.now() } as const;
  const isOff = { vm_state: 'stopped', power_state: POWER_STATE.SHUTDOWN } as const;
  const home = { ...(c.s.willRun ? runs : isOff), host: target(c).host, zone: target(c).zone, fault_json: null };
  return letGo(c, target(c).cellId, home, null);
}

async function chooseTarget(c: C) {
  const { global } = c.p.stores;
  await giveBackLostChoice(c);
  const { source, flavor, imageId } = c.s;
  const chosen = await chooseHost(
    c.p,
    {
      flavor: flavorOnHost(flavor, { id: imageId }),
      imageProperties: c.s.imageProperties,
      ...{ requestedZone: c.s.requestedZone, requestedHost: c.s.requestedHost },
      ignoredHosts: [source.host, ...triedHosts(c.s)],
      // What lies there would be found instead of a fresh disk.
      hostsWithRemains: await hostsWithRemains(global, c.serverId),
      // It runs nowhere: whoever may have it built anew may have it built anywhere.
      ...{ crossCellAllowed: true, homeCellId: source.cellId },
      groupId: await groupIdOf(global, c.serverId),
    },
    serverConsumer(c),
    (claimRoom) => globally(global, c, claimRoom),
  );
  if (chosen.kind === 'none') return noHost(c.s, chosen.reason);
  const { cellId, host, zone } = chosen;
  await writeMigration(c, c.s.migrationId, { dest_cell_id: cellId, dest_host: host });
  return { kind: 'done', output: { target: { cellId, host, zone } } } as const;
}

/** What became of the guest on the old host: off, not there, or out of reach as long as makes a host count as down. */
async function turnOffSource(c: C): Promise<StepOutcome<EvacuateState> | 'absent' | 'silent'> {
  const name = c.s.source.host;
  const host = await c.host(name);
  const reply = await host.setPower(c.serverId, { generation: c.generation, power: 'off', graceSeconds: 0 });
  if (reply.kind === 'absent') return 'absent';
  return reply.kind === 'unreachable' && !(await hostAnswers(c.p, name)) ? 'silent' : jobOutcome(reply);
}

async function shutOutSource(c: C): Promise<StepOutcome<EvacuateState>> {
  const { host } = c.s.source;
  if (await hostIsUp(c.p, host))
    return { kind: 'failed', reason: `host ${host} is up again: there is nothing to evacuate`, final: true };
  const off = await turnOffSource(c);
  if (off === 'absent') return doneBecause('has no guest');
  return off === 'silent' ? doneBecause(`host ${host} is down`) : off;
}

/** Undoes it. On a host that is down the guest is as it is: when the host answers, it is compared with the record. */
async function turnOnSource(c: C): Promise<StepOutcome<EvacuateState>> {
  return c.s.wasOn ? powerOnAgain(c, c.s.source.host) : doneBecause('was off');
}

/** Whatever is there is nobody's from now on. */
async function leaveSource(c: C): Promise<StepOutcome<EvacuateState>> {
  const { imageId, source, wasOn } = c.s;
  if (imageId === null) return destroyOrOwe(c, source.host, 'guest of an evacuated server');
  const off = await turnOffSource(c);
  if (off === 'absent') return doneBecause('has no guest');
  if (off !== 'silent' && off.kind !== 'done') return off;
  return inGlobal(c, (trx: Transaction<GlobalTables>) =>
    quarantineWithin(trx, {
      ...{ host: source.host, serverId: c.serverId, generation: c.generation, wasRunning: wasOn },
      ...{ reason: `its server was evacuated to ${target(c).host}`, foundAt: c.p.clock.now() },
    }),
  );
}

export interface EvacuateRequest {
  /** Null: the scheduler chooses. */
  readonly host: string | null;
  /** From 2.95 on it is left off on its new host. */
  readonly staysOff: boolean;
}

/**
 * Builds the server anew elsewhere. Refused: 409 for its state, 404 for a host that is not there, 400 while its own is
 * up.
 */
export const evacuateServer = inTurn(beginEvacuation);

async function beginEvacuation(
  p: Platform,
  actor: Actor,
  serverId: string,
  request: EvacuateRequest,
): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const { server, cellId } = found;
  if (request.host !== null && !(await isHost(p, request.host)))
    return notFound(`Compute host ${request.host} not found.`);
  if (request.host !== null && request.host === server.host)
    return badRequest("The target host can't be the same one.");
  const refusal = checkAction('evacuate', stateOf(server), isAdmin(actor));
  if (refusal) return refusal;
  invariant(server.host !== null, 'the rules refuse a server without a host');
  if (await hostIsUp(p, server.host)) return badRequest(`Compute service of ${server.host} is still in use.`);
  if ((await storageHostsOf(p.stores.global, serverId)).includes(CINDER) && !(await isForcedDown(p, server.host)))
    return badRequest(NOT_SHUT_OUT);
  const state: EvacuateState = {
    ...askedBy(actor, server),
    owner: { userId: server.userId, projectId: server.projectId },
    migrationId: newId(),
    ...{ imageId: diskImageOf(server.image), imageProperties: server.image.properties, flavor: server.flavor },
    source: { cellId, host: server.host, zone: server.zone ?? '' },
    ...{ requestedHost: request.host, requestedZone: server.requestedZone, vmState: server.vmState },
    wasOn: server.powerState === POWER_STATE.RUNNING,
    willRun: server.vmState !== 'stopped' && !request.staysOff,
    hasConfigDrive: server.configDrive !== null,
  };
  const retries = request.host === null ? p.settings.maxAttempts - 1 : 0;
  return startMove(p, { move: EVACUATE, serverId, actor, state, retries }, 'evacuate');
}

const NOT_SHUT_OUT =
  'The server has volumes of the Block Storage service, which may be unable to shut its host out: make sure that the ' +
  'host is off, force its compute service down, and evacuate then.';
