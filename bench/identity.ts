// Tokens per second over HTTP: issued for a password that was right before, and validated; and what a request costs.
//
// One process of `crosscell up` with simulated hosts, CONNECTIONS kept open from this one; on a machine with few cores
// both share them, so the CPU seconds of the server, read from /proc, say more than the rate.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Figure } from './table.ts';

const CONNECTIONS = 8;
const REQUESTS = 6000;
const WARM_UP = 500;
const PASSWORD = 'a-password-of-the-benchmark';
const CROSSCELL = new URL('../bin/crosscell', import.meta.url).pathname;
/** 0.5 s a token: see docs/benchmarks.md. */
const KEYSTONE = { name: 'Keystone on SQLite', value: 2 };
/** Of USER_HZ in /proc/<pid>/stat. */
const TICKS_PER_SECOND = 100;

export async function benchIdentity(): Promise<Figure[]> {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-bench-'));
  const args = ['up', '--data', directory, '--listen', '127.0.0.1:0', '--hypervisor', 'simulated', '--no-image'];
  const child = spawn(CROSSCELL, [...args, '--admin-password', PASSWORD, '--json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  try {
    const [line] = await firstLine(createInterface({ input: child.stdout }));
    const { endpoint } = JSON.parse(line) as { endpoint: string };
    return await measure(endpoint, child.pid ?? 0);
  } finally {
    child.kill('SIGINT');
    await ended;
    await rm(directory, { recursive: true, force: true });
  }
}

async function firstLine(lines: AsyncIterable<string>): Promise<[string]> {
  for await (const line of lines) return [line];
  throw new Error('crosscell up ended before it answered');
}

async function measure(endpoint: string, pid: number): Promise<Figure[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const user = { name: 'admin', domain: { id: 'default' }, password: PASSWORD };
  const scope = { project: { name: 'admin', domain: { id: 'default' } } };
  const body = JSON.stringify({ auth: { identity: { methods: ['password'], password: { user } }, scope } });
  const issue = () => send(agent, `${endpoint}/identity/v3/auth/tokens`, 201, body, {});
  const token = await issue();
  const headers = { 'x-auth-token': token, 'x-subject-token': token };
  const validate = () => send(agent, `${endpoint}/identity/v3/auth/tokens`, 200, null, headers);
  const figures: Figure[] = [];
  for (const [what, one, peer] of [
    ['tokens issued for a password', issue, KEYSTONE],
    ['tokens validated', validate, null],
  ] as const) {
    await many(one, WARM_UP);
    const [before, begun] = [await cpuSeconds(pid), performance.now()];
    await many(one, REQUESTS);
    const seconds = (performance.now() - begun) / 1000;
    const cpu = (await cpuSeconds(pid)) - before;
    const note = `${((cpu / REQUESTS) * 1e6).toFixed(0)} µs of CPU each, ${CONNECTIONS} connections`;
    figures.push({ part: 'identity', what, ours: REQUESTS / seconds, unit: '1/s', peer, note });
  }
  agent.destroy();
  return figures;
}

async function many(one: () => Promise<unknown>, count: number): Promise<void> {
  let left = count;
  const worker = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      await one();
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, worker));
}

/** Resolves with the subject token of the answer. */
function send(
  agent: Agent,
  url: string,
  expected: number,
  body: string | null,
  headers: Readonly<Record<string, string>>,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      {
        agent,
        method: body === null ? 'GET' : 'POST',
        headers: { ...headers, ...(body === null ? {} : { 'content-type': 'application/json' }) },
      },
      (answer) => {
        answer.resume();
        answer.once('end', () => {
          if (answer.statusCode === expected) resolve(String(answer.headers['x-subject-token']));
          else reject(new Error(`the API answers ${answer.statusCode}`));
        });
      },
    );
    sent.once('error', reject);
    sent.end(body ?? undefined);
  });
}

async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  // The name of the process, in parentheses, may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
