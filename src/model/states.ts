// What a server's states look like from outside, and which of them may follow which.
//
// Theory of operation. A server has a vm_state (where it rests) and a task_state (what is being done to it; null when
// nothing is). Sagas and use cases write both in the server's home; the API only shows them, through `apiStatus`. The
// status is never stored. Source: Nova's map, nova/api/openstack/common.py:_STATE_MAP, with one difference: Nova shows
// ACTIVE or SHUTOFF during the second half of a cross-cell revert, before any guest exists; here a server that is being
// reverted shows REVERT_RESIZE until the revert is over, so that a poller never proceeds too early.
// The relation of legal transitions is what the auditor and the simulator hold every observed history against. It is a
// relation between observations: two successive looks may skip states in between, so it is used on recorded changes.
import { assertNever } from '../lib/errors.ts';
import type { PowerState, TaskState, VmState } from './types.ts';

/** The values of `server.status` that this product shows. */
export type ApiStatus =
  | 'BUILD'
  | 'ACTIVE'
  | 'PAUSED'
  | 'SUSPENDED'
  | 'RESCUE'
  | 'REBUILD'
  | 'SHUTOFF'
  | 'REBOOT'
  | 'HARD_REBOOT'
  | 'RESIZE'
  | 'VERIFY_RESIZE'
  | 'REVERT_RESIZE'
  | 'SHELVED'
  | 'SHELVED_OFFLOADED'
  | 'SOFT_DELETED'
  | 'ERROR'
  | 'DELETED';

export const API_STATUSES: readonly ApiStatus[] = [
  'BUILD',
  'ACTIVE',
  'PAUSED',
  'SUSPENDED',
  'RESCUE',
  'REBUILD',
  'SHUTOFF',
  'REBOOT',
  'HARD_REBOOT',
  'RESIZE',
  'VERIFY_RESIZE',
  'REVERT_RESIZE',
  'SHELVED',
  'SHELVED_OFFLOADED',
  'SOFT_DELETED',
  'ERROR',
  'DELETED',
];

export const VM_STATES: readonly VmState[] = [
  'building',
  'active',
  'paused',
  'suspended',
  'rescued',
  'stopped',
  'resized',
  'shelved',
  'shelved_offloaded',
  'soft-delete',
  'error',
  'deleted',
];

export const TASK_STATES: readonly TaskState[] = [
  'scheduling',
  'spawning',
  'powering-on',
  'powering-off',
  'pausing',
  'unpausing',
  'suspending',
  'resuming',
  'rebuilding',
  'rescuing',
  'unrescuing',
  'rebooting',
  'rebooting_hard',
  'image_snapshot',
  'image_backup',
  'image_uploading',
  'shelving',
  'shelving_image_uploading',
  'shelving_offloading',
  'unshelving',
  'resize_prep',
  'resize_migrating',
  'resize_migrated',
  'resize_finish',
  'resize_reverting',
  'soft-deleting',
  'restoring',
  'deleting',
];

/** Nova's `resizing_states` (nova/compute/task_states.py): a resize or migration is under way, before VERIFY_RESIZE. */
export function isResizing(task: TaskState | null): boolean {
  return (
    task === 'resize_prep' || task === 'resize_migrating' || task === 'resize_migrated' || task === 'resize_finish'
  );
}

/** The status the API shows for a pair of states. Total: every pair has one. */
export function apiStatus(vm: VmState, task: TaskState | null): ApiStatus {
  switch (vm) {
    case 'building':
      return 'BUILD';
    case 'error':
      return task === 'rebuilding' ? 'REBUILD' : 'ERROR';
    case 'rescued':
      return 'RESCUE';
    case 'deleted':
      return 'DELETED';
    case 'shelved':
      return 'SHELVED';
    case 'shelved_offloaded':
      return 'SHELVED_OFFLOADED';
    case 'soft-delete':
      return 'SOFT_DELETED';
    case 'active':
      if (task === 'resize_reverting') return 'REVERT_RESIZE';
      if (task === 'rebuilding') return 'REBUILD';
      if (task === 'rebooting') return 'REBOOT';
      if (task === 'rebooting_hard') return 'HARD_REBOOT';
      return isResizing(task) ? 'RESIZE' : 'ACTIVE';
    case 'paused':
      return task === 'rebooting_hard' ? 'HARD_REBOOT' : 'PAUSED';
    case 'suspended':
      return task === 'rebooting_hard' ? 'HARD_REBOOT' : 'SUSPENDED';
    case 'stopped':
      if (task === 'rebuilding') return 'REBUILD';
      if (task === 'resize_reverting') return 'REVERT_RESIZE';
      return isResizing(task) ? 'RESIZE' : 'SHUTOFF';
    case 'resized':
      return task === 'resize_reverting' ? 'REVERT_RESIZE' : 'VERIFY_RESIZE';
    default:
      return assertNever(vm);
  }
}

/**
 * The pairs of states that a status stands for: what `GET /servers?status=` has to look for. The inverse of
 * `apiStatus`, case-insensitive; empty for a status that does not exist.
 */
