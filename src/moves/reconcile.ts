// What runs on a host against what the records say: for a host that has just come back, and now and then for every other.
//
// Theory of operation. A host tells which guests it has; each is one of these:
// - owned, by the server's record in its home: it runs exactly if the record says so. Off although it should run: turned
//   on again if a restart of its host interrupted it, recorded as stopped otherwise (it turned itself off; which of the two
//   it was the host tells as long as the guest is off). On although the record says off: turned off. So is one recorded that
//   its host has lost.
// - the way back of a move that waits: it must be off.
// - owed: a debt says that it is to be destroyed (control/debts.ts pays). Until then it is off.
// - a saga's: left alone. The saga fences and undoes, and the next comparison comes.
// - nobody's: the server was deleted, or lives elsewhere, or was never heard of. It is turned off and kept in quarantine
//   (control/quarantine.ts). Those that run go first, the oldest generation first: of a server that was made to run
//   elsewhere meanwhile, the older guest stops before anything else happens on the host.
// Files of a guest that the host has no record of are no guest: they are put on record (control/remains.ts).
// The heartbeat is old when it is compared. So a guest is only acted upon after another look: first a new generation is
// taken from the sequence of sagas, then record and guest are looked at again, and the host is told under that generation.
// A saga that began before the look is seen; one that begins behind it has a newer generation, and fences this off.
// False from a comparison: something could not be looked at (a cell is down), so it has to be made again.
import type { Kysely, Selectable } from 'kysely';
import { isOwed } from '../control/guest-state.ts';
import { ownership, whyStray } from '../control/ownership.ts';
import type { Platform } from '../control/platform.ts';
import { endQuarantine, quarantine } from '../control/quarantine.ts';
import { keepRemains } from '../control/remains.ts';
import { findServer, shouldBeOff, shouldRun } from '../control/servers.ts';
import type { Heartbeat } from '../host/contract.ts';
import { POWER_STATE, type PowerState, type Server, type VmState } from '../model/types.ts';
import type { CellTables } from '../store/cell-schema.ts';
import { fixed } from '../store/fixed.ts';
import { nextFence, openSaga } from '../store/sagas.ts';
import { CellDown } from '../store/stores.ts';
import { resumeServer } from './power.ts';

export interface ComparedHost {
  readonly name: string;
  readonly cell_id: string;
}

type Seen = Heartbeat['guests'][number];

/** Compares all of the host's guests; false: not everything could be looked at. */
export async function reconcile(p: Platform, host: ComparedHost, heartbeat: Heartbeat): Promise<boolean> {
  try {
    await keepRemains(p, host.name, heartbeat.remains);
    const complete = await keepStraysOff(p, host, heartbeat.guests);
    await comparePower(p, host, heartbeat.guests);
    return complete;
  } catch (error) {
    if (!(error instanceof CellDown)) throw error;
    p.log.warn({ host: host.name, cell: host.cell_id }, error.message);
    return false;
  }
}

// ---- whose they are ---------------------------------------------------------------------------------------------

async function keepStraysOff(p: Platform, host: ComparedHost, guests: readonly Seen[]): Promise<boolean> {
  if (guests.length === 0) return true;
  const suspects = await notAtHome(p, host, guests);
  const order = (guest: Seen): number => (guest.power === 'on' ? 0 : 1);
  suspects.sort((a, b) => order(a) - order(b) || a.generation - b.generation);
  let complete = true;
  for (const suspect of suspects) complete = (await judge(p, host.name, suspect)) && complete;
  return complete;
}

interface Suspect extends Seen {
  /** A debt says that it is to be destroyed. */
  readonly isOwed: boolean;
}

/**
 * The guests of which the host's own cell has no record that puts them there, and that no release explains, nor, if they are
 * off, a debt.
 */
