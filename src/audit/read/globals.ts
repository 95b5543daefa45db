// What the global database says of the servers of a slice.
import type { Kysely } from 'kysely';
import { CLOSED_MIGRATIONS } from '../../control/migrations.ts';
import { providerStates } from '../../control/placement.ts';
import { isThere } from '../../control/quarantine.ts';
import type { Flavor, Resources } from '../../model/types.ts';
import { whyStuck } from '../../saga/decide.ts';
import type { Entry } from '../../saga/types.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { OPEN_STATUSES } from '../../store/sagas.ts';
import type { ConsumerView, HomeView, MigrationView, PortView, ProviderView, SagaView, Snapshot } from '../snapshot.ts';
import { inPieces, inSlice, type Slice } from './slice.ts';

type Db = Kysely<GlobalTables>;

export async function readSagas(db: Db, slice: Slice): Promise<SagaView[]> {
  const open = db
    .selectFrom('sagas')
    .select(['id', 'definition', 'subject', 'key', 'status', 'reason', 'wake_at', 'lease_until', 'created_at'])
    // Of one that goes on it is of no interest, and long.
    .select((eb) => eb.case().when('status', '=', 'stuck').then(eb.ref('journal_json')).else('[]').end().as('journal'))
    .where('status', 'in', OPEN_STATUSES);
  const rows = await inSlice(open, 'key', slice).execute();
  return rows.map((row) => ({
    id: row.id,
    definition: row.definition,
    subject: row.subject,
    serverId: row.key,
    status: row.status === 'stuck' ? 'stuck' : 'active',
    reason: whyStuck({ journal: JSON.parse(row.journal) as Entry[], reason: row.reason }),
    dueAt: Math.max(row.wake_at, row.lease_until, row.created_at),
  }));
}

/** Servers of sagas that began or ended since. */
export async function readPassing(db: Db, slice: Slice, since: number): Promise<string[]> {
  const passing = db
    .selectFrom('sagas')
    .select('key')
    .distinct()
    .where((where) => where.or([where('created_at', '>=', since), where('ended_at', '>=', since)]));
  return (await inSlice(passing, 'key', slice).execute()).map((row) => row.key);
}

export async function readHomes(db: Db, slice: Slice): Promise<Map<string, HomeView>> {
  const homes = db
    .selectFrom('server_mappings')
    .select(['server_id', 'cell_id', 'project_id', 'user_id', 'flavor_json', 'offload_at', 'soft_deleted_at'])
    .where('deleted_at', 'is', null);
  const rows = await inSlice(homes, 'server_id', slice).execute();
  return new Map(
    rows.map((row) => [
      row.server_id,
      {
        ...{ cellId: row.cell_id, projectId: row.project_id, userId: row.user_id, offloadAt: row.offload_at },
        ...{ flavor: JSON.parse(row.flavor_json) as Flavor, softDeleted: row.soft_deleted_at !== null },
      },
    ]),
  );
}

export async function readMigrations(db: Db, slice: Slice): Promise<MigrationView[]> {
  const open = db
    .selectFrom('migrations')
    .select(['uuid', 'server_id', 'status', 'source_host', 'source_cell_id', 'dest_host', 'dest_cell_id'])
    .where('status', 'not in', CLOSED_MIGRATIONS);
  const rows = await inSlice(open, 'server_id', slice).execute();
  return rows.map((row) => ({
    id: row.uuid,
    serverId: row.server_id,
    status: row.status,
    ...{ sourceHost: row.source_host, sourceCellId: row.source_cell_id },
    ...{ destHost: row.dest_host, destCellId: row.dest_cell_id },
  }));
}

export async function readConsumers(db: Db, slice: Slice): Promise<ConsumerView[]> {
  const all = db.selectFrom('consumers').select(['id', 'type', 'server_id', 'project_id']);
  const rows = await inSlice(all, 'server_id', slice).execute();
  const holds = new Map<string, Map<string, Resources>>();
  const held = db
    .selectFrom('consumers')
    .innerJoin('allocations', 'allocations.consumer_id', 'consumers.id')
    .selectAll('allocations');
  for (const row of await inSlice(held, 'consumers.server_id', slice).execute()) {
    const of = holds.get(row.consumer_id) ?? new Map<string, Resources>();
    of.set(row.provider_id, { ...of.get(row.provider_id), [row.resource_class]: row.used });
    holds.set(row.consumer_id, of);
  }
  return rows.map((row) => ({
    id: row.id,
    type: row.type,
    serverId: row.server_id,
    projectId: row.project_id,
    holds: holds.get(row.id) ?? new Map(),
  }));
}

