import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { type Client, type TestSystem, testSystem, waitFor } from './system.ts';

const C = '/compute/v2.1';

describe('servers over the API, on simulated hosts', () => {
  let s: TestSystem;
  before(async () => {
    s = await testSystem();
  });
  after(() => s[Symbol.asyncDispose]());
  afterEach(async () => {
    for (const { id } of (await s.alice('GET', `${C}/servers`)).json.servers) await remove(s.alice, id);
  });

  const create = async (client: Client, server: object = {}, minor = 1): Promise<string> => {
    const wish = { name: 'one', imageRef: s.imageId, flavorRef: '1', networks: [{ uuid: s.networkId }], ...server };
    const answer = await client('POST', `${C}/servers`, { server: wish }, minor);
    assert.equal(answer.status, 202, answer.text);
    const { id } = answer.json.server;
    assert.equal(await waitFor(client, id, ['ACTIVE', 'ERROR']), 'ACTIVE');
    return id;
  };
  const act = (client: Client, id: string, body: object, minor = 1) =>
    client('POST', `${C}/servers/${id}/action`, body, minor);
  const show = async (client: Client, id: string, minor = 1) =>
    (await client('GET', `${C}/servers/${id}`, undefined, minor)).json.server;
  const remove = async (client: Client, id: string): Promise<void> => {
    assert.equal((await client('DELETE', `${C}/servers/${id}`)).status, 204);
    await waitFor(client, id, ['gone']);
  };

  it('V36 the bodies of resize and migrate: what they take, and nothing else', async () => {
    const id = await create(s.alice);
    const refused: readonly (readonly [object, number, RegExp])[] = [
      [{ resize: {} }, 1, /'flavorRef' is a required property/],
      [{ resize: { flavorRef: '' } }, 1, /flavorRef/],
      [{ resize: { flavorRef: null } }, 1, /flavorRef/],
      [{ resize: { flavorRef: '3', host: 'x' } }, 1, /Additional properties are not allowed \('host' was unexpected\)/],
      [{ resize: { flavorRef: '3', 'OS-DCF:diskConfig': 'SOMETIMES' } }, 1, /OS-DCF:diskConfig/],
      [{ resize: null }, 1, /resize/],
      [{ migrate: { host: 'a' } }, 55, /migrate/],
      [{ migrate: { host: 7 } }, 56, /host/],
      [{ migrate: { host: 'a', force: true } }, 56, /'force' was unexpected/],
      [{ migrate: { host: '../../etc/passwd' } }, 56, /host/],
    ];
    for (const [body, minor, sentence] of refused) {
      const answer = await act(s.admin, id, body, minor);
      assert.equal(answer.status, 400, `${JSON.stringify(body)}: ${answer.text}`);
      assert.match(answer.json.badRequest.message, sentence);
    }
    assert.equal((await act(s.alice, id, { resize: { flavorRef: 3, 'OS-DCF:diskConfig': 'MANUAL' } })).status, 202);
    await waitFor(s.alice, id, ['VERIFY_RESIZE']);
  });

  it('resizes, confirms, reverts, migrates; with records of it all', async () => {
    const id = await create(s.alice);
    const [before, home] = [await show(s.alice, id), (await show(s.admin, id))['OS-EXT-SRV-ATTR:host']];
    const resized = await act(s.alice, id, { resize: { flavorRef: '3' } });
    assert.equal(resized.status, 202, resized.text);
    await waitFor(s.alice, id, ['VERIFY_RESIZE']);
    const moved = await show(s.admin, id, 47);
    assert.notEqual(moved['OS-EXT-SRV-ATTR:host'], home);
    assert.equal(moved.flavor.original_name, 'm1.medium');
    assert.equal((await act(s.alice, id, { 'os-start': null })).status, 409);
    assert.equal((await act(s.alice, id, { revertResize: null })).status, 202);
    await waitFor(s.alice, id, ['ACTIVE']);
    const back = await show(s.alice, id);
    const timeless = (server: object) => ({ ...server, updated: '', progress: 0, 'OS-SRV-USG:launched_at': '' });
    assert.deepEqual(timeless(back), timeless(before));

    assert.equal((await act(s.alice, id, { migrate: null })).status, 202);
    await waitFor(s.alice, id, ['VERIFY_RESIZE']);
    const confirmed = await act(s.alice, id, { confirmResize: null });
    assert.equal(confirmed.status, 204);
    assert.equal(confirmed.text, '');
    await waitFor(s.alice, id, ['ACTIVE']);

    const { migrations } = (await s.admin('GET', `${C}/os-migrations?instance_uuid=${id}`, undefined, 80)).json;
    assert.deepEqual(
      migrations.map((each: Record<string, string>) => [each['migration_type'], each['status']]),
      [
        ['migration', 'confirmed'],
        ['resize', 'reverted'],
      ],
    );
    assert.equal(migrations[0].project_id, s.alice.projectId);
    const one = `${C}/servers/${id}/migrations/${migrations[0].id}`;
    assert.equal((await s.admin('DELETE', one, undefined, 24)).status, 409, 'none is live');
    assert.equal((await s.admin('POST', `${one}/action`, { force_complete: null }, 22)).status, 409);
    const named = await s.alice('GET', `${C}/servers?name=&ip=&key_name=`);
    assert.deepEqual([named.status, named.json.servers.length > 0], [200, true], 'an empty pattern is in every name');
    const first = (await s.admin('GET', `${C}/os-migrations?limit=1`, undefined, 59)).json;
    assert.equal(first.migrations.length, 1);
    assert.match(first.migrations_links[0].href, /marker=/);
    const next = new URL(first.migrations_links[0].href);
    const second = (await s.admin('GET', next.pathname + next.search, undefined, 59)).json;
    assert.equal(second.migrations[0].status, 'reverted');

    const { instanceActions } = (await s.alice('GET', `${C}/servers/${id}/os-instance-actions`, undefined, 58)).json;
    assert.deepEqual(
      instanceActions.map((each: { action: string }) => each.action),
      ['confirmResize', 'migrate', 'revertResize', 'resize', 'create'],
    );
    const requestId = resized.headers.get('x-compute-request-id');
    const shown = await s.alice('GET', `${C}/servers/${id}/os-instance-actions/${requestId}`, undefined, 84);
    const { events } = shown.json.instanceAction;
    assert.ok(events.length > 5, 'the steps of the move are its events');
    assert.ok(events.every((each: Record<string, unknown>) => each['result'] === 'Success'));
    for (const hidden of ['traceback', 'host', 'details']) {
      assert.ok(!events.some((each: Record<string, unknown>) => hidden in each), `${hidden} is for administrators`);
    }
    assert.equal(
      (await s.alice('GET', `${C}/servers/${id}/os-instance-actions/${requestId}`)).json.instanceAction.events,
      undefined,
    );

    const moves = (await s.admin('GET', `/crosscell/v1/moves?server_id=${id}&limit=2`)).json;
    assert.equal(moves.moves.length, 2);
    const byMigration = await s.admin('GET', `/crosscell/v1/moves/${migrations[1].uuid}`);
    assert.equal(byMigration.json.move.serverId, id);
    await remove(s.alice, id);
    const kept = await s.alice('GET', `${C}/servers/${id}/os-instance-actions`, undefined, 21);
    assert.ok(
      kept.json.instanceActions.some((each: { action: string }) => each.action === 'delete'),
      kept.text,
    );
    assert.equal((await s.alice('GET', `${C}/servers/${id}/os-instance-actions`, undefined, 20)).status, 404);
    assert.equal((await s.mallory('GET', `${C}/servers/${id}/os-instance-actions`, undefined, 21)).status, 404);
  });

  it('shows each key from its microversion on, and hosts to administrators', async () => {
    const id = await create(s.alice, { description: 'first', tags: ['a'] }, 52);
    const since: Record<string, number> = {
      'OS-EXT-SRV-ATTR:reservation_id': 3,
      locked: 9,
      host_status: 16,
      description: 19,
      tags: 26,
      trusted_image_certificates: 63,
      server_groups: 71,
      locked_reason: 73,
      pinned_availability_zone: 96,
    };
    for (const [key, minor] of Object.entries(since)) {
      assert.ok(key in (await show(s.admin, id, minor)), `${key} at 2.${minor}`);
      assert.ok(!(key in (await show(s.admin, id, minor - 1))), `${key} before 2.${minor}`);
    }
    const seen = await show(s.alice, id, 96);
    assert.ok(
      !Object.keys(seen).some((key) =>
        ['OS-EXT-SRV-ATTR:host', 'host_status', 'OS-EXT-SRV-ATTR:instance_name'].includes(key),
      ),
    );
    assert.equal(seen['OS-EXT-SRV-ATTR:hostname'], 'one');
    assert.equal((await show(s.alice, id, 46)).flavor.id, '1');
    assert.deepEqual(Object.keys((await show(s.alice, id, 47)).flavor).toSorted(), [
      'disk',
      'ephemeral',
      'extra_specs',
      'original_name',
      'ram',
      'swap',
      'vcpus',
    ]);
    assert.equal((await show(s.admin, id, 16)).host_status, 'UP');
    const renamed = await s.alice('PUT', `${C}/servers/${id}`, { server: { name: 'two' } });
    assert.equal(renamed.json.server.name, 'two');
    assert.ok(!('OS-EXT-STS:vm_state' in renamed.json.server));
    assert.ok(
      'OS-EXT-STS:vm_state' in
        (await s.alice('PUT', `${C}/servers/${id}`, { server: { name: 'one' } }, 75)).json.server,
    );
    await remove(s.alice, id);
  });

  it('lists with filters, pages and sorting, each project its own', async () => {
    const ids: string[] = [];
    for (const name of ['web-1', 'web-2', 'db-1']) ids.push(await create(s.alice, { name }));
    const names = async (query: string, client = s.alice, minor = 1) => {
      const answer = await client('GET', `${C}/servers?${query}`, undefined, minor);
      assert.equal(answer.status, 200, answer.text);
      return answer.json.servers.map((each: { name: string }) => each.name);
    };
    assert.deepEqual(await names(''), ['db-1', 'web-2', 'web-1']);
    assert.deepEqual(await names('name=web'), ['web-2', 'web-1']);
    assert.deepEqual(await names('name=%5Edb'), ['db-1']);
    assert.deepEqual(await names('name=(a%2B)%2B%24'), []);
    assert.deepEqual(await names('status=SHUTOFF'), []);
    assert.deepEqual(await names('status=active&flavor=1&sort_key=display_name&sort_dir=asc'), [
      'db-1',
      'web-1',
      'web-2',
    ]);
    assert.deepEqual(await names('', s.mallory), []);
    assert.deepEqual(await names('', s.admin), [], 'without all_tenants only the own project');
    assert.equal((await names('all_tenants=1', s.admin)).length, 3);
    assert.equal((await s.alice('GET', `${C}/servers?all_tenants=1`)).status, 403);
    const page = (await s.alice('GET', `${C}/servers/detail?limit=2`)).json;
    assert.equal(page.servers.length, 2);
    const link = new URL(page.servers_links[0].href);
    assert.deepEqual(
      (await s.alice('GET', link.pathname + link.search)).json.servers.map((each: { name: string }) => each.name),
      ['web-1'],
    );
    // A page begins behind a server that does not match the filter, and behind one that is deleted meanwhile.
    assert.deepEqual(await names(`name=web&marker=${ids[2]}`), ['web-2', 'web-1']);
    const ordered = [
      '',
      '&sort_key=created_at&sort_dir=desc',
      '&changes-since=2020-01-01T00:00:00Z&deleted=False&name=web',
    ];
    await remove(s.alice, ids[1] ?? '');
    for (const order of ordered) assert.deepEqual(await names(`marker=${ids[1]}${order}`), ['web-1'], order);
    assert.equal((await s.mallory('GET', `${C}/servers?marker=${ids[1]}`)).status, 400);
    ids[1] = await create(s.alice, { name: 'web-3' });
    for (const order of ['', '&sort_key=uuid']) {
      const lost = await s.alice('GET', `${C}/servers?marker=nowhere${order}`);
      assert.equal(lost.json.badRequest.message, 'marker [nowhere] not found');
    }
    assert.equal((await s.alice('GET', `${C}/servers?limit=-1`)).status, 400);
    assert.equal((await s.alice('GET', `${C}/servers?changes-since=never`)).status, 400);
    assert.deepEqual(await names('changes-since=2020-01-01T00:00:00Z&name=db'), ['db-1']);
    assert.deepEqual(await names('name=web-1&name=db'), ['db-1']);
    assert.deepEqual(await names('config_drive=False&config_drive=True', s.alice, 83), []);
    assert.equal((await names('config_drive=True', s.alice, 82)).length, 3, 'not yet for users');
    for (const [query, sentence] of [
      ['name=(', "Invalid input for query parameters name. Value: (. '(' is not a 'regex'"],
      ['ip=%5B', "Invalid input for query parameters ip. Value: [. '[' is not a 'regex'"],
      ['status=nope', 'Invalid status value'],
    ]) {
      const refused = await s.alice('GET', `${C}/servers?${query}`, undefined, 83);
      assert.deepEqual([refused.status, refused.json.badRequest?.message], [400, sentence]);
    }
    assert.deepEqual(await names('status=nope', s.alice, 37), []);
    assert.equal((await s.alice('GET', `${C}/servers?sort_key=host`)).status, 403);
    const before = new Date().toISOString();
    for (const id of ids) await remove(s.alice, id);
    assert.deepEqual((await names('all_tenants=1&status=DELETED&name=db', s.admin)).slice(0, 1), ['db-1']);
    assert.equal((await s.alice('GET', `${C}/servers?status=DELETED`)).status, 403);
    assert.deepEqual(await names('name=web-2', s.alice, 66), []);
    assert.deepEqual(await names(`name=web-3&changes-before=2100-01-01T00:00:00Z`, s.alice, 66), ['web-3']);
    assert.deepEqual(await names(`name=web-3&changes-since=${before}`, s.alice, 66), ['web-3']);
  });

  it('keeps metadata, tags, locks', async () => {
    const id = await create(s.alice);
    const meta = `${C}/servers/${id}/metadata`;
    assert.deepEqual((await s.alice('POST', meta, { metadata: { a: '1', b: '2' } })).json, {
      metadata: { a: '1', b: '2' },
    });
    assert.deepEqual((await s.alice('PUT', `${meta}/a`, { meta: { a: '3' } })).json, { meta: { a: '3' } });
    assert.equal((await s.alice('PUT', `${meta}/a`, { meta: { c: '3' } })).status, 400);
    assert.equal((await s.alice('DELETE', `${meta}/b`)).status, 204);
    assert.equal((await s.alice('GET', `${meta}/b`)).status, 404);
    assert.deepEqual((await s.alice('PUT', meta, { metadata: {} })).json, { metadata: {} });
    assert.equal((await s.alice('POST', meta, { metadata: { 'a/b': '1' } })).status, 400);

    const tags = `${C}/servers/${id}/tags`;
    assert.equal((await s.alice('GET', tags)).status, 404);
    assert.equal((await s.alice('PUT', `${tags}/x`, undefined, 26)).status, 201);
    assert.equal((await s.alice('PUT', `${tags}/x`, undefined, 26)).status, 204);
    assert.equal((await s.alice('GET', `${tags}/y`, undefined, 26)).status, 404);
    assert.deepEqual((await s.alice('PUT', tags, { tags: ['p', 'q'] }, 26)).json, { tags: ['p', 'q'] });

    assert.equal((await act(s.alice, id, { lock: { locked_reason: 'mine' } })).status, 400);
    assert.equal((await act(s.alice, id, { lock: { locked_reason: 'mine' } }, 73)).status, 202);
    assert.equal((await show(s.alice, id, 73)).locked_reason, 'mine');
    const refused = await act(s.alice, id, { 'os-stop': null });
    assert.equal(refused.status, 409);
    assert.equal(refused.json.conflictingRequest.message, `Instance ${id} is locked`);
    assert.equal((await s.alice('PUT', meta, { metadata: {} })).status, 409);
    assert.equal((await s.alice('PUT', `${tags}/z`, undefined, 26)).status, 201, 'a lock is none of tags');
    assert.equal((await act(s.alice, id, { unlock: null })).status, 202);
    assert.equal((await act(s.alice, id, { 'os-stop': null })).status, 202);
    await waitFor(s.alice, id, ['SHUTOFF']);
    assert.equal((await act(s.alice, id, { reboot: { type: 'SOFT' } })).status, 409);
    await remove(s.alice, id);
  });

  it('refuses what makes no sense, with a sentence', async () => {
    const refused = async (server: object, minor = 1): Promise<string> => {
      const wish = { name: 'bad', imageRef: s.imageId, flavorRef: '1', ...server };
      const answer = await s.alice('POST', `${C}/servers`, { server: wish }, minor);
      assert.ok(answer.status === 400 || answer.status === 403, `${answer.status} ${answer.text}`);
      return (Object.values(answer.json)[0] as { message: string }).message;
    };
    for (const flavorRef of ['none', 'http://localhost/flavors/none'])
      assert.match(await refused({ flavorRef }), /Flavor none could not be found/);
    assert.match(await refused({ imageRef: '00000000-0000-0000-0000-000000000000' }), /Can not find requested image/);
    assert.match(await refused({ imageRef: '' }), /Missing imageRef attribute/);
    assert.match(await refused({ key_name: 'nokey' }), /Invalid key_name provided/);
    assert.match(await refused({ networks: [{ uuid: '00000000-0000-0000-0000-000000000000' }] }), /[Nn]etwork/);
    assert.match(await refused({ networks: [{ port: s.networkId }] }), /Port id .* could not be found/);
    assert.match(await refused({ availability_zone: 'mars' }), /zone is not available/);
    assert.match(await refused({ availability_zone: 'nova:cell1-host1' }), /create:forced_host/);
    assert.match(await refused({ networks: 'auto', host: 'cell1-host1' }, 74), /create:requested_destination/);
    assert.match(await refused({ networks: 'auto', host: 'cell1-host1' }, 73), /'host' was unexpected/);
    assert.match(await refused({ accessIPv4: '1.1.1' }), /accessIPv4/);
    assert.match(await refused({ networks: 'auto', hostname: 'a', max_count: 2 }, 90), /hostname/i);
    assert.match(await refused({ min_count: 3, max_count: 2 }), /min_count must be <= max_count/);
    assert.match(await refused({ max_count: 11, min_count: 11 }), /Quota exceeded for/);
    assert.match(await refused({ config_drive: 'maybe' }), /config_drive/);
    assert.match(await refused({ user_data: 'x' }), /valid base 64/);
    assert.match(await refused({ user_data: 'A'.repeat(65_536) }), /user_data/);
    assert.match(await refused({ description: 'x' }), /'description' was unexpected/);
    assert.match(await refused({}, 37), /'networks' is a required property/);
    assert.match(await refused({ networks: 'some' }, 37), /networks/);
    assert.match(await refused({ name: ' blank ' }), /name/);
    assert.deepEqual((await s.alice('GET', `${C}/servers`)).json.servers, [], 'nothing is left of it');
    assert.equal((await s.alice('GET', `${C}/limits`)).json.limits.absolute.totalInstancesUsed, 0);

    const id = await create(s.alice);
    const message = async (body: object, minor = 1): Promise<string> => {
      const answer = await act(s.alice, id, body, minor);
      assert.equal(answer.status, 400, answer.text);
      return answer.json.badRequest.message;
    };
    assert.match(await message({ explode: null }), /There is no such action: explode/);
    assert.match(await message({ 'os-start': null, 'os-stop': null }), /exactly one action/);
    assert.match(await message({ resize: null }), /None is not of type 'object'/);
    assert.match(await message({ resize: { flavorRef: '1' } }), /must change flavor/);
    assert.match(await message({ resize: { flavorRef: '2', x: 1 } }), /'x' was unexpected/);
    assert.match(await message({ migrate: { host: 'cell2-host1' } }), /./);
    assert.match(await message({ toString: null }), /There is no such action/);
    assert.equal((await act(s.alice, id, { migrate: { host: 'cell2-host1' } }, 56)).status, 403);
    assert.equal((await act(s.admin, id, { migrate: { host: 'nowhere' } }, 56)).status, 400);
    assert.equal((await act(s.alice, id, { confirmResize: null })).status, 409);
    for (const bad of ['nonsense', '../etc', '%00', id.toUpperCase(), `${id}x`]) {
      assert.equal((await s.alice('GET', `${C}/servers/${encodeURIComponent(bad)}`)).status, 404);
    }
    await remove(s.alice, id);
  });

  it('gives config drives and user data; device tags from 2.32 to 2.36 and from 2.42', async () => {
    const id = await create(s.alice, { config_drive: 'True', user_data: 'aGVs\nbG8=' });
    assert.equal((await show(s.alice, id)).config_drive, 'True');
    assert.equal((await show(s.admin, id, 3))['OS-EXT-SRV-ATTR:user_data'], 'aGVsbG8=');
    const tagged = { networks: [{ uuid: s.networkId, tag: 'front' }] };
    for (const minor of [31, 37, 41]) {
      const wish = { name: 'x', imageRef: s.imageId, flavorRef: '1', ...tagged };
      const answer = await s.alice('POST', `${C}/servers`, { server: wish }, minor);
      assert.equal(answer.status, 400, `2.${minor}: ${answer.text}`);
    }
    for (const minor of [32, 42]) {
      const other = await create(s.alice, tagged, minor);
      assert.equal((await show(s.alice, other)).config_drive, '');
      const { json } = await s.alice('GET', `${C}/servers/${other}/os-interface`, undefined, 70);
      assert.equal(json.interfaceAttachments[0].tag, 'front');
    }
  });

  it('takes addresses, a host name, a network twice; hosts from administrators, neighbours from everybody', async () => {
    const access = { accessIPv4: '1.1.1.1', accessIPv6: '::babe:220.12.22.2' };
    const first = await create(
      s.alice,
      {
        ...access,
        networks: [{ uuid: s.networkId }, { uuid: s.networkId }],
        hostname: 'known-as.example.org',
        flavorRef: `http://localhost${C}/flavors/1?from=a-link`,
      },
      94,
    );
    const seen = await show(s.admin, first, 90);
    assert.deepEqual([seen.accessIPv4, seen.accessIPv6], [access.accessIPv4, '::babe:dc0c:1602']);
    assert.equal(seen['OS-EXT-SRV-ATTR:hostname'], 'known-as.example.org');
    assert.equal(seen.addresses.shared.length, 2);
    const path = `${C}/servers/${first}`;
    const edit = { accessIPv4: '2.2.2.2', accessIPv6: '', hostname: 'now-as' };
    const edited = (await s.alice('PUT', path, { server: edit }, 90)).json.server;
    assert.deepEqual(
      [edited.accessIPv4, edited.accessIPv6, edited['OS-EXT-SRV-ATTR:hostname']],
      ['2.2.2.2', '', 'now-as'],
    );
    assert.equal((await s.alice('PUT', path, { server: edit }, 89)).status, 400);
    assert.equal((await s.alice('PUT', path, { server: {} })).status, 200, 'nothing to change, as in Nova');

    const hostOf = async (id: string): Promise<string> => (await show(s.admin, id))['OS-EXT-SRV-ATTR:host'];
    const here = await hostOf(first);
    const hinted = async (hints: object): Promise<string> => {
      const server = { name: 'near', imageRef: s.imageId, flavorRef: '1', networks: [{ uuid: s.networkId }] };
      const answer = await s.alice('POST', `${C}/servers`, { server, 'os:scheduler_hints': hints });
      assert.equal(answer.status, 202, answer.text);
      return answer.json.server.id;
    };
    const near = await hinted({ same_host: first });
    const away = await hinted({ different_host: [first] });
    const nowhere = await hinted({ same_host: ['00000000-0000-4000-8000-000000000000'] });
    await waitFor(s.alice, near, ['ACTIVE']);
    await waitFor(s.alice, away, ['ACTIVE']);
    await waitFor(s.alice, nowhere, ['ERROR']);
    assert.equal(await hostOf(near), here);
    assert.notEqual(await hostOf(away), here);
    const old = await create(s.admin, { availability_zone: 'nova:cell2-host2' });
    const named = await create(s.admin, { networks: 'auto', host: 'cell1-host2' }, 74);
    assert.deepEqual([await hostOf(old), await hostOf(named)], ['cell2-host2', 'cell1-host2']);
    for (const id of [old, named]) await remove(s.admin, id);
  });

  it('makes several at once, and refuses what is over the quota', async () => {
    const wish = {
      name: 'many',
      imageRef: s.imageId,
      flavorRef: '1',
      min_count: 2,
      max_count: 2,
      return_reservation_id: true,
    };
    const answer = await s.alice('POST', `${C}/servers`, { server: wish });
    assert.equal(answer.status, 202, answer.text);
    assert.match(answer.json.reservation_id, /^r-/);
    assert.equal(answer.headers.get('location'), null);
    const { servers } = (await s.alice('GET', `${C}/servers`)).json;
    assert.deepEqual(servers.map((each: { name: string }) => each.name).toSorted(), ['many-1', 'many-2']);
    for (const { id } of servers) await waitFor(s.alice, id, ['ACTIVE']);
    const made = (
      await s.admin(
        'GET',
        `${C}/servers/detail?all_tenants=1&reservation_id=${answer.json.reservation_id}`,
        undefined,
        3,
      )
    ).json.servers;
    assert.deepEqual(
      made.map((each: Record<string, unknown>) => each['OS-EXT-SRV-ATTR:launch_index']).toSorted(),
      [0, 1],
    );

    const project = `${C}/os-quota-sets/${s.alice.projectId}`;
    assert.equal((await s.alice('PUT', project, { quota_set: { instances: 3 } })).status, 403);
    assert.equal((await s.admin('PUT', project, { quota_set: { instances: 1 } })).status, 400, 'less than in use');
    assert.equal((await s.admin('PUT', project, { quota_set: { instances: 3 } })).json.quota_set.instances, 3);
    assert.equal((await s.alice('GET', project)).json.quota_set.instances, 3);
    const three = { ...wish, min_count: 2, max_count: 2 };
    const over = await s.alice('POST', `${C}/servers`, { server: three });
    assert.equal(over.status, 403, over.text);
    assert.match(over.json.forbidden.message, /^Quota exceeded for instances: Requested/);
    for (const { id } of servers) await remove(s.alice, id);
    for (let i = 0; i < 100; i += 1) {
      const { absolute } = (await s.alice('GET', `${C}/limits`)).json.limits;
      if (absolute.totalInstancesUsed === 0) break;
      assert.ok(i < 99, 'what was begun and refused is gone');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.equal((await s.admin('PUT', project, { quota_set: { instances: 10 } })).status, 200);
  });

  it('tells addresses, ports and console', async () => {
    const id = await create(s.alice);
    const { addresses } = (await s.alice('GET', `${C}/servers/${id}/ips`)).json;
    assert.equal(addresses.shared.length, 1);
    const { interfaceAttachments } = (await s.alice('GET', `${C}/servers/${id}/os-interface`)).json;
    assert.equal(interfaceAttachments[0].fixed_ips[0].ip_address, addresses.shared[0].addr);
    assert.equal((await s.alice('GET', `${C}/servers/${id}/ips/other`)).status, 404);
    const log = await act(s.alice, id, { 'os-getConsoleOutput': { length: 1 } });
    assert.equal(log.status, 200, log.text);
    assert.match(log.json.output, /GUEST UP/);
    assert.equal((await act(s.alice, id, { 'os-getConsoleOutput': { length: -2 } })).status, 400);
    assert.equal((await act(s.reader, id, { 'os-getConsoleOutput': {} })).status, 403);
    await remove(s.alice, id);
  });
});
