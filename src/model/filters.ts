// The scheduler's filters, under Nova's names.
//
// Theory of operation. A request is compiled into a list of filters, each a predicate on one host that answers null
// (passes) or the reason. A host is eliminated by the first filter it does not pass, which gives the same counts as
// running filter after filter over what is left. Filters see no other host, so their order changes only whom a refusal
// is attributed to. Compiling does all parsing, and work on an aggregate is remembered for the next host in it.
// Sources: nova/scheduler/filters/*, host_manager.py for the restrictions that come before them.
import { compileRequirement } from './extra-specs-ops.ts';
import type { Aggregate, HostState, ScheduleRequest } from './hosts.ts';
import { freeDiskMb, freeRamMb, versionText } from './hosts.ts';
import { compileImageRequirements } from './image-requirements.ts';
import { fits, shortages } from './placement.ts';
import { amountOf } from './resources.ts';
import { groupRefusal } from './server-groups.ts';

export type FilterName =
  /** V29: cells that are disabled. */
  | 'EnabledCells'
  /** Cells whose databases cannot be reached: nothing can be written down there. */
  | 'ReachableCells'
  /** V25, V3: a move that may not leave its cell. */
  | 'HomeCell'
  /** V26 and hosts tried before. */
  | 'IgnoreHosts'
  /** A disk of the server lies there that is not the server's any more: a move would find, or destroy, that one. */
  | 'Remains'
  /** V27: only the host asked for. */
  | 'RequestedHost'
  /** Of a new server: beside other ones. (DifferentHostFilter is IgnoreHosts here.) */
  | 'SameHostFilter'
  | 'Placement'
  | 'ComputeFilter'
  | 'AvailabilityZoneFilter'
  | 'ComputeCapabilitiesFilter'
  | 'AggregateInstanceExtraSpecsFilter'
  | 'ImagePropertiesFilter'
  /** V30: over all cells. */
  | 'ServerGroupAffinityFilter'
  | 'ServerGroupAntiAffinityFilter'
  /** Placement's part: room for the resources. */
  | 'Capacity';

export interface HostFilter {
  readonly name: FilterName;
  /** null: the host passes; otherwise why not, in words that fit any host alike. */
  readonly refuse: (host: HostState) => string | null;
}

const filter = (name: FilterName, refuse: (host: HostState) => string | null): HostFilter => ({ name, refuse });

/** What ComputeCapabilitiesFilter can look at, under the names of Nova's HostState; null: no such capability. */
function capabilityOf(host: HostState, name: string): string | null {
  switch (name) {
    case 'host':
    case 'nodename':
    case 'hypervisor_hostname':
      return host.hostName;
    case 'cell_uuid':
      return host.cellId;
    case 'hypervisor_type':
      return host.hypervisorType;
    case 'hypervisor_version':
      return String(host.hypervisorVersion);
    case 'hypervisor_version_text':
      return versionText(host.hypervisorVersion);
    case 'cpu_info:arch':
      return host.architecture;
    case 'vcpus_total':
      return String(host.inventories.VCPU?.total ?? 0);
    case 'vcpus_used':
      return String(amountOf(host.used, 'VCPU'));
    case 'free_ram_mb':
      return String(freeRamMb(host));
    case 'total_usable_ram_mb':
      return String(host.inventories.MEMORY_MB?.total ?? 0);
    case 'free_disk_mb':
      return String(freeDiskMb(host));
    case 'total_usable_disk_gb':
      return String(host.inventories.DISK_GB?.total ?? 0);
    case 'num_instances':
      return String(host.guests);
    case 'accelerator':
      return host.accelerator;
    default:
      return null;
  }
}

/** Unscoped extra specs that name one of these are capabilities too, as they always have been. */
const UNSCOPED = new Set([
  'host',
  'nodename',
  'hypervisor_hostname',
  'cell_uuid',
  'hypervisor_type',
  'hypervisor_version',
  'vcpus_total',
  'vcpus_used',
  'free_ram_mb',
  'total_usable_ram_mb',
  'free_disk_mb',
  'total_usable_disk_gb',
  'num_instances',
]);

const CAPABILITIES = 'capabilities:';
const AGGREGATE = 'aggregate_instance_extra_specs:';

function capabilitiesFilter(extraSpecs: Readonly<Record<string, string>>): HostFilter | null {
  const wanted: { readonly key: string; readonly name: string; readonly matches: (value: string) => boolean }[] = [];
  for (const [key, requirement] of Object.entries(extraSpecs)) {
    const scoped = key.startsWith(CAPABILITIES);
    if (!scoped && !UNSCOPED.has(key)) continue;
    wanted.push({ key, name: scoped ? key.slice(CAPABILITIES.length) : key, matches: compileRequirement(requirement) });
  }
  if (wanted.length === 0) return null;
  return filter('ComputeCapabilitiesFilter', (host) => {
    for (const { key, name, matches } of wanted) {
      const value = capabilityOf(host, name);
      if (value === null || !matches(value)) return `extra spec ${key} is not met`;
    }
    return null;
  });
}

