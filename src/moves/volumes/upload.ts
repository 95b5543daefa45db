// Upload a volume: what it holds at one moment becomes an image. available | in-use → uploading → as before.
//
// The image is on record (queued) from the request on. The storage host copies the volume, which servers may go on using,
// and sends the copy to the image service, as compute hosts do with snapshots: queued → saving → active. Turned back, the
// image is gone and nothing is sent any more; so it is when the image is deleted meanwhile. An image that has its data is
// its user's: no turning back takes it away. The sending ends with the storage host's agent, so one that is down is not
// waited for; the image service refuses what it may still send.
// Where images are a Glance's, the image is made there before all else, and the data goes on to it when it is here.
// Not handled: formats that no guest here can boot.
import type { Transaction } from 'kysely';
import { giveUpAnnounced } from '../../control/images/publisher.ts';
import { discardUnfinished, hasData } from '../../control/images/records.ts';
import { checkImage } from '../../control/images/rules.ts';
import { recordSnapshot } from '../../control/images/snapshots.ts';
import { dataPath, findImage, type GuestFormat, type Image, type Visibility } from '../../control/images.ts';
import type { Platform } from '../../control/platform.ts';
import { settleStatus } from '../../control/volumes/attachments.ts';
import { changeStatus, findVolume, lockVolume } from '../../control/volumes/records.ts';
import { storageHostIsUp } from '../../control/volumes/storage-hosts.ts';
import { newId } from '../../lib/ids.ts';
import { refused } from '../../model/refusal.ts';
import type { Actor, Refusal } from '../../model/types.ts';
import { checkUpload, type Volume, type VolumeStatus, volumeNotFound } from '../../model/volumes.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { globally } from '../fencing.ts';
import type { Move, StepContext, StepOutcome } from '../move.ts';
import { done, doneBecause, inGlobal } from '../outcomes.ts';
import { publishImage, unlessKept } from '../publish.ts';
import { storageJobOutcome } from './effects.ts';
import { startOnVolume } from './start.ts';

export interface UploadVolumeState {
  readonly volumeId: string;
  readonly storageHost: string;
  readonly imageId: string;
  readonly format: GuestFormat;
  /** Whether nobody may delete the image when it has its data. */
  readonly protect: boolean;
  readonly oldStatus: VolumeStatus;
}

type C = StepContext<UploadVolumeState>;

const IMAGE_GONE = { kind: 'failed', reason: 'the image has been deleted', final: true } as const;

async function asBefore(c: C, trx: Transaction<GlobalTables>): Promise<void> {
  const now = c.p.clock.now();
  await changeStatus(trx, c.s.volumeId, ['uploading'], {
    ...{ status: c.s.oldStatus, generation: c.generation, updated_at: now },
  });
  // A server that used it may have been deleted meanwhile.
  await settleStatus(trx, [c.s.volumeId], now);
}

export const UPLOAD_VOLUME: Move<UploadVolumeState> = {
  name: 'upload volume',
  version: 1,
  subject: 'volume',
  pivot: 'keep image',
  made: 1,
  parties: () => [],
  steps: [
    {
      // Done in the transaction that makes the saga, with the volume's status.
      step: 'write image',
      do: async () => done,
      undo: (c) =>
        inGlobal(c, async (trx) => {
          await discardUnfinished(trx, [c.s.imageId], c.p.clock.now());
          await asBefore(c, trx);
        }),
    },
    {
      step: 'send volume',
      do: send,
      undo: endSending,
    },
    {
      step: 'keep image',
      do: async (c) => ((await globally(c.p.stores.global, c, (trx) => hasData(trx, c.s.imageId))) ? done : IMAGE_GONE),
      undo: (c) => unlessKept(c.p, c.s.imageId),
    },
    {
      step: 'let go',
      do: (c) => inGlobal(c, (trx) => asBefore(c, trx)),
      undo: 'forward only: the image is there',
    },
  ],
};

