// Resize and cold migration: a server goes to another host, in whatever cell, with or without a new flavor.
//
// ACTIVE|SHUTOFF → RESIZE → VERIFY_RESIZE; then confirm.ts, revert.ts or delete.ts. Until `switch home` everything can
// be undone and the server is as it was; behind it there is only forward. The source's guest is kept, off, and its room
// stays allocated to the migration, so a revert always fits. Records cross last: the server can be edited until then.
// A target that does not do is given up for another: see alternates.ts.
// What can race: user edits (the freeze), another move (one active saga per server), a stalled conductor (fences).

import type { Transaction } from 'kysely';
import { findFlavor } from '../control/flavors.ts';
import { hostIsUp } from '../control/hosts.ts';
import { findBaseImage } from '../control/images.ts';
import { activateBindings, bindPorts, unbindPorts } from '../control/network.ts';
import { allocationsOf, release, transfer } from '../control/placement.ts';
import type { Platform } from '../control/platform.ts';
import { firstOver, quotasFor } from '../control/quota.ts';
import { plainFlavor } from '../control/records.ts';
import { chooseHost } from '../control/scheduling.ts';
import { groupIdOf } from '../control/server-groups.ts';
import { serverOrRefusal } from '../control/servers.ts';
import type { DiskExport } from '../host/contract.ts';
import { invariant } from '../lib/errors.ts';
import { newId } from '../lib/ids.ts';
import { stateOf } from '../model/actions.ts';
import { diskImageOf } from '../model/disk-image.ts';
import { rootBytes } from '../model/disk-rules.ts';
import { checkResizeQuota, isUpsize } from '../model/quota.ts';
import { checkMigrate, checkResize } from '../model/resize-rules.ts';
import { flavorOnHost } from '../model/resources.ts';
import { ignoredHosts } from '../model/targeting.ts';
import { type Actor, type Flavor, isAdmin, POWER_STATE, type Refusal, type Server } from '../model/types.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { givenUp, noHost, type Tried, triedHosts } from './alternates.ts';
import { copyRecords, dropRecords, freeze, switchHome, thaw } from './carry.ts';
import { letGo, takeHoldWithVolumes } from './claim.ts';
import { globally } from './fencing.ts';
import { destroyOrOwe, jobOutcome, settled, unlessDoomed } from './hosts.ts';
import { openMigrationRecord, writeMigration } from './migration-record.ts';
import type { Move, Owner, Place, StepContext } from './move.ts';
import { done, doneBecause, inGlobal, unlessFenced } from './outcomes.ts';
import { powerOff, powerOnAgain, powerOnProbation } from './power-effects.ts';
import { dropVolumes, type HasVolumes, handBackVolumes, handOverVolumes, reserveVolumes } from './server-volumes.ts';
import { guestSpec, recordedDrive } from './spec.ts';
import { startMove } from './start.ts';

export interface ResizeState extends HasVolumes {
  readonly actor: Owner;
  /** Whose the server is: allocations count for them. */
  readonly owner: Owner;
  readonly type: 'resize' | 'migration';
  readonly migrationId: string;
  /** Null: it boots from a volume, and no disk has to be copied. */
  readonly imageId: string | null;
  readonly imageProperties: Readonly<Record<string, string>>;
  readonly oldFlavor: Flavor;
  readonly newFlavor: Flavor;
  readonly source: Place;
  /** Only this host will do; null: the scheduler chooses. */
  readonly requestedHost: string | null;
  readonly requestedZone: string | null;
  readonly diskConfig: 'AUTO' | 'MANUAL' | null;
  readonly wasActive: boolean;
  readonly hasConfigDrive: boolean;
  readonly crossCellAllowed: boolean;
  // found out on the way
  /** Null: given up, another is to be chosen. */
  readonly target?: Place | null;
  readonly tried?: readonly Tried[];
  readonly disk?: DiskExport;
  readonly sha256?: string;
  readonly copiedBytes?: number;
}

type C = StepContext<ResizeState>;

/** Of the steps that depend on the target: another one may do better. */
const ELSEWHERE = { retryFrom: 'choose target' } as const;

