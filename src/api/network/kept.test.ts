// What is kept and shown for clients' sake: names in DNS, profiles of bindings, kinds of network cards; and service types
// of subnets, which say whose ports have addresses of which.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { claimPort } from '../../control/network/interfaces.ts';
import { createPortForServer } from '../../control/network.ts';
import { newId } from '../../lib/ids.ts';
import type { Actor } from '../../model/types.ts';
import { NetworkApi } from './testing.ts';

const api = await NetworkApi.open();
after(() => api[Symbol.asyncDispose]());
const { call, errorOf, world } = api;
const global = world.p.stores.global;
const shared = await api.idOf('shared');
const MEMBER: Actor = { userId: 'u1', projectId: 'p1', roles: ['member'], requestId: 'req-1' };

const made = async (who: string, single: string, wish: object) => {
  const { status, body } = await call(who, 'POST', `${single}s`, { [single]: wish });
  assert.equal(status, 201, JSON.stringify(body));
  return body[single];
};
const saidOf = async (who: string, path: string, wish: object): Promise<string> => {
  const { status, body } = await call(who, 'POST', path, wish);
  assert.equal(status, 400, JSON.stringify(body));
  return body.NeutronError.message;
};

test('a network has a domain, which may change', async () => {
  assert.equal((await call('admin', 'GET', `networks/${shared}`)).body.network.dns_domain, '');
  const { id, dns_domain } = await made('member', 'network', { name: 'n', dns_domain: 'Example.ORG.' });
  assert.equal(dns_domain, 'example.org.');
  const found = (await call('member', 'GET', 'networks?dns_domain=example.org.&fields=id')).body.networks;
  assert.deepEqual(found, [{ id }]);
  const changed = await call('member', 'PUT', `networks/${id}`, { network: { dns_domain: '' } });
  assert.equal(changed.body.network.dns_domain, '');
  const said = await saidOf('member', 'networks', { network: { name: 'n', dns_domain: 'example.org' } });
  assert.equal(said, "Invalid input for dns_domain. Reason: 'example.org' is not a FQDN.");
  assert.deepEqual(await errorOf('member', 'PUT', `networks/${id}`, { network: { dns_domain: 'a_b.' } }), [
    400,
    'HTTPBadRequest',
  ]);
});

test('a floating IP has a name and its domain, both or none, for life', async () => {
  const floating_network_id = await api.idOf('public');
  const floating = await made('member', 'floatingip', { floating_network_id, dns_name: 'WWW', dns_domain: 'a.org.' });
  assert.deepEqual([floating.dns_name, floating.dns_domain], ['www', 'a.org.']);
  const found = (await call('member', 'GET', 'floatingips?dns_name=www&dns_domain=a.org.')).body.floatingips;
  assert.deepEqual(
    found.map((each: { id: string }) => each.id),
    [floating.id],
  );
  const wish = { floatingip: { dns_name: 'mail' } };
  assert.equal((await call('member', 'PUT', `floatingips/${floating.id}`, wish)).status, 400);
  for (const [dns, said] of [
    [{ dns_name: 'www' }, 'Bad floatingip request: dns_name cannot be specified without a dns_domain.'],
    [{ dns_domain: 'a.org.' }, 'Bad floatingip request: dns_domain cannot be specified without a dns_name.'],
    [
      { dns_name: 'www.', dns_domain: 'a.org.' },
      "Invalid input for dns_name. Reason: 'www.' is a FQDN. It should be a relative domain name.",
    ],
    [{ dns_name: 'www', dns_domain: 'a.org' }, "Invalid input for dns_domain. Reason: 'a.org' is not a FQDN."],
  ] as const)
    assert.equal(await saidOf('member', 'floatingips', { floatingip: { floating_network_id, ...dns } }), said);
});

