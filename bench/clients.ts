// What clients wait for: tokens, lists of servers, a server, flavors, servers made, resized and confirmed; with the CPU
// seconds that each costs the control plane. Beside a real OpenStack when PEER_AUTH_URL names its identity service.
//
// The same client asks both, one request after the other, in one run; CPU seconds are those of all processes whose
// command line matches (PEER_PROCESSES, a regular expression), so whatever else the machine does does not count. Half of
// the servers are in each of two cells. The peer gets PEER_SERVERS servers (100 unless given), for it takes a second or
// two of CPU to make one; ours BENCH_SERVERS (1000).
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { type Answer, type Asked, type Cloud, openCloud } from '../test/clients/compare/cloud.ts';
import { type Figure, median } from './table.ts';

const PASSWORD = 'a-password-of-the-benchmark';
const CROSSCELL = new URL('../bin/crosscell', import.meta.url).pathname;
const TOKENS = 20;
const READS = 20;
const BATCH = 50;
const MOVES = 10;
const POLL_MS = 20;
const WAIT_LIMIT_MS = 600_000;
/** Of USER_HZ in /proc/<pid>/stat. */
const TICKS_PER_SECOND = 100;
const PEER_PROCESSES = 'keystone|glance|placement|nova|neutron|cinder|rabbit|beam\\.smp|uwsgi|epmd';

/** One kind of request: seconds of each, and CPU seconds of all of them together. */
interface Sample {
  readonly what: string;
  readonly seconds: readonly number[];
  readonly cpu: number;
}

interface Subject {
  readonly authUrl: string;
  readonly password: string;
  readonly servers: number;
  readonly processes: RegExp;
}

export async function benchClients(): Promise<Figure[]> {
  const { PEER_AUTH_URL, PEER_PASSWORD = 'secret', PEER_SERVERS = '100', BENCH_SERVERS = '1000' } = process.env;
  const ours = await withCrosscell((authUrl, directory) =>
    measure({ authUrl, password: PASSWORD, servers: Number(BENCH_SERVERS), processes: new RegExp(directory) }),
  );
  const peer = PEER_AUTH_URL
    ? await measure({
        ...{ authUrl: PEER_AUTH_URL, password: PEER_PASSWORD, servers: Number(PEER_SERVERS) },
        processes: new RegExp(process.env['PEER_PROCESSES'] ?? PEER_PROCESSES),
      })
    : [];
  return ours.flatMap((sample) =>
    figuresOf(
      sample,
      peer.find(({ what }) => what === sample.what),
    ),
  );
}

function figuresOf(ours: Sample, peer: Sample | undefined): Figure[] {
  const cpuOf = ({ cpu, seconds }: Sample): number => (cpu / seconds.length) * 1000;
  const beside = (value: (sample: Sample) => number) => (peer ? { name: 'OpenStack', value: value(peer) } : null);
  const wall = (sample: Sample): number => median(sample.seconds) * 1000;
  return [
    { part: 'clients', what: `${ours.what}, median`, ours: wall(ours), unit: 'ms', peer: beside(wall) },
    { part: 'clients', what: `${ours.what}, CPU`, ours: cpuOf(ours), unit: 'ms', peer: beside(cpuOf) },
  ];
}

async function measure({ authUrl, password, servers, processes }: Subject): Promise<Sample[]> {
  const login = () => openCloud(authUrl, 'admin', password, 'admin');
  const cloud = await login();
  const samples: Sample[] = [];
  const sample = async (what: string, times: number, work: (index: number) => Promise<unknown>): Promise<void> => {
    const before = await cpuSeconds(processes);
    const seconds: number[] = [];
    for (let index = 0; index < times; index += 1) {
      const begun = performance.now();
      await work(index);
      seconds.push((performance.now() - begun) / 1000);
    }
    samples.push({ what, seconds, cpu: (await cpuSeconds(processes)) - before });
  };
  const setting = await prepare(cloud);
  await sample('token', TOKENS, login);
  const made: string[] = [];
  try {
    await sample('a server created, to ACTIVE', MOVES, async () => made.push(...(await create(cloud, setting, 1))));
    while (made.length < servers) made.push(...(await create(cloud, setting, Math.min(BATCH, servers - made.length))));
    await sample('list of servers, a hundred of them', READS, () =>
      ask(cloud, { service: 'compute', method: 'GET', path: '/servers/detail?limit=100' }),
    );
    if (servers >= 1000) {
      await sample('list of servers, a thousand of them', READS, () =>
        ask(cloud, { service: 'compute', method: 'GET', path: '/servers/detail?limit=1000' }),
      );
    }
    await sample('a server', READS, (index) =>
      ask(cloud, { service: 'compute', method: 'GET', path: `/servers/${made[index % made.length]}` }),
    );
    await sample('list of flavors', READS, () =>
      ask(cloud, { service: 'compute', method: 'GET', path: '/flavors/detail' }),
    );
    await sample('a server resized and confirmed', MOVES, async (index) => {
      const id = made[index] ?? '';
      await act(cloud, id, { resize: { flavorRef: setting.larger } });
      await until(cloud, id, 'VERIFY_RESIZE');
      await act(cloud, id, { confirmResize: null });
      await until(cloud, id, 'ACTIVE');
    });
  } finally {
    for (const id of made) await cloud.ask({ service: 'compute', method: 'DELETE', path: `/servers/${id}` });
  }
  return samples;
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
async function create(cloud: Cloud, { flavor, image, network }: Setting, count: number): Promise<string[]> {
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
    if (servers.some(({ status }) => status === 'ERROR')) throw new Error('a server could not be made');
    if (servers.length === count && servers.every(({ status }) => status === 'ACTIVE'))
      return servers.map(({ id }) => id);
    await setTimeout(POLL_MS);
  }
  throw new Error(`${count} servers are not made within the limit`);
}