async function send(c: C): Promise<StepOutcome<UploadVolumeState>> {
  const { volumeId, imageId, storageHost, format, protect } = c.s;
  const isHere = (): Promise<boolean> => hasData(c.p.stores.global, imageId);
  // Also where the answer of whoever sent it was lost.
  if (await isHere()) return publishImage(c.p, imageId, { protect });
  if ((await findImage(c.p, imageId)) === null) return IMAGE_GONE;
  const storage = await c.storage(storageHost);
  const url = `${c.p.settings.hostFacingUrl}${dataPath(imageId)}`;
  const reply = await storage.upload(volumeId, { generation: c.generation, uploadId: imageId, format, url });
  const outcome = storageJobOutcome(storageHost, reply);
  if (outcome.kind === 'pending' || outcome.kind === 'fenced') return outcome;
  // What the storage host says failed may have arrived all the same, and only its answer was lost.
  if (await isHere()) return publishImage(c.p, imageId, { protect });
  return outcome.kind === 'failed' ? outcome : IMAGE_GONE;
}

async function endSending(c: C): Promise<StepOutcome<UploadVolumeState>> {
  const { volumeId, storageHost } = c.s;
  const storage = await c.storage(storageHost);
  const reply = await storage.endUpload(volumeId, { generation: c.generation });
  if (reply.kind === 'unreachable' && !(await storageHostIsUp(c.p, storageHost))) {
    return doneBecause(`storage host ${storageHost} is down: its sending ends with it, or is refused`);
  }
  return reply.kind === 'absent' ? done : storageJobOutcome(storageHost, reply);
}

export interface UploadWish {
  readonly name: string;
  readonly format: GuestFormat;
  readonly containerFormat: string;
  readonly visibility: Visibility;
  readonly protected: boolean;
  /** Also of a volume that servers use. */
  readonly force: boolean;
}

export type UploadedVolume =
  | { readonly kind: 'uploading'; readonly volume: Volume; readonly image: Image }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** Records the image, in the project of whoever asks, and begins to send the volume. */
export async function uploadVolume(
  p: Platform,
  actor: Actor,
  volumeId: string,
  wish: UploadWish,
): Promise<UploadedVolume> {
  const known = await findVolume(p.stores.global, volumeId);
  if (!known) return refused(volumeNotFound(volumeId));
  const image = imageOf(known, actor, wish, p.clock.now());
  const wrong = checkImage(image) ?? (await announce(p, known, image, wish, actor));
  if (wrong) return refused(wrong);
  const made: { volume?: Volume } = {};
  const refusal = await startOnVolume(p, {
    ...{ move: UPLOAD_VOLUME, volumeId, actor },
    take: async (trx) => {
      const volume = await lockVolume(trx, volumeId);
      if (!volume) return refused(volumeNotFound(volumeId));
      const notNow = checkUpload(volume, wish.force);
      if (notNow) return refused(notNow);
      const unrecorded = await recordSnapshot(p, trx, image);
      if (unrecorded) return refused(unrecorded);
      await changeStatus(trx, volumeId, [volume.status], { status: 'uploading', updated_at: p.clock.now() });
      Object.assign(made, { volume });
      const { storageHost, status: oldStatus } = volume;
      const state = {
        volumeId,
        storageHost,
        imageId: image.id,
        format: wish.format,
        protect: wish.protected,
        oldStatus,
      };
      return { kind: 'ok', state };
    },
  });
  if (refusal) {
    await giveUpAnnounced(p, image.id);
    return refused(refusal);
  }
  const { volume } = made;
  if (!volume) throw new Error('a saga that began has found its volume');
  return { kind: 'uploading', volume, image };
}

/** A Glance hears of it before the volume is taken hold of. */
async function announce(
  p: Platform,
  volume: Volume,
  image: Image,
  { force }: UploadWish,
  { requestId }: Actor,
): Promise<Refusal | null> {
  if (!p.imageMirror) return null;
  return checkUpload(volume, force) ?? p.imageMirror.announce(p, image, requestId);
}

/** It says of itself what the volume's own image did. */
const imageOf = (volume: Volume, actor: Actor, wish: UploadWish, now: number): Image => ({
  ...{ id: newId(), name: wish.name, status: 'queued', visibility: wish.visibility, owner: actor.projectId },
  ...{ diskFormat: wish.format, containerFormat: wish.containerFormat, minDiskGb: 0, minRamMb: 0 },
  ...{ sizeBytes: null, virtualBytes: null, md5: null, sha256: null, sha512: null },
  ...{ protected: wish.protected, hidden: false, properties: volume.image?.properties ?? {}, tags: [], members: {} },
  ...{ createdAt: now, updatedAt: now },
});
