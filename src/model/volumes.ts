// Volumes: the words of their states, and the rules that need nothing but the records. Pure.
//
// Who writes a volume's status: the sagas on the volume (creating, extending, deleting, error…), and what attaches and
// detaches it (reserved, attaching, in-use, detaching), always by compare-and-set on the status it had before. Texts:
// cinder/volume/api.py, cinder/exception.py.
import { badRequest, conflict, type Refusal, refuse } from './refusal.ts';

/** Cinder's words, as far as this product uses them. */
export const VOLUME_STATUSES = [
  'creating',
  'available',
  'reserved',
  'attaching',
  'in-use',
  'detaching',
  'extending',
  'reverting',
  'awaiting-transfer',
  'uploading',
  'downloading',
  'deleting',
  'error',
  'error_deleting',
  'error_extending',
  'maintenance',
] as const;
export type VolumeStatus = (typeof VOLUME_STATUSES)[number];

export const SNAPSHOT_STATUSES = ['creating', 'available', 'restoring', 'deleting', 'error', 'error_deleting'] as const;
export type SnapshotStatus = (typeof SNAPSHOT_STATUSES)[number];

/** Most GiB of one volume: 8 PiB, the most whose length in bytes is a number that JSON carries exactly. */
export const MAX_VOLUME_GB = 8 * 1024 * 1024 - 1;
export const GIB = 1024 ** 3;

/** What a volume remembers of the image it was made from; enough to schedule a server that boots from it. */
export interface VolumeImage {
  readonly id: string;
  readonly name: string | null;
  readonly checksum: string | null;
  readonly containerFormat: string | null;
  readonly diskFormat: string | null;
  readonly sizeBytes: number;
  readonly minDiskGb: number;
  readonly minRamMb: number;
  readonly properties: Readonly<Record<string, string>>;
}

/** A volume as recorded. Sizes in GiB; times in milliseconds since the Unix epoch. */
export interface Volume {
  readonly id: string;
  readonly name: string | null;
  readonly description: string | null;
  readonly projectId: string;
  readonly userId: string;
  readonly sizeGb: number;
  readonly status: VolumeStatus;
  /** Name of the storage host that keeps it. */
  readonly storageHost: string;
  readonly typeId: string;
  readonly zone: string;
  readonly multiattach: boolean;
  readonly bootable: boolean;
  readonly snapshotId: string | null;
  readonly sourceVolumeId: string | null;
  readonly image: VolumeImage | null;
  readonly metadata: Readonly<Record<string, string>>;
  readonly generation: number;
  readonly createdAt: number;
  readonly updatedAt: number;
}

