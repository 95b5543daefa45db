import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Clock } from '../lib/clock.ts';
import { hashPassword, parsePasswordHash } from './identity/passwords.ts';
import { createIdentity, derivedId, type IdentityConfig, type LoginRequest } from './identity.ts';

const KEY = Buffer.alloc(32, 7);
const config: IdentityConfig = {
  projects: [{ name: 'admin' }, { name: 'demo', id: 'demo-id' }],
  users: [
    { name: 'admin', password: 'secret', roles: { admin: ['admin'], demo: ['admin'] } },
    { name: 'alice', password: 'wonder', roles: { demo: ['member'] } },
    { name: 'ghost', password: 'boo', roles: {} },
  ],
  tokenLifetimeSeconds: 3600,
};
const clockAt = (start: number): Clock & { time: number } => ({
  time: start,
  now() {
    return this.time;
  },
  sleep: async () => undefined,
});
const login = (name: string, password: string, scope: LoginRequest['scope'] = { kind: 'default' }): LoginRequest => ({
  by: { kind: 'password', user: { name }, password },
  scope,
  address: '127.0.0.1',
});

describe('identity', async () => {
  const clock = clockAt(1_000_000);
  const identity = await createIdentity(config, KEY, clock);
  const tokenOf = async (request: LoginRequest): Promise<string> => {
    const result = await identity.login(request);
    assert.equal(result.kind, 'ok');
    return result.kind === 'ok' ? result.token : '';
  };

  it('gives tokens that say who, where and with which roles', async () => {
    const token = await tokenOf(login('alice', 'wonder'));
    assert.deepEqual(identity.principalOf(token), {
      userId: derivedId('user', 'alice'),
      projectId: 'demo-id',
      roles: ['member'],
    });
    const elsewhere = await tokenOf(login('admin', 'secret', { kind: 'project', project: { name: 'demo' } }));
    assert.equal(identity.tokenInfo(elsewhere)?.project?.id, 'demo-id');
    assert.equal(identity.tokenInfo(await tokenOf(login('ghost', 'boo')))?.project, null);
    assert.equal(identity.tokenInfo(await tokenOf(login('alice', 'wonder', { kind: 'unscoped' })))?.project, null);
  });

  it('denies wrong passwords, unknown users and foreign projects alike', async () => {
    for (const request of [
      login('alice', 'wrong'),
      login('nobody', 'wonder'),
      login('alice', 'wonder', { kind: 'project', project: { name: 'admin' } }),
      login('alice', 'wonder', { kind: 'project', project: { id: 'no-such' } }),
    ]) {
      assert.deepEqual(await identity.login(request), { kind: 'denied' });
    }
    // The right password after a wrong one, and once more from memory.
    await tokenOf(login('alice', 'wonder'));
    assert.deepEqual(await identity.login(login('alice', 'wonder2')), { kind: 'denied' });
  });

  it('ends tokens by time, by revocation and by forgery', async () => {
    const token = await tokenOf(login('alice', 'wonder'));
    assert.ok(identity.tokenInfo(token));
    const [payload = '', signature = ''] = token.split('.');
    const forged = Buffer.from(Buffer.from(payload, 'base64url').toString().replace('demo-id', 'other')).toString(
      'base64url',
    );
    for (const bad of [
      `${forged}.${signature}`,
      `${payload}.`,
      payload,
      '',
      '.',
      `${token}.x`,
      `${payload}.${signature.slice(1)}`,
    ]) {
      assert.equal(identity.tokenInfo(bad), null);
    }
    const second = await tokenOf(login('alice', 'wonder'));
    identity.revoke(token);
    assert.equal(identity.tokenInfo(token), null);
    assert.ok(identity.tokenInfo(second));
    clock.time += 3_600_000;
    assert.equal(identity.tokenInfo(second), null);
  });

  it('accepts tokens over a restart with the same key, and not with another', async () => {
    const token = await tokenOf(login('alice', 'wonder'));
    assert.ok((await createIdentity(config, KEY, clock)).tokenInfo(token));
    assert.equal((await createIdentity(config, Buffer.alloc(32, 8), clock)).tokenInfo(token), null);
  });

  it('rescopes a token, which then lives no longer than the first', async () => {
    const token = await tokenOf(login('admin', 'secret'));
    clock.time += 1000;
    const result = await identity.login({
      by: { kind: 'token', token },
      scope: { kind: 'project', project: { name: 'demo' } },
      address: 'x',
    });
    assert.ok(result.kind === 'ok');
    assert.equal(result.info.project?.name, 'demo');
    assert.equal(result.info.expiresAt, identity.tokenInfo(token)?.expiresAt);
  });

  it('bounds the rate of failures, and lets go after a while', async () => {
    const fresh = await createIdentity(config, KEY, clock);
    let results = '';
    for (let i = 0; i < 22; i += 1)
      results += (await fresh.login(login('alice', `wrong${i}`))).kind === 'denied' ? 'd' : 's';
    assert.equal(results, `${'d'.repeat(20)}ss`);
    assert.equal((await fresh.login(login('alice', 'wonder'))).kind, 'slow-down');
    clock.time += 61_000;
    assert.equal((await fresh.login(login('alice', 'wonder'))).kind, 'ok');
  });

  it('takes hashes from configuration and refuses malformed ones', async () => {
    const hashed = await hashPassword('wonder');
    assert.ok(parsePasswordHash(hashed));
    const other = await createIdentity(
      { ...config, users: [{ name: 'alice', passwordHash: hashed, roles: { demo: ['member'] } }] },
      KEY,
      clock,
    );
    assert.equal((await other.login(login('alice', 'wonder'))).kind, 'ok');
    for (const bad of ['', 'secret', 'scrypt$3$8$1$aaaaaaaaaaaa$b', hashed.replace('$8192$', '$1048576$')]) {
      assert.equal(parsePasswordHash(bad), null);
    }
  });

  it('says what is wrong with its configuration', async () => {
    const refused = async (change: Partial<IdentityConfig>, sentence: RegExp) =>
      assert.rejects(createIdentity({ ...config, ...change }, KEY, clock), sentence);
    await refused({ users: [{ name: 'a', password: 'x', roles: { nowhere: ['member'] } }] }, /no project nowhere/);
    await refused({ users: [{ name: 'a', roles: {} }] }, /either a password or a password hash/);
    await refused({ projects: [{ name: 'admin' }, { name: 'admin' }, { name: 'demo' }] }, /is there twice/);
    await assert.rejects(createIdentity(config, Buffer.alloc(3), clock), /at least 32 bytes/);
  });
});
