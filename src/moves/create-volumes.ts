// The volumes of a server that is being created: existing ones that it gets, and new ones that are made for it.
//
// What the request asks for is planned before anything is written (`planDevices`), claimed in the request's transaction
// (`claimDevices`), and brought about by steps of the create saga. New volumes are `creating` until they are made. A
// build that fails gives existing volumes back and deletes the new ones, whatever delete_on_termination says: nobody has
// seen them yet.
import type { Transaction } from 'kysely';
import type { Platform } from '../control/platform.ts';
import {
  activateAttachments,
  attachmentsOfServer,
  claimNewVolume,
  claimVolume,
  dropAttachments,
  releaseVolumes,
  reserveAttachments,
  settleVolumes,
} from '../control/volumes/attachments.ts';
import type { Mapping } from '../control/volumes/mappings.ts';
import { planVolume, recordPlan, type VolumePlan, type VolumeWish } from '../control/volumes/plan.ts';
import { changeStatus, deleteVolumeRecord, findVolume } from '../control/volumes/records.ts';
import { newId } from '../lib/ids.ts';
import { chooseDevice, volumeNotFound } from '../model/attachments.ts';
import { badRequest } from '../model/refusal.ts';
import type { Actor, Refusal } from '../model/types.ts';
import type { Volume } from '../model/volumes.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import type { StepContext, StepOutcome } from './move.ts';
import { done, inGlobal } from './outcomes.ts';
import { type HasVolumes, hasVolumes, plugIn, revoke, unlessDoomedVolumes } from './server-volumes.ts';
import { makeVolume, removeVolume, type VolumeToMake } from './volumes/effects.ts';

/** A disk of the new server that is a volume. */
export interface BlockDevice {
  readonly source:
    | { readonly kind: 'volume'; readonly volumeId: string }
    | { readonly kind: 'image'; readonly imageId: string; readonly sizeGb: number }
    | { readonly kind: 'snapshot'; readonly snapshotId: string; readonly sizeGb: number | null }
    | { readonly kind: 'blank'; readonly sizeGb: number };
  /** 0: the server boots from it. */
  readonly bootIndex: number | null;
  /** /dev/vdX; null: the first that is free. */
  readonly device: string | null;
  readonly deleteOnTermination: boolean;
  readonly tag: string | null;
  /** Of a new volume: id or name of its type. */
  readonly volumeType: string | null;
}

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

/** Checks everything that needs no transaction. Nova's and Cinder's refusals. */
export async function planDevices(
  p: Platform,
  actor: Actor,
  serverId: string,
  devices: readonly BlockDevice[],
): Promise<readonly PlannedDevice[] | Refusal> {
  const roots = devices.filter((each) => each.bootIndex === 0);
  if (roots.length > 1) {
    return badRequest(
      'Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is not valid.',
    );
  }
  const taken: string[] = [];
  const planned: PlannedDevice[] = [];
  for (const device of devices) {
    const found = await volumeFor(p, actor, device);
    if ('code' in found) return found;
    if (device.bootIndex === 0 && !found.volume.bootable) {
      return badRequest(`Block Device ${found.volume.id} is not bootable.`);
    }
    const chosen = device.bootIndex === 0 ? { device: '/dev/vda' } : chooseDevice(device.device, taken);
    if ('refusal' in chosen) return chosen.refusal;
    taken.push(chosen.device);
    const { bootIndex, deleteOnTermination, tag } = device;
    const ids = { id: newId(), serverId, volumeId: found.volume.id, createdAt: p.clock.now() };
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
    const volume = await findVolume(p.stores.global, source.volumeId);
    return volume?.projectId === actor.projectId ? { volume, plan: null } : volumeNotFound(source.volumeId);
  }
  const wish: VolumeWish = {
    ...{ sizeGb: source.sizeGb, name: '', description: '', metadata: {}, zone: null, type: device.volumeType },
    source,
  };
  const planned = await planVolume(p, actor, wish);
  return planned.kind === 'refused' ? planned.refusal : { volume: planned.plan.volume, plan: planned.plan };
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
