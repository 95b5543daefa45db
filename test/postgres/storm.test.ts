// Three conductors, an API and simulated hosts, as processes of their own on PostgreSQL. Hundreds of moves go on while one
// conductor is killed, one is stopped past its lease and continued, and PostgreSQL is killed and started again: every
// move ends, every step is recorded as done once, and every invariant holds.

import assert from 'node:assert/strict';
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { audit } from '../../src/audit/audit.ts';
import { parseConfig } from '../../src/cli/config.ts';
import { planDeployment } from '../../src/cli/deployment.ts';
import { DEFAULT_POLICIES } from '../../src/control/policies.ts';
import { connectHost } from '../../src/host/client.ts';
import { systemClock } from '../../src/lib/clock.ts';
import type { Entry } from '../../src/saga/types.ts';
import { openStores, type Stores } from '../../src/store/stores.ts';
import { startPostgres, type TestPostgres } from '../../src/store/test-postgres.ts';

const SERVERS = 80;
const LEASE_S = 5;
const LIMIT_MS = 80_000;
const PASSWORD = 'storm-password';
const SECRET = 'a fleet secret for the storm';
const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const HOSTS = ['east-1', 'east-2', 'west-1', 'west-2'];

const server = await startPostgres(true);
if (server.kind === 'unavailable') test('several conductors', { skip: server.reason }, () => undefined);
else {
  const children: ChildProcess[] = [];
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-storm-'));
  after(async () => {
    for (const child of children) child.kill('SIGKILL');
    await server.stop();
    await rm(directory, { recursive: true, force: true });
  });
  test('hundreds of moves outlive conductors and the database', { timeout: 180_000 }, (t) =>
    storm(t, server, directory, children),
  );
}

async function storm(t: TestContext, server: TestPostgres, directory: string, children: ChildProcess[]): Promise<void> {
  const at = await server.stores(['east', 'west']);
  assert(at.kind === 'postgres');
  const urls = await startHosts(directory, children);
  const config = join(directory, 'storm.yaml');
  await mkdir(join(directory, 'data', 'secrets'), { recursive: true });
  await writeFile(join(directory, 'data', 'secrets', 'fleet'), SECRET, { mode: 0o600 });
  await writeFile(join(directory, 'data', 'secrets', 'admin-password'), PASSWORD, { mode: 0o600 });
  const text = configuration(join(directory, 'data'), at.global, urls);
  await writeFile(config, text);

  const start = (role: 'api' | 'conductor') => startPart(role, config, children);
  const api = await start('api');
  const [first, second, third] = [await start('conductor'), await start('conductor'), await start('conductor')];
  assert(api.endpoint && first && second && third);
  const cloud = await logIn(api.endpoint);

  // Each server: created, resized, confirmed or reverted: three moves.
  const stores = await openStores(at);
  try {
    const servers = await createServers(cloud);
    await ended(stores, SERVERS, 'creates');
    await Promise.all(servers.map((id) => cloud.action(id, { resize: { flavorRef: '2' } })));

    await until('some resizes have ended', async () => (await count(stores, 'done')) > SERVERS + 5);
    await until('the first holds sagas', async () => (await heldBy(stores, first.pid)).length > 1);
    first.child.kill('SIGKILL');
    const killedAt = performance.now();
    await until('the second holds sagas', async () => (await heldBy(stores, second.pid)).length > 1);
    second.child.kill('SIGSTOP');
    const held = [...(await heldBy(stores, first.pid)), ...(await heldBy(stores, second.pid))];
    assert.ok(held.length > 0, 'nobody held anything: this test would show nothing');
    // The third is in the middle of others.
    await server.kill();
    await systemClock.sleep(500);
    await server.restart();
    await until('what the dead and the stopped had is taken over', async () => !(await anyHeldBy(stores, held)));
    // The lease, the outage of the database and a loaded machine are in this time: it is told, not judged.
    t.diagnostic(`takeover after ${Math.round(performance.now() - killedAt)} ms, the lease being ${LEASE_S * 1000} ms`);
    // Past its lease: now it wakes with whatever it was at.
    await systemClock.sleep(Math.max(0, LEASE_S * 1000 + 500 - (performance.now() - killedAt)));
    second.child.kill('SIGCONT');

    await ended(stores, 2 * SERVERS, 'resizes');

    await Promise.all(
      servers.map((id, n) => cloud.action(id, n % 4 === 0 ? { revertResize: null } : { confirmResize: null })),
    );
    await ended(stores, 3 * SERVERS, 'confirmations and reverts');
    assert.equal(second.child.exitCode, null, 'the conductor that was stopped has ended');
    assert.equal(third.child.exitCode, null, 'a conductor has ended');

    await assertStepsOnce(stores);
    const statuses = await cloud.statuses();
    assert.deepEqual([...new Set(statuses)], ['ACTIVE']);
    assert.equal(statuses.length, SERVERS);
    await assertSound(text, stores, urls);
  } finally {
    await stores.close();
  }
}

