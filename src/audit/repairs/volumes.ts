// Repairs of volumes: attachments of servers that are gone, accesses that nobody has on record, statuses.
import { owe } from '../../control/debts.ts';
import type { Platform } from '../../control/platform.ts';
import { attachmentsOfVolume, settleStatus } from '../../control/volumes/attachments.ts';
import { storageOf } from '../../control/volumes/lost-storage.ts';
import { lockVolume } from '../../control/volumes/records.ts';
import { nextFence } from '../../store/sagas.ts';
import { left, proven, provenGone, provenIdle, provenUnmapped, type Repaired, repaired, Unproven } from './proof.ts';

export interface VolumeAccess {
  readonly volumeId: string;
  readonly serverId: string;
  readonly storageHost: string;
}

/**
 * A volume attached to a server that is gone. It becomes a debt, which the control plane pays: first the access ends at the
 * storage host, then the attachments go, and the volume is free for others.
 */
export const releaseVolume = (p: Platform, { volumeId, serverId, storageHost }: VolumeAccess): Promise<Repaired> =>
  proven(async () => {
    const { global } = p.stores;
    const generation = await nextFence(global);
    await provenGone(p, global, serverId);
    const reason = 'attachment of a server that is gone, found by the audit';
    await owe(p, {
      ...{ kind: 'revoke-volume', host: storageHost, serverId, volumeId, generation, sagaId: 'audit', reason },
    });
    return repaired(`volume ${volumeId} will be released from server ${serverId} (owed)`);
  });

/**
 * A volume whose status says something else than its attachments, from which alone it follows; unless it has none, and a
 * server says that it has the volume: then it is the attachment that is missing. Whoever takes or gives back the volume
 * locks its row too, in the transaction that makes the saga.
 */
export const settleVolume = (p: Platform, volumeId: string): Promise<Repaired> =>
  proven(() =>
    p.stores.global.transaction().execute(async (trx) => {
      const volume = await lockVolume(trx, volumeId);
      if (!volume) return left('it is not there any more');
      await provenIdle(trx, volumeId);
      const attachments = await attachmentsOfVolume(trx, volumeId);
      for (const { serverId } of attachments) await provenIdle(trx, serverId);
      if (attachments.length === 0) await provenUnmapped(p, trx, volumeId);
      const owed = await trx
        .selectFrom('debts')
        .select('host')
        .where('volume_id', '=', volumeId)
        .where('paid_at', 'is', null)
        .executeTakeFirst();
      if (owed) throw new Unproven(`storage host ${owed.host} owes something of it`);
      await settleStatus(trx, [volumeId], p.clock.now());
      return repaired(`the status of volume ${volumeId} is what its attachments say`);
    }),
  );

/**
 * An access by what is no active attachment, of a server that has another one, or has the volume no more: else it may be by
 * this that its guest runs. A saga that makes it one begins behind the look, with a newer generation: it fences this off,
 * or grants the access again.
 */
export const revokeAccess = (
  p: Platform,
  access: VolumeAccess & { readonly attachmentId: string },
): Promise<Repaired> =>
  proven(async () => {
    const { volumeId, serverId, storageHost, attachmentId } = access;
    const { global } = p.stores;
    const generation = await nextFence(global);
    await provenIdle(global, serverId);
    const all = await attachmentsOfVolume(global, volumeId);
    if (all.some((each) => each.id === attachmentId && each.active)) return left('it is an active attachment by now');
    const hasOther = all.some((each) => each.serverId === serverId && each.active);
    if (!hasOther) await provenUnmapped(p, global, volumeId, serverId);
    const reply = await (await storageOf(p, storageHost)).revoke(volumeId, attachmentId, { serverId, generation });
    if (reply.kind === 'fenced') throw new Unproven('a saga has just begun');
    if (reply.kind !== 'ok' && reply.kind !== 'absent') throw new Unproven(`storage host ${storageHost} did not do it`);
    return repaired(`server ${serverId} has no access to volume ${volumeId} by ${attachmentId} any more`);
  });
