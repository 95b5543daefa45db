// Paying what is owed of volumes once their storage host answers again: the end of an access, and a volume's deletion.
//
// revoke-volume says that the server must not have the volume any more. Until it is paid the attachments stay, so that
// nobody else gets the volume, and the same server cannot get it back: what is revoked here can never be wanted again,
// whatever newer generation of the server the storage host has seen. delete-volume waits for that.
import type { Kysely } from 'kysely';
import type { GlobalTables } from '../../store/global-schema.ts';
import { type Answer, answerOf, jobAnswer } from '../guest-devices.ts';
import type { Platform } from '../platform.ts';
import { attachmentsOfVolume, forgetAttachments } from './attachments.ts';
import { deleteVolumeRecord, lockVolume } from './records.ts';

export interface VolumeDebt {
  readonly id: string;
  /** Name of the storage host. */
  readonly host: string;
  readonly serverId: string;
  readonly volumeId: string;
  readonly generation: number;
}

/** Ends the server's access to the volume; then others may have it. */
export async function payRevoke(p: Platform, debt: VolumeDebt): Promise<Answer> {
  const { serverId, volumeId } = debt;
  const storage = await p.storage(debt.host);
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
  const storage = await p.storage(debt.host);
  const remove = (generation: number) => storage.delete(volumeId, { generation });
  const first = await remove(debt.generation);
  // Of a volume whose deletion is owed nothing else can have been wanted since.
  const reply = first.kind === 'fenced' ? await remove(first.generation) : first;
  const answer = jobAnswer(reply);
  if (answer === 'settled') {
    await p.stores.global.transaction().execute(async (trx) => {
      // One that could not be made stays recorded, in error.
      if ((await lockVolume(trx, volumeId))?.status === 'deleting') await deleteVolumeRecord(trx, volumeId);
    });
  }
  return answer;
}

const isPaid = async (db: Kysely<GlobalTables>, id: string): Promise<boolean> => {
  const row = await db.selectFrom('debts').select('paid_at').where('id', '=', id).executeTakeFirst();
  return row === undefined || row.paid_at !== null;
};
