// Revert: the server goes back to the host, cell and flavor it came from, with its disk of before.
//
// VERIFY_RESIZE → REVERT_RESIZE → ACTIVE|SHUTOFF. A move of its own with its own pivot back. The source's guest was
// kept, and so was its room, so it always fits. The record is copied back as it is now: what the user changed while the
// resize waited survives. What the guest wrote since the resize is lost with the target's disk: that is what reverting
// means. Until the guest runs again on its source the status is REVERT_RESIZE.
import { hostAnswers, hostIsUp, isForcedDown } from '../control/hosts.ts';
import { openMigration } from '../control/migrations.ts';
import { activateBindings, unbindPorts } from '../control/network.ts';
import { release, transfer } from '../control/placement.ts';
import type { Platform } from '../control/platform.ts';
import { serverOrRefusal } from '../control/servers.ts';
import { invariant } from '../lib/errors.ts';
import { stateOf } from '../model/actions.ts';
import { checkRevert } from '../model/resize-rules.ts';
import { type Actor, type Flavor, isAdmin, POWER_STATE, type Refusal } from '../model/types.ts';
import { copyRecords, dropRecords, freeze, switchHome, thaw } from './carry.ts';
import { type ActionState, askedBy, letGo, takeHoldWithVolumes } from './claim.ts';
import { destroyOrOwe } from './hosts.ts';
import { writeMigration } from './migration-record.ts';
import type { Move, Owner, Place, StepContext, StepOutcome } from './move.ts';
import { doneBecause, inGlobal, unlessFenced } from './outcomes.ts';
import { endProbation, powerOff, powerOnAgain, powerOnProbation } from './power-effects.ts';
import { dropVolumes, forgetOldVolumes, type HasVolumes, handBackOrOwe, handOverVolumes } from './server-volumes.ts';
import { startMove, unlessOvertaken } from './start.ts';
import { inTurn } from './turns.ts';

export interface RevertState extends ActionState, HasVolumes {
  readonly owner: Owner;
  readonly migrationId: string;
  /** Where the server came from, and goes back to. */
  readonly source: Place;
  /** Where it is now. */
  readonly target: Place;
  readonly oldFlavor: Flavor;
  readonly newFlavor: Flavor;
  readonly returnTo: 'active' | 'stopped';
  /** Whether its guest runs now: it may have turned itself off while the resize waited. */
  readonly targetRan: boolean;
}

type C = StepContext<RevertState>;

const FORWARD = 'forward only';
const WAS_OFF = doneBecause('was off: stays off');
const wasOn = (c: C): boolean => c.s.returnTo === 'active';

export const REVERT: Move<RevertState> = {
  name: 'revert',
  version: 1,
  pivot: 'switch home',
  parties: (s) => [s.source.host, s.target.host],
  steps: [
    { step: 'take hold', do: takeHold, undo: (c) => letGo(c, c.s.target.cellId, {}, 'Error') },
    {
      step: 'mark reverting',
      do: (c) => writeMigration(c, c.s.migrationId, { status: 'reverting', saga_id: c.saga.id }),
      undo: (c) => writeMigration(c, c.s.migrationId, { status: 'finished' }),
    },
    {
      step: 'stop target',
      do: stopTarget,
      // As it was before the revert, whatever it was before the resize.
      undo: async (c) => (c.s.targetRan ? powerOnAgain(c, c.s.target.host) : WAS_OFF),
    },
    { step: 'hand back ports', do: (c) => portsTo(c, c.s.source.host), undo: (c) => portsTo(c, c.s.target.host) },
    {
      step: 'hand back volumes',
      do: volumesBack,
      undo: (c) => handBackOrOwe(c, c.s.source.host, c.s.target.host, 'volumes of a server that was not reverted'),
    },
    {
      // On probation until the home is switched; off again before the target's guest starts again.
      step: 'start source',
      attempts: 2,
      do: async (c) => (wasOn(c) ? powerOnProbation(c, c.s.source.host) : WAS_OFF),
      undo: (c) => endProbation(c, c.s.source.host),
    },
    {
      step: 'freeze record',
      do: (c) => freeze(c, c.s.target.cellId, c.s.source.cellId),
      undo: (c) => thaw(c, c.s.target.cellId, c.s.source.cellId),
    },
    {
      step: 'copy records back',
      do: (c) => copyRecords(c, c.s.target.cellId, c.s.source.cellId),
      undo: (c) => dropRecords(c, c.s.source.cellId, c.s.target.cellId),
    },
    {
      step: 'switch home',
      do: (c) => switchHome(c, c.s.source.cellId, c.s.oldFlavor),
      undo: (c) => switchHome(c, c.s.target.cellId, c.s.newFlavor),
    },
    {
      step: 'keep source',
      do: async (c) => (wasOn(c) ? powerOnAgain(c, c.s.source.host) : WAS_OFF),
      undo: FORWARD,
    },
    {
      step: 'drop target records',
      do: (c) => dropRecords(c, c.s.target.cellId, c.s.source.cellId),
      undo: FORWARD,
    },
    { step: 'take back room', do: takeBackRoom, undo: FORWARD },
    { step: 'clean target', do: (c) => destroyOrOwe(c, c.s.target.host, 'target of a reverted move'), undo: FORWARD },
    { step: 'unbind target ports', do: unbindTarget, undo: FORWARD },
    { step: 'drop target attachments', do: (c) => dropVolumes(c, c.s.target.host), undo: FORWARD },
    {
      step: 'close migration',
      do: (c) => writeMigration(c, c.s.migrationId, { status: 'reverted', confirm_at: null }),
      undo: FORWARD,
    },
    { step: 'let go', do: letGoAtSource, undo: FORWARD },
  ],
};

