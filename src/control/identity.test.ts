import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import type { Clock } from '../lib/clock.ts';
import { openStores, type Stores } from '../store/stores.ts';
import { createCredential, deleteCredential } from './identity/application-credentials.ts';
import { LOOK_MS } from './identity/cache.ts';
import type { LoginRequest } from './identity/logins.ts';
import { deleteProject, updateProject } from './identity/projects.ts';
import { EXPIRED_WINDOW_MS } from './identity/revocations.ts';
import { grantRole, revokeRole } from './identity/roles.ts';
import { derivedId, type IdentityConfig, seedIdentity } from './identity/seeds.ts';
import { deleteUser, updateUser } from './identity/users.ts';
import { createIdentity, type Identity } from './identity.ts';

const KEY = Buffer.alloc(32, 7);
const config: IdentityConfig = {
  projects: [{ name: 'admin' }, { name: 'demo', id: 'demo-id' }],
  users: [
    { name: 'admin', password: 'secret', roles: { admin: ['admin'], demo: ['admin'] } },
    { name: 'alice', password: 'wonder', roles: { demo: ['member', 'reader'] } },
    { name: 'ghost', password: 'boo', roles: {} },
  ],
  tokenLifetimeSeconds: 3600,
};
const ALICE = derivedId('user', 'alice');
const ALICE_HERSELF = { kind: 'user', id: ALICE } as const;
const MEMBER = derivedId('role', 'member');
const READER = derivedId('role', 'reader');
const IN_DEMO = { kind: 'project', id: 'demo-id' } as const;

const open: Stores[] = [];
afterEach(async () => {
  for (const stores of open.splice(0)) await stores.close();
});

interface World {
  readonly identity: Identity;
  readonly stores: Stores;
  readonly clock: Clock & { time: number };
  /** Another process on the same database. */
  another(key?: Buffer): Identity;
  tokenOf(request: LoginRequest): Promise<string>;
}

async function world(): Promise<World> {
  const stores = await openStores(':memory:');
  open.push(stores);
  const clock = {
    time: 1_000_000,
    now() {
      return this.time;
    },
    sleep: async () => undefined,
  };
  const another = (key: Buffer = KEY) =>
    createIdentity({ db: stores.global, key, clock, tokenLifetimeSeconds: config.tokenLifetimeSeconds });
  const identity = another();
  await seedIdentity(identity.directory, config);
  const tokenOf = async (request: LoginRequest): Promise<string> => {
    const result = await identity.login(request);
    assert.equal(result.kind, 'ok');
    return result.kind === 'ok' ? result.token : '';
  };
  return { identity, stores, clock, another, tokenOf };
}

const login = (name: string, password: string, scope: LoginRequest['scope'] = { kind: 'default' }): LoginRequest => ({
  by: { kind: 'password', user: { name }, password },
  scope,
  address: '127.0.0.1',
});
const alice = login('alice', 'wonder');

