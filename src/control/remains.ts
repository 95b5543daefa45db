// Files that a host keeps of a guest, or a storage host of a volume, of which it has no record.
//
// Agents write records before files and remove files before records, so this is nothing that a crash leaves: a host has
// lost records, or somebody has put files there. Nobody on the host can know whose they are, so an agent keeps them, lets
// nothing start from them and nothing be made over them, and tells of them at every heartbeat. Here they are put on
// record in quarantine (quarantine.ts), as what an operator decides about, whoever's they are; those that are told of no
// longer are `returned`. No record is made up for them: which volumes and which memory belonged to a disk, and whether
// it is the newest one, nothing here could prove.
import type { Heartbeat } from '../host/contract.ts';
import { newId } from '../lib/ids.ts';
import type { StorageHeartbeat } from '../storage/contract.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { isOwed } from './guest-state.ts';
import { ownership, ownsVolume, whyStray } from './ownership.ts';
import type { Platform } from './platform.ts';
import { endQuarantine, isThere } from './quarantine.ts';

type Kind = 'remains' | 'volume';
interface Found {
  readonly id: string;
  readonly bytes: number;
  readonly reason: string;
}

/** Puts what a compute host tells of on record. */
export async function keepRemains(p: Platform, host: string, told: Heartbeat['remains']): Promise<void> {
  const found: Found[] = [];
  for (const { serverId, bytes } of told)
    found.push({ id: serverId, bytes, reason: `the host has no record of it; ${await whoseGuest(p, host, serverId)}` });
  await keep(p, 'remains', host, found);
}

/** The same of a storage host. */
export async function keepVolumes(p: Platform, host: string, told: StorageHeartbeat['remains']): Promise<void> {
  const found: Found[] = [];
  for (const { volumeId, bytes } of told) {
    const whose =
      (await ownsVolume(p, host, volumeId)) === 'stray'
        ? 'the volume was deleted, or is elsewhere'
        : 'the volume is there';
    found.push({ id: volumeId, bytes, reason: `the host has no record of it; ${whose}` });
  }
  await keep(p, 'volume', host, found);
}

async function whoseGuest(p: Platform, host: string, serverId: string): Promise<string> {
  const owner = await ownership(p, host, serverId);
  return owner === 'stray' ? whyStray(p, serverId) : 'its server is there';
}

/** What is on record of a host, and has not come to its end: kept (`outcome` null), or released. */
const ON_RECORD = fixed<
  GlobalTables,
  { readonly kind: Kind; readonly host: string },
  { readonly server_id: string; readonly outcome: string | null }
>((db, { kind, host }) =>
  db
    .selectFrom('quarantine')
    .select(['server_id', 'outcome'])
    .where('kind', '=', kind)
    .where('host', '=', host)
    .where(isThere),
);

async function keep(p: Platform, kind: Kind, host: string, found: readonly Found[]): Promise<void> {
  const { rows } = await ON_RECORD(p.stores.global, { kind, host });
  const released = new Set(rows.flatMap((row) => (row.outcome === 'released' ? [row.server_id] : [])));
  const open = new Set(rows.flatMap((row) => (row.outcome === null ? [row.server_id] : [])));
  const there = new Set(found.map(({ id }) => id));
  for (const id of open) if (!there.has(id)) await endQuarantine(p, host, id, 'returned');
  for (const { id, bytes, reason } of found) {
    if (released.has(id)) continue;
    if (await isOwed(p, kind === 'volume' ? 'delete-remains' : 'destroy-remains', host, id)) continue;
    await p.stores.global
      .insertInto('quarantine')
      .values({
        ...{ id: newId(), kind, host, server_id: id, generation: 0, was_running: 0, bytes, reason },
        ...{ found_at: p.clock.now(), ended_at: null, outcome: null },
      })
      // A guest that was kept there, and of which the host has lost the record since, is another kind of thing.
      .onConflict((conflict) =>
        conflict.columns(['host', 'server_id']).where('ended_at', 'is', null).doUpdateSet({ kind, bytes, reason }),
      )
      .execute();
    if (!open.has(id)) p.log.warn({ host, kind, of: id, bytes }, `files in quarantine: ${reason}`);
  }
}
