// Revert a volume to its latest snapshot: available → reverting → available, the snapshot available → restoring → available.
import type { Platform } from '../../control/platform.ts';
import { changeStatus, lockVolume } from '../../control/volumes/records.ts';
import { changeSnapshotStatus, latestSnapshot } from '../../control/volumes/snapshots.ts';
import { refused } from '../../model/refusal.ts';
import type { Actor, Refusal } from '../../model/types.ts';
import { checkRevert, notReverted, volumeNotFound } from '../../model/volumes.ts';
import type { Move } from '../move.ts';
import type { SnapshotState } from './snapshots.ts';
import { startOnVolume } from './start.ts';
import { DECIDED, writtenAnew } from './written-anew.ts';

export const REVERT_VOLUME: Move<SnapshotState> = {
  ...{ name: 'revert volume', version: 1, subject: 'volume', pivot: DECIDED, made: 1, parties: () => [] },
  steps: writtenAnew({
    content: async ({ s }) => ({ kind: 'snapshot', snapshotId: s.snapshotId }),
    async atRest(c, trx) {
      const change = { status: 'available', updated_at: c.p.clock.now() };
      await changeStatus(trx, c.s.volumeId, ['reverting'], { ...change, generation: c.generation });
      await changeSnapshotStatus(trx, c.s.snapshotId, ['restoring'], change);
    },
  }),
};

/** @param wanted the snapshot that its user means, which must be the latest; null: none is named */
export const revertVolume = (
  p: Platform,
  actor: Actor,
  volumeId: string,
  wanted: string | null,
): Promise<Refusal | null> =>
  startOnVolume(p, {
    ...{ move: REVERT_VOLUME, volumeId, actor },
    take: async (trx) => {
      const volume = await lockVolume(trx, volumeId);
      if (!volume) return refused(volumeNotFound(volumeId));
      const latest = await latestSnapshot(trx, volume);
      const checked = checkRevert(volume, latest, wanted);
      if ('code' in checked) return refused(checked);
      const updated_at = p.clock.now();
      if (!(await changeStatus(trx, volumeId, ['available'], { status: 'reverting', updated_at })))
        return refused(notReverted(volumeId, checked.id, 'volume'));
      if (!(await changeSnapshotStatus(trx, checked.id, ['available'], { status: 'restoring', updated_at })))
        return refused(notReverted(volumeId, checked.id, 'snapshot'));
      return { kind: 'ok', state: { volumeId, storageHost: volume.storageHost, snapshotId: checked.id } };
    },
  });