const act = (cloud: Cloud, id: string, body: unknown): Promise<Answer> =>
  ask(cloud, { service: 'compute', method: 'POST', path: `/servers/${id}/action`, body });

async function until(cloud: Cloud, id: string, wanted: string): Promise<void> {
  const deadline = Date.now() + WAIT_LIMIT_MS;
  while (Date.now() < deadline) {
    const answer = await ask(cloud, { service: 'compute', method: 'GET', path: `/servers/${id}` });
    const { status } = (answer.json as { server: { status: string } }).server;
    if (status === wanted) return;
    if (status === 'ERROR') throw new Error(`server ${id} is in ERROR`);
    await setTimeout(POLL_MS);
  }
  throw new Error(`server ${id} does not become ${wanted}`);
}

async function ask(cloud: Cloud, asked: Asked): Promise<Answer> {
  const answer = await cloud.ask(asked);
  if (answer.status >= 400)
    throw new Error(`${asked.method} ${asked.path}: ${answer.status} ${answer.text.slice(0, 300)}`);
  return answer;
}

/** Of all processes whose command line matches, those that have ended since not counted. */
async function cpuSeconds(processes: RegExp): Promise<number> {
  let ticks = 0;
  for (const pid of (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name))) {
    try {
      if (pid === String(process.pid) || !processes.test(await readFile(`/proc/${pid}/cmdline`, 'utf8'))) continue;
      const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
      // The name of the process, in parentheses, may hold anything.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      ticks += Number(fields[11]) + Number(fields[12]);
    } catch (error) {
      // It has ended meanwhile.
      if (!(error instanceof Error && 'code' in error && ['ENOENT', 'ESRCH'].includes(String(error.code)))) throw error;
    }
  }
  return ticks / TICKS_PER_SECOND;
}

/** Runs `body` beside a system of two cells of one large simulated host each, with an image in it. */
async function withCrosscell<T>(body: (authUrl: string, directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-bench-'));
  const file = join(directory, 'crosscell.yaml');
  const host = (name: string) => `{ name: ${name}, vcpus: 1024, memory_mb: 1048576, disk_gb: 100000 }`;
  const cells = ['east', 'west'].map((name) => `  - { name: ${name}, hosts: [${host(`${name}-1`)}] }`);
  await writeFile(file, ['hypervisor: simulated', 'cells:', ...cells, ''].join('\n'));
  const args = ['up', '--config', file, '--data', directory, '--listen', '127.0.0.1:0', '--no-image', '--json'];
  const child = spawn(CROSSCELL, [...args, '--admin-password', PASSWORD], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  try {
    const authUrl = `${await endpointOf(child.stdout)}/identity/v3`;
    await uploadImage(await openCloud(authUrl, 'admin', PASSWORD, 'admin'));
    return await body(authUrl, directory);
  } finally {
    child.kill('SIGINT');
    await ended;
    await rm(directory, { recursive: true, force: true });
  }
}

async function endpointOf(output: NodeJS.ReadableStream): Promise<string> {
  for await (const line of createInterface({ input: output })) {
    return (JSON.parse(line) as { endpoint: string }).endpoint;
  }
  throw new Error('crosscell up ended before it answered');
}

async function uploadImage(cloud: Cloud): Promise<void> {
  const body = { name: 'bench', disk_format: 'raw', container_format: 'bare', visibility: 'public' };
  const { json } = await ask(cloud, { service: 'image', method: 'POST', path: '/images', body });
  const path = `/images/${(json as { id: string }).id}/file`;
  const headers = { 'content-type': 'application/octet-stream' };
  await ask(cloud, { service: 'image', method: 'PUT', path, headers, body: 'x'.repeat(1024 * 1024) });
}
