// Changes of images: everything but their data.
//
// Theory of operation. Each change reads and writes its row in one transaction, so that none is lost to another. Formats
// are fixed once data is being received.
import type { Kysely } from 'kysely';
import { assertNever } from '../../lib/errors.ts';
import { refused } from '../../model/refusal.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { forUpdate } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { CONTAINER_FORMATS, DISK_FORMATS, type Image, imageOf, mayChange, VISIBILITIES } from '../images.ts';
import type { Platform } from '../platform.ts';
import { type ImageResult, no, notAuthorized, notFound, rowOf, showImage } from './records.ts';
import { checkImage, checkNotReserved, checkText, isBaseAttribute } from './rules.ts';

/** One operation of a JSON patch (RFC 6902, Glance's subset): `path` is an attribute's or a property's name. */
export interface ImageChange {
  readonly op: 'add' | 'replace' | 'remove';
  readonly path: string;
  /** Absent with `remove`. */
  readonly value?: unknown;
}

/** Applies the changes in their order, all or none. Refused: 400, 403, 404, 409 in Glance's sentences. */
export async function updateImage(
  p: Platform,
  actor: Actor,
  imageId: string,
  changes: readonly ImageChange[],
): Promise<ImageResult> {
  return changeImage(p, actor, imageId, 'modify_image', (image) => {
    let draft = image;
    for (const change of changes) {
      const next = applied(p, actor, draft, change);
      if (next.kind === 'refused') return next;
      draft = next.image;
    }
    return { kind: 'ok', image: draft };
  });
}

/** Adds a tag; having it already is fine. */
export const addTag = (p: Platform, actor: Actor, imageId: string, tag: string): Promise<ImageResult> =>
  changeImage(p, actor, imageId, 'modify_image', (image) => ({
    kind: 'ok',
    image: { ...image, tags: [...new Set([...image.tags, tag])] },
  }));

/** Removes a tag; 404 when the image does not have it. */
export const removeTag = (p: Platform, actor: Actor, imageId: string, tag: string): Promise<ImageResult> =>
  changeImage(p, actor, imageId, 'modify_image', (image) =>
    image.tags.includes(tag)
      ? { kind: 'ok', image: { ...image, tags: image.tags.filter((each) => each !== tag) } }
      : no(404, `Tag ${tag.slice(0, 255)} could not be found.`),
  );

/** Changes the image under its lock. `policy`: the rule that a refusal names. */
export async function changeImage(
  p: Platform,
  actor: Actor,
  imageId: string,
  policy: string,
  change: (image: Image) => ImageResult,
  may: (actor: Actor, image: Image) => boolean = mayChange,
): Promise<ImageResult> {
  const shown = await showImage(p, actor, imageId);
  if (shown.kind === 'refused') return shown;
  return p.stores.global.transaction().execute(async (trx) => {
    const image = await liveImage(trx, imageId);
    if (!image) return notFound(imageId);
    if (!may(actor, image)) return notAuthorized(policy);
    const changed = change(image);
    if (changed.kind === 'refused') return changed;
    const wrong = checkImage(changed.image);
    if (wrong) return refused(wrong);
    const updatedAt = isBeingReceived(image) ? image.updatedAt : p.clock.now();
    const { id, status: _status, created_at: _created, ...row } = rowOf({ ...changed.image, updatedAt });
    await trx.updateTable('images').set(row).where('id', '=', id).execute();
    return { kind: 'ok', image: { ...changed.image, updatedAt } };
  });
}

/** Then updated_at is the upload's fence. Staged data that is all here has a size. */
const isBeingReceived = ({ status, sizeBytes }: Image): boolean =>
  status === 'saving' || (status === 'uploading' && sizeBytes === null);

/** The image, which nobody else changes before the transaction ends. */
async function liveImage(db: Kysely<GlobalTables>, imageId: string): Promise<Image | null> {
  const row = await db
    .selectFrom('images')
    .selectAll()
    .where('id', '=', imageId)
    .where('status', '<>', 'deleted')
    .modifyEnd(forUpdate(db))
    .executeTakeFirst();
  return row ? imageOf(row) : null;
}

