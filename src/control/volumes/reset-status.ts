// A volume's status, said by hand.
import { VOLUME_STATUSES, type VolumeStatus } from '../../model/volumes.ts';
import type { Platform } from '../platform.ts';
import { settleStatus } from './attachments.ts';
import { changeStatus } from './records.ts';

/** What an administrator says of a volume; that nobody has it is for its attachments to say. */
export async function resetStatus(p: Platform, volumeId: string, status: VolumeStatus): Promise<void> {
  const now = p.clock.now();
  await p.stores.global.transaction().execute(async (trx) => {
    await changeStatus(trx, volumeId, VOLUME_STATUSES, { status, updated_at: now });
    if (status === 'available') await settleStatus(trx, [volumeId], now);
  });
}
