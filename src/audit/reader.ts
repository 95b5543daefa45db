// Reads a snapshot from the databases, the hosts and the image directory.
//
// Nothing is locked and nothing is written: tables are read in pages along their keys, so a live system is not held up.
// Sagas are read first and last; whatever ran at any time in between makes its server `busy`. A cell or a host that does
// not answer is noted as unreachable with the reason; only the global database must answer.
// Two hosts are asked one after the other, so a guest that is moving may be seen on both. Where that happens the hosts are
// asked again, the first before and after the second: if it is the same process both times, both ran at one instant.
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Kysely } from 'kysely';
import type { Platform } from '../control/platform.ts';
import { serverOf } from '../control/records.ts';
import type { Guest } from '../host/contract.ts';
import { messageOf } from '../lib/errors.ts';
import { type Inventory, RESOURCE_CLASSES, type ResourceClass, type Resources } from '../model/types.ts';
import { whyStuck } from '../saga/decide.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { sagaOf } from '../store/sagas.ts';
import type {
  CellView,
  ConsumerView,
  HomeView,
  HostView,
  ImageView,
  MigrationView,
  PortView,
  ProviderView,
  SagaView,
  ServerRecord,
  Snapshot,
} from './snapshot.ts';

/** Rows per statement. */
const PAGE = 500;
const HOSTS_AT_A_TIME = 16;
/** Stray instance actions that are told of one cell. */
const STRAYS = 100;

type Db = Kysely<GlobalTables>;

/** Reads everything once. @throws when the global database cannot be read */
export async function takeSnapshot(p: Platform): Promise<Snapshot> {
  const db = p.stores.global;
  const startedAt = p.clock.now();
  const before = await readSagas(db);
  const homes = await readHomes(db);
  const migrations = await readMigrations(db);
  const consumers = await readConsumers(db);
  const providers = await readProviders(db);
  const ports = await readPorts(db);
  const images = await readImages(db);
  const imageFiles = await readImageFiles(p.settings.imageDirectory);
  const cells = await readCells(p);
  const hosts = await readHosts(p);
  const together = await readTogether(p, hosts);
  const debts = await readDebts(db);
  const sagas = await readSagas(db);
  const passing = await readPassing(db, startedAt);
  const busy = new Set([...before, ...sagas].map((saga) => saga.serverId).concat(passing));
  return {
    startedAt,
    endedAt: p.clock.now(),
    ...{
      homes,
      cells,
      hosts,
      sagas,
      busy,
      migrations,
      consumers,
      providers,
      ports,
      images,
      imageFiles,
      debts,
      together,
    },
  };
}

/** All rows, page by page along a text key. */
async function all<K extends string, T extends { readonly [key in K]: string }>(
  key: K,
  page: (after: string) => Promise<T[]>,
): Promise<T[]> {
  const rows: T[] = [];
  let after = '';
  for (;;) {
    const some = await page(after);
    rows.push(...some);
    const last = some.at(-1);
    if (last === undefined || some.length < PAGE) return rows;
    after = last[key];
  }
}

async function readSagas(db: Db): Promise<SagaView[]> {
  const rows = await all('id', (after) =>
    db
      .selectFrom('sagas')
      .selectAll()
      .where('status', 'in', ['active', 'stuck'])
      .where('id', '>', after)
      .orderBy('id')
      .limit(PAGE)
      .execute(),
  );
  return rows.map((row) => ({
    id: row.id,
    definition: row.definition,
    serverId: row.key,
    status: row.status === 'stuck' ? 'stuck' : 'active',
    reason: row.status === 'stuck' ? whyStuck(sagaOf(row)) : row.reason,
    dueAt: Math.max(row.wake_at, row.lease_until, row.created_at),
  }));
}

/** Servers of sagas that began or ended since. */
async function readPassing(db: Db, since: number): Promise<string[]> {
  const rows = await db
    .selectFrom('sagas')
    .select('key')
    .distinct()
    .where((where) => where.or([where('created_at', '>=', since), where('ended_at', '>=', since)]))
    .execute();
  return rows.map((row) => row.key);
}

async function readHomes(db: Db): Promise<Map<string, HomeView>> {
  const rows = await all('server_id', (after) =>
    db
      .selectFrom('server_mappings')
      .select(['server_id', 'cell_id', 'project_id'])
      .where('deleted_at', 'is', null)
      .where('server_id', '>', after)
      .orderBy('server_id')
      .limit(PAGE)
      .execute(),
  );
  return new Map(rows.map((row) => [row.server_id, { cellId: row.cell_id, projectId: row.project_id }]));
}