/** Every provider with its sums; they hang on no server. */
export async function readProviders(db: Db): Promise<ProviderView[]> {
  const states = await providerStates(db);
  const rows = await db.selectFrom('providers').select(['id', 'name']).execute();
  return rows.map((row) => ({
    id: row.id,
    name: row.name,
    inventories: states.get(row.id)?.inventories ?? {},
    used: states.get(row.id)?.used ?? {},
  }));
}

/** Ports of the slice's servers; and those of no server whose own ids are in the slice, if they are bound. */
export async function readPorts(db: Db, slice: Slice): Promise<PortView[]> {
  const ports = new Map<string, { readonly id: string; readonly serverId: string; bindings: PortView['bindings'] }>();
  const all = db
    .selectFrom('ports')
    .leftJoin('port_bindings', 'port_bindings.port_id', 'ports.id')
    .select(['ports.id', 'ports.device_id', 'port_bindings.host', 'port_bindings.active', 'port_bindings.by_operator']);
  const attached = inSlice(all.where('ports.device_id', '<>', ''), 'ports.device_id', slice);
  const detached = inSlice(
    all.where('ports.device_id', '=', '').where('port_bindings.host', 'is not', null),
    'ports.id',
    slice,
  );
  for (const query of [attached, detached]) {
    for (const row of await query.execute()) {
      const port = ports.get(row.id) ?? { id: row.id, serverId: row.device_id, bindings: [] };
      if (row.host !== null) {
        const binding = { host: row.host, active: row.active === 1, byOperator: row.by_operator === 1 };
        port.bindings = [...port.bindings, binding];
      }
      ports.set(row.id, port);
    }
  }
  return [...ports.values()];
}

export async function readGroupMembers(db: Db, slice: Slice): Promise<Snapshot['groupMembers']> {
  const all = db.selectFrom('server_group_members').select(['server_id', 'group_id']);
  const rows = await inSlice(all, 'server_id', slice).execute();
  return rows.map((row) => ({ serverId: row.server_id, groupId: row.group_id }));
}

/** Images whose ids are in the slice. */
export async function readImages(db: Db, slice: Slice): Promise<Snapshot['images']> {
  const all = db.selectFrom('images').select(['id', 'status', 'size_bytes']);
  const rows = await inSlice(all, 'id', slice).execute();
  return rows.map((row) => ({ id: row.id, status: row.status, sizeBytes: row.size_bytes }));
}

/** Status by id of the images that servers stand on. */
export async function readImagesInUse(db: Db, ids: ReadonlySet<string>): Promise<Map<string, string>> {
  const images = db.selectFrom('images').select(['id', 'status']);
  const rows = await inPieces(ids, (some) => images.where('id', 'in', some).execute());
  return new Map(rows.map(({ id, status }) => [id, status]));
}

export async function readDebts(db: Db, slice: Slice): Promise<Snapshot['debts']> {
  const open = db
    .selectFrom('debts')
    .select(['kind', 'host', 'server_id', 'volume_id', 'reason', 'last_error', 'created_at'])
    .where('paid_at', 'is', null);
  const rows = await inSlice(open, 'server_id', slice).execute();
  return rows.map((row) => ({
    kind: row.kind,
    host: row.host,
    serverId: row.server_id,
    volumeId: row.volume_id,
    reason: row.last_error === null ? row.reason : `${row.reason}; refused: ${row.last_error}`,
    createdAt: row.created_at,
  }));
}

export async function readQuarantine(db: Db, slice: Slice): Promise<Snapshot['quarantined']> {
  const known = db.selectFrom('quarantine').select(['host', 'server_id', 'reason', 'found_at']).where(isThere);
  const rows = await inSlice(known, 'server_id', slice).execute();
  return rows.map((row) => ({
    host: row.host,
    serverId: row.server_id,
    reason: row.reason,
    foundAt: row.found_at,
  }));
}
