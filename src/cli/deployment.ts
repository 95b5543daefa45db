// What is to run: configuration file, command line and defaults put together, with nothing left open.
import { resolve } from 'node:path';
import type { IdentityConfig } from '../control/identity/seeds.ts';
import type { Settings } from '../control/platform.ts';
import { isNetwork, networkList } from '../lib/networks.ts';
import { DEFAULT_MULTIPLIERS } from '../model/weighers.ts';
import type { OpenstackSettings, RealService } from '../openstack/settings.ts';
import type { StoresAt } from '../store/stores.ts';
import { ConfigError, type ConfigFile } from './config.ts';

export interface HostPlan {
  readonly name: string;
  readonly cell: string;
  /** Agent that runs elsewhere; null: started here. */
  readonly url: string | null;
  readonly vcpus: number;
  readonly memoryMb: number;
  readonly diskGb: number;
  readonly qemuBinary: string;
  /** Where shares with volumes are mounted, by name. */
  readonly shares: Readonly<Record<string, string>>;
}

export interface StoragePlan {
  readonly name: string;
  /** Agent that runs elsewhere; null: started here. */
  readonly url: string | null;
}

export interface FlavorPlan {
  readonly id: string;
  readonly name: string;
  readonly vcpus: number;
  readonly memoryMb: number;
  readonly diskGb: number;
  readonly extraSpecs: Readonly<Record<string, string>>;
}

/** The real OpenStack beside the embedded services. The password is read when the system starts. */
export interface OpenstackPlan extends Omit<OpenstackSettings, 'password'> {
  readonly passwordFile: string;
}

export interface Deployment {
  readonly dataDirectory: string;
  readonly databases: StoresAt;
  readonly listen: { readonly host: string; readonly port: number };
  readonly hypervisor: 'qemu' | 'simulated';
  readonly cells: readonly string[];
  readonly hosts: readonly HostPlan[];
  /** They belong to no cell: every host reaches them. */
  readonly storageHosts: readonly StoragePlan[];
  readonly identity: IdentityConfig;
  /** Null: all services are the embedded ones. */
  readonly openstack: OpenstackPlan | null;
  readonly adminPassword: string | null;
  readonly networkCidr: string;
  readonly externalCidr: string;
  /** Serve floating IPs here: see api/gateway. */
  readonly gateway: boolean;
  readonly flavors: readonly FlavorPlan[];
  readonly conductor: { readonly lanes: number; readonly leaseMs: number };
  readonly copyBytesPerSecond: number | null;
  /** Rules that are not the defaults; null: there are none. */
  readonly policyFile: string | null;
  readonly logLevel: string;
  /** Settings that do not depend on the address that is listened on. */
  readonly settings: Omit<Settings, 'publicUrl' | 'hostFacingUrl'>;
  readonly publicUrl: string | null;
  readonly hostFacingUrl: string | null;
}

/** What the command line may say. */
export interface Flags {
  readonly data?: string;
  readonly database?: string;
  readonly listen?: string;
  readonly cells?: number;
  readonly hostsPerCell?: number;
  readonly hypervisor?: 'qemu' | 'simulated';
  readonly adminPassword?: string;
}

export const DEFAULTS = {
  data: 'var/crosscell',
  listen: '127.0.0.1:8774',
  cells: 2,
  hostsPerCell: 2,
  hypervisor: 'qemu',
} as const;

const DEFAULT_REGION = 'RegionOne';

/** Hosts of one machine offer more than it has: guests of a trial are small and mostly idle. */
const HOST = { vcpus: 16, memoryMb: 32_768, diskGb: 200 };

