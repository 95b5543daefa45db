// A list of servers over 50 cells, and the same when one of them does not answer: its database takes what it is sent and says
// nothing any more, as a machine that is frozen. How long the list takes then, and whether all others' servers are in it.
//
// `crosscell up` with one simulated host in each cell; the databases are of one PostgreSQL server, one of them behind a
// connection that can be held.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { startPostgres } from '../src/store/test-postgres.ts';
import { type Cloud, openCloud } from '../test/clients/compare/cloud.ts';
import { BATCH, create, prepare } from './servers.ts';
import { ask, hostNamed, PASSWORD, withCrosscell } from './simulated.ts';
import { type Figure, median } from './table.ts';

const NAMES = Array.from({ length: 50 }, (_, n) => `c${n + 1}`);
const SILENT = 'c7';
const SERVERS = 200;
const TIMES = 20;
const POLL_MS = 100;
/** From it on a list names the servers of cells that are down. */
const VERSION = '2.69';

export async function benchCells(): Promise<Figure[]> {
  const server = await startPostgres();
  if (server.kind === 'unavailable') throw new Error(server.reason);
  try {
    const at = await server.stores(NAMES);
    if (at.kind !== 'postgres') throw new Error('these databases are not on PostgreSQL');
    await using line = await holdable(at.cell(SILENT));
    const cells = NAMES.map((name) => {
      const url = name === SILENT ? line.url : at.cell(name);
      return `  - { name: ${name}, database: "${url}", hosts: [${hostNamed(`${name}-1`)}] }`;
    });
    const config = `database: { url: "${at.global}" }\ncells:\n${cells.join('\n')}\n`;
    return await withCrosscell((authUrl) => measure(authUrl, line.hold), config);
  } finally {
    await server.stop();
  }
}

async function measure(authUrl: string, hold: () => void): Promise<Figure[]> {
  const cloud = await openCloud(authUrl, 'admin', PASSWORD, 'admin');
  const setting = await prepare(cloud);
  for (let made = 0; made < SERVERS; made += BATCH) await create(cloud, setting, BATCH, POLL_MS);
  const whole = await many(cloud);
  const { partial } = whole.last;
  if (partial > 0) throw new Error(`${partial} servers are said to be out of reach, and none is`);
  const there = whole.last.hosts.filter((host) => host === `${SILENT}-1`).length;
  if (there === 0) throw new Error(`no server was made in cell ${SILENT}`);
  hold();
  const first = await list(cloud);
  const next = await many(cloud);
  for (const { hosts, partial } of [first, next.last]) {
    if (hosts.length !== SERVERS - there || partial !== there)
      throw new Error(`${hosts.length} of ${SERVERS - there} servers are listed, and ${partial} of ${there} named`);
  }
  const of = { part: 'cells', unit: 'ms' };
  const name = `${SERVERS} servers over ${NAMES.length} cells listed`;
  const peer = { name: 'all answer', value: whole.median };
  return [
    { ...of, what: `${name}, all answer, median`, ours: whole.median, peer: null },
    { ...of, what: `${name}, one is silent, first`, ours: first.ms, peer, note: `${there} named only` },
    { ...of, what: `${name}, one is silent, median of the next`, ours: next.median, peer },
  ];
}

interface Listed {
  readonly ms: number;
  /** Of the servers that are known in full. */
  readonly hosts: readonly string[];
  /** Servers that are only named. */
  readonly partial: number;
}

async function list(cloud: Cloud): Promise<Listed> {
  const begun = performance.now();
  const path = '/servers/detail?limit=1000';
  const { json } = await ask(cloud, { service: 'compute', method: 'GET', path, version: VERSION });
  const ms = performance.now() - begun;
  const { servers } = json as { servers: readonly { status: string; 'OS-EXT-SRV-ATTR:host'?: string }[] };
  const hosts = servers.flatMap((each) => each['OS-EXT-SRV-ATTR:host'] ?? []);
  return { ms, hosts, partial: servers.filter(({ status }) => status === 'UNKNOWN').length };
}

async function many(cloud: Cloud): Promise<{ readonly median: number; readonly last: Listed }> {
  let last = await list(cloud);
  const times: number[] = [];
  for (let time = 0; time < TIMES; time += 1) {
    last = await list(cloud);
    times.push(last.ms);
  }
  return { median: median(times), last };
}

interface Line extends AsyncDisposable {
  readonly url: string;
  /** From now on nothing comes through, in either direction, and nothing is closed. */
  hold(): void;
}

/** A way to a database on which everything can be held. */
async function holdable(url: string): Promise<Line> {
  const { port, hostname } = new URL(url);
  let held = false;
  const sockets = new Set<{ destroy(): void }>();
  const server = createServer((client) => {
    const behind = connect(Number(port), hostname);
    for (const socket of [client, behind]) {
      sockets.add(socket);
      // Whoever is behind notices by himself.
      socket.on('error', () => undefined);
    }
    client.on('data', (data) => held || behind.write(data));
    behind.on('data', (data) => held || client.write(data));
    client.on('close', () => behind.destroy());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const own = new URL(url);
  own.port = String((server.address() as AddressInfo).port);
  return {
    url: own.href,
    hold: () => {
      held = true;
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
