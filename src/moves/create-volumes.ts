// The volumes of a server that is being created: existing ones that it gets, and new ones that are made for it.
//
// What the request asks for is planned before anything is written (`planDevices`), claimed in the request's transaction
// (`claimDevices`), and brought about by steps of the create saga. New volumes are `creating` until they are made. A
// build that fails gives existing volumes back and deletes the new ones, whatever delete_on_termination says: nobody has
// seen them yet.
import type { Transaction } from 'kysely';
import { findImage, maySee } from '../control/images.ts';
import type { Platform } from '../control/platform.ts';
import { activateAttachments, dropAttachments, reserveAttachments } from '../control/volumes/attachment-hosts.ts';
import {
  attachmentsOfServer,
  claimNewVolume,
  claimVolume,
  releaseVolumes,
  settleVolumes,
} from '../control/volumes/attachments.ts';
import type { Mapping } from '../control/volumes/mappings.ts';
import { planVolume, recordPlan, type VolumePlan, type VolumeWish } from '../control/volumes/plan.ts';
import { changeStatus, deleteVolumeRecord, findVolume } from '../control/volumes/records.ts';
import { IN_CINDER } from '../control/volumes/service.ts';
import { snapshotFor } from '../control/volumes/snapshots.ts';
import { assertNever } from '../lib/errors.ts';
import { newId } from '../lib/ids.ts';
import { chooseDevice } from '../model/attachments.ts';
import { type BlockDevice, type DeviceSource, invalidBootSequence } from '../model/block-devices.ts';
import { checkVolumeMinDisk } from '../model/disk-rules.ts';
import { badRequest } from '../model/refusal.ts';
import type { Actor, Refusal } from '../model/types.ts';
import { multiattachTooOld, type Volume } from '../model/volumes.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import type { StepContext, StepOutcome } from './move.ts';
import { done, inGlobal } from './outcomes.ts';
import { type HasVolumes, hasVolumes, plugIn, revoke, unlessDoomedVolumes } from './server-volumes.ts';
import { makeVolume, removeVolume, type VolumeToMake } from './volumes/effects.ts';

export interface PlannedDevice {
  readonly volume: Volume;
  /** Null: the volume is there already. */
  readonly plan: VolumePlan | null;
  readonly mapping: Mapping;
}

/** The part of the create saga's state that is about volumes. */
export interface CreatedVolumes extends HasVolumes {
  readonly mappings?: readonly Mapping[];
  readonly toMake?: readonly VolumeToMake[];
}

/**
 * Checks everything that needs no transaction. Nova's and Cinder's refusals, all of them 400.
 * @param imageNamed whether the request names an image, too: then a root volume may be anything
 * @param multiattach whether a volume may be one that several servers can have
 */
export async function planDevices(
  p: Platform,
  actor: Actor,
  serverId: string,
  devices: readonly BlockDevice[],
  { imageNamed, multiattach }: { readonly imageNamed: boolean; readonly multiattach: boolean },
): Promise<readonly PlannedDevice[] | Refusal> {
  const roots = devices.filter((each) => each.bootIndex === 0);
  if (roots.length > 1) return invalidBootSequence();
  const taken: string[] = [];
  const planned: PlannedDevice[] = [];
  for (const device of devices) {
    const found = await volumeFor(p, actor, device);
    if ('code' in found) return { ...found, code: found.code === 404 ? 400 : found.code };
    const { volume } = found;
    if (volume.multiattach && !multiattach && found.plan === null) return multiattachTooOld();
    if (device.bootIndex === 0 && !imageNamed && device.source.kind !== 'blank' && !volume.bootable) {
      const origin = found.plan?.source.kind === 'snapshot' ? found.plan.source.volumeId : volume.id;
      return badRequest(`Block Device ${origin} is not bootable.`);
    }
    const chosen = device.bootIndex === 0 ? { device: '/dev/vda' } : chooseDevice(device.device, taken);
    if ('refusal' in chosen) return chosen.refusal;
    taken.push(chosen.device);
    const { bootIndex, deleteOnTermination, tag } = device;
    const ids = { id: newId(), serverId, volumeId: volume.id, createdAt: p.clock.now() };
    planned.push({ ...found, mapping: { ...ids, device: chosen.device, bootIndex, deleteOnTermination, tag } });
  }
  return planned;
}

async function volumeFor(
  p: Platform,
  actor: Actor,
  device: BlockDevice,
): Promise<{ readonly volume: Volume; readonly plan: VolumePlan | null } | Refusal> {
  const { source } = device;
  if (source.kind === 'volume') {
    await p.volumes?.look(p, source.volumeId);
    const volume = await findVolume(p.stores.global, source.volumeId);
    if (volume?.projectId === actor.projectId) return { volume, plan: null };
    return cannotGet('volume', source.volumeId);
  }
  if (p.volumes) return IN_CINDER;
  const refusal = await checkSource(p, actor, source);
  if (refusal) return refusal;
  const wish: VolumeWish = {
    ...{ sizeGb: source.sizeGb, name: '', description: '', metadata: {}, zone: null, type: device.volumeType },
    source,
  };
  const planned = await planVolume(p, actor, wish);
  return planned.kind === 'refused' ? planned.refusal : { volume: planned.plan.volume, plan: planned.plan };
}

const cannotGet = (what: 'volume' | 'image' | 'snapshot', id: string): Refusal =>
  badRequest(`Block Device Mapping is Invalid: failed to get ${what} ${id.slice(0, 255)}.`);

