// The embedded image service: what an image is, where its bytes are, and what hosts are told of it.
//
// Theory of operation. A row in `images` and, once the data is there, the file <imageDirectory>/<id>.
//   queued ── staged ──> uploading ── imported ──> active; active <──> deactivated (users cannot have its data)
//   queued ── upload begins ──> saving ── all judged and on disk ──> active ── deleted by its owner ──> deleted ──> (no row)
//                └──────── anything wrong: file gone ────────┘
// A queued or saving image that is deleted leaves nothing at once. An active one becomes `deleted`: no user sees it any
// more, but its file stays while a server made from it exists, because a move may need the base image on a new host
// (images/collect.ts). The data of an active image never changes, so its digest names its content for ever.
// records.ts writes all columns but those of the data; upload.ts writes status and data; collect.ts removes.
// Where images are in a Glance, the rows are mirrors of it (images/mirror.ts): users see what Glance says.
// Not handled: tasks, several stores.
import { join } from 'node:path';
import type { Selectable } from 'kysely';
import type { BaseImage } from '../host/contract.ts';
import { invariant } from '../lib/errors.ts';
import { isUuid } from '../lib/ids.ts';
import { type Actor, type ImageSnapshot, isAdmin } from '../model/types.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import type { Platform } from './platform.ts';

const IMAGE_STATUSES = ['queued', 'uploading', 'saving', 'active', 'deactivated', 'deleted'] as const;
export type ImageStatus = (typeof IMAGE_STATUSES)[number];
export const VISIBILITIES = ['public', 'private', 'shared', 'community'] as const;
export type Visibility = (typeof VISIBILITIES)[number];
/** What guests can have as their disks. Of images in other formats the service keeps the data as it comes, and no more. */
export const GUEST_FORMATS = ['qcow2', 'raw'] as const;
export type GuestFormat = (typeof GUEST_FORMATS)[number];
export const DISK_FORMATS = [
  ...([...GUEST_FORMATS, 'ami', 'ari', 'aki', 'vhd', 'vhdx', 'vmdk', 'vdi', 'iso', 'ploop'] as const),
] as const;
export const CONTAINER_FORMATS = ['bare', 'ami', 'ari', 'aki', 'ovf', 'ova', 'docker', 'compressed'] as const;
export type DiskFormat = (typeof DISK_FORMATS)[number];

export const MEMBER_STATUSES = ['pending', 'accepted', 'rejected'] as const;
/** A project that an image is shared with; times in milliseconds since the epoch. */
export interface Member {
  readonly status: (typeof MEMBER_STATUSES)[number];
  readonly createdAt: number;
  readonly updatedAt: number;
}

