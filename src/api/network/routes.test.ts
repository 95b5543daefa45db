import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { claimPort, releasePort } from '../../control/network/interfaces.ts';
import { NETWORK_LIMITS } from '../../control/network/quotas.ts';
import { seedNetworks } from '../../control/network/seed.ts';
import { createPortForServer } from '../../control/network.ts';
import { newId } from '../../lib/ids.ts';
import { NetworkApi } from './testing.ts';

const api = await NetworkApi.open();
after(() => api[Symbol.asyncDispose]());
const { call, world } = api;
const shared = await api.idOf('shared');

test('the shared network is there once, with its subnet, and everybody sees it', async () => {
  const cidrs = { networkCidr: '10.99.0.0/24', externalCidr: '172.24.5.0/24' };
  await seedNetworks(world.p.stores.global, cidrs, world.p.clock.now());
  for (const who of ['admin', 'member', 'stranger', 'reader']) {
    const { status, body } = await call(who, 'GET', 'networks?name=shared');
    assert.equal(status, 200);
    assert.deepEqual(
      body.networks.map((each: { id: string }) => each.id),
      [shared],
    );
    const subnet = (await call(who, 'GET', `subnets/${body.networks[0].subnets[0]}`)).body.subnet;
    assert.deepEqual(
      [subnet.cidr, subnet.gateway_ip, subnet.network_id, subnet.ip_version],
      ['10.42.0.0/24', '10.42.0.1', shared, 4],
    );
  }
});

test("a name is no id: 404 in Neutron's shape, then the list by name", async () => {
  const { status, body } = await call('member', 'GET', 'networks/shared');
  assert.equal(status, 404);
  assert.deepEqual(body, {
    NeutronError: { type: 'NetworkNotFound', message: 'Network shared could not be found.', detail: '' },
  });
  assert.equal((await call('member', 'GET', 'ports/x')).body.NeutronError.type, 'PortNotFound');
  assert.equal((await call('member', 'GET', 'subnets/x')).body.NeutronError.type, 'SubnetNotFound');
});

test('numbers and truth values may be texts, as clients send them', async () => {
  const create = async (attributes: object) => call('admin', 'POST', 'networks', { network: attributes });
  const texts = { mtu: '1400', admin_state_up: 'False', 'router:external': 'false', port_security_enabled: '1' };
  const { status, body } = await create(texts);
  assert.equal(status, 201);
  const { mtu, admin_state_up, port_security_enabled, 'router:external': external } = body.network;
  assert.deepEqual([mtu, admin_state_up, external, port_security_enabled], [1400, false, false, true]);
  for (const wrong of [
    { mtu: '1400x' },
    { mtu: '-1' },
    { mtu: 1.5 },
    { admin_state_up: 'yes' },
    { shared: 2 },
    { shared: null },
  ])
    assert.equal((await create(wrong)).status, 400, JSON.stringify(wrong));
  const of = { network_id: body.network.id, cidr: '10.9.0.0/24', ip_version: '4', enable_dhcp: 'true' };
  const subnet = await call('admin', 'POST', 'subnets', { subnet: of });
  assert.deepEqual([subnet.status, subnet.body.subnet.ip_version, subnet.body.subnet.enable_dhcp], [201, 4, true]);
  assert.equal((await call('admin', 'DELETE', `networks/${body.network.id}`)).status, 204);
});

