// The guest image, stored at the first start where it can be had on this machine.
//
// It is recorded and then uploaded. A start that ended in between leaves it recorded without data: the next one gives the
// data to that record. One that somebody else has of that name is theirs, and one that was deleted comes again.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createImage } from '../control/images/records.ts';
import { uploadImage } from '../control/images/upload.ts';
import type { Platform } from '../control/platform.ts';
import type { Actor } from '../model/types.ts';
import { GUEST_IMAGE } from './guest-image.ts';

/** @param fileOf where its file is; null: it cannot be had. Not asked when the image is there. */
export async function offerImage(p: Platform, actor: Actor, fileOf: () => Promise<string | null>): Promise<void> {
  const known = await p.stores.global
    .selectFrom('images')
    .select(['id', 'status'])
    .where('name', '=', GUEST_IMAGE)
    .where('owner', '=', actor.projectId)
    .where('status', '<>', 'deleted')
    .execute();
  if (known.some(({ status }) => status !== 'queued')) return;
  const file = await fileOf();
  if (file === null) return;
  const id = known[0]?.id ?? (await recorded(p, actor));
  const { size } = await stat(file);
  const stream = createReadStream(file);
  const refusal = await uploadImage(p, actor, id, { stream, declaredBytes: size });
  stream.destroy();
  if (refusal) throw new Error(`the guest image: ${refusal.message}`);
}

async function recorded(p: Platform, actor: Actor): Promise<string> {
  const created = await createImage(p, actor, {
    ...{ name: GUEST_IMAGE, diskFormat: 'qcow2', containerFormat: 'bare', visibility: 'public' },
    ...{ minDiskGb: 0, minRamMb: 0, protected: false, hidden: false, properties: {}, tags: [] },
  });
  if (created.kind === 'refused') throw new Error(`the guest image: ${created.refusal.message}`);
  return created.image.id;
}