async function notAtHome(p: Platform, host: ComparedHost, guests: readonly Seen[]): Promise<Suspect[]> {
  const ids = guests.map((guest) => guest.serverId);
  const cell = await p.stores.cell(host.cell_id);
  const db = p.stores.global;
  const own = await cell
    .selectFrom('servers')
    .select('id')
    .where('host', '=', host.name)
    .where('deleted_at', 'is', null)
    .execute();
  const homes = await db
    .selectFrom('server_mappings')
    .select('server_id')
    .where('server_id', 'in', ids)
    .where('cell_id', '=', host.cell_id)
    .where('deleted_at', 'is', null)
    .execute();
  const owed = await db
    .selectFrom('debts')
    .select('server_id')
    .where('kind', '=', 'destroy-guest')
    .where('host', '=', host.name)
    .where('server_id', 'in', ids)
    .where('paid_at', 'is', null)
    .execute();
  const released = await db
    .selectFrom('quarantine')
    .select('server_id')
    .where('host', '=', host.name)
    .where('server_id', 'in', ids)
    .where('outcome', '=', 'released')
    .execute();
  const kept = await db
    .selectFrom('quarantine')
    .select('server_id')
    .where('host', '=', host.name)
    .where('server_id', 'in', ids)
    .where('ended_at', 'is', null)
    .execute();
  const isKept = new Set(kept.map((row) => row.server_id));
  const isHome = new Set(homes.map((row) => row.server_id));
  const explained = new Set(released.map((row) => row.server_id));
  for (const { id } of own) if (isHome.has(id) && !isKept.has(id)) explained.add(id);
  const areOwed = new Set(owed.map((row) => row.server_id));
  return guests
    .map((guest) => ({ ...guest, isOwed: areOwed.has(guest.serverId) }))
    .filter((guest) => !explained.has(guest.serverId) && !(guest.isOwed && guest.power === 'off'));
}

/** One guest that may be nobody's; false: that cannot be told now. */
async function judge(p: Platform, hostName: string, suspect: Suspect): Promise<boolean> {
  const { serverId } = suspect;
  const generation = await nextFence(p.stores.global);
  const owner = await ownership(p, hostName, serverId);
  // A saga there sees to the guest: that is no reason to look at the whole host again.
  if (owner === 'perhaps') return (await openSaga(p.stores.global, serverId)) !== undefined;
  const host = await p.host(hostName);
  const now = await host.guest(serverId);
  if (now.kind === 'absent') {
    await endQuarantine(p, hostName, serverId, 'returned');
    return true;
  }
  if (now.kind !== 'ok') return false;
  const runs = now.value.power === 'on';
  if (owner === 'owned') {
    await endQuarantine(p, hostName, serverId, 'returned');
    return !runs || (await stopWayBack(p, hostName, serverId, generation));
  }
  if (suspect.isOwed) return !runs || turnOff(p, hostName, serverId, generation, 0);
  const reason = await whyStray(p, serverId);
  await quarantine(p, { host: hostName, serverId, generation: suspect.generation, wasRunning: runs, reason });
  return !runs || turnOff(p, hostName, serverId, generation, 0);
}

/** The guest runs: that is right where the record puts it, and wrong where only a way back is kept. */
async function stopWayBack(p: Platform, hostName: string, serverId: string, generation: number): Promise<boolean> {
  const found = await findServer(p, serverId);
  if (found.kind !== 'found' || found.server.host === hostName) return found.kind !== 'down';
  p.log.warn({ serverId, host: hostName }, 'the guest that is kept for the way back runs: it is turned off');
  return turnOff(p, hostName, serverId, generation, 0);
}

/** True when the guest is off, or the host has seen somebody newer. */
async function turnOff(
  p: Platform,
  hostName: string,
  serverId: string,
  generation: number,
  graceSeconds: number,
): Promise<boolean> {
  const reply = await (await p.host(hostName)).setPower(serverId, { generation, power: 'off', graceSeconds });
  if (reply.kind === 'fenced' || reply.kind === 'absent') return true;
  if (reply.kind === 'ok' && reply.value.state !== 'failed') return reply.value.state === 'done';
  p.log.warn({ serverId, host: hostName, reply }, 'a guest could not be turned off; trying again');
  return false;
}

// ---- on and off -------------------------------------------------------------------------------------------------

const AT_REST_ON = fixed<
  CellTables,
  { readonly host: string },
  Pick<Selectable<CellTables['servers']>, 'id' | 'vm_state' | 'power_state'>
