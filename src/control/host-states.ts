// Hosts as the scheduler sees them: what is recorded of each, its aggregates, its inventories and what is used of them.
import type { Kysely } from 'kysely';
import type { HostState } from '../model/hosts.ts';
import { isListed, type Listed, listed } from '../store/dialect.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { listAggregates } from './aggregates.ts';
import { upAfter } from './heartbeats.ts';
import { isUp, zones } from './hosts.ts';
import { providerStates } from './placement.ts';
import type { Platform } from './platform.ts';

const hosts = (db: Kysely<GlobalTables>) =>
  db
    .selectFrom('hosts')
    .innerJoin('cells', 'cells.id', 'hosts.cell_id')
    .selectAll('hosts')
    .select(['cells.name as cell_name', 'cells.disabled as cell_disabled', 'cells.unreachable_since']);

type HostRow = Awaited<ReturnType<ReturnType<typeof hosts>['execute']>>[number];

const HOSTS = fixed<GlobalTables, object, HostRow>((db) => hosts(db));
const HOSTS_AMONG = fixed<GlobalTables, { readonly ids: Listed }, HostRow>((db, { ids }) =>
  hosts(db).where(isListed(db, 'hosts.id', ids)),
);

/** Of all cells; of those with these ids alone when they are given. Five statements, however many hosts. */
export async function hostStates(p: Platform, ids?: readonly string[]): Promise<HostState[]> {
  const db = p.stores.global;
  const { rows } = await (ids ? HOSTS_AMONG(db, { ids: listed(db, ids) }) : HOSTS(db, {}));
  const states = await providerStates(db, ids);
  const aggregates = await listAggregates(p, ids && rows.map((row) => row.name));
  const zoneOf = zones(aggregates, p.settings.defaultZone);
  const after = upAfter(p);
  const aggregatesOf = new Map<string, (typeof aggregates)[number][]>();
  for (const aggregate of aggregates) {
    for (const host of aggregate.hosts) {
      const known = aggregatesOf.get(host);
      if (known) known.push(aggregate);
      else aggregatesOf.set(host, [aggregate]);
    }
  }
  return rows.map((row) => ({
    hostId: row.id,
    hostName: row.name,
    cellId: row.cell_id,
    cellName: row.cell_name,
    cellDisabled: row.cell_disabled === 1,
    cellDown: row.unreachable_since !== null,
    zone: zoneOf(row.name),
    aggregates: aggregatesOf.get(row.name) ?? [],
    disabled: row.disabled === 1,
    up: isUp(row, after) && row.reconciled === 1,
    inventories: states.get(row.id)?.inventories ?? {},
    used: states.get(row.id)?.used ?? {},
    hypervisorType: row.hypervisor_type,
    hypervisorVersion: row.hypervisor_version,
    accelerator: 'none',
    architecture: row.architecture,
    guests: 0,
  }));
}
