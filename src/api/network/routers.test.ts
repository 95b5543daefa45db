import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { NETWORK_LIMITS } from '../../control/network/quotas.ts';
import { createPortForServer, deletePortsOfServer } from '../../control/network.ts';
import { newId } from '../../lib/ids.ts';
import { NetworkApi } from './testing.ts';

const api = await NetworkApi.open();
after(() => api[Symbol.asyncDispose]());
const { call, errorOf, world } = api;
const shared = await api.idOf('shared');
const external = await api.idOf('public');

/** A network of the member's with a subnet. */
async function subnetOf(cidr: string): Promise<{ network: string; subnet: string }> {
  const network = (await call('member', 'POST', 'networks', { network: { name: cidr } })).body.network.id;
  const subnet = await call('member', 'POST', 'subnets', { subnet: { network_id: network, ip_version: 4, cidr } });
  return { network, subnet: subnet.body.subnet.id };
}

test('the external network is seen by all and used by none for servers', async () => {
  const [found] = (await call('member', 'GET', 'networks?name=public')).body.networks;
  assert.deepEqual([found.id, found.shared, found['router:external']], [external, false, true]);
  assert.equal((await call('member', 'GET', 'subnets?name=public-subnet')).body.subnets.length, 0);
  const made = await createPortForServer(world.p.stores.global, {
    ...{ serverId: newId(), projectId: 'p1', networkId: external, host: 'host1', generation: 1, now: 1 },
  });
  assert.equal(made.kind, 'refused');
});

test('a router: gateway, interfaces by subnet and by port, and no way out of order', async () => {
  const one = await subnetOf('10.1.0.0/24');
  const two = await subnetOf('10.2.0.0/24');
  const gateway = { network_id: external };
  const made = await call('member', 'POST', 'routers', { router: { name: 'r', external_gateway_info: gateway } });
  assert.equal(made.status, 201);
  const { router } = made.body;
  assert.match(router.external_gateway_info.external_fixed_ips[0].ip_address, /^172\.24\.4\./);
  const add = `routers/${router.id}/add_router_interface`;
  const remove = `routers/${router.id}/remove_router_interface`;
  const joined = await call('member', 'PUT', add, { subnet_id: one.subnet });
  assert.equal(joined.status, 200);
  assert.deepEqual(
    [joined.body.id, joined.body.subnet_ids, joined.body.network_id],
    [router.id, [one.subnet], one.network],
  );
  const [port] = (await call('member', 'GET', `ports?device_id=${router.id}`)).body.ports;
  assert.deepEqual(
    [port.id, port.device_owner, port.status, port.fixed_ips[0].ip_address, port.security_groups],
    [joined.body.port_id, 'network:router_interface', 'ACTIVE', '10.1.0.1', []],
  );
  const extra = async (verb: string, ...hops: [string, string][]) => {
    const routes = hops.map(([destination, nexthop]) => ({ destination, nexthop }));
    const { status, body } = await call('member', 'PUT', `routers/${router.id}/${verb}_extraroutes`, {
      router: { routes },
    });
    return [status, body.router?.routes.map((each: { destination: string }) => each.destination)];
  };
  const a: [string, string] = ['10.7.0.0/16', '10.1.0.9'];
  const b: [string, string] = ['10.8.0.0/16', '10.1.0.9'];
  assert.deepEqual(await extra('add', a, a), [200, ['10.7.0.0/16']]);
  assert.deepEqual(await extra('add', b, a), [200, ['10.7.0.0/16', '10.8.0.0/16']], 'to what is there');
  assert.deepEqual(await extra('add', ['10.9.0.0/16', '1.2.3.4']), [400, undefined], 'nowhere near');
  assert.deepEqual(await extra('remove', a, a), [200, ['10.8.0.0/16']]);
  assert.deepEqual(await extra('remove', b, a), [200, []]);
  assert.deepEqual(await errorOf('member', 'PUT', add, { subnet_id: one.subnet }), [400, 'BadRequest']);
  assert.deepEqual(await errorOf('member', 'PUT', add, {}), [400, 'BadRequest']);
  assert.deepEqual(await errorOf('stranger', 'PUT', add, { subnet_id: one.subnet }), [404, 'RouterNotFound']);
  assert.deepEqual(await errorOf('member', 'DELETE', `ports/${port.id}`), [409, 'ServicePortInUse']);
  assert.deepEqual(await errorOf('member', 'DELETE', `routers/${router.id}`), [409, 'RouterInUse']);
  assert.deepEqual(await errorOf('member', 'DELETE', `subnets/${one.subnet}`), [409, 'SubnetInUse']);
  assert.deepEqual(await errorOf('member', 'PUT', `subnets/${one.subnet}`, { subnet: { gateway_ip: null } }), [
    ...[409, 'GatewayIpInUse'],
  ]);
  const outside = (gateway_ip: string) => call('member', 'PUT', `subnets/${two.subnet}`, { subnet: { gateway_ip } });
  const { gateway_ip: inside } = (await call('member', 'GET', `subnets/${two.subnet}`)).body.subnet;
  assert.equal((await outside('10.10.11.1')).body.subnet.gateway_ip, '10.10.11.1');
  assert.deepEqual(await errorOf('member', 'PUT', add, { subnet_id: two.subnet }), [400, 'InvalidIpForSubnet']);
  assert.equal((await outside(inside)).status, 200);
  const own = (await call('member', 'POST', 'ports', { port: { network_id: two.network } })).body.port;
  assert.equal((await call('member', 'PUT', add, { port_id: own.id })).status, 200);
  assert.deepEqual(await errorOf('member', 'PUT', remove, { subnet_id: newId() }), [404, 'SubnetNotFound']);
  assert.deepEqual(await errorOf('member', 'PUT', remove, { port_id: newId() }), [404, 'RouterInterfaceNotFound']);
  const route = { destination: '10.9.0.0/24', nexthop: '10.2.0.7' };
  const routed = await call('member', 'PUT', `routers/${router.id}`, { router: { routes: [route] } });
  assert.deepEqual(routed.body.router.routes, [route]);
  const far = { destination: '10.9.0.0/24', nexthop: '10.8.0.7' };
  assert.deepEqual(await errorOf('member', 'PUT', `routers/${router.id}`, { router: { routes: [far] } }), [
    400,
    'InvalidRoutes',
  ]);
  assert.equal((await call('member', 'PUT', remove, { port_id: own.id })).status, 200);
  assert.equal((await call('member', 'GET', `ports/${own.id}`)).status, 404);
  assert.equal((await call('member', 'PUT', remove, { subnet_id: one.subnet })).status, 200);
  const cleared = await call('member', 'PUT', `routers/${router.id}`, { router: { external_gateway_info: {} } });
  assert.equal(cleared.body.router.external_gateway_info, null);
  assert.equal((await call('member', 'DELETE', `routers/${router.id}`)).status, 204);
  assert.deepEqual(
    await errorOf('member', 'POST', 'routers', { router: { external_gateway_info: { network_id: shared } } }),
    [...[400, 'BadRequest']],
  );
});