async function startHosts(directory: string, children: ChildProcess[]): Promise<Record<string, string>> {
  const argument = JSON.stringify({ directory: join(directory, 'hosts'), names: HOSTS, secret: SECRET });
  const child = fork(fileURLToPath(new URL('./simulated-hosts.ts', import.meta.url)), [argument]);
  children.push(child);
  const [message] = (await once(child, 'message')) as [{ urls: Record<string, string> }];
  return message.urls;
}

const configuration = (data: string, database: string, urls: Record<string, string>): string => `
database: { url: "${database}" }
data: ${data}
listen: 127.0.0.1:0
log_level: warn
heartbeat_seconds: 2
conductor: { lanes: 8, lease_seconds: ${LEASE_S} }
inventory: { reserved_host_memory_mb: 0 }
quota: { instances: -1, cores: -1, ram: -1 }
cells:
${['east', 'west']
  .map((cell) => {
    const hosts = HOSTS.filter((name) => name.startsWith(cell)).map(
      (name) => `{ name: ${name}, url: "${urls[name]}" }`,
    );
    return `  - { name: ${cell}, hosts: [${hosts.join(', ')}] }`;
  })
  .join('\n')}
`;

interface Part {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly endpoint?: string;
}

async function startPart(role: 'api' | 'conductor', config: string, children: ChildProcess[]): Promise<Part> {
  const args = ['--disable-warning=ExperimentalWarning', MAIN, role, '--config', config, '--json'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  assert(child.stdout);
  const gone = once(child, 'exit').then(() => assert.fail(`crosscell ${role} ended at its start`));
  const [line] = (await Promise.race([once(createInterface({ input: child.stdout }), 'line'), gone])) as [string];
  gone.catch(() => undefined);
  return { child, ...(JSON.parse(line) as { pid: number; endpoint?: string }) };
}

interface Cloud {
  call(method: string, path: string, body?: unknown): Promise<Record<string, unknown>>;
  action(serverId: string, body: unknown): Promise<void>;
  statuses(): Promise<string[]>;
}

async function logIn(endpoint: string): Promise<Cloud> {
  const scope = { project: { name: 'admin', domain: { id: 'default' } } };
  const user = { name: 'admin', domain: { id: 'default' }, password: PASSWORD };
  const answer = await fetch(`${endpoint}/identity/v3/auth/tokens`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ auth: { identity: { methods: ['password'], password: { user } }, scope } }),
  });
  const token = answer.headers.get('x-subject-token');
  assert(token, `no token: ${answer.status} ${await answer.text()}`);
  const call = async (method: string, path: string, body?: unknown, type = 'application/json') => {
    const response = await fetch(`${endpoint}${path}`, {
      method,
      headers: { 'x-auth-token': token, ...(body === undefined ? {} : { 'content-type': type }) },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const said = await response.text();
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${said}`);
    return (said.startsWith('{') ? JSON.parse(said) : {}) as Record<string, unknown>;
  };
  const image = (await call('POST', '/image/v2/images', {
    ...{ name: 'i', disk_format: 'raw', container_format: 'bare', visibility: 'public' },
  })) as { id: string };
  await call('PUT', `/image/v2/images/${image.id}/file`, 'x'.repeat(512), 'application/octet-stream');
  IMAGE.id = image.id;
  return {
    call,
    action: async (id, body) => void (await call('POST', `/compute/v2.1/servers/${id}/action`, body)),
    statuses: async () => {
      const { servers } = (await call('GET', '/compute/v2.1/servers/detail')) as { servers: { status: string }[] };
      return servers.map((each) => each.status);
    },
  };
}

const IMAGE = { id: '' };

async function createServers(cloud: Cloud): Promise<string[]> {
  const created = await Promise.all(
    Array.from({ length: SERVERS }, (_, n) =>
      cloud.call('POST', '/compute/v2.1/servers', {
        server: { name: `s${n}`, imageRef: IMAGE.id, flavorRef: '1' },
      }),
    ),
  );
  return created.map((each) => (each as { server: { id: string } }).server.id);
}

const count = async ({ global }: Stores, status: string): Promise<number> =>
  (await global.selectFrom('sagas').select('id').where('status', '=', status).execute()).length;

/** Waits until this many sagas have ended, all of them well. */
async function ended(stores: Stores, sagas: number, what: string): Promise<void> {
  await until(`all ${what} have ended`, async () => (await count(stores, 'done')) >= sagas);
  assert.equal(await count(stores, 'active'), 0);
  assert.equal(await count(stores, 'stuck'), 0);
  assert.equal(await count(stores, 'unwound'), 0);
}

/** Ids and fences of the sagas that a process holds. */
async function heldBy({ global }: Stores, pid: number): Promise<{ id: string; fence: number }[]> {
  return global
    .selectFrom('sagas')
    .select(['id', 'fence'])
    .where('status', '=', 'active')
    .where('lease_until', '>', 0)
    .where('owner', 'like', `%/${pid}@%`)
    .execute();
}

async function anyHeldBy({ global }: Stores, held: readonly { id: string; fence: number }[]): Promise<boolean> {
  if (held.length === 0) return false;
  const rows = await global
    .selectFrom('sagas')
    .select(['id', 'fence', 'status'])
    .where(
      'id',
      'in',
      held.map((each) => each.id),
    )
    .execute();
  return rows.some(
    (row) => row.status === 'active' && held.some((each) => each.id === row.id && each.fence === row.fence),
  );
}

const begun = performance.now();

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (;;) {
    if (await holds()) return;
    if (performance.now() - begun > LIMIT_MS) assert.fail(`not in time: ${what}`);
    await systemClock.sleep(100);
  }
}

/** Each step of each saga is recorded as done once. */
async function assertStepsOnce({ global }: Stores): Promise<void> {
  const rows = await global.selectFrom('sagas').select(['definition', 'journal_json']).execute();
  assert.ok(rows.length >= 3 * SERVERS);
  for (const row of rows) {
    const journal = JSON.parse(row.journal_json) as Entry[];
    const done = journal.filter((entry) => entry.outcome === 'done').map((entry) => `${entry.direction} ${entry.step}`);
    assert.equal(new Set(done).size, done.length, `${row.definition}: ${done.join(', ')}`);
  }
}

async function assertSound(text: string, stores: Stores, urls: Record<string, string>): Promise<void> {
  const { settings } = planDeployment(parseConfig(text, 'storm.yaml'), {});
  const report = await audit({
    ...{ clock: systemClock, log: pino({ level: 'silent' }), stores },
    settings: { ...settings, publicUrl: '', hostFacingUrl: '' },
    host: async (name) => connectHost({ url: urls[name] ?? '', secret: SECRET, name }),
    storage: () => assert.fail('there are no storage hosts here'),
    policies: DEFAULT_POLICIES,
    nudge: () => undefined,
  });
  const wrong = report.invariants.filter((each) => !each.held);
  assert.deepEqual(
    wrong.map((each) => [each.name, each.breaches.map((breach) => breach.what), each.unknown]),
    [],
  );
}
