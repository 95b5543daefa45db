// The status of a volume or a snapshot, said by hand. What works on the volume says what is true of it when it lets go, so
// nobody else does before; the volume's row is held meanwhile, as by all who begin such work.
import type { Transaction } from 'kysely';
import { conflict } from '../../model/refusal.ts';
import type { Refusal } from '../../model/types.ts';
import {
  SNAPSHOT_STATUSES,
  type Snapshot,
  type SnapshotStatus,
  VOLUME_STATUSES,
  type VolumeStatus,
} from '../../model/volumes.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { openSaga } from '../../store/sagas.ts';
import type { Platform } from '../platform.ts';
import { attachmentsOfVolume, settleStatus } from './attachments.ts';
import { changeStatus, lockVolume } from './records.ts';
import { changeSnapshotStatus } from './snapshots.ts';

/** What an administrator says of a volume; that nobody has it is for its attachments to say. 409 while a saga is at it. */
export function resetStatus(p: Platform, volumeId: string, status: VolumeStatus): Promise<Refusal | null> {
  const now = p.clock.now();
  return whenIdle(p, volumeId, async (trx) => {
    await changeStatus(trx, volumeId, VOLUME_STATUSES, { status, updated_at: now });
    if (status === 'available') await settleStatus(trx, [volumeId], now);
  });
}

/** The same of a snapshot. 409 while a saga is at its volume. */
export const resetSnapshotStatus = (p: Platform, snapshot: Snapshot, status: SnapshotStatus): Promise<Refusal | null> =>
  whenIdle(p, snapshot.volumeId, async (trx) => {
    await changeSnapshotStatus(trx, snapshot.id, SNAPSHOT_STATUSES, { status, updated_at: p.clock.now() });
  });

/** While no saga is at the volume, or at a server that has it. */
const whenIdle = (
  p: Platform,
  volumeId: string,
  write: (trx: Transaction<GlobalTables>) => Promise<void>,
): Promise<Refusal | null> =>
  p.stores.global.transaction().execute(async (trx) => {
    await lockVolume(trx, volumeId);
    const servers = (await attachmentsOfVolume(trx, volumeId)).map(({ serverId }) => serverId);
    for (const key of [volumeId, ...servers]) {
      const saga = await openSaga(trx, key);
      if (saga) return conflict(`Volume ${volumeId} is busy: '${saga.definition}' is under way.`);
    }
    await write(trx);
    return null;
  });
