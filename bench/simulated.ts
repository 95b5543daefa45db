// A system to measure through its API: `crosscell up` with simulated hosts.
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Answer, type Asked, type Cloud, openCloud } from '../test/clients/compare/cloud.ts';

export const PASSWORD = 'a-password-of-the-benchmark';
const CROSSCELL = new URL('../bin/crosscell', import.meta.url).pathname;

/** @throws Error on an answer that is an error */
export async function ask(cloud: Cloud, asked: Asked): Promise<Answer> {
  const answer = await cloud.ask(asked);
  if (answer.status >= 400)
    throw new Error(`${asked.method} ${asked.path}: ${answer.status} ${answer.text.slice(0, 300)}`);
  return answer;
}

/** One large host. */
export const hostNamed = (name: string): string =>
  `{ name: ${name}, vcpus: 1024, memory_mb: 1048576, disk_gb: 100000 }`;
const TWO_CELLS = `
cells:
  - { name: east, hosts: [${hostNamed('east-1')}] }
  - { name: west, hosts: [${hostNamed('west-1')}] }
`;

/**
 * Runs `body` beside a system with an image in it.
 * @param config what of its configuration says cells; two of one large host each unless given
 */
export async function withCrosscell<T>(
  body: (authUrl: string, directory: string) => Promise<T>,
  config = TWO_CELLS,
): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-bench-'));
  const file = join(directory, 'crosscell.yaml');
  await writeFile(file, `hypervisor: simulated\n${config}`);
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
