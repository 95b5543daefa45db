// Server groups over the API: their forms by microversion, paging, limits, and servers in them.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type TestSystem, testSystem, waitFor } from './system.ts';

const C = '/compute/v2.1';
const G = `${C}/os-server-groups`;

describe('server groups', () => {
  let s: TestSystem;
  before(async () => {
    s = await testSystem();
  });
  after(() => s[Symbol.asyncDispose]());

  const make = (server_group: object, minor = 1) => s.alice('POST', G, { server_group }, minor);
  const create = (minor: number, body: object) => s.alice('POST', `${C}/servers`, body, minor);
  const wish = () => ({ name: 'one', imageRef: s.imageId, flavorRef: '1', networks: [{ uuid: s.networkId }] });

  it('shows policies and metadata until 2.63, policy and rules from 2.64 on', async () => {
    const old = await make({ name: 'a', policies: ['affinity'] });
    assert.equal(old.status, 200, old.text);
    const { id, ...rest } = old.json.server_group;
    assert.deepEqual(rest, { name: 'a', members: [], policies: ['affinity'], metadata: {} });
    const at13 = (await s.alice('GET', `${G}/${id}`, undefined, 13)).json.server_group;
    assert.equal(typeof at13.project_id, 'string');
    const at64 = (await s.alice('GET', `${G}/${id}`, undefined, 64)).json.server_group;
    assert.deepEqual([at64.policy, at64.rules, at64.policies, at64.metadata], ['affinity', {}, undefined, undefined]);
    const ruled = await make({ name: 'b', policy: 'anti-affinity', rules: { max_server_per_host: '3' } }, 64);
    assert.deepEqual(ruled.json.server_group.rules, { max_server_per_host: 3 });
    const listed = (await s.alice('GET', `${G}?limit=1&offset=1`)).json.server_groups;
    assert.deepEqual(
      listed.map((each: { name: string }) => each.name),
      ['b'],
    );
    for (const each of [id, ruled.json.server_group.id]) {
      assert.equal((await s.alice('DELETE', `${G}/${each}`)).status, 204);
      const gone = await s.alice('GET', `${G}/${each}`);
      assert.deepEqual(
        [gone.status, gone.json.itemNotFound.message],
        [404, `Instance group ${each} could not be found.`],
      );
    }
  });

  it('refuses what a microversion does not know, and what makes no sense', async () => {
    for (const [body, minor, sentence] of [
      [{ name: 'x', policies: ['soft-affinity'] }, 14, /is not one of/],
      [{ name: 'x', policies: [] }, 1, /policies/],
      [{ name: 'x', policies: ['affinity', 'anti-affinity'] }, 1, /policies/],
      [{ name: 'x', policies: ['affinity'] }, 64, /policy|policies/],
      [{ name: 'x', policy: 'affinity' }, 63, /policy|policies/],
      [
        { name: 'x', policy: 'affinity', rules: { max_server_per_host: 2 } },
        64,
        /Only anti-affinity policy supports rules/,
      ],
      [{ name: 'x', policy: 'anti-affinity', rules: { max_server_per_host: 0 } }, 64, /max_server_per_host/],
    ] as const) {
      const answer = await make(body, minor);
      assert.equal(answer.status, 400, answer.text);
      assert.match(answer.json.badRequest.message, sentence);
    }
    assert.equal((await make({ name: 'x', policies: ['soft-affinity'] }, 15)).status, 200);
  });

  it('counts: groups of a project, and servers of a user in a group', async () => {
    const { project_id } = (await make({ name: 'q', policies: ['anti-affinity'] }, 13)).json.server_group;
    const limits = (await s.alice('GET', `${C}/limits`)).json.limits.absolute;
    const quota = `${C}/os-quota-sets/${project_id}`;
    const limit = (change: object) => s.admin('PUT', quota, { quota_set: change });
    assert.equal((await limit({ server_groups: limits.totalServerGroupsUsed, server_group_members: 0 })).status, 200);
    const many = await make({ name: 'y', policies: ['affinity'] });
    assert.deepEqual([many.status, many.json.forbidden.message], [403, 'Quota exceeded, too many server groups.']);
    const [group] = (await s.alice('GET', G)).json.server_groups;
    const full = await create(1, { server: wish(), 'os:scheduler_hints': { group: group.id } });
    assert.deepEqual([full.status, full.json.forbidden.message], [403, 'Quota exceeded, too many servers in group']);
    await limit({ server_groups: 10, server_group_members: 10 });
  });

  it('has servers, named by the hint under either name; a deleted server leaves', async () => {
    const { id: group } = (await make({ name: 's', policies: ['anti-affinity'] })).json.server_group;
    const ids: string[] = [];
    for (const key of ['os:scheduler_hints', 'OS-SCH-HNT:scheduler_hints']) {
      const made = await create(1, { server: wish(), [key]: { group, 'a word': 'nobody knows' } });
      assert.equal(made.status, 202, made.text);
      ids.push(made.json.server.id);
    }
    const [one = '', two = ''] = ids;
    for (const id of ids) assert.equal(await waitFor(s.alice, id, ['ACTIVE', 'ERROR']), 'ACTIVE');
    assert.deepEqual((await s.alice('GET', `${G}/${group}`)).json.server_group.members, ids);
    const hosts = await Promise.all(
      ids.map(async (id) => (await s.admin('GET', `${C}/servers/${id}`)).json.server['OS-EXT-SRV-ATTR:host']),
    );
    assert.notEqual(hosts[0], hosts[1]);
    const shown = async (minor: number) => (await s.alice('GET', `${C}/servers/${one}`, undefined, minor)).json.server;
    assert.deepEqual((await shown(71)).server_groups, [group]);
    assert.equal((await shown(70)).server_groups, undefined);
    await s.alice('DELETE', `${C}/servers/${one}`);
    await waitFor(s.alice, one, ['gone']);
    assert.deepEqual((await s.alice('GET', `${G}/${group}`)).json.server_group.members, [two]);
    assert.equal((await s.alice('DELETE', `${G}/${group}`)).status, 204);
    assert.equal((await s.alice('GET', `${C}/servers/${two}`)).status, 200);
    await s.alice('DELETE', `${C}/servers/${two}`);
    await waitFor(s.alice, two, ['gone']);
  });

  it('refuses a group that is not there or not the project’s, and hints that would not be kept', async () => {
    const foreign = (await s.admin('POST', G, { server_group: { name: 'f', policies: ['affinity'] } })).json
      .server_group;
    for (const group of [foreign.id, '00000000-0000-4000-8000-000000000000']) {
      const answer = await create(1, { server: wish(), 'os:scheduler_hints': { group } });
      assert.deepEqual(
        [answer.status, answer.json.badRequest?.message],
        [400, `Instance group ${group} could not be found.`],
      );
    }
    assert.equal((await s.alice('GET', `${G}/${foreign.id}`)).status, 404);
    const all = (await s.admin('GET', `${G}?all_projects=1`)).json.server_groups;
    assert.ok(all.length > (await s.admin('GET', G)).json.server_groups.length);
    for (const hint of [
      { target_cell: 'cell1' },
      { build_near_host_ip: '10.0.0.1' },
      { query: '[">","$free_ram_mb",1]' },
    ]) {
      const answer = await create(1, { server: wish(), 'os:scheduler_hints': hint });
      assert.equal(answer.status, 400, answer.text);
      assert.match(answer.json.badRequest.message, /The hint \w+ is not supported\./);
    }
    assert.equal((await create(1, { server: wish(), 'os:scheduler_hints': { group: 'x' } })).status, 400);
  });
});
