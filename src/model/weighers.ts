// The scheduler's weighers, under Nova's names.
//
// Theory of operation. Each weigher gives every host a raw number; over the hosts at hand these are normalised to 0…1
// (from the lowest, or from 0 for free resources, to the highest) and multiplied. The multiplier may be set for a host
// by the metadata of its aggregates, the lowest of several counting. The sum over the weighers decides; ties go by host
// name. Sources: nova/weights.py, nova/scheduler/weights/{ram,cpu,disk,cross_cell,affinity}.py,
// utils.py:get_weight_multiplier.
import { parseNumber } from './extra-specs-ops.ts';
import type { Aggregate, HostState, ScheduleRequest } from './hosts.ts';
import { freeDiskMb, freeRamMb, freeVcpus } from './hosts.ts';

export type WeigherName =
  | 'CrossCellWeigher'
  | 'RAMWeigher'
  | 'CPUWeigher'
  | 'DiskWeigher'
  | 'ServerGroupSoftAffinityWeigher'
  | 'ServerGroupSoftAntiAffinityWeigher';

/** Default multipliers; a negative one turns the weigher round: stack instead of spread, drain instead of stay. */
export interface WeightMultipliers {
  readonly ram_weight_multiplier: number;
  readonly cpu_weight_multiplier: number;
  readonly disk_weight_multiplier: number;
  readonly cross_cell_move_weight_multiplier: number;
  readonly soft_affinity_weight_multiplier: number;
  readonly soft_anti_affinity_weight_multiplier: number;
}

/** Nova's defaults (nova/conf/scheduler.py). */
export const DEFAULT_MULTIPLIERS: WeightMultipliers = {
  ram_weight_multiplier: 1,
  cpu_weight_multiplier: 1,
  disk_weight_multiplier: 1,
  cross_cell_move_weight_multiplier: 1_000_000,
  soft_affinity_weight_multiplier: 1,
  soft_anti_affinity_weight_multiplier: 1,
};

export interface Weigher {
  readonly name: WeigherName;
  readonly option: keyof WeightMultipliers;
  /** The lower end of the scale; null: the lowest raw weight. Raw weights below it count as it. */
  readonly floor: number | null;
  readonly raw: (host: HostState, request: ScheduleRequest) => number;
}

const WEIGHERS: readonly Weigher[] = [
  {
    name: 'CrossCellWeigher',
    option: 'cross_cell_move_weight_multiplier',
    floor: null,
    // 1 in the cell the server is in, −1 in any other; of no account for new servers and moves that may not cross.
    raw: (host, request) =>
      request.homeCellId === null || !request.crossCellAllowed ? 0 : host.cellId === request.homeCellId ? 1 : -1,
  },
  { name: 'RAMWeigher', option: 'ram_weight_multiplier', floor: 0, raw: freeRamMb },
  { name: 'CPUWeigher', option: 'cpu_weight_multiplier', floor: 0, raw: freeVcpus },
  { name: 'DiskWeigher', option: 'disk_weight_multiplier', floor: 0, raw: freeDiskMb },
  {
    name: 'ServerGroupSoftAffinityWeigher',
    option: 'soft_affinity_weight_multiplier',
    floor: null,
    raw: (host, { group }) => (group?.policy === 'soft-affinity' ? (group.members.get(host.hostId) ?? 0) : 0),
  },
  {
    name: 'ServerGroupSoftAntiAffinityWeigher',
    option: 'soft_anti_affinity_weight_multiplier',
    floor: null,
    raw: (host, { group }) => (group?.policy === 'soft-anti-affinity' ? -(group.members.get(host.hostId) ?? 0) : 0),
  },
];

/**
 * The multiplier for a host: the lowest value that its aggregates give under the option's name, or the default when none
 * does or one of them is no number.
 */
export function multiplierOf(
  aggregates: readonly Aggregate[],
  option: keyof WeightMultipliers,
  otherwise: number,
): number {
  let lowest: number | null = null;
  for (const { metadata } of aggregates) {
    const text = Object.hasOwn(metadata, option) ? metadata[option] : undefined;
    if (text === undefined) continue;
    const value = parseNumber(text);
    if (value === null) return otherwise;
    lowest = lowest === null ? value : Math.min(lowest, value);
  }
  return lowest ?? otherwise;
}

/** The weight of each host, in the order given. A single host weighs 0: there is nothing to compare. */
export function weigh(
  hosts: readonly HostState[],
  request: ScheduleRequest,
  multipliers: WeightMultipliers,
): Float64Array {
  const total = new Float64Array(hosts.length);
  if (hosts.length <= 1) return total;
  const raw = new Float64Array(hosts.length);
  for (const weigher of WEIGHERS) {
    let lowest = Number.POSITIVE_INFINITY;
    let highest = Number.NEGATIVE_INFINITY;
    hosts.forEach((host, index) => {
      const value = weigher.raw(host, request);
      const weight = weigher.floor === null ? value : Math.max(value, weigher.floor);
      raw[index] = weight;
      lowest = Math.min(lowest, weight);
      highest = Math.max(highest, weight);
    });
    const from = weigher.floor ?? lowest;
    const range = highest - from;
    if (range === 0) continue;
    const otherwise = multipliers[weigher.option];
    // Hosts share their aggregates: ask once per list of them.
    const known = new Map<readonly Aggregate[], number>();
    hosts.forEach((host, index) => {
      let multiplier = known.get(host.aggregates);
      if (multiplier === undefined) {
        multiplier = multiplierOf(host.aggregates, weigher.option, otherwise);
        known.set(host.aggregates, multiplier);
      }
      total[index] = (total[index] ?? 0) + multiplier * (((raw[index] ?? 0) - from) / range);
    });
  }
  return total;
}