test('the walk of the openstack client: network, subnet, port, and all of it deleted', async () => {
  const network = (await call('member', 'POST', 'networks', { network: { admin_state_up: true, name: 'net1' } })).body
    .network;
  assert.equal(network.project_id, 'p1');
  const subnet = await call('member', 'POST', 'subnets', {
    subnet: { network_id: network.id, ip_version: 4, name: 'sub1', cidr: '10.5.0.0/24' },
  });
  assert.equal(subnet.status, 201);
  assert.deepEqual(subnet.body.subnet.allocation_pools, [{ start: '10.5.0.2', end: '10.5.0.254' }]);
  const made = await call('member', 'POST', 'ports', {
    port: { network_id: network.id, name: 'port1', admin_state_up: true },
  });
  assert.equal(made.status, 201);
  const { port } = made.body;
  assert.match(port.fixed_ips[0].ip_address, /^10\.5\.0\./);
  assert.equal(port.status, 'DOWN');
  const list = await call('member', 'GET', 'ports?fields=id&fields=name&fields=mac_address&name=port1');
  assert.deepEqual(list.body.ports, [{ id: port.id, name: 'port1', mac_address: port.mac_address }]);
  assert.equal((await call('stranger', 'GET', `ports/${port.id}`)).status, 404);
  assert.equal((await call('stranger', 'GET', `networks/${network.id}`)).status, 404);
  assert.equal((await call('stranger', 'DELETE', `ports/${port.id}`)).status, 404);
  const renamed = await call('member', 'PUT', `ports/${port.id}`, { port: { name: 'p2' } });
  assert.equal(renamed.body.port.name, 'p2');
  assert.equal((await call('member', 'DELETE', `networks/${network.id}`)).body.NeutronError.type, 'NetworkInUse');
  const inUse = await call('member', 'DELETE', `subnets/${subnet.body.subnet.id}`);
  assert.equal(inUse.body.NeutronError.type, 'SubnetInUse');
  assert.equal((await call('member', 'DELETE', `ports/${port.id}`)).status, 204);
  assert.equal((await call('member', 'DELETE', `ports/${port.id}`)).status, 404);
  assert.equal((await call('member', 'DELETE', `networks/${network.id}`)).status, 204);
  assert.equal((await call('member', 'GET', `subnets/${subnet.body.subnet.id}`)).status, 404);
});

test('administrators see how many addresses a network has, and uses', async () => {
  const { network } = (await call('member', 'POST', 'networks', { network: { name: 'counted' } })).body;
  const path = 'network-ip-availabilities';
  const counted = async (query: string) =>
    (await call('admin', 'GET', `${path}?network_id=${network.id}&${query}`)).body.network_ip_availabilities;
  assert.deepEqual(await counted('ip_version=4'), []);
  const pools = { allocation_pools: [{ start: '10.6.0.10', end: '10.6.0.19' }] };
  const subnet = { network_id: network.id, ip_version: 4, cidr: '10.6.0.0/24', name: 'of ten', ...pools };
  const made = (await call('member', 'POST', 'subnets', { subnet })).body.subnet;
  const port = (await call('member', 'POST', 'ports', { port: { network_id: network.id } })).body.port;
  const counts = { total_ips: 10, used_ips: 1 };
  const expected = {
    ...{ network_id: network.id, network_name: 'counted', project_id: 'p1', tenant_id: 'p1', ...counts },
    subnet_ip_availability: [
      { subnet_id: made.id, subnet_name: 'of ten', cidr: '10.6.0.0/24', ip_version: 4, ...counts },
    ],
  };
  assert.deepEqual(await counted('ip_version=4'), [expected]);
  assert.deepEqual(await counted('ip_version=6'), []);
  assert.deepEqual(await counted('project_id=p2'), []);
  assert.deepEqual(await counted('network_name=counted&fields=used_ips'), [{ used_ips: 1 }]);
  assert.deepEqual((await call('admin', 'GET', `${path}/${network.id}`)).body.network_ip_availability, expected);
  assert.equal((await call('admin', 'GET', `${path}/none`)).status, 404);
  assert.equal((await call('member', 'GET', path)).status, 403);
  for (const url of [`ports/${port.id}`, `networks/${network.id}`]) await call('member', 'DELETE', url);
});

test('what is wrong with a new record is told by its field', async () => {
  for (const [path, body, words] of [
    ['networks', { network: { color: 'red' } }, 'network. Value: {'],
    ['subnets', { subnet: { network_id: shared, cidr: '10.5.0.0/24' } }, "'ip_version' is a required property"],
    ['subnets', { subnets: [{ network_id: shared }] }, "'ip_version' is a required property"],
    ['ports', { port: { network_id: shared, color: 'red' } }, "('color' was unexpected)"],
    [
      'security-group-rules',
      { security_group_rule: { security_group_id: shared, direction: 'up' } },
      "direction. Value: up. 'up' is not one of",
    ],
    ['routers', { rooter: {} }, "'router' is a required property"],
  ] as const) {
    const { status, body: answer } = await call('member', 'POST', path, body);
    assert.equal(status, 400);
    assert.ok(answer.NeutronError.message.includes(words), answer.NeutronError.message);
  }
});

