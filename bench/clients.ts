// What clients wait for: tokens, lists of servers, a server, flavors, servers made, resized and confirmed; with the CPU
// seconds that each costs the control plane. Beside a real OpenStack when PEER_AUTH_URL names its identity service.
//
// The same client asks ours and then the peer in one run: one request after the other, and what only reads four at a time,
// too. CPU seconds are those of all processes whose command line matches (PEER_PROCESSES, a regular expression), less what
// they take while nobody asks, so whatever else the machine does does not count; what goes on behind the answer counts for
// a while. Half of the servers are in each of two cells. The peer has PEER_SERVERS servers (20 unless given) and is measured
// fewer times, for it takes seconds of CPU to make one; ours BENCH_SERVERS (1000). Lists are compared at the peer's number
// of servers.
//
// A peer on a small machine fails now and then ("database is locked"). What it fails at is not counted; when it fails at
// half of a measurement that row says so, and the run goes on. Ours may not fail.
import { setTimeout } from 'node:timers/promises';
import { messageOf } from '../src/lib/errors.ts';
import { openCloud } from '../test/clients/compare/cloud.ts';
import { cpuSeconds, idleRate } from './cpu.ts';
import { act, BATCH, create, prepare, until } from './servers.ts';
import { ask, PASSWORD, withCrosscell } from './simulated.ts';
import { type Figure, median } from './table.ts';

const AT_ONCE = 4;
const TRIES = 5;
const AGAIN_MS = 5000;
const SERVICES = 'keystone|glance|placement|nova|neutron|cinder|rabbit';
/** Python's services under their own name or uWSGI's, and RabbitMQ; not the clients that name them in an argument. */
const PEER_PROCESSES = `^(\\S*(python3|uwsgi_python3|beam\\.smp)\\b.*|)(${SERVICES})`;

/** One kind of request. */
interface Sample {
  readonly what: string;
  /** Of each that succeeded, and CPU seconds of those together. */
  readonly seconds: readonly number[];
  readonly cpu: number;
  /** Requests per second, AT_ONCE of them at a time; null: not measured. */
  readonly rate: number | null;
  /** Why too many failed; null: enough succeeded. */
  readonly failed: string | null;
}

interface Subject {
  readonly authUrl: string;
  readonly password: string;
  readonly servers: number;
  /** How many servers a list has, at which it is compared. */
  readonly listed: number;
  readonly processes: RegExp;
  /** How often quick requests, and servers made and moved, are measured; how many servers are made at once. */
  readonly reads: number;
  readonly moves: number;
  readonly batch: number;
  readonly pollMs: number;
  /** For how long CPU is counted behind the answer to what goes on in the background. */
  readonly tailMs: number;
  readonly mayFail: boolean;
  /** It is still there afterwards: what was made is deleted. */
  readonly lasts: boolean;
}
const OURS = { reads: 100, moves: 20, batch: BATCH, pollMs: 20, tailMs: 500, mayFail: false, lasts: false } as const;
// Polls cost it more than they tell.
const PEER = { reads: 10, moves: 5, batch: 1, pollMs: 1000, tailMs: 2000, mayFail: true, lasts: true } as const;

export async function benchClients(): Promise<Figure[]> {
  const { PEER_AUTH_URL, PEER_PASSWORD = 'secret', PEER_SERVERS = '20', BENCH_SERVERS = '1000' } = process.env;
  const listed = Number(PEER_SERVERS);
  const servers = Math.max(Number(BENCH_SERVERS), listed);
  const ours = await withCrosscell((authUrl, directory) =>
    measure({ ...OURS, authUrl, password: PASSWORD, servers, listed, processes: new RegExp(directory) }),
  );
  const processes = new RegExp(process.env['PEER_PROCESSES'] ?? PEER_PROCESSES);
  const peer = PEER_AUTH_URL
    ? await measurePeer({
        ...PEER,
        authUrl: PEER_AUTH_URL,
        password: PEER_PASSWORD,
        servers: listed,
        listed,
        processes,
      })
    : [];
  return ours.flatMap((sample) =>
    figuresOf(
      sample,
      peer.find(({ what }) => what === sample.what),
    ),
  );
}

/** Ours are told even when nothing can be had of the peer. */
async function measurePeer(subject: Subject): Promise<Sample[]> {
  try {
    return await measure(subject);
  } catch (error) {
    process.stderr.write(`the peer cannot be measured: ${messageOf(error)}\n`);
    return [];
  }
}

function figuresOf(ours: Sample, peer: Sample | undefined): Figure[] {
  const cpuOf = ({ cpu, seconds }: Sample): number => (cpu / seconds.length) * 1000;
  const beside = (value: (sample: Sample) => number) =>
    peer && peer.failed === null ? { name: 'OpenStack', value: value(peer) } : null;
  const wall = (sample: Sample): number => median(sample.seconds) * 1000;
  const note = peer?.failed ? { note: `OpenStack failed: ${peer.failed.slice(0, 120)}` } : {};
  const of = { part: 'clients', ...note };
  const figures: Figure[] = [
    { ...of, what: `${ours.what}, median`, ours: wall(ours), unit: 'ms', peer: beside(wall) },
    { ...of, what: `${ours.what}, CPU`, ours: cpuOf(ours), unit: 'ms', peer: beside(cpuOf) },
  ];
  if (ours.rate === null) return figures;
  const rate = peer?.rate ? { name: 'OpenStack', value: peer.rate } : null;
  return [...figures, { ...of, what: `${ours.what}, ${AT_ONCE} at a time`, ours: ours.rate, unit: '/s', peer: rate }];
}

