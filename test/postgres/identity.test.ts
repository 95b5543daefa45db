// Identity on PostgreSQL, two processes side by side: names are given once, changes of one count in the other.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createCredential } from '../../src/control/identity/application-credentials.ts';
import { listAssignments, listEffective } from '../../src/control/identity/assignments.ts';
import { createDomain, deleteDomain, updateDomain } from '../../src/control/identity/domains.ts';
import { addMember, createGroup, deleteGroup, removeMember } from '../../src/control/identity/groups.ts';
import { createProject, deleteProject, listProjects } from '../../src/control/identity/projects.ts';
import { createRole, grantRole, type Holder, revokeRole } from '../../src/control/identity/roles.ts';
import { derivedId, seedIdentity } from '../../src/control/identity/seeds.ts';
import { createUser, deleteUser, listUsers, updateUser } from '../../src/control/identity/users.ts';
import { createIdentity, type Identity } from '../../src/control/identity.ts';
import { openStores } from '../../src/store/stores.ts';
import { startPostgres, type TestPostgres } from '../../src/store/test-postgres.ts';

const server = await startPostgres();
if (server.kind === 'unavailable') test('identity on PostgreSQL', { skip: server.reason }, () => undefined);
else {
  after(() => server.stop());
  tests(server);
}

const CONFIG = {
  projects: [{ name: 'admin' }],
  users: [{ name: 'admin', password: 'secret', roles: { admin: ['admin'] } }],
  tokenLifetimeSeconds: 3600,
};

