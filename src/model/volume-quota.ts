// Quota of volumes: limits, what is counted, and the words of "too much" (cinder/exception.py). Pure.
import type { Refusal } from './types.ts';

/** -1: unlimited. gigabytes: of volumes and snapshots together; per_volume_gigabytes: of any one volume. */
export interface VolumeLimits {
  readonly volumes: number;
  readonly snapshots: number;
  readonly gigabytes: number;
  readonly per_volume_gigabytes: number;
  /** What follows is kept and told: there are no such things to count. */
  readonly backups: number;
  readonly backup_gigabytes: number;
  readonly groups: number;
}

/** Cinder's defaults (cinder/quota.py). */
export const DEFAULT_VOLUME_LIMITS: VolumeLimits = {
  volumes: 10,
  snapshots: 10,
  gigabytes: 1000,
  per_volume_gigabytes: -1,
  backups: 10,
  backup_gigabytes: 1000,
  groups: 10,
};
export const VOLUME_LIMIT_NAMES = [
  ...(['volumes', 'snapshots', 'gigabytes', 'per_volume_gigabytes'] as const),
  ...(['backups', 'backup_gigabytes', 'groups'] as const),
];

/** What a project has, or wants more of. */
export interface VolumeUsage {
  readonly volumes: number;
  readonly snapshots: number;
  readonly gigabytes: number;
}

const over = (limit: number, used: number, wanted: number): boolean =>
  limit >= 0 && wanted > 0 && used + wanted > limit;
const tooLarge = (message: string): Refusal => ({ code: 413, message });

/** Whether `wanted` fits on top of `used`; the first limit that it breaks, gigabytes before counts, as 413. */
export function checkVolumeQuota(limits: VolumeLimits, used: VolumeUsage, wanted: VolumeUsage): Refusal | null {
  if (over(limits.gigabytes, used.gigabytes, wanted.gigabytes)) {
    return tooLarge(
      `Requested volume or snapshot exceeds allowed gigabytes quota. Requested ${wanted.gigabytes}G, ` +
        `quota is ${limits.gigabytes}G and ${used.gigabytes}G has been consumed.`,
    );
  }
  if (over(limits.volumes, used.volumes, wanted.volumes)) {
    return tooLarge(`Maximum number of volumes allowed (${limits.volumes}) exceeded for quota 'volumes'.`);
  }
  if (over(limits.snapshots, used.snapshots, wanted.snapshots)) {
    return tooLarge(`Maximum number of snapshots allowed (${limits.snapshots}) exceeded for quota 'snapshots'.`);
  }
  return null;
}

/** Whether one volume may be this large. */
export const checkVolumeSize = (limits: VolumeLimits, sizeGb: number): Refusal | null =>
  limits.per_volume_gigabytes >= 0 && sizeGb > limits.per_volume_gigabytes
    ? tooLarge(
        `Requested volume size ${sizeGb}G is larger than maximum allowed limit ` + `${limits.per_volume_gigabytes}G.`,
      )
    : null;
