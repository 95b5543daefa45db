// Hosts: what operators see of them, what they order of them, and health. Made known by host-registration.ts, forgotten by
// host-removal.ts.
//
// A host is up while its last heartbeat is younger than hostDownSeconds and nobody has forced it down. The heart of a
// host is asked for, not sent: hearts.ts in moves/ asks every host in turn and writes last_seen_at. Two control planes
// asking the same host do no harm.
import type { Refusal } from '../model/types.ts';
import { isAmong } from '../store/dialect.ts';
import { listAggregates } from './aggregates.ts';
import { upAfter } from './heartbeats.ts';
import { providerStates } from './placement.ts';
import type { Platform } from './platform.ts';

export interface HostRecord {
  readonly id: string;
  readonly name: string;
  readonly cellId: string;
  readonly cellName: string;
  readonly url: string;
  readonly zone: string;
  readonly disabled: boolean;
  readonly disabledReason: string | null;
  readonly forcedDown: boolean;
  readonly up: boolean;
  readonly lastSeenAt: number | null;
  readonly agentId: string | null;
  /** False: it is new or was away, and has not yet been told what it should run; the scheduler leaves it out. */
  readonly reconciled: boolean;
  readonly hypervisorType: string;
  readonly hypervisorVersion: number;
  readonly architecture: string;
  readonly vcpus: number;
  readonly memoryMb: number;
  readonly diskGb: number;
  readonly vcpusUsed: number;
  readonly memoryMbUsed: number;
  readonly diskGbUsed: number;
  readonly runningVms: number;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** A page of a list by name: what comes behind `after`, at most `limit`. */
export interface HostPage {
  readonly after: string | null;
  readonly limit: number;
}

/** Hosts with their usage, by name: every one, or a page. */
export async function listHosts(p: Platform, page?: HostPage): Promise<HostRecord[]> {
  const db = p.stores.global;
  let query = db
    .selectFrom('hosts')
    .innerJoin('cells', 'cells.id', 'hosts.cell_id')
    .selectAll('hosts')
    .select('cells.name as cell_name')
    .orderBy('hosts.name');
  if (page) query = query.limit(page.limit);
  if (page && page.after !== null) query = query.where('hosts.name', '>', page.after);
  const rows = await query.execute();
  const ids = page && rows.map((row) => row.id);
  const states = await providerStates(db, ids);
  let counted = db
    .selectFrom('allocations')
    .innerJoin('consumers', 'consumers.id', 'allocations.consumer_id')
    .select((eb) => ['allocations.provider_id', eb.fn.count<number>('consumers.id').distinct().as('guests')])
    .where('consumers.type', '=', 'server')
    .groupBy('allocations.provider_id');
  if (ids) counted = counted.where(isAmong(db, 'allocations.provider_id', ids));
  const guests = await counted.execute();
  const guestsOn = new Map(guests.map((row) => [row.provider_id, Number(row.guests)]));
  const aggregates = await listAggregates(p, page && rows.map((row) => row.name));
  const zoneOf = zones(aggregates, p.settings.defaultZone);
  const after = upAfter(p);
  return rows.map((row) => {
    const used = states.get(row.id)?.used ?? {};
    const reserved = states.get(row.id)?.inventories ?? {};
    return {
      id: row.id,
      name: row.name,
      cellId: row.cell_id,
      cellName: row.cell_name,
      url: row.url,
      zone: zoneOf(row.name),
      disabled: row.disabled === 1,
      disabledReason: row.disabled_reason,
      forcedDown: row.forced_down === 1,
      up: isUp(row, after),
      lastSeenAt: row.last_seen_at,
      agentId: row.agent_id,
      reconciled: row.reconciled === 1,
      hypervisorType: row.hypervisor_type,
      hypervisorVersion: row.hypervisor_version,
      architecture: row.architecture,
      vcpus: row.vcpus,
      memoryMb: row.memory_mb,
      diskGb: row.disk_gb,
      vcpusUsed: (used.VCPU ?? 0) + (reserved.VCPU?.reserved ?? 0),
      memoryMbUsed: (used.MEMORY_MB ?? 0) + (reserved.MEMORY_MB?.reserved ?? 0),
      diskGbUsed: (used.DISK_GB ?? 0) + (reserved.DISK_GB?.reserved ?? 0),
      runningVms: guestsOn.get(row.id) ?? 0,
      createdAt: row.created_at,
      updatedAt: row.updated_at,
    };
  });
}

/** Whether there is a host of this name. */
export const isHost = async (p: Platform, name: string): Promise<boolean> =>
  (await p.stores.global.selectFrom('hosts').select('id').where('name', '=', name).executeTakeFirst()) !== undefined;

/** @param after a heartbeat that is later says that the host is up: see `upAfter` */
export const isUp = (host: { last_seen_at: number | null; forced_down: number }, after: number): boolean =>
  host.forced_down === 0 && host.last_seen_at !== null && host.last_seen_at > after;

/** A host's zone is that of the aggregate it is in; Nova lets it be in at most one that has a zone. */
export function zones(
  aggregates: readonly { readonly zone: string | null; readonly hosts: readonly string[] }[],
  defaultZone: string,
): (host: string) => string {
  const byHost = new Map<string, string>();
  for (const { zone, hosts } of aggregates) if (zone !== null) for (const host of hosts) byHost.set(host, zone);
  return (host) => byHost.get(host) ?? defaultZone;
}

export type HostHealth = Pick<HostRecord, 'up' | 'disabled' | 'forcedDown'>;

/** How every host is, by name. One statement. */
export async function hostHealth(p: Platform): Promise<Map<string, HostHealth>> {
  const rows = await p.stores.global
    .selectFrom('hosts')
    .select(['name', 'disabled', 'forced_down', 'last_seen_at'])
    .execute();
  const after = upAfter(p);
  return new Map(
    rows.map((row) => [
      row.name,
      {
        up: isUp(row, after),
        disabled: row.disabled === 1,
        forcedDown: row.forced_down === 1,
      },
    ]),
  );
}

/** Whether the host of this name is up; false for an unknown one. One statement. */
export async function hostIsUp(p: Platform, name: string): Promise<boolean> {
  const row = await p.stores.global
    .selectFrom('hosts')
    .select(['last_seen_at', 'forced_down'])
    .where('name', '=', name)
    .executeTakeFirst();
  return row !== undefined && isUp(row, upAfter(p));
}

/** Whether an administrator says that the host is down; false for an unknown one. */
export async function isForcedDown(p: Platform, name: string): Promise<boolean> {
  const row = await p.stores.global
    .selectFrom('hosts')
    .select('forced_down')
    .where('name', '=', name)
    .executeTakeFirst();
  return row?.forced_down === 1;
}

/** Whether the host has been heard of lately, forced down or not; false for an unknown one. One statement. */
export async function hostAnswers(p: Platform, name: string): Promise<boolean> {
  const row = await p.stores.global
    .selectFrom('hosts')
    .select('last_seen_at')
    .where('name', '=', name)
    .executeTakeFirst();
  return row !== undefined && isUp({ ...row, forced_down: 0 }, upAfter(p));
}

export async function updateService(
  p: Platform,
  hostName: string,
  change: { readonly disabled?: boolean; readonly disabledReason?: string | null; readonly forcedDown?: boolean },
): Promise<Refusal | null> {
  const { numUpdatedRows } = await p.stores.global
    .updateTable('hosts')
    .set({
      updated_at: p.clock.now(),
      ...(change.disabled === undefined ? {} : { disabled: change.disabled ? 1 : 0 }),
      ...(change.disabledReason === undefined ? {} : { disabled_reason: change.disabledReason }),
      ...(change.forcedDown === undefined ? {} : { forced_down: change.forcedDown ? 1 : 0 }),
      // What is made of it while it counts as down it has to be told before it is given anything new.
      ...(change.forcedDown === true ? { reconciled: 0 } : {}),
    })
    .where('name', '=', hostName)
    .executeTakeFirst();
  return numUpdatedRows === 1n ? null : { code: 404, message: `Compute host ${hostName} could not be found.` };
}