function tests(postgres: TestPostgres): void {
  const two = (name: string, body: (a: Identity, b: Identity, later: () => void) => Promise<void>) =>
    test(name, async () => {
      const at = await postgres.stores([]);
      const all = [await openStores(at), await openStores(at)] as const;
      let now = Date.now();
      const clock = { now: () => now, sleep: async () => undefined };
      const [a, b] = all.map(({ global }) =>
        createIdentity({ db: global, key: Buffer.alloc(32), clock, tokenLifetimeSeconds: 3600 }),
      ) as [Identity, Identity];
      try {
        await Promise.all([a, b].map((each) => seedIdentity(each.directory, CONFIG)));
        await body(a, b, () => {
          now += 1000;
        });
      } finally {
        for (const stores of all) await stores.close();
      }
    });
  const user = (name: string) => ({
    ...{ name, domainId: 'default', description: null, email: null, defaultProjectId: null, enabled: true },
    ...{ options: {}, password: 'pw' },
  });
  const project = (name: string) => ({
    ...{ name, domainId: 'default', parentId: null, description: '', enabled: true, tags: [] },
  });

  const isSame = ({ name }: { readonly name: string }): boolean => name === 'same';

  two('a name is given once, however many ask', async (a, b) => {
    const results = await Promise.all([a, b, a, b].map((each) => createUser(each.directory, user('same'))));
    assert.deepEqual(results.map((each) => each.kind).toSorted(), ['ok', 'refused', 'refused', 'refused']);
    assert.equal((await listUsers(a.directory, { name: 'same' })).length, 1);
    for (const [at, text, anyCase, count] of [
      ...([['contains', 'am', false, 1] as const, ['contains', 'AM', false, 0] as const] as const),
      ...([['startswith', 'SA', true, 1] as const, ['endswith', 'me', false, 1] as const] as const),
      ['endswith', 'm', false, 0] as const,
    ])
      assert.equal((await listUsers(a.directory, { nameParts: [{ at, text, anyCase }] })).filter(isSame).length, count);
    assert.equal((await listProjects(a.directory, { tags: { any: ['x', 'y'] } })).length, 0);
  });

  two('what one process changes counts in the other', async (a, b, later) => {
    const [made, where] = [await createUser(a.directory, user('u')), await createProject(a.directory, project('p'))];
    assert.ok(made.kind === 'ok' && where.kind === 'ok');
    const scope = { kind: 'project', id: where.value.id } as const;
    const userId = made.value.id;
    const grant = { holder: { kind: 'user', id: userId } as const, scope, roleId: derivedId('role', 'member') };
    assert.equal((await grantRole(a.directory, grant)).kind, 'ok');
    const login = () =>
      b.login({
        by: { kind: 'password', user: { name: 'u' }, password: 'pw' },
        ...{ scope: { kind: 'project', project: { name: 'p' } }, address: 'x' },
      });
    later();
    const entered = await login();
    assert.ok(entered.kind === 'ok');
    const credential = await createCredential(b.directory, {
      ...{ userId: made.value.id, projectId: where.value.id, name: 'c', description: null, secret: null },
      ...{ unrestricted: false, expiresAt: null, roles: null },
    });
    assert.equal(credential.kind, 'ok');
    const found = await listEffective(b.directory, { userId });
    assert.deepEqual(
      found.map((each) => each.role.name),
      ['member', 'reader'],
    );
    await updateUser(a.directory, userId, { password: 'other' });
    later();
    assert.equal(await b.tokenInfo(entered.token), null);
    assert.equal((await login()).kind, 'denied');
    assert.equal((await revokeRole(a.directory, grant)).kind, 'ok');
    assert.equal((await deleteProject(b.directory, where.value.id)).kind, 'ok');
    assert.equal((await deleteUser(a.directory, userId)).kind, 'ok');
  });

  two('what a group may do, its members may do for as long as they are in it', async (a, b, later) => {
    const [made, where] = [await createUser(a.directory, user('u')), await createProject(a.directory, project('p'))];
    const group = await createGroup(a.directory, { name: 'g', domainId: 'default', description: null });
    assert.ok(made.kind === 'ok' && where.kind === 'ok' && group.kind === 'ok');
    const [userId, groupId] = [made.value.id, group.value.id];
    const scope = { kind: 'project', id: where.value.id } as const;
    const grant = { holder: { kind: 'group', id: groupId } as const, scope, roleId: derivedId('role', 'member') };
    for (const _ of [1, 2]) assert.equal((await grantRole(a.directory, grant)).kind, 'ok');
    const again = await Promise.all([a, b].map((each) => addMember(each.directory, { groupId, userId })));
    assert.ok(again.every((each) => each.kind === 'ok'));
    later();
    const by = { kind: 'password', user: { name: 'u' }, password: 'pw' } as const;
    const login = () => b.login({ by, scope: { kind: 'project', project: { name: 'p' } }, address: 'x' });
    const entered = await login();
    assert.ok(entered.kind === 'ok');
    assert.deepEqual((await b.principalOf(entered.token))?.roles, ['member', 'reader']);
    assert.deepEqual(
      (await listProjects(b.directory, { userId })).map((each) => each.name),
      ['p'],
    );
    const shown = (each: Awaited<ReturnType<typeof listEffective>>[number]) => [each.holder.kind, each.role.name];
    assert.deepEqual((await listAssignments(b.directory, { groupId })).map(shown), [['group', 'member']]);
    assert.deepEqual(await listAssignments(b.directory, { userId }), []);
    const effective = await listEffective(b.directory, { userId });
    assert.deepEqual(effective.map(shown), [
      ['user', 'member'],
      ['user', 'reader'],
    ]);
    assert.ok(effective.every(({ holder }) => holder.kind === 'user' && holder.through === groupId));
    // The user's own role stays when the group goes.
    const own = { ...grant, holder: { kind: 'user', id: userId } as const, roleId: derivedId('role', 'reader') };
    assert.equal((await grantRole(a.directory, own)).kind, 'ok');
    assert.equal((await removeMember(a.directory, { groupId, userId })).kind, 'ok');
    later();
    assert.deepEqual((await b.principalOf(entered.token))?.roles, ['reader']);
    await addMember(a.directory, { groupId, userId });
    assert.equal((await deleteGroup(a.directory, groupId)).kind, 'ok');
    later();
    assert.deepEqual((await b.principalOf(entered.token))?.roles, ['reader']);
    assert.equal((await listAssignments(b.directory, { roleId: grant.roleId })).length, 0);
  });

  two('a domain goes with all that is in it', async (a) => {
    const domain = await createDomain(a.directory, { name: 'd', description: '', enabled: true });
    assert.ok(domain.kind === 'ok');
    const domainId = domain.value.id;
    const role = await createRole(a.directory, { name: 'r', description: null });
    const top = await createProject(a.directory, { ...project('top'), domainId });
    assert.ok(top.kind === 'ok' && role.kind === 'ok');
    const below = await createProject(a.directory, { ...project('below'), domainId, parentId: top.value.id });
    assert.equal(below.kind, 'ok');
    const member = await createUser(a.directory, { ...user('m'), domainId });
    assert.ok(member.kind === 'ok');
    const group = await createGroup(a.directory, { name: 'g', domainId, description: null });
    assert.ok(group.kind === 'ok');
    assert.equal((await addMember(a.directory, { groupId: group.value.id, userId: member.value.id })).kind, 'ok');
    const holders: readonly Holder[] = [
      { kind: 'user', id: member.value.id },
      { kind: 'group', id: group.value.id },
    ];
    for (const scope of [{ kind: 'domain', id: domainId } as const, { kind: 'project', id: top.value.id } as const]) {
      for (const holder of holders) {
        assert.equal((await grantRole(a.directory, { holder, scope, roleId: role.value.id })).kind, 'ok');
      }
    }
    assert.equal((await deleteDomain(a.directory, domainId)).kind, 'refused');
    await updateDomain(a.directory, domainId, { enabled: false });
    assert.equal((await deleteDomain(a.directory, domainId)).kind, 'ok');
    assert.equal((await listAssignments(a.directory, { roleId: role.value.id })).length, 0);
    assert.equal((await listUsers(a.directory, { domainId })).length, 0);
  });
}
