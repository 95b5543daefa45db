// The API over stores in memory, with hosts that are known but never answer, and nobody driving sagas: what a request
// leaves behind is then its own doing, and can be compared row by row.

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { type Kysely, sql } from 'kysely';
import { pino } from 'pino';
import { buildApp } from '../../src/api/http/app.ts';
import type { Route } from '../../src/api/http/route.ts';
import { allRoutes } from '../../src/api/routes.ts';
import { planDeployment } from '../../src/cli/deployment.ts';
import { ensureCell } from '../../src/control/cells.ts';
import { registerHost } from '../../src/control/host-registration.ts';
import { seedIdentity } from '../../src/control/identity/seeds.ts';
import { createIdentity } from '../../src/control/identity.ts';
import { qcow2 } from '../../src/control/images/testing.ts';
import { seedNetworks } from '../../src/control/network/seed.ts';
import type { Platform } from '../../src/control/platform.ts';
import { DEFAULT_POLICIES, type Policies } from '../../src/control/policies.ts';
import { registerStorageHost } from '../../src/control/volumes/storage-hosts.ts';
import type { Host } from '../../src/host/contract.ts';
import { nobody } from '../../src/host/nobody.ts';
import { systemClock } from '../../src/lib/clock.ts';
import type { Principal } from '../../src/model/types.ts';
import type { StorageHost } from '../../src/storage/contract.ts';
import { openStores, type Stores } from '../../src/store/stores.ts';
import { tempestCheck } from '../clients/schemas/check.ts';

export interface FuzzWorld extends AsyncDisposable {
  readonly app: FastifyInstance;
  readonly routes: readonly Route[];
  readonly p: Platform;
  /** By token; a test may add some. */
  readonly people: Record<string, Principal>;
  /** Rows of all tables and names of all files, as text. */
  snapshot(): Promise<string>;
  /** Messages that were logged as errors. */
  readonly errors: string[];
}

const PASSWORD = 'a-long-password';

