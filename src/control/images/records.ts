// The records of images: made, shown, deleted. Changes are in changes.ts, lists in listing.ts, the data in upload.ts.
//
// Theory of operation. Images that the actor may not see are answered as if they were not there; those that it may see but
// not change with 403. Only administrators make an image public or give it to another project.
import { createHash } from 'node:crypto';
import type { Insertable, Kysely, Transaction } from 'kysely';
import { newId } from '../../lib/ids.ts';
import { forbidden, type Refused, refuse, refused } from '../../model/refusal.ts';
import { type Actor, isAdmin, type Refusal } from '../../model/types.ts';
import { exclusively } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import {
  type DiskFormat,
  findImage,
  type Image,
  type ImageStatus,
  mayChange,
  maySee,
  type Visibility,
} from '../images.ts';
import type { Platform } from '../platform.ts';
import { giveUpInGlance } from './glance-writes.ts';
import { checkImage, checkNotReserved, checkText } from './rules.ts';

/** Most images of one project. */
const MAX_IMAGES = 1000;

export type ImageResult = { readonly kind: 'ok'; readonly image: Image } | Refused;
export const no = (code: Refusal['code'], message: string): Refused => refused(refuse(code, message));

export const notFound = (id: string) => no(404, `No image found with ID ${id.slice(0, 255)}`);
export const notAuthorized = (what: string) => no(403, `You are not authorized to complete ${what} action.`);

export interface NewImage {
  /** Chosen by the client; absent: any. */
  readonly id?: string;
  readonly name: string | null;
  readonly diskFormat: DiskFormat | null;
  readonly containerFormat: string | null;
  readonly visibility: Visibility;
  /** Project; administrators may name another than their own. */
  readonly owner?: string;
  readonly minDiskGb: number;
  readonly minRamMb: number;
  readonly protected: boolean;
  readonly hidden: boolean;
  readonly properties: Readonly<Record<string, string>>;
  readonly tags: readonly string[];
}

/** Creates a queued image without data. Refused: 400 by rules.ts, 403, 409 for a taken id, 413 for too many images. */
export async function createImage(p: Platform, actor: Actor, request: NewImage): Promise<ImageResult> {
  const wrong = checkNotReserved(Object.keys(request.properties)) ?? checkImage(request);
  if (wrong) return refused(wrong);
  if (request.visibility === 'public' && !p.policies.allows('image', 'publicize_image', actor)) {
    return notAuthorized('publicize_image');
  }
  if (request.visibility === 'community' && !p.policies.allows('image', 'communitize_image', actor)) {
    return notAuthorized('communitize_image');
  }
  const owner = request.owner ?? actor.projectId;
  if (owner !== actor.projectId && !isAdmin(actor)) return notAuthorized('add_image');
  const badOwner = owner === '' ? 'Invalid value for owner: it is empty.' : checkText('owner', owner);
  if (badOwner !== null) return no(400, badOwner);
  const id = request.id ?? newId();
  const now = p.clock.now();
  const image: Image = {
    ...{ id, name: request.name, status: 'queued', visibility: request.visibility, owner },
    ...{ diskFormat: request.diskFormat, containerFormat: request.containerFormat },
    ...{ sizeBytes: null, virtualBytes: null, md5: null, sha256: null, sha512: null },
    ...{ minDiskGb: request.minDiskGb, minRamMb: request.minRamMb },
    ...{ protected: request.protected, hidden: request.hidden, properties: request.properties },
    ...{ tags: [...new Set(request.tags)], members: {}, createdAt: now, updatedAt: now },
  };
  return p.stores.global.transaction().execute((trx) => insertImage(trx, image));
}

/** Writes a new image down. Refused: 409 for a taken id, 413 for too many images of its owner. */
export async function insertImage(trx: Transaction<GlobalTables>, image: Image): Promise<ImageResult> {
  const { id, owner } = image;
  await exclusively(trx, `images of ${owner}`);
  const { count } = await trx
    .selectFrom('images')
    .select((select) => select.fn.countAll<number>().as('count'))
    .where('owner', '=', owner)
    .where('status', '<>', 'deleted')
    .executeTakeFirstOrThrow();
  if (Number(count) >= MAX_IMAGES) return no(413, `The project has ${count} images, the most that it may have.`);
  const inserted = await trx
    .insertInto('images')
    .values(rowOf(image))
    .onConflict((any) => any.doNothing())
    .returning('id')
    .executeTakeFirst();
  return inserted ? { kind: 'ok', image } : no(409, `Image ID ${id} already exists!`);
}