const NO_DISK = doneBecause('boots from a volume');

const target = (c: C): Place => {
  invariant(c.s.target, 'a step behind `choose target` needs the target');
  return c.s.target;
};

const serverConsumer = (c: C) => ({ id: c.serverId, type: 'server' as const, serverId: c.serverId, ...c.s.owner });
const migrationConsumer = (c: C) => ({
  id: c.s.migrationId,
  type: 'migration' as const,
  serverId: c.serverId,
  ...c.s.owner,
});

export const RESIZE: Move<ResizeState> = {
  name: 'resize',
  version: 1,
  pivot: 'switch home',
  parties: (s) => [s.source.host, s.target?.host],
  steps: [
    {
      // Undone by clearing task and saga, and closing the action with the reason: only history grows.
      step: 'take hold',
      do: (c) =>
        takeHoldWithVolumes(c, c.s.source.cellId, c.s.type === 'resize' ? 'resize' : 'migrate', 'resize_prep', {
          from: [c.s.wasActive ? 'active' : 'stopped'],
          host: c.s.source.host,
        }),
      undo: (c) => letGo(c, c.s.source.cellId, {}, 'Error'),
    },
    {
      // The record of a failed move stays, with its status: it is history.
      step: 'open migration',
      do: (c) => openMigrationRecord(c, { ...c.s, status: 'migrating' }),
      undo: (c) => writeMigration(c, c.s.migrationId, { status: 'error' }),
    },
    {
      // The source's room passes to the migration and back; no sum changes.
      step: 'hold source room',
      do: (c) => inGlobal(c, (trx) => transfer(trx, serverConsumer(c), migrationConsumer(c))),
      undo: (c) => inGlobal(c, (trx) => transfer(trx, migrationConsumer(c), serverConsumer(c))),
    },
    {
      // The choice is a claim on the target's room: undone by giving the room back.
      step: 'choose target',
      attempts: 3,
      do: chooseTarget,
      undo: giveUpTarget,
    },
    {
      step: 'bind ports',
      do: async (c) => unlessFenced(await bindPorts(c.p.stores.global, c.serverId, target(c).host, c.generation)),
      undo: async (c) => unlessFenced(await unbindPorts(c.p.stores.global, c.serverId, target(c).host, c.generation)),
    },
    {
      step: 'reserve volumes',
      do: (c) => reserveVolumes(c, target(c).host),
      undo: (c) => dropVolumes(c, target(c).host),
    },
    {
      // Room, base image and record on the target; all of it goes with destroy, or is owed by a host that is down.
      step: 'prepare target',
      ...ELSEWHERE,
      do: async (c) => {
        const drive = c.s.hasConfigDrive ? await recordedDrive(c.p, c.s.source.cellId, c.serverId) : null;
        const spec = await guestSpec(c.p, c.serverId, c.s.imageId, c.s.newFlavor, drive);
        const host = await c.host(target(c).host);
        return jobOutcome(
          await host.define(c.serverId, {
            generation: c.generation,
            spec,
            disk: c.s.imageId === null ? 'none' : 'incoming',
          }),
        );
      },
      undo: (c) => destroyOrOwe(c, target(c).host, 'target of a move that was undone'),
    },
    {
      // Of a server that was off it only makes sure that it is, and the undo leaves it so.
      step: 'stop source',
      do: (c) => powerOff(c, c.s.source.host, c.p.settings.shutdownTimeoutSeconds),
      undo: async (c) => (c.s.wasActive ? powerOnAgain(c, c.s.source.host) : doneBecause('was off')),
    },
    {
      step: 'open export',
      do: async (c) => {
        if (c.s.imageId === null) return NO_DISK;
        const host = await c.host(c.s.source.host);
        return settled(await host.openExport(c.serverId, { generation: c.generation }), (disk) => ({ disk }));
      },
      undo: closeExport,
    },
    {
      step: 'copy disk',
      ...ELSEWHERE,
      attempts: 3,
      do: async (c) => {
        if (c.s.imageId === null) return NO_DISK;
        invariant(c.s.disk, 'a copy needs an export');
        const host = await c.host(target(c).host);
        const reply = await host.importDisk(c.serverId, { generation: c.generation, source: c.s.disk });
        return jobOutcome(reply, (job) => ({ copiedBytes: job.doneBytes }));
      },
      undo: 'the copy, and the job that makes it, go with the target: see `prepare target`',
    },
    {
      step: 'compare digests',
      ...ELSEWHERE,
      do: compareDigests,
      undo: 'it only looked',
    },
    {
      step: 'close export',
      do: closeExport,
      undo: 'an export that is needed again is opened again',
    },
    {
      step: 'grow disk',
      ...ELSEWHERE,
      do: async (c) => {
        if (c.s.imageId === null) return NO_DISK;
        const host = await c.host(target(c).host);
        const spec = await guestSpec(c.p, c.serverId, c.s.imageId, c.s.newFlavor, null);
        invariant(spec.root.kind === 'image', 'the disk was copied');
        return jobOutcome(await host.growDisk(c.serverId, { generation: c.generation, rootBytes: spec.root.bytes }));
      },
      undo: 'the disk goes with the target',
    },
    {
      step: 'hand over ports',
      do: async (c) =>
        unlessFenced(await activateBindings(c.p.stores.global, c.serverId, target(c).host, c.generation)),
      undo: async (c) =>
        unlessFenced(await activateBindings(c.p.stores.global, c.serverId, c.s.source.host, c.generation)),
    },
    {
      // Both guests are off. The source's access ends before the target's begins, and the other way round to undo it.
      step: 'hand over volumes',
      do: (c) => handOverVolumes(c, c.s.source.host, target(c).host),
      undo: (c) => handBackVolumes(c, target(c).host, c.s.source.host),
    },
    {
      // On probation until the home is switched. The target's guest must be off before the source's starts again: it is
      // destroyed here, or, on a host that is down, turned off by the end of its probation and owed.
      step: 'start target',
      ...ELSEWHERE,
      attempts: 2,
      do: async (c) => (c.s.wasActive ? powerOnProbation(c, target(c).host) : doneBecause('was off: stays off')),
      undo: (c) => destroyOrOwe(c, target(c).host, 'guest of a move that was undone'),
    },
    {
      step: 'freeze record',
      do: (c) => freeze(c, c.s.source.cellId, target(c).cellId),
      undo: (c) => thaw(c, c.s.source.cellId, target(c).cellId),
    },
    {
      step: 'copy records',
      ...ELSEWHERE,
      do: (c) => copyRecords(c, c.s.source.cellId, target(c).cellId),
      undo: (c) => dropRecords(c, target(c).cellId, c.s.source.cellId),
    },
    {
      step: 'switch home',
      do: (c) => switchHome(c, target(c).cellId, c.s.newFlavor),
      undo: 'the pivot: turning back from here means that the home was not switched',
    },
    {
      // Starts it again if its probation ended meanwhile.
      step: 'keep target',
      do: async (c) => (c.s.wasActive ? powerOnAgain(c, target(c).host) : doneBecause('was off: stays off')),
      undo: 'forward only',
    },
    {
      step: 'drop old records',
      do: (c) => dropRecords(c, c.s.source.cellId, target(c).cellId),
      undo: 'forward only',
    },
    {
      step: 'finish migration',
      do: (c) => {
        const window = c.p.settings.resizeConfirmWindowSeconds;
        return writeMigration(c, c.s.migrationId, {
          status: 'finished',
          confirm_at: window > 0 ? c.p.clock.now() + window * 1000 : null,
        });
      },
      undo: 'forward only',
    },
    {
      step: 'let go',
      do: (c) =>
        letGo(
          c,
          target(c).cellId,
          {
            vm_state: 'resized',
            old_vm_state: c.s.wasActive ? 'active' : 'stopped',
            power_state: c.s.wasActive ? POWER_STATE.RUNNING : POWER_STATE.SHUTDOWN,
            flavor_json: JSON.stringify(c.s.newFlavor),
            old_flavor_json: JSON.stringify(c.s.oldFlavor),
            host: target(c).host,
            zone: target(c).zone,
            ...(c.s.wasActive ? { launched_at: c.p.clock.now() } : {}),
            ...(c.s.diskConfig === null ? {} : { disk_config: c.s.diskConfig }),
          },
          null,
        ),
      undo: 'forward only',
    },
  ],
};

