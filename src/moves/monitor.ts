// The periodic work of a control plane: databases of cells, heartbeats, power states, overdue confirmations, requested
// deletes, debts.
//
// Every round asks every host and storage host for its heartbeat; one that answers is written as seen. When a host is
// back (its agent is a new one, or it counted as down), or now and then, what it runs is compared with what the records
// say (reconcile.ts). Until a host that is back has been compared whole, the scheduler leaves it out. Several control
// planes may do this at once: every effect is a compare-and-set, a saga, or an order under a generation of its own.
import type { UpdateResult } from 'kysely';
import { watchCells } from '../control/cell-health.ts';
import { hastenDebts, payDebts, payMatches } from '../control/debts.ts';
import { hasJumped, pullBack, silentSince } from '../control/heartbeats.ts';
import { trimHistory } from '../control/history.ts';
import { isUp } from '../control/hosts.ts';
import { collectUnusedImages } from '../control/images/collect.ts';
import { networkService } from '../control/network/service.ts';
import { placementService } from '../control/placement/service.ts';
import type { Platform } from '../control/platform.ts';
import { recordStorageHeartbeat } from '../control/volumes/storage-hosts.ts';
import { messageOf } from '../lib/errors.ts';
import { eachAtMost } from '../lib/pool.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { confirmOverdue } from './confirm.ts';
import { startRequestedDeletes } from './delete.ts';
import { type ComparedHost, reconcile } from './reconcile.ts';
import { startDueOffloads } from './shelve.ts';
import { reclaimSoftDeleted, startRequestedSoftDeletes } from './soft-delete.ts';

/** Power states are compared in every so many rounds, and whenever an agent is new. */
const COMPARE_EVERY = 6;
const HOSTS_AT_A_TIME = 32;

export interface RunningMonitor {
  stop(): Promise<void>;
}

/** @param firstRound what is done only now and then is done in rounds whose number says so */
export function startMonitor(p: Platform, firstRound = 0): RunningMonitor {
  const stopping = new AbortController();
  const over = (async () => {
    for (let round = firstRound; !stopping.signal.aborted; round += 1) {
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
  if (hasJumped(p) || round % COMPARE_EVERY === 0) await part(p, 'times that lie ahead', () => pullBack(p));
  await part(p, 'heartbeats', () => beat(p, round));
  await part(p, 'heartbeats of storage hosts', () => beatStorage(p));
  await part(p, 'providers elsewhere', () => placementService(p).settleProviders(p));
  await part(p, 'debts', () => payDebts(p));
  await part(p, 'soft-deleted servers', () => reclaimSoftDeleted(p));
  await part(p, 'requested deletes', () => startRequestedDeletes(p));
  await part(p, 'requested soft deletes', () => startRequestedSoftDeletes(p));
  await part(p, 'due offloads', () => startDueOffloads(p));
  await part(p, 'overdue confirmations', () => confirmOverdue(p));
  if (round % COMPARE_EVERY === 0) await part(p, 'ports elsewhere', () => networkService(p).payOwed(p));
  if (round % COMPARE_EVERY === 0) await part(p, 'allocations elsewhere', () => placementService(p).payOwed(p));
  if (round % COMPARE_EVERY === 0) await part(p, 'images elsewhere', async () => p.imageMirror?.settle(p));
  if (round % COMPARE_EVERY === 0) await part(p, 'volumes elsewhere', async () => p.volumes?.payOwed(p));
  if (round % COMPARE_EVERY === 0) await part(p, 'unused images', () => collectUnusedImages(p));
  if (round % COMPARE_EVERY === 0) await part(p, 'history', () => trimHistory(p));
}

async function part(p: Platform, what: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    p.log.error({ err: error }, `${what}: ${messageOf(error)}`);
  }
}

interface KnownHost extends ComparedHost {
  readonly agent_id: string | null;
  readonly last_seen_at: number | null;
  readonly forced_down: number;
  readonly reconciled: number;
}

const HOSTS = fixed<GlobalTables, object, KnownHost>((db) =>
  db
    .selectFrom('hosts')
    .select(['name', 'cell_id', 'agent_id', 'last_seen_at', 'forced_down', 'reconciled'])
    .orderBy('name'),
);
const STORAGE_HOSTS = fixed<GlobalTables, object, { readonly name: string }>((db) =>
  db.selectFrom('storage_hosts').select('name').orderBy('name'),
);

async function beat(p: Platform, round: number): Promise<void> {
  const hosts = (await HOSTS(p.stores.global, {})).rows;
  await eachAtMost(HOSTS_AT_A_TIME, hosts, (host) => part(p, `host ${host.name}`, () => askHost(p, host, round)));
}

async function beatStorage(p: Platform): Promise<void> {
  const hosts = (await STORAGE_HOSTS(p.stores.global, {})).rows;
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
  const isBack = heartbeat.agentId !== known.agent_id || known.reconciled === 0 || !isUp(known, silentSince(p));
  if (isBack) {
    await welcome(p, known);
    await payMatches(p, known.name);
  }
  const isDue = isBack || round % COMPARE_EVERY === 0;
  const compared = !isDue || (await reconcile(p, known, heartbeat));
  if (!isBack) {
    await SEEN(p.stores.global, { name: known.name, now: p.clock.now() });
    return;
  }
  // The new agent is written down when the comparison has been made: until then every round makes it again.
  await p.stores.global
    .updateTable('hosts')
    .set((eb) => ({
      last_seen_at: p.clock.now(),
      // Not while it is forced down: what is made of it until it is taken back it has to be told then.
      ...(compared
        ? { agent_id: heartbeat.agentId, reconciled: eb.case().when('forced_down', '=', 0).then(1).else(0).end() }
        : {}),
    }))
    .where('name', '=', known.name)
    .execute();
}

/** The same agent as ever has answered. */
const SEEN = fixed<GlobalTables, { readonly name: string; readonly now: number }, UpdateResult>((db, { name, now }) =>
  db.updateTable('hosts').set({ last_seen_at: now }).where('name', '=', name),
);

/** A host is back: it gets nothing new until it has been told what it should run, and pays its debts at once. */
async function welcome(p: Platform, { name, reconciled }: KnownHost): Promise<void> {
  if (reconciled === 0) return;
  await p.stores.global.updateTable('hosts').set({ reconciled: 0 }).where('name', '=', name).execute();
  await hastenDebts(p, name);
}
