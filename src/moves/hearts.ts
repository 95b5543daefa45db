// Heartbeats: which hosts and storage hosts answer.
//
// Theory of operation. Every host is asked again and again by loops that do nothing else, so that nothing slow (a cell's
// database that says nothing, a comparison, a clean-up) makes a host that answers count as down. Those that were silent
// when they were asked last have a loop of their own: a dead site holds up nobody else, but for the one time in which its
// silence is found. Who was silent is remembered by process. One that answers is written as seen. If it had been silent
// for so long that it counted as down, or another agent answers, the same write says that it has to be compared
// (`reconciled`): until monitor.ts has done that, the scheduler leaves it out. Several control planes may do all this at
// once.
import type { UpdateResult } from 'kysely';
import { hastenDebts } from '../control/debts.ts';
import { silentSince } from '../control/heartbeats.ts';
import type { Platform } from '../control/platform.ts';
import { keepVolumes } from '../control/remains.ts';
import { recordStorageHeartbeat } from '../control/volumes/storage-hosts.ts';
import { messageOf } from '../lib/errors.ts';
import { eachAtMost } from '../lib/pool.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';

/** A thousand hosts that fall silent at once are found out in 16 s (host/wire.ts: HEARTBEAT_LIMIT_MS). */
const AT_A_TIME = 128;

export interface RunningHearts {
  stop(): Promise<void>;
}

type Kind = 'host' | 'storage host';
interface Heart {
  readonly kind: Kind;
  readonly name: string;
}
/** A compute host may have the name of a storage host. */
const keyOf = ({ kind, name }: Heart): string => `${kind} ${name}`;

interface Asking {
  /** Keys of those that did not answer when they were asked last. */
  readonly silent: Set<string>;
  readonly stopping: AbortSignal;
}

/** Asks all hosts for their heartbeats until it is stopped. */
export function startHearts(p: Platform): RunningHearts {
  const stopping = new AbortController();
  const asking = { silent: new Set<string>(), stopping: stopping.signal };
  const keepOn = async (round: () => Promise<void>): Promise<void> => {
    while (!stopping.signal.aborted) {
      await round();
      await p.clock.sleep(p.settings.heartbeatSeconds * 1000, stopping.signal);
    }
  };
  const over = Promise.all([keepOn(() => askThoseWhoAnswer(p, asking)), keepOn(() => askTheSilent(p, asking))]);
  return {
    async stop() {
      stopping.abort();
      await over;
    },
  };
}

/** Asks every host once. */
export const beatOnce = (p: Platform): Promise<void> =>
  askThoseWhoAnswer(p, { silent: new Set(), stopping: new AbortController().signal });

const askThoseWhoAnswer = (p: Platform, asking: Asking): Promise<void> =>
  ask(p, asking, (key) => !asking.silent.has(key));

async function askTheSilent(p: Platform, asking: Asking): Promise<void> {
  if (asking.silent.size > 0) await ask(p, asking, (key) => asking.silent.has(key));
}

const HOSTS = fixed<GlobalTables, object, { readonly name: string }>((db) =>
  db.selectFrom('hosts').select('name').orderBy('name'),
);
const STORAGE_HOSTS = fixed<GlobalTables, object, { readonly name: string }>((db) =>
  db.selectFrom('storage_hosts').select('name').where('forgotten_at', 'is', null).orderBy('name'),
);

async function ask(p: Platform, { silent, stopping }: Asking, isMeant: (key: string) => boolean): Promise<void> {
  try {
    const hosts = (await HOSTS(p.stores.global, {})).rows;
    const storage = (await STORAGE_HOSTS(p.stores.global, {})).rows;
    const hearts: Heart[] = [
      ...hosts.map(({ name }) => ({ kind: 'host' as const, name })),
      ...storage.map(({ name }) => ({ kind: 'storage host' as const, name })),
    ];
    const known = new Set(hearts.map(keyOf));
    for (const key of silent) if (!known.has(key)) silent.delete(key);
    const meant = hearts.filter((heart) => isMeant(keyOf(heart)));
    await eachAtMost(AT_A_TIME, meant, async (heart) => {
      if (stopping.aborted) return;
      if (await answers(p, heart)) silent.delete(keyOf(heart));
      else silent.add(keyOf(heart));
    });
  } catch (error) {
    p.log.error({ err: error }, `heartbeats: ${messageOf(error)}`);
  }
}

/** Whether it answered. An error in writing that down is logged, and keeps nobody else from being asked. */
async function answers(p: Platform, heart: Heart): Promise<boolean> {
  try {
    return heart.kind === 'host' ? await hostAnswered(p, heart.name) : await storageHostAnswered(p, heart.name);
  } catch (error) {
    p.log.error({ err: error }, `heartbeat of ${keyOf(heart)}: ${messageOf(error)}`);
    return true;
  }
}

async function storageHostAnswered(p: Platform, name: string): Promise<boolean> {
  const reply = await (await p.storage(name)).heartbeat();
  if (reply.kind !== 'ok') {
    p.log.warn({ storageHost: name, reply }, 'no heartbeat');
    return false;
  }
  await recordStorageHeartbeat(p, name, reply.value);
  await keepVolumes(p, name, reply.value.remains);
  return true;
}

interface Seen {
  readonly name: string;
  readonly now: number;
}

/** The agent with which the host was compared last answers, and the host has not counted as down meanwhile. */
const SAME = fixed<GlobalTables, Seen & { readonly agentId: string; readonly after: number }, UpdateResult>(
  (db, { name, now, agentId, after }) =>
    db
      .updateTable('hosts')
      .set({ last_seen_at: now })
      .where('name', '=', name)
      .where('agent_id', '=', agentId)
      .where('last_seen_at', '>', after),
);
/** It is back, and nobody has said so yet. */
const BACK = fixed<GlobalTables, Seen, UpdateResult>((db, { name, now }) =>
  db
    .updateTable('hosts')
    .set({ last_seen_at: now, reconciled: 0 })
    .where('name', '=', name)
    .where('reconciled', '=', 1),
);
const SEEN = fixed<GlobalTables, Seen, UpdateResult>((db, { name, now }) =>
  db.updateTable('hosts').set({ last_seen_at: now }).where('name', '=', name),
);

async function hostAnswered(p: Platform, name: string): Promise<boolean> {
  const reply = await (await p.host(name)).heartbeat();
  if (reply.kind !== 'ok') {
    p.log.warn({ host: name, reply }, 'no heartbeat');
    return false;
  }
  const db = p.stores.global;
  const seen = { name, now: p.clock.now() };
  if (hit(await SAME(db, { ...seen, agentId: reply.value.agentId, after: silentSince(p) }))) return true;
  // Not schedulable from the same moment on in which it counts as up, and it pays its debts at once.
  if (hit(await BACK(db, seen))) await hastenDebts(p, name);
  else await SEEN(db, seen);
  return true;
}

const hit = ({ numAffectedRows }: { readonly numAffectedRows?: bigint }): boolean => (numAffectedRows ?? 0n) > 0n;