async function chooseTarget(c: C) {
  // A choice whose answer was lost is given back first: it would count against the hosts, and stay beside the new one.
  if ((await allocationsOf(c.p.stores.global, c.serverId)).length > 0) {
    await inGlobal(c, (trx) => release(trx, c.serverId));
  }
  const chosen = await chooseHost(
    c.p,
    {
      flavor: flavorOnHost(c.s.newFlavor, { id: c.s.imageId }),
      imageProperties: c.s.imageProperties,
      requestedZone: c.s.requestedZone,
      requestedHost: c.s.requestedHost,
      ignoredHosts: ignoredHosts(c.s.type, c.s.source.host, false, triedHosts(c.s)),
      crossCellAllowed: c.s.crossCellAllowed,
      homeCellId: c.s.source.cellId,
      groupId: await groupIdOf(c.p.stores.global, c.serverId),
    },
    serverConsumer(c),
    // With the claim, in one transaction: two resizes that were accepted at once may not both fit into the quota.
    (claimRoom) =>
      globally(c.p.stores.global, c, async (trx) => {
        const over = await overQuota(c, trx);
        return over === null ? claimRoom(trx) : { kind: 'none', reason: over.message };
      }),
  );
  if (chosen.kind === 'none') return noHost(c.s, chosen.reason);
  await writeMigration(c, c.s.migrationId, { dest_cell_id: chosen.cellId, dest_host: chosen.host });
  return { kind: 'done', output: { target: { cellId: chosen.cellId, host: chosen.host, zone: chosen.zone } } } as const;
}