test('routers of other kinds are refused: by the rules, and then for what they are', async () => {
  const router = { distributed: true };
  assert.deepEqual(await errorOf('member', 'POST', 'routers', { router }), [403, 'PolicyNotAuthorized']);
  assert.deepEqual(await errorOf('admin', 'POST', 'routers', { router }), [400, 'BadRequest']);
});

test('of which kind a router is administrators see', async () => {
  const { id } = (await call('member', 'POST', 'routers', { router: {} })).body.router;
  const kindFor = async (who: string) => {
    const { distributed, ha } = (await call(who, 'GET', `routers/${id}`)).body.router;
    return [distributed, ha];
  };
  assert.deepEqual(await kindFor('admin'), [false, false]);
  assert.deepEqual(await kindFor('member'), [undefined, undefined]);
});

test('subnets of one router do not overlap', async () => {
  const [one, two] = [await subnetOf('10.3.0.0/24'), await subnetOf('10.3.0.0/25')];
  const { router } = (await call('member', 'POST', 'routers', { router: { name: 'r2' } })).body;
  const add = `routers/${router.id}/add_router_interface`;
  assert.equal((await call('member', 'PUT', add, { subnet_id: one.subnet })).status, 200);
  const refused = await call('member', 'PUT', add, { subnet_id: two.subnet });
  assert.equal(refused.status, 400);
  assert.match(refused.body.NeutronError.message, /overlaps with cidr 10\.3\.0\.0\/24/);
});

