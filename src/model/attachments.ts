// Rules of attaching volumes to servers.
//
// Theory of operation. Who has a volume is said by its attachments; the status of a volume that rests or is being attached
// or detached follows from them and from nothing else: `statusByAttachments`. Statuses that stand for something that is
// done to the volume itself (creating, extending, deleting, error, …) are not touched by it. Refusals speak as Nova and
// Cinder do; which of the two says what is noted beside each.
import type { Refusal } from './refusal.ts';
import { badRequest, conflict, notFound } from './refusal.ts';

/** What a rule needs to know of a volume. */
export interface VolumeState {
  readonly id: string;
  readonly projectId: string;
  readonly status: string;
  readonly multiattach: boolean;
}

/** A server that has the volume or is about to. */
export interface AttachmentState {
  readonly serverId: string;
  /** It has been plugged in; before, it is only reserved. */
  readonly attached: boolean;
}

/** The statuses that follow from attachments. */
const BY_ATTACHMENTS: readonly string[] = ['available', 'reserved', 'attaching', 'in-use', 'detaching'];

/** What the volume's status is with these attachments, when nothing else is going on with it. */
export function statusByAttachments(status: string, attachments: readonly AttachmentState[]): string {
  if (!BY_ATTACHMENTS.includes(status)) return status;
  if (attachments.length === 0) return 'available';
  return attachments.some((each) => each.attached) ? 'in-use' : 'reserved';
}

/** Nova's and Cinder's 404 (VolumeNotFound), also for a volume of another project. */
export const volumeNotFound = (id: string): Refusal => notFound(`Volume ${id} could not be found.`);

const invalidVolume = (reason: string): Refusal => badRequest(`Invalid volume: ${reason}`);

/**
 * Whether the server may have the volume. 404 when there is none for the project; 400 when the server has it already
 * (Nova: _check_volume_already_attached_to_instance) or it is not free (Cinder: _attachment_reserve, as Nova passes it on).
 */
export function checkClaim(
  volume: VolumeState | null,
  attachments: readonly AttachmentState[],
  wanted: { readonly volumeId: string; readonly serverId: string; readonly projectId: string },
): Refusal | null {
  if (volume === null || volume.projectId !== wanted.projectId) return volumeNotFound(wanted.volumeId);
  if (attachments.some((each) => each.serverId === wanted.serverId)) {
    return invalidVolume(`volume ${volume.id} already attached`);
  }
  const free = volume.multiattach ? ['available', 'in-use', 'reserved'] : ['available'];
  // Whatever its status was said to be by hand: two guests that write to one volume ruin it.
  const status = volume.multiattach ? volume.status : statusByAttachments(volume.status, attachments);
  if (free.includes(status)) return null;
  const words = volume.multiattach ? 'available, in-use or downloading' : 'available or downloading';
  return badRequest(
    `Invalid input received: Invalid volume: Volume ${volume.id} status must be ${words} to reserve, ` +
      `but the current status is ${status}.`,
  );
}

/**
 * Whether the server can be parted from the volume: 404 when it does not have it (Nova: VolumeBDMNotFound), 400 for the
 * one that it boots from (Nova: is_root) and for a volume that is not at rest (Cinder: begin_detaching). `isLost`: its
 * storage host will never return, and it is in error for good.
 */
export function checkDetach(
  status: string | null,
  mapping: { readonly bootIndex: number | null } | null,
  ids: { readonly volumeId: string; readonly serverId: string; readonly isLost?: boolean },
): Refusal | null {
  if (mapping === null || status === null) {
    return notFound(`Instance ${ids.serverId} is not attached to volume ${ids.volumeId}`);
  }
  if (mapping.bootIndex === 0) return badRequest('Cannot detach a root device volume');
  if (status === 'in-use' || ids.isLost) return null;
  return invalidVolume(
    "Unable to detach volume. Volume status must be 'in-use' and attach_status must be 'attached' to detach.",
  );
}

/** A guest's disks are /dev/vda to /dev/vdz: that many volumes at most, less a local root disk. */
const LETTERS = 'abcdefghijklmnopqrstuvwxyz';
const DEVICE = /^\/dev\/vd[a-z]$/;

/**
 * The device name for one more volume: the wanted one, or the first that is free. /dev/vda is the root disk's.
 * 400 for a name that no disk here can have, 409 when it is taken or none is left (Nova: InvalidDevicePath,
 * DevicePathInUse, TooManyDiskDevices).
 */
export function chooseDevice(
  wanted: string | null,
  taken: readonly string[],
): { readonly device: string } | { readonly refusal: Refusal } {
  const used = new Set(['/dev/vda', ...taken]);
  if (wanted !== null) {
    if (!DEVICE.test(wanted)) return { refusal: badRequest(`The supplied device path (${wanted}) is invalid.`) };
    return used.has(wanted)
      ? { refusal: conflict(`The supplied device path (${wanted}) is in use.`) }
      : { device: wanted };
  }
  const free = [...LETTERS].map((letter) => `/dev/vd${letter}`).find((device) => !used.has(device));
  return free === undefined
    ? {
        refusal: conflict(
          `The maximum allowed number of disk devices (${LETTERS.length}) to attach to a single instance has been exceeded.`,
        ),
      }
    : { device: free };
}