async function giveUpTarget(c: C) {
  await inGlobal(c, (trx) => release(trx, c.serverId));
  // All the way back the target stays known: the failure card tells where it was.
  if (c.saga.backTo === null) return done;
  return { kind: 'done', output: { tried: givenUp(c, c.s.target ?? null), target: null } } as const;
}

async function overQuota(c: C, trx: Transaction<GlobalTables>): Promise<Refusal | null> {
  const { oldFlavor, newFlavor, owner } = c.s;
  if (!isUpsize(oldFlavor, newFlavor)) return null;
  const quotas = await quotasFor(c.p, owner, trx);
  return firstOver(quotas, (limits, used) => checkResizeQuota(limits, used, oldFlavor, newFlavor));
}

async function closeExport(c: C) {
  if (c.s.imageId === null) return NO_DISK;
  const host = await c.host(c.s.source.host);
  const reply = await host.closeExport(c.serverId, { generation: c.generation });
  if (reply.kind === 'absent') return done;
  return unlessDoomed(c, c.s.source.host, settled<ResizeState, Record<string, never>>(reply));
}

/** Both hosts hash the overlay: it must be the same, byte for byte. */
async function compareDigests(c: C) {
  if (c.s.imageId === null) return NO_DISK;
  const [source, copy] = await Promise.all(
    [c.s.source.host, target(c).host].map(async (name) =>
      jobOutcome<
        ResizeState,
        { state: 'pending' | 'done' | 'failed'; doneBytes: number; totalBytes: number; sha256?: string }
      >(await (await c.host(name)).digest(c.serverId, { generation: c.generation }), (job) =>
        job.sha256 === undefined ? {} : { sha256: job.sha256 },
      ),
    ),
  );
  invariant(source && copy, 'two hosts were asked');
  if (source.kind !== 'done') return source;
  if (copy.kind !== 'done') return copy;
  const [original, copied] = [source.output?.sha256, copy.output?.sha256];
  if (original === undefined || original !== copied) {
    return {
      kind: 'failed',
      reason: `the copy differs: ${original} on the source, ${copied} on the target`,
      final: true,
    } as const;
  }
  return { kind: 'done', output: { sha256: original } } as const;
}