function takeHold(c: C) {
  const expected = { from: ['resized'], host: c.s.target.host } as const;
  return takeHoldWithVolumes(c, c.s.target.cellId, 'revertResize', 'resize_reverting', expected);
}

/** Off; or on a host that is dead, as an administrator says who forces it down: it is destroyed there, or that is owed. */
async function stopTarget(c: C): Promise<StepOutcome<RevertState>> {
  const { host } = c.s.target;
  const off = await powerOff(c, host, c.p.settings.shutdownTimeoutSeconds);
  const isOut = off.kind === 'failed' && !off.final && (await isGivenUp(c.p, host));
  return isOut ? doneBecause(`host ${host} is down`) : off;
}

/** An administrator says that it is down, and it is silent. Who only says so may be wrong about a host that answers. */
const isGivenUp = async (p: Platform, host: string): Promise<boolean> =>
  (await isForcedDown(p, host)) && !(await hostAnswers(p, host));

async function portsTo(c: C, host: string) {
  return unlessFenced(await activateBindings(c.p.stores.global, c.serverId, host, c.generation));
}

/** What was attached or detached while the resize waited stays so: the mappings of now count. */
async function volumesBack(c: C) {
  const forgotten = await forgetOldVolumes(c, c.s.source.host);
  return forgotten.kind === 'done' ? handOverVolumes(c, c.s.target.host, c.s.source.host) : forgotten;
}

/**
 * The target's room is given up and the held room is the server's again, in one transaction. Repeated, the server holds
 * its room already and the migration nothing, so the first statement must not take it: it looks at that.
 */
function takeBackRoom(c: C) {
  return inGlobal(c, async (trx) => {
    const held = await trx.selectFrom('consumers').select('id').where('id', '=', c.s.migrationId).executeTakeFirst();
    if (!held) return;
    const server = { id: c.serverId, type: 'server' as const, serverId: c.serverId, ...c.s.owner };
    await release(trx, c.serverId);
    await transfer(trx, { ...server, id: c.s.migrationId, type: 'migration' }, server);
  });
}

async function unbindTarget(c: C) {
  return unlessFenced(await unbindPorts(c.p.stores.global, c.serverId, c.s.target.host, c.generation));
}

function letGoAtSource(c: C) {
  const home = {
    ...{ vm_state: c.s.returnTo, old_vm_state: null, host: c.s.source.host, zone: c.s.source.zone },
    power_state: wasOn(c) ? POWER_STATE.RUNNING : POWER_STATE.SHUTDOWN,
    ...{ flavor_json: JSON.stringify(c.s.oldFlavor), old_flavor_json: null },
  };
  return letGo(c, c.s.source.cellId, home, null);
}

/**
 * Takes the resize back. 409 when the server is not resized, something else is at it or one of its two hosts is down, 400
 * without a finished migration. Never over quota. From a host that is down when it has been given up: that it is off is what
 * the administrator answers for, as when it is evacuated. The old disk may be the last one.
 */
export const revertResize = inTurn(beginRevert);

async function beginRevert(p: Platform, actor: Actor, serverId: string): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const { server, cellId } = found;
  const migration = await openMigration(p.stores.global, serverId);
  const host = server.host ?? '';
  const mayBeLeft = (await hostIsUp(p, host)) || (await isGivenUp(p, host));
  const servicesUp = migration !== null && mayBeLeft && (await hostIsUp(p, migration.sourceHost));
  const refusal = checkRevert(stateOf(server), isAdmin(actor), migration?.status ?? null, servicesUp);
  if (refusal) return unlessOvertaken(p, server, 'revertResize', refusal);
  invariant(migration && server.host !== null, 'checkRevert refuses without a migration');
  const sourceZone = await zoneOfHost(p, migration.sourceHost);
  return startMove(
    p,
    {
      move: REVERT,
      serverId,
      actor,
      state: {
        ...askedBy(actor, server),
        owner: { userId: server.userId, projectId: server.projectId },
        migrationId: migration.uuid,
        source: { cellId: migration.sourceCellId, host: migration.sourceHost, zone: sourceZone },
        target: { cellId, host: server.host, zone: server.zone ?? '' },
        oldFlavor: migration.oldFlavor,
        newFlavor: migration.newFlavor,
        returnTo: server.oldVmState ?? 'active',
        targetRan: server.powerState !== POWER_STATE.SHUTDOWN,
      },
    },
    'revertResize',
  );
}

async function zoneOfHost(p: Platform, host: string): Promise<string> {
  const row = await p.stores.global
    .selectFrom('aggregate_hosts')
    .innerJoin('aggregates', 'aggregates.id', 'aggregate_hosts.aggregate_id')
    .select('aggregates.zone')
    .where('aggregate_hosts.host', '=', host)
    .where('aggregates.zone', 'is not', null)
    .executeTakeFirst();
  return row?.zone ?? p.settings.defaultZone;
}