/** The rules that let an image be shown to others at large. */
const OPENED_BY: Partial<Record<Image['visibility'], 'publicize_image' | 'communitize_image'>> = {
  public: 'publicize_image',
  community: 'communitize_image',
};

function applied(p: Platform, actor: Actor, image: Image, change: ImageChange): ImageResult {
  const { op, path, value } = change;
  if (!isBaseAttribute(path)) return withProperty(image, change);
  if (op === 'remove') return no(403, `Property ${path} may not be removed.`);
  const with_ = (part: Partial<Image>): ImageResult => ({ kind: 'ok', image: { ...image, ...part } });
  const bad = (expected: string) => no(400, `Invalid value for ${path}: it must be ${expected}.`);
  switch (path) {
    case 'name':
      return typeof value === 'string' || value === null ? with_({ name: value }) : bad('a string or null');
    case 'visibility': {
      const visibility = VISIBILITIES.find((each) => each === value);
      if (!visibility) return bad(`one of ${VISIBILITIES.join(', ')}`);
      const rule = visibility === image.visibility ? undefined : OPENED_BY[visibility];
      const target = { project_id: image.owner };
      return rule && !p.policies.allows('image', rule, actor, target) ? notAuthorized(rule) : with_({ visibility });
    }
    case 'owner':
      if (!isAdmin(actor)) return no(403, "Owner can't be updated by non admin.");
      return typeof value === 'string' && value !== '' && checkText('owner', value) === null
        ? with_({ owner: value })
        : bad('the id of a project');
    case 'min_disk':
      return typeof value === 'number' ? with_({ minDiskGb: value }) : bad('an integer');
    case 'min_ram':
      return typeof value === 'number' ? with_({ minRamMb: value }) : bad('an integer');
    case 'protected':
      return typeof value === 'boolean' ? with_({ protected: value }) : bad('a boolean');
    case 'os_hidden':
      return typeof value === 'boolean' ? with_({ hidden: value }) : bad('a boolean');
    case 'tags':
      return Array.isArray(value) && value.every((each) => typeof each === 'string')
        ? with_({ tags: [...new Set(value)] })
        : bad('a list of strings');
    case 'disk_format': {
      const diskFormat = DISK_FORMATS.find((each) => each === value);
      if (image.status !== 'queued') return no(403, 'Attribute disk_format can be only replaced for a queued image.');
      return diskFormat ? with_({ diskFormat }) : bad(`one of ${DISK_FORMATS.join(', ')}`);
    }
    case 'container_format':
      if (image.status !== 'queued')
        return no(403, 'Attribute container_format can be only replaced for a queued image.');
      return CONTAINER_FORMATS.some((each) => each === value)
        ? with_({ containerFormat: String(value) })
        : bad(`one of ${CONTAINER_FORMATS.join(', ')}`);
    default:
      return no(403, `Attribute '${path}' is read-only.`);
  }
}

function withProperty(image: Image, { op, path, value }: ImageChange): ImageResult {
  const reserved = checkNotReserved([path]);
  if (reserved) return refused(reserved);
  if (op !== 'add' && !Object.hasOwn(image.properties, path)) return no(409, `Property ${path} does not exist.`);
  switch (op) {
    case 'add':
    case 'replace': {
      if (typeof value !== 'string') return no(400, `Invalid value for property ${path}: it must be a string.`);
      // Not by assignment: a property called __proto__ is one like any other.
      const properties = Object.fromEntries([...Object.entries(image.properties), [path, value]]);
      return { kind: 'ok', image: { ...image, properties } };
    }
    case 'remove':
      return {
        kind: 'ok',
        image: {
          ...image,
          properties: Object.fromEntries(Object.entries(image.properties).filter(([key]) => key !== path)),
        },
      };
    default:
      return assertNever(op);
  }
}
