// Scheduling: reads what hosts there are, lets model/scheduling.ts choose, and claims the choice in placement.
//
// Reading and claiming are two things: between them another request may take the room, so the claim checks again and the
// next best host is tried when it fails, a few times. So does the policy of the server's group: two members that are placed
// at once see each other in the claim, and the later one chooses anew.
import type { Kysely, Transaction } from 'kysely';
import type { HostState } from '../model/hosts.ts';
import { resourcesOf } from '../model/resources.ts';
import { schedule } from '../model/scheduling.ts';
import { groupRefusal } from '../model/server-groups.ts';
import type { Flavor } from '../model/types.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { listAggregates } from './aggregates.ts';
import { isUp, zones } from './hosts.ts';
import { type Consumer, claim, providerStates } from './placement.ts';
import type { Platform } from './platform.ts';
import { groupView, groupViewAlone } from './server-groups.ts';

export interface Choice {
  readonly flavor: Flavor;
  readonly imageProperties: Readonly<Record<string, string>>;
  readonly requestedZone: string | null;
  readonly requestedHost: string | null;
  readonly ignoredHosts: readonly string[];
  /** The cell the server is in; null for a new server. */
  readonly homeCellId: string | null;
  /** Whether it may leave that cell. */
  readonly crossCellAllowed: boolean;
  /** The server's group; its policy is looked at once more where the room is claimed. */
  readonly groupId: string | null;
}

export type Chosen =
  | { readonly kind: 'chosen'; readonly cellId: string; readonly host: string; readonly zone: string }
  | { readonly kind: 'none'; readonly reason: string };

/** How many hosts are tried when claims fail. */
const CLAIMS = 5;
/** How often it chooses anew when other members of the server's group were placed meanwhile. */
const ROUNDS = 5;
const FULL = 'No valid host was found. Others took the room of every host that was tried.';
const GROUP_CHANGED = "No valid host was found. Other members of the server's group were placed at the same time.";

/**
 * Chooses a host and claims its resources for the consumer.
 * @param inTransaction runs the claim; lets the caller put a fence, further writes or a last refusal into the same transaction
 */
export async function chooseHost(
  p: Platform,
  choice: Choice,
  consumer: Consumer,
  inTransaction: (work: (trx: Transaction<GlobalTables>) => Promise<Chosen>) => Promise<Chosen>,
): Promise<Chosen> {
  for (let round = 1; ; round += 1) {
    const chosen = await chooseOnce(p, choice, consumer, inTransaction);
    if (chosen.kind === 'chosen' || chosen.reason !== GROUP_CHANGED || round === ROUNDS) return chosen;
  }
}

async function chooseOnce(
  p: Platform,
  choice: Choice,
  consumer: Consumer,
  inTransaction: (work: (trx: Transaction<GlobalTables>) => Promise<Chosen>) => Promise<Chosen>,
): Promise<Chosen> {
  const { groupId } = choice;
  const resources = resourcesOf(choice.flavor);
  const result = schedule(
    {
      resources,
      extraSpecs: choice.flavor.extraSpecs,
      imageProperties: choice.imageProperties,
      zone: choice.requestedZone,
      requestedHost: choice.requestedHost,
      ignoreHosts: choice.ignoredHosts,
      homeCellId: choice.homeCellId,
      crossCellAllowed: choice.crossCellAllowed,
      group: groupId === null ? null : await groupView(p.stores.global, groupId, consumer.serverId),
    },
    await hostStates(p),
    p.settings.weights,
  );
  if (result.kind === 'none') return { kind: 'none', reason: result.reason };
  for (const { host } of result.hosts.slice(0, CLAIMS)) {
    const chosen = await inTransaction(async (trx): Promise<Chosen> => {
      const group = groupId === null ? null : await groupViewAlone(trx, groupId, consumer.serverId);
      if (group && groupRefusal(group, host.hostId) !== null) return { kind: 'none', reason: GROUP_CHANGED };
      const claimed = await claim(trx, consumer, host.hostId, resources);
      if (!claimed) return { kind: 'none', reason: FULL };
      return { kind: 'chosen', cellId: host.cellId, host: host.hostName, zone: host.zone };
    });
    if (chosen.kind === 'chosen' || chosen.reason !== FULL) return chosen;
  }
  return { kind: 'none', reason: FULL };
}

/** All hosts of all cells as the scheduler sees them. Five statements, however many hosts. */
export async function hostStates(p: Platform, db: Kysely<GlobalTables> = p.stores.global): Promise<HostState[]> {
  const rows = await db
    .selectFrom('hosts')
    .innerJoin('cells', 'cells.id', 'hosts.cell_id')
    .selectAll('hosts')
    .select(['cells.name as cell_name', 'cells.disabled as cell_disabled', 'cells.unreachable_since'])
    .execute();
  const states = await providerStates(db);
  const aggregates = await listAggregates(p);
  const zoneOf = zones(aggregates, p.settings.defaultZone);
  const now = p.clock.now();
  const aggregatesOf = new Map<string, (typeof aggregates)[number][]>();
  for (const aggregate of aggregates) {
    for (const host of aggregate.hosts) aggregatesOf.set(host, [...(aggregatesOf.get(host) ?? []), aggregate]);
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
    up: isUp(row, now, p.settings.hostDownSeconds) && row.reconciled === 1,
    inventories: states.get(row.id)?.inventories ?? {},
    used: states.get(row.id)?.used ?? {},
    hypervisorType: row.hypervisor_type,
    hypervisorVersion: row.hypervisor_version,
    accelerator: 'none',
    architecture: row.architecture,
    guests: 0,
  }));
}