/**
 * Scope `aggregate_instance_extra_specs:`, or none at all. Values of all the host's aggregates count together, and each
 * may be a comma-separated list; one that matches is enough.
 */
function aggregateFilter(extraSpecs: Readonly<Record<string, string>>): HostFilter | null {
  const wanted: {
    readonly key: string;
    readonly name: string;
    readonly matches: (value: string) => boolean;
    readonly known: Map<Aggregate, boolean>;
  }[] = [];
  for (const [key, requirement] of Object.entries(extraSpecs)) {
    const scoped = key.startsWith(AGGREGATE);
    if (!scoped && key.includes(':')) continue;
    const name = scoped ? key.slice(AGGREGATE.length) : key;
    wanted.push({ key, name, matches: compileRequirement(requirement), known: new Map() });
  }
  if (wanted.length === 0) return null;
  return filter('AggregateInstanceExtraSpecsFilter', (host) => {
    for (const { key, name, matches, known } of wanted) {
      let met = false;
      for (const aggregate of host.aggregates) {
        let answer = known.get(aggregate);
        if (answer === undefined) {
          const text = Object.hasOwn(aggregate.metadata, name) ? aggregate.metadata[name] : undefined;
          answer = text?.split(',').some((value) => matches(value.trim())) ?? false;
          known.set(aggregate, answer);
        }
        met ||= answer;
      }
      if (!met) return `extra spec ${key} is not met by an aggregate`;
    }
    return null;
  });
}

const REMAINS = 'an old disk of the server lies there, in quarantine, released from it, or waiting to be destroyed';

/** The filters that a request needs, in the order they are asked; a filter that would pass every host is left out. */
export function compileFilters(request: ScheduleRequest): readonly HostFilter[] {
  const filters: HostFilter[] = [
    filter('EnabledCells', (host) => (host.cellDisabled ? 'cell disabled' : null)),
    filter('ReachableCells', (host) => (host.cellDown ? "the cell's database is down" : null)),
  ];
  const home = request.homeCellId;
  if (home !== null && !request.crossCellAllowed) {
    filters.push(filter('HomeCell', (host) => (host.cellId === home ? null : 'in another cell')));
  }
  if (request.ignoreHosts.length > 0) {
    const ignored = new Set(request.ignoreHosts);
    filters.push(filter('IgnoreHosts', (host) => (ignored.has(host.hostName) ? 'left out, or tried before' : null)));
  }
  if (request.hostsWithRemains !== undefined && request.hostsWithRemains.length > 0) {
    const barred = new Set(request.hostsWithRemains);
    filters.push(filter('Remains', (host) => (barred.has(host.hostName) ? REMAINS : null)));
  }
  if (request.requestedHost !== null) {
    const name = request.requestedHost;
    filters.push(filter('RequestedHost', (host) => (host.hostName === name ? null : 'another host was asked for')));
  }
  if (request.onlyHosts !== undefined) {
    const names = new Set(request.onlyHosts);
    filters.push(
      filter('SameHostFilter', (host) => (names.has(host.hostName) ? null : 'has none of the servers asked for')),
    );
  }
  if (request.offeredIds !== undefined) {
    const ids = new Set(request.offeredIds);
    filters.push(filter('Placement', (host) => (ids.has(host.hostId) ? null : 'not offered by Placement')));
  }
  filters.push(filter('ComputeFilter', (host) => (host.disabled ? 'disabled' : host.up ? null : 'down')));
  if (request.zone !== null) {
    const zone = request.zone;
    filters.push(filter('AvailabilityZoneFilter', (host) => (host.zone === zone ? null : `not in zone ${zone}`)));
  }
  const capabilities = capabilitiesFilter(request.extraSpecs);
  if (capabilities !== null) filters.push(capabilities);
  const aggregates = aggregateFilter(request.extraSpecs);
  if (aggregates !== null) filters.push(aggregates);
  const imageFits = compileImageRequirements(request.imageProperties);
  if (imageFits !== null) {
    filters.push(filter('ImagePropertiesFilter', (host) => (imageFits(host) ? null : 'image properties are not met')));
  }
  const { group } = request;
  if (group?.policy === 'affinity' || group?.policy === 'anti-affinity') {
    const name = group.policy === 'affinity' ? 'ServerGroupAffinityFilter' : 'ServerGroupAntiAffinityFilter';
    filters.push(filter(name, (host) => groupRefusal(group, host.hostId)));
  }
  filters.push(
    filter('Capacity', (host) => {
      if (fits(host.inventories, host.used, request.resources)) return null;
      return `not enough ${shortages(host.inventories, host.used, request.resources).join(', ')}`;
    }),
  );
  return filters;
}
