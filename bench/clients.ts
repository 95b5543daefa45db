// What clients wait for: tokens, lists of servers, a server, flavors, servers made, resized and confirmed; with the CPU
// seconds that each costs the control plane. Beside a real OpenStack when PEER_AUTH_URL names its identity service.
//
// The same client asks ours and then the peer, one request after the other, in one run; CPU seconds are those of all
// processes whose command line matches (PEER_PROCESSES, a regular expression), less what they take while nobody asks, so
// whatever else the machine does does not count. Half of the servers are in each of two cells. The peer has PEER_SERVERS
// servers (20 unless given) and is measured fewer times, for it takes seconds of CPU to make one; ours BENCH_SERVERS (1000).
// Lists are compared at the peer's number of servers.
//
// A peer on a small machine fails now and then ("database is locked"). What it fails at is not counted; when it fails at
// half of a measurement that row says so, and the run goes on. Ours may not fail.
import { setTimeout } from 'node:timers/promises';
import { messageOf } from '../src/lib/errors.ts';
import { type Answer, type Asked, type Cloud, openCloud } from '../test/clients/compare/cloud.ts';
import { cpuSeconds, idleRate } from './cpu.ts';
import { ask, PASSWORD, withCrosscell } from './simulated.ts';
import { type Figure, median } from './table.ts';

const BATCH = 50;
const WAIT_LIMIT_MS = 600_000;
const TRIES = 5;
const AGAIN_MS = 5000;
const SERVICES = 'keystone|glance|placement|nova|neutron|cinder|rabbit';
/** Python's services under their own name or uWSGI's, and RabbitMQ; not the clients that name them in an argument. */
const PEER_PROCESSES = `^(\\S*(python3|uwsgi_python3|beam\\.smp)\\b.*|)(${SERVICES})`;

/** One kind of request: seconds of each that succeeded, and CPU seconds of those together. */
interface Sample {
  readonly what: string;
  readonly seconds: readonly number[];
  readonly cpu: number;
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
  readonly mayFail: boolean;
}
const OURS = { reads: 20, moves: 10, batch: BATCH, pollMs: 20, mayFail: false } as const;
// Polls cost it more than they tell.
const PEER = { reads: 10, moves: 5, batch: 1, pollMs: 1000, mayFail: true } as const;

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
  return [
    { part: 'clients', what: `${ours.what}, median`, ours: wall(ours), unit: 'ms', peer: beside(wall), ...note },
    { part: 'clients', what: `${ours.what}, CPU`, ours: cpuOf(ours), unit: 'ms', peer: beside(cpuOf), ...note },
  ];
}

