// Paying what is owed of volumes once their storage host answers again: the end of an access, a volume's deletion, and the
// end of what a rebuild kept of a volume.
//
// revoke-volume says that the server must not have the volume any more. Until it is paid the attachments stay, so that
// nobody else gets the volume, and the same server cannot get it back: what is revoked here can never be wanted again,
// whatever newer generation of the server the storage host has seen. delete-volume waits for that. delete-remains says that
// an operator wants the files of a volume gone of which there is no record.
// drop-kept-content says that the snapshot of the volume which has the saga's name is of no use any more. restore-volume
// says that the volume, whose server is gone, is to hold again what that snapshot kept; until it is paid the volume stays
// `downloading`, so that nobody gets it. The snapshot goes last: as long as it is there, nobody else has had the volume.
import type { Kysely } from 'kysely';
import type { Job, Reply } from '../../host/contract.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { type Answer, answerOf, jobAnswer } from '../guest-devices.ts';
import { ownsVolume } from '../ownership.ts';
import type { Platform } from '../platform.ts';
import { attachmentsOfVolume, forgetAttachments, settleStatus } from './attachments.ts';
import { storageOf } from './lost-storage.ts';
import { changeStatus, deleteVolumeRecord, findVolume, lockVolume } from './records.ts';

export interface VolumeDebt {
  readonly id: string;
  /** Name of the storage host. */
  readonly host: string;
  readonly serverId: string;
  readonly volumeId: string;
  readonly generation: number;
  readonly sagaId: string;
}

/** Ends the server's access to the volume; then others may have it. */
export async function payRevoke(p: Platform, debt: VolumeDebt): Promise<Answer> {
  const { serverId, volumeId } = debt;
  const storage = await storageOf(p, debt.host);
  const all = await attachmentsOfVolume(p.stores.global, volumeId);
  for (const { id } of all.filter((each) => each.serverId === serverId)) {
    const revoke = (generation: number) => storage.revoke(volumeId, id, { serverId, generation });
    const first = await revoke(debt.generation);
    const answer = answerOf(first.kind === 'fenced' ? await revoke(first.generation) : first);
    if (answer !== 'settled') return answer;
  }
  await p.stores.global.transaction().execute(async (trx) => {
    if (await isPaid(trx, debt.id)) return;
    await forgetAttachments(trx, serverId, [volumeId], p.clock.now());
    // With them, or the server could have the volume again and lose it to this debt.
    await trx.updateTable('debts').set({ paid_at: p.clock.now() }).where('id', '=', debt.id).execute();
  });
  return 'settled';
}

/** Deletes the volume where it is kept, and its record if that waits for it. */
export async function payDelete(p: Platform, debt: VolumeDebt): Promise<Answer> {
  const { volumeId } = debt;
  if ((await attachmentsOfVolume(p.stores.global, volumeId)).length > 0) return 'not yet';
  const status = (await findVolume(p.stores.global, volumeId))?.status;
  // Whoever was making it has not yet written down that it failed.
  if (status === 'creating') return 'not yet';
  // Somebody has said by hand that it is of use still.
  if (status !== undefined && status !== 'deleting' && status !== 'error') return 'settled';
  const storage = await storageOf(p, debt.host);
  const remove = (generation: number) => storage.delete(volumeId, { generation });
  const answer = await atWhatever(debt.generation, remove);
  if (answer === 'settled') {
    await p.stores.global.transaction().execute(async (trx) => {
      // One that could not be made stays recorded, in error.
      if ((await lockVolume(trx, volumeId))?.status === 'deleting') await deleteVolumeRecord(trx, volumeId);
    });
  }
  return answer;
}

/** Deletes the files of a volume of which its storage host has no record, unless the volume is on record here by now. */
export async function payDeleteRemains(p: Platform, debt: VolumeDebt): Promise<Answer> {
  const is = await ownsVolume(p, debt.host, debt.volumeId);
  if (is !== 'stray') return is === 'owned' ? 'settled' : 'not yet';
  const storage = await storageOf(p, debt.host);
  return atWhatever(debt.generation, (generation) => storage.delete(debt.volumeId, { generation, remains: true }));
}

/** Deletes what a rebuild kept of the volume. */
export async function payDropKept(p: Platform, debt: VolumeDebt): Promise<Answer> {
  const storage = await storageOf(p, debt.host);
  return atWhatever(debt.generation, (generation) =>
    storage.deleteSnapshot(debt.volumeId, debt.sagaId, { generation }),
  );
}

/** Writes back what a rebuild kept of the volume, deletes that, and lets others have the volume. */
export async function payRestore(p: Platform, debt: VolumeDebt): Promise<Answer> {
  const { volumeId, sagaId } = debt;
  const storage = await storageOf(p, debt.host);
  const found = await storage.volume(volumeId);
  if (found.kind !== 'ok' && found.kind !== 'absent') return answerOf(found);
  if (found.kind === 'ok' && found.value.snapshots.includes(sagaId)) {
    if ((await attachmentsOfVolume(p.stores.global, volumeId)).length > 0) return 'not yet';
    // Somebody may have said otherwise of it by hand, and have used it since.
    if ((await findVolume(p.stores.global, volumeId))?.status === 'downloading') {
      const content = { kind: 'snapshot', snapshotId: sagaId } as const;
      const written = await atWhatever(debt.generation, (generation) =>
        storage.rewrite(volumeId, { generation, content }),
      );
      if (written !== 'settled') return written;
    }
    const dropped = await payDropKept(p, debt);
    if (dropped !== 'settled') return dropped;
  }
  await p.stores.global.transaction().execute(async (trx) => {
    await lockVolume(trx, volumeId);
    // A saga that somebody has taken over may have done it all, and a server may have the volume.
    if ((await attachmentsOfVolume(trx, volumeId)).length > 0) return;
    const now = p.clock.now();
    await changeStatus(trx, volumeId, ['downloading'], { status: 'in-use', updated_at: now });
    await settleStatus(trx, [volumeId], now);
  });
  return 'settled';
}

/** At the generation that the storage host has seen, if that is newer: nobody else can mean what is owed here. */
async function atWhatever(generation: number, call: (generation: number) => Promise<Reply<Job>>): Promise<Answer> {
  const first = await call(generation);
  return jobAnswer(first.kind === 'fenced' ? await call(first.generation) : first);
}

const isPaid = async (db: Kysely<GlobalTables>, id: string): Promise<boolean> => {
  const row = await db.selectFrom('debts').select('paid_at').where('id', '=', id).executeTakeFirst();
  return row === undefined || row.paid_at !== null;
};
