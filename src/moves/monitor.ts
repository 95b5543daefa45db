// The periodic work of a control plane: databases of cells, heartbeats, power states, overdue confirmations, requested deletes, debts.
//
// Every round asks every host and storage host for its heartbeat; one that answers is written as seen. When a host's agent
// is a new one (the host or its agent restarted), or now and then, what its guests do is compared with what the records
// say: a guest that should run but is off is turned on again if a restart of its host interrupted it, and recorded as
// stopped otherwise (it turned itself off). Which of the two it was the host tells, as long as the guest is off: so a server
// that a saga works on can be left alone until a later round. Several control planes may do this at once: every effect is
// a compare-and-set or a saga.
import type { Kysely } from 'kysely';
import { watchCells } from '../control/cell-health.ts';
import { payDebts } from '../control/debts.ts';
import { collectUnusedImages } from '../control/images/collect.ts';
import type { Platform } from '../control/platform.ts';
import { serverOf } from '../control/records.ts';
import { findServer, shouldRun } from '../control/servers.ts';
import { recordStorageHeartbeat } from '../control/volumes/storage-hosts.ts';
import type { Guest, Heartbeat } from '../host/contract.ts';
import { messageOf } from '../lib/errors.ts';
import { eachAtMost } from '../lib/pool.ts';
import { POWER_STATE, type Server } from '../model/types.ts';
import type { CellTables } from '../store/cell-schema.ts';
import { CellDown } from '../store/stores.ts';
import { confirmOverdue } from './confirm.ts';
import { startRequestedDeletes } from './delete.ts';
import { resumeServer } from './power.ts';

/** Power states are compared in every so many rounds, and whenever an agent is new. */
const COMPARE_EVERY = 6;
const HOSTS_AT_A_TIME = 32;

export interface RunningMonitor {
  stop(): Promise<void>;
}

export function startMonitor(p: Platform): RunningMonitor {
  const stopping = new AbortController();
  const over = (async () => {
    for (let round = 0; !stopping.signal.aborted; round += 1) {
      await monitorOnce(p, round);
      await p.clock.sleep(p.settings.heartbeatSeconds * 1000, stopping.signal);
    }
  })();
  return {
    async stop() {
      stopping.abort();
      await over;
    },
  };
}

/** One round. An error in one part is logged and keeps no other part from its turn. */
export async function monitorOnce(p: Platform, round: number): Promise<void> {
  await part(p, 'databases of cells', () => watchCells(p));
  await part(p, 'heartbeats', () => beat(p, round));
  await part(p, 'heartbeats of storage hosts', () => beatStorage(p));
  await part(p, 'debts', () => payDebts(p));
  await part(p, 'requested deletes', () => startRequestedDeletes(p));
  await part(p, 'overdue confirmations', () => confirmOverdue(p));
  if (round % COMPARE_EVERY === 0) await part(p, 'unused images', () => collectUnusedImages(p));
}

async function part(p: Platform, what: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    p.log.error({ err: error }, `${what}: ${messageOf(error)}`);
  }
}

interface KnownHost {
  readonly name: string;
  readonly cell_id: string;
  readonly agent_id: string | null;
}

async function beat(p: Platform, round: number): Promise<void> {
  const hosts = await p.stores.global
    .selectFrom('hosts')
    .select(['name', 'cell_id', 'agent_id'])
    .orderBy('name')
    .execute();
  await eachAtMost(HOSTS_AT_A_TIME, hosts, (host) => part(p, `host ${host.name}`, () => askHost(p, host, round)));
}

async function beatStorage(p: Platform): Promise<void> {
  const hosts = await p.stores.global.selectFrom('storage_hosts').select('name').orderBy('name').execute();
  for (let first = 0; first < hosts.length; first += HOSTS_AT_A_TIME) {
    const some = hosts.slice(first, first + HOSTS_AT_A_TIME);
    await Promise.all(some.map(({ name }) => part(p, `storage host ${name}`, () => askStorageHost(p, name))));
  }
}

async function askStorageHost(p: Platform, name: string): Promise<void> {
  const reply = await (await p.storage(name)).heartbeat();
  if (reply.kind === 'ok') await recordStorageHeartbeat(p, name, reply.value);
  else p.log.warn({ storageHost: name, reply }, 'no heartbeat');
}

async function askHost(p: Platform, known: KnownHost, round: number): Promise<void> {
  const reply = await (await p.host(known.name)).heartbeat();
  if (reply.kind !== 'ok') {
    p.log.warn({ host: known.name, reply }, 'no heartbeat');
    return;
  }
  const heartbeat = reply.value;
  const restarted = heartbeat.agentId !== known.agent_id;
  const compared = !restarted && round % COMPARE_EVERY !== 0 ? true : await comparePower(p, known, heartbeat);
  // The new agent is written down when the comparison has been made: until then every round makes it again.
  await p.stores.global
    .updateTable('hosts')
    .set({ last_seen_at: p.clock.now(), ...(compared ? { agent_id: heartbeat.agentId } : {}) })
    .where('name', '=', known.name)
    .execute();
}

/** False when the host's cell cannot be reached. */
async function comparePower(p: Platform, host: KnownHost, heartbeat: Heartbeat): Promise<boolean> {
  const running = new Set(heartbeat.guests.filter((guest) => guest.power === 'on').map((guest) => guest.serverId));
  try {
    const cell = await p.stores.cell(host.cell_id);
    const rows = await cell
      .selectFrom('servers')
      .selectAll()
      .where('host', '=', host.name)
      .where('saga_id', 'is', null)
      .where('deleted_at', 'is', null)
      .execute();
    for (const server of rows.map(serverOf)) {
      if (!shouldRun(server) || running.has(server.id)) continue;
      const off = await offGuest(p, server, host);
      if (off === null) continue;
      if (off.interrupted) await resumeServer(p, server, host.cell_id, host.name);
      else await recordOff(p, server, cell);
    }
    return true;
  } catch (error) {
    if (!(error instanceof CellDown)) throw error;
    p.log.warn({ host: host.name, cell: host.cell_id }, error.message);
    return false;
  }
}

/**
 * The guest, if it is off. Asked now, for the heartbeat is older than the record and the guest may have been started in
 * between.
 */
async function offGuest(p: Platform, server: Server, host: KnownHost): Promise<Guest | null> {
  const found = await findServer(p, server.id);
  // A record that is not the server's home says nothing.
  if (found.kind !== 'found' || found.cellId !== host.cell_id) return null;
  const reply = await (await p.host(host.name)).guest(server.id);
  if (reply.kind === 'absent') p.log.error({ serverId: server.id, host: host.name }, 'the guest is not on its host');
  return reply.kind === 'ok' && reply.value.power === 'off' ? reply.value : null;
}

/**
 * The guest turned itself off: the record follows, unless anything has changed it since it was read. A resize that
 * waits goes on waiting; confirming it looks at the power state.
 */
async function recordOff(p: Platform, server: Server, cell: Kysely<CellTables>): Promise<void> {
  const { numUpdatedRows } = await cell
    .updateTable('servers')
    .set({
      power_state: POWER_STATE.SHUTDOWN,
      updated_at: p.clock.now(),
      ...(server.vmState === 'active' ? { vm_state: 'stopped' } : {}),
    })
    .where('id', '=', server.id)
    .where('saga_id', 'is', null)
    .where('vm_state', '=', server.vmState)
    .where('updated_at', '=', server.updatedAt)
    .executeTakeFirst();
  if (numUpdatedRows === 1n) p.log.info({ serverId: server.id, host: server.host }, 'the guest turned itself off');
}
