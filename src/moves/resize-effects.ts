// What the steps of a resize do (resize.ts has their order, and what undoes what).
//
// Each is repeated after a crash and finds what it did; each change of a record or a host carries the fence of the saga.
import type { Transaction } from 'kysely';
import { hostsWithRemains } from '../control/quarantine.ts';
import { firstOver, lockQuota, quotasFor } from '../control/quota.ts';
import { chooseHost } from '../control/scheduling.ts';
import { groupIdOf } from '../control/server-groups.ts';
import { invariant } from '../lib/errors.ts';
import { checkResizeQuota, isUpsize } from '../model/quota.ts';
import { flavorOnHost } from '../model/resources.ts';
import { ignoredHosts } from '../model/targeting.ts';
import { POWER_STATE, type Refusal } from '../model/types.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { noHost, triedHosts } from './alternates.ts';
import { letGo, takeHoldWithVolumes } from './claim.ts';
import { globally } from './fencing.ts';
import { jobOutcome, orOweGuest, settled } from './hosts.ts';
import { openMigrationRecord, writeMigration } from './migration-record.ts';
import type { StepContext } from './move.ts';
import { done, doneBecause } from './outcomes.ts';
import { powerOff, powerOnAgain, powerOnProbation } from './power-effects.ts';
import type { ResizeState } from './resize.ts';
import { guestSpec } from './spec.ts';
import { giveBackLostChoice, prepare, serverConsumer, target } from './target.ts';

type C = StepContext<ResizeState>;

const NO_DISK = doneBecause('boots from a volume');
const STAYS_OFF = doneBecause('was off: stays off');

export const takeHold = (c: C) =>
  takeHoldWithVolumes(c, c.s.source.cellId, c.s.type === 'resize' ? 'resize' : 'migrate', 'resize_prep', {
    from: [c.s.wasActive ? 'active' : 'stopped'],
    host: c.s.source.host,
  });

export const openMigration = (c: C) => openMigrationRecord(c, { ...c.s, status: 'migrating' });

export async function chooseTarget(c: C) {
  await giveBackLostChoice(c);
  const chosen = await chooseHost(
    c.p,
    {
      flavor: flavorOnHost(c.s.newFlavor, { id: c.s.imageId }),
      imageProperties: c.s.imageProperties,
      requestedZone: c.s.requestedZone,
      requestedHost: c.s.requestedHost,
      ignoredHosts: ignoredHosts(c.s.type, c.s.source.host, false, triedHosts(c.s)),
      // Undoing the move would destroy what lies there.
      hostsWithRemains: await hostsWithRemains(c.p.stores.global, c.serverId),
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

async function overQuota(c: C, trx: Transaction<GlobalTables>): Promise<Refusal | null> {
  const { oldFlavor, newFlavor, owner } = c.s;
  if (!isUpsize(oldFlavor, newFlavor)) return null;
  await lockQuota(trx, owner.projectId);
  const quotas = await quotasFor(c.p, owner, trx);
  return firstOver(quotas, (limits, used) => checkResizeQuota(limits, used, oldFlavor, newFlavor));
}

export function prepareTarget(c: C) {
  const { source, newFlavor: flavor, imageId, hasConfigDrive } = c.s;
  return prepare(c, { cellId: source.cellId, flavor, imageId, hasConfigDrive, disk: 'incoming' });
}

export const stopSource = (c: C) => powerOff(c, c.s.source.host, c.p.settings.shutdownTimeoutSeconds);
export const startSourceAgain = async (c: C) =>
  c.s.wasActive ? powerOnAgain(c, c.s.source.host) : doneBecause('was off');

export async function openExport(c: C) {
  if (c.s.imageId === null) return NO_DISK;
  const host = await c.host(c.s.source.host);
  return settled(await host.openExport(c.serverId, { generation: c.generation, reader: target(c).host }), (disk) => ({
    disk,
  }));
}

export async function closeExport(c: C) {
  if (c.s.imageId === null) return NO_DISK;
  const host = await c.host(c.s.source.host);
  const reply = await host.closeExport(c.serverId, { generation: c.generation, reader: target(c).host });
  return reply.kind === 'absent' ? done : settled<ResizeState, Record<string, never>>(reply);
}

/** The same, to undo its opening. */
export const closeExportAgain = async (c: C) => orOweGuest(c, c.s.source.host, await closeExport(c));

export async function copyDisk(c: C) {
  if (c.s.imageId === null) return NO_DISK;
  invariant(c.s.disk, 'a copy needs an export');
  const host = await c.host(target(c).host);
  const reply = await host.importDisk(c.serverId, { generation: c.generation, source: c.s.disk });
  return jobOutcome(reply, (job) => ({ copiedBytes: job.doneBytes }));
}

/** How it is told that a copy is not what was copied: disks are off and fenced meanwhile, so that it never happens. */
export const COPY_DIFFERS = 'the copy differs';

/** Both hosts hash the overlay: it must be the same, byte for byte. */
export async function compareDigests(c: C) {
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
  // That the source cannot read its disk is nothing that the target, whose step this is, has a part in.
  if (source.kind === 'failed' && source.final) {
    return { ...source, reason: `host ${c.s.source.host}: ${source.reason}` };
  }
  if (source.kind !== 'done') return source;
  if (copy.kind !== 'done') return copy;
  const [original, copied] = [source.output?.sha256, copy.output?.sha256];
  if (original === undefined || original !== copied) {
    return {
      kind: 'failed',
      reason: `${COPY_DIFFERS}: ${original} on the source, ${copied} on the target`,
      final: true,
    } as const;
  }
  return { kind: 'done', output: { sha256: original } } as const;
}

export async function growDisk(c: C) {
  if (c.s.imageId === null) return NO_DISK;
  const host = await c.host(target(c).host);
  const spec = await guestSpec(c.p, c.serverId, c.s.imageId, c.s.newFlavor, null);
  invariant(spec.root.kind === 'image', 'the disk was copied');
  return jobOutcome(await host.growDisk(c.serverId, { generation: c.generation, rootBytes: spec.root.bytes }));
}

export const startTarget = async (c: C) => (c.s.wasActive ? powerOnProbation(c, target(c).host) : STAYS_OFF);
export const keepTarget = async (c: C) => (c.s.wasActive ? powerOnAgain(c, target(c).host) : STAYS_OFF);

export function finishMigration(c: C) {
  const window = c.p.settings.resizeConfirmWindowSeconds;
  const confirmAt = window > 0 ? c.p.clock.now() + window * 1000 : null;
  return writeMigration(c, c.s.migrationId, { status: 'finished', confirm_at: confirmAt });
}

export function letGoAtTarget(c: C) {
  const { wasActive, newFlavor, oldFlavor, diskConfig } = c.s;
  const home = {
    ...({ vm_state: 'resized', old_vm_state: wasActive ? 'active' : 'stopped' } as const),
    power_state: wasActive ? POWER_STATE.RUNNING : POWER_STATE.SHUTDOWN,
    ...{ flavor_json: JSON.stringify(newFlavor), old_flavor_json: JSON.stringify(oldFlavor) },
    ...{ host: target(c).host, zone: target(c).zone },
    ...(wasActive ? { launched_at: c.p.clock.now() } : {}),
    ...(diskConfig === null ? {} : { disk_config: diskConfig }),
  };
  return letGo(c, target(c).cellId, home, null);
}
