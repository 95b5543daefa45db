import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { systemClock } from '../../lib/clock.ts';
import { openStores, type Stores } from '../../store/stores.ts';
import { createIdentity, type Identity } from '../identity.ts';
import { hashPassword, parsePasswordHash } from './passwords.ts';
import { createProject } from './projects.ts';
import { derivedId, type IdentityConfig, seedIdentity } from './seeds.ts';
import { deleteUser, listUsers, updateUser } from './users.ts';

const config: IdentityConfig = {
  projects: [{ name: 'demo' }],
  users: [{ name: 'alice', password: 'wonder', roles: { demo: ['member', 'auditor'] } }],
  tokenLifetimeSeconds: 3600,
};
const ALICE = derivedId('user', 'alice');

describe('the configuration of identity', () => {
  let stores: Stores;
  let identity: Identity;
  beforeEach(async () => {
    stores = await openStores(':memory:');
    identity = createIdentity({
      db: stores.global,
      key: Buffer.alloc(32),
      clock: systemClock,
      tokenLifetimeSeconds: 60,
    });
  });
  afterEach(() => stores.close());
  const seed = (change: Partial<IdentityConfig> = {}) => seedIdentity(identity.directory, { ...config, ...change });
  const enter = async (password: string): Promise<string> => {
    const by = { kind: 'password', user: { name: 'alice' }, password } as const;
    return (await identity.login({ by, scope: { kind: 'default' }, address: 'x' })).kind;
  };

  it('makes what is missing, and leaves the rest as it was changed', async () => {
    await seed();
    await updateUser(identity.directory, ALICE, { password: 'other', email: 'alice@example.org' });
    await seed();
    assert.equal(await enter('wonder'), 'denied');
    assert.equal(await enter('other'), 'ok');
    assert.equal((await listUsers(identity.directory, {}))[0]?.email, 'alice@example.org');
    await deleteUser(identity.directory, ALICE);
    await seed();
    assert.equal(await enter('wonder'), 'ok');
  });

  it('counts again when its password is another than before', async () => {
    await seed();
    await updateUser(identity.directory, ALICE, { password: 'other' });
    await seed({ users: [{ name: 'alice', password: 'third', roles: {} }] });
    assert.equal(await enter('other'), 'denied');
    assert.equal(await enter('third'), 'ok');
  });

  it('takes hashes and refuses malformed ones', async () => {
    const passwordHash = await hashPassword('wonder');
    await seed({ users: [{ name: 'alice', passwordHash, roles: { demo: ['member'] } }] });
    assert.equal(await enter('wonder'), 'ok');
    for (const bad of ['', 'secret', 'scrypt$3$8$1$aaaaaaaaaaaa$b', passwordHash.replace('$8192$', '$1048576$')]) {
      assert.equal(parsePasswordHash(bad), null);
      await assert.rejects(seed({ users: [{ name: 'alice', passwordHash: bad, roles: {} }] }), /malformed/);
    }
  });

  it('is refused with a sentence when it contradicts itself or what is there', async () => {
    const refused = (change: Partial<IdentityConfig>, sentence: RegExp) => assert.rejects(seed(change), sentence);
    await refused({ users: [{ name: 'a', password: 'x', roles: { nowhere: ['member'] } }] }, /no project nowhere/);
    await refused({ users: [{ name: 'a', roles: {} }] }, /either a password or a password hash/);
    await refused({ projects: [{ name: 'demo' }, { name: 'demo' }] }, /is there twice/);
    const [project] = [{ name: 'shop', domainId: 'default', parentId: null, description: '', enabled: true, tags: [] }];
    assert.equal((await createProject(identity.directory, project)).kind, 'ok');
    await refused({ projects: [{ name: 'demo' }, { name: 'shop' }] }, /is called so/);
  });
});