export interface Snapshot {
  readonly id: string;
  readonly volumeId: string;
  readonly name: string | null;
  readonly description: string | null;
  readonly projectId: string;
  readonly userId: string;
  readonly sizeGb: number;
  readonly status: SnapshotStatus;
  readonly metadata: Readonly<Record<string, string>>;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** From these a volume can be deleted (cinder/volume/api.py:delete). */
export const DELETABLE: readonly VolumeStatus[] = [
  'available',
  'error',
  'error_deleting',
  'error_extending',
  'maintenance',
];
export const SNAPSHOT_DELETABLE: readonly SnapshotStatus[] = ['available', 'error', 'error_deleting'];
/** What other volumes and images are made from must be whole. */
export const COPYABLE: readonly VolumeStatus[] = ['available', 'in-use'];

export const volumeNotFound = (id: string): Refusal => refuse(404, `Volume ${id} could not be found.`);
export const snapshotNotFound = (id: string): Refusal => refuse(404, `Snapshot ${id} could not be found.`);
export const typeNotFound = (id: string): Refusal => refuse(404, `Volume type ${id} could not be found.`);

/** cinder/exception.py:InvalidVolume for a delete that cannot be. */
export const notDeletable = (): Refusal =>
  badRequest(
    'Invalid volume: Volume status must be available or error or error_restoring or error_extending or ' +
      'error_managing and must not be migrating, attached, belong to a group, have snapshots, awaiting a transfer, ' +
      'or be disassociated from snapshots after volume transfer.',
  );

/** A volume may only grow, and only while it is at rest (cinder/volume/api.py:extend). */
export function checkExtend(volume: Volume, newSizeGb: number, attachedAllowed: boolean): Refusal | null {
  const allowed: readonly VolumeStatus[] = attachedAllowed ? ['available', 'in-use'] : ['available'];
  if (!allowed.includes(volume.status)) {
    return badRequest(
      `Invalid volume: Volume ${volume.id} status must be '${allowed.join(' or ')}' to extend, ` +
        `currently ${volume.status}.`,
    );
  }
  return newSizeGb > volume.sizeGb
    ? null
    : badRequest(
        `Invalid input received: New size for extend must be greater than current size. ` +
          `(current: ${volume.sizeGb}, extended: ${newSizeGb}).`,
      );
}

/** A snapshot of a volume in use needs `force` (cinder/volume/api.py:_create_snapshot). */
export function checkSnapshot(volume: Volume, force: boolean): Refusal | null {
  if (volume.status === 'available' || (force && volume.status === 'in-use')) return null;
  return badRequest(
    `Invalid volume: Volume ${volume.id} status must be available${force ? ' or in-use' : ''}, ` +
      `but current status is: ${volume.status}.`,
  );
}

/** The snapshot to which the volume can be reverted: its latest one (cinder/api/v3/volumes.py:revert). */
export function checkRevert(volume: Volume, latest: Snapshot | null, wanted: string | null): Snapshot | Refusal {
  if (latest === null) return badRequest(`Volume ${volume.id} doesn't have any snapshots.`);
  if (wanted !== latest.id) {
    return badRequest(`Specified snapshot ${wanted ?? 'None'} is None or not the latest one of volume ${volume.id}.`);
  }
  if (latest.sizeGb === volume.sizeGb) return latest;
  return badRequest(
    `Can't revert volume ${volume.id} to its latest snapshot ${latest.id}. ` +
      'The volume size must be equal to the snapshot size.',
  );
}

/** A volume that an image is written over is nobody's (cinder/volume/api.py:reimage). */
export function checkReimage({ id, status }: Volume): Refusal | null {
  if (status === 'available' || status === 'error') return null;
  return badRequest(`Invalid volume: Volume ${id} status must be available or error, but current status is ${status}.`);
}

/** Which of the two is not at rest (cinder/volume/api.py:revert_to_snapshot). */
export const notReverted = (volumeId: string, snapshotId: string, which: 'volume' | 'snapshot'): Refusal =>
  conflict(
    `Invalid ${which}: Can't revert volume ${volumeId} to its latest snapshot ${snapshotId}. ` +
      `${which === 'volume' ? 'Volume' : 'Snapshot'}'s status must be 'available'.`,
  );

/** Nova's (MultiattachNotSupportedOldMicroversion), of a request before 2.60. */
export const multiattachTooOld = (): Refusal =>
  badRequest('Multiattach volumes are only supported starting with compute API version 2.60.');

/** What a server is rebuilt with must be at rest (nova/volume/cinder.py:check_attached). */
export function checkAttached({ id, status }: Volume): Refusal | null {
  if (status === 'in-use') return null;
  return badRequest(`Invalid volume: volume '${id}' status must be 'in-use'. Currently in '${status}' status`);
}

/** An image of a volume in use needs `force` (cinder/volume/api.py:copy_volume_to_image). */
export function checkUpload(volume: Volume, force: boolean): Refusal | null {
  if (volume.status === 'available' || (force && volume.status === 'in-use')) return null;
  const statuses = force ? 'available or in-use' : 'available';
  return badRequest(`Invalid volume: Volume ${volume.id} status must be ${statuses}`);
}

/** A whole number of GiB that `bytes` fit into. */
export const gibOf = (bytes: number): number => Math.ceil(bytes / GIB);

export const MULTIATTACH_SPEC = 'multiattach';
/** Cinder's only spelling of true in extra specs. */
export const isTrueSpec = (value: string | undefined): boolean => /^<is>\s*true$/i.test((value ?? '').trim());