>((cell, { host }) =>
  cell
    .selectFrom('servers')
    .select(['id', 'vm_state', 'power_state'])
    .where('host', '=', host)
    .where('saga_id', 'is', null)
    .where('deleted_at', 'is', null),
);

async function comparePower(p: Platform, host: ComparedHost, guests: readonly Seen[]): Promise<void> {
  const running = new Set(guests.filter((guest) => guest.power === 'on').map((guest) => guest.serverId));
  const cell = await p.stores.cell(host.cell_id);
  // Of thousands of servers hardly any disagrees with its guest: only those are read whole.
  const { rows } = await AT_REST_ON(cell, { host: host.name });
  for (const row of rows) {
    const recorded = { vmState: row.vm_state as VmState, powerState: row.power_state as PowerState };
    if (running.has(row.id)) {
      if (shouldBeOff(recorded)) await turnOffIdle(p, host, row.id);
    } else if (shouldRun(recorded)) await followOff(p, host, row.id, cell);
  }
}

async function turnOffIdle(p: Platform, host: ComparedHost, serverId: string): Promise<void> {
  const generation = await nextFence(p.stores.global);
  if ((await ownership(p, host.name, serverId)) !== 'owned') return;
  const found = await findServer(p, serverId);
  if (found.kind !== 'found' || found.server.host !== host.name || !shouldBeOff(found.server)) return;
  const reply = await (await p.host(host.name)).guest(serverId);
  if (reply.kind !== 'ok' || reply.value.power === 'off') return;
  p.log.warn({ serverId, host: host.name }, 'the guest runs although its server is off: it is turned off');
  await turnOff(p, host.name, serverId, generation, p.settings.shutdownTimeoutSeconds);
}

/**
 * Looks at a server that should run and did not when the heartbeat was made; both may have changed since, so the record
 * is read first and the guest asked then.
 */
async function followOff(p: Platform, host: ComparedHost, serverId: string, cell: Kysely<CellTables>): Promise<void> {
  const found = await findServer(p, serverId);
  // A record that is not the server's home says nothing.
  if (found.kind !== 'found' || found.cellId !== host.cell_id) return;
  const { server } = found;
  if (server.host !== host.name || !shouldRun(server)) return;
  const reply = await (await p.host(host.name)).guest(serverId);
  if (reply.kind !== 'absent' && (reply.kind !== 'ok' || reply.value.power !== 'off')) return;
  // A saga could not turn it on: it did not turn itself off.
  if (await isOwed(p, 'match-guest', host.name, serverId)) return;
  if (reply.kind === 'absent') {
    // The host has lost it; or the record is an old one, and the guest is elsewhere.
    p.log.error({ serverId, host: host.name }, 'the guest is not on its host');
    if ((await ownership(p, host.name, serverId)) === 'owned') await recordOff(p, server, cell);
    return;
  }
  // What a paused guest had in memory is lost: there is nothing to go on with.
  if (reply.value.interrupted && server.vmState !== 'paused') await resumeServer(p, server, host.cell_id, host.name);
  else await recordOff(p, server, cell);
}

/**
 * The guest turned itself off, or is lost: the record follows, unless anything has changed it since it was read. A resize that
 * waits goes on waiting; confirming it looks at the power state. A rescue lasts until it is ended.
 */
async function recordOff(p: Platform, server: Server, cell: Kysely<CellTables>): Promise<void> {
  const { numUpdatedRows } = await cell
    .updateTable('servers')
    .set({
      power_state: POWER_STATE.SHUTDOWN,
      updated_at: p.clock.now(),
      ...(server.vmState === 'resized' || server.vmState === 'rescued' ? {} : { vm_state: 'stopped' }),
    })
    .where('id', '=', server.id)
    .where('saga_id', 'is', null)
    .where('vm_state', '=', server.vmState)
    .where('updated_at', '=', server.updatedAt)
    .executeTakeFirst();
  if (numUpdatedRows === 1n) p.log.info({ serverId: server.id, host: server.host }, 'the guest is off');
}
