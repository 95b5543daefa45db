// Quota: what a project uses, what one more request would add, and the words of "too much".
//
// Theory of operation. Usage is counted, never stored. A server counts once although two consumers hold allocations
// for it while it moves: per class it counts the larger of the two. So a resize upwards counts its new size from the
// moment its target is chosen, and a revert can only lower the usage: it is never refused (Nova re-checks and may
// answer 500 there). Two requests at the same time can both pass a check: whoever claims room checks once more, in the
// transaction of the claim. Texts: nova/exception.py:TooManyInstances, nova/compute/utils.py.
import type { Refusal } from './refusal.ts';
import { badRequest, forbidden } from './refusal.ts';
import { amountOf, maxResources } from './resources.ts';
import type { Flavor, Resources } from './types.ts';

/** Limits by Nova's names; -1: unlimited. ram in MiB. */
export interface QuotaLimits {
  readonly instances: number;
  readonly cores: number;
  readonly ram: number;
  readonly metadata_items: number;
  readonly injected_files: number;
  readonly injected_file_content_bytes: number;
  readonly injected_file_path_bytes: number;
  readonly key_pairs: number;
  readonly server_groups: number;
  readonly server_group_members: number;
  /** These four are kept and shown, and of no account: the network service has limits of its own. */
  readonly fixed_ips: number;
  readonly floating_ips: number;
  readonly security_groups: number;
  readonly security_group_rules: number;
}

export const UNLIMITED = -1;

/** Nova's defaults (nova/conf/quota.py). */
export const DEFAULT_LIMITS: QuotaLimits = {
  instances: 10,
  cores: 20,
  ram: 51200,
  metadata_items: 128,
  injected_files: 5,
  injected_file_content_bytes: 10240,
  injected_file_path_bytes: 255,
  key_pairs: 100,
  server_groups: 10,
  server_group_members: 10,
  fixed_ips: -1,
  floating_ips: -1,
  security_groups: -1,
  security_group_rules: -1,
};

/** What is counted over a project's servers; ram in MiB. */
export interface QuotaUsage {
  readonly instances: number;
  readonly cores: number;
  readonly ram: number;
}

type Counted = keyof QuotaUsage;
/** In the order of Nova's messages: sorted by name. */
const COUNTED: readonly Counted[] = ['cores', 'instances', 'ram'];

export const NO_USAGE: QuotaUsage = { instances: 0, cores: 0, ram: 0 };

/** What one server counts, given what each of its consumers (itself, its open migration) holds. */
export function usageOfServer(holdings: readonly Resources[]): QuotaUsage {
  const held = holdings.reduce(maxResources, {});
  return { instances: 1, cores: amountOf(held, 'VCPU'), ram: amountOf(held, 'MEMORY_MB') };
}

export function addUsage(a: QuotaUsage, b: QuotaUsage): QuotaUsage {
  return { instances: a.instances + b.instances, cores: a.cores + b.cores, ram: a.ram + b.ram };
}

/** The names over their limit when `delta` comes on top of `usage`, sorted. */
function oversOf(limits: QuotaLimits, usage: QuotaUsage, delta: QuotaUsage): readonly Counted[] {
  return COUNTED.filter((name) => limits[name] >= 0 && usage[name] + delta[name] > limits[name]);
}

/** Nova's 403; `requested` are the words for what was asked, by name. */
function tooMany(
  limits: QuotaLimits,
  usage: QuotaUsage,
  overs: readonly Counted[],
  requested: Readonly<Record<Counted, string>>,
): Refusal {
  const names = overs.join(', ');
  const list = (word: (name: Counted) => string): string => overs.map(word).join(', ');
  return forbidden(
    `Quota exceeded for ${names}: Requested ${list((n) => requested[n])},` +
      ` but already used ${list((n) => String(usage[n]))} of ${list((n) => String(limits[n]))} ${names}`,
  );
}

export type CreateQuota =
  | { readonly kind: 'ok' /** How many servers may be made: between minCount and maxCount. */; readonly count: number }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/**
 * How many servers of `flavor`, at most `maxCount` and at least `minCount`, a project may create now; or Nova's 403
 * (nova/compute/utils.py:check_num_instances_quota).
 */
export function checkCreateQuota(
  limits: QuotaLimits,
  usage: QuotaUsage,
  flavor: Flavor,
  minCount: number,
  maxCount: number,
): CreateQuota {
  if (minCount > maxCount) return { kind: 'refused', refusal: badRequest('min_count must be <= max_count') };
  const deltaOf = (count: number): QuotaUsage => ({
    instances: count,
    cores: count * flavor.vcpus,
    ram: count * flavor.memoryMb,
  });
  const wanted = deltaOf(maxCount);
  const overs = oversOf(limits, usage, wanted);
  if (overs.length === 0) return { kind: 'ok', count: maxCount };
  // As many as the headroom of each limited class has room for.
  const room = (name: Counted, each: number): number =>
    limits[name] < 0 || each === 0 ? maxCount : Math.floor((limits[name] - usage[name]) / each);
  const count = Math.min(maxCount, room('instances', 1), room('cores', flavor.vcpus), room('ram', flavor.memoryMb));
  if (count > 0 && count >= minCount) return { kind: 'ok', count };
  const requested = {
    instances: minCount === maxCount ? String(minCount) : `${minCount}-${maxCount}`,
    cores: String(wanted.cores),
    ram: String(wanted.ram),
  };
  return { kind: 'refused', refusal: tooMany(limits, usage, overs, requested) };
}

/** Whether there is room for one more server. */
export function checkOneMore(limits: QuotaLimits, usage: QuotaUsage, flavor: Flavor): Refusal | null {
  const result = checkCreateQuota(limits, usage, flavor, 1, 1);
  return result.kind === 'refused' ? result.refusal : null;
}

/** What a resize from `current` to `next` adds: cores and ram that grow; disk is not counted (upsize_quota_delta). */
export function upsizeDelta(current: Flavor, next: Flavor): QuotaUsage {
  return {
    instances: 0,
    cores: Math.max(0, next.vcpus - current.vcpus),
    ram: Math.max(0, next.memoryMb - current.memoryMb),
  };
}

/** Whether a resize adds anything that is counted. */
export function isUpsize(current: Flavor, next: Flavor): boolean {
  const { cores, ram } = upsizeDelta(current, next);
  return cores > 0 || ram > 0;
}

/** V22: a resize upwards must fit into the quota with what it adds; a resize downwards always does. */
export function checkResizeQuota(
  limits: QuotaLimits,
  usage: QuotaUsage,
  current: Flavor,
  next: Flavor,
): Refusal | null {
  const delta = upsizeDelta(current, next);
  // Only what grows is looked at: a project over its limit may still resize downwards.
  const overs = oversOf(limits, usage, delta).filter((name) => delta[name] > 0);
  if (overs.length === 0) return null;
  return tooMany(limits, usage, overs, { instances: '0', cores: String(delta.cores), ram: String(delta.ram) });
}

/** 403 when one more key pair is too many (KeypairLimitExceeded). */
export function checkKeypairQuota(limits: QuotaLimits, existing: number): Refusal | null {
  return limits.key_pairs >= 0 && existing + 1 > limits.key_pairs
    ? forbidden('Quota exceeded, too many key pairs.')
    : null;
}

/** 403 when a server would have more metadata items than allowed (MetadataLimitExceeded). */
export function checkMetadataQuota(limits: QuotaLimits, items: number): Refusal | null {
  return limits.metadata_items >= 0 && items > limits.metadata_items
    ? forbidden(`Maximum number of metadata items exceeds ${limits.metadata_items}`)
    : null;
}