test("a server's port: active where it is bound, seen with its host by administrators; its user is the moves' to say", async () => {
  const serverId = newId();
  const made = await createPortForServer(world.p.stores.global, {
    ...{ serverId, projectId: 'p1', networkId: shared, host: 'host1', generation: 1, now: 1 },
  });
  assert.equal(made.kind, 'ok');
  const mine = (await call('member', 'GET', `ports?device_id=${serverId}`)).body.ports;
  assert.equal(mine.length, 1);
  assert.deepEqual(
    [mine[0].status, mine[0].device_owner, 'binding:host_id' in mine[0]],
    ['ACTIVE', 'compute:nova', false],
  );
  const seen = (await call('admin', 'GET', `ports/${mine[0].id}`)).body.port;
  assert.equal(seen['binding:host_id'], 'host1');
  const bindings = await call('admin', 'GET', `ports/${mine[0].id}/bindings`);
  assert.deepEqual(bindings.body.bindings[0].status, 'ACTIVE');
  assert.equal((await call('member', 'GET', `ports/${mine[0].id}/bindings`)).status, 403);
  const taken = await call('member', 'PUT', `ports/${mine[0].id}`, { port: { device_id: '' } });
  assert.deepEqual([taken.status, taken.body.NeutronError.type], [409, 'PortInUse']);
  for (const [query, count] of [
    ['status=ACTIVE', 1],
    ['status=DOWN', 0],
    ['status=BUILD', 0],
    [`fixed_ips=ip_address%3D${mine[0].fixed_ips[0].ip_address}`, 1],
    [`fixed_ips=subnet_id%3D${mine[0].fixed_ips[0].subnet_id}`, 1],
    [`mac_address=${mine[0].mac_address.toUpperCase()}`, 1],
    ['binding:host_id=host1', 1],
    ['admin_state_up=False', 0],
  ] as const) {
    assert.equal(
      (await call('admin', 'GET', `ports?device_owner=compute:nova&${query}`)).body.ports.length,
      count,
      query,
    );
  }
});

test('an address can be asked for, once', async () => {
  const port = { network_id: shared, fixed_ips: [{ ip_address: '10.42.0.77' }] };
  // On a network of others, an address of one's choice is for its owner.
  assert.equal((await call('member', 'POST', 'ports', { port })).status, 403);
  const first = await call('admin', 'POST', 'ports', { port });
  assert.equal(first.body.port.fixed_ips[0].ip_address, '10.42.0.77');
  const second = await call('admin', 'POST', 'ports', { port });
  assert.equal(second.status, 409);
  assert.equal(second.body.NeutronError.type, 'IpAddressAlreadyAllocated');
  for (const [ip_address, type] of [
    ['10.42.0.1', 'InvalidIpForSubnet'],
    ['10.43.0.5', 'InvalidIpForNetwork'],
    ['10.42.0.255', 'InvalidIpForNetwork'],
  ] as const) {
    const wrong = await call('admin', 'POST', 'ports', { port: { network_id: shared, fixed_ips: [{ ip_address }] } });
    assert.deepEqual([wrong.status, wrong.body.NeutronError.type], [400, type]);
  }
  await call('admin', 'DELETE', `ports/${first.body.port.id}`);
});

test('pages meet and are linked', async () => {
  const ids: string[] = [];
  for (let i = 0; i < 5; i += 1)
    ids.push((await call('stranger', 'POST', 'ports', { port: { network_id: shared, name: 'paged' } })).body.port.id);
  const walked: string[] = [];
  let next: string | undefined = 'ports?name=paged&limit=2&fields=id';
  for (let pages = 0; next !== undefined; pages += 1) {
    assert.ok(pages < 4, 'three pages are enough');
    const { body } = await call('stranger', 'GET', next);
    walked.push(...body.ports.map((port: { id: string }) => port.id));
    next = body.ports_links?.find((link: { rel: string }) => link.rel === 'next')?.href;
  }
  assert.deepEqual(walked, ids.toSorted());
  assert.deepEqual((await call('stranger', 'GET', `ports?limit=2&marker=${walked.at(-1)}`)).body.ports, []);
  const lost = await call('stranger', 'GET', 'ports?limit=2&marker=nowhere');
  assert.deepEqual([lost.status, lost.body.NeutronError.type], [404, 'PortNotFound']);
});

test('a filter by a truth value takes nothing else', async () => {
  for (const [query, value] of [
    ['networks?router:external=foo', 'foo'],
    ['ports?admin_state_up=', ''],
  ] as const) {
    const { status, body } = await call('member', 'GET', query);
    const message = `Invalid input for operation: '${value}' cannot be converted to boolean.`;
    assert.deepEqual([status, body.NeutronError], [400, { type: 'InvalidInput', message, detail: '' }]);
  }
});