export interface Image {
  readonly id: string;
  readonly name: string | null;
  readonly status: ImageStatus;
  readonly visibility: Visibility;
  /** Project. */
  readonly owner: string;
  readonly diskFormat: DiskFormat | null;
  readonly containerFormat: string | null;
  /** Of the file, and of the disk as a guest sees it; null before the data is there. */
  readonly sizeBytes: number | null;
  readonly virtualBytes: number | null;
  /** Digests of the file in hexadecimal. */
  readonly md5: string | null;
  readonly sha256: string | null;
  readonly sha512: string | null;
  readonly minDiskGb: number;
  readonly minRamMb: number;
  readonly protected: boolean;
  readonly hidden: boolean;
  readonly properties: Readonly<Record<string, string>>;
  readonly tags: readonly string[];
  /** By id: the projects that it is shared with. */
  readonly members: Readonly<Record<string, Member>>;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** The data of an image is being brought here from where it is: ask again in a moment. */
export class ImageOnItsWay extends Error {
  override readonly name = 'ImageOnItsWay';
  constructor(imageId: string) {
    super(`image ${imageId} is being brought here`);
  }
}

/**
 * The image of that id as users know it: never a deleted one. Whether the actor may see it: `maySee`.
 * @throws ServiceDown when images are in a Glance that does not answer
 */
export async function findImage(p: Platform, imageId: string): Promise<Image | null> {
  if (p.imageMirror) return p.imageMirror.find(p, imageId);
  const image = await findAnyImage(p, imageId);
  return image?.status === 'deleted' ? null : image;
}

const IMAGE = fixed<GlobalTables, { readonly imageId: string }, Selectable<GlobalTables['images']>>((db, { imageId }) =>
  db.selectFrom('images').selectAll().where('id', '=', imageId),
);

async function findAnyImage(p: Platform, imageId: string): Promise<Image | null> {
  if (!isUuid(imageId)) return null;
  const [row] = (await IMAGE(p.stores.global, { imageId })).rows;
  return row ? imageOf(row) : null;
}

/**
 * What hosts need to know to have the image as a base, also when its owner has deleted it; null: no data is kept.
 * @throws ImageOnItsWay when the data is in a Glance and not here yet
 */
export async function findBaseImage(p: Platform, imageId: string): Promise<BaseImage | null> {
  const image = await findAnyImage(p, imageId);
  switch (image?.status) {
    case undefined:
    case 'queued':
    case 'uploading':
    case 'saving':
      return p.imageMirror ? p.imageMirror.bring(p, imageId) : null;
    case 'active':
    case 'deactivated':
    case 'deleted':
      return baseImageOf(p, image);
  }
}

/** Whether guests can have it as their disk. One that was received, and has no virtual size, was found to be no disk. */
export const isForGuests = ({ diskFormat, containerFormat, sha256, virtualBytes }: Image): boolean =>
  containerFormat === 'bare' && guestFormatOf(diskFormat) !== null && (sha256 === null || virtualBytes !== null);

export const guestFormatOf = (format: DiskFormat | null): GuestFormat | null =>
  GUEST_FORMATS.find((each) => each === format) ?? null;

/** What hosts are told of an image that has its data. */
export function baseImageOf(p: Platform, image: Image): BaseImage {
  const { id, sizeBytes, virtualBytes, sha256 } = image;
  const format = guestFormatOf(image.diskFormat);
  invariant(
    format !== null && sizeBytes !== null && virtualBytes !== null && sha256 !== null,
    `image ${id} is ${image.status} and has no data`,
  );
  return { id, format, sizeBytes, virtualBytes, sha256, url: `${p.settings.hostFacingUrl}${dataPath(id)}` };
}

/** Path of the host-facing URL of an image's bytes. */
export const dataPath = (imageId: string): string => `/crosscell/v1/images/${imageId}/data`;

/** Where the bytes of an image are. */
export function imageFile(p: Platform, imageId: string): string {
  invariant(isUuid(imageId), 'an image file is named by a UUID');
  return join(p.settings.imageDirectory, imageId);
}

/** What a server remembers of the image it is made from. */
export const snapshotOf = (image: Image): ImageSnapshot => ({
  id: image.id,
  minDiskGb: image.minDiskGb,
  minRamMb: image.minRamMb,
  properties: Object.fromEntries(Object.entries(image.properties).filter(([key]) => !OF_NO_SERVER.has(key))),
});

/** What is said of disks to whoever creates a server, and done with then (Nova's SM_SKIP_KEYS). */
const OF_NO_SERVER: ReadonlySet<string> = new Set(['mappings', 'block_device_mapping']);

/** Public and community images are everybody's to see and use, shared ones their members', the rest their project's. */
export function maySee(actor: Actor, image: Image): boolean {
  return isAdmin(actor) || image.owner === actor.projectId || isOpenTo(actor, image);
}

function isOpenTo(actor: Actor, { visibility, members }: Image): boolean {
  switch (visibility) {
    case 'public':
    case 'community':
      return true;
    case 'shared':
      return Object.hasOwn(members, actor.projectId);
    case 'private':
      return false;
  }
}

export const mayChange = (actor: Actor, image: Image): boolean => isAdmin(actor) || image.owner === actor.projectId;

/** A row as data. @throws InvariantError when the row holds what no writer of ours writes */
export function imageOf(row: Selectable<GlobalTables['images']>): Image {
  return {
    id: row.id,
    name: row.name,
    status: oneOf(IMAGE_STATUSES, row.status),
    visibility: oneOf(VISIBILITIES, row.visibility),
    owner: row.owner,
    diskFormat: row.disk_format === null ? null : oneOf(DISK_FORMATS, row.disk_format),
    containerFormat: row.container_format,
    sizeBytes: row.size_bytes,
    virtualBytes: row.virtual_bytes,
    md5: row.md5,
    sha256: row.sha256,
    sha512: row.sha512,
    minDiskGb: row.min_disk_gb,
    minRamMb: row.min_ram_mb,
    protected: row.protected === 1,
    hidden: row.hidden === 1,
    properties: JSON.parse(row.properties_json) as Record<string, string>,
    tags: JSON.parse(row.tags_json) as string[],
    members: JSON.parse(row.members_json) as Record<string, Member>,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

function oneOf<T extends string>(known: readonly T[], text: string): T {
  const found = known.find((each) => each === text);
  invariant(found !== undefined, `an image row holds '${text}', which is none of ${known.join(', ')}`);
  return found;
}
