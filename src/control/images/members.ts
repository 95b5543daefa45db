// Sharing images with projects, importing staged data, and taking data out of users' reach.
//
// A shared image has members: its owner names projects (pending), and each says for itself whether it takes the image
// (accepted, in its lists) or not (rejected); it may show and use it in any case. Staged data is judged and digested as it
// comes (upload.ts); importing it is one write to the row. Whoever is not allowed to know of a member is told that there is
// none. Source: glance/api/v2/image_members.py, image_actions.py.
import { badRequest } from '../../model/refusal.ts';
import { type Actor, isAdmin, type Refusal } from '../../model/types.ts';
import { findImage, type Image, type Member, maySee } from '../images.ts';
import type { Platform } from '../platform.ts';
import { changeImage } from './changes.ts';
import { importFromWeb } from './download.ts';
import { type ImageResult, no, showImage } from './records.ts';
import { receiveImage, type Upload } from './upload.ts';

/** Most members of one image (Glance's image_member_quota). */
const MAX_MEMBERS = 128;

export type MemberResult =
  | { readonly kind: 'ok'; readonly imageId: string; readonly id: string; readonly member: Member }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

const noMember = (id: string, image: Image) =>
  no(404, `${id.slice(0, 255)} not found in the member list of the image ${image.id}.`);

/** The image's owner names a project. Refused: 403 unless the image is shared and the actor's, 409 when named already. */
export async function addMember(p: Platform, actor: Actor, imageId: string, id: string): Promise<MemberResult> {
  const now = p.clock.now();
  const member: Member = { status: 'pending', createdAt: now, updatedAt: now };
  const result = await changeImage(p, actor, imageId, 'add_member', (image) => {
    if (image.visibility !== 'shared') return no(403, 'Only shared images have members.');
    if (Object.hasOwn(image.members, id)) return no(409, `Member ${id} is duplicated for image ${imageId}`);
    if (Object.keys(image.members).length >= MAX_MEMBERS) {
      return no(413, `The limit has been exceeded on the number of allowed image members for this image.`);
    }
    return { kind: 'ok', image: { ...image, members: { ...image.members, [id]: member } } };
  });
  return result.kind === 'ok' ? { kind: 'ok', imageId, id, member } : result;
}

/** The members that the actor may know of: the owner all, a member itself. */
export async function listMembers(
  p: Platform,
  actor: Actor,
  imageId: string,
): Promise<
  | { readonly kind: 'ok'; readonly members: readonly Extract<MemberResult, { kind: 'ok' }>[] }
  | { readonly kind: 'refused'; readonly refusal: Refusal }
> {
  const shown = await showImage(p, actor, imageId);
  if (shown.kind === 'refused') return shown;
  const { image } = shown;
  if (image.visibility !== 'shared') return no(403, 'Only shared images have members.');
  const members = Object.entries(image.members).flatMap(([id, member]) =>
    owns(actor, image) || id === actor.projectId ? [{ kind: 'ok', imageId, id, member } as const] : [],
  );
  return { kind: 'ok', members };
}

export async function showMember(p: Platform, actor: Actor, imageId: string, id: string): Promise<MemberResult> {
  const shown = await showImage(p, actor, imageId);
  if (shown.kind === 'refused') return shown;
  const { image } = shown;
  const member = Object.hasOwn(image.members, id) ? image.members[id] : undefined;
  const known = member && (owns(actor, image) || id === actor.projectId);
  return known ? { kind: 'ok', imageId, id, member } : noMember(id, image);
}

/** A project says how it takes the image. Refused: 403 for another's, 404. */
export async function answerMember(
  p: Platform,
  actor: Actor,
  imageId: string,
  id: string,
  status: Member['status'],
): Promise<MemberResult> {
  const shown = await showMember(p, actor, imageId, id);
  if (shown.kind === 'refused') return shown;
  if (id !== actor.projectId && !isAdmin(actor)) {
    return no(403, 'You are not authorized to complete modify_member action.');
  }
  const member: Member = { ...shown.member, status, updatedAt: p.clock.now() };
  // A member changes what is its own of an image that is not.
  const change = (image: Image): ImageResult =>
    Object.hasOwn(image.members, id)
      ? { kind: 'ok', image: { ...image, members: { ...image.members, [id]: member } } }
      : noMember(id, image);
  const result = await changeImage(p, actor, imageId, 'modify_member', change, () => true);
  return result.kind === 'ok' ? { kind: 'ok', imageId, id, member } : result;
}

