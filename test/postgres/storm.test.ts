// Three conductors, an API and simulated hosts, as processes of their own on PostgreSQL. Hundreds of moves go on while one
// conductor is killed, one is stopped past its lease and continued, and PostgreSQL is killed and started again: every
// move ends, every step is recorded as done once, its guest was started once for it at its host, and every invariant holds.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { audit } from '../../src/audit/audit.ts';
import { parseConfig } from '../../src/cli/config.ts';
import { planDeployment } from '../../src/cli/deployment.ts';
import { DEFAULT_POLICIES } from '../../src/control/policies.ts';
import { systemClock } from '../../src/lib/clock.ts';
import type { Entry } from '../../src/saga/types.ts';
import { openStores, type Stores } from '../../src/store/stores.ts';
import { startPostgres, type TestPostgres } from '../../src/store/test-postgres.ts';
import { type Installation, install, logIn, startPart } from './processes.ts';

const SERVERS = 80;
const LEASE_S = 5;
/** A heartbeat, and what a loaded machine takes. */
const SLACK_MS = 10_000;
const LIMIT_MS = 80_000;
/**
 * A host counts as down so late that no guest's probation, a third of that, ends while its conductor is replaced: it would
 * be started again, as it should be.
 */
const HOST_DOWN_S = 240;
const OPTIONS = `heartbeat_seconds: 2\nhost_down_seconds: ${HOST_DOWN_S}\nconductor: { lanes: 8, lease_seconds: ${LEASE_S} }`;

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
  const installation = await install(directory, at.global, OPTIONS, children);
  const start = (role: 'api' | 'conductor') => startPart(role, installation, children);
  const api = await start('api');
  const [first, second, third] = [await start('conductor'), await start('conductor'), await start('conductor')];
  assert(first && second && third);
  const cloud = await logIn(api);

  // Each server: created, resized, confirmed or reverted: three moves.
  const stores = await openStores(at);
  try {
    const servers = await cloud.create(SERVERS);
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
    const backAt = performance.now();
    await until('what the dead and the stopped had is taken over', async () => !(await anyHeldBy(stores, held)));
    // The lease runs on while the database is away; conductors look for what is free in every heartbeat.
    const [behindKill, behindOutage] = [performance.now() - killedAt, performance.now() - backAt];
    t.diagnostic(`takeover after ${Math.round(behindKill)} ms, the lease being ${LEASE_S * 1000} ms`);
    assert.ok(behindOutage < LEASE_S * 1000 + SLACK_MS, `taken over ${behindOutage} ms after the database was back`);
    // Past its lease: now it wakes with whatever it was at.
    await systemClock.sleep(Math.max(0, LEASE_S * 1000 + 500 - (performance.now() - killedAt)));
    second.child.kill('SIGCONT');

    await ended(stores, 2 * SERVERS, 'resizes');

    const isReverted = (index: number): boolean => index % 4 === 0;
    await Promise.all(
      servers.map((id, n) => cloud.action(id, isReverted(n) ? { revertResize: null } : { confirmResize: null })),
    );
    await ended(stores, 3 * SERVERS, 'confirmations and reverts');
    assert.equal(second.child.exitCode, null, 'the conductor that was stopped has ended');
    assert.equal(third.child.exitCode, null, 'a conductor has ended');

    await assertStepsOnce(stores);
    const { starts, ranTwice, broken } = await installation.seen();
    // Created, resized, and when it was reverted once more where it was.
    const expected = servers.map((id, n) => [id, isReverted(n) ? 3 : 2]);
    assert.deepEqual(starts, Object.fromEntries(expected), 'each start of a guest happened once at its host');
    assert.deepEqual([ranTwice, broken], [[], []]);
    const statuses = await cloud.statuses();
    assert.deepEqual([...new Set(statuses)], ['ACTIVE']);
    assert.equal(statuses.length, SERVERS);
    await assertSound(installation, stores);
  } finally {
    await stores.close();
  }
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

async function assertSound({ text, connect }: Installation, stores: Stores): Promise<void> {
  const { settings } = planDeployment(parseConfig(text, 'crosscell.yaml'), {});
  const report = await audit({
    ...{ clock: systemClock, log: pino({ level: 'silent' }), stores },
    settings: { ...settings, publicUrl: '', hostFacingUrl: '' },
    host: async (name) => connect(name),
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