describe('logins', () => {
  it('give tokens that say who, where and with which roles', async () => {
    const { identity, tokenOf } = await world();
    assert.deepEqual(await identity.principalOf(await tokenOf(alice)), {
      ...{ userId: ALICE, projectId: 'demo-id', projectDomainId: 'default', roles: ['member', 'reader'] },
    });
    const elsewhere = await tokenOf(login('admin', 'secret', { kind: 'project', project: { name: 'demo' } }));
    const info = await identity.tokenInfo(elsewhere);
    assert.ok(info?.scope.kind === 'project');
    assert.equal(info.scope.project.id, 'demo-id');
    assert.deepEqual(
      info.roles.map((role) => role.name),
      ['admin', 'manager', 'member', 'reader'],
    );
    for (const request of [login('ghost', 'boo'), login('alice', 'wonder', { kind: 'unscoped' })]) {
      assert.equal((await identity.tokenInfo(await tokenOf(request)))?.scope.kind, 'unscoped');
    }
    const system = await identity.principalOf(await tokenOf(login('admin', 'secret', { kind: 'system' })));
    assert.equal(system?.systemScope, true);
    assert.equal(system.projectId, null);
  });

  it('are denied alike for wrong passwords, unknown users and scopes without a role', async () => {
    const { identity, tokenOf } = await world();
    for (const request of [
      login('alice', 'wrong'),
      login('nobody', 'wonder'),
      login('', ''),
      login('alice', 'wonder', { kind: 'project', project: { name: 'admin' } }),
      login('alice', 'wonder', { kind: 'project', project: { id: 'no-such' } }),
      login('alice', 'wonder', { kind: 'project', project: { name: 'demo', domain: { name: 'none' } } }),
      login('alice', 'wonder', { kind: 'domain', domain: { name: 'Default' } }),
      login('alice', 'wonder', { kind: 'system' }),
    ]) {
      assert.deepEqual(await identity.login(request), { kind: 'denied' });
    }
    // The right password after a wrong one, and once more from memory.
    await tokenOf(alice);
    assert.deepEqual(await identity.login(login('alice', 'wonder2')), { kind: 'denied' });
  });

  it('are slowed down after too many failures, and let go after a while', async () => {
    const { identity, clock } = await world();
    let results = '';
    for (let i = 0; i < 22; i += 1) {
      results += (await identity.login(login('alice', `wrong${i}`))).kind === 'denied' ? 'd' : 's';
    }
    assert.equal(results, `${'d'.repeat(20)}ss`);
    assert.equal((await identity.login(alice)).kind, 'slow-down');
    clock.time += 61_000;
    assert.equal((await identity.login(alice)).kind, 'ok');
  });

  it('fail for one address without hurting another, and for an unknown one without hurting other users', async () => {
    const { identity } = await world();
    const from = (address: string | null, name: string, password: string) =>
      identity.login({ ...login(name, password), address });
    for (let i = 0; i < 20; i += 1) await from('192.0.2.1', `user${i}`, 'wrong');
    assert.equal((await from('192.0.2.1', 'alice', 'wonder')).kind, 'slow-down');
    assert.equal((await from('192.0.2.2', 'alice', 'wonder')).kind, 'ok');
    for (let i = 0; i < 20; i += 1) await from(null, `user${i}`, 'wrong');
    assert.equal((await from(null, 'alice', 'wonder')).kind, 'ok');
  });

  it('with a token give one that lives no longer and names the first', async () => {
    const { identity, clock, tokenOf } = await world();
    const token = await tokenOf(login('admin', 'secret'));
    const first = await identity.tokenInfo(token);
    clock.time += 1000;
    const scope = { kind: 'project', project: { name: 'demo' } } as const;
    const result = await identity.login({ by: { kind: 'token', token }, scope, address: 'x' });
    assert.ok(result.kind === 'ok' && result.info.scope.kind === 'project');
    assert.equal(result.info.scope.project.name, 'demo');
    assert.equal(result.info.expiresAt, first?.expiresAt);
    assert.equal(result.info.auditIds[1], first?.auditIds[0]);
  });
});

