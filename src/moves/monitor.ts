// The periodic work of a control plane: databases of cells, heartbeats, power states, overdue confirmations, requested
// deletes, debts.
//
// Heartbeats have loops of their own (hearts.ts), which write down who answers and who has to be compared. All else is done
// in rounds, one part behind the other. When a host is back (its agent is a new one, or it counted as down), or now and
// then, what it runs is compared with what the records say (reconcile.ts). Until a host that is back has been compared
// whole, the scheduler leaves it out. Several control planes may do this at once: every effect is a compare-and-set, a
// saga, or an order under a generation of its own.
import { watchCells } from '../control/cell-health.ts';
import { hastenDebts, payDebts, payMatches } from '../control/debts.ts';
import { hasJumped, pullBack, silentSince } from '../control/heartbeats.ts';
import { trimHistory } from '../control/history.ts';
import { collectUnusedImages } from '../control/images/collect.ts';
import { networkService } from '../control/network/service.ts';
import { placementService } from '../control/placement/service.ts';
import type { Platform } from '../control/platform.ts';
import { messageOf } from '../lib/errors.ts';
import { eachAtMost } from '../lib/pool.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { confirmOverdue } from './confirm.ts';
import { startRequestedDeletes } from './delete.ts';
import { beatOnce, startHearts } from './hearts.ts';
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
  const hearts = startHearts(p);
  const over = (async () => {
    for (let round = firstRound; !stopping.signal.aborted; round += 1) {
      await doRound(p, round);
      await p.clock.sleep(p.settings.heartbeatSeconds * 1000, stopping.signal);
    }
  })();
  return {
    async stop() {
      stopping.abort();
      await Promise.all([hearts.stop(), over]);
    },
  };
}

/** Every host is asked for its heartbeat once, then one round is made. */
export async function monitorOnce(p: Platform, round: number): Promise<void> {
  await beatOnce(p);
  await doRound(p, round);
}

/** One round. An error in one part is logged and keeps no other part from its turn. */
async function doRound(p: Platform, round: number): Promise<void> {
  await part(p, 'databases of cells', () => watchCells(p));
  if (hasJumped(p) || round % COMPARE_EVERY === 0) await part(p, 'times that lie ahead', () => pullBack(p));
  await part(p, 'what hosts run', () => compareHosts(p, round));
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
  readonly reconciled: number;
}

/** Those that have been heard of lately, forced down or not, in cells whose records can be read. */
const COMPARABLE = fixed<GlobalTables, { readonly after: number }, KnownHost>((db, { after }) =>
  db
    .selectFrom('hosts')
    .innerJoin('cells', 'cells.id', 'hosts.cell_id')
    .select(['hosts.name', 'hosts.cell_id', 'hosts.reconciled'])
    .where('hosts.last_seen_at', '>', after)
    .where('cells.unreachable_since', 'is', null)
    .orderBy('hosts.name'),
);

async function compareHosts(p: Platform, round: number): Promise<void> {
  const known = (await COMPARABLE(p.stores.global, { after: silentSince(p) })).rows;
  const due = round % COMPARE_EVERY === 0 ? known : known.filter((host) => host.reconciled === 0);
  await eachAtMost(HOSTS_AT_A_TIME, due, (host) => part(p, `host ${host.name}`, () => compareHost(p, host)));
}

async function compareHost(p: Platform, host: KnownHost): Promise<void> {
  const began = p.clock.now();
  const reply = await (await p.host(host.name)).heartbeat();
  if (reply.kind !== 'ok') return;
  if (host.reconciled === 0) await payMatches(p, host.name);
  const isComplete = await reconcile(p, host, reply.value);
  if (host.reconciled === 1 || !isComplete) return;
  // It may have gone away and come back during a comparison that took so long: then that says nothing of it.
  if (p.clock.now() - began >= p.settings.hostDownSeconds * 1000) return;
  const after = await p.stores.global
    .updateTable('hosts')
    .set((eb) => ({
      agent_id: reply.value.agentId,
      // Not while it is forced down: what is made of it until it is taken back it has to be told then.
      reconciled: eb.case().when('forced_down', '=', 0).then(1).else(0).end(),
    }))
    .where('name', '=', host.name)
    .returning('reconciled')
    .executeTakeFirst();
  // Also when it is up because it is not forced down any more.
  if (after?.reconciled === 1) await hastenDebts(p, host.name);
}
