// What operators use: services, hypervisors, aggregates and zones, key pairs, discovery, identity.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { owe } from '../../src/control/debts.ts';
import { PASSWORDS, type TestSystem, testSystem, waitFor } from './system.ts';

const C = '/compute/v2.1';
const V3 = '/identity/v3';

describe('the API for operators', () => {
  let s: TestSystem;
  before(async () => {
    s = await testSystem();
  });
  after(() => s[Symbol.asyncDispose]());

  it('discovers versions without a token', async () => {
    const get = async (path: string) => s.raw(path, {});
    assert.equal((await get('/identity')).status, 300);
    assert.equal((await get('/identity/v3')).json.version.id, 'v3.14');
    const [older, current] = (await get('/compute/')).json.versions;
    assert.deepEqual([older.id, older.version, current.version], ['v2.0', '', '2.96']);
    assert.equal((await get('/compute/v2/')).json.version.id, 'v2.0');
    const paths = ['v2/flavors', `v2/${s.alice.projectId}/flavors`, `v2.1/${s.alice.projectId}/flavors`];
    for (const path of paths) assert.equal((await s.alice('GET', `/compute/${path}`)).status, 200, path);
    assert.equal((await s.alice('GET', `/compute/v2.1/${s.mallory.projectId}/flavors`)).status, 400);
    assert.equal((await get('/compute/v2.1/')).json.version.min_version, '2.1');
    assert.equal((await get('/image')).status, 300);
    assert.equal((await get('/network')).json.versions[0].id, 'v2.0');
    assert.equal((await get('/')).status, 200);
  });

  it('issues, validates and revokes tokens', async () => {
    const login = (auth: object) =>
      s.raw(`${V3}/auth/tokens`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ auth }),
      });
    const password = (user: object) => ({ methods: ['password'], password: { user } });
    const alice = { name: 'alice', domain: { id: 'default' }, password: PASSWORDS.alice };
    const ways = [
      { identity: password(alice) },
      { identity: password(alice), scope: { project: { name: 'wonderland', domain: { name: 'Default' } } } },
      { identity: password(alice), scope: { project: { name: 'wonderland' } } },
      {
        identity: password({ id: s.alice.userId, password: PASSWORDS.alice }),
        scope: { project: { id: s.alice.projectId } },
      },
    ];
    for (const way of ways) {
      const answer = await login(way);
      assert.equal(answer.status, 201, answer.text);
      const { token } = answer.json;
      assert.equal(token.project.id, s.alice.projectId);
      assert.deepEqual(
        token.catalog.map((each: { type: string }) => each.type),
        ['identity', 'compute', 'image', 'network', 'volumev3', 'block-storage', 'volume'],
      );
      assert.match(token.expires_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
    }
    const wrong = [
      { identity: password({ ...alice, password: 'no' }) },
      { identity: password({ ...alice, name: 'nobody' }) },
      { identity: password({ ...alice, domain: { id: 'other' } }) },
      { identity: password(alice), scope: { project: { name: 'admin' } } },
      { identity: password(alice), scope: { system: { all: true } } },
    ];
    const texts = new Set<string>();
    for (const way of wrong) {
      const answer = await login(way);
      assert.equal(answer.status, 401);
      texts.add(answer.text);
    }
    assert.equal(texts.size, 1, 'nobody learns which part was wrong');
    assert.equal((await login({ identity: { methods: ['oauth1'] } })).status, 401);
    assert.equal((await login({ identity: password({ password: 'x' }) })).status, 400);

    const fresh = (await login(ways[0] ?? {})).headers.get('x-subject-token') ?? '';
    const about = (method: string, token: string, subject: string) =>
      s.raw(`${V3}/auth/tokens`, { method, headers: { 'x-auth-token': token, 'x-subject-token': subject } });
    assert.equal((await about('GET', s.admin.token, fresh)).json.token.user.name, 'alice');
    assert.equal((await about('HEAD', fresh, fresh)).status, 200);
    assert.equal((await about('GET', s.mallory.token, fresh)).status, 403);
    assert.equal((await about('DELETE', s.mallory.token, fresh)).status, 403);
    assert.equal((await about('DELETE', fresh, fresh)).status, 204);
    assert.equal((await about('GET', s.admin.token, fresh)).status, 404);
    assert.equal((await s.raw(`${C}/servers`, { headers: { 'x-auth-token': fresh } })).status, 401);
  });

  it('lists projects, users, roles', async () => {
    const projects = (await s.admin('GET', `${V3}/projects?name=wonderland`)).json.projects;
    assert.deepEqual(
      projects.map((each: { id: string }) => each.id),
      [s.alice.projectId],
    );
    assert.equal((await s.alice('GET', `${V3}/projects`)).status, 403);
    assert.equal((await s.alice('GET', `${V3}/projects/${s.alice.projectId}`)).json.project.name, 'wonderland');
    assert.equal((await s.alice('GET', `${V3}/projects/${s.mallory.projectId}`)).status, 403);
    assert.deepEqual(
      (await s.alice('GET', `${V3}/auth/projects`)).json.projects.map((each: { name: string }) => each.name),
      ['wonderland'],
    );
    assert.equal((await s.admin('GET', `${V3}/users?name=alice`)).json.users.length, 1);
    assert.equal((await s.admin('GET', `${V3}/users/nobody`)).json.error.code, 404);
    const roles = (await s.admin('GET', `${V3}/roles`)).json.roles.map((each: { name: string }) => each.name);
    assert.ok(['admin', 'member', 'reader'].every((each) => roles.includes(each)));
    assert.equal((await s.admin('GET', `${V3}/domains?name=Default`)).json.domains[0].id, 'default');
  });

  it('shows and changes services', async () => {
    const { services } = (await s.admin('GET', `${C}/os-services`, undefined, 53)).json;
    assert.deepEqual(
      services.map((each: { host: string }) => each.host),
      ['cell1-host1', 'cell1-host2', 'cell2-host1', 'cell2-host2'],
    );
    assert.ok(services.every((each: { state: string }) => each.state === 'up'));
    const url = `${C}/os-services/${services[0].id}`;
    const disabled = await s.admin('PUT', url, { status: 'disabled', disabled_reason: 'repair' }, 53);
    assert.equal(disabled.json.service.disabled_reason, 'repair');
    assert.equal((await s.admin('PUT', url, { forced_down: true }, 53)).json.service.state, 'down');
    assert.equal(
      (await s.admin('PUT', url, { status: 'enabled', forced_down: false }, 53)).json.service.status,
      'enabled',
    );
    assert.equal((await s.admin('PUT', url, { status: 'enabled', disabled_reason: 'x' }, 53)).status, 400);
    assert.equal((await s.admin('PUT', `${C}/os-services/nothing`, { status: 'enabled' }, 53)).status, 404);
    const legacy = (verb: string, body: object, minor = 1) => s.admin('PUT', `${C}/os-services/${verb}`, body, minor);
    const host = { host: 'cell1-host2', binary: 'nova-compute' };
    assert.equal((await legacy('disable', host)).json.service.status, 'disabled');
    assert.equal(
      (await legacy('disable-log-reason', { ...host, disabled_reason: 'r' })).json.service.disabled_reason,
      'r',
    );
    assert.equal((await legacy('enable', host)).json.service.status, 'enabled');
    assert.equal((await legacy('force-down', { ...host, forced_down: false })).status, 404);
    assert.equal((await legacy('force-down', { ...host, forced_down: false }, 11)).json.service.forced_down, false);
    assert.equal((await legacy('enable', { ...host, host: 'nowhere' })).status, 404);
    assert.equal((await legacy('enable', { host: 'cell1-host2' })).status, 400);
    assert.equal((await legacy('explode', host)).status, 404);
  });

  it('shows hypervisors by number and by uuid', async () => {
    const old = (await s.admin('GET', `${C}/os-hypervisors/detail`)).json.hypervisors;
    assert.equal(old[0].id, 1);
    assert.equal(typeof JSON.parse(old[0].cpu_info).arch, 'string');
    const now = (await s.admin('GET', `${C}/os-hypervisors`, undefined, 53)).json.hypervisors;
    assert.match(now[0].id, /^[0-9a-f-]{36}$/);
    assert.equal(
      (await s.admin('GET', `${C}/os-hypervisors/${now[0].id}`, undefined, 53)).json.hypervisor.hypervisor_hostname,
      'cell1-host1',
    );
    assert.ok(!('vcpus' in (await s.admin('GET', `${C}/os-hypervisors/${now[0].id}`, undefined, 88)).json.hypervisor));
    assert.equal((await s.admin('GET', `${C}/os-hypervisors/9`)).status, 404);
    for (const [query, sentence] of [
      ['hypervisor_hostname_pattern=cell1&limit=1', /^Paging over hypervisors/],
      ['with_servers=foo', /with_servers/],
    ] as const) {
      const refused = await s.admin('GET', `${C}/os-hypervisors?${query}`, undefined, 53);
      assert.match(refused.json.badRequest.message, sentence);
    }
    assert.equal((await s.admin('GET', `${C}/os-hypervisors/statistics`)).json.hypervisor_statistics.count, 4);
    const up = (await s.admin('GET', `${C}/os-hypervisors/1/uptime`)).json.hypervisor;
    assert.match(up.uptime, /^ \d\d:\d\d:\d\d up 0:0\d, {2}0 users, {2}load average: 0\.00, 0\.00, 0\.00$/);
    const whole = (await s.admin('GET', `${C}/os-hypervisors/detail?limit=1`, undefined, 88)).json.hypervisors;
    assert.match(whole[0].uptime, / up /);
    const found = (await s.admin('GET', `${C}/os-hypervisors/host1/search`)).json.hypervisors;
    assert.deepEqual(
      found.map((each: { id: number }) => each.id),
      [1, 3],
    );
    assert.equal(
      (await s.admin('GET', `${C}/os-hypervisors/cell1-host1/servers`)).json.hypervisors[0].servers,
      undefined,
    );
    assert.equal((await s.admin('GET', `${C}/os-hypervisors/nowhere/search`)).status, 404);
    assert.equal((await s.alice('GET', `${C}/os-hypervisors/host1/search`)).status, 403);
    assert.equal((await s.admin('GET', `${C}/os-hypervisors/host1/search`, undefined, 53)).status, 404);
    const empty = (await s.admin('GET', `${C}/os-hypervisors?with_servers=1`, undefined, 75)).json.hypervisors;
    assert.deepEqual(empty[0].servers, []);
    for (const [minor, count] of [
      [32, 4],
      [33, 1],
    ] as const)
      assert.equal(
        (await s.admin('GET', `${C}/os-hypervisors?limit=1`, undefined, minor)).json.hypervisors.length,
        count,
      );
    const page = (await s.admin('GET', `${C}/os-hypervisors?limit=1`, undefined, 53)).json;
    assert.equal(page.hypervisors.length, 1);
    assert.ok(page.hypervisors_links[0].href.includes(now[0].id));
  });

  it('tells what projects have used', async () => {
    const day = 24 * 3_600_000;
    const around = `start=${new Date(Date.now() - day).toISOString().slice(0, 19)}&end=${new Date(Date.now() + day).toISOString().slice(0, 23)}`;
    const server = { name: 'used', imageRef: s.imageId, flavorRef: '1' };
    const ids: string[] = [];
    for (const name of ['a', 'b'])
      ids.push((await s.alice('POST', `${C}/servers`, { server: { ...server, name } })).json.server.id);
    for (const id of ids) await waitFor(s.alice, id, ['ACTIVE']);
    await s.alice('DELETE', `${C}/servers/${ids[0]}`);
    await waitFor(s.alice, ids[0] ?? '', ['gone']);
    const url = `${C}/os-simple-tenant-usage`;
    const { tenant_usage: own } = (await s.alice('GET', `${url}/${s.alice.projectId}?${around}`)).json;
    assert.deepEqual(own.server_usages.map((each: { state: string }) => each.state).toSorted(), [
      'active',
      'terminated',
    ]);
    assert.ok(own.total_hours >= 0 && own.server_usages[0].vcpus === 1);
    const all = (await s.admin('GET', `${url}?${around}&detailed=1`)).json.tenant_usages;
    assert.ok(all.some((each: { tenant_id: string }) => each.tenant_id === s.alice.projectId));
    assert.equal((await s.admin('GET', `${url}?${around}`)).json.tenant_usages[0].server_usages, undefined);
    const page = (await s.alice('GET', `${url}/${s.alice.projectId}?${around}&limit=1`, undefined, 40)).json;
    assert.equal(page.tenant_usage.server_usages.length, 1);
    const next = new URL(page.tenant_usage_links[0].href);
    const second = (await s.alice('GET', `${next.pathname}${next.search}`, undefined, 40)).json.tenant_usage;
    assert.notEqual(second.server_usages[0].instance_id, page.tenant_usage.server_usages[0].instance_id);
    // One that never started counts in no page, wherever it stands.
    const [first = '', last = ''] = ids.toSorted();
    const { stores } = s.system.platform;
    const { cell_id } = await stores.global
      .selectFrom('server_mappings')
      .select('cell_id')
      .where('server_id', '=', first)
      .executeTakeFirstOrThrow();
    const launched = await (await stores.cell(cell_id))
      .updateTable('servers')
      .set({ launched_at: null })
      .where('id', '=', first)
      .executeTakeFirst();
    assert.equal(launched.numUpdatedRows, 1n);
    const only = (await s.alice('GET', `${url}/${s.alice.projectId}?${around}&limit=1`, undefined, 40)).json;
    assert.equal(only.tenant_usage.server_usages[0].instance_id, last);
    assert.deepEqual((await s.admin('GET', `${url}/nobody?${around}`)).json.tenant_usage, {});
    const wrong = ['start=2026-02-02T00:00:00&end=2026-01-01T00:00:00', 'start=soon', `${around}&limit=1&marker=x`];
    for (const query of wrong)
      assert.equal((await s.admin('GET', `${url}?${query}`, undefined, 40)).status, 400, query);
    assert.equal((await s.alice('GET', `${url}?${around}`)).status, 403);
    assert.equal((await s.mallory('GET', `${url}/${s.alice.projectId}?${around}`)).status, 403);
    await s.alice('DELETE', `${C}/servers/${ids[1]}`);

    const audit = `${C}/os-instance_usage_audit_log`;
    const log = (await s.admin('GET', `${audit}/${encodeURIComponent('2026-03-05 10:11:12')}`)).json;
    const { period_beginning, period_ending } = log.instance_usage_audit_log;
    assert.deepEqual([period_beginning, period_ending], ['2026-02-01 00:00:00', '2026-03-01 00:00:00']);
    assert.match((await s.admin('GET', audit)).json.instance_usage_audit_logs.overall_status, /^0 of \d hosts done\./);
    assert.equal((await s.admin('GET', `${audit}/yesterday`)).status, 400);
    assert.equal((await s.alice('GET', audit)).status, 403);
  });

  it('sets quotas of projects, of users within them, and of everybody', async () => {
    const quota = `${C}/os-quota-sets/${s.alice.projectId}`;
    const user = `${quota}?user_id=${s.alice.userId}`;
    const set = (url: string, values: object, minor = 1) => s.admin('PUT', url, { quota_set: values }, minor);
    assert.equal((await set(quota, { instances: 5, fixed_ips: 7, force: 'True' })).json.quota_set.fixed_ips, 7);
    assert.equal((await set(quota, { fixed_ips: 7 }, 36)).status, 400);
    assert.equal((await set(quota, { injected_files: 7 }, 57)).status, 400);
    assert.equal((await set(user, { instances: 6 })).status, 400, 'more than the project has');
    assert.equal((await set(user, { instances: 0 })).json.quota_set.instances, 0);
    const refused = await s.alice('POST', `${C}/servers`, {
      server: { name: 'x', imageRef: s.imageId, flavorRef: '1' },
    });
    assert.deepEqual([refused.status, /instances/.test(refused.text)], [403, true]);
    assert.equal((await s.admin('GET', quota)).json.quota_set.instances, 5);
    assert.equal((await s.admin('GET', `${quota}/detail?user_id=${s.alice.userId}`)).json.quota_set.instances.limit, 0);
    assert.equal((await s.admin('DELETE', user)).status, 202);
    assert.equal((await s.admin('GET', user)).json.quota_set.instances, 5);
    assert.equal((await s.alice('DELETE', quota)).status, 403);
    assert.equal((await s.admin('DELETE', quota)).status, 202);
    assert.equal((await s.admin('GET', quota)).json.quota_set.instances, 10);

    for (const path of ['', '/defaults', '/detail']) {
      const nobodys = await s.admin('GET', `${C}/os-quota-sets/nobodys${path}`);
      const said = nobodys.json.badRequest?.message;
      assert.deepEqual([nobodys.status, said], [400, 'Project ID nobodys is not a valid project.']);
    }
    assert.equal((await set(`${C}/os-quota-sets/nobodys`, { instances: 5 })).status, 400);

    const everybody = `${C}/os-quota-class-sets/default`;
    const before = (await s.admin('GET', everybody, undefined, 50)).json.quota_class_set;
    assert.deepEqual([before.id, before.server_groups, before.fixed_ips], ['default', 10, undefined]);
    const change = (values: object, url = everybody) => s.admin('PUT', url, { quota_class_set: values });
    assert.equal((await change({ instances: 110 })).json.quota_class_set.instances, 110);
    assert.equal((await s.admin('GET', `${quota}/defaults`)).json.quota_set.instances, 110);
    assert.equal((await s.alice('GET', quota)).json.quota_set.instances, 110);
    assert.equal((await change({ instances: 10 })).status, 200);
    assert.equal((await change({ instances: 10 }, `${C}/os-quota-class-sets/gold`)).status, 400);
    assert.equal((await s.alice('GET', everybody)).status, 403);
    const { absolute } = (await s.alice('GET', `${C}/limits`, undefined, 35)).json.limits;
    assert.deepEqual([absolute.maxSecurityGroups, absolute.totalFloatingIpsUsed], [-1, 0]);
    assert.equal(
      (await s.alice('GET', `${C}/limits`, undefined, 36)).json.limits.absolute.maxSecurityGroups,
      undefined,
    );
  });

  it('makes zones of aggregates', async () => {
    const made = (
      await s.admin('POST', `${C}/os-aggregates`, { aggregate: { name: 'agg', availability_zone: 'z1' } }, 41)
    ).json;
    const url = `${C}/os-aggregates/${made.aggregate.id}`;
    assert.match(made.aggregate.uuid, /^[0-9a-f-]{36}$/);
    assert.equal(
      (await s.admin('POST', `${url}/action`, { add_host: { host: 'cell2-host2' } })).json.aggregate.hosts.length,
      1,
    );
    assert.equal((await s.admin('POST', `${url}/action`, { add_host: { host: 'cell2-host2' } })).status, 409);
    const changed = await s.admin('POST', `${url}/action`, { set_metadata: { metadata: { k: 'v' } } });
    assert.deepEqual(changed.json.aggregate.metadata, { k: 'v', availability_zone: 'z1' });
    const zones = (await s.alice('GET', `${C}/os-availability-zone`)).json.availabilityZoneInfo;
    assert.deepEqual(zones.map((each: { zoneName: string }) => each.zoneName).toSorted(), ['nova', 'z1']);
    assert.equal((await s.alice('GET', `${C}/os-availability-zone/detail`)).status, 403);
    assert.equal((await s.admin('DELETE', url)).status, 400);
    const cache = (...ids: string[]) => ({ cache: ids.map((id) => ({ id })) });
    assert.equal((await s.admin('POST', `${url}/images`, cache(s.imageId), 81)).status, 202);
    assert.equal((await s.admin('POST', `${url}/images`, cache(s.imageId), 80)).status, 404);
    assert.equal((await s.admin('POST', `${url}/images`, cache(s.imageId, s.imageId), 81)).status, 400);
    assert.equal((await s.admin('POST', `${url}/images`, cache(made.aggregate.uuid), 81)).status, 400);
    assert.equal((await s.admin('POST', `${C}/os-aggregates/999/images`, cache(s.imageId), 81)).status, 404);
    assert.equal((await s.alice('POST', `${url}/images`, cache(s.imageId), 81)).status, 403);
    const act = (body: object) => s.admin('POST', `${url}/action`, body);
    const remove = () => act({ remove_host: { host: 'cell2-host2' } });
    const wish = { name: 'zoned', imageRef: s.imageId, flavorRef: '1', networks: 'none', availability_zone: 'z1' };
    const { id } = (await s.alice('POST', `${C}/servers`, { server: wish }, 37)).json.server;
    await waitFor(s.alice, id, ['ACTIVE']);
    const renamed = await s.admin('PUT', url, { aggregate: { availability_zone: 'z2' } });
    const moved = await act({ set_metadata: { metadata: { availability_zone: null } } });
    assert.deepEqual([renamed.status, moved.status], [400, 400]);
    const refused = await remove();
    assert.deepEqual(
      [refused.status, refused.json.conflictingRequest.message],
      [
        409,
        `Cannot remove host from aggregate ${made.aggregate.id}. Reason: One or more hosts contain instances in this zone.`,
      ],
    );
    assert.equal((await s.alice('DELETE', `${C}/servers/${id}`)).status, 204);
    await waitFor(s.alice, id, ['gone']);
    assert.equal((await remove()).status, 200);
    assert.equal((await s.admin('DELETE', url)).status, 200);
    assert.equal((await s.admin('GET', url)).status, 404);
    assert.equal((await s.admin('GET', `${C}/os-aggregates/nonsense`)).status, 404);
  });

  it('keeps flavors with extra specs and access', async () => {
    const flavor = { name: 'gold', ram: 256, vcpus: 1, disk: 1, id: 'gold', 'os-flavor-access:is_public': false };
    const made = await s.admin('POST', `${C}/flavors`, { flavor }, 61);
    assert.equal(made.status, 200, made.text);
    assert.deepEqual(made.json.flavor.extra_specs, {});
    assert.equal((await s.alice('GET', `${C}/flavors/gold`)).status, 404);
    assert.equal((await s.alice('POST', `${C}/flavors`, { flavor })).status, 403);
    assert.equal((await s.admin('POST', `${C}/flavors`, { flavor })).status, 409);
    const access = { addTenantAccess: { tenant: s.alice.projectId } };
    assert.equal((await s.admin('POST', `${C}/flavors/gold/action`, access)).json.flavor_access.length, 1);
    const nobody = await s.admin('POST', `${C}/flavors/gold/action`, { addTenantAccess: { tenant: 'nobody' } });
    assert.equal(nobody.json.badRequest.message, 'Project ID nobody is not a valid project.');
    assert.equal((await s.alice('GET', `${C}/flavors/gold`)).status, 200);
    const specs = `${C}/flavors/gold/os-extra_specs`;
    assert.equal((await s.admin('POST', specs, { extra_specs: { 'a:b': 'c' } })).status, 200);
    for (const [minor, status] of [
      [85, 200],
      [86, 400],
    ] as const) {
      const unknown = { 'hw:bogus': '1' };
      assert.equal((await s.admin('POST', specs, { extra_specs: unknown }, minor)).status, status);
      assert.equal((await s.admin('PUT', `${specs}/hw:bogus`, unknown, minor)).status, status);
    }
    await s.admin('DELETE', `${specs}/hw:bogus`);
    assert.deepEqual((await s.alice('GET', `${specs}/a:b`)).json, { 'a:b': 'c' });
    assert.equal((await s.admin('PUT', `${specs}/a:b`, { x: 'y' })).status, 400);
    assert.equal((await s.admin('DELETE', `${specs}/a:b`)).status, 200);
    assert.equal(
      (await s.admin('PUT', `${C}/flavors/gold`, { flavor: { description: 'best' } }, 55)).json.flavor.description,
      'best',
    );
    const ids = async (query: string, client = s.admin) =>
      (await client('GET', `${C}/flavors?${query}`)).json.flavors.map((each: { id: string }) => each.id);
    assert.ok(!(await ids('')).includes('gold'));
    assert.ok((await ids('is_public=None')).includes('gold'));
    assert.deepEqual(await ids('is_public=false'), ['gold']);
    assert.ok((await ids('', s.alice)).includes('gold'));
    assert.ok(!(await ids('', s.mallory)).includes('gold'));
    assert.deepEqual(await ids('minRam=1024'), ['4']);
    assert.equal((await s.admin('DELETE', `${C}/flavors/gold`)).status, 202);
    assert.equal((await s.admin('DELETE', `${C}/flavors/gold`)).status, 404);
    const bad = { name: 'x', ram: '0', vcpus: 1, disk: 1 };
    assert.equal((await s.admin('POST', `${C}/flavors`, { flavor: bad })).status, 400);
  });

  it('makes and takes certificates as key pairs', async () => {
    const url = `${C}/os-keypairs`;
    const made = await s.alice('POST', url, { keypair: { name: 'win', type: 'x509' } }, 2);
    assert.deepEqual([made.status, made.json.keypair.type], [201, 'x509'], made.text);
    assert.match(made.json.keypair.private_key, /^-----BEGIN PRIVATE KEY-----/);
    const { public_key: publicKey, fingerprint } = made.json.keypair;
    const taken = { name: 'again', type: 'x509', public_key: publicKey };
    assert.equal((await s.alice('POST', url, { keypair: taken }, 2)).json.keypair.fingerprint, fingerprint);
    assert.equal((await s.alice('POST', url, { keypair: { ...taken, name: 'ssh', type: 'ssh' } }, 2)).status, 400);
    assert.equal((await s.alice('POST', url, { keypair: { ...taken, public_key: 'x' } }, 2)).status, 400);
    for (const name of ['win', 'again']) assert.equal((await s.alice('DELETE', `${url}/${name}`)).status, 202);
  });

  it('keeps key pairs', async () => {
    const made = await s.alice('POST', `${C}/os-keypairs`, { keypair: { name: 'kp' } });
    assert.equal(made.status, 200);
    assert.match(made.json.keypair.private_key, /BEGIN RSA PRIVATE KEY/);
    assert.equal((await s.alice('POST', `${C}/os-keypairs`, { keypair: { name: 'kp' } })).status, 409);
    assert.ok((await s.alice('GET', `${C}/os-keypairs?limit=0`)).json.keypairs.length > 0, 'no pages yet');
    assert.equal((await s.alice('POST', `${C}/os-keypairs`, { keypair: { name: 'kp2' } }, 92)).status, 400);
    assert.equal((await s.alice('GET', `${C}/os-keypairs/kp`)).json.keypair.name, 'kp');
    assert.equal((await s.mallory('GET', `${C}/os-keypairs/kp`)).status, 404);
    assert.equal((await s.mallory('GET', `${C}/os-keypairs?user_id=${s.alice.userId}`, undefined, 10)).status, 403);
    assert.equal(
      (await s.admin('GET', `${C}/os-keypairs?user_id=${s.alice.userId}`, undefined, 10)).json.keypairs.length,
      1,
    );
    assert.equal((await s.alice('DELETE', `${C}/os-keypairs/kp`, undefined, 2)).status, 204);
    assert.equal((await s.alice('DELETE', `${C}/os-keypairs/kp`)).status, 404);
  });

  it('shows cells, hosts and debts to administrators', async () => {
    const cells = (await s.admin('GET', '/crosscell/v1/cells')).json.cells;
    assert.deepEqual(
      cells.map((each: { name: string; hosts: number }) => [each.name, each.hosts]),
      [
        ['cell1', 2],
        ['cell2', 2],
      ],
    );
    const first = (await s.admin('GET', '/crosscell/v1/hosts?limit=3')).json;
    assert.deepEqual([first.hosts.length, first.next], [3, 'cell2-host1']);
    assert.equal((await s.admin('GET', `/crosscell/v1/hosts?marker=${first.next}`)).json.hosts.length, 1);
    assert.equal((await s.admin('GET', '/crosscell/v1/hosts?marker=nowhere')).status, 400);
    assert.deepEqual((await s.admin('GET', '/crosscell/v1/debts')).json, { debts: [], next: null });
    const debt = {
      kind: 'revoke-volume',
      host: 'a-host-that-is-gone',
      serverId: 's',
      generation: 1,
    } as const;
    for (const volumeId of ['v1', 'v2'])
      await owe(s.system.platform, { ...debt, volumeId, sagaId: 'g', reason: 'a test' });
    const owed = (await s.admin('GET', '/crosscell/v1/debts?limit=1')).json;
    const rest = (await s.admin('GET', `/crosscell/v1/debts?marker=${owed.next}`)).json;
    const all = [...owed.debts, ...rest.debts].map((each: { volumeId: string }) => each.volumeId);
    assert.deepEqual([all.toSorted(), owed.debts.length, rest.next], [['v1', 'v2'], 1, null]);
    assert.equal((await s.alice('GET', '/crosscell/v1/cells')).status, 403);
    assert.equal((await s.admin('GET', '/crosscell/v1/moves/nothing')).status, 404);
    assert.match((await s.raw('/metrics', {})).text, /crosscell_sagas|crosscell_api_requests_total/);
  });

  it('shows hosts as Nova did until 2.42, and forgets one that holds nothing', async () => {
    const { hosts } = (await s.admin('GET', `${C}/os-hosts?zone=nova`)).json;
    assert.deepEqual(hosts[0], { host_name: 'cell1-host1', service: 'compute', zone: 'nova' });
    assert.deepEqual((await s.admin('GET', `${C}/os-hosts?zone=mars`)).json.hosts, []);
    const shown = (await s.admin('GET', `${C}/os-hosts/cell1-host1`)).json.host;
    assert.deepEqual(
      shown.map((each: { resource: { project: string } }) => each.resource.project),
      ['(total)', '(used_now)', '(used_max)'],
    );
    const put = (name: string, body: object) => s.admin('PUT', `${C}/os-hosts/${name}`, body);
    assert.equal((await put('cell1-host1', { status: 'disable' })).json.status, 'disabled');
    assert.equal((await s.admin('GET', `${C}/os-hosts`)).json.hosts.length, 3);
    assert.equal((await put('cell1-host1', { status: 'Enable' })).json.status, 'enabled');
    assert.equal((await put('cell1-host1', { maintenance_mode: 'enable' })).status, 501);
    assert.equal((await put('cell1-host1', { status: 'maybe' })).status, 400);
    assert.equal((await put('nowhere', { status: 'enable' })).status, 404);
    assert.equal((await s.admin('GET', `${C}/os-hosts/cell1-host1/reboot`)).status, 501);
    assert.equal((await s.admin('GET', `${C}/os-hosts/nowhere/shutdown`)).status, 404);
    assert.equal((await s.alice('GET', `${C}/os-hosts`)).status, 403);
    assert.equal((await s.admin('GET', `${C}/os-hosts`, undefined, 43)).status, 404);

    const server = { name: 'there', imageRef: s.imageId, flavorRef: '1', networks: 'auto', host: 'cell2-host2' };
    const { id } = (await s.admin('POST', `${C}/servers`, { server }, 74)).json.server;
    await waitFor(s.admin, id, ['ACTIVE']);
    const on = (await s.admin('GET', `${C}/os-hypervisors/cell2-host2/servers`)).json.hypervisors[0].servers;
    assert.equal(on[0].uuid, id);
    const usage = (await s.admin('GET', `${C}/os-hosts/cell2-host2`)).json.host;
    assert.deepEqual(usage[3].resource, { ...usage[2].resource, project: s.admin.projectId });
    const { services } = (await s.admin('GET', `${C}/os-services?host=cell2-host2&nonsense=1`, undefined, 53)).json;
    const service = `${C}/os-services/${services[0].id}`;
    assert.equal((await s.admin('DELETE', service, undefined, 53)).status, 409);
    await s.admin('DELETE', `${C}/servers/${id}`);
    await waitFor(s.admin, id, ['gone']);
    for (let tries = 0; (await s.admin('DELETE', service, undefined, 53)).status !== 204; tries += 1) {
      assert.ok(tries < 100, 'nothing of the server is left there');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.equal((await s.admin('GET', `${C}/os-hosts/cell2-host2`)).status, 404);
    assert.equal((await s.admin('DELETE', service, undefined, 53)).status, 404);
    assert.equal((await s.admin('DELETE', `${C}/os-services/x`, undefined, 53)).status, 400);
    assert.equal((await s.admin('GET', `${C}/os-services?nonsense=1`, undefined, 75)).status, 400);
  });
});