describe('tokens', () => {
  it('end by time, by revocation and by forgery', async () => {
    const { identity, clock, tokenOf } = await world();
    const token = await tokenOf(alice);
    assert.ok(await identity.tokenInfo(token));
    const [payload = '', signature = ''] = token.split('.');
    const text = Buffer.from(payload, 'base64url').toString().replace('demo-id', 'other-1');
    const forged = `${Buffer.from(text).toString('base64url')}.${signature}`;
    const cut = `${payload}.${signature.slice(1)}`;
    for (const bad of [forged, `${payload}.`, payload, '', '.', `${token}.x`, cut]) {
      assert.equal(await identity.tokenInfo(bad), null);
    }
    const second = await tokenOf(alice);
    await identity.revoke(token);
    assert.equal(await identity.tokenInfo(token), null);
    assert.ok(await identity.tokenInfo(second));
    clock.time += 3_600_000;
    assert.equal(await identity.tokenInfo(second), null);
    // Whoever asks for it has an answer about it for two days, but not about one that was revoked.
    assert.ok(await identity.tokenInfo(second, true));
    assert.equal(await identity.principalOf(second), null);
    await identity.revoke(await tokenOf(alice));
    assert.equal(await identity.tokenInfo(token, true), null);
    clock.time += EXPIRED_WINDOW_MS;
    assert.equal(await identity.tokenInfo(second, true), null);
  });

  it('are good in every process with the key, and revoked in each within a second', async () => {
    const { identity, another, clock, tokenOf } = await world();
    const other = another();
    const token = await tokenOf(alice);
    assert.ok(await other.tokenInfo(token));
    assert.equal(await another(Buffer.alloc(32, 8)).tokenInfo(token), null);
    await identity.revoke(token);
    clock.time += LOOK_MS;
    assert.equal(await other.tokenInfo(token), null);
    assert.equal(await another().tokenInfo(token), null, 'over a restart');
    assert.throws(() => another(Buffer.alloc(3)), /at least 32 bytes/);
  });

  it('cost no statement while nothing changes', async () => {
    const { identity, stores, tokenOf, clock } = await world();
    const token = await tokenOf(alice);
    await identity.principalOf(token);
    const before = stores.statements();
    for (let i = 0; i < 100; i += 1) assert.ok(await identity.principalOf(token));
    assert.equal(stores.statements(), before);
    clock.time += LOOK_MS;
    for (let i = 0; i < 100; i += 1) assert.ok(await identity.principalOf(token));
    assert.equal(stores.statements(), before + 1);
  });

  const endings: readonly (readonly [string, (identity: Identity) => Promise<unknown>])[] = [
    ['the user is disabled', ({ directory }) => updateUser(directory, ALICE, { enabled: false })],
    ['the password is changed', ({ directory }) => updateUser(directory, ALICE, { password: 'other' })],
    ['the user is deleted', ({ directory }) => deleteUser(directory, ALICE)],
    ['the project is disabled', ({ directory }) => updateProject(directory, 'demo-id', { enabled: false })],
    ['the project is deleted', ({ directory }) => deleteProject(directory, 'demo-id')],
    [
      'the last role is taken away',
      async ({ directory }) => {
        for (const roleId of [MEMBER, READER])
          await revokeRole(directory, { holder: ALICE_HERSELF, scope: IN_DEMO, roleId });
      },
    ],
  ];
  for (const [when, end] of endings) {
    it(`end when ${when}`, async () => {
      const { identity, another, clock, tokenOf } = await world();
      const token = await tokenOf(alice);
      const adminsToken = await tokenOf(login('admin', 'secret'));
      const other = another();
      assert.ok(await other.tokenInfo(token));
      await end(identity);
      assert.equal(await identity.tokenInfo(token), null);
      clock.time += LOOK_MS;
      assert.equal(await other.tokenInfo(token), null);
      assert.ok(await other.tokenInfo(adminsToken));
    });
  }

  it('of before do not come back when the user is enabled again', async () => {
    const { identity, tokenOf } = await world();
    const token = await tokenOf(alice);
    await updateUser(identity.directory, ALICE, { enabled: false });
    assert.deepEqual(await identity.login(alice), { kind: 'denied' });
    await updateUser(identity.directory, ALICE, { enabled: true });
    assert.equal(await identity.tokenInfo(token), null);
    assert.ok(await identity.tokenInfo(await tokenOf(alice)));
  });

  it('say what the user may do now', async () => {
    const { identity, tokenOf } = await world();
    const token = await tokenOf(alice);
    await revokeRole(identity.directory, { holder: ALICE_HERSELF, scope: IN_DEMO, roleId: MEMBER });
    assert.deepEqual((await identity.principalOf(token))?.roles, ['reader']);
    await grantRole(identity.directory, {
      holder: ALICE_HERSELF,
      scope: IN_DEMO,
      roleId: derivedId('role', 'manager'),
    });
    assert.deepEqual((await identity.principalOf(token))?.roles, ['manager', 'reader', 'member']);
  });
});