async function measure(subject: Subject): Promise<Sample[]> {
  const { authUrl, password, servers, listed, processes, reads, moves, batch, pollMs, tailMs } = subject;
  const login = () => openCloud(authUrl, 'admin', password, 'admin');
  const cloud = await patiently(subject, login);
  const setting = await patiently(subject, () => prepare(cloud));
  const idleBefore = await idleRate(processes);
  const samples: (Sample & { readonly watched: number })[] = [];
  const sample = async (what: string, times: number, rest: number, work: Work): Promise<void> => {
    const seconds: number[] = [];
    const failures: string[] = [];
    let [cpu, watched] = [0, 0];
    for (let index = 0; index < times; index += 1) {
      const [before, begun] = [await cpuSeconds(processes), performance.now()];
      const failed = await attempt(subject, () => work(index));
      if (failed !== null) {
        failures.push(failed);
        continue;
      }
      seconds.push((performance.now() - begun) / 1000);
      if (rest > 0) await setTimeout(rest);
      watched += (performance.now() - begun) / 1000;
      cpu += (await cpuSeconds(processes)) - before;
    }
    const failed = failures.length * 2 >= times ? (failures[0] ?? null) : null;
    const rate = rest > 0 || failed !== null ? null : await rateOf(subject, work);
    samples.push({ what, seconds, cpu, watched, rate, failed });
    process.stderr.write(`${authUrl}: ${what}, ${seconds.length} of ${times}\n`);
  };
  const read = (what: string, work: Work): Promise<void> => sample(what, reads, 0, work);
  const made: string[] = [];
  try {
    await read('token', login);
    await sample('a server created, to ACTIVE', moves, tailMs, async () =>
      made.push(...(await create(cloud, setting, 1, pollMs))),
    );
    await fill(subject, servers, made, (count) => create(cloud, setting, Math.min(batch, count), pollMs));
    const get = (path: string) => ask(cloud, { service: 'compute', method: 'GET', path });
    await read(`list of servers, ${listed} of them`, () => get(`/servers/detail?limit=${listed}`));
    if (servers >= 1000) await read('list of servers, 1000 of them', () => get('/servers/detail?limit=1000'));
    await read('a server', (index) => get(`/servers/${made[index % made.length]}`));
    await read('list of flavors', () => get('/flavors/detail'));
    await sample('a server resized and confirmed', moves, tailMs, async (index) => {
      const id = made[index] ?? '';
      await act(cloud, id, { resize: { flavorRef: setting.larger } });
      await until(cloud, id, 'VERIFY_RESIZE', pollMs);
      await act(cloud, id, { confirmResize: null });
      await until(cloud, id, 'ACTIVE', pollMs);
    });
  } finally {
    for (const id of subject.lasts ? made : []) {
      await patiently(subject, () => cloud.ask({ service: 'compute', method: 'DELETE', path: `/servers/${id}` }));
    }
  }
  // What was still going on, or something else that asks, would be taken for idleness once.
  const idle = Math.min(idleBefore, await idleRate(processes));
  return samples.map(({ watched, ...of }) => ({ ...of, cpu: Math.max(0, of.cpu - idle * watched) }));
}

type Work = (index: number) => Promise<unknown>;

/** Why it failed; null: it did not. @throws what it threw, where nothing may fail */
async function attempt({ mayFail }: Subject, work: () => Promise<unknown>): Promise<string | null> {
  try {
    await work();
    return null;
  } catch (error) {
    if (!mayFail) throw error;
    return messageOf(error);
  }
}

/** How many succeed per second. */
async function rateOf(subject: Subject, work: Work): Promise<number> {
  const begun = performance.now();
  let [next, succeeded] = [0, 0];
  const worker = async (): Promise<void> => {
    while (next < subject.reads) {
      next += 1;
      if ((await attempt(subject, () => work(next))) === null) succeeded += 1;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return (succeeded / (performance.now() - begun)) * 1000;
}

/** What is not measured is tried again where it may fail. */
async function patiently<T>({ mayFail }: Subject, work: () => Promise<T>): Promise<T> {
  for (let tries = mayFail ? TRIES : 1; ; tries -= 1) {
    try {
      return await work();
    } catch (error) {
      if (tries <= 1) throw error;
      process.stderr.write(`the peer is asked again: ${messageOf(error)}\n`);
      await setTimeout(AGAIN_MS);
    }
  }
}

/** Makes servers until there are so many; one that may fail, for at most twice as many tries. */
async function fill(
  { mayFail }: Subject,
  wanted: number,
  made: string[],
  more: (missing: number) => Promise<string[]>,
): Promise<void> {
  for (let tries = 0; made.length < wanted && tries < 2 * wanted; tries += 1) {
    try {
      made.push(...(await more(wanted - made.length)));
    } catch (error) {
      if (!mayFail) throw error;
      process.stderr.write(`the peer failed to make a server: ${messageOf(error)}\n`);
    }
  }
}