test('what may not be is refused with a sentence that names the field', async () => {
  const cases: readonly [string, 'POST' | 'PUT', string, object, number, RegExp][] = [
    ['member', 'POST', 'networks', { network: { name: 'x', shared: true } }, 403, /shared/],
    ['member', 'POST', 'networks', { network: { name: 'a\nb' } }, 400, /name/],
    ['member', 'POST', 'networks', { network: { name: 'x'.repeat(256) } }, 400, /name/],
    ['member', 'POST', 'networks', { network: { name: 'x', colour: 'red' } }, 400, /colour/],
    ['member', 'POST', 'networks', { network: { name: 7 } }, 400, /name/],
    ['member', 'POST', 'networks', { network: { project_id: 'p2' } }, 403, /project_id/],
    ['reader', 'POST', 'networks', { network: { name: 'x' } }, 403, /create_network/],
    ['member', 'PUT', `networks/${shared}`, { network: { name: 'mine' } }, 403, /update_network/],
    ['member', 'POST', 'ports', { port: { network_id: newId() } }, 404, /Network/],
    ['member', 'POST', 'ports', { port: { network_id: shared, device_owner: 'network:dhcp' } }, 403, /device_owner/],
    ['member', 'POST', 'ports', { port: { network_id: shared, mac_address: 'fa:16:3e:00:00:01' } }, 403, /mac_address/],
    ['admin', 'POST', 'ports', { port: { network_id: shared, fixed_ips: [{ ip_address: '10.42.0.300' }] } }, 400, /IP/],
    ['member', 'POST', 'ports', { port: { network_id: shared, fixed_ips: [{ subnet_id: 'x' }] } }, 400, /subnet/],
    [
      'member',
      'POST',
      'subnets',
      { subnet: { network_id: shared, ip_version: 4, cidr: '10.0.0.0/24' } },
      403,
      /subnet/,
    ],
    [
      'admin',
      'POST',
      'subnets',
      { subnet: { network_id: shared, ip_version: 4, cidr: '10.42.0.128/25' } },
      400,
      /overlaps with another subnet/,
    ],
    [
      'admin',
      'POST',
      'subnets',
      { subnet: { network_id: shared, ip_version: 6, cidr: '10.0.0.0/24' } },
      400,
      /ip_version/,
    ],
    ['admin', 'POST', 'subnets', { subnet: { network_id: shared, ip_version: 4, cidr: '10.0.0.0/30' } }, 400, /cidr/],
    ['admin', 'POST', 'subnets', { subnet: { network_id: shared, ip_version: 4, cidr: '10.0.0.1/33' } }, 400, /cidr/],
  ];
  const before = await call('admin', 'GET', 'networks');
  for (const [who, method, path, body, status, sentence] of cases) {
    const answer = await call(who, method, path, body);
    assert.equal(answer.status, status, JSON.stringify([body, answer.body]));
    assert.match(answer.body.NeutronError.message, sentence);
  }
  assert.deepEqual((await call('admin', 'GET', 'networks')).body, before.body);
  assert.equal((await call('member', 'GET', 'networks?colour=red')).status, 400);
  assert.equal((await call('member', 'GET', 'ports?fixed_ips=x')).status, 400);
});

test("a subnet of one's own: gateway and pool must go together", async () => {
  const network_id = (await call('member', 'POST', 'networks', { network: { name: 'own' } })).body.network.id;
  const subnet = (part: object) =>
    call('member', 'POST', 'subnets', { subnet: { network_id, ip_version: 4, cidr: '10.7.0.0/24', ...part } });
  const pool = [{ start: '10.7.0.99', end: '10.7.0.101' }];
  const conflict = await subnet({ gateway_ip: '10.7.0.100', allocation_pools: pool });
  assert.equal(conflict.body.NeutronError.type, 'GatewayConflictWithAllocationPools');
  assert.equal((await subnet({ gateway_ip: '10.7.0.255' })).status, 400);
  assert.equal((await subnet({ allocation_pools: [{ start: '10.7.0.9', end: '10.7.0.8' }] })).status, 400);
  assert.equal((await subnet({ allocation_pools: [{ start: '10.7.0.9', end: '10.7.1.8' }] })).status, 400);
  const made = await subnet({ gateway_ip: '10.7.0.254', allocation_pools: [{ start: '10.7.0.10', end: '10.7.0.11' }] });
  assert.equal(made.status, 201);
  assert.equal((await subnet({})).status, 400);
  const statuses: number[] = [];
  for (let i = 0; i < 3; i += 1)
    statuses.push((await call('member', 'POST', 'ports', { port: { network_id } })).status);
  assert.deepEqual(statuses, [201, 201, 409]);
});

