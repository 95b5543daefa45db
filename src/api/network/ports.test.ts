// What users may say of ports: whose they are, and what has them.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { newId } from '../../lib/ids.ts';
import { NetworkApi } from './testing.ts';

const api = await NetworkApi.open();
after(() => api[Symbol.asyncDispose]());
const { call, errorOf } = api;
const made = async (who: string, single: string, wish: object): Promise<{ id: string }> => {
  const { status, body } = await call(who, 'POST', `${single}s`, { [single]: wish });
  assert.equal(status, 201, JSON.stringify(body));
  return body[single];
};

/** A network of theirs with a subnet. */
async function networkOf(who: string, cidr: string): Promise<{ network: string; subnet: string }> {
  const network = (await made(who, 'network', { name: cidr })).id;
  return { network, subnet: (await made(who, 'subnet', { network_id: network, ip_version: 4, cidr })).id };
}

test('nobody plugs a port into a router by saying that it is its own', async () => {
  const victim = await networkOf('member', '10.1.0.0/24');
  const router = (await made('member', 'router', { name: 'r' })).id;
  const { network } = await networkOf('stranger', '10.1.0.0/24');
  const own = (await made('stranger', 'router', { name: 'own' })).id;
  const says = (device_id: string, device_owner: string) => ({ device_id, device_owner });
  const free = (await made('stranger', 'port', { network_id: network })).id;
  for (const owner of ['network:router_interface', 'network:router_gateway', 'network:floatingip']) {
    for (const [device, refused] of [
      [router, [409, 'DeviceIDNotOwnedByTenant']],
      [own, [403, 'PolicyNotAuthorized']],
      [newId(), [403, 'PolicyNotAuthorized']],
      ['', [403, 'PolicyNotAuthorized']],
    ] as const) {
      const port = { network_id: network, ...says(device, owner) };
      assert.deepEqual(await errorOf('stranger', 'POST', 'ports', { port }), refused);
      assert.deepEqual(await errorOf('stranger', 'PUT', `ports/${free}`, { port: says(device, owner) }), refused);
    }
  }
  // In two steps neither; and what the port only names has no say in the router.
  assert.equal((await call('stranger', 'PUT', `ports/${free}`, { port: { device_id: router } })).status, 200);
  assert.deepEqual(
    await errorOf('stranger', 'PUT', `ports/${free}`, { port: { device_owner: 'network:router_interface' } }),
    [409, 'DeviceIDNotOwnedByTenant'],
  );
  const joined = await call('member', 'PUT', `routers/${router}/add_router_interface`, { subnet_id: victim.subnet });
  assert.equal(joined.status, 200, JSON.stringify(joined.body));
  const whole = (await call('member', 'GET', `ports/${joined.body.port_id}`)).body.port;
  const { device_id, device_owner } = whole;
  const same = { port: { name: 'x', device_id, device_owner } };
  assert.equal((await call('member', 'PUT', `ports/${whole.id}`, same)).status, 200, 'what is so may be said');
  assert.equal((await call('stranger', 'DELETE', `ports/${free}`)).status, 204);
});

test('a MAC address is one port’s of a network, and tells nothing of other networks', async () => {
  const [one, two] = [await networkOf('member', '10.3.0.0/24'), await networkOf('stranger', '10.3.0.0/24')];
  const mac_address = 'fa:16:3e:00:00:01';
  await made('member', 'port', { network_id: one.network, mac_address });
  const port = { network_id: one.network, mac_address };
  assert.deepEqual(await errorOf('member', 'POST', 'ports', { port }), [409, 'MacAddressInUse']);
  await made('stranger', 'port', { network_id: two.network, mac_address });
  const other = (await made('admin', 'port', { network_id: two.network })).id;
  assert.deepEqual(await errorOf('admin', 'PUT', `ports/${other}`, { port: { mac_address } }), [
    409,
    'MacAddressInUse',
  ]);
  const third = (await networkOf('stranger', '10.4.0.0/24')).network;
  const free = (await made('stranger', 'port', { network_id: third })).id;
  assert.equal((await call('admin', 'PUT', `ports/${free}`, { port: { mac_address } })).status, 200);
});

test('a port without an address has security groups as any other', async () => {
  const network_id = (await made('member', 'network', { name: 'bare' })).id;
  const group = (await call('member', 'POST', 'security-groups', { security_group: { name: 'g' } })).body
    .security_group;
  const [first] = (await call('member', 'GET', 'security-groups?name=default')).body.security_groups;
  const groupsOf = async (id: string) => (await call('member', 'GET', `ports/${id}`)).body.port.security_groups;
  const { id } = await made('member', 'port', { network_id });
  assert.deepEqual(await groupsOf(id), [first.id]);
  const put = (port: object) => call('member', 'PUT', `ports/${id}`, { port });
  assert.deepEqual((await put({ security_groups: [group.id] })).body.port.security_groups, [group.id]);
  const named = await made('member', 'port', { network_id, security_groups: [group.id] });
  assert.deepEqual(await groupsOf(named.id), [group.id]);
  const none = await made('member', 'port', { network_id, security_groups: [] });
  assert.deepEqual(await groupsOf(none.id), []);
  // Addresses come and go beside them.
  await made('member', 'subnet', { network_id, ip_version: 4, cidr: '10.5.0.0/24' });
  const held = (await put({ fixed_ips: [{ ip_address: '10.5.0.9' }] })).body.port;
  assert.deepEqual([held.fixed_ips.length, held.security_groups], [1, [group.id]]);
  const left = (await put({ fixed_ips: [] })).body.port;
  assert.deepEqual([left.fixed_ips, left.security_groups], [[], [group.id]]);
});

test('a number that no column can hold finds nothing', async () => {
  assert.deepEqual((await call('member', 'GET', 'networks?mtu=3000000000')).body.networks, []);
  assert.equal((await call('member', 'GET', 'networks?mtu=1500&name=shared')).body.networks.length, 1);
});

test('a port that an administrator says is a router’s goes when there is no such router', async () => {
  const { network } = await networkOf('member', '10.2.0.0/24');
  const wish = { network_id: network, device_owner: 'network:router_interface' };
  const lost = (await made('admin', 'port', { ...wish, device_id: newId() })).id;
  assert.equal((await call('admin', 'DELETE', `ports/${lost}`)).status, 204);
  const router = (await made('member', 'router', {})).id;
  const held = (await made('admin', 'port', { ...wish, device_id: router })).id;
  assert.deepEqual(await errorOf('admin', 'DELETE', `ports/${held}`), [409, 'ServicePortInUse']);
});
