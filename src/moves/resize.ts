// Resize and cold migration: a server goes to another host, in whatever cell, with or without a new flavor.
//
// ACTIVE|SHUTOFF → RESIZE → VERIFY_RESIZE; then confirm.ts, revert.ts or delete.ts. Until `switch home` everything can
// be undone and the server is as it was; behind it there is only forward. The source's guest is kept, off, and its room
// stays allocated to the migration, so a revert always fits. Records cross last: the server can be edited until then.
// A target that does not do is given up for another: see alternates.ts.
// What can race: user edits (the freeze), another move (one active saga per server), a stalled conductor (fences).
import { findFlavor } from '../control/flavors.ts';
import { hostIsUp } from '../control/hosts.ts';
import { findBaseImage } from '../control/images.ts';
import type { Platform } from '../control/platform.ts';
import { firstOver, quotasFor } from '../control/quota.ts';
import { plainFlavor } from '../control/records.ts';
import { serverOrRefusal } from '../control/servers.ts';
import type { DiskExport } from '../host/contract.ts';
import { invariant } from '../lib/errors.ts';
import { newId } from '../lib/ids.ts';
import { stateOf } from '../model/actions.ts';
import { diskImageOf } from '../model/disk-image.ts';
import { rootBytes } from '../model/disk-rules.ts';
import { checkResizeQuota } from '../model/quota.ts';
import { checkMigrate, checkResize } from '../model/resize-rules.ts';
import { type Actor, type Flavor, isAdmin, type Refusal, type Server } from '../model/types.ts';
import { switchHome } from './carry.ts';
import { type ActionState, askedBy, letGo } from './claim.ts';
import { destroyOrOwe } from './hosts.ts';
import { writeMigration } from './migration-record.ts';
import type { Move, Owner, Place } from './move.ts';
import {
  chooseTarget,
  closeExport,
  closeExportAgain,
  compareDigests,
  copyDisk,
  finishMigration,
  growDisk,
  keepTarget,
  letGoAtTarget,
  openExport,
  openMigration,
  prepareTarget,
  startSourceAgain,
  startTarget,
  stopSource,
  takeHold,
} from './resize-effects.ts';
import { type HasVolumes, handBackOrOwe, handOverVolumes } from './server-volumes.ts';
import { startMove } from './start.ts';
import {
  BIND_PORTS,
  COPY_RECORDS,
  DROP_OLD_RECORDS,
  ELSEWHERE,
  FREEZE_RECORD,
  giveUpTarget,
  type HasTarget,
  HOLD_SOURCE_ROOM,
  portsTo,
  RESERVE_VOLUMES,
  target,
} from './target.ts';
import { inTurn } from './turns.ts';

export interface ResizeState extends ActionState, HasVolumes, HasTarget {
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
  readonly disk?: DiskExport;
  readonly sha256?: string;
  readonly copiedBytes?: number;
}

const FORWARD = 'forward only';

export const RESIZE: Move<ResizeState> = {
  name: 'resize',
  version: 1,
  pivot: 'switch home',
  parties: (s) => [s.source.host, s.target?.host],
  steps: [
    // Undone by clearing task and saga, and closing the action with the reason: only history grows.
    { step: 'take hold', do: takeHold, undo: (c) => letGo(c, c.s.source.cellId, {}, 'Error') },
    // The record of a failed move stays, with its status: it is history.
    { step: 'open migration', do: openMigration, undo: (c) => writeMigration(c, c.s.migrationId, { status: 'error' }) },
    HOLD_SOURCE_ROOM,
    // The choice is a claim on the target's room: undone by giving the room back.
    { step: 'choose target', attempts: 3, do: chooseTarget, undo: giveUpTarget },
    BIND_PORTS,
    RESERVE_VOLUMES,
    {
      // Room, base image and record on the target; all of it goes with destroy, or is owed by a host that is down.
      ...{ step: 'prepare target', ...ELSEWHERE, do: prepareTarget },
      undo: (c) => destroyOrOwe(c, target(c).host, 'target of a move that was undone'),
    },
    // Of a server that was off it only makes sure that it is, and the undo leaves it so.
    { step: 'stop source', do: stopSource, undo: startSourceAgain },
    { step: 'open export', do: openExport, undo: closeExportAgain },
    {
      ...{ step: 'copy disk', ...ELSEWHERE, attempts: 3, do: copyDisk },
      undo: 'the copy, and the job that makes it, go with the target: see `prepare target`',
    },
    { step: 'compare digests', ...ELSEWHERE, do: compareDigests, undo: 'it only looked' },
    { step: 'close export', do: closeExport, undo: 'an export that is needed again is opened again' },
    { step: 'grow disk', ...ELSEWHERE, do: growDisk, undo: 'the disk goes with the target' },
    { step: 'hand over ports', do: (c) => portsTo(c, target(c).host), undo: (c) => portsTo(c, c.s.source.host) },
    {
      // Both guests are off. The source's access ends before the target's begins, and the other way round to undo it.
      step: 'hand over volumes',
      do: (c) => handOverVolumes(c, c.s.source.host, target(c).host),
      undo: (c) => handBackOrOwe(c, target(c).host, c.s.source.host, 'volumes of a server that was not moved'),
    },
    {
      // On probation until the home is switched. The target's guest must be off before the source's starts again: it is
      // destroyed here, or, on a host that is down, turned off by the end of its probation and owed.
      ...{ step: 'start target', ...ELSEWHERE, attempts: 2, do: startTarget },
      undo: (c) => destroyOrOwe(c, target(c).host, 'guest of a move that was undone'),
    },
    FREEZE_RECORD,
    COPY_RECORDS,
    {
      step: 'switch home',
      do: (c) => switchHome(c, target(c).cellId, c.s.newFlavor),
      undo: (c) => switchHome(c, c.s.source.cellId, c.s.oldFlavor),
    },
    // Starts it again if its probation ended meanwhile.
    { step: 'keep target', do: keepTarget, undo: FORWARD },
    DROP_OLD_RECORDS,
    { step: 'finish migration', do: finishMigration, undo: FORWARD },
    { step: 'let go', do: letGoAtTarget, undo: FORWARD },
  ],
};

/** Resizes the server: another flavor, on whatever host the scheduler finds in whatever cell. */
export const resizeServer = inTurn(beginResize);

async function beginResize(
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
export const migrateServer = inTurn(beginMigration);

async function beginMigration(
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
    ...askedBy(actor, server),
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