async function readMigrations(db: Db): Promise<MigrationView[]> {
  const rows = await all('uuid', (after) =>
    db
      .selectFrom('migrations')
      .select(['uuid', 'server_id', 'status', 'source_host'])
      .where('status', 'not in', ['confirmed', 'reverted', 'error'])
      .where('uuid', '>', after)
      .orderBy('uuid')
      .limit(PAGE)
      .execute(),
  );
  return rows.map((row) => ({
    id: row.uuid,
    serverId: row.server_id,
    status: row.status,
    sourceHost: row.source_host,
  }));
}

async function readConsumers(db: Db): Promise<ConsumerView[]> {
  const holds = new Map<string, Map<string, Resources>>();
  const consumers = await all('id', async (after) => {
    const page = await db
      .selectFrom('consumers')
      .select(['id', 'type', 'server_id', 'project_id'])
      .where('id', '>', after)
      .orderBy('id')
      .limit(PAGE)
      .execute();
    if (page.length === 0) return page;
    const ids = page.map((row) => row.id);
    for (const row of await db.selectFrom('allocations').selectAll().where('consumer_id', 'in', ids).execute()) {
      const held = holds.get(row.consumer_id) ?? new Map<string, Resources>();
      held.set(row.provider_id, { ...held.get(row.provider_id), [row.resource_class]: row.used });
      holds.set(row.consumer_id, held);
    }
    return page;
  });
  return consumers.map((row) => ({
    id: row.id,
    type: row.type,
    serverId: row.server_id,
    projectId: row.project_id,
    holds: holds.get(row.id) ?? new Map(),
  }));
}

async function readProviders(db: Db): Promise<ProviderView[]> {
  const inventories = new Map<string, Partial<Record<ResourceClass, Inventory>>>();
  for (const row of await db.selectFrom('inventories').selectAll().execute()) {
    const resourceClass = RESOURCE_CLASSES.find((each) => each === row.resource_class);
    if (resourceClass === undefined) continue; // a class that nothing here claims
    const { total, reserved, allocation_ratio: allocationRatio } = row;
    inventories.set(row.provider_id, {
      ...inventories.get(row.provider_id),
      [resourceClass]: { total, reserved, allocationRatio },
    });
  }
  const rows = await db.selectFrom('providers').select(['id', 'name']).execute();
  return rows.map((row) => ({ ...row, inventories: inventories.get(row.id) ?? {} }));
}

async function readPorts(db: Db): Promise<PortView[]> {
  const bindings = new Map<string, { host: string; active: boolean }[]>();
  const ports = await all('id', async (after) => {
    const page = await db
      .selectFrom('ports')
      .select(['id', 'device_id'])
      .where('id', '>', after)
      .orderBy('id')
      .limit(PAGE)
      .execute();
    if (page.length === 0) return page;
    const ids = page.map((row) => row.id);
    for (const row of await db.selectFrom('port_bindings').selectAll().where('port_id', 'in', ids).execute()) {
      const binding = { host: row.host, active: row.active === 1 };
      bindings.set(row.port_id, [...(bindings.get(row.port_id) ?? []), binding]);
    }
    return page;
  });
  return ports.map((row) => ({ id: row.id, serverId: row.device_id, bindings: bindings.get(row.id) ?? [] }));
}

async function readImages(db: Db): Promise<ImageView[]> {
  const rows = await all('id', (after) =>
    db
      .selectFrom('images')
      .select(['id', 'status', 'size_bytes'])
      .where('id', '>', after)
      .orderBy('id')
      .limit(PAGE)
      .execute(),
  );
  return rows.map((row) => ({ id: row.id, status: row.status, sizeBytes: row.size_bytes }));
}

async function readImageFiles(directory: string): Promise<Snapshot['imageFiles']> {
  try {
    const files: { name: string; sizeBytes: number }[] = [];
    for (const name of await readdir(directory)) {
      const sizeBytes = await sizeOf(join(directory, name));
      if (sizeBytes !== null) files.push({ name, sizeBytes });
    }
    return { unreachable: null, files };
  } catch (error) {
    // Before the first upload there is no directory, and no file either.
    if (isMissing(error)) return { unreachable: null, files: [] };
    return { unreachable: messageOf(error), files: [] };
  }
}

/** Null: gone since the directory was read. */
async function sizeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';