test("a floating IP leads to a server's port and to none when that is gone", async () => {
  const serverId = newId();
  const { global } = world.p.stores;
  const made = await createPortForServer(global, {
    ...{ serverId, projectId: 'p1', networkId: shared, host: 'host1', generation: 1, now: 1 },
  });
  assert(made.kind === 'ok');
  const { port } = made;
  const create = (more: object) =>
    call('member', 'POST', 'floatingips', { floatingip: { floating_network_id: external, ...more } });
  const first = (await create({ port_id: port.id })).body.floatingip;
  assert.deepEqual([first.port_id, first.fixed_ip_address, first.status], [port.id, port.ip, 'ACTIVE']);
  const { mac_address, ...details } = first.port_details;
  assert.match(mac_address, /^fa:16:3e/);
  assert.deepEqual(details, {
    ...{ name: '', network_id: shared, admin_state_up: true, status: 'ACTIVE', device_id: serverId },
    device_owner: 'compute:nova',
  });
  const second = (await create({})).body.floatingip;
  assert.deepEqual(
    [second.port_id, second.fixed_ip_address, second.router_id, second.status, second.port_details],
    [null, null, null, 'DOWN', null],
  );
  const path = `floatingips/${second.id}`;
  const to = (port_id: string | null, more: object = {}) => ({ floatingip: { port_id, ...more } });
  assert.deepEqual(await errorOf('member', 'PUT', path, to(port.id)), [409, 'FloatingIPPortAlreadyAssociated']);
  assert.deepEqual(await errorOf('member', 'PUT', path, to(port.id, { fixed_ip_address: '10.42.0.200' })), [
    400,
    'BadRequest',
  ]);
  assert.deepEqual(await errorOf('stranger', 'PUT', path, to(port.id)), [404, 'FloatingIPNotFound']);
  assert.deepEqual(
    await errorOf('stranger', 'POST', 'floatingips', {
      floatingip: { floating_network_id: external, port_id: port.id },
    }),
    [...[404, 'PortNotFound']],
  );
  const lonely = await subnetOf('10.4.0.0/24');
  const apart = (await call('member', 'POST', 'ports', { port: { network_id: lonely.network } })).body.port.id;
  assert.deepEqual(await errorOf('member', 'PUT', path, to(apart)), [404, 'ExternalGatewayForFloatingIPNotFound']);
  assert.deepEqual(await errorOf('member', 'POST', 'floatingips', { floatingip: { floating_network_id: shared } }), [
    400,
    'BadRequest',
  ]);
  assert.deepEqual(
    await errorOf('member', 'POST', 'floatingips', {
      floatingip: { floating_network_id: external, floating_ip_address: '172.24.4.77' },
    }),
    [...[403, 'PolicyNotAuthorized']],
  );
  assert.equal((await call('member', 'PUT', `floatingips/${first.id}`, to(null))).body.floatingip.port_id, null);
  assert.equal((await call('member', 'PUT', path, to(port.id))).status, 200);
  assert.equal((await call('member', 'GET', `floatingips?port_id=${port.id}`)).body.floatingips.length, 1);
  assert.deepEqual(await errorOf('admin', 'DELETE', `ports?id=x`), [405, 'HTTPMethodNotAllowed']);
  await deletePortsOfServer(global, serverId);
  const left = (await call('member', 'GET', path)).body.floatingip;
  assert.deepEqual([left.port_id, left.fixed_ip_address, left.router_id, left.status], [null, null, null, 'DOWN']);
  assert.equal((await call('member', 'DELETE', path)).status, 204);
  assert.equal((await call('member', 'DELETE', path)).status, 404);
});

test('a floating IP leads to an address of a port, and not to one of none', async () => {
  const floatingip = { floating_network_id: external, fixed_ip_address: '10.42.0.9' };
  for (const wish of [floatingip, { ...floatingip, port_id: null }]) {
    const { status, body } = await call('member', 'POST', 'floatingips', { floatingip: wish });
    const said = 'Bad floatingip request: fixed_ip_address cannot be specified without a port_id.';
    assert.deepEqual([status, body.NeutronError?.message], [400, said]);
  }
  const bare = { ...floatingip, fixed_ip_address: null, port_id: null };
  const { body } = await call('member', 'POST', 'floatingips', { floatingip: bare });
  assert.equal(body.floatingip.port_id, null);
  assert.equal((await call('member', 'DELETE', `floatingips/${body.floatingip.id}`)).status, 204);
});