const FLAVORS: readonly FlavorPlan[] = [
  { id: '1', name: 'm1.tiny', vcpus: 1, memoryMb: 128, diskGb: 1, extraSpecs: {} },
  { id: '2', name: 'm1.small', vcpus: 1, memoryMb: 256, diskGb: 2, extraSpecs: {} },
  { id: '3', name: 'm1.medium', vcpus: 2, memoryMb: 512, diskGb: 4, extraSpecs: {} },
  { id: '4', name: 'm1.large', vcpus: 4, memoryMb: 1024, diskGb: 8, extraSpecs: {} },
];

/** @throws ConfigError when command line and file contradict each other */
export function planDeployment(file: ConfigFile, flags: Flags): Deployment {
  const cells = cellsOf(file, flags);
  const hosts = cells.flatMap((cell) =>
    cell.hosts.map(
      (host): HostPlan => ({
        name: host.name,
        cell: cell.name,
        url: host.url ?? null,
        vcpus: host.vcpus ?? HOST.vcpus,
        memoryMb: host.memory_mb ?? HOST.memoryMb,
        diskGb: host.disk_gb ?? HOST.diskGb,
        qemuBinary: host.qemu_binary ?? 'qemu-system-x86_64',
        shares: host.shares ?? {},
      }),
    ),
  );
  unique(
    'cell',
    cells.map((cell) => cell.name),
  );
  unique(
    'host',
    hosts.map((host) => host.name),
  );
  // A storage host of this machine is of use to hosts of this machine: it listens on the loopback address.
  const isLocal = hosts.some(({ url }) => url === null) && !file.openstack?.services.includes('volume');
  const storageHosts = (file.storage_hosts ?? (isLocal ? [{ name: 'storage1' }] : [])).map(
    (host): StoragePlan => ({ name: host.name, url: 'url' in host ? (host.url ?? null) : null }),
  );
  unique(
    'storage host',
    storageHosts.map((host) => host.name),
  );
  const dataDirectory = resolve(flags.data ?? file.data ?? DEFAULTS.data);
  const { max_attempts: maxAttempts, max_candidates: maxCandidates, ...weights } = file.scheduler ?? {};
  return {
    dataDirectory,
    databases: databasesOf(file, flags, cells, dataDirectory),
    listen: parseListen(flags.listen ?? file.listen ?? DEFAULTS.listen),
    hypervisor: flags.hypervisor ?? file.hypervisor ?? DEFAULTS.hypervisor,
    cells: cells.map((cell) => cell.name),
    hosts,
    storageHosts,
    identity: identityOf(file),
    openstack: openstackOf(file, flags),
    adminPassword: flags.adminPassword ?? null,
    networkCidr: file.network?.cidr ?? '10.42.0.0/16',
    externalCidr: file.network?.external_cidr ?? '172.24.4.0/24',
    gateway: file.network?.gateway ?? false,
    flavors:
      file.flavors?.map((flavor) => ({
        id: flavor.id,
        name: flavor.name,
        vcpus: flavor.vcpus,
        memoryMb: flavor.memory_mb,
        diskGb: flavor.disk_gb,
        extraSpecs: flavor.extra_specs ?? {},
      })) ?? FLAVORS,
    conductor: { lanes: file.conductor?.lanes ?? 32, leaseMs: (file.conductor?.lease_seconds ?? 15) * 1000 },
    copyBytesPerSecond: file.copy?.bytes_per_second ?? null,
    policyFile: file.policy_file === undefined ? null : resolve(file.policy_file),
    logLevel: file.log_level ?? 'info',
    publicUrl: file.public_url?.replace(/\/+$/, '') ?? null,
    hostFacingUrl: file.host_facing_url?.replace(/\/+$/, '') ?? null,
    settings: {
      trustedProxies: networkList(trustedProxiesOf(file)),
      consoleFrameAncestors: file.console_frame_ancestors ?? [],
      region: file.region ?? DEFAULT_REGION,
      imageDirectory: `${dataDirectory}/images`,
      maxImageBytes: file.images?.max_bytes ?? 64 * 2 ** 30,
      webDownload: {
        enabled: file.images?.web_download ?? true,
        privateAddresses: file.images?.web_download_private ?? false,
        ports: file.images?.web_download_ports ?? [80, 443],
      },
      defaultZone: file.default_zone ?? 'nova',
      forceConfigDrive: file.force_config_drive ?? false,
      resizeConfirmWindowSeconds: file.resize_confirm_window_seconds ?? 0,
      reclaimInstanceIntervalSeconds: file.reclaim_instance_interval ?? 0,
      shelvedOffloadTimeSeconds: file.shelved_offload_time ?? 0,
      historyRetentionDays: file.history_retention_days ?? 90,
      shutdownTimeoutSeconds: file.shutdown_timeout_seconds ?? 60,
      heartbeatSeconds: file.heartbeat_seconds ?? 5,
      hostDownSeconds: file.host_down_seconds ?? 30,
      inventory: {
        cpuAllocationRatio: file.inventory?.cpu_allocation_ratio ?? 4,
        ramAllocationRatio: file.inventory?.ram_allocation_ratio ?? 1,
        diskAllocationRatio: file.inventory?.disk_allocation_ratio ?? 1,
        reservedHostCpus: file.inventory?.reserved_host_cpus ?? 0,
        reservedHostMemoryMb: file.inventory?.reserved_host_memory_mb ?? 512,
        reservedHostDiskGb: file.inventory?.reserved_host_disk_gb ?? 0,
      },
      weights: { ...DEFAULT_MULTIPLIERS, ...weights },
      maxAttempts: maxAttempts ?? 3,
      maxCandidates: maxCandidates ?? 200,
      quota: file.quota ?? {},
    },
  };
}

