// Storage hosts: registration, health, and which of them a new volume goes to.
//
// They belong to no cell: every compute host of every cell reaches them, so a volume never has to be copied in a move.
// A storage host is up while its last heartbeat is younger than hostDownSeconds; moves/hearts.ts asks for it.
// Volumes are sparse files, so room is not reserved: a host that says it has too little is passed over, and one that
// runs full all the same refuses what it is asked.
import type { Selectable, UpdateResult } from 'kysely';
import { newId } from '../../lib/ids.ts';
import { refuse } from '../../model/refusal.ts';
import type { Refusal } from '../../model/types.ts';
import type { StorageDescription, StorageHeartbeat } from '../../storage/contract.ts';
import { exclusively } from '../../store/dialect.ts';
import { fixed } from '../../store/fixed.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { upAfter } from '../heartbeats.ts';
import type { Platform } from '../platform.ts';

export interface StorageHostRecord {
  readonly id: string;
  readonly name: string;
  readonly url: string;
  readonly disabled: boolean;
  readonly up: boolean;
  readonly lastSeenAt: number | null;
  readonly agentId: string | null;
  readonly driver: string;
  readonly totalGb: number;
  readonly freeGb: number;
  readonly createdAt: number;
  readonly updatedAt: number;
}

const GIB = 1024 ** 3;

const recordOf = (p: Platform, row: Selectable<GlobalTables['storage_hosts']>): StorageHostRecord => ({
  id: row.id,
  name: row.name,
  url: row.url,
  disabled: row.disabled === 1,
  up: row.last_seen_at !== null && row.last_seen_at > upAfter(p),
  lastSeenAt: row.last_seen_at,
  agentId: row.agent_id,
  driver: row.driver,
  totalGb: row.total_gb,
  freeGb: row.free_gb,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});

/** Every storage host, by name; not those that were forgotten. */
export async function listStorageHosts(p: Platform): Promise<StorageHostRecord[]> {
  const known = p.stores.global.selectFrom('storage_hosts').selectAll().where('forgotten_at', 'is', null);
  const rows = await known.orderBy('name').execute();
  return rows.map((row) => recordOf(p, row));
}

/** Whether the storage host of this name is up; false for an unknown one. */
export async function storageHostIsUp(p: Platform, name: string): Promise<boolean> {
  const row = await p.stores.global.selectFrom('storage_hosts').selectAll().where('name', '=', name).executeTakeFirst();
  return row !== undefined && recordOf(p, row).up;
}

/**
 * Makes the storage host known, or brings what is known of it up to date; what an operator has set stays. One that was
 * forgotten is there again.
 */
export async function registerStorageHost(
  p: Platform,
  host: { readonly name: string; readonly url: string; readonly description: StorageDescription },
): Promise<void> {
  const now = p.clock.now();
  const facts = {
    url: host.url,
    driver: host.description.driver,
    total_gb: Math.floor(host.description.totalBytes / GIB),
    free_gb: Math.floor(host.description.freeBytes / GIB),
    updated_at: now,
  };
  await p.stores.global.transaction().execute(async (trx) => {
    await exclusively(trx, 'storage hosts');
    const { numUpdatedRows } = await trx
      .updateTable('storage_hosts')
      .set({ ...facts, forgotten_at: null })
      .where('name', '=', host.name)
      .executeTakeFirst();
    if (numUpdatedRows > 0n) return;
    await trx
      .insertInto('storage_hosts')
      .values({
        ...{ id: newId(), name: host.name, disabled: 0, last_seen_at: now, agent_id: null },
        ...{ forgotten_at: null, created_at: now },
        ...facts,
      })
      .execute();
  });
}

interface StorageSeen {
  readonly name: string;
  readonly now: number;
  readonly agentId: string;
  readonly freeGb: number;
}

const STORAGE_SEEN = fixed<GlobalTables, StorageSeen, UpdateResult>((db, { name, now, agentId, freeGb }) =>
  db
    .updateTable('storage_hosts')
    .set({ last_seen_at: now, agent_id: agentId, free_gb: freeGb })
    .where('name', '=', name),
);

/** Writes down that the storage host answered, and what it has left. */
export async function recordStorageHeartbeat(p: Platform, name: string, heartbeat: StorageHeartbeat): Promise<void> {
  const { agentId, freeBytes } = heartbeat;
  await STORAGE_SEEN(p.stores.global, { name, now: p.clock.now(), agentId, freeGb: Math.floor(freeBytes / GIB) });
}

/** Lets new volumes go to it, or not. */
export async function setStorageHostDisabled(p: Platform, name: string, disabled: boolean): Promise<Refusal | null> {
  const { numUpdatedRows } = await p.stores.global
    .updateTable('storage_hosts')
    .set({ disabled: disabled ? 1 : 0, updated_at: p.clock.now() })
    .where('name', '=', name)
    .executeTakeFirst();
  return numUpdatedRows > 0n ? null : refuse(404, `Storage host ${name} could not be found.`);
}

/** What a new volume asks of its storage host. */
export interface StorageWish {
  readonly sizeGb: number;
  /** The type's extra specs: `volume_backend_name` names the one host that will do. */
  readonly extraSpecs: Readonly<Record<string, string>>;
}

export type ChosenStorage =
  | { readonly kind: 'chosen'; readonly name: string }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** The storage host that is up, enabled and has most room; a new volume without a source goes there. */
export async function chooseStorageHost(p: Platform, wish: StorageWish): Promise<ChosenStorage> {
  const named = wish.extraSpecs['volume_backend_name'];
  const [best] = (await listStorageHosts(p))
    .filter((host) => host.up && !host.disabled && host.freeGb >= wish.sizeGb)
    .filter((host) => named === undefined || host.name === named)
    .toSorted((a, b) => b.freeGb - a.freeGb);
  if (best) return { kind: 'chosen', name: best.name };
  const text = `No storage host is up and has room for a volume of ${wish.sizeGb} GiB.`;
  return { kind: 'refused', refusal: refuse(503, text) };
}