async function readDebts(db: Db): Promise<Snapshot['debts']> {
  const rows = await all('id', (after) =>
    db
      .selectFrom('debts')
      .select(['id', 'kind', 'host', 'server_id', 'reason', 'created_at'])
      .where('paid_at', 'is', null)
      .where('id', '>', after)
      .orderBy('id')
      .limit(PAGE)
      .execute(),
  );
  return rows.map((row) => ({
    kind: row.kind,
    host: row.host,
    serverId: row.server_id,
    reason: row.reason,
    createdAt: row.created_at,
  }));
}

async function readCells(p: Platform): Promise<CellView[]> {
  const cells = await p.stores.global.selectFrom('cells').select(['id', 'name']).orderBy('name').execute();
  return Promise.all(cells.map((cell) => readCell(p, cell)));
}

async function readCell(p: Platform, cell: { readonly id: string; readonly name: string }): Promise<CellView> {
  try {
    const db = await p.stores.cell(cell.id);
    const rows = await all('id', (after) =>
      db
        .selectFrom('servers')
        .selectAll()
        .where('deleted_at', 'is', null)
        .where('id', '>', after)
        .orderBy('id')
        .limit(PAGE)
        .execute(),
    );
    const strays = await db
      .selectFrom('server_actions')
      .select('server_id')
      .distinct()
      .where(({ not, exists, selectFrom }) =>
        not(exists(selectFrom('servers').select('id').whereRef('servers.id', '=', 'server_actions.server_id'))),
      )
      .limit(STRAYS)
      .execute();
    const records = rows.map((row): ServerRecord => ({ server: serverOf(row), frozen: row.frozen === 1 }));
    return { ...cell, unreachable: null, records, strayActions: strays.map((row) => row.server_id) };
  } catch (error) {
    // Whatever keeps a cell from being read is for the operator to know, and no reason not to look at the others.
    return { ...cell, unreachable: messageOf(error), records: [], strayActions: [] };
  }
}

async function readHosts(p: Platform): Promise<HostView[]> {
  const rows = await p.stores.global.selectFrom('hosts').select(['id', 'name', 'cell_id']).orderBy('name').execute();
  const views: HostView[] = [];
  for (let first = 0; first < rows.length; first += HOSTS_AT_A_TIME) {
    const some = rows.slice(first, first + HOSTS_AT_A_TIME);
    views.push(...(await Promise.all(some.map((row) => readHost(p, row)))));
  }
  return views;
}

async function readHost(p: Platform, row: { id: string; name: string; cell_id: string }): Promise<HostView> {
  const known = { id: row.id, name: row.name, cellId: row.cell_id };
  const reply = await (await p.host(row.name)).heartbeat();
  if (reply.kind !== 'ok') {
    const unreachable = reply.kind === 'unreachable' ? reply.reason : `it answered '${reply.kind}' to a heartbeat`;
    return { ...known, unreachable, guests: [] };
  }
  const guests = reply.value.guests.map(({ serverId, power }) => ({ serverId, running: power === 'on' }));
  return { ...known, unreachable: null, guests };
}

async function readTogether(p: Platform, hosts: readonly HostView[]): Promise<Map<string, readonly string[]>> {
  const seen = new Map<string, string[]>();
  for (const host of hosts) {
    for (const guest of host.guests) {
      if (guest.running) seen.set(guest.serverId, [...(seen.get(guest.serverId) ?? []), host.name]);
    }
  }
  const together = new Map<string, readonly string[]>();
  for (const [serverId, names] of seen) {
    const proven = new Set<string>();
    for (const [index, first] of names.entries()) {
      for (const second of names.slice(index + 1)) {
        if (!(await ranTogether(p, serverId, first, second))) continue;
        proven.add(first);
        proven.add(second);
      }
    }
    if (proven.size > 0) together.set(serverId, [...proven]);
  }
  return together;
}

/** False as soon as one of the answers speaks against it; a host that falls silent now does not. */
async function ranTogether(p: Platform, serverId: string, first: string, second: string): Promise<boolean> {
  const ask = async (name: string): Promise<Guest | 'silent' | null> => {
    const reply = await (await p.host(name)).guest(serverId);
    if (reply.kind === 'ok') return reply.value;
    return reply.kind === 'unreachable' ? 'silent' : null;
  };
  const [before, between, after] = [await ask(first), await ask(second), await ask(first)];
  const on = (guest: Guest | 'silent' | null): boolean => guest === 'silent' || guest?.power === 'on';
  if (!on(before) || !on(between) || !on(after)) return false;
  const startOf = (guest: Guest | 'silent' | null) => (guest === 'silent' ? null : (guest?.startedAt ?? null));
  const [from, to] = [startOf(before), startOf(after)];
  return from === null || to === null || from === to;
}
