// How fast a disk goes from one agent to another, against `cp --sparse` of the same file and against a plain TCP
// connection over the loopback device, in the same run. 1 GiB of data in an overlay of 2 GiB.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, type connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import pino from 'pino';
import { connectHost } from '../src/host/client.ts';
import type { GuestSpec, Host, Job, Reply } from '../src/host/contract.ts';
import { runAgent } from '../src/host/main.ts';
import { type Figure, median } from './table.ts';

const execute = promisify(execFile);
const GIB = 2 ** 30;
const RUNS = 3;
const SECRET = 'the secret of the bench';
const CAT =
  'require("net").connect(Number(process.argv[1]), "127.0.0.1").pipe(require("fs").createWriteStream(process.argv[2]))';

export async function benchCopy(): Promise<Figure[]> {
  try {
    await execute('qemu-img', ['--version']);
  } catch {
    console.error('bench: copy is left out: qemu-img is not here');
    return [];
  }
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-bench-'));
  await chmod(directory, 0o711);
  try {
    return await measure(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function measure(directory: string): Promise<Figure[]> {
  const log = pino({ level: 'silent' });
  const open = async (name: string) => {
    const stateDir = join(directory, name);
    const agent = await runAgent({
      name,
      stateDir,
      listen: { host: '127.0.0.1', port: 0 },
      secret: SECRET,
      accelerator: 'tcg',
      log,
    });
    return { ...agent, stateDir, host: connectHost({ url: agent.url, secret: SECRET }) };
  };
  const [source, target] = [await open('source'), await open('target')];
  const images = await serveBase(directory);
  try {
    const serverId = randomUUID();
    const spec: GuestSpec = {
      name: serverId,
      vcpus: 1,
      memoryMb: 128,
      root: { kind: 'image', image: images.image, bytes: 2 * GIB },
      ports: [],
    };
    await finished(() => source.host.define(serverId, { generation: 1, spec, disk: 'fresh' }));
    const disk = join(source.stateDir, 'guests', serverId, 'disk.qcow2');
    // 1 GiB that neither repeats nor compresses away, with a hole behind every piece.
    for (let piece = 0; piece < 16; piece += 1) {
      await execute('qemu-io', ['-f', 'qcow2', '-c', `write -P ${piece + 1} ${piece * 128}M 64M`, disk]);
    }
    const mib = (await stat(disk)).blocks / 2048;
    const rates = { ours: [] as number[], cp: [] as number[], tcp: [] as number[] };
    let generation = 1;
    for (let run = 0; run < RUNS; run += 1) {
      const copy = join(directory, 'copy');
      rates.cp.push(mib / (await seconds(() => execute('cp', ['--sparse=always', disk, copy]))));
      await rm(copy);
      rates.tcp.push(mib / (await seconds(() => overTcp(disk, copy))));
      await rm(copy);
      generation += 1;
      rates.ours.push(mib / (await transfer(source.host, target.host, serverId, spec, generation)));
    }
    const ours = median(rates.ours);
    const figure = (name: string, value: number): Figure => ({
      ...{
        part: 'copy',
        what: `disk copy, agent to agent over NBD (${Math.round(mib)} MiB)`,
        ours,
        unit: 'MiB/s',
        peer: { name, value },
      },
    });
    return [figure('cp --sparse=always', median(rates.cp)), figure('plain loopback TCP', median(rates.tcp))];
  } finally {
    images.close();
    await source.close();
    await target.close();
  }
}

/** Export, import and the target's clean-up; the time of the import alone. */
async function transfer(
  source: Host,
  target: Host,
  serverId: string,
  spec: GuestSpec,
  generation: number,
): Promise<number> {
  const exported = await source.openExport(serverId, { generation });
  if (exported.kind !== 'ok') throw new Error(JSON.stringify(exported));
  await finished(() => target.define(serverId, { generation, spec, disk: 'incoming' }));
  const took = await seconds(() => finished(() => target.importDisk(serverId, { generation, source: exported.value })));
  await source.closeExport(serverId, { generation });
  await finished(() => target.destroy(serverId, { generation }));
  return took;
}

async function finished(call: () => Promise<Reply<Job>>): Promise<void> {
  for (;;) {
    const reply = await call();
    if (reply.kind !== 'ok' || reply.value.state === 'failed') throw new Error(JSON.stringify(reply));
    if (reply.value.state === 'done') return;
    await delay(20);
  }
}

/** One process reads the file into a socket, another writes what arrives into a file. */
async function overTcp(from: string, to: string): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const receiver: ChildProcess = spawn(process.execPath, ['-e', CAT, String(port), to]);
  const received = new Promise((resolve) => receiver.once('exit', resolve));
  const socket = await new Promise<ReturnType<typeof connect>>((resolve) => server.once('connection', resolve));
  await pipeline(createReadStream(from, { highWaterMark: 2 ** 20 }), socket);
  await received;
  server.close();
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

/** An empty base image, served as the control plane would. */
async function serveBase(directory: string) {
  const file = join(directory, 'base.qcow2');
  await execute('qemu-img', ['create', '-q', '-f', 'qcow2', file, '64M']);
  const bytes = await readFile(file);
  const server = createHttpServer((_request, response) => {
    response.writeHead(200, { 'content-length': bytes.length, 'content-type': 'application/octet-stream' });
    response.end(bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    close: () => server.close(),
    image: {
      ...{ id: randomUUID(), format: 'qcow2' as const, sizeBytes: bytes.length, virtualBytes: 64 * 2 ** 20 },
      sha256: createHash('sha256').update(bytes).digest('hex'),
      url: `http://127.0.0.1:${port}/base`,
    },
  };
}
