// Delete a volume: deleting → gone | error_deleting.
//
// A storage host that is down holds nothing up: what it still keeps is owed. One that refuses (somebody has access all
// the same) leaves the volume in error_deleting, from which it can be deleted again.
import type { Transaction } from 'kysely';
import type { Platform } from '../../control/platform.ts';
import { changeStatus, deleteVolumeRecord, lockVolume } from '../../control/volumes/records.ts';
import type { Actor, Refusal } from '../../model/types.ts';
import { DELETABLE, notDeletable, VOLUME_STATUSES, type Volume, volumeNotFound } from '../../model/volumes.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import type { Move } from '../move.ts';
import { done, inGlobal } from '../outcomes.ts';
import { removeVolume, unlessLanded } from './effects.ts';
import { startOnVolume } from './start.ts';

export interface DeleteVolumeState {
  readonly volumeId: string;
  readonly storageHost: string;
}

export const DELETE_VOLUME: Move<DeleteVolumeState> = {
  name: 'delete volume',
  version: 1,
  subject: 'volume',
  pivot: 'remove volume',
  made: 1,
  parties: () => [],
  steps: [
    {
      // Done in the transaction that makes the saga.
      step: 'take hold',
      do: async () => done,
      undo: (c) =>
        inGlobal(c, (trx) =>
          changeStatus(trx, c.s.volumeId, ['deleting'], {
            ...{ status: 'error_deleting', generation: c.generation, updated_at: c.p.clock.now() },
          }),
        ),
    },
    {
      step: 'remove volume',
      do: (c) => removeVolume(c, c.s, 'deleted volume'),
      undo: (c) => unlessLanded(c, c.s, (volume) => volume === null),
    },
    {
      step: 'drop record',
      do: (c) => inGlobal(c, (trx) => deleteVolumeRecord(trx, c.s.volumeId)),
      undo: 'forward only: the volume is gone',
    },
  ],
};

export interface DeleteVolumeOptions {
  /** With its snapshots; without, a volume that has some is not deleted. */
  readonly cascade: boolean;
  /** From any status, while nobody has it attached: administrators'. */
  readonly force: boolean;
}

/** Deletes a volume that nobody has attached and nothing is being made from. */
export const deleteVolume = (
  p: Platform,
  actor: Actor,
  volumeId: string,
  options: DeleteVolumeOptions,
): Promise<Refusal | null> =>
  startOnVolume(p, {
    ...{ move: DELETE_VOLUME, volumeId, actor },
    take: async (trx) => {
      const volume = await lockVolume(trx, volumeId);
      if (!volume) return { kind: 'refused', refusal: volumeNotFound(volumeId) };
      const from = options.force ? VOLUME_STATUSES : DELETABLE;
      const held = await isHeld(trx, volume, options.cascade);
      const change = { status: 'deleting', updated_at: p.clock.now() };
      if (held || !(await changeStatus(trx, volumeId, from, change))) {
        return { kind: 'refused', refusal: notDeletable() };
      }
      return { kind: 'ok', state: { volumeId, storageHost: volume.storageHost } };
    },
  });

async function isHeld(trx: Transaction<GlobalTables>, volume: Volume, cascade: boolean): Promise<boolean> {
  const { id: volumeId, projectId } = volume;
  const attached = await trx
    .selectFrom('volume_attachments')
    .select('id')
    .where('volume_id', '=', volumeId)
    .limit(1)
    .executeTakeFirst();
  const kept = trx.selectFrom('volume_snapshots').select(['id', 'project_id']).where('volume_id', '=', volumeId);
  const snapshots = await kept.execute();
  // Left with the project that has transferred the volume.
  const others = snapshots.some((each) => each.project_id !== projectId);
  const copies = await trx
    .selectFrom('volumes')
    .select('id')
    .where('status', '=', 'creating')
    .where((eb) =>
      eb.or([
        eb('source_volume_id', '=', volumeId),
        ...(snapshots.length === 0
          ? []
          : [
              eb(
                'snapshot_id',
                'in',
                snapshots.map((each) => each.id),
              ),
            ]),
      ]),
    )
    .limit(1)
    .executeTakeFirst();
  return attached !== undefined || copies !== undefined || others || (snapshots.length > 0 && !cascade);
}