/** The owner takes the image back from a project. Refused: 403, 404. */
export async function removeMember(p: Platform, actor: Actor, imageId: string, id: string): Promise<Refusal | null> {
  const result = await changeImage(p, actor, imageId, 'delete_member', (image) => {
    if (!Object.hasOwn(image.members, id)) return noMember(id, image);
    const members = Object.fromEntries(Object.entries(image.members).filter(([each]) => each !== id));
    return { kind: 'ok', image: { ...image, members } };
  });
  return result.kind === 'ok' ? null : result.refusal;
}

const owns = (actor: Actor, image: Image): boolean => isAdmin(actor) || image.owner === actor.projectId;

/** Takes the data out of users' reach (`deactivated`), or gives it back. Refused: 403 from any other status, 404. */
export async function setActive(p: Platform, actor: Actor, imageId: string, active: boolean): Promise<Refusal | null> {
  const to = active ? 'active' : 'deactivated';
  const shown = await showImage(p, actor, imageId);
  if (shown.kind === 'refused') return shown.refusal;
  const { image } = shown;
  if (!owns(actor, image)) {
    return no(403, `You are not authorized to complete ${active ? 'reactivate' : 'deactivate'} action.`).refusal;
  }
  const changed = await p.stores.global
    .updateTable('images')
    .set({ status: to, updated_at: p.clock.now() })
    .where('id', '=', imageId)
    .where('status', 'in', ['active', 'deactivated'])
    .returning('id')
    .executeTakeFirst();
  return changed ? null : no(403, `Image status transition from ${image.status} to ${to} is not allowed`).refusal;
}

/** Receives the data of a queued image, to be imported later. Refused as an upload is. */
export async function stageImage(p: Platform, actor: Actor, imageId: string, upload: Upload): Promise<Refusal | null> {
  const image = await findImage(p, imageId);
  if (!image || !maySee(actor, image)) return no(404, `No image found with ID ${imageId}`).refusal;
  if (!owns(actor, image)) return no(403, 'You are not authorized to complete upload_image action.').refusal;
  return receiveImage(p, image, { ...upload, keepsAnything: true }, 'uploading');
}

/** The ways of importing data that there are. */
export const importMethods = ({ settings }: Platform): readonly string[] => [
  'glance-direct',
  ...(settings.webDownload.enabled ? ['web-download'] : []),
];

/**
 * What was staged becomes the image's data, or what is fetched from `uri`. Refused: 400 for another method, 403, 404, 409
 * when there is nothing (any more) to import, and as download.ts beside this says.
 */
export async function importImage(
  p: Platform,
  actor: Actor,
  imageId: string,
  { name: method, uri }: { readonly name: string; readonly uri?: string },
): Promise<Refusal | null> {
  const shown = await showImage(p, actor, imageId);
  if (shown.kind === 'refused') return shown.refusal;
  const { image } = shown;
  if (!owns(actor, image)) return no(403, 'You are not authorized to complete import_image action.').refusal;
  if (!importMethods(p).includes(method)) return badRequest(`Unknown import method name '${method}'.`);
  if (method === 'web-download')
    return uri === undefined
      ? badRequest("Import method 'web-download' requires a 'uri' in the 'method' field")
      : importFromWeb(p, actor, image, uri);
  const imported = await p.stores.global
    .updateTable('images')
    .set({ status: 'active', updated_at: p.clock.now() })
    .where('id', '=', imageId)
    .where('status', '=', 'uploading')
    .where('size_bytes', 'is not', null)
    .returning('id')
    .executeTakeFirst();
  if (imported) return null;
  return no(409, `Image needs to be in 'uploading' state to use 'glance-direct' method`).refusal;
}