/** Resizes the server: another flavor, on whatever host the scheduler finds in whatever cell. */
export async function resizeServer(
  p: Platform,
  actor: Actor,
  serverId: string,
  request: { readonly flavorId: string; readonly diskConfig?: 'AUTO' | 'MANUAL' },
): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const { server, cellId } = found;
  const next = await findFlavor(p, request.flavorId);
  const diskImageId = diskImageOf(server.image);
  const base = diskImageId === null ? null : await findBaseImage(p, diskImageId);
  const refusal = checkResize({
    server: stateOf(server),
    admin: isAdmin(actor),
    projectId: actor.projectId,
    serviceUp: server.host !== null && (await hostIsUp(p, server.host)),
    flavorRef: request.flavorId,
    current: server.flavor,
    next,
    image: server.image,
    imageVirtualBytes: base?.virtualBytes ?? 0,
    rootDiskBytes: rootBytes(server.flavor, base?.virtualBytes ?? 0),
    diskConfig: request.diskConfig ?? null,
  });
  if (refusal) return refusal;
  invariant(next, 'checkResize refuses a flavor that is not there');
  const overQuota = firstOver(await quotasFor(p, server), (limits, used) =>
    checkResizeQuota(limits, used, server.flavor, next),
  );
  if (overQuota) return overQuota;
  return startMove(
    p,
    {
      move: RESIZE,
      serverId,
      actor,
      state: {
        ...commonState(p, actor, server, cellId),
        type: 'resize',
        newFlavor: plainFlavor(next),
        requestedHost: null,
        diskConfig: request.diskConfig ?? null,
      },
      retries: p.settings.maxAttempts - 1,
    },
    'resize',
  );
}

/** Moves the server to another host as it is. `host` null: the scheduler chooses. */
export async function migrateServer(
  p: Platform,
  actor: Actor,
  serverId: string,
  request: { readonly host: string | null },
): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const { server, cellId } = found;
  const wanted =
    request.host === null
      ? undefined
      : await p.stores.global.selectFrom('hosts').select('cell_id').where('name', '=', request.host).executeTakeFirst();
  const refusal = checkMigrate({
    server: stateOf(server),
    admin: isAdmin(actor),
    serviceUp: server.host !== null && (await hostIsUp(p, server.host)),
    host: request.host,
    targetCellId: wanted?.cell_id ?? null,
    serverCellId: cellId,
    crossCellAllowed: mayCrossCells(p, actor, server),
  });
  if (refusal) return refusal;
  return startMove(
    p,
    {
      move: RESIZE,
      serverId,
      actor,
      state: {
        ...commonState(p, actor, server, cellId),
        type: 'migration',
        newFlavor: server.flavor,
        requestedHost: request.host,
        diskConfig: null,
      },
      // A host that was asked for has no alternates.
      retries: request.host === null ? p.settings.maxAttempts - 1 : 0,
    },
    'migrate',
  );
}

/** Not being allowed is no refusal, as in Nova: the move then finds a host within its cell, or none. */
const mayCrossCells = (p: Platform, actor: Actor, server: Server): boolean =>
  p.policies.allows('compute', 'compute:servers:resize:cross_cell', actor, {
    project_id: server.projectId,
    user_id: server.userId,
  });

function commonState(p: Platform, actor: Actor, server: Server, cellId: string) {
  invariant(server.host !== null, 'the rules refuse a server without a host');
  return {
    actor: { userId: actor.userId, projectId: actor.projectId },
    owner: { userId: server.userId, projectId: server.projectId },
    migrationId: newId(),
    imageId: diskImageOf(server.image),
    imageProperties: server.image.properties,
    oldFlavor: server.flavor,
    source: { cellId, host: server.host, zone: server.zone ?? '' },
    requestedZone: server.requestedZone,
    wasActive: server.vmState === 'active',
    hasConfigDrive: server.configDrive !== null,
    crossCellAllowed: mayCrossCells(p, actor, server),
  };
}