describe('application credentials', () => {
  const request = {
    ...{ userId: ALICE, projectId: 'demo-id', name: 'robot', description: null, secret: null, unrestricted: false },
    ...{ expiresAt: null, roles: [{ name: 'reader' }] },
  };

  it('log in for their project, with their roles, and for nothing else', async () => {
    const { identity } = await world();
    const made = await createCredential(identity.directory, request);
    assert.ok(made.kind === 'ok');
    const { credential, secret } = made.value;
    const by = (given: string): LoginRequest => ({
      by: { kind: 'application_credential', credential: { id: credential.id }, secret: given },
      ...{ scope: { kind: 'default' }, address: 'x' },
    });
    assert.deepEqual(await identity.login(by('wrong')), { kind: 'denied' });
    const entered = await identity.login(by(secret));
    assert.ok(entered.kind === 'ok');
    assert.deepEqual((await identity.principalOf(entered.token))?.roles, ['reader']);
    const named: LoginRequest = {
      ...by(secret),
      by: { kind: 'application_credential', credential: { name: 'robot', user: { name: 'alice' } }, secret },
    };
    assert.equal((await identity.login(named)).kind, 'ok');
    assert.equal((await identity.login({ ...by(secret), scope: { kind: 'unscoped' } })).kind, 'denied');
    const again = { by: { kind: 'token', token: entered.token }, scope: { kind: 'unscoped' }, address: 'x' } as const;
    assert.deepEqual(await identity.login(again), { kind: 'denied' });

    await revokeRole(identity.directory, { holder: ALICE_HERSELF, scope: IN_DEMO, roleId: READER });
    assert.ok(await identity.tokenInfo(entered.token), 'a member is a reader');
    const member = { holder: ALICE_HERSELF, scope: IN_DEMO, roleId: derivedId('role', 'member') };
    await revokeRole(identity.directory, member);
    assert.equal(await identity.tokenInfo(entered.token), null);
    assert.deepEqual(await identity.login(by(secret)), { kind: 'denied' });
    await grantRole(identity.directory, { holder: ALICE_HERSELF, scope: IN_DEMO, roleId: READER });
    assert.ok(await identity.tokenInfo(entered.token));
    await deleteCredential(identity.directory, credential.id);
    assert.equal(await identity.tokenInfo(entered.token), null);
  });

  it('may have less than their user: a role that one of its roles implies', async () => {
    const { identity } = await world();
    const manager = derivedId('role', 'manager');
    await grantRole(identity.directory, { holder: ALICE_HERSELF, scope: IN_DEMO, roleId: manager });
    await revokeRole(identity.directory, { holder: ALICE_HERSELF, scope: IN_DEMO, roleId: READER });
    const made = await createCredential(identity.directory, request);
    assert.ok(made.kind === 'ok', JSON.stringify(made));
    const { credential, secret } = made.value;
    const by = { kind: 'application_credential', credential: { id: credential.id }, secret } as const;
    const entered = await identity.login({ by, scope: { kind: 'default' }, address: 'x' });
    assert.ok(entered.kind === 'ok');
    assert.deepEqual((await identity.principalOf(entered.token))?.roles, ['reader']);
  });

  it('end at their time', async () => {
    const { identity, clock } = await world();
    const made = await createCredential(identity.directory, { ...request, expiresAt: clock.time + 5000 });
    assert.ok(made.kind === 'ok');
    const { credential, secret } = made.value;
    const by = { kind: 'application_credential', credential: { id: credential.id }, secret } as const;
    const entered = await identity.login({ by, scope: { kind: 'default' }, address: 'x' });
    assert.ok(entered.kind === 'ok');
    assert.equal(entered.info.expiresAt, clock.time + 5000);
    clock.time += 5000;
    assert.equal((await identity.login({ by, scope: { kind: 'default' }, address: 'x' })).kind, 'denied');
  });

  it('are not given roles that the user does not have', async () => {
    const { identity } = await world();
    const made = await createCredential(identity.directory, { ...request, roles: [{ name: 'admin' }] });
    assert.equal(made.kind === 'refused' && made.refusal.code, 400);
  });
});
