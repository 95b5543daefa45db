// The whole world as one value that can be compared: everything that a move may touch and must give back.
//
// Left out is history (sagas, migrations, instance actions, paid debts, images that are deleted) and what only grows or
// ticks: generations, fences, heartbeats, times of change and of start. Of a disk it says what it started from and not
// how often it was started, because a guest that was stopped and runs again has been started once more;
// matrix/contents.ts compares the rest.
import type { Kysely } from 'kysely';
import { CINDER } from '../../src/control/volumes/service.ts';
import type { GuestBody } from '../../src/host/records.ts';
import type { SimHost } from '../../src/simulation/hosts.ts';
import type { SimStorage } from '../../src/simulation/storage.ts';
import type { CellTables } from '../../src/store/cell-schema.ts';
import type { GlobalTables } from '../../src/store/global-schema.ts';
import type { World } from './world.ts';

type Left<Tables> = { readonly [Table in keyof Tables]: 'history' | readonly (keyof Tables[Table] & string)[] };

/** Of each table: that all of it is history, or its columns that are history or only grow or tick. */
const GLOBAL: Left<GlobalTables> = {
  cells: [],
  hosts: ['last_seen_at', 'agent_id', 'updated_at'],
  server_mappings: ['generation'],
  migrations: 'history',
  flavors: [],
  flavor_projects: [],
  aggregates: ['updated_at'],
  aggregate_hosts: [],
  keypairs: [],
  quotas: [],
  providers: ['generation'],
  inventories: [],
  consumers: ['generation'],
  allocations: [],
  images: [],
  // Those that nobody names are forgotten by themselves.
  image_mirrors: 'history',
  neutron_servers: ['created_at'],
  neutron_takes: [],
  neutron_lent: [],
  glance_writes: ['created_at'],
  cinder_attachments: ['id', 'attachment_id', 'cinder_id', 'generation', 'created_at'],
  placement_consumers: ['created_at'],
  placement_providers: [],
  networks: [],
  network_shares: [],
  subnets: [],
  ports: ['updated_at', 'revision'],
  port_addresses: [],
  port_bindings: ['generation'],
  security_groups: [],
  security_group_rules: [],
  port_security_groups: [],
  routers: [],
  floating_ips: [],
  storage_hosts: ['last_seen_at', 'agent_id', 'free_gb', 'updated_at'],
  volume_types: [],
  volume_type_projects: [],
  volumes: ['generation', 'updated_at'],
  volume_snapshots: ['updated_at'],
  volume_transfers: [],
  metadef_namespaces: [],
  server_groups: [],
  server_group_members: [],
  volume_attachments: ['id', 'generation', 'created_at'],
  quarantine: [],
  sagas: 'history',
  turns: 'history',
  fences: 'history',
  // Paid ones are history; what is owed is compared below.
  debts: 'history',
  domains: [],
  projects: [],
  users: [],
  roles: [],
  user_groups: [],
  group_members: [],
  role_assignments: [],
  application_credentials: [],
  revoked_tokens: [],
  console_tokens: [],
  revisions: [],
};

const CELL: Left<CellTables> = {
  servers: ['updated_at', 'revision'],
  block_device_mappings: [],
  server_actions: 'history',
  server_fences: 'history',
};

/** Of a guest, on its host: what was asked for last is history, what is true is not. */
const GUEST: readonly (keyof GuestBody)[] = ['importDigest', 'power', 'startedAt', 'probationUntil'];

export interface SnapshotOptions {
  /** Columns of `servers` that may differ too. */
  readonly except?: readonly string[];
  /** An image that may be there, if it has its data. */
  readonly exceptImage?: string;
}

export async function snapshotOf(world: World, options: SnapshotOptions = {}): Promise<unknown> {
  const { stores } = world.p;
  const cells: Record<string, unknown> = {};
  for (const { id, name } of await stores.global.selectFrom('cells').select(['id', 'name']).execute()) {
    const except = { ...CELL, servers: [...CELL.servers, ...(options.except ?? [])] };
    cells[name] = await tables((await stores.cell(id)) as unknown as Kysely<Tables>, except);
  }
  const hosts = Object.fromEntries(
    await Promise.all([...world.hosts.values()].map(async (host) => [host.name, await guestsOf(host)])),
  );
  const storage = Object.fromEntries(
    await Promise.all([...world.storage.values()].map(async (host) => [host.name, await volumesAt(host)])),
  );
  const debts = await stores.global
    .selectFrom('debts')
    .select(['host', 'server_id'])
    .where('paid_at', 'is', null)
    .execute();
  const global = await tables(stores.global as unknown as Kysely<Tables>, GLOBAL);
  const { exceptImage } = options;
  const images = global['images']?.filter((row) => row['id'] !== exceptImage || row['status'] !== 'active') ?? [];
  return { global: { ...global, images }, cells, hosts, storage, debts };
}

type Tables = Record<string, Record<string, unknown>>;

async function tables(
  db: Kysely<Tables>,
  wanted: Readonly<Record<string, 'history' | readonly string[]>>,
): Promise<Record<string, Record<string, unknown>[]>> {
  const result: Record<string, Record<string, unknown>[]> = {};
  for (const [table, except] of Object.entries(wanted)) {
    if (except === 'history') continue;
    const rows = await db.selectFrom(table).selectAll().execute();
    result[table] = rows
      .filter((row) => table !== 'images' || row['status'] !== 'deleted')
      // What is mirrored from a Cinder and nobody's is forgotten after a while.
      .filter((row) => table !== 'volumes' || row['storage_host'] !== CINDER || row['status'] !== 'available')
      .map((row) => Object.fromEntries(Object.entries(row).filter(([column]) => !except.includes(column))))
      .map((row) => ({ text: JSON.stringify(row), row }))
      .sort((a, b) => (a.text < b.text ? -1 : 1))
      .map(({ row }) => row);
  }
  return result;
}

async function guestsOf(host: SimHost): Promise<unknown> {
  const guests: Record<string, unknown> = {};
  for (const { serverId, guest } of await host.records.load()) {
    if (guest === null) continue;
    const kept = Object.entries(guest).filter(([key]) => !GUEST.some((each) => each === key));
    // Keys are new whenever access was given anew, and attachments are when a claim was.
    const volumes = guest.volumes.map(({ volumeId, device, bootIndex }) => ({ volumeId, device, bootIndex }));
    const base = host.hypervisor.diskWords(serverId)?.[0] ?? null;
    guests[serverId] = {
      ...Object.fromEntries(kept),
      volumes,
      base,
      running: host.hypervisor.running(serverId),
      paused: host.hypervisor.paused(serverId),
      snapshot: host.hypervisor.snapshotId(serverId),
    };
  }
  return guests;
}

/** Volumes with their words, and who has access to each. */
async function volumesAt(host: SimStorage): Promise<unknown> {
  const volumes: Record<string, unknown> = {};
  for (const { id, volume } of await host.records.volumes.load()) {
    if (volume === null) continue;
    const { state, sizeBytes, snapshots, grants } = volume;
    const access = grants.map((each) => `${each.serverId} ${each.mode}`);
    volumes[id] = { state, sizeBytes, snapshots, access, origin: host.driver.words(id)?.[0] ?? null };
  }
  return volumes;
}