/** A proxy on the same machine needs no configuration. */
const LOOPBACK = ['127.0.0.0/8', '::1'];

function trustedProxiesOf(file: ConfigFile): readonly string[] {
  const wrong = file.trusted_proxies?.find((text) => !isNetwork(text));
  if (wrong !== undefined) throw new ConfigError(`trusted_proxies: ${wrong} is no address and no network`);
  return file.trusted_proxies ?? LOOPBACK;
}

/** Place of a cell's name in a pattern of URLs. */
const CELL = '{cell}';

function databasesOf(file: ConfigFile, flags: Flags, cells: readonly CellConfig[], directory: string): StoresAt {
  const url = flags.database ?? file.database?.url;
  const own = new Map(cells.map(({ name, database }) => [name, database]));
  if (url === undefined) {
    if (cells.some((cell) => cell.database !== undefined))
      throw new ConfigError('a cell on PostgreSQL needs database.url or --database beside it');
    return { kind: 'sqlite', directory };
  }
  if (!/^postgres(ql)?:\/\//.test(url) || !URL.canParse(url)) throw new ConfigError('--database needs postgresql://…');
  const pattern = file.database?.cell_url ?? besides(url);
  if (!pattern.includes(CELL)) throw new ConfigError(`database.cell_url needs ${CELL} where the cell's name goes`);
  return { kind: 'postgres', global: url, cell: (name) => own.get(name) ?? pattern.replaceAll(CELL, () => name) };
}

/** The same server's database with `_{cell}` behind its name. */
function besides(url: string): string {
  const parsed = new URL(url);
  if (parsed.pathname.length < 2) throw new ConfigError(`the URL of the database names no database`);
  return `${parsed.protocol}//${url.slice(url.indexOf('//') + 2).replace(/^([^?#]*?)\/*(?=$|[?#])/, `$1_${CELL}`)}`;
}

type CellConfig = NonNullable<ConfigFile['cells']>[number];

function cellsOf(file: ConfigFile, flags: Flags): readonly CellConfig[] {
  if (file.cells !== undefined) {
    if (flags.cells !== undefined || flags.hostsPerCell !== undefined) {
      throw new ConfigError('--cells and --hosts-per-cell do not go with cells in the configuration file');
    }
    return file.cells;
  }
  const count = <T>(n: number, make: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => make(i + 1));
  return count(flags.cells ?? DEFAULTS.cells, (cell) => ({
    name: `cell${cell}`,
    hosts: count(flags.hostsPerCell ?? DEFAULTS.hostsPerCell, (host) => ({ name: `cell${cell}-host${host}` })),
  }));
}

export const OPENSTACK_DEFAULTS = {
  user_domain_name: 'Default',
  project_name: 'service',
  project_domain_name: 'Default',
  interface: 'internal',
  timeout_seconds: 10,
  token_cache_seconds: 60,
} as const;

/** @throws ConfigError for services that do not go together, and for what a real service knows better */
function openstackOf(file: ConfigFile, flags: Flags): OpenstackPlan | null {
  if (file.openstack === undefined) return null;
  const given = { ...OPENSTACK_DEFAULTS, ...file.openstack };
  const services: RealService[] = [...new Set(given.services)];
  const [first] = services;
  if (first !== undefined && !services.includes('identity'))
    throw new ConfigError(
      `openstack.services: ${first} needs identity too: what is in it belongs to Keystone's projects`,
    );
  if (services.includes('identity')) {
    if (file.identity !== undefined)
      throw new ConfigError(
        'identity does not go with openstack.services: identity; users and projects are in Keystone',
      );
    if (flags.adminPassword !== undefined)
      throw new ConfigError('--admin-password does not go with openstack.services: identity; users are in Keystone');
  }
  if (services.includes('network') && file.network !== undefined)
    throw new ConfigError('network does not go with openstack.services: network; networks are in Neutron');
  if (services.includes('volume') && file.storage_hosts !== undefined)
    throw new ConfigError('storage_hosts does not go with openstack.services: volume; volumes are in Cinder');
  return {
    ...{
      authUrl: given.auth_url.replace(/\/+$/, ''),
      username: given.username,
      passwordFile: resolve(given.password_file),
    },
    ...{ userDomainName: given.user_domain_name, projectName: given.project_name },
    ...{ projectDomainName: given.project_domain_name, region: given.region ?? file.region ?? DEFAULT_REGION },
    ...{ interface: given.interface, services },
    ...{ timeoutMs: given.timeout_seconds * 1000, tokenCacheMs: given.token_cache_seconds * 1000 },
  };
}

/** Without users in the file: an administrator. */
function identityOf(file: ConfigFile): IdentityConfig {
  const tokenLifetimeSeconds = file.identity?.token_lifetime_seconds ?? 3600;
  const projects = file.identity?.projects ?? [{ name: 'admin' }, { name: 'demo' }];
  const users = file.identity?.users;
  if (users === undefined) {
    return {
      tokenLifetimeSeconds,
      projects,
      users: [{ name: 'admin', roles: { [projects[0]?.name ?? 'admin']: ['admin', 'manager', 'member', 'reader'] } }],
    };
  }
  return {
    tokenLifetimeSeconds,
    projects,
    users: users.map((user) => ({
      name: user.name,
      roles: user.roles,
      ...(user.id === undefined ? {} : { id: user.id }),
      ...(user.password === undefined ? {} : { password: user.password }),
      ...(user.password_hash === undefined ? {} : { passwordHash: user.password_hash }),
      ...(user.email === undefined ? {} : { email: user.email }),
      ...(user.default_project === undefined ? {} : { defaultProject: user.default_project }),
    })),
  };
}

/** `HOST:PORT`; IPv6 addresses in brackets. */
export function parseListen(text: string): { host: string; port: number } {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:]+):([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[2]);
  if (!match?.[1] || port > 65_535) throw new ConfigError(`'${text}' is not HOST:PORT`);
  return { host: match[1].replace(/^\[|\]$/g, ''), port };
}

function unique(what: string, names: readonly string[]): void {
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new ConfigError(`two ${what}s are called '${twice}'`);
}