test('a project has at most so many networks', async () => {
  for (let i = 0; i < NETWORK_LIMITS.network; i += 1)
    assert.equal((await call('stranger', 'POST', 'networks', { network: { name: `n${i}` } })).status, 201);
  const over = await call('stranger', 'POST', 'networks', { network: { name: 'one more' } });
  assert.equal(over.status, 409);
  assert.deepEqual(over.body.NeutronError.message, "Quota exceeded for resources: ['network'].");
});

test('a change of another revision than the one that is named is none', async () => {
  const { id } = (await call('member', 'POST', 'networks', { network: { name: 'first' } })).body.network;
  const path = `networks/${id}`;
  const at = (tag: string) => ({ 'if-match': tag });
  const rename = (name: string, tag: string) => call('member', 'PUT', path, { network: { name } }, at(tag));
  const { status, body } = await rename('second', 'revision_number=999');
  assert.deepEqual([status, body.NeutronError.type], [412, 'RevisionNumberConstraintFailed']);
  const { revision_number, name } = (await call('member', 'GET', path)).body.network;
  assert.equal(name, 'first');
  assert.equal(body.NeutronError.message, `Constrained to 999, but current revision is ${revision_number}`);
  assert.equal((await rename('second', `"revision_number=${revision_number}"`)).body.network.name, 'second');
  assert.equal((await call('member', 'DELETE', path, undefined, at(`revision_number=${revision_number}`))).status, 412);
  for (const wrong of ['revision_number=x', 'revision_number=1, revision_number=2'])
    assert.equal((await rename('third', wrong)).status, 400, wrong);
  assert.equal((await rename('third', '"other"')).status, 200);
  const last = (await call('member', 'GET', path)).body.network.revision_number;
  assert.equal((await call('member', 'DELETE', path, undefined, at(`revision_number=${last}`))).status, 204);
});

test('every kind of record is changed and deleted at the revision that is named, and no other', async () => {
  const made = async (path: string, wish: object): Promise<{ id: string; revision_number: number }> => {
    const { status, body } = await call('member', 'POST', path, wish);
    assert.equal(status, 201, JSON.stringify(body));
    return body[Object.keys(wish)[0] ?? ''];
  };
  const at = (revision: number) => ({ 'if-match': `revision_number=${revision}` });
  const subnet = { network_id: (await made('networks', { network: {} })).id, ip_version: 4, cidr: '10.9.0.0/24' };
  for (const [path, wish] of [
    ['subnets', { subnet }],
    ['ports', { port: { network_id: shared } }],
    ['routers', { router: {} }],
    ['floatingips', { floatingip: { floating_network_id: await api.idOf('public') } }],
    ['security-groups', { security_group: { name: 'revised' } }],
  ] as const) {
    const { id, revision_number: first } = await made(path, wish);
    const change = { [Object.keys(wish)[0] ?? '']: { description: 'changed' } };
    const put = async () => (await call('member', 'PUT', `${path}/${id}`, change, at(first))).status;
    assert.deepEqual([await put(), await put()], [200, 412], path);
    const remove = async (revision: number) =>
      (await call('member', 'DELETE', `${path}/${id}`, undefined, at(revision))).status;
    assert.deepEqual([await remove(first), await remove(first + 1), await remove(first + 1)], [412, 204, 404], path);
  }
});

test('a rule more or less is a change of its group, and a server that comes or goes one of its port', async () => {
  const wish = { security_group: { name: 'counted' } };
  const group = (await call('member', 'POST', 'security-groups', wish)).body.security_group;
  const rule = { security_group_id: group.id, direction: 'ingress' };
  const { id } = (await call('member', 'POST', 'security-group-rules', { security_group_rule: rule })).body
    .security_group_rule;
  assert.equal((await call('member', 'DELETE', `security-group-rules/${id}`)).status, 204);
  const revisionOf = async (path: string, single: string) =>
    (await call('member', 'GET', path)).body[single].revision_number;
  assert.equal(await revisionOf(`security-groups/${group.id}`, 'security_group'), group.revision_number + 2);
  const port = (await call('member', 'POST', 'ports', { port: { network_id: shared } })).body.port;
  const claim = { serverId: newId(), projectId: 'p1', newPortId: port.id, tag: null, now: 1 };
  const global = world.p.stores.global;
  const actor = { userId: 'u1', projectId: 'p1', roles: ['member'], requestId: 'req-1' };
  await global.transaction().execute((trx) => claimPort(trx, actor, { kind: 'port', portId: port.id }, claim));
  assert.equal(await revisionOf(`ports/${port.id}`, 'port'), port.revision_number + 1);
  await global.transaction().execute((trx) => releasePort(trx, claim.serverId, port.id));
  assert.equal(await revisionOf(`ports/${port.id}`, 'port'), port.revision_number + 2);
});

