// What the hosts say of the guests of a slice.
//
// Two hosts are asked one after the other, so a guest that is moving may be seen on both. Where that happens the hosts are
// asked again, the first before and after the second: if it is the same process both times, both ran at one instant.
import type { Platform } from '../../control/platform.ts';
import type { Guest } from '../../host/contract.ts';
import { eachAtMost } from '../../lib/pool.ts';
import type { HostView } from '../snapshot.ts';
import { NO_FILES, viewOf } from './host-files.ts';
import { type Slice, within } from './slice.ts';

const HOSTS_AT_A_TIME = 16;

export async function readHosts(p: Platform, slice: Slice): Promise<HostView[]> {
  const rows = await p.stores.global.selectFrom('hosts').select(['id', 'name', 'cell_id']).orderBy('name').execute();
  const views: HostView[] = [];
  await eachAtMost(HOSTS_AT_A_TIME, rows.entries(), async ([index, row]) => {
    views[index] = await readHost(p, row, slice);
  });
  return views;
}

async function readHost(
  p: Platform,
  row: { readonly id: string; readonly name: string; readonly cell_id: string },
  slice: Slice,
): Promise<HostView> {
  const known = { id: row.id, name: row.name, cellId: row.cell_id };
  const host = await p.host(row.name);
  const reply = await host.heartbeat();
  if (reply.kind !== 'ok') {
    const unreachable = reply.kind === 'unreachable' ? reply.reason : `it answered '${reply.kind}' to a heartbeat`;
    return { ...known, unreachable, guests: [], files: NO_FILES };
  }
  const guests = reply.value.guests
    .filter((guest) => within(slice, guest.serverId))
    .map(({ serverId, power, suspended, exported }) => ({ serverId, running: power === 'on', suspended, exported }));
  const remains = reply.value.remains.map(({ serverId }) => serverId);
  return { ...known, unreachable: null, guests, files: viewOf(slice, await host.files(), remains) };
}

export async function readTogether(p: Platform, hosts: readonly HostView[]): Promise<Map<string, readonly string[]>> {
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
