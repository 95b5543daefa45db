// What a new volume is to be: checks a wish, finds its source, type, storage host and size, and says no in Cinder's words.
// Used by the volume API and for volumes that are made with a server. Nothing is written here but by `recordPlan`.
import type { Kysely } from 'kysely';
import { newId } from '../../lib/ids.ts';
import { badRequest, notFound, refused } from '../../model/refusal.ts';
import type { Actor, Refusal } from '../../model/types.ts';
import { checkVolumeSize } from '../../model/volume-quota.ts';
import { COPYABLE, gibOf, snapshotNotFound, typeNotFound, type Volume, type VolumeImage } from '../../model/volumes.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { findImage, type Image, isForGuests, maySee } from '../images.ts';
import type { Platform } from '../platform.ts';
import { claimVolumeQuota, volumeQuotaOf } from './quota.ts';
import { createVolumeRecord, findVolume, volumeFor } from './records.ts';
import { IN_CINDER } from './service.ts';
import { snapshotFor } from './snapshots.ts';
import { chooseStorageHost, storageHostIsUp } from './storage-hosts.ts';
import { defaultVolumeType, findVolumeType, isMultiattach, type VolumeType, volumeTypeById } from './types.ts';

/** What a new volume starts with, by the ids that users know. */
export type NewVolumeSource =
  | { readonly kind: 'blank' }
  | { readonly kind: 'image'; readonly imageId: string }
  | { readonly kind: 'volume'; readonly volumeId: string }
  | { readonly kind: 'snapshot'; readonly volumeId: string; readonly snapshotId: string };

export interface VolumeWish {
  /** Null: that of the source (a volume or a snapshot). */
  readonly sizeGb: number | null;
  readonly name: string | null;
  readonly description: string | null;
  readonly metadata: Readonly<Record<string, string>>;
  readonly zone: string | null;
  /** Id or name; null: the source's, or the default. */
  readonly type: string | null;
  /** As its type says, or true because the request says so, which Cinder's users did before there were such types. */
  readonly multiattach?: boolean;
  readonly source:
    | { readonly kind: 'blank' }
    | { readonly kind: 'image'; readonly imageId: string }
    | { readonly kind: 'volume'; readonly volumeId: string }
    | { readonly kind: 'snapshot'; readonly snapshotId: string };
}

export interface VolumePlan {
  /** Its record, status creating. */
  readonly volume: Volume;
  readonly source: NewVolumeSource;
}

export type PlannedVolume =
  | { readonly kind: 'planned'; readonly plan: VolumePlan }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** What the source gives to the new volume. */
interface Origin {
  readonly source: NewVolumeSource;
  /** The least size; of a blank volume 1. */
  readonly leastGb: number;
  /** The size when none is wished; null: one must be. */
  readonly sizeGb: number | null;
  readonly tooSmall: (sizeGb: number) => string;
  readonly image: VolumeImage | null;
  readonly bootable: boolean;
  readonly typeId: string | null;
  /** Where the source is kept, and so the new volume; null: anywhere. */
  readonly storageHost: string | null;
}

/** Checks everything but the quota's counts, which hold only in the transaction that records the volume. */
export async function planVolume(p: Platform, actor: Actor, wish: VolumeWish): Promise<PlannedVolume> {
  if (p.volumes) return refused(IN_CINDER);
  if (wish.zone !== null && wish.zone !== p.settings.defaultZone) {
    return refused(badRequest(`Availability zone '${wish.zone}' is invalid.`));
  }
  const origin = await originOf(p, actor, wish);
  if ('code' in origin) return refused(origin);
  const type = await typeFor(p, actor, wish, origin);
  if (type === null) return refused(typeNotFound((wish.type ?? '').slice(0, 255)));
  const sizeGb = wish.sizeGb ?? origin.sizeGb;
  if (sizeGb === null) {
    return refused(badRequest("Invalid input received: Volume size 'None' must be an integer and greater than 0"));
  }
  if (sizeGb < origin.leastGb) return refused(badRequest(`Invalid input received: ${origin.tooSmall(sizeGb)}`));
  const tooLarge = checkVolumeSize((await volumeQuotaOf(p, actor.projectId)).limits, sizeGb);
  if (tooLarge) return refused(tooLarge);
  const storage = await storageFor(p, origin, sizeGb, type);
  if (typeof storage !== 'string') return refused(storage);
  const now = p.clock.now();
  const volume: Volume = {
    ...{ id: newId(), name: wish.name, description: wish.description, metadata: wish.metadata, sizeGb },
    ...{ projectId: actor.projectId, userId: actor.userId, status: 'creating', storageHost: storage },
    ...{ typeId: type.id, zone: p.settings.defaultZone, multiattach: isMultiattach(type) || wish.multiattach === true },
    ...{ bootable: origin.bootable, image: origin.image },
    snapshotId: wish.source.kind === 'snapshot' ? wish.source.snapshotId : null,
    sourceVolumeId: wish.source.kind === 'volume' ? wish.source.volumeId : null,
    ...{ generation: 0, createdAt: now, updatedAt: now },
  };
  return { kind: 'planned', plan: { volume, source: origin.source } };
}

/** Writes the planned volume down, if the quota lets it. In the transaction that also starts what makes it. */
export async function recordPlan(
  p: Platform,
  trx: Kysely<GlobalTables>,
  { volume }: VolumePlan,
): Promise<Refusal | null> {
  const wanted = { volumes: 1, snapshots: 0, gigabytes: volume.sizeGb };
  const refusal = await claimVolumeQuota(p, trx, volume.projectId, wanted);
  if (refusal === null) await createVolumeRecord(trx, volume);
  return refusal;
}

