// A guest put right as a whole: off, running, paused or suspended, from its own disk or its rescue disk, read by nobody.
//
// A saga does not wait for a host that is down to undo what it did to a guest there, nor to finish what it has decided: it
// ends, the record says what is to be, and that the guest is made so is owed (debts.ts, match-guest). So a server is never
// kept from an evacuation by the very host that it is to be saved from. When the host answers again, its guest is compared
// with the record, under a generation of its own as in guest-devices.ts; what it has plugged in is put right before it is
// turned on. Until it has been tried, the comparison of what hosts run (reconcile.ts) takes no guest that is off for one that
// turned itself off.
// Where a guest's memory is lost that a record counts on, the record follows: that cannot be put right.
import type { Guest, Host } from '../host/contract.ts';
import { POWER_STATE, type Server } from '../model/types.ts';
import { nextFence } from '../store/sagas.ts';
import { type Answer, answerOf, jobAnswer, matchDevices } from './guest-devices.ts';
import type { DebtKind } from './owing.ts';
import { ownership } from './ownership.ts';
import type { Platform } from './platform.ts';
import { findServer, shouldBeOff, shouldRun } from './servers.ts';

/** One look at a guest, and whom to tell what under which generation. */
interface Look {
  readonly p: Platform;
  readonly host: Host;
  readonly server: Server;
  readonly cellId: string;
  readonly generation: number;
  readonly guest: Guest;
}

/** The server's guest on the host is as its record says; settled also when the server has no business there. */
export async function matchGuest(p: Platform, hostName: string, serverId: string): Promise<Answer> {
  const now = await lookAt(p, hostName, serverId);
  if (typeof now !== 'object' || 'refused' in now) return now;
  const disk = await matchDisk(now);
  if (disk !== 'settled') return disk;
  const devices = await matchDevices(p, hostName, serverId);
  if (devices !== 'settled') return devices;
  // That was under a newer generation.
  const then = await lookAt(p, hostName, serverId);
  return typeof then !== 'object' || 'refused' in then ? then : matchPower(then);
}

/** Nobody reads the guest's disk; an answer where there is nothing, or nothing yet, to be looked at. */
async function lookAt(p: Platform, hostName: string, serverId: string): Promise<Look | Answer> {
  const generation = await nextFence(p.stores.global);
  const owner = await ownership(p, hostName, serverId);
  if (owner === 'stray') return 'settled';
  if (owner === 'perhaps' || (await isOwed(p, 'drop-spare', hostName, serverId))) return 'not yet';
  const found = await findServer(p, serverId);
  if (found.kind !== 'found') return 'not yet';
  const { server, cellId } = found;
  // The way back of a move that waits: the comparison keeps it off.
  if (server.host !== hostName) return 'settled';
  const host = await p.host(hostName);
  const closed = answerOf(await host.closeExport(serverId, { generation }));
  if (closed !== 'settled') return closed;
  const guest = await host.guest(serverId);
  if (guest.kind !== 'ok') return guest.kind === 'absent' ? 'settled' : answerOf(guest);
  return { p, host, server, cellId, generation, guest: guest.value };
}

/** A second root disk is gone that has had its use: the rescue disk, or that of the saga, which is the guest's own then. */
export async function dropSpareOwed(p: Platform, hostName: string, serverId: string, sagaId: string): Promise<Answer> {
  const generation = await nextFence(p.stores.global);
  const owner = await ownership(p, hostName, serverId);
  if (owner === 'stray') return 'settled';
  if (owner === 'perhaps') return 'not yet';
  const host = await p.host(hostName);
  const guest = await host.guest(serverId);
  if (guest.kind !== 'ok') return guest.kind === 'absent' ? 'settled' : answerOf(guest);
  const { spare } = guest.value;
  if (spare === null || (spare.id !== sagaId && spare.id !== serverId)) return 'settled';
  // It has been rescued once more.
  if (spare.used && spare.purpose !== 'rebuild') return 'settled';
  return jobAnswer(await host.dropSpare(serverId, { generation, spareId: spare.id }));
}

/** Whether that is owed of the server by the host, and nobody has refused it yet. */
export async function isOwed(p: Platform, kind: DebtKind, host: string, serverId: string): Promise<boolean> {
  const open = await p.stores.global
    .selectFrom('debts')
    .select('id')
    .where('kind', '=', kind)
    .where('host', '=', host)
    .where('server_id', '=', serverId)
    .where('paid_at', 'is', null)
    .where('last_error', 'is', null)
    .executeTakeFirst();
  return open !== undefined;
}

/** It starts from its own disk, or from the rescue disk while it is rescued; a disk that was for nothing is gone. */
async function matchDisk({ host, server, generation, guest }: Look): Promise<Answer> {
  const { spare } = guest;
  if (spare === null) return 'settled';
  const isRescued = server.vmState === 'rescued' && spare.purpose !== 'rebuild';
  const named = { generation, spareId: spare.id };
  if (spare.used !== isRescued) {
    const off = jobAnswer(await host.setPower(server.id, { generation, power: 'off', graceSeconds: 0 }));
    if (off !== 'settled') return off;
    const used = answerOf(await host.useSpare(server.id, { ...named, used: isRescued }));
    if (used !== 'settled') return used;
  }
  return isRescued ? 'settled' : jobAnswer(await host.dropSpare(server.id, named));
}

async function matchPower(look: Look): Promise<Answer> {
  const { p, host, server, generation, guest } = look;
  if (shouldRun(server)) return matchRunning(look);
  const runs = guest.power === 'on';
  if (server.vmState === 'suspended') {
    if (!runs) return guest.suspended ? 'settled' : recordLost(look);
    return jobAnswer(await host.setPower(server.id, { generation, power: 'suspended', graceSeconds: 0 }));
  }
  if (!runs || !shouldBeOff(server)) return 'settled';
  const graceSeconds = p.settings.shutdownTimeoutSeconds;
  return jobAnswer(await host.setPower(server.id, { generation, power: 'off', graceSeconds }));
}

async function matchRunning({ host, server, generation, guest }: Look): Promise<Answer> {
  const isPaused = server.vmState === 'paused';
  if (guest.power === 'off') {
    // What a paused one had in memory is lost: it is started anew, and stands still again.
    const on = jobAnswer(await host.setPower(server.id, { generation, power: 'on', graceSeconds: 0 }));
    if (on !== 'settled') return on;
  }
  return answerOf(await host.setPaused(server.id, { generation, paused: isPaused }));
}

/** Nothing is kept of the suspended guest's memory: it is a server that is off. */
async function recordLost({ p, server, cellId }: Look): Promise<Answer> {
  const cell = await p.stores.cell(cellId);
  await cell
    .updateTable('servers')
    .set({ vm_state: 'stopped', power_state: POWER_STATE.SHUTDOWN, updated_at: p.clock.now() })
    .where('id', '=', server.id)
    .where('saga_id', 'is', null)
    .where('vm_state', '=', 'suspended')
    .execute();
  return 'settled';
}
