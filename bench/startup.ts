// How long `crosscell up` takes with simulated hosts until it answers, and what memory it holds then.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Figure, median } from './table.ts';

const RUNS = 5;
const CROSSCELL = new URL('../bin/crosscell', import.meta.url).pathname;

export async function benchStartup(): Promise<Figure[]> {
  const first: number[] = [];
  const again: number[] = [];
  const memory: number[] = [];
  const bare: number[] = [];
  for (let run = 0; run < RUNS; run += 1) {
    const directory = await mkdtemp(join(tmpdir(), 'crosscell-bench-'));
    try {
      first.push((await start(directory)).seconds);
      const second = await start(directory);
      again.push(second.seconds);
      memory.push(second.mib);
      bare.push(await bareNode());
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }
  const peer = { name: 'node -e 0', value: median(bare) };
  const figure = (what: string, ours: number, unit: string, beside: Figure['peer'], note: string): Figure => ({
    ...{ part: 'startup', what, ours, unit, peer: beside, note },
  });
  return [
    figure('crosscell up, new data, until it answers', median(first), 's', peer, 'aim: 1 s'),
    figure('crosscell up, data there, until it answers', median(again), 's', peer, 'aim: 1 s'),
    figure('resident memory then', median(memory), 'MiB', null, 'aim: 150 MiB'),
  ];
}

async function start(directory: string): Promise<{ seconds: number; mib: number }> {
  const begun = performance.now();
  const args = [
    'up',
    '--data',
    directory,
    '--listen',
    '127.0.0.1:0',
    '--hypervisor',
    'simulated',
    '--no-image',
    '--json',
  ];
  const child = spawn(CROSSCELL, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      const { endpoint } = JSON.parse(line) as { endpoint: string };
      const response = await fetch(`${endpoint}/identity/v3`);
      if (response.status !== 200) throw new Error(`the API answers ${response.status}`);
      const seconds = (performance.now() - begun) / 1000;
      const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
      return { seconds, mib: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024 };
    }
    throw new Error('crosscell up ended before it answered');
  } finally {
    child.kill('SIGINT');
    await ended;
  }
}

async function bareNode(): Promise<number> {
  const begun = performance.now();
  const child = spawn(process.execPath, ['-e', '0']);
  await new Promise((resolve) => child.once('exit', resolve));
  return (performance.now() - begun) / 1000;
}
