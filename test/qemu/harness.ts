// What the tests with real QEMU share: a directory, an image server, agents as processes, and a look for leaks.
//
// Everything a test makes is under one temporary directory, passable for the unprivileged user that QEMU runs as.
// `cleanUp` fails when a process of that directory is left.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { closeSync, createWriteStream, openSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { connectHost } from '../../src/host/client.ts';
import type { BaseImage, GuestSpec, Host, Job, Reply, VolumeConnection } from '../../src/host/contract.ts';
import type { AgentConfig } from '../../src/host/main.ts';
import { isAlive, listProcesses, type ProcessEntry } from '../../src/host/qemu/proc.ts';
import type { HostAddress } from '../../src/host/wire-client.ts';
import { connectStorage } from '../../src/storage/client.ts';
import type { StorageHost } from '../../src/storage/contract.ts';

export const SECRET = 'secret-of-the-test-fleet';
export const GIB = 1024 ** 3;
/** Configuration that all agents share. */
export const AGENT = {
  listen: { host: '127.0.0.1', port: 0 },
  secret: SECRET,
  accelerator: 'tcg',
  resources: { vcpus: 16, memoryMb: 32768, diskGb: 100 },
} as const;
export const execute = promisify(execFile);

export interface TestAgent {
  readonly host: Host;
  readonly address: HostAddress;
  readonly stateDir: string;
  readonly logFile: string;
  /** SIGKILL, as a crash. */
  kill(): Promise<void>;
  close(): Promise<void>;
}

export interface TestStorage extends Omit<TestAgent, 'host' | 'address'> {
  readonly storage: StorageHost;
}

export class Laboratory {
  readonly directory: string;
  readonly #agents: ChildProcess[] = [];
  #server: Server | null = null;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async open(): Promise<Laboratory> {
    const directory = await mkdtemp(join(tmpdir(), 'crosscell-qemu-'));
    await chmod(directory, 0o711);
    return new Laboratory(directory);
  }

  /** Starts an agent (again, when the name has been used); its state lies in a directory of that name. */
  async agent(name: string, changes: Partial<AgentConfig> = {}): Promise<TestAgent> {
    const { url, ...agent } = await this.#start(name, 'agent-process.ts', { ...AGENT, ...changes });
    const address = { url, secret: SECRET, name };
    return { host: connectHost(address), address, ...agent };
  }

  /** The same for a storage agent. */
  async storage(name: string): Promise<TestStorage> {
    const { listen, secret } = AGENT;
    const { url, ...agent } = await this.#start(name, 'storage-process.ts', { listen, secret });
    return { storage: connectStorage({ url, secret: SECRET, name }), ...agent };
  }

  async #start(name: string, program: string, options: object) {
    const stateDir = join(this.directory, name);
    const logFile = join(this.directory, `${name}.jsonl`);
    const config = { ...options, name, stateDir, logFile };
    const errors = openSync(join(this.directory, `${name}.stderr`), 'a');
    const child = spawn(process.execPath, [join(import.meta.dirname, program), JSON.stringify(config)], {
      stdio: ['pipe', 'pipe', errors],
    });
    closeSync(errors);
    this.#agents.push(child);
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    const url = await firstLine(child, exited);
    return {
      url,
      stateDir,
      logFile,
      kill: async () => {
        child.kill('SIGKILL');
        await exited;
      },
      close: async () => {
        child.stdin?.end();
        await exited;
      },
    };
  }

  /** Serves the file to holders of the secret; `served` may cut it short. */
  async image(path: string, virtualBytes: number, served = (bytes: Buffer) => bytes): Promise<BaseImage> {
    const bytes = await readFile(path);
    const server = createServer((request, response) => {
      if (request.headers.authorization !== `Bearer ${SECRET}`) response.writeHead(401).end();
      else response.end(served(bytes));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    this.#server?.close();
    this.#server = server;
    const address = server.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const url = `http://127.0.0.1:${port}/image`;
    return { id: randomUUID(), format: 'qcow2', sizeBytes: bytes.length, virtualBytes, sha256, url };
  }

  /** An empty image, on which QEMU runs and finds nothing to boot. */
  async emptyImage(): Promise<BaseImage> {
    const path = join(this.directory, 'base.qcow2');
    await execute('qemu-img', ['create', '-q', '-f', 'qcow2', path, String(GIB)]);
    return this.image(path, GIB);
  }

  /** Processes whose command line or working directory lies in this laboratory, agents excluded. */
  async processes(): Promise<ProcessEntry[]> {
    const all = await listProcesses();
    const agents = new Set(this.#agents.map((agent) => agent.pid));
    return all.filter(
      ({ pid, argv }) => !agents.has(pid) && argv.some((argument) => argument.startsWith(`${this.directory}/`)),
    );
  }

  /** Ends everything and deletes the directory; returns what should not have been left. */
  async cleanUp(): Promise<string[]> {
    for (const agent of this.#agents) {
      if (agent.exitCode !== null || agent.signalCode !== null) continue;
      agent.kill('SIGKILL');
      await new Promise((resolve) => agent.once('exit', resolve));
    }
    const left = await this.processes();
    for (const { pid } of left) process.kill(pid, 'SIGKILL');
    await until(async () => left.every((entry) => !isAlive(entry)), 'left processes to end');
    this.#server?.closeAllConnections();
    this.#server?.close();
    await rm(this.directory, { recursive: true, force: true });
    return left.map(({ argv }) => argv.join(' ').slice(0, 200));
  }
}

async function firstLine(child: ChildProcess, exited: Promise<void>): Promise<string> {
  if (!child.stdout) throw new Error('no output');
  const lines = createInterface({ input: child.stdout });
  const first = new Promise<string>((resolve) => lines.once('line', resolve));
  const failed = exited.then(() => Promise.reject(new Error('the agent ended at its start')));
  return Promise.race([first, failed]);
}

export function specOf(image: BaseImage, changes: Partial<GuestSpec> = {}): GuestSpec {
  const port = {
    ...{ id: randomUUID(), mac: '52:54:00:12:34:56', ip: '10.0.0.5', cidr: '10.0.0.0/24', gateway: '10.0.0.1' },
  };
  return {
    name: 'a, "server"',
    vcpus: 1,
    memoryMb: 64,
    root: { kind: 'image', image, bytes: 2 * GIB },
    ports: [port],
    ...changes,
  };
}

/** The value of a reply that must be ok. */
export function value<T>(reply: Reply<T>): T {
  if (reply.kind !== 'ok') throw new Error(`reply ${JSON.stringify(reply)}`);
  return reply.value;
}

/** Repeats a call until its job is done; a failed job throws its reason. */
export async function finish<J extends Job>(call: () => Promise<Reply<J>>, limitMs = 30_000): Promise<J> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const job = value(await call());
    if (job.state === 'done') return job;
    if (job.state === 'failed') throw new Error(job.reason);
    if (Date.now() > deadline) throw new Error(`still pending: ${JSON.stringify(job)}`);
    await delay(20);
  }
}

