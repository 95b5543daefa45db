// Extend a volume: available | in-use → extending → as before, larger.
//
// The new size is recorded, and counts for the quota, from the request on; a storage host that refuses takes it back. One
// that cannot be reached is waited for. Guests that use the volume are told; one that cannot be told now sees the new size
// when it is next started (docs/decisions/0037-grown-volumes.md).
import type { Platform } from '../../control/platform.ts';
import { settleStatus } from '../../control/volumes/attachments.ts';
import { claimVolumeQuota, volumeQuotaOf } from '../../control/volumes/quota.ts';
import { changeStatus, lockVolume } from '../../control/volumes/records.ts';
import type { Job } from '../../host/contract.ts';
import type { Actor, Refusal } from '../../model/types.ts';
import { checkVolumeSize } from '../../model/volume-quota.ts';
import { checkExtend, GIB, type VolumeStatus, volumeNotFound } from '../../model/volumes.ts';
import { jobOutcome } from '../hosts.ts';
import type { Move, StepContext, StepOutcome } from '../move.ts';
import { done, inGlobal } from '../outcomes.ts';
import { unlessLanded } from './effects.ts';
import { tellGrown } from './grown.ts';
import { startOnVolume } from './start.ts';

export interface ExtendVolumeState {
  readonly volumeId: string;
  readonly storageHost: string;
  readonly oldSizeGb: number;
  readonly newSizeGb: number;
  readonly oldStatus: VolumeStatus;
}

type C = StepContext<ExtendVolumeState>;

const endWith = (c: C, sizeGb: number): Promise<StepOutcome<ExtendVolumeState>> =>
  inGlobal(c, async (trx) => {
    const now = c.p.clock.now();
    await changeStatus(trx, c.s.volumeId, ['extending'], {
      ...{ status: c.s.oldStatus, size_gb: sizeGb, generation: c.generation, updated_at: now },
    });
    // A server that used it may have been deleted meanwhile.
    await settleStatus(trx, [c.s.volumeId], now);
  });

export const EXTEND_VOLUME: Move<ExtendVolumeState> = {
  name: 'extend volume',
  version: 1,
  subject: 'volume',
  pivot: 'grow volume',
  made: 1,
  parties: () => [],
  steps: [
    {
      // Done in the transaction that makes the saga.
      step: 'take hold',
      do: async () => done,
      undo: (c) => endWith(c, c.s.oldSizeGb),
    },
    {
      step: 'grow volume',
      do: async (c) => {
        const storage = await c.storage(c.s.storageHost);
        const request = { generation: c.generation, sizeBytes: c.s.newSizeGb * GIB };
        return jobOutcome<ExtendVolumeState, Job>(await storage.extend(c.s.volumeId, request));
      },
      undo: (c) => unlessLanded(c, c.s, (volume) => (volume?.sizeBytes ?? 0) >= c.s.newSizeGb * GIB),
    },
    {
      step: 'tell guests',
      do: (c) => tellGrown(c, c.s.volumeId, c.s.newSizeGb * GIB),
      undo: 'forward only: the volume has grown',
    },
    { step: 'let go', do: (c) => endWith(c, c.s.newSizeGb), undo: 'the last step: nothing can fail behind it' },
  ],
};

/** @param options.attached whether it may be extended while servers use it */
export const extendVolume = (
  p: Platform,
  actor: Actor,
  volumeId: string,
  newSizeGb: number,
  options: { readonly attached: boolean },
): Promise<Refusal | null> =>
  startOnVolume(p, {
    ...{ move: EXTEND_VOLUME, volumeId, actor },
    take: async (trx) => {
      const no = (refusal: Refusal) => ({ kind: 'refused', refusal }) as const;
      const volume = await lockVolume(trx, volumeId);
      if (!volume) return no(volumeNotFound(volumeId));
      const { limits } = await volumeQuotaOf(p, volume.projectId, trx);
      const refusal = checkExtend(volume, newSizeGb, options.attached) ?? checkVolumeSize(limits, newSizeGb);
      if (refusal) return no(refusal);
      const wanted = { volumes: 0, snapshots: 0, gigabytes: newSizeGb - volume.sizeGb };
      const over = await claimVolumeQuota(p, trx, volume.projectId, wanted);
      if (over) return no(over);
      const change = { status: 'extending', size_gb: newSizeGb, updated_at: p.clock.now() };
      await changeStatus(trx, volumeId, [volume.status], change);
      const { storageHost, sizeGb: oldSizeGb, status: oldStatus } = volume;
      return { kind: 'ok', state: { volumeId, storageHost, oldSizeGb, newSizeGb, oldStatus } };
    },
  });