export function statesOf(status: string): readonly { readonly vm: VmState; readonly task: TaskState | null }[] {
  const wanted = status.toUpperCase();
  return VM_STATES.flatMap((vm) =>
    [null, ...TASK_STATES].filter((task) => apiStatus(vm, task) === wanted).map((task) => ({ vm, task })),
  );
}

/** The OS-EXT-STS fields of a server, under the names the API gives them. */
export interface ExtendedStatus {
  readonly 'OS-EXT-STS:vm_state': VmState;
  readonly 'OS-EXT-STS:task_state': TaskState | null;
  readonly 'OS-EXT-STS:power_state': PowerState;
}

export function extendedStatus(vm: VmState, task: TaskState | null, power: PowerState): ExtendedStatus {
  return { 'OS-EXT-STS:vm_state': vm, 'OS-EXT-STS:task_state': task, 'OS-EXT-STS:power_state': power };
}

/**
 * `progress` of a server in per cent, 0–100; undefined where the API leaves the field out
 * (nova/api/openstack/compute/views/servers.py:_progress_statuses).
 */
export function apiProgress(status: ApiStatus, percent: number): number | undefined {
  switch (status) {
    case 'ACTIVE':
    case 'BUILD':
    case 'REBUILD':
    case 'RESIZE':
    case 'VERIFY_RESIZE':
      return Number.isFinite(percent) ? Math.min(100, Math.max(0, Math.floor(percent))) : 0;
    case 'PAUSED':
    case 'SUSPENDED':
    case 'RESCUE':
    case 'SHUTOFF':
    case 'REBOOT':
    case 'HARD_REBOOT':
    case 'REVERT_RESIZE':
    case 'SHELVED':
    case 'SHELVED_OFFLOADED':
    case 'SOFT_DELETED':
    case 'ERROR':
    case 'DELETED':
      return undefined;
    default:
      return assertNever(status);
  }
}

/** Which status may directly follow which. Staying is always legal and not listed. */
const FOLLOWERS: Readonly<Record<ApiStatus, readonly ApiStatus[]>> = {
  BUILD: ['ACTIVE', 'ERROR', 'DELETED'],
  ACTIVE: [
    'SHELVED',
    'RESCUE',
    'REBUILD',
    'PAUSED',
    'SUSPENDED',
    'SHUTOFF',
    'REBOOT',
    'HARD_REBOOT',
    'RESIZE',
    'SOFT_DELETED',
    'ERROR',
    'DELETED',
  ],
  // The memory of a paused guest is lost with its host: it is off then.
  PAUSED: ['SHELVED', 'ACTIVE', 'SHUTOFF', 'HARD_REBOOT', 'SOFT_DELETED', 'ERROR', 'DELETED'],
  // A hard reboot starts it anew; its memory may turn out to be lost.
  SUSPENDED: ['SHELVED', 'ACTIVE', 'SHUTOFF', 'HARD_REBOOT', 'SOFT_DELETED', 'ERROR', 'DELETED'],
  RESCUE: ['ACTIVE', 'SHUTOFF', 'SOFT_DELETED', 'ERROR', 'DELETED'],
  // One that fails leaves the server as it was.
  REBUILD: ['ACTIVE', 'SHUTOFF', 'SOFT_DELETED', 'ERROR', 'DELETED'],
  // A hard reboot of a stopped server shows SHUTOFF until the guest runs, as in Nova's map.
  SHUTOFF: ['RESCUE', 'REBUILD', 'SHELVED', 'ACTIVE', 'RESIZE', 'SOFT_DELETED', 'ERROR', 'DELETED'],
  REBOOT: ['ACTIVE', 'SHUTOFF', 'HARD_REBOOT', 'ERROR', 'DELETED'],
  HARD_REBOOT: ['ACTIVE', 'SHUTOFF', 'ERROR', 'DELETED'],
  // A move that fails before its pivot leaves the server as it was, never in ERROR.
  RESIZE: ['VERIFY_RESIZE', 'ACTIVE', 'SHUTOFF', 'DELETED'],
  VERIFY_RESIZE: ['ACTIVE', 'SHUTOFF', 'REVERT_RESIZE', 'DELETED'],
  // A revert that fails before its own pivot goes back to waiting.
  REVERT_RESIZE: ['ACTIVE', 'SHUTOFF', 'VERIFY_RESIZE', 'DELETED'],
  // Hard reboot and stop are the ways out (nova/compute/vm_states.py:ALLOW_HARD_REBOOT; stop allows ERROR).
  ERROR: ['RESCUE', 'REBUILD', 'ACTIVE', 'SHUTOFF', 'SOFT_DELETED', 'DELETED'],
  // Restored as it was, or reclaimed. From VERIFY_RESIZE it is only come to by way of a confirm.
  SOFT_DELETED: ['ACTIVE', 'SHUTOFF', 'DELETED'],
  SHELVED: ['SHELVED_OFFLOADED', 'ACTIVE', 'ERROR', 'DELETED'],
  SHELVED_OFFLOADED: ['ACTIVE', 'ERROR', 'DELETED'],
  DELETED: [],
};

/** True if a server may be seen as `to` directly after `from`. */
export function isLegalTransition(from: ApiStatus, to: ApiStatus): boolean {
  return from === to || FOLLOWERS[from].includes(to);
}
