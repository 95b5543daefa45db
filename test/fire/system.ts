// The whole system as processes of its own, for the campaign to kill: `crosscell up` on real QEMU with two cells of one
// host each, so that every move crosses cells; and the watcher beside it.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ApiClient, ApiFailure } from '../../src/cli/client.ts';
import { look, type Sight, type WatchLine } from './watcher.ts';

const CROSSCELL = fileURLToPath(new URL('../../bin/crosscell', import.meta.url));
const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 90_000;

export const HOSTS = ['cell1-host1', 'cell2-host1'] as const;

export class System {
  readonly directory: string;
  #api: ApiClient;
  #up: ChildProcess | null = null;
  readonly #watcher: ChildProcess;
  readonly #watched: Promise<string>;

  private constructor(directory: string, url: string, watcher: ChildProcess) {
    this.directory = directory;
    this.#api = new ApiClient({ url, user: 'admin', password: '', project: 'admin' });
    this.#watcher = watcher;
    this.#watched = textOf(watcher);
  }

  static async open(): Promise<System> {
    const directory = await mkdtemp(join(tmpdir(), 'crosscell-fire-'));
    // The guests' unprivileged user has to pass.
    await chmod(directory, 0o711);
    const port = await freePort();
    const config = {
      listen: `127.0.0.1:${port}`,
      hypervisor: 'qemu',
      cells: [1, 2].map((n) => ({
        name: `cell${n}`,
        hosts: [{ name: `cell${n}-host1`, vcpus: 8, memory_mb: 4096, disk_gb: 40 }],
      })),
      inventory: { reserved_host_memory_mb: 0 },
      shutdown_timeout_seconds: 10,
      heartbeat_seconds: 1,
      host_down_seconds: 10,
      conductor: { lease_seconds: 5 },
    };
    await writeFile(join(directory, 'crosscell.yaml'), JSON.stringify(config));
    const watcher = spawn(process.execPath, [join(import.meta.dirname, 'watcher.ts'), directory], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const system = new System(directory, `http://127.0.0.1:${port}`, watcher);
    await system.start();
    return system;
  }

  /** `crosscell up`, again after it was killed; resolves when it serves. */
  async start(): Promise<void> {
    const errors = openSync(join(this.directory, 'up.err'), 'a', 0o600);
    const flags = ['--data', this.directory, '--config', join(this.directory, 'crosscell.yaml'), '--json'];
    const child = spawn(CROSSCELL, ['up', ...flags, '--allow-faults'], {
      detached: true,
      stdio: ['ignore', 'pipe', errors],
    });
    closeSync(errors);
    this.#up = child;
    const line = await Promise.race([firstLine(child), delay(START_LIMIT_MS, null, { ref: false })]);
    if (line === null) throw new Error(`crosscell up does not serve: ${this.#words()}`);
    const { endpoint } = JSON.parse(line) as { endpoint: string };
    const password = readFileSync(join(this.directory, 'secrets', 'admin-password'), 'utf8').trim();
    this.#api = new ApiClient({ url: endpoint, user: 'admin', password, project: 'admin' });
    await this.#api.login();
  }

  get isUp(): boolean {
    return this.#up !== null && this.#up.exitCode === null && this.#up.signalCode === null;
  }

  async killConductor(): Promise<void> {
    const child = this.#up;
    if (child === null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  /** A call of the API; repeated while a control plane that was killed comes back. */
  async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const giveUp = performance.now() + START_LIMIT_MS;
    for (;;) {
      try {
        return await this.#api.call<T>(method, path, body);
      } catch (error) {
        // An answer, whatever it says, is an answer; only a reading call whose connection broke is made again.
        if (error instanceof ApiFailure || method !== 'GET' || performance.now() > giveUp) throw error;
        await delay(50);
      }
    }
  }

  upload(imageId: string, file: string): Promise<void> {
    return this.#api.upload(imageId, file);
  }

  look(): Sight {
    return look(this.directory);
  }

  /** Stops everything in order and tells what was seen, and what was left running. */
  async close({
    keep,
  }: {
    readonly keep: boolean;
  }): Promise<{ readonly watched: WatchLine; readonly left: readonly string[] }> {
    const child = this.#up;
    if (child !== null && this.isUp) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGINT');
      await Promise.race([ended, delay(STOP_LIMIT_MS, null, { ref: false })]);
    }
    this.#watcher.stdin?.end();
    const watched = JSON.parse(await this.#watched) as WatchLine;
    const left = processesBelow(this.directory);
    for (const { pid } of left) process.kill(pid, 'SIGKILL');
    if (keep) process.stderr.write(`kept: ${this.directory}\n`);
    else await rm(this.directory, { recursive: true, force: true, maxRetries: 5 });
    return { watched, left: left.map(({ words }) => words) };
  }

  #words(): string {
    return readFileSync(join(this.directory, 'up.err'), 'utf8').trim().split('\n').slice(-5).join(' / ');
  }
}

/** Processes that have a file below the directory on their command line. */
export function processesBelow(directory: string): { readonly pid: number; readonly words: string }[] {
  return look(directory).all.filter(({ pid, words }) => pid !== process.pid && words.includes(`${directory}/`));
}

async function firstLine(child: ChildProcess): Promise<string | null> {
  if (!child.stdout) return null;
  for await (const line of createInterface({ input: child.stdout })) return line;
  return null;
}

async function textOf(child: ChildProcess): Promise<string> {
  let text = '';
  if (child.stdout) for await (const chunk of child.stdout) text += String(chunk);
  return text;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}
