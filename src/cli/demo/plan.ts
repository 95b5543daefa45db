// What the demo runs on: two cells with two hosts each, two flavors, and the configuration file that says so.
//
// Only cell2 offers what the big flavor asks for, so that a resize to it must cross cells; the small flavor asks for
// what only cell1 offers, so that every server begins there. Pure.
import { join } from 'node:path';
import { stringify } from 'yaml';

export interface DemoHost {
  readonly name: string;
  readonly cell: 'cell1' | 'cell2';
}

export const HOSTS: readonly DemoHost[] = [
  { name: 'cell1-host1', cell: 'cell1' },
  { name: 'cell1-host2', cell: 'cell1' },
  { name: 'cell2-host1', cell: 'cell2' },
  { name: 'cell2-host2', cell: 'cell2' },
];

export const hostsOf = (cell: DemoHost['cell']): readonly string[] =>
  HOSTS.filter((host) => host.cell === cell).map((host) => host.name);

/** '?' for a host that is not the demo's. */
export const cellOf = (host: string): string => HOSTS.find((each) => each.name === host)?.cell ?? '?';

export interface DemoFlavor {
  readonly id: string;
  readonly name: string;
  readonly vcpus: number;
  readonly memoryMb: number;
  readonly diskGb: number;
  /** What an aggregate must say about its hosts. */
  readonly hardware: 'old' | 'new';
}

export const SMALL: DemoFlavor = {
  ...{ id: 'demo-small', name: 'small', vcpus: 1, memoryMb: 128, diskGb: 1, hardware: 'old' },
};
export const BIG: DemoFlavor = {
  ...{ id: 'demo-big', name: 'big', vcpus: 2, memoryMb: 256, diskGb: 2, hardware: 'new' },
};

export const AGGREGATES = [
  { name: 'old-hardware', cell: 'cell1', hardware: 'old' },
  { name: 'new-hardware', cell: 'cell2', hardware: 'new' },
] as const;

/** A guest's disk of about 70 MiB takes two seconds: long enough to be seen, and to be interrupted. */
const COPY_BYTES_PER_SECOND = 36 * 2 ** 20;
const SHUTDOWN_SECONDS = 10;

/** The program that a host runs as its hypervisor: a link of the demo's own, which scene 4 breaks. */
export const hypervisorPath = (directory: string, host: string): string => join(directory, 'bin', `${host}-qemu`);

export function configText(directory: string, hypervisor: 'qemu' | 'simulated', port: number): string {
  const cells = (['cell1', 'cell2'] as const).map((name) => ({
    name,
    hosts: hostsOf(name).map((host) => ({
      name: host,
      vcpus: 8,
      memory_mb: 4096,
      disk_gb: 40,
      qemu_binary: hypervisorPath(directory, host),
    })),
  }));
  return stringify({
    listen: `127.0.0.1:${port}`,
    hypervisor,
    cells,
    flavors: [],
    inventory: { reserved_host_memory_mb: 0 },
    copy: { bytes_per_second: COPY_BYTES_PER_SECOND },
    shutdown_timeout_seconds: SHUTDOWN_SECONDS,
    heartbeat_seconds: 1,
    host_down_seconds: 10,
  });
}