test('a subnet with service types is for the ports of those owners, which have addresses of it first', async () => {
  const network_id = (await made('member', 'network', { name: 'services' })).id;
  const common = { network_id, ip_version: 4 };
  const types = { service_types: ['compute:nova'] };
  const subnet = { ...common, cidr: '10.7.0.0/24', ...types };
  assert.deepEqual(await errorOf('member', 'POST', 'subnets', { subnet }), [403, 'PolicyNotAuthorized']);
  const servers = await made('admin', 'subnet', subnet);
  assert.deepEqual(servers.service_types, ['compute:nova']);
  const said = await saidOf('admin', 'subnets', {
    subnet: { ...subnet, cidr: '10.8.0.0/24', service_types: ['nova'] },
  });
  assert.equal(said, 'Subnet service type nova does not correspond to a valid device owner.');
  // Only for servers as yet.
  const NO_SUBNET = [409, 'IpAddressGenerationFailureNoMatchingSubnet'];
  assert.deepEqual(await errorOf('member', 'POST', 'ports', { port: { network_id } }), NO_SUBNET);
  const named = { network_id, fixed_ips: [{ subnet_id: servers.id }] };
  assert.deepEqual(await errorOf('member', 'POST', 'ports', { port: named }), NO_SUBNET);
  const bare = await made('member', 'port', { network_id, fixed_ips: [] });
  assert.deepEqual(bare.fixed_ips, []);
  const all = await made('member', 'subnet', { ...common, cidr: '10.8.0.0/24' });
  const subnetOf = async (owner: string) =>
    (await made('member', 'port', { network_id, device_owner: owner })).fixed_ips[0].subnet_id;
  assert.deepEqual([await subnetOf('compute:nova'), await subnetOf('')], [servers.id, all.id]);
  const inPlace = { serverId: newId(), projectId: 'p1', host: 'host1', generation: 1, now: 1 };
  const server = await createPortForServer(global, { ...inPlace, networkId: network_id });
  assert.equal(server.kind === 'ok' && server.port.subnetId, servers.id);
  // The other way round.
  const types2 = { subnet: { service_types: ['network:floatingip'] } };
  assert.equal((await call('member', 'PUT', `subnets/${servers.id}`, types2)).status, 403);
  assert.deepEqual((await call('admin', 'PUT', `subnets/${servers.id}`, types2)).body.subnet.service_types, [
    'network:floatingip',
  ]);
  assert.equal(await subnetOf('compute:nova'), all.id);
  assert.equal((await call('admin', 'PUT', `subnets/${all.id}`, types2)).status, 200);
  const refused = await createPortForServer(global, { ...inPlace, serverId: newId(), networkId: network_id });
  const words = `No valid service subnet for the given device owner, network ${network_id}, service type compute:nova.`;
  assert.deepEqual(refused, { kind: 'refused', refusal: { code: 400, message: words } });
});

test('administrators write a profile, which goes with the port wherever it is bound', async () => {
  const profile = { physical_network: 'left', deep: [{ a: 1 }] };
  const wish = { network_id: shared, 'binding:profile': profile };
  assert.deepEqual(await errorOf('member', 'POST', 'ports', { port: wish }), [403, 'PolicyNotAuthorized']);
  const { id, project_id, ...port } = await made('admin', 'port', { ...wish, project_id: 'p1', qos_policy_id: null });
  assert.deepEqual([port['binding:profile'], project_id], [profile, 'p1']);
  assert.equal('binding:profile' in (await call('member', 'GET', `ports/${id}`)).body.port, false);
  const put = (who: string, value: object | null) =>
    call(who, 'PUT', `ports/${id}`, { port: { 'binding:profile': value, qos_policy_id: null } });
  assert.equal((await put('member', {})).status, 403);
  const large = await put('admin', { text: 'x'.repeat(4095) });
  assert.equal(large.body.NeutronError.message, 'Invalid input for operation: binding:profile value too large.');
  const serverId = newId();
  const claim = { serverId, projectId: 'p1', newPortId: id, tag: null, now: 1 };
  const claimed = await global
    .transaction()
    .execute((trx) => claimPort(trx, MEMBER, { kind: 'port', portId: id }, claim));
  assert.deepEqual(claimed, { portId: id });
  await createPortForServer(global, {
    ...{ serverId, projectId: 'p1', networkId: shared, host: 'host1', generation: 1, now: 1 },
  });
  const shown = async () => (await call('admin', 'GET', `ports/${id}`)).body.port['binding:profile'];
  const bound = async () => (await call('admin', 'GET', `ports/${id}/bindings/host1`)).body.binding.profile;
  assert.deepEqual([await shown(), await bound()], [profile, profile]);
  const own = { binding: { profile: { own: true } } };
  assert.equal((await call('admin', 'PUT', `ports/${id}/bindings/host1`, own)).status, 200);
  assert.deepEqual([await shown(), await bound()], [{ own: true }, { own: true }]);
  assert.equal((await put('admin', { again: 1 })).status, 200);
  assert.deepEqual([await shown(), await bound()], [{ again: 1 }, { again: 1 }]);
  assert.equal((await put('admin', null)).status, 200);
  assert.deepEqual([await shown(), await bound()], [{}, {}]);
});