test('an external network goes with the floating IPs that lead nowhere', async () => {
  const { network } = (await call('admin', 'POST', 'networks', { network: { 'router:external': true } })).body;
  const subnet = { network_id: network.id, ip_version: 4, cidr: '172.25.0.0/24' };
  await call('admin', 'POST', 'subnets', { subnet });
  const floatingip = { floating_network_id: network.id };
  const { id } = (await call('member', 'POST', 'floatingips', { floatingip })).body.floatingip;
  assert.equal((await call('admin', 'DELETE', `networks/${network.id}`)).status, 204);
  assert.equal((await call('member', 'GET', `floatingips/${id}`)).status, 404);
});

test('a port says where an operator says that it is, and is found by parts of its address', async () => {
  const port = { network_id: shared, 'binding:host_id': 'somewhere', name: 'placed' };
  assert.equal((await call('member', 'POST', 'ports', { port })).status, 403);
  const made = (await call('admin', 'POST', 'ports', { port })).body.port;
  assert.deepEqual([made['binding:host_id'], made['binding:vif_type']], ['somewhere', 'unbound']);
  const found = async (query: string) => (await call('admin', 'GET', `ports?name=placed&${query}`)).body.ports.length;
  assert.equal(await found('binding:host_id=somewhere'), 1);
  assert.equal(await found('fixed_ips=ip_address_substr%3D.42.'), 1);
  assert.equal(await found('fixed_ips=ip_address_substr%3D.43.'), 0);
  assert.equal((await call('admin', 'DELETE', `ports/${made.id}`)).status, 204);
});

test('what a router needs for floating IPs stays with it', async () => {
  const { network, subnet } = await subnetOf('10.6.0.0/24');
  const { router } = (
    await call('member', 'POST', 'routers', { router: { external_gateway_info: { network_id: external } } })
  ).body;
  await call('member', 'PUT', `routers/${router.id}/add_router_interface`, { subnet_id: subnet });
  const port = (await call('member', 'POST', 'ports', { port: { network_id: network } })).body.port.id;
  const floatingip = { floating_network_id: external, port_id: port };
  const { id } = (await call('member', 'POST', 'floatingips', { floatingip })).body.floatingip;
  assert.deepEqual(
    await errorOf('member', 'PUT', `routers/${router.id}/remove_router_interface`, { subnet_id: subnet }),
    [...[409, 'RouterInterfaceInUseByFloatingIP']],
  );
  assert.deepEqual(
    await errorOf('member', 'PUT', `routers/${router.id}`, { router: { external_gateway_info: null } }),
    [...[409, 'RouterExternalGatewayInUseByFloatingIp']],
  );
  assert.equal((await call('member', 'DELETE', `ports/${port}`)).status, 204);
  assert.equal((await call('member', 'GET', `floatingips/${id}`)).body.floatingip.router_id, null);
  assert.equal(
    (await call('member', 'PUT', `routers/${router.id}/remove_router_interface`, { subnet_id: subnet })).status,
    200,
  );
  assert.equal((await call('member', 'DELETE', `routers/${router.id}`)).status, 204);
});

test('quotas are counted, set and reset', async () => {
  const quota = (limits: object) => call('admin', 'PUT', 'quotas/p2', { quota: limits });
  assert.equal((await quota({ floatingip: 1, router: 0 })).body.quota.floatingip, 1);
  const floatingip = { floating_network_id: external };
  assert.equal((await call('stranger', 'POST', 'floatingips', { floatingip })).status, 201);
  const over = await call('stranger', 'POST', 'floatingips', { floatingip });
  assert.deepEqual(
    [over.status, over.body.NeutronError.message],
    [409, "Quota exceeded for resources: ['floatingip']."],
  );
  assert.deepEqual(await errorOf('stranger', 'POST', 'routers', { router: {} }), [409, 'OverQuota']);
  assert.equal((await call('stranger', 'GET', 'quotas/p2/details')).body.quota.floatingip.used, 1);
  assert.equal((await call('stranger', 'PUT', 'quotas/p2', { quota: { router: 1 } })).status, 403);
  // As the `openstack` command sends it, which asks for the check unless it is told to force.
  assert.equal((await quota({ check_limit: true, router: '3' })).body.quota.router, 3);
  const below = await quota({ check_limit: true, router: 4, floatingip: 0 });
  assert.equal(below.status, 409);
  assert.equal((await quota({})).body.quota.router, 3);
  assert.equal((await quota({ force: true, floatingip: '0' })).body.quota.floatingip, 0);
  assert.equal((await quota({ router: '-2' })).status, 400);
  assert.equal((await call('admin', 'GET', 'quotas')).body.quotas.length, 1);
  assert.equal((await call('admin', 'DELETE', 'quotas/p2')).status, 204);
  assert.equal((await call('stranger', 'GET', 'quotas/p2')).body.quota.router, NETWORK_LIMITS.router);
  for (const what of ['project', 'tenant'])
    assert.deepEqual((await call('reader', 'GET', `quotas/${what}`)).body, { [what]: { [`${what}_id`]: 'p1' } });
});

