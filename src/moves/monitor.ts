// The periodic work of a control plane: heartbeats, power states, overdue confirmations, requested deletes, debts.
//
// Every round asks every host for its heartbeat; one that answers is written as seen. When a host's agent is a new one
// (the host or its agent restarted), or now and then, what its guests do is compared with what the records say: a guest
// that should run but is off is turned on again after a restart, and recorded as stopped otherwise (it turned itself
// off). Servers that a saga works on are left alone. Several control planes may do this at once: every effect is a
// compare-and-set or a saga.
import { payDebts } from '../control/debts.ts';
import { collectUnusedImages } from '../control/images/collect.ts';
import type { Platform } from '../control/platform.ts';
import { listServers } from '../control/servers.ts';
import type { Heartbeat } from '../host/contract.ts';
import { messageOf } from '../lib/errors.ts';
import { POWER_STATE, type Server } from '../model/types.ts';
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
  await part(p, 'heartbeats', () => beat(p, round));
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
  for (let first = 0; first < hosts.length; first += HOSTS_AT_A_TIME) {
    const some = hosts.slice(first, first + HOSTS_AT_A_TIME);
    await Promise.all(some.map((host) => part(p, `host ${host.name}`, () => askHost(p, host, round))));
  }
}

async function askHost(p: Platform, known: KnownHost, round: number): Promise<void> {
  const reply = await (await p.host(known.name)).heartbeat();
  if (reply.kind !== 'ok') {
    p.log.warn({ host: known.name, reply }, 'no heartbeat');
    return;
  }
  const heartbeat = reply.value;
  const restarted = heartbeat.agentId !== known.agent_id;
  if (restarted || round % COMPARE_EVERY === 0) await comparePower(p, known, heartbeat, restarted);
  // Written last: if the comparison could not be made, the next round sees the new agent again.
  await p.stores.global
    .updateTable('hosts')
    .set({ last_seen_at: p.clock.now(), agent_id: heartbeat.agentId })
    .where('name', '=', known.name)
    .execute();
}

async function comparePower(p: Platform, host: KnownHost, heartbeat: Heartbeat, restarted: boolean): Promise<void> {
  const running = new Set(heartbeat.guests.filter((guest) => guest.power === 'on').map((guest) => guest.serverId));
  const { servers } = await listServers(p, { projectId: null, host: host.name });
  for (const server of servers) {
    if (server.sagaId !== null || server.vmState !== 'active' || running.has(server.id)) continue;
    if (restarted) await resumeServer(p, server, host.cell_id, host.name);
    else await recordOff(p, server, host.cell_id);
  }
}

/** The guest turned itself off: the record follows, unless a saga has taken hold of the server meanwhile. */
async function recordOff(p: Platform, server: Server, cellId: string): Promise<void> {
  try {
    const cell = await p.stores.cell(cellId);
    await cell
      .updateTable('servers')
      .set({ vm_state: 'stopped', power_state: POWER_STATE.SHUTDOWN, updated_at: p.clock.now() })
      .where('id', '=', server.id)
      .where('saga_id', 'is', null)
      .where('vm_state', '=', 'active')
      .where('host', '=', server.host)
      .execute();
    p.log.info({ server: server.id, host: server.host }, 'the guest turned itself off');
  } catch (error) {
    if (!(error instanceof CellDown)) throw error;
    p.log.warn({ server: server.id, cell: cellId }, error.message);
  }
}