async function measure(subject: Subject): Promise<Sample[]> {
  const { authUrl, password, servers, listed, processes, reads, moves, batch } = subject;
  const login = () => openCloud(authUrl, 'admin', password, 'admin');
  const cloud = await patiently(subject, login);
  const setting = await patiently(subject, () => prepare(cloud));
  const idle = await idleRate(processes);
  const samples: Sample[] = [];
  const sample = async (what: string, times: number, work: (index: number) => Promise<unknown>): Promise<void> => {
    const seconds: number[] = [];
    const failures: string[] = [];
    let cpu = 0;
    for (let index = 0; index < times; index += 1) {
      const [before, begun] = [await cpuSeconds(processes), performance.now()];
      try {
        await work(index);
      } catch (error) {
        if (!subject.mayFail) throw error;
        failures.push(messageOf(error));
        continue;
      }
      const took = (performance.now() - begun) / 1000;
      seconds.push(took);
      cpu += Math.max(0, (await cpuSeconds(processes)) - before - idle * took);
    }
    samples.push({ what, seconds, cpu, failed: failures.length * 2 >= times ? (failures[0] ?? null) : null });
  };
  const made: string[] = [];
  try {
    await sample('token', reads, login);
    await sample('a server created, to ACTIVE', moves, async () =>
      made.push(...(await create(subject, cloud, setting, 1))),
    );
    await fill(subject, servers, made, (count) => create(subject, cloud, setting, Math.min(batch, count)));
    const get = (path: string) => ask(cloud, { service: 'compute', method: 'GET', path });
    await sample(`list of servers, ${listed} of them`, reads, () => get(`/servers/detail?limit=${listed}`));
    if (servers >= 1000) await sample('list of servers, 1000 of them', reads, () => get('/servers/detail?limit=1000'));
    await sample('a server', reads, (index) => get(`/servers/${made[index % made.length]}`));
    await sample('list of flavors', reads, () => get('/flavors/detail'));
    await sample('a server resized and confirmed', moves, async (index) => {
      const id = made[index] ?? '';
      await act(cloud, id, { resize: { flavorRef: setting.larger } });
      await until(subject, cloud, id, 'VERIFY_RESIZE');
      await act(cloud, id, { confirmResize: null });
      await until(subject, cloud, id, 'ACTIVE');
    });
  } finally {
    for (const id of made) {
      await patiently(subject, () => cloud.ask({ service: 'compute', method: 'DELETE', path: `/servers/${id}` }));
    }
  }
  return samples;
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

interface Setting {
  readonly image: string;
  readonly network: string;
  readonly flavor: string;
  readonly larger: string;
}

/** The smallest two flavors, an image, the shared network; quotas that do not stand in the way. */
async function prepare(cloud: Cloud): Promise<Setting> {
  const get = async <T>(service: Asked['service'], path: string): Promise<T> =>
    (await ask(cloud, { service, method: 'GET', path })).json as T;
  const quota = { instances: -1, cores: -1, ram: -1 };
  await ask(cloud, {
    ...{ service: 'compute', method: 'PUT', path: `/os-quota-sets/${cloud.projectId}` },
    body: { quota_set: quota },
  });
  const port = { service: 'network', method: 'PUT', path: `/quotas/${cloud.projectId}` } as const;
  await cloud.ask({ ...port, body: { quota: { port: -1 } } });
  const { flavors } = await get<{ flavors: readonly { id: string }[] }>('compute', '/flavors?sort_key=memory_mb');
  const { images } = await get<{ images: readonly { id: string }[] }>('image', '/images?status=active&limit=1');
  const { networks } = await get<{ networks: readonly { id: string }[] }>('network', '/networks?name=shared');
  const [flavor, larger, image, network] = [flavors[0]?.id, flavors[1]?.id, images[0]?.id, networks[0]?.id];
  if (!flavor || !larger || !image || !network)
    throw new Error('there must be two flavors, an image, a network shared');
  return { flavor, larger, image, network };
}

/** Makes so many servers with one request; resolves with their ids when all are ACTIVE. */
async function create(
  { pollMs }: Subject,
  cloud: Cloud,
  { flavor, image, network }: Setting,
  count: number,
): Promise<string[]> {
  const server = {
    ...{ name: 'bench', flavorRef: flavor, imageRef: image, networks: [{ uuid: network }] },
    ...{ min_count: count, max_count: count, return_reservation_id: true },
  };
  const answer = await ask(cloud, { service: 'compute', method: 'POST', path: '/servers', body: { server } });
  const { reservation_id } = answer.json as { reservation_id: string };
  const path = `/servers/detail?reservation_id=${reservation_id}&limit=${BATCH}`;
  const deadline = Date.now() + WAIT_LIMIT_MS;
  while (Date.now() < deadline) {
    const { servers } = (await ask(cloud, { service: 'compute', method: 'GET', path })).json as {
      servers: readonly { id: string; status: string }[];
    };
    if (servers.some(({ status }) => status === 'ERROR')) {
      for (const { id } of servers) await cloud.ask({ service: 'compute', method: 'DELETE', path: `/servers/${id}` });
      throw new Error('a server could not be made');
    }
    if (servers.length === count && servers.every(({ status }) => status === 'ACTIVE'))
      return servers.map(({ id }) => id);
    await setTimeout(pollMs);
  }
  throw new Error(`${count} servers are not made within the limit`);
}

const act = (cloud: Cloud, id: string, body: unknown): Promise<Answer> =>
  ask(cloud, { service: 'compute', method: 'POST', path: `/servers/${id}/action`, body });

async function until({ pollMs }: Subject, cloud: Cloud, id: string, wanted: string): Promise<void> {
  const deadline = Date.now() + WAIT_LIMIT_MS;
  while (Date.now() < deadline) {
    const answer = await ask(cloud, { service: 'compute', method: 'GET', path: `/servers/${id}` });
    const { status } = (answer.json as { server: { status: string } }).server;
    if (status === wanted) return;
    if (status === 'ERROR') throw new Error(`server ${id} is in ERROR`);
    await setTimeout(pollMs);
  }
  throw new Error(`server ${id} does not become ${wanted}`);
}
