// Identity over HTTP: what clients and Tempest's dynamic credentials do, and what they must not be able to do.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Answered, type TestSystem, testSystem, waitFor } from './system.ts';

const V3 = '/identity/v3';

interface Entered {
  readonly token: string;
  readonly body: Answered['json'];
  (method: string, path: string, body?: unknown): Promise<Answered>;
}

describe('identity v3', () => {
  let s: TestSystem;
  before(async () => {
    s = await testSystem();
  });
  after(() => s[Symbol.asyncDispose]());

  const call = (token: string, method: string, path: string, body?: unknown, headers = {}): Promise<Answered> =>
    s.raw(path, {
      method,
      headers: { 'x-auth-token': token, 'content-type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  const login = (auth: object): Promise<Answered> => call('', 'POST', `${V3}/auth/tokens`, { auth });
  async function enter(auth: object): Promise<Entered> {
    const answer = await login(auth);
    assert.equal(answer.status, 201, answer.text);
    const token = answer.headers.get('x-subject-token') ?? '';
    const as = (method: string, path: string, body?: unknown) => call(token, method, path, body);
    return Object.assign(as, { token, body: answer.json.token });
  }
  const password = (user: object, scope?: object) => ({
    identity: { methods: ['password'], password: { user } },
    ...(scope ? { scope } : {}),
  });
  async function made(path: string, body: object): Promise<Answered['json']> {
    const answer = await s.admin('POST', `${V3}${path}`, body);
    assert.equal(answer.status, 201, answer.text);
    return Object.values(answer.json)[0];
  }
  const expect = async (status: number, answer: Promise<Answered>): Promise<Answered> => {
    const got = await answer;
    assert.equal(got.status, status, got.text);
    return got;
  };
  const roleId = async (name: string): Promise<string> =>
    (await s.admin('GET', `${V3}/roles?name=${name}`)).json.roles[0].id;
  /** A user with a role in a project of its own. */
  async function tenant(name: string, role = 'member') {
    const project = await made('/projects', { project: { name, description: `${name}-desc`, domain_id: 'default' } });
    const user = await made('/users', {
      user: { name: `${name}-user`, password: 'p4ss', email: 'a@example.org', domain_id: 'default' },
    });
    const grant = `${V3}/projects/${project.id}/users/${user.id}/roles/${await roleId(role)}`;
    await expect(204, s.admin('PUT', grant));
    const scope = { project: { id: project.id } };
    return { project, user, grant, auth: password({ id: user.id, password: 'p4ss' }, scope) };
  }

  it('makes a tenant as Tempest does, and unmakes it', async () => {
    const { project, user, grant, auth } = await tenant('tempest-1');
    assert.deepEqual(
      (await s.admin('GET', `${V3}/domains?name=Default`)).json.domains.map((each: { id: string }) => each.id),
      ['default'],
    );
    const named = await enter(
      password(
        { name: user.name, domain: { name: 'Default' }, password: 'p4ss' },
        { project: { name: project.name, domain: { name: 'Default' } } },
      ),
    );
    assert.equal(named.body.project.id, project.id);
    assert.deepEqual(
      named.body.roles.map((role: { name: string }) => role.name),
      ['member', 'reader'],
    );
    const as = await enter(auth);
    await expect(200, as('GET', '/compute/v2.1/servers'));
    await expect(204, s.admin('HEAD', grant));
    await expect(204, s.admin('DELETE', grant));
    await expect(401, as('GET', '/compute/v2.1/servers'));
    await expect(404, s.admin('GET', grant));
    await expect(404, s.admin('DELETE', grant));
    await expect(204, s.admin('DELETE', `${V3}/users/${user.id}`));
    await expect(401, login(auth));
    await expect(204, s.admin('DELETE', `${V3}/projects/${project.id}`));
    const gone = await expect(404, s.admin('GET', `${V3}/projects/${project.id}`));
    assert.deepEqual(gone.json.error, {
      ...{ code: 404, title: 'Not Found', message: `Could not find project: ${project.id}.` },
    });
  });

  it('refuses names that are taken, with Keystone’s sentences', async () => {
    await tenant('taken');
    const twice = async (path: string, body: object, sentence: RegExp) => {
      const answer = await expect(409, s.admin('POST', `${V3}${path}`, body));
      assert.match(answer.json.error.message, sentence);
    };
    await twice(
      '/projects',
      { project: { name: 'taken' } },
      /not permitted to have two projects .* name is taken, project id [0-9a-f]{32}\.$/,
    );
    await twice('/users', { user: { name: 'taken-user' } }, /Duplicate entry found with name taken-user at domain ID/);
    await twice('/roles', { role: { name: 'member' } }, /store role - Duplicate entry found with name member\.$/);
    await twice('/domains', { domain: { name: 'Default' } }, /Duplicate entry found with name Default\.$/);
    const { id } = await made('/users', { user: { name: 'free-user' } });
    await expect(409, s.admin('PATCH', `${V3}/users/${id}`, { user: { name: 'taken-user' } }));
    await expect(200, s.admin('PATCH', `${V3}/users/${id}`, { user: { name: 'free-user' } }));
    const home = { project_id: s.alice.projectId };
    const moved = await s.admin('PATCH', `${V3}/users/${id}`, { user: home });
    assert.equal(moved.json.user.project_id, s.alice.projectId, moved.text);
    assert.ok(!('default_project_id' in moved.json.user));
    // Terraform's provider takes what is shown and was not given for a change, for ever.
    const housed = await made('/users', { user: { name: 'housed', default_project_id: s.alice.projectId } });
    assert.equal(housed['default_project_id'], s.alice.projectId);
    assert.ok(!('project_id' in housed));
    await expect(200, s.admin('PATCH', `${V3}/users/${id}`, { user: { id, enabled: false } }));
    await expect(400, s.admin('PATCH', `${V3}/users/${id}`, { user: { id: s.alice.userId } }));
  });

  it('lets nobody but administrators change anything', async () => {
    const { user, project, grant } = await tenant('held');
    const requests: readonly (readonly [string, string, object?])[] = [
      ['POST', `${V3}/users`, { user: { name: 'x' } }],
      ['PATCH', `${V3}/users/${user.id}`, { user: { password: 'mine' } }],
      ['DELETE', `${V3}/users/${user.id}`],
      ['POST', `${V3}/projects`, { project: { name: 'x' } }],
      ['PATCH', `${V3}/projects/${project.id}`, { project: { enabled: false } }],
      ['DELETE', `${V3}/projects/${project.id}`],
      ['PUT', grant],
      ['PUT', grant.replace(project.id, s.alice.projectId).replace(user.id, s.alice.userId)],
      ['DELETE', grant],
      ['GET', grant],
      ['PUT', `${V3}/system/users/${s.alice.userId}/roles/${await roleId('admin')}`],
      ['POST', `${V3}/roles`, { role: { name: 'x' } }],
      ['POST', `${V3}/domains`, { domain: { name: 'x' } }],
      ['GET', `${V3}/users`],
      ['GET', `${V3}/users/${user.id}`],
      ['GET', `${V3}/projects`],
      ['GET', `${V3}/projects/${project.id}`],
      ['GET', `${V3}/role_assignments`],
      ['GET', `${V3}/users/${user.id}/application_credentials`],
      ['GET', `${V3}/services`],
    ];
    for (const who of [s.alice, s.reader, s.mallory]) {
      for (const [method, path, body] of requests) {
        const answer = await who(method, path, body);
        assert.equal(answer.status, 403, `${method} ${path}: ${answer.text}`);
      }
    }
    await expect(200, s.alice('GET', `${V3}/users/${s.alice.userId}`));
    await expect(200, s.alice('GET', `${V3}/projects/${s.alice.projectId}`));
  });

  it('changes passwords, which ends the tokens of before', async () => {
    const { user, auth } = await tenant('changer');
    const as = await enter(auth);
    const change = (original_password: string, next: string) =>
      call('', 'POST', `${V3}/users/${user.id}/password`, { user: { original_password, password: next } });
    await expect(401, change('wrong', 'n3xt'));
    await expect(204, change('p4ss', 'n3xt'));
    await expect(401, as('GET', `${V3}/auth/projects`));
    await expect(401, login(auth));
    await enter(password({ id: user.id, password: 'n3xt' }));
    await expect(200, s.admin('PATCH', `${V3}/users/${user.id}`, { user: { options: { lock_password: true } } }));
    await expect(403, change('n3xt', 'again'));
    await expect(200, s.admin('PATCH', `${V3}/users/${user.id}`, { user: { password: 'p4ss' } }));
    await enter(auth);
  });

  it('makes tokens without a project good for identity alone', async () => {
    const { user } = await tenant('scopes');
    const who = { id: user.id, password: 'p4ss' };
    const { id } = await made('/domains', { domain: { name: 'scoped' } });
    await expect(204, s.admin('PUT', `${V3}/domains/${id}/users/${user.id}/roles/${await roleId('reader')}`));
    await expect(204, s.admin('PUT', `${V3}/system/users/${user.id}/roles/${await roleId('reader')}`));
    await made('/users', { user: { name: 'inside', domain_id: id } });

    const unscoped = await enter(password(who, { unscoped: {} }));
    assert.equal(unscoped.body.roles, undefined);
    assert.equal(unscoped.body.catalog, undefined);
    assert.deepEqual(
      (await unscoped('GET', `${V3}/auth/projects`)).json.projects.map((each: { name: string }) => each.name),
      ['scopes'],
    );
    assert.equal((await unscoped('GET', `${V3}/auth/domains`)).json.domains[0].id, id);
    assert.deepEqual((await unscoped('GET', `${V3}/auth/system`)).json.system, [{ all: true }]);

    const domain = await enter(password(who, { domain: { id } }));
    assert.equal(domain.body.domain.name, 'scoped');
    const inDomain = (await expect(200, domain('GET', `${V3}/users`))).json.users;
    assert.deepEqual(
      inDomain.map((each: { name: string }) => each.name),
      ['inside'],
    );
    await expect(403, domain('GET', `${V3}/users?domain_id=default`));
    await expect(403, domain('GET', `${V3}/users/${s.alice.userId}`));
    await expect(200, domain('GET', `${V3}/users/${inDomain[0].id}`));

    const system = await enter(password(who, { system: { all: true } }));
    assert.deepEqual(system.body.system, { all: true });
    await expect(200, system('GET', `${V3}/users`));
    await expect(403, system('POST', `${V3}/users`, { user: { name: 'x' } }));
    for (const as of [unscoped, domain, system]) {
      await expect(403, as('GET', '/compute/v2.1/servers'));
      await expect(403, as('GET', `${V3}/auth/catalog`));
    }

    await expect(403, s.admin('DELETE', `${V3}/domains/${id}`));
    await expect(200, s.admin('PATCH', `${V3}/domains/${id}`, { domain: { enabled: false } }));
    await expect(401, domain('GET', `${V3}/auth/projects`));
    await expect(204, s.admin('DELETE', `${V3}/domains/${id}`));
    await expect(404, s.admin('GET', `${V3}/users/${inDomain[0].id}`));
    await expect(403, s.admin('DELETE', `${V3}/domains/default`));
  });

  it('makes application credentials, which do what their roles may and no more', async () => {
    const { user, auth } = await tenant('robots', 'manager');
    const as = await enter(auth);
    const path = `${V3}/users/${user.id}/application_credentials`;
    const wish = { name: 'robot', roles: [{ name: 'manager' }], expires_at: '2999-01-01T00:00:00.120456Z' };
    const answer = await expect(201, as('POST', path, { application_credential: wish }));
    const { id, secret, expires_at } = answer.json.application_credential;
    assert.equal(expires_at, '2999-01-01T00:00:00.120456');
    await expect(409, as('POST', path, { application_credential: { name: 'robot' } }));
    await expect(400, as('POST', path, { application_credential: { name: 'x', roles: [{ name: 'admin' }] } }));
    await expect(400, as('POST', path, { application_credential: { name: 'x', expires_at: '2001-01-01' } }));
    await expect(400, as('POST', path, { application_credential: { name: 'x', access_rules: [{ path: '/' }] } }));
    const shown = await expect(200, as('GET', `${path}/${id}`));
    assert.equal(shown.json.application_credential.secret, undefined);
    assert.equal((await as('GET', path)).json.application_credentials.length, 1);

    const enterWith = (application_credential: object) =>
      login({ identity: { methods: ['application_credential'], application_credential } });
    await expect(401, enterWith({ id, secret: 'wrong' }));
    await expect(201, enterWith({ name: 'robot', secret, user: { name: user.name, domain: { id: 'default' } } }));
    const entered = await expect(201, enterWith({ id, secret }));
    assert.deepEqual(entered.json.token.application_credential, { id, name: 'robot', restricted: true });
    const token = entered.headers.get('x-subject-token') ?? '';
    await expect(200, call(token, 'GET', '/compute/v2.1/servers'));
    await expect(403, call(token, 'POST', path, { application_credential: { name: 'child' } }));
    await expect(403, call(token, 'DELETE', `${path}/${id}`));
    await expect(403, s.alice('GET', `${path}/${id}`));
    await expect(403, s.admin('POST', path, { application_credential: { name: 'for another' } }));
    await expect(204, as('DELETE', `${path}/${id}`));
    await expect(401, call(token, 'GET', '/compute/v2.1/servers'));
    await expect(404, as('GET', `${path}/${id}`));
  });

  it('makes no application credential that may more than the one that asks for it', async () => {
    const { user, auth } = await tenant('escalating', 'manager');
    const as = await enter(auth);
    const path = `${V3}/users/${user.id}/application_credentials`;
    const wish = { name: 'reads', roles: [{ name: 'reader' }], unrestricted: true };
    const answer = await expect(201, as('POST', path, { application_credential: wish }));
    const { id, secret } = answer.json.application_credential;
    const entered = await login({
      identity: { methods: ['application_credential'], application_credential: { id, secret } },
    });
    const token = entered.headers.get('x-subject-token') ?? '';
    const make = (name: string, roles?: object) =>
      call(token, 'POST', path, { application_credential: { name, roles } });
    await expect(400, make('manages', [{ name: 'manager' }]));
    const child = await expect(201, make('child'));
    assert.deepEqual(
      child.json.application_credential.roles.map((role: { name: string }) => role.name),
      ['reader'],
    );
    const own = await expect(201, as('POST', path, { application_credential: { name: 'its user’s' } }));
    assert.deepEqual(
      own.json.application_credential.roles.map((role: { name: string }) => role.name),
      ['manager'],
    );
  });

  it('has empty lists of what is not there', async () => {
    for (const [path, key] of [
      ['/credentials', 'credentials'],
      [`/users/${s.alice.userId}/access_rules`, 'access_rules'],
      ['/OS-TRUST/trusts?trustor_user_id=x', 'trusts'],
    ] as const) {
      const { [key]: list, links } = (await expect(200, s.alice('GET', `${V3}${path}`))).json;
      assert.deepEqual([list, links.self], [[], `${s.system.url}${V3}${path.split('?')[0]}`]);
    }
    await expect(403, s.mallory('GET', `${V3}/users/${s.alice.userId}/access_rules`));
  });

  it('offers no other way to log in than its own', async () => {
    const { json } = await expect(401, login({ identity: { methods: ['saml2'], saml2: {} } }));
    assert.equal(json.error.message, 'Attempted to authenticate with an unsupported method.');
  });

  it('lists assignments by what they are about, with what they imply and with names', async () => {
    const { user, project } = await tenant('listed');
    const list = async (query: string) =>
      (await expect(200, s.admin('GET', `${V3}/role_assignments?user.id=${user.id}${query}`))).json.role_assignments;
    const [plain, ...none] = await list('');
    assert.deepEqual(
      [none, plain.scope, plain.role],
      [[], { project: { id: project.id } }, { id: await roleId('member') }],
    );
    const named = await list(`&include_names=True&effective=True&scope.project.id=${project.id}`);
    assert.deepEqual(
      named.map((each: { role: { name: string }; scope: { project: { name: string } } }) => [
        ...[each.role.name, each.scope.project.name],
      ]),
      [
        ['member', 'listed'],
        ['reader', 'listed'],
      ],
    );
    assert.equal((await list(`&role.id=${await roleId('reader')}`)).length, 0);
    assert.equal((await list(`&role.id=${await roleId('reader')}&effective`)).length, 1);
    assert.equal((await list('&scope.system=all')).length, 0);
    assert.equal((await list('&scope.OS-INHERIT:inherited_to=projects')).length, 0, 'none is inherited');
    const below = { name: 'below listed', parent_id: project.id };
    const { id } = (await expect(201, s.admin('POST', `${V3}/projects`, { project: below }))).json.project;
    const at = `${V3}/projects/${id}/users/${user.id}/roles/${await roleId('reader')}`;
    await expect(204, s.admin('PUT', at));
    assert.equal((await list(`&scope.project.id=${project.id}`)).length, 1);
    assert.equal((await list(`&scope.project.id=${project.id}&include_subtree=True`)).length, 2);
    await expect(400, s.admin('GET', `${V3}/role_assignments?include_subtree`));
    await expect(404, s.admin('GET', `${V3}/role_assignments?include_subtree&scope.project.id=x`));
    const given = await expect(200, s.admin('GET', `${V3}/projects/${project.id}/users/${user.id}/roles`));
    assert.deepEqual(
      given.json.roles.map((each: { name: string }) => each.name),
      ['member'],
    );
  });

  it('gives the members of a group what the group was given', async () => {
    const { user, auth, grant, project } = await tenant('grouped');
    const group = await made('/groups', { group: { name: 'testers', description: 'who test', domain_id: 'default' } });
    const links = { self: `${s.system.url}${V3}/groups/${group.id}` };
    assert.deepEqual(group, { id: group.id, name: 'testers', domain_id: 'default', description: 'who test', links });
    const [path, members] = [`${V3}/groups/${group.id}`, `${V3}/groups/${group.id}/users`];
    const twice = await expect(409, s.admin('POST', `${V3}/groups`, { group: { name: 'testers' } }));
    assert.match(
      twice.json.error.message,
      /store group - Duplicate entry found with name testers at domain ID default/,
    );
    const renamed = await expect(200, s.admin('PATCH', path, { group: { name: 'builders' } }));
    assert.deepEqual([renamed.json.group.name, renamed.json.group.description], ['builders', 'who test']);
    await expect(400, s.admin('PATCH', path, { group: { domain_id: 'other' } }));
    assert.deepEqual((await s.admin('GET', `${V3}/groups?name=builders`)).json.groups, [renamed.json.group]);

    const where = `/projects/${project.id}/groups/${group.id}/roles`;
    const manager = await roleId('manager');
    const given = `${V3}${where}/${manager}`;
    await expect(404, s.admin('HEAD', given));
    for (const each of [given, `${V3}/system/groups/${group.id}/roles/${manager}`])
      await expect(204, s.admin('PUT', each));
    await expect(204, s.admin('GET', given));
    const listedRoles = await expect(200, s.admin('GET', `${V3}${where}`));
    assert.deepEqual(
      listedRoles.json.roles.map((each: { name: string }) => each.name),
      ['manager'],
    );
    const as = await enter(auth);
    const subject = { 'x-subject-token': as.token };
    const roles = async (): Promise<string[]> => {
      const answer = await expect(200, call(as.token, 'GET', `${V3}/auth/tokens`, undefined, subject));
      return answer.json.token.roles.map((each: { name: string }) => each.name);
    };
    assert.deepEqual(await roles(), ['member', 'reader']);
    await expect(404, s.admin('HEAD', `${members}/${user.id}`));
    await expect(204, s.admin('PUT', `${members}/${user.id}`));
    await expect(204, s.admin('HEAD', `${members}/${user.id}`));
    assert.deepEqual(await roles(), ['manager', 'member', 'reader']);
    assert.deepEqual(
      (await s.admin('GET', members)).json.users.map((each: { id: string }) => each.id),
      [user.id],
    );
    assert.deepEqual((await as('GET', `${V3}/users/${user.id}/groups`)).json.groups, [renamed.json.group]);
    await expect(403, as('GET', members));
    await expect(403, as('PUT', `${members}/${s.alice.userId}`));

    const list = async (query: string) =>
      (await expect(200, s.admin('GET', `${V3}/role_assignments?${query}`))).json.role_assignments;
    const place = `scope.project.id=${project.id}`;
    assert.deepEqual(await list(`group.id=${group.id}&${place}`), [
      {
        ...{ role: { id: manager }, group: { id: group.id }, scope: { project: { id: project.id } } },
        links: { assignment: `${s.system.url}${given}` },
      },
    ]);
    const effective = await list(`user.id=${user.id}&${place}&effective&role.id=${manager}`);
    assert.deepEqual(
      effective.map((each: { user: object; links: object }) => [each.user, each.links]),
      [
        [
          { id: user.id },
          { assignment: `${s.system.url}${given}`, membership: `${s.system.url}${members}/${user.id}` },
        ],
      ],
    );
    await expect(400, s.admin('GET', `${V3}/role_assignments?group.id=${group.id}&effective`));
    await expect(400, s.admin('GET', `${V3}/role_assignments?group.id=${group.id}&user.id=${user.id}`));

    await expect(204, s.admin('DELETE', grant));
    assert.deepEqual(await roles(), ['manager', 'member', 'reader']);
    await expect(204, s.admin('DELETE', `${members}/${user.id}`));
    const out = await expect(404, s.admin('DELETE', `${members}/${user.id}`));
    assert.equal(out.json.error.message, `User '${user.id}' not found in group '${group.id}'.`);
    await expect(401, login(auth));
    await expect(204, s.admin('DELETE', given));
    await expect(404, s.admin('DELETE', given));
    await expect(204, s.admin('DELETE', path));
    const gone = await expect(404, s.admin('GET', path));
    assert.equal(gone.json.error.message, `Could not find group: ${group.id}.`);
    await expect(404, s.admin('GET', members));
  });

  it('lists with filters and limits, and says when there is more', async () => {
    await tenant('filtered');
    const names = async (query: string) =>
      (await expect(200, s.admin('GET', `${V3}/users?${query}`))).json.users.map((each: { name: string }) => each.name);
    assert.deepEqual(await names('name=filtered-user'), ['filtered-user']);
    assert.deepEqual(await names('name=filtered-user&enabled=False'), []);
    assert.deepEqual(await names('name=filtered-user&domain_id=other'), []);
    const cut = (await s.admin('GET', `${V3}/users?limit=1`)).json;
    assert.deepEqual([cut.users.length, cut.truncated], [1, true]);
    assert.deepEqual(await names('name__contains=tered-u'), ['filtered-user']);
    assert.deepEqual(await names('name__startswith=filtered&name__endswith=user'), ['filtered-user']);
    assert.deepEqual(await names('name__istartswith=FILTERED'), ['filtered-user']);
    for (const none of ['contains=TERED', 'startswith=iltered', 'endswith=use', 'endswith=a-name-much-longer-than-any'])
      assert.deepEqual(await names(`name__${none}`), []);
    const roles = async (query: string) => (await expect(200, s.admin('GET', `${V3}/roles?${query}`))).json.roles;
    assert.deepEqual(await roles('domain_id=default'), []);
    assert.equal((await roles('name__iendswith=EMBER')).length, 1);
    await expect(400, s.admin('GET', `${V3}/users?name=%00`));
    await expect(404, s.admin('GET', `${V3}/users/%00`));
  });

  it('keeps the tags of projects, one by one and all at once', async () => {
    const { id } = await made('/projects', { project: { name: 'tagged' } });
    const url = `${V3}/projects/${id}/tags`;
    const tags = async () => (await expect(200, s.admin('GET', url))).json.tags;
    for (const tag of ['a', 'b', 'a']) await expect(201, s.admin('PUT', `${url}/${tag}`));
    assert.deepEqual(await tags(), ['a', 'b']);
    await expect(204, s.admin('HEAD', `${url}/a`));
    await expect(204, s.admin('DELETE', `${url}/a`));
    for (const method of ['GET', 'DELETE']) await expect(404, s.admin(method, `${url}/a`));
    assert.deepEqual((await expect(200, s.admin('PUT', url, { tags: ['c', 'd'] }))).json.tags, ['c', 'd']);
    assert.deepEqual((await s.admin('GET', `${V3}/projects/${id}`)).json.project.tags, ['c', 'd']);
    const found = async (query: string) =>
      (await expect(200, s.admin('GET', `${V3}/projects?name=tagged&${query}`))).json.projects.length;
    for (const query of ['tags=c,d', 'tags-any=c,x', 'not-tags=c,x', 'not-tags-any=x'])
      assert.equal(await found(query), 1);
    for (const query of ['tags=c,x', 'tags-any=x', 'not-tags=c,d', 'not-tags-any=c,x'])
      assert.equal(await found(query), 0);
    const many = Array.from({ length: 80 }, (_, index) => `t${index}`);
    await expect(200, s.admin('PUT', url, { tags: many }));
    await expect(201, s.admin('PUT', `${url}/t79`));
    await expect(400, s.admin('PUT', `${url}/t80`));
    await expect(204, s.admin('DELETE', url));
    assert.deepEqual(await tags(), []);
    await expect(403, s.alice('GET', url));
    await expect(200, s.alice('GET', `${V3}/projects/${s.alice.projectId}/tags`));
    await expect(403, s.alice('PUT', `${V3}/projects/${s.alice.projectId}/tags/mine`));
  });

  it('keeps projects in a tree within their domain', async () => {
    const top = await made('/projects', { project: { name: 'top', tags: ['a'] } });
    const leaf = await made('/projects', { project: { name: 'leaf', parent_id: top.id } });
    assert.deepEqual([top.parent_id, leaf.parent_id, top.tags], ['default', top.id, ['a']]);
    const tree = async (id: string, query: string) => {
      const { status, json } = await s.admin('GET', `${V3}/projects/${id}?${query}`);
      return status === 200 ? [json.project.parents, json.project.subtree] : status;
    };
    assert.deepEqual(await tree(leaf.id, 'parents_as_ids&subtree_as_ids'), [{ [top.id]: { default: null } }, null]);
    assert.deepEqual(await tree(top.id, 'subtree_as_ids=True'), [undefined, { [leaf.id]: null }]);
    assert.deepEqual(await tree(leaf.id, 'parents_as_list&subtree_as_ids=0'), [[], undefined], 'none of its own');
    assert.equal(await tree(leaf.id, 'parents_as_list&parents_as_ids'), 400);
    const role = (await s.admin('GET', `${V3}/roles?name=member`)).json.roles[0].id;
    const grant = `${V3}/projects/${leaf.id}/users/${s.admin.userId}/roles/${role}`;
    assert.equal((await s.admin('PUT', grant)).status, 204);
    assert.deepEqual(await tree(top.id, 'subtree_as_list'), [undefined, [{ project: leaf }]]);
    let last = leaf;
    for (const name of ['third', 'fourth', 'fifth'])
      last = await made('/projects', { project: { name, parent_id: last.id } });
    const deeper = await s.admin('POST', `${V3}/projects`, { project: { name: 'sixth', parent_id: last.id } });
    assert.deepEqual(
      [deeper.status, deeper.json.error.message],
      [403, `Max hierarchy depth reached for ${last.id} branch.`],
    );
    for (; last.id !== leaf.id; last = (await s.admin('GET', `${V3}/projects/${last.parent_id}`)).json.project)
      assert.equal((await s.admin('DELETE', `${V3}/projects/${last.id}`)).status, 204);
    const under = await s.admin('GET', `${V3}/projects?parent_id=${top.id}`);
    assert.deepEqual(
      under.json.projects.map((each: { id: string }) => each.id),
      [leaf.id],
    );
    await expect(403, s.admin('DELETE', `${V3}/projects/${top.id}`));
    await expect(400, s.admin('PATCH', `${V3}/projects/${leaf.id}`, { project: { domain_id: 'elsewhere' } }));
    await expect(204, s.admin('DELETE', `${V3}/projects/${leaf.id}`));
    await expect(204, s.admin('DELETE', `${V3}/projects/${top.id}`));
  });

  it('lets a project go that has servers; an administrator deletes them', async () => {
    const { project, auth } = await tenant('leaving');
    const as = await enter(auth);
    const flavors = (await as('GET', '/compute/v2.1/flavors')).json.flavors;
    const server = { name: 'left', imageRef: s.imageId, flavorRef: flavors[0].id, networks: [{ uuid: s.networkId }] };
    const { id } = (await expect(202, as('POST', '/compute/v2.1/servers', { server }))).json.server;
    await waitFor(s.admin, id, ['ACTIVE']);
    await expect(204, s.admin('DELETE', `${V3}/projects/${project.id}`));
    await expect(401, as('GET', `/compute/v2.1/servers/${id}`));
    assert.equal((await s.admin('GET', `/compute/v2.1/servers/${id}`)).json.server.status, 'ACTIVE');
    await expect(204, s.admin('DELETE', `/compute/v2.1/servers/${id}`));
    await waitFor(s.admin, id, ['gone']);
  });

  it('shows the catalog as services, endpoints and regions', async () => {
    const { services } = (await expect(200, s.admin('GET', `${V3}/services`))).json;
    const compute = services.find((each: { type: string }) => each.type === 'compute');
    const { endpoints } = (await s.admin('GET', `${V3}/endpoints?service_id=${compute.id}&interface=public`)).json;
    assert.equal(endpoints.length, 1);
    assert.match(endpoints[0].url, /\/compute\/v2\.1$/);
    await expect(200, s.admin('GET', `${V3}/endpoints/${endpoints[0].id}`));
    await expect(200, s.admin('GET', `${V3}/services/${compute.id}`));
    const { regions } = (await s.alice('GET', `${V3}/regions`)).json;
    await expect(200, s.alice('GET', `${V3}/regions/${regions[0].id}`));
    await expect(404, s.admin('GET', `${V3}/services/none`));
  });

  it('lets a token be looked at and revoked by its own user and by administrators', async () => {
    const { auth } = await tenant('tokens');
    const one = await enter(auth);
    const two = await enter(auth);
    const look = (as: string, subject: string, method = 'GET') =>
      call(as, method, `${V3}/auth/tokens`, undefined, { 'x-subject-token': subject });
    await expect(200, look(one.token, two.token));
    await expect(200, look(s.admin.token, two.token, 'HEAD'));
    await expect(403, look(s.alice.token, two.token));
    await expect(403, look(s.alice.token, two.token, 'DELETE'));
    await expect(404, look(s.admin.token, 'nonsense'));
    await expect(204, look(one.token, two.token, 'DELETE'));
    await expect(404, look(s.admin.token, two.token));
    await expect(401, two('GET', `${V3}/auth/catalog`));
    await expect(200, one('GET', `${V3}/auth/catalog`));
  });
});
