// Moves per second with one conductor and with three, on PostgreSQL with fsync: API, conductors and hosts are processes of
// their own, hosts are simulated, and every server is migrated and confirmed through the API, all at once.
//
// Everything shares this machine's cores: three conductors are faster than one only as far as there are cores for them.
// So the CPU that conductors and database take per move stands beside, which says what more cores would give.
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { openStores, type Stores } from '../src/store/stores.ts';
import { startPostgres, type TestPostgres } from '../src/store/test-postgres.ts';
import { type Cloud, install, logIn, startPart } from '../test/postgres/processes.ts';
import { movesPerSecond } from './moves.ts';
import type { Figure } from './table.ts';

const SERVERS = 40;
const ROUNDS = 2;
const LIMIT_MS = 180_000;
const OPTIONS = 'heartbeat_seconds: 5\nconductor: { lanes: 8 }';
/** Jiffies of /proc/<pid>/stat in a second; Linux has had no other number for user space in decades. */
const JIFFIES = 100;

export async function benchConductors(): Promise<Figure[]> {
  const server = await startPostgres(true);
  if (server.kind === 'unavailable') throw new Error(server.reason);
  try {
    const one = await measure(server, 1);
    const three = await measure(server, 3);
    const sqlite = { name: 'one process on SQLite', value: await movesPerSecond(SERVERS) };
    const cores = `${availableParallelism()} cores for all processes`;
    const of = { part: 'conductors', unit: '/s', note: cores };
    const name = `moves (migrate + confirm), ${SERVERS} at a time`;
    const cpu = (what: string, ours: number, alone: number): Figure => ({
      ...{ part: 'conductors', what: `${what}: CPU of the conductors per move`, ours, unit: 's' },
      peer: { name: 'one conductor', value: alone },
    });
    return [
      { ...of, what: `${name}, one conductor`, ours: one.rate, peer: sqlite },
      { ...of, what: `${name}, three conductors`, ours: three.rate, peer: sqlite },
      { ...of, what: 'three conductors beside one', ours: three.rate, peer: { name: 'one', value: one.rate } },
      cpu('three conductors', three.cpu, one.cpu),
    ];
  } finally {
    await server.stop();
  }
}

async function measure(server: TestPostgres, conductors: number): Promise<{ rate: number; cpu: number }> {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-bench-'));
  const children: ChildProcess[] = [];
  const at = await server.stores(['east', 'west']);
  if (at.kind !== 'postgres') throw new Error('these databases are not on PostgreSQL');
  const stores = await openStores(at);
  try {
    const installation = await install(directory, at.global, OPTIONS, children);
    const api = await startPart('api', installation, children);
    const parts = [];
    for (let n = 0; n < conductors; n += 1) parts.push(await startPart('conductor', installation, children));
    const cloud = await logIn(api);
    const ids = await cloud.create(SERVERS);
    await ended(stores, SERVERS);
    await round(stores, cloud, ids); // warm up
    const cpuBefore = await cpuOf(parts.map((part) => part.pid));
    const begun = performance.now();
    for (let n = 0; n < ROUNDS; n += 1) await round(stores, cloud, ids);
    const seconds = (performance.now() - begun) / 1000;
    const cpu = (await cpuOf(parts.map((part) => part.pid))) - cpuBefore;
    return { rate: (ROUNDS * SERVERS) / seconds, cpu: cpu / (ROUNDS * SERVERS) };
  } finally {
    for (const child of children) child.kill('SIGKILL');
    await stores.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** Every server is migrated to the other cell, and its move confirmed. */
async function round(stores: Stores, cloud: Cloud, ids: readonly string[]): Promise<void> {
  const before = await count(stores, 'done');
  const homes = await stores.global
    .selectFrom('server_mappings')
    .innerJoin('cells', 'cells.id', 'server_mappings.cell_id')
    .select(['server_id', 'cells.name'])
    .execute();
  const home = new Map(homes.map((row) => [row.server_id, row.name]));
  await Promise.all(
    ids.map((id, n) => {
      const to = home.get(id) === 'east' ? 'west' : 'east';
      return cloud.action(id, { migrate: { host: `${to}-${1 + (n % 2)}` } });
    }),
  );
  await ended(stores, before + ids.length);
  await Promise.all(ids.map((id) => cloud.action(id, { confirmResize: null })));
  await ended(stores, before + 2 * ids.length);
}

async function ended(stores: Stores, sagas: number): Promise<void> {
  for (const giveUp = performance.now() + LIMIT_MS; (await count(stores, 'done')) < sagas; await delay(20)) {
    const [stuck, unwound] = [await count(stores, 'stuck'), await count(stores, 'unwound')];
    if (stuck + unwound > 0) throw new Error('a move has failed');
    if (performance.now() > giveUp) throw new Error('the moves do not end');
  }
}

async function count({ global }: Stores, status: string): Promise<number> {
  const { n } = await global
    .selectFrom('sagas')
    .select((eb) => eb.fn.countAll<number>().as('n'))
    .where('status', '=', status)
    .executeTakeFirstOrThrow();
  return Number(n);
}

/** CPU seconds that the processes have taken so far, together. */
async function cpuOf(pids: readonly number[]): Promise<number> {
  let jiffies = 0;
  for (const pid of pids) {
    const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? [];
    jiffies += Number(fields[11]) + Number(fields[12]);
  }
  return jiffies / JIFFIES;
}
