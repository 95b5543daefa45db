// What hangs on a server's life over the API: locks, states set by hand, crash dumps, diagnostics, passwords, events.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Client, type TestSystem, testSystem, waitFor } from './system.ts';

const C = '/compute/v2.1';

/** An ACTIVE server of alice's. */
async function newServer(s: TestSystem): Promise<string> {
  const server = { name: 'one', imageRef: s.imageId, flavorRef: '1', networks: [{ uuid: s.networkId }] };
  const { id } = (await s.alice('POST', `${C}/servers`, { server })).json.server;
  assert.equal(await waitFor(s.alice, id, ['ACTIVE', 'ERROR']), 'ACTIVE');
  return id;
}

const messageOf = (json: Record<string, { message: string }>): string => Object.values(json)[0]?.message ?? '';

test('locks, states by hand, crash dumps, diagnostics, passwords and events', async (t) => {
  await using s = await testSystem({ cells: 1, hostsPerCell: 1 });
  const id = await newServer(s);
  const act = (client: Client, body: object, minor?: number) =>
    client('POST', `${C}/servers/${id}/action`, body, minor);
  const refused = async (client: Client, body: object, minor?: number) => {
    const { status, json } = await act(client, body, minor);
    return [status, messageOf(json)];
  };
  const statusOf = async () => (await s.alice('GET', `${C}/servers/${id}`)).json.server.status;

  await t.test('a lock of the owner is undone by anybody of the project, with its reason', async () => {
    assert.equal((await act(s.alice, { lock: { locked_reason: 'mine' } }, 73)).status, 202);
    const shown = (await s.alice('GET', `${C}/servers/${id}`, undefined, 73)).json.server;
    assert.deepEqual([shown.locked, shown.locked_reason], [true, 'mine']);
    assert.deepEqual(await refused(s.alice, { pause: null }), [409, `Instance ${id} is locked`]);
    assert.equal((await act(s.alice, { lock: { locked_reason: '' } }, 73)).status, 400);
    assert.equal((await act(s.alice, { unlock: null })).status, 202);
    const actions = (await s.alice('GET', `${C}/servers/${id}/os-instance-actions`)).json.instanceActions;
    assert.deepEqual(
      actions.slice(0, 2).map((each: { action: string }) => each.action),
      ['unlock', 'lock'],
    );
  });

  await t.test('a state is set by hand by administrators alone, and not while something goes on', async () => {
    assert.equal((await act(s.alice, { 'os-resetState': { state: 'error' } })).status, 403);
    assert.equal((await act(s.admin, { 'os-resetState': { state: 'stopped' } })).status, 400);
    assert.equal((await act(s.admin, { 'os-resetState': { state: 'error' } })).status, 202);
    assert.equal(await statusOf(), 'ERROR');
    assert.equal((await act(s.admin, { 'os-resetState': { state: 'active' } })).status, 202);
    assert.equal(await statusOf(), 'ACTIVE');
  });

  await t.test('a crash dump is triggered from 2.17 on', async () => {
    assert.equal((await act(s.alice, { trigger_crash_dump: null }, 16)).status, 404);
    assert.equal((await act(s.alice, { trigger_crash_dump: null }, 17)).status, 202);
    const console = async () => (await act(s.alice, { 'os-getConsoleOutput': {} })).json.output;
    for (let tries = 0; !/NMI received/.test(await console()); tries += 1) assert.ok(tries < 100);
  });

  await t.test('what is not there is refused in clear words', async () => {
    assert.deepEqual(await refused(s.alice, { changePassword: { adminPass: 'x' } }), [
      409,
      'QEMU guest agent is not enabled',
    ]);
    assert.equal((await act(s.admin, { resetNetwork: null })).status, 410);
    assert.equal((await act(s.admin, { injectNetworkInfo: null })).status, 202);
    const server = (await s.admin('GET', `${C}/servers/${id}`)).json.server;
    const host = server['OS-EXT-SRV-ATTR:host'];
    assert.deepEqual(await refused(s.admin, { evacuate: {} }, 14), [
      400,
      `Compute service of ${host} is still in use.`,
    ]);
    assert.deepEqual(await refused(s.admin, { evacuate: { host } }, 14), [
      400,
      "The target host can't be the same one.",
    ]);
    assert.deepEqual(await refused(s.admin, { evacuate: { force: true } }, 30), [
      400,
      "Can't force to a non-provided destination",
    ]);
    assert.equal((await act(s.admin, { evacuate: {} }, 1)).status, 400);
    assert.deepEqual(await refused(s.admin, { evacuate: { host: 'nowhere' } }, 14), [
      404,
      'Compute host nowhere not found.',
    ]);
    const shared = { evacuate: { onSharedStorage: true } };
    assert.match(String((await refused(s.admin, shared, 1))[1]), /not on shared storage/);
    const live = { 'os-migrateLive': { host: null, block_migration: 'auto' } };
    assert.equal((await act(s.alice, live, 30)).status, 403);
    assert.deepEqual(await refused(s.admin, live, 30), [
      400,
      'Migration pre-check error: live migration is not supported; the server can be migrated cold.',
    ]);
  });

  await t.test('diagnostics tell what the guest has used, in both shapes', async () => {
    const url = `${C}/servers/${id}/diagnostics`;
    assert.equal((await s.alice('GET', url)).status, 403);
    assert.equal((await s.admin('GET', url)).json.memory, 128 * 1024);
    const { json } = await s.admin('GET', url, undefined, 48);
    assert.deepEqual([json.state, json.num_cpus, json.num_nics, json.memory_details.maximum], ['running', 1, 1, 128]);
    assert.equal(json.nic_details[0].rx_octets, null);
  });

  await t.test('the password is empty, and may be forgotten', async () => {
    const url = `${C}/servers/${id}/os-server-password`;
    assert.deepEqual((await s.alice('GET', url)).json, { password: '' });
    assert.equal((await s.reader('DELETE', url)).status, 403);
    assert.equal((await s.alice('DELETE', url)).status, 204);
  });

  await t.test('of events each is answered by itself', async () => {
    const send = (events: object[], minor?: number) =>
      s.admin('POST', `${C}/os-server-external-events`, { events }, minor);
    const changed = { name: 'network-changed', server_uuid: id };
    const fine = await send([changed]);
    assert.deepEqual([fine.status, fine.json.events], [200, [{ ...changed, status: 'completed', code: 200 }]]);
    const extended = { name: 'volume-extended', server_uuid: id };
    assert.equal((await send([extended])).status, 400);
    const mixed = await send(
      [changed, { ...changed, server_uuid: s.imageId }, extended, { ...extended, tag: s.imageId }],
      51,
    );
    assert.deepEqual(
      [mixed.status, mixed.json.events.map((each: { code: number }) => each.code)],
      [207, [200, 404, 400, 200]],
    );
  });

  await t.test('it is suspended, and goes on', async () => {
    assert.equal((await act(s.reader, { suspend: null })).status, 403);
    assert.equal((await act(s.alice, { suspend: null })).status, 202);
    await waitFor(s.alice, id, ['SUSPENDED']);
    assert.deepEqual(await refused(s.alice, { 'os-stop': null }), [
      409,
      `Cannot 'stop' instance ${id} while it is in vm_state suspended`,
    ]);
    assert.equal((await act(s.alice, { resume: null })).status, 202);
    await waitFor(s.alice, id, ['ACTIVE']);
    assert.deepEqual(await refused(s.alice, { resume: null }), [
      409,
      `Cannot 'resume' instance ${id} while it is in vm_state active`,
    ]);
  });

  await t.test('it is rebuilt: the answer says what is to be, and whose password it is', async () => {
    const wish = { imageRef: s.imageId, name: 'anew', metadata: { a: 'b' }, adminPass: 'secret' };
    assert.equal((await act(s.reader, { rebuild: wish })).status, 403);
    assert.equal((await act(s.mallory, { rebuild: wish })).status, 404);
    assert.equal((await act(s.alice, { rebuild: { ...wish, imageRef: 'none' } })).status, 400);
    assert.equal((await act(s.alice, { rebuild: { ...wish, key_name: null } }, 53)).status, 400);
    assert.equal((await act(s.alice, { rebuild: { ...wish, personality: [] } }, 57)).status, 400);
    assert.equal((await act(s.alice, { rebuild: { ...wish, trusted_image_certificates: ['c'] } }, 63)).status, 400);
    assert.deepEqual(await refused(s.alice, { rebuild: { ...wish, imageRef: id } }), [
      400,
      'Cannot find image for rebuild',
    ]);
    const { status, json } = await act(s.alice, { rebuild: wish });
    assert.deepEqual(
      [status, json.server.status, json.server.name, json.server.adminPass, json.server.image.id, json.server.key_name],
      [202, 'REBUILD', 'anew', 'secret', s.imageId, undefined],
    );
    await waitFor(s.alice, id, ['ACTIVE']);
    const hostname = { rebuild: { imageRef: s.imageId, hostname: 'other', user_data: null } };
    const again = await act(s.alice, hostname, 90);
    assert.deepEqual(
      [again.status, again.json.server['OS-EXT-SRV-ATTR:hostname'], again.json.server.user_data],
      [202, 'other', null],
    );
    assert.ok(again.json.server.adminPass.length > 8);
    await waitFor(s.alice, id, ['ACTIVE']);
    const { server } = (await act(s.admin, { rebuild: { imageRef: s.imageId } }, 75)).json;
    assert.deepEqual([server['OS-EXT-SRV-ATTR:user_data'], server.user_data], [undefined, null]);
    await waitFor(s.alice, id, ['ACTIVE']);
  });

  await t.test('it is rescued, and comes back', async () => {
    assert.equal((await act(s.reader, { rescue: null })).status, 403);
    assert.equal((await act(s.alice, { rescue: { rescue_image_ref: 'none' } })).status, 400);
    assert.deepEqual(await refused(s.alice, { rescue: { rescue_image_ref: id } }), [
      400,
      `Requested rescue image '${id}' is not supported`,
    ]);
    const { status, json } = await act(s.alice, { rescue: { adminPass: 'secret', rescue_image_ref: s.imageId } });
    assert.deepEqual([status, json], [200, { adminPass: 'secret' }]);
    await waitFor(s.alice, id, ['RESCUE']);
    assert.deepEqual(await refused(s.alice, { rebuild: { imageRef: s.imageId } }), [
      409,
      `Cannot 'rebuild' instance ${id} while it is in vm_state rescued`,
    ]);
    assert.equal((await act(s.alice, { unrescue: null })).status, 202);
    await waitFor(s.alice, id, ['ACTIVE']);
    assert.equal((await act(s.alice, { unrescue: null })).status, 409);
  });

  await t.test('a server that is off has no diagnostics', async () => {
    assert.equal((await act(s.alice, { 'os-stop': null })).status, 202);
    await waitFor(s.alice, id, ['SHUTOFF']);
    const { status, json } = await s.admin('GET', `${C}/servers/${id}/diagnostics`);
    assert.deepEqual(
      [status, messageOf(json)],
      [409, `Cannot 'get_diagnostics' instance ${id} while it is in power state shutdown`],
    );
  });
});
