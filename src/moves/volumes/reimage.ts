// Write an image over a volume (3.68): available | error → downloading → as before, with the image's content.
//
// For volumes that no server has. The root volume of a server is written anew by a rebuild (rebuild-volume.ts), and one that
// is reserved for a server is refused.
import { findBaseImage } from '../../control/images.ts';
import type { Platform } from '../../control/platform.ts';
import { planImage } from '../../control/volumes/plan.ts';
import { changeStatus, findVolume, lockVolume } from '../../control/volumes/records.ts';
import { refused } from '../../model/refusal.ts';
import type { Actor, Refusal } from '../../model/types.ts';
import { checkReimage, type VolumeImage, type VolumeStatus, volumeNotFound } from '../../model/volumes.ts';
import type { Move } from '../move.ts';
import { startOnVolume } from './start.ts';
import { DECIDED, type HeldVolume, writtenAnew } from './written-anew.ts';

export interface ReimageState extends HeldVolume {
  /** As the volume will remember it. */
  readonly image: VolumeImage;
  readonly oldStatus: VolumeStatus;
}

export const REIMAGE_VOLUME: Move<ReimageState> = {
  ...{ name: 'reimage volume', version: 1, subject: 'volume', pivot: DECIDED, made: 1, parties: () => [] },
  steps: writtenAnew({
    async content({ p, s }) {
      const image = await findBaseImage(p, s.image.id);
      return image === null ? 'the image is gone' : { kind: 'image', image };
    },
    async atRest(c, trx, end) {
      await changeStatus(trx, c.s.volumeId, ['downloading'], {
        ...{ status: c.s.oldStatus, generation: c.generation, updated_at: c.p.clock.now() },
        ...(end === 'written' ? { bootable: 1, image_json: JSON.stringify(c.s.image) } : {}),
      });
    },
  }),
};

/** Of an image that the actor may use. */
export async function reimageVolume(
  p: Platform,
  actor: Actor,
  volumeId: string,
  imageId: string,
): Promise<Refusal | null> {
  const known = await findVolume(p.stores.global, volumeId);
  if (!known) return volumeNotFound(volumeId);
  // Outside of the transaction: a Glance may be asked.
  const image = checkReimage(known) ?? (await planImage(p, actor, imageId, known.sizeGb));
  if ('code' in image) return image;
  return startOnVolume(p, {
    ...{ move: REIMAGE_VOLUME, volumeId, actor },
    take: async (trx) => {
      const volume = await lockVolume(trx, volumeId);
      if (!volume) return refused(volumeNotFound(volumeId));
      const wrong = checkReimage(volume);
      if (wrong) return refused(wrong);
      const { status: oldStatus, storageHost } = volume;
      await changeStatus(trx, volumeId, [oldStatus], { status: 'downloading', updated_at: p.clock.now() });
      return { kind: 'ok', state: { volumeId, storageHost, image, oldStatus } };
    },
  });
}