/** The image, when the actor may see it. */
export async function showImage(p: Platform, actor: Actor, imageId: string): Promise<ImageResult> {
  const image = await findImage(p, imageId);
  return image && maySee(actor, image) ? { kind: 'ok', image } : notFound(imageId);
}

/**
 * Deletes the image for its users; null: done. An image without data is gone at once; the file of one with data goes
 * when no server made from it is left (images/collect.ts). Refused: 403 when protected or not the actor's, 404.
 */
export async function deleteImage(p: Platform, actor: Actor, imageId: string): Promise<Refusal | null> {
  const shown = await showImage(p, actor, imageId);
  if (shown.kind === 'refused') return shown.refusal;
  if (!mayChange(actor, shown.image)) return notAuthorized('delete_image').refusal;
  if (shown.image.protected) return forbidden(`Image ${imageId} is protected and cannot be deleted.`);
  await p.stores.global.transaction().execute((trx) => discardImages(trx, [imageId], p.clock.now()));
  return null;
}

const WITHOUT_DATA: readonly ImageStatus[] = ['queued', 'uploading', 'saving'];
const WITH_DATA: readonly ImageStatus[] = ['active', 'deactivated'];

/** The images are gone for their users, whoever they are; nothing of those that are gone already. */
export async function discardImages(
  trx: Transaction<GlobalTables>,
  imageIds: readonly string[],
  now: number,
): Promise<void> {
  if (imageIds.length === 0) return;
  await giveUpInGlance(trx, imageIds, 'unwanted', now);
  await trx.deleteFrom('images').where('id', 'in', imageIds).where('status', 'in', WITHOUT_DATA).execute();
  await trx
    .updateTable('images')
    .set({ status: 'deleted', updated_at: now })
    .where('id', 'in', imageIds)
    .where('status', 'in', WITH_DATA)
    .execute();
}

/** Those of the images that do not have their data (yet) are gone; in a Glance those that do not have it there. */
export async function discardUnfinished(
  trx: Transaction<GlobalTables>,
  imageIds: readonly string[],
  now: number,
): Promise<void> {
  await giveUpInGlance(trx, imageIds, 'unfinished', now);
  await trx.deleteFrom('images').where('id', 'in', imageIds).where('status', 'in', WITHOUT_DATA).execute();
}

/** The queued image has all the data that it will ever have: none. False when it is not queued any more. */
export async function activateEmpty(trx: Transaction<GlobalTables>, imageId: string, now: number): Promise<boolean> {
  const digest = (algorithm: string): string => createHash(algorithm).digest('hex');
  const activated = await trx
    .updateTable('images')
    .set({
      ...{ status: 'active', size_bytes: 0, virtual_bytes: 0, updated_at: now },
      ...{ md5: digest('md5'), sha256: digest('sha256'), sha512: digest('sha512') },
    })
    .where('id', '=', imageId)
    .where('status', '=', 'queued')
    .executeTakeFirst();
  return activated.numUpdatedRows > 0n;
}

/** Whether the image is there and has its data. */
export async function hasData(trx: Kysely<GlobalTables>, imageId: string): Promise<boolean> {
  const found = trx.selectFrom('images').select('id').where('id', '=', imageId).where('status', 'in', WITH_DATA);
  return (await found.executeTakeFirst()) !== undefined;
}

export function rowOf(image: Image): Insertable<GlobalTables['images']> {
  return {
    id: image.id,
    name: image.name,
    status: image.status,
    visibility: image.visibility,
    owner: image.owner,
    disk_format: image.diskFormat,
    container_format: image.containerFormat,
    size_bytes: image.sizeBytes,
    virtual_bytes: image.virtualBytes,
    md5: image.md5,
    sha256: image.sha256,
    sha512: image.sha512,
    min_disk_gb: image.minDiskGb,
    min_ram_mb: image.minRamMb,
    protected: image.protected ? 1 : 0,
    hidden: image.hidden ? 1 : 0,
    properties_json: JSON.stringify(image.properties),
    tags_json: JSON.stringify(image.tags),
    members_json: JSON.stringify(image.members),
    created_at: image.createdAt,
    updated_at: image.updatedAt,
  };
}
