// Another type for a volume: one transaction, for a volume stays where it is kept. A type whose volumes go to another
// storage host is refused: volumes are not migrated.
import { badRequest, type Refusal } from '../../model/refusal.ts';
import { typeNotFound, type Volume, volumeNotFound } from '../../model/volumes.ts';
import { exclusively } from '../../store/dialect.ts';
import type { Platform } from '../platform.ts';
import { lockVolume } from './records.ts';
import { isMultiattach, type VolumeType } from './types.ts';

/** Source of the rules and sentences: cinder/volume/api.py, retype. */
export const retypeVolume = (p: Platform, volumeId: string, type: VolumeType): Promise<Refusal | null> =>
  p.stores.global.transaction().execute(async (trx) => {
    // So that the type is not deleted meanwhile.
    await exclusively(trx, 'volume types');
    const there = await trx.selectFrom('volume_types').select('id').where('id', '=', type.id).executeTakeFirst();
    if (!there) return typeNotFound(type.id);
    const volume = await lockVolume(trx, volumeId);
    if (!volume) return volumeNotFound(volumeId);
    const refusal = checkRetype(volume, type);
    if (refusal) return refusal;
    await trx
      .updateTable('volumes')
      .set({ type_id: type.id, multiattach: isMultiattach(type) ? 1 : 0, updated_at: p.clock.now() })
      .where('id', '=', volumeId)
      .execute();
    return null;
  });

function checkRetype(volume: Volume, type: VolumeType): Refusal | null {
  if (isMultiattach(type) !== volume.multiattach && volume.status !== 'available') {
    return badRequest(
      'Invalid input received: Invalid volume_type passed, retypes affecting multiattach are only allowed on available ' +
        `volumes, the specified volume however currently has a status of: ${volume.status}.`,
    );
  }
  if (volume.typeId === type.id || !['available', 'in-use'].includes(volume.status)) return NOT_NOW;
  const named = type.extraSpecs['volume_backend_name'];
  return named === undefined || named === volume.storageHost
    ? null
    : badRequest(`Invalid volume_type passed: its volumes are kept at ${named}, and volumes are not migrated.`);
}

const NOT_NOW = badRequest(
  'Invalid volume: Retype needs volume to be in available or in-use state, not be part of an active migration or a ' +
    'consistency group, requested type has to be different that the one from the volume, and for in-use volumes ' +
    'front-end qos specs cannot change.',
);