test('several are made at once, or none', async () => {
  const two = await call('member', 'POST', 'networks', { networks: [{ name: 'bulk' }, { name: 'bulk' }] });
  assert.deepEqual([two.status, two.body.networks.length], [201, 2]);
  const refused = await call('member', 'POST', 'ports', { ports: [{ network_id: shared }, { network_id: newId() }] });
  assert.equal(refused.status, 404);
  assert.equal((await call('member', 'GET', `ports?network_id=${shared}`)).body.ports.length, 0);
  const groups = async () => (await call('admin', 'GET', 'security-groups')).body.security_groups.length;
  const before = await groups();
  const named = [{ name: 'web', project_id: 'p9' }, { name: 'default' }];
  assert.equal((await call('admin', 'POST', 'security-groups', { security_groups: named })).status, 409);
  assert.equal(await groups(), before, 'not even the default group of the project that it was for');
});

test('tags are put on, listed by and taken off', async () => {
  const { id } = (await call('member', 'POST', 'networks', { network: { name: 'tagged' } })).body.network;
  const url = `networks/${id}/tags`;
  assert.deepEqual((await call('member', 'PUT', url, { tags: ['red', 'a%b', 'red'] })).body, { tags: ['a%b', 'red'] });
  assert.equal((await call('member', 'PUT', `${url}/blue`)).status, 201);
  assert.equal((await call('member', 'GET', `${url}/blue`)).status, 204);
  assert.equal((await call('member', 'GET', `${url}/green`)).status, 404);
  const found = async (query: string) =>
    (await call('member', 'GET', `networks?name=tagged&${query}`)).body.networks.length;
  assert.deepEqual(
    await Promise.all(
      ['tags=red,blue', 'tags=red,green', 'tags-any=red,green', 'not-tags=red', 'not-tags-any=green'].map(found),
    ),
    [1, 0, 1, 0, 1],
  );
  assert.equal(await found('tags=a%25b'), 1);
  assert.equal(await found('tags=a_b'), 0);
  assert.equal(await found('tags=Red'), 0);
  const many = Array.from({ length: 51 }, (_, i) => `t${i}`).join(',');
  assert.equal((await call('member', 'GET', `networks?tags=${many}`)).status, 400);
  assert.equal((await call('member', 'DELETE', `${url}/blue`)).status, 204);
  assert.equal((await call('member', 'DELETE', `${url}/blue`)).status, 404);
  assert.equal((await call('stranger', 'PUT', `${url}/mine`)).status, 404);
  assert.equal((await call('stranger', 'PUT', `networks/${shared}/tags/mine`)).status, 403);
  assert.equal((await call('member', 'DELETE', url)).status, 204);
  const added = async (tags: object) => (await call('member', 'POST', url, { tags })).body;
  assert.deepEqual([await added(['b', 'a']), await added(['a', 'c'])], [{ tags: ['b', 'a'] }, { tags: ['a', 'c'] }]);
  assert.deepEqual((await call('member', 'GET', url)).body, { tags: ['a', 'b', 'c'] });
  assert.equal((await call('stranger', 'POST', url, { tags: ['mine'] })).status, 404);
  assert.equal((await call('member', 'DELETE', url)).status, 204);
  assert.deepEqual((await call('member', 'GET', `networks/${id}`)).body.network.tags, []);
});