test('what is not there is an empty list, and extensions and quotas answer', async () => {
  for (const name of ['subnetpools', 'address-scopes']) {
    const { status, body } = await call('member', 'GET', `${name}?tenant_id=p1&name=default&fields=id&fields=name`);
    assert.deepEqual([status, body], [200, { [name.replaceAll('-', '_')]: [] }]);
  }
  assert.equal((await call('member', 'GET', 'availability_zones')).body.availability_zones.length, 2);
  assert.ok((await call('member', 'GET', 'extensions')).body.extensions.length > 0);
  assert.equal((await call('member', 'GET', 'extensions/tag-ports-during-bulk-creation')).status, 404);
  assert.equal((await call('member', 'GET', 'extensions/binding')).status, 200);
  assert.equal((await call('member', 'GET', 'quotas/p1')).body.quota.port, 500);
  assert.equal((await call('member', 'GET', 'quotas/p2')).status, 403);
});

test('bindings of a port: Neutron’s codes and sentences; for administrators', async () => {
  const serverId = newId();
  const made = await createPortForServer(world.p.stores.global, {
    ...{ serverId, projectId: 'p1', networkId: shared, host: 'host1', generation: 3, now: 1 },
  });
  assert(made.kind === 'ok');
  const url = `ports/${made.port.id}/bindings`;
  const at = (host: string) => ({ binding: { host } });
  const error = async (method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, payload?: object) => {
    const { status, body } = await call('admin', method, path, payload);
    return [status, body?.NeutronError?.type, body?.NeutronError?.message];
  };
  const missing = `Binding for port ${made.port.id} for host host9 could not be found.`;
  assert.deepEqual(await error('GET', `${url}/host9`), [404, 'PortBindingNotFound', missing]);
  assert.deepEqual(await error('PUT', `${url}/host9`, { binding: {} }), [404, 'PortBindingNotFound', missing]);
  assert.deepEqual(await error('PUT', `${url}/host9/activate`), [404, 'PortBindingNotFound', missing]);
  assert.deepEqual(await error('DELETE', `${url}/host9`), [404, 'PortBindingNotFound', missing]);
  assert.deepEqual(await error('POST', url, at('host1')), [
    ...[409, 'PortBindingAlreadyExists', `Binding for port ${made.port.id} on host host1 already exists.`],
  ]);
  assert.deepEqual(await error('PUT', `${url}/host1/activate`), [
    ...[409, 'PortBindingAlreadyActive', `Binding for port ${made.port.id} on host host1 is already active.`],
  ]);
  assert.equal((await error('POST', 'ports/nothing/bindings', at('host1')))[1], 'PortNotFound');
  assert.equal((await error('POST', url, { binding: {} }))[0], 400);
  assert.equal((await error('POST', url, { binding: { host: 'host1', unknown: 1 } }))[0], 400);
  const big = { binding: { profile: { text: 'x'.repeat(5000) } } };
  assert.equal((await error('PUT', `${url}/host1`, big))[1], 'InvalidInput');
  const changed = await call('admin', 'PUT', `${url}/host1`, { binding: { profile: { rack: '7' } } });
  assert.deepEqual([changed.status, changed.body.binding.profile], [200, { rack: '7' }]);
  assert.deepEqual((await call('admin', 'GET', `${url}/host1`)).body.binding.profile, { rack: '7' });
  assert.equal((await call('admin', 'GET', `${url}?status=INACTIVE`)).body.bindings.length, 0);
  const free = await call('member', 'POST', 'ports', { port: { network_id: shared } });
  assert.deepEqual((await error('GET', `ports/${free.body.port.id}/bindings`)).slice(0, 2), [400, 'BadRequest']);
  for (const [method, path, payload] of [
    ['GET', `${url}/host1`, undefined],
    ['POST', url, at('host2')],
    ['PUT', `${url}/host1`, { binding: {} }],
    ['PUT', `${url}/host1/activate`, undefined],
    ['DELETE', `${url}/host1`, undefined],
  ] as const) {
    assert.equal((await call('member', method, path, payload)).status, 403, `${method} ${path}`);
  }
});