test('a port may have the MAC address of a group, and then no server can have it', async () => {
  const mac_address = '11:22:33:44:55:66';
  const { id } = await made('member', 'port', { network_id: shared });
  const put = (mac: string) => call('admin', 'PUT', `ports/${id}`, { port: { mac_address: mac } });
  assert.equal((await put(mac_address)).body.port.mac_address, mac_address);
  const everybodys = await put('ff:ff:ff:ff:ff:ff');
  const invalid = "Invalid input for mac_address. Reason: 'ff:ff:ff:ff:ff:ff' is not a valid MAC address.";
  assert.deepEqual([everybodys.status, everybodys.body.NeutronError.message], [400, invalid]);
  const claim = { serverId: newId(), projectId: 'p1', newPortId: id, tag: null, now: 1 };
  const claimed = () =>
    global.transaction().execute((trx) => claimPort(trx, MEMBER, { kind: 'port', portId: id }, claim));
  const message = `Port ${id} has mac_address ${mac_address}: no host here can give a server such a network card.`;
  assert.deepEqual(await claimed(), { code: 400, message });
  assert.equal((await put('fa:16:3e:11:22:33')).status, 200);
  assert.deepEqual(await claimed(), { portId: id });
  // Nor does a server's port become such a one while it is bound nowhere.
  assert.equal((await put(mac_address)).body.NeutronError.message, message);
});

test('a port may be for a card of another kind, and then no server here can have it', async () => {
  const { id, ...port } = await made('member', 'port', { network_id: shared, 'binding:vnic_type': 'direct' });
  assert.equal(port['binding:vnic_type'], 'direct');
  assert.deepEqual((await call('member', 'GET', 'ports?binding:vnic_type=direct&fields=id')).body.ports, [{ id }]);
  assert.match(
    await saidOf('member', 'ports', { port: { network_id: shared, 'binding:vnic_type': 'wooden' } }),
    /wooden/,
  );
  const serverId = newId();
  const claim = { serverId, projectId: 'p1', newPortId: id, tag: null, now: 1 };
  const claimed = () =>
    global.transaction().execute((trx) => claimPort(trx, MEMBER, { kind: 'port', portId: id }, claim));
  const message = `Port ${id} has binding:vnic_type direct: no host here can give a server such a network card.`;
  assert.deepEqual(await claimed(), { code: 400, message });
  const put = (kind: string) => call('member', 'PUT', `ports/${id}`, { port: { 'binding:vnic_type': kind } });
  assert.equal((await put('normal')).status, 200);
  assert.deepEqual(await claimed(), { portId: id });
  assert.equal((await put('macvtap')).body.NeutronError.type, 'PortInUse');
  assert.equal((await put('normal')).status, 200, 'what is so may be said');
});