test('security groups: the default one, rules, ports', async () => {
  const [group] = (await call('member', 'GET', 'security-groups?name=default')).body.security_groups;
  assert.equal(group.security_group_rules.length, 4);
  assert.deepEqual(await errorOf('member', 'DELETE', `security-groups/${group.id}`), [409, 'SecurityGroupInUse']);
  assert.deepEqual(await errorOf('member', 'PUT', `security-groups/${group.id}`, { security_group: { name: 'x' } }), [
    ...[409, 'SecurityGroupCannotUpdateDefault'],
  ]);
  const { security_group: web } = (await call('member', 'POST', 'security-groups', { security_group: { name: 'web' } }))
    .body;
  const rule = {
    security_group_id: web.id,
    direction: 'ingress',
    protocol: 'tcp',
    port_range_min: 80,
    port_range_max: 80,
  };
  const made = await call('member', 'POST', 'security-group-rules', { security_group_rule: rule });
  assert.equal(made.status, 201);
  assert.deepEqual(
    await errorOf('member', 'POST', 'security-group-rules', { security_group_rule: { ...rule, protocol: 6 } }),
    [...[409, 'SecurityGroupRuleExists']],
  );
  const said = async (ports: object) => {
    const { status, body } = await call('member', 'POST', 'security-group-rules', {
      security_group_rule: { ...rule, ...ports },
    });
    return status === 201 ? body.security_group_rule.port_range_max : body.NeutronError.message;
  };
  assert.equal(await said({ port_range_min: '8000', port_range_max: '8080' }), 8080);
  assert.equal(await said({ port_range_max: '70000' }), 'Invalid value for port 70000');
  assert.equal(await said({ port_range_max: -1 }), 'Invalid value for port -1');
  assert.match(await said({ port_range_max: '80x' }), /Value: 80x/);
  assert.deepEqual(await errorOf('stranger', 'POST', 'security-group-rules', { security_group_rule: rule }), [
    404,
    'SecurityGroupNotFound',
  ]);
  const port = { network_id: shared, security_groups: [web.id] };
  const { id } = (await call('member', 'POST', 'ports', { port })).body.port;
  assert.deepEqual((await call('member', 'GET', `ports/${id}`)).body.port.security_groups, [web.id]);
  assert.deepEqual(await errorOf('stranger', 'POST', 'ports', { port }), [404, 'SecurityGroupNotFound']);
  assert.deepEqual(await errorOf('member', 'DELETE', `security-groups/${web.id}`), [409, 'SecurityGroupInUse']);
  const plain = { network_id: shared, port_security_enabled: false, security_groups: [web.id] };
  assert.deepEqual(await errorOf('admin', 'POST', 'ports', { port: { ...plain, project_id: 'p1' } }), [
    ...[400, 'PortSecurityAndIPRequiredForSecurityGroups'],
  ]);
  assert.equal((await call('member', 'DELETE', `ports/${id}`)).status, 204);
  assert.equal((await call('member', 'DELETE', `security-groups/${web.id}`)).status, 204);
  assert.equal((await call('member', 'GET', `security-group-rules/${made.body.security_group_rule.id}`)).status, 404);
});

test('a port changes its addresses, pairs and options', async () => {
  const { network, subnet } = await subnetOf('10.7.0.0/24');
  const { id } = (
    await call('member', 'POST', 'ports', { port: { network_id: network, fixed_ips: [{ ip_address: '10.7.0.9' }] } })
  ).body.port;
  const change = (port: object) => call('member', 'PUT', `ports/${id}`, { port });
  const fixed_ips = [{ ip_address: '10.7.0.9' }, { subnet_id: subnet }];
  const two = (await change({ fixed_ips })).body.port;
  assert.deepEqual([two.fixed_ips.length, two.fixed_ips[0].ip_address], [2, '10.7.0.9']);
  const pair = { ip_address: '10.7.0.50' };
  const paired = (
    await change({
      allowed_address_pairs: [pair],
      dns_name: 'web',
      extra_dhcp_opts: [{ opt_name: 'mtu', opt_value: '1400' }],
    })
  ).body.port;
  assert.deepEqual(paired.allowed_address_pairs, [{ ...pair, mac_address: paired.mac_address }]);
  assert.deepEqual(paired.extra_dhcp_opts, [{ opt_name: 'mtu', opt_value: '1400', ip_version: 4 }]);
  assert.equal(paired.dns_assignment[0].fqdn, 'web.openstacklocal.');
  assert.equal(paired.fixed_ips.length, 2);
  assert.equal(
    (await change({ port_security_enabled: false })).body.NeutronError.type,
    'PortSecurityPortHasSecurityGroup',
  );
  const bare = await change({ port_security_enabled: false, security_groups: [], allowed_address_pairs: [] });
  assert.deepEqual([bare.status, bare.body.port.port_security_enabled], [200, false]);
  assert.ok(bare.body.port.revision_number > two.revision_number);
});
