// Interfaces of servers over the API: os-interface, with its microversions and refusals.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testSystem, waitFor } from './system.ts';

const C = '/compute/v2.1';

test('interfaces: attached by network, by address and by port, shown, detached', async () => {
  await using s = await testSystem({ cells: 1, hostsPerCell: 1 });
  const wish = { name: 'one', imageRef: s.imageId, flavorRef: '1', networks: [{ uuid: s.networkId }] };
  const { id } = (await s.alice('POST', `${C}/servers`, { server: wish })).json.server;
  assert.equal(await waitFor(s.alice, id, ['ACTIVE', 'ERROR']), 'ACTIVE');
  const url = `${C}/servers/${id}/os-interface`;
  const list = async (minor = 70) => (await s.alice('GET', url, undefined, minor)).json.interfaceAttachments;
  const settled = async (count: number) => {
    for (let tries = 0; ; tries += 1) {
      const seen = await list();
      if (seen.length === count && seen.every((each: { port_state: string }) => each.port_state === 'ACTIVE')) return;
      assert.ok(tries < 500, JSON.stringify(seen));
    }
  };
  const attach = (interfaceAttachment: object, minor = 70) => s.alice('POST', url, { interfaceAttachment }, minor);
  const messageOf = async (answer: ReturnType<typeof attach>) => {
    const { status, json } = await answer;
    return [status, (Object.values(json)[0] as { message: string }).message];
  };
  await settled(1);

  const first = await attach({ net_id: s.networkId, tag: 'second' });
  assert.equal(first.status, 200);
  const { port_id, net_id, tag, fixed_ips } = first.json.interfaceAttachment;
  assert.deepEqual([net_id, tag], [s.networkId, 'second']);
  await settled(2);
  assert.deepEqual(Object.keys((await list(69))[0]), ['port_id', 'net_id', 'mac_addr', 'port_state', 'fixed_ips']);
  assert.equal((await s.alice('GET', `${url}/${port_id}`)).json.interfaceAttachment.port_state, 'ACTIVE');
  const addresses = (await s.alice('GET', `${C}/servers/${id}/ips`)).json.addresses;
  assert.ok(JSON.stringify(addresses).includes(fixed_ips[0].ip_address));

  const port = (await s.alice('POST', '/network/v2.0/ports', { port: { network_id: s.networkId } })).json.port;
  assert.equal((await attach({ port_id: port.id }, 1)).json.interfaceAttachment.port_id, port.id);
  await settled(3);
  // The only network that there is, when none is named.
  assert.equal((await attach({})).status, 200);
  await settled(4);

  assert.deepEqual(await messageOf(attach({ net_id: s.networkId, port_id: port.id })), [
    ...[400, 'Must not input both network_id and port_id'],
  ]);
  assert.deepEqual(await messageOf(attach({ fixed_ips: [{ ip_address: '10.0.0.9' }] })), [
    ...[400, 'Must input network_id when request IP address'],
  ]);
  assert.deepEqual(await messageOf(attach({ port_id: port.id })), [409, `Port ${port.id} is still in use.`]);
  assert.equal((await attach({ net_id: s.networkId, tag: 'x' }, 48)).status, 400);
  assert.equal((await attach({ net_id: 'none' })).status, 400);
  assert.equal((await s.mallory('DELETE', `${url}/${port.id}`)).status, 404);
  const nothing = '00000000-0000-4000-8000-00000000000f';
  assert.equal((await s.alice('GET', `${url}/${nothing}`)).status, 404);
  assert.equal((await s.alice('DELETE', `${url}/${nothing}`)).status, 404);

  for (const [left, gone] of [
    [3, port_id],
    [2, port.id],
  ] as const) {
    assert.equal((await s.alice('DELETE', `${url}/${gone}`)).status, 202);
    await settled(left);
  }
  // Nobody has to wait for the one before.
  const both = await Promise.all([attach({}), attach({})]);
  assert.deepEqual(
    both.map(({ status }) => status),
    [200, 200],
  );
  for (const { json } of both) {
    const { port_id: own } = json.interfaceAttachment;
    assert.equal((await s.alice('DELETE', `${url}/${own}`)).status, 202);
  }
  await settled(2);

  const kept = (await s.alice('GET', `/network/v2.0/ports/${port.id}`)).json.port;
  assert.deepEqual([kept.device_id, kept.device_owner, kept.status], ['', '', 'DOWN']);
  assert.equal((await s.alice('GET', `/network/v2.0/ports/${port_id}`)).status, 404);
  const actions = (await s.alice('GET', `${C}/servers/${id}/os-instance-actions`)).json.instanceActions;
  const words = actions.map((each: { action: string }) => each.action);
  assert.deepEqual(
    words.filter((word: string) => /interface/.test(word)),
    [
      ...['detach_interface', 'detach_interface', 'attach_interface', 'attach_interface'],
      ...['detach_interface', 'detach_interface', 'attach_interface', 'attach_interface', 'attach_interface'],
    ],
  );
});
