// A whole system whose identity is a Keystone: a small one inside the process, which can be made to fail.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pino } from 'pino';
import { composeSystem } from '../../src/cli/compose.ts';
import { planDeployment } from '../../src/cli/deployment.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { fakeOpenstack, SERVICE_PASSWORD } from '../../src/openstack/testing.ts';

const PROJECT = '0123456789abcdef0123456789abcdef';

const tokenOf = (role: string) => ({
  ...{ user: { id: 'u1' }, expires_at: new Date(Date.now() + 3600_000).toISOString() },
  ...{ project: { id: PROJECT, domain: { id: 'default' } }, roles: [{ name: role }] },
});

test("Keystone's tokens are good here, its roles count, and our own identity service is not there", async () => {
  await using fake = await fakeOpenstack(systemClock);
  fake.on('/v3/auth/tokens?nocatalog', ({ headers }) => {
    const role = /^of-(\w+)$/.exec(String(headers['x-subject-token']))?.[1];
    return role === undefined ? { status: 404 } : { status: 200, body: { token: tokenOf(role) } };
  });
  const directory = mkdtempSync(join(tmpdir(), 'crosscell-keystone-'));
  const password_file = join(directory, 'password');
  writeFileSync(password_file, `${SERVICE_PASSWORD}\n`);
  const deployment = planDeployment(
    { openstack: { auth_url: fake.settings.authUrl, username: 'crosscell', password_file, services: ['identity'] } },
    { data: directory, listen: '127.0.0.1:0', hypervisor: 'simulated' },
  );
  const system = await composeSystem(deployment, {
    ...{ log: pino({ level: 'silent' }), memoryDatabases: true, memoryHosts: true, checkAnswers: true },
  });
  const status = async (path: string, token: string): Promise<number> =>
    (await fetch(`${system.url}${path}`, { headers: { 'x-auth-token': token } })).status;
  try {
    assert.equal(await status('/compute/v2.1/servers', 'of-member'), 200);
    assert.equal(await status('/compute/v2.1/os-hypervisors', 'of-member'), 403);
    assert.equal(await status('/compute/v2.1/os-hypervisors', 'of-admin'), 200);
    assert.equal(
      await status(`/volume/v3/${PROJECT}/volumes`, 'of-member'),
      200,
      "the project in the path is the token's",
    );
    assert.equal(await status('/compute/v2.1/servers', 'nonsense'), 401);
    assert.equal(await status('/identity/v3/users', 'of-admin'), 404);
    fake.on('/v3/auth/tokens?nocatalog', () => ({ status: 500 }));
    assert.equal(await status('/compute/v2.1/servers', 'of-reader'), 503);
    assert.equal(await status('/compute/v2.1/servers', 'of-member'), 200, 'who is remembered is served');
  } finally {
    await system.stop({ guestsWithinSeconds: null });
    rmSync(directory, { recursive: true, force: true });
  }
});