/** What Nova says of a source before Cinder is asked to make a volume of it. */
async function checkSource(p: Platform, actor: Actor, source: DeviceSource): Promise<Refusal | null> {
  switch (source.kind) {
    case 'image': {
      const image = await findImage(p, source.imageId);
      if (!image || !maySee(actor, image)) return cannotGet('image', source.imageId);
      return checkVolumeMinDisk(source.sizeGb, image.minDiskGb);
    }
    case 'snapshot': {
      const found = await snapshotFor(p.stores.global, actor, source.snapshotId);
      return 'code' in found ? cannotGet('snapshot', source.snapshotId) : null;
    }
    case 'volume':
    case 'blank':
      return null;
    default:
      return assertNever(source);
  }
}

/** Before it: nobody else can have those that are kept elsewhere. What is not claimed then is given up by the caller. */
export async function takeDevices(
  p: Platform,
  server: { readonly serverId: string; readonly projectId: string },
  devices: readonly PlannedDevice[],
): Promise<Refusal | null> {
  if (!p.volumes) return null;
  for (const { volume, plan } of devices) {
    const refusal = plan === null ? await p.volumes.take(p, { ...server, volumeId: volume.id }) : null;
    if (refusal) return refusal;
  }
  return null;
}

/** In the request's transaction: the volumes are the server's, on that host; new ones are on record. */
export async function claimDevices(
  p: Platform,
  trx: Transaction<GlobalTables>,
  server: { readonly serverId: string; readonly projectId: string; readonly host: string },
  devices: readonly PlannedDevice[],
): Promise<Refusal | null> {
  const now = p.clock.now();
  for (const { volume, plan } of devices) {
    const claim = { ...server, volumeId: volume.id, sourceHost: null, mode: 'rw', now } as const;
    const refusal = plan === null ? await claimVolume(trx, claim) : await recordPlan(p, trx, plan);
    if (refusal) return refusal;
    if (plan !== null) await claimNewVolume(trx, claim);
  }
  return null;
}

export const stateOfDevices = (devices: readonly PlannedDevice[]): CreatedVolumes =>
  devices.length === 0
    ? {}
    : {
        volumes: devices.map(({ mapping: { volumeId, device, bootIndex, deleteOnTermination } }) => ({
          ...{ volumeId, device, bootIndex, deleteOnTermination },
        })),
        mappings: devices.map(({ mapping }) => mapping),
        toMake: devices.flatMap(({ volume, plan }) =>
          plan === null
            ? []
            : [{ volumeId: volume.id, storageHost: volume.storageHost, sizeGb: volume.sizeGb, source: plan.source }],
        ),
      };

type C<S extends CreatedVolumes> = StepContext<S>;

/** The server gives up its volumes, and the records of those that were to be made for it go. */
export async function giveUpVolumes<S extends CreatedVolumes>(c: C<S>, trx: Transaction<GlobalTables>): Promise<void> {
  if (!hasVolumes(c)) return;
  const ids = (c.s.volumes ?? []).map((volume) => volume.volumeId);
  await releaseVolumes(trx, c.serverId, ids, c.p.clock.now());
  for (const { volumeId } of c.s.toMake ?? []) await deleteVolumeRecord(trx, volumeId);
}

export async function makeVolumes<S extends CreatedVolumes>(c: C<S>): Promise<StepOutcome<S>> {
  for (const wanted of c.s.toMake ?? []) {
    const made = await makeVolume(c, wanted);
    if (made.kind !== 'done') return made;
    const change = { status: 'reserved', generation: c.generation, updated_at: c.p.clock.now() };
    await inGlobal(c, (trx) => changeStatus(trx, wanted.volumeId, ['creating'], change));
  }
  return done;
}

export async function unmakeVolumes<S extends CreatedVolumes>(c: C<S>): Promise<StepOutcome<S>> {
  for (const volume of c.s.toMake ?? []) {
    const gone = await removeVolume(c, volume, 'volume of a server that could not be built');
    if (gone.kind !== 'done') return gone;
  }
  return done;
}

/** The guest on the host, which is off, has the volumes. */
export async function plugInVolumes<S extends CreatedVolumes>(c: C<S>, host: string): Promise<StepOutcome<S>> {
  if (!hasVolumes(c)) return done;
  await inGlobal(c, async (trx) => {
    // On another host than the first these are still to be made.
    await reserveAttachments(trx, c.serverId, host, c.generation, c.p.clock.now());
    await activateAttachments(trx, c.serverId, host, c.generation);
  });
  const attachments = await attachmentsOfServer(c.p.stores.global, c.serverId);
  for (const volume of c.s.volumes ?? []) {
    const attachment = attachments.find((each) => each.volumeId === volume.volumeId && each.host === host);
    if (!attachment) return { kind: 'failed', reason: `volume ${volume.volumeId} is gone`, final: true };
    const plugged = await plugIn(c, volume, attachment);
    if (plugged.kind !== 'done') return plugged;
  }
  return done;
}

/** Nobody on the host reaches the volumes; the guest itself goes with the host. */
export async function unplugVolumes<S extends CreatedVolumes>(c: C<S>, host: string): Promise<StepOutcome<S>> {
  if (!hasVolumes(c)) return done;
  for (const attachment of await attachmentsOfServer(c.p.stores.global, c.serverId)) {
    if (attachment.host !== host) continue;
    const revoked = await unlessDoomedVolumes(c, host, await revoke(c, attachment));
    if (revoked.kind !== 'done') return revoked;
  }
  return done;
}

/** The volumes are in use, on this host alone. */
export async function settleCreated<S extends CreatedVolumes>(
  c: C<S>,
  tried: readonly string[],
): Promise<StepOutcome<S>> {
  if (!hasVolumes(c)) return done;
  const ids = (c.s.volumes ?? []).map((volume) => volume.volumeId);
  return inGlobal(c, async (trx) => {
    await settleVolumes(trx, c.serverId, ids, c.generation, c.p.clock.now());
    for (const host of tried) await dropAttachments(trx, c.serverId, host);
  });
}