async function typeFor(p: Platform, actor: Actor, wish: VolumeWish, origin: Origin): Promise<VolumeType | null> {
  if (wish.type !== null) return findVolumeType(p, actor, wish.type);
  const inherited = origin.typeId === null ? null : await volumeTypeById(p, origin.typeId);
  return inherited ?? defaultVolumeType(p);
}

async function storageFor(p: Platform, origin: Origin, sizeGb: number, type: VolumeType): Promise<string | Refusal> {
  const { storageHost } = origin;
  if (storageHost !== null) {
    if (await storageHostIsUp(p, storageHost)) return storageHost;
    return { code: 503, message: `The storage host ${storageHost}, which keeps the source, is down.` };
  }
  const chosen = await chooseStorageHost(p, { sizeGb, extraSpecs: type.extraSpecs });
  return chosen.kind === 'chosen' ? chosen.name : chosen.refusal;
}

async function originOf(p: Platform, actor: Actor, { source }: VolumeWish): Promise<Origin | Refusal> {
  switch (source.kind) {
    case 'blank': {
      const tooSmall = (sizeGb: number) => `Volume size '${sizeGb}' must be an integer and greater than 0`;
      return { ...NOTHING, source, leastGb: 1, sizeGb: null, tooSmall };
    }
    case 'image': {
      const image = await findImage(p, source.imageId);
      if (!image || !maySee(actor, image)) {
        return badRequest('Invalid image identifier or unable to access requested image.');
      }
      return unfit(image) ?? fromImage(image, source);
    }
    case 'volume': {
      const volume = await volumeFor(p.stores.global, actor, source.volumeId);
      if ('code' in volume) return volume;
      if (!COPYABLE.includes(volume.status)) {
        return badRequest(
          `Invalid volume: Source volume status must be one of ${COPYABLE.join(', ')}, currently ${volume.status}.`,
        );
      }
      const tooSmall = (sizeGb: number) =>
        `Volume size '${sizeGb}'GB cannot be smaller than original volume size  ${volume.sizeGb}GB. ` +
        'They must be >= original volume size.';
      return { ...copyOf(volume), source, leastGb: volume.sizeGb, sizeGb: volume.sizeGb, tooSmall };
    }
    case 'snapshot': {
      const snapshot = await snapshotFor(p.stores.global, actor, source.snapshotId);
      if ('code' in snapshot) return snapshot;
      if (snapshot.status !== 'available') {
        return badRequest(
          `Invalid snapshot: Originating snapshot status must be one of 'available' values, currently ${snapshot.status}.`,
        );
      }
      const volume = await findVolume(p.stores.global, snapshot.volumeId);
      if (!volume) return snapshotNotFound(snapshot.id);
      const tooSmall = (sizeGb: number) =>
        `Volume size '${sizeGb}'GB cannot be smaller than the snapshot size ${snapshot.sizeGb}GB. ` +
        'They must be >= original snapshot size.';
      return {
        ...copyOf(volume),
        source: { kind: 'snapshot', volumeId: volume.id, snapshotId: snapshot.id },
        ...{ leastGb: snapshot.sizeGb, sizeGb: snapshot.sizeGb, tooSmall },
      };
    }
  }
}

const NOTHING = { image: null, bootable: false, typeId: null, storageHost: null } as const;

const copyOf = ({ image, bootable, typeId, storageHost }: Volume) => ({ image, bootable, typeId, storageHost });

/** Why no volume can hold the image; null: one can. */
function unfit(image: Image): Refusal | null {
  if (image.status !== 'active') return badRequest(`Image ${image.id} is not active.`);
  if (isForGuests(image)) return null;
  return badRequest(`Image ${image.id} is unacceptable: its format is not one of volumes.`);
}

/** What a volume of this size remembers of an image that is to be written over it. */
export async function planImage(
  p: Platform,
  actor: Actor,
  imageId: string,
  sizeGb: number,
): Promise<VolumeImage | Refusal> {
  const image = await findImage(p, imageId);
  if (!image || !maySee(actor, image)) return notFound(`Image ${imageId} could not be found.`);
  const wrong = unfit(image);
  if (wrong) return wrong;
  const { leastGb, tooSmall } = fromImage(image, { kind: 'image', imageId });
  return sizeGb < leastGb ? badRequest(`Invalid input received: ${tooSmall(sizeGb)}`) : rememberedImage(image);
}

/** What a volume remembers of the image that it holds. */
export const rememberedImage = (image: Image): VolumeImage => ({
  ...{ id: image.id, name: image.name, checksum: image.md5, containerFormat: image.containerFormat },
  ...{ diskFormat: image.diskFormat, sizeBytes: image.sizeBytes ?? 0, minDiskGb: image.minDiskGb },
  ...{ minRamMb: image.minRamMb, properties: image.properties },
});

function fromImage(image: Image, source: NewVolumeSource): Origin {
  const contentGb = gibOf(image.virtualBytes ?? 0);
  const tooSmall = (sizeGb: number) =>
    sizeGb < contentGb
      ? `Size of specified image ${contentGb}GB is larger than volume size ${sizeGb}GB.`
      : `Volume size ${sizeGb}GB cannot be smaller than the image minDisk size ${image.minDiskGb}GB.`;
  return {
    ...{ source, leastGb: Math.max(1, contentGb, image.minDiskGb), sizeGb: null, tooSmall },
    ...{ bootable: true, typeId: null, storageHost: null },
    image: rememberedImage(image),
  };
}