export async function until(condition: () => Promise<boolean>, what: string, limitMs = 10_000): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await delay(20);
  }
}

/** Runs one command of qemu-io on a volume, as a guest would reach it; false when it fails or nobody lets it in. */
export async function throughNbd(lab: Laboratory, connection: VolumeConnection, command: string): Promise<boolean> {
  if (connection.kind !== 'nbd') throw new Error('storage hosts serve volumes over NBD');
  const { host, port, exportName, user, key, mode } = connection;
  const keys = await mkdtemp(join(lab.directory, 'client-'));
  try {
    await writeFile(join(keys, 'keys.psk'), `${user}:${key}\n`);
    const credentials = `tls-creds-psk,id=key,endpoint=client,dir=${keys},username=${user}`;
    const image = `driver=nbd,server.type=inet,server.host=${host},server.port=${port},export=${exportName},tls-creds=key`;
    // qemu-io tells a pattern that does not match on its output alone.
    const access = mode === 'ro' ? ['-r'] : [];
    const { stdout } = await execute('qemu-io', [
      ...access,
      ...['--object', credentials, '--image-opts', image, '-c', command],
    ]);
    return !stdout.includes('verification failed');
  } catch (error) {
    if (error instanceof Error && 'code' in error && typeof error.code === 'number') return false;
    throw error;
  } finally {
    await rm(keys, { recursive: true });
  }
}

/** Whether somebody with this connection gets in now. */
export const reaches = (lab: Laboratory, connection: VolumeConnection): Promise<boolean> =>
  throughNbd(lab, connection, 'read -q 0 512');

/** Takes one file over HTTP, as the image service does. */
export async function receiveInto(file: string) {
  let seen = '';
  const server = createServer((request, response) => {
    seen = request.headers.authorization ?? '';
    void pipeline(request, createWriteStream(file)).then(() => response.writeHead(204).end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/image`,
    authorization: () => seen,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