export async function fuzzWorld(policies: Policies = DEFAULT_POLICIES): Promise<FuzzWorld> {
  const directory = mkdtempSync(join(tmpdir(), 'crosscell-fuzz-'));
  // Nobody asks the hosts: they count as up for as long as the test may take.
  const unasked = { host_down_seconds: 3600 };
  const deployment = planDeployment(unasked, { data: directory, hypervisor: 'simulated', adminPassword: PASSWORD });
  const stores = await openStores(':memory:');
  const errors: string[] = [];
  const log = pino({ level: 'error' }, { write: (line: string) => void errors.push(line) });
  const p: Platform = {
    clock: systemClock,
    log,
    stores,
    settings: {
      ...{ ...deployment.settings, publicUrl: 'http://localhost', hostFacingUrl: 'http://localhost' },
      // Nobody asks them: they count as up for as long as the test takes.
      hostDownSeconds: 86_400,
    },
    host: async () => SILENT,
    storage: async () => SILENT_STORAGE,
    policies,
    nudge: () => undefined,
  };
  const identity = createIdentity({
    ...{ db: stores.global, key: Buffer.alloc(32, 1), clock: systemClock, tokenLifetimeSeconds: 3600 },
  });
  await seedIdentity(identity.directory, {
    projects: [
      { name: 'p1', id: 'p1' },
      { name: 'p2', id: 'p2' },
    ],
    users: [{ name: 'admin', id: 'u0', password: PASSWORD, roles: { p1: ['admin'] } }],
    tokenLifetimeSeconds: 3600,
  });
  const people: Record<string, Principal> = {
    admin: { userId: 'u0', projectId: 'p1', roles: ['admin'] },
    member: { userId: 'u1', projectId: 'p1', roles: ['member'] },
    stranger: { userId: 'u2', projectId: 'p2', roles: ['member'] },
    reader: { userId: 'u3', projectId: 'p1', roles: ['reader'] },
    unscoped: { userId: 'u1', projectId: null, roles: [] },
  };
  const routes = allRoutes({ identity, fleetSecret: 'fleet' });
  const tokens = {
    principalOf: async (token: string) =>
      Object.hasOwn(people, token) ? (people[token] ?? null) : identity.principalOf(token),
  };
  const app = await buildApp({ platform: p, tokens, routes, checkAnswers: true, ...(await tempestCheck()) });
  await furnish(p, app);
  const rows = cachedRows(stores);
  return {
    app,
    routes,
    p,
    people,
    errors,
    snapshot: async () => `${await rows()}\n${readdirSync(directory, { recursive: true }).toSorted().join('\n')}`,
    async [Symbol.asyncDispose]() {
      await app.close();
      await stores.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Two cells with a host each, flavors, an image, the shared network, servers, a key pair, an aggregate. */
async function furnish(p: Platform, app: FastifyInstance): Promise<void> {
  for (const cell of ['cell1', 'cell2']) {
    const cellId = await ensureCell(p, cell);
    const description = {
      agentId: 'agent',
      hypervisorType: 'simulated',
      hypervisorVersion: 1,
      architecture: 'x86_64',
      vcpus: 64,
      memoryMb: 65_536,
      diskGb: 1000,
      accelerator: 'tcg',
      guests: [],
    };
    await registerHost(p, {
      name: `${cell}-host1`,
      cellId,
      url: `simulated://${cell}-host1`,
      description: description as never,
    });
  }
  const volumes = { name: 'storage1', driver: 'simulated', totalBytes: 2 ** 50, freeBytes: 2 ** 50 };
  await registerStorageHost(p, { name: 'storage1', url: 'simulated://storage1', description: volumes });
  const cidrs = { networkCidr: '10.42.0.0/24', externalCidr: '172.24.4.0/24' };
  await seedNetworks(p.stores.global, cidrs, p.clock.now());
  const post = async (url: string, payload: object): Promise<{ json: ReturnType<typeof JSON.parse>; text: string }> => {
    const response = await app.inject({ method: 'POST', url, headers: { 'x-auth-token': 'admin' }, payload });
    if (response.statusCode >= 400) throw new Error(`${url}: ${response.body}`);
    return { json: response.json(), text: response.body };
  };
  for (const id of ['1', '2']) {
    await post('/compute/v2.1/flavors', {
      flavor: { name: `flavor${id}`, id, ram: 128 * Number(id), vcpus: 1, disk: 1 },
    });
  }
  const image = (
    await post('/image/v2/images', {
      name: 'img',
      disk_format: 'qcow2',
      container_format: 'bare',
      visibility: 'public',
    })
  ).json.id as string;
  const uploaded = await app.inject({
    method: 'PUT',
    url: `/image/v2/images/${image}/file`,
    headers: { 'x-auth-token': 'admin', 'content-type': 'application/octet-stream' },
    payload: qcow2(),
  });
  if (uploaded.statusCode !== 204) throw new Error(uploaded.body);
  for (const name of ['a', 'b']) {
    await post('/compute/v2.1/servers', {
      server: { name, imageRef: image, flavorRef: '1', metadata: { key: 'value' } },
    });
  }
  await post('/compute/v2.1/os-keypairs', { keypair: { name: 'kp' } });
  await post('/volume/v3/volumes', { volume: { size: 1, name: 'v' } });
  await post('/volume/v3/types', { volume_type: { name: 'type' } });
  await post('/compute/v2.1/os-aggregates', { aggregate: { name: 'agg' } });
}

const SILENT = nobody<Host>('nobody is there');
const SILENT_STORAGE = nobody<StorageHost>('nobody is there');

/** All rows, read again only when a statement has written something since. */
function cachedRows(stores: Stores): () => Promise<string> {
  let seen = '';
  let rows = '';
  return async () => {
    const databases = await databasesOf(stores);
    const writes = await Promise.all(
      databases.map(async (db) => (await sql<{ n: number }>`select total_changes() as n`.execute(db)).rows[0]?.n),
    );
    if (writes.join() !== seen) {
      seen = writes.join();
      rows = await rowsOf(databases);
    }
    return rows;
  };
}

type Database = Kysely<Record<string, never>>;

async function databasesOf(stores: Stores): Promise<Database[]> {
  const cells = await stores.global.selectFrom('cells').select('id').orderBy('id').execute();
  const all = [stores.global, ...(await Promise.all(cells.map((cell) => stores.cell(cell.id))))];
  return all as unknown as Database[];
}

async function rowsOf(databases: readonly Database[]): Promise<string> {
  const all: unknown[] = [];
  for (const db of databases) {
    const tables = await sql<{
      name: string;
    }>`select name from sqlite_master where type = 'table' order by name`.execute(db);
    for (const { name } of tables.rows) all.push(name, (await sql`select * from ${sql.table(name)}`.execute(db)).rows);
  }
  return JSON.stringify(all);
}
