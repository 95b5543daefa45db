// What the scheduler knows of a host, and what a request asks of one.
//
// Theory of operation. A snapshot, read once per request from all cells. Hosts of cells that could not be read are not in
// it. `aggregates` arrays and their members are shared between hosts, which the filters use: work on an aggregate is
// done once, not once per host.
import type { Inventories } from './placement.ts';
import { capacity } from './placement.ts';
import { amountOf } from './resources.ts';
import type { GroupView } from './server-groups.ts';
import type { Resources } from './types.ts';

export interface Aggregate {
  readonly name: string;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface HostState {
  readonly hostId: string;
  /** Unique over all cells; ties are decided by it. */
  readonly hostName: string;
  readonly cellId: string;
  readonly cellName: string;
  /** A disabled cell takes no new servers. */
  readonly cellDisabled: boolean;
  /** The cell's database cannot be reached. */
  readonly cellDown: boolean;
  readonly zone: string;
  readonly aggregates: readonly Aggregate[];
  /** By an administrator. */
  readonly disabled: boolean;
  /** By its heartbeats. */
  readonly up: boolean;
  readonly inventories: Inventories;
  readonly used: Resources;
  /** `QEMU` for real hosts. */
  readonly hypervisorType: string;
  /** major × 1,000,000 + minor × 1,000 + micro. */
  readonly hypervisorVersion: number;
  readonly accelerator: 'kvm' | 'tcg' | 'none';
  /** `x86_64`, `aarch64`, … */
  readonly architecture: string;
  /** Guests on the host. */
  readonly guests: number;
}

/** MiB of memory neither reserved nor used; negative when overcommitted (Nova's free_ram_mb). */
export function freeRamMb(host: HostState): number {
  const inventory = host.inventories.MEMORY_MB;
  return inventory === undefined ? 0 : inventory.total - inventory.reserved - amountOf(host.used, 'MEMORY_MB');
}

/** vCPUs left after overcommitment (Nova's CPUWeigher). */
export function freeVcpus(host: HostState): number {
  const inventory = host.inventories.VCPU;
  return inventory === undefined ? 0 : capacity(inventory) - amountOf(host.used, 'VCPU');
}

/** MiB of disk neither reserved nor used (Nova's free_disk_mb). */
export function freeDiskMb(host: HostState): number {
  const inventory = host.inventories.DISK_GB;
  return inventory === undefined ? 0 : (inventory.total - inventory.reserved - amountOf(host.used, 'DISK_GB')) * 1024;
}

/** `7.2.0` for 7002000 (oslo.utils' convert_version_to_str). */
export function versionText(version: number): string {
  return [Math.floor(version / 1_000_000), Math.floor(version / 1000) % 1000, version % 1000].join('.');
}

/** What a request asks of the scheduler. */
export interface ScheduleRequest {
  readonly resources: Resources;
  readonly extraSpecs: Readonly<Record<string, string>>;
  readonly imageProperties: Readonly<Record<string, string>>;
  /** V28: the zone the server was asked for and stays in; null: any. */
  readonly zone: string | null;
  /** V27: a host asked for still passes all filters; null: any. */
  readonly requestedHost: string | null;
  /** Hosts that servers asked for as neighbours are on, by name; absent: any host. */
  readonly onlyHosts?: readonly string[];
  /** Hosts that a placement service elsewhere offers, by id; absent: all. */
  readonly offeredIds?: readonly string[];
  /** V26 and hosts that were tried before. By name. */
  readonly ignoreHosts: readonly string[];
  /** Where a disk of the server lies that is not the server's any more, by name; absent: nowhere. */
  readonly hostsWithRemains?: readonly string[];
  /** The cell the server is in; null for a new server. */
  readonly homeCellId: string | null;
  /** V3: whether a server may leave its cell. Of no account without `homeCellId`. */
  readonly crossCellAllowed: boolean;
  /** The group that the server is in. */
  readonly group: GroupView | null;
}
