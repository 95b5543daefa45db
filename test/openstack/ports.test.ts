// Ports of a real Neutron that users make beforehand, and interfaces that are attached: see real.ts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Type } from 'typebox';
import { neutronOf } from '../../src/openstack/neutron.ts';
import type { RealService } from '../../src/openstack/settings.ts';
import { eventually, type RealSystem, realSystem, skip, smallestImage } from './real.ts';

const SERVICES: readonly RealService[] = ['identity', 'image', 'network'];

/** Neutron as its administrator has it, with what tests make there: the last made goes first. */
function madeIn({ session }: RealSystem) {
  const service = 'network' as const;
  const made: string[] = [];
  const ask = async (method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: object) => {
    const asked = { service, method, path, ...(body === undefined ? {} : { body }) };
    // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
    const said: any = await (method === 'DELETE' ? session.ask(null, asked) : session.ask(Type.Any(), asked));
    assert.equal(said.kind, 'ok', `${method} ${path}: ${JSON.stringify(said)}`);
    return said.body;
  };
  return {
    ask,
    /** `kind` in the plural, as in the path. @returns its id */
    async make(kind: string, body: object): Promise<string> {
      const one = kind.replaceAll('-', '_').replace(/(s|ies)$/, (end) => (end === 'ies' ? 'y' : ''));
      const answer = await ask('POST', `/${kind}`, { [one]: body });
      made.push(`/${kind}/${answer[one].id}`);
      return answer[one].id;
    },
    async [Symbol.asyncDispose]() {
      // What is in use still has failed the test already.
      for (const path of made.toReversed()) await session.ask(null, { service, method: 'DELETE', path });
    },
  };
}

/** A server of the smallest kind. */
async function wished({ call, session }: RealSystem, networks: readonly object[]): Promise<{ server: object }> {
  const { flavors } = await call('GET', '/compute/v2.1/flavors');
  const flavorRef = flavors.find((each: { name: string }) => each.name === 'm1.tiny').id;
  return { server: { name: 'ports', imageRef: await smallestImage(session), flavorRef, networks } };
}

test("a user's port goes with a server and comes back; interfaces come and go", { skip }, async () => {
  await using real = await realSystem(SERVICES);
  const { call, reach, gone } = real;
  const neutron = neutronOf(real.session);
  await using made = madeIn(real);
  const network = await made.make('networks', { name: 'crosscell-test' });
  await made.make('subnets', { network_id: network, ip_version: 4, cidr: '10.77.0.0/24' });
  const mine = await made.make('ports', { network_id: network, name: 'mine' });
  const theirs = await made.make('ports', { network_id: network, project_id: 'b'.repeat(32) });
  const own = await neutron.port(mine);
  assert.ok(own);
  const create = async (networks: readonly object[], allowed?: number) =>
    call('POST', '/compute/v2.1/servers', await wished(real, networks), allowed);
  const refusal = await create([{ port: theirs }], 400);
  assert.match(refusal.badRequest.message, /^Port .* not usable for instance/);
  assert.equal((await neutron.port(theirs))?.device_id, '');

  const { server } = await create([{ port: mine }, { uuid: network, fixed_ip: '10.77.0.77' }]);
  const at = `/compute/v2.1/servers/${server.id}`;
  const seen = await reach(server.id, 'ACTIVE');
  const addresses = (seen['addresses'] as Record<string, { addr: string }[]>)['crosscell-test'];
  assert.deepEqual(
    addresses?.map(({ addr }) => addr),
    [own.fixed_ips[0]?.ip_address, '10.77.0.77'],
  );
  const inUse = await create([{ port: mine }], 409);
  assert.equal(inUse.conflictingRequest.message, `Port ${mine} is still in use.`);
  /** Of the server's ports, on how many hosts each is bound. */
  const bound = async () =>
    Promise.all((await neutron.portsOf(server.id)).map(async ({ id }) => (await neutron.bindings(id)).length));
  assert.deepEqual(await bound(), [1, 1]);
  const another = await made.make('ports', { network_id: network });
  const interfaces = `${at}/os-interface`;
  /** The server's ports that its guest has. */
  const plugged = async (): Promise<string[]> => {
    const { interfaceAttachments } = await call('GET', interfaces);
    const active = interfaceAttachments.filter((each: { port_state: string }) => each.port_state === 'ACTIVE');
    return active.map((each: { port_id: string }) => each.port_id);
  };
  const attach = async (interfaceAttachment: object) => {
    const attached = (await call('POST', interfaces, { interfaceAttachment })).interfaceAttachment;
    await eventually(async () => ((await plugged()).includes(attached.port_id) ? true : null));
    await real.idle(server.id);
    return attached;
  };
  assert.equal((await attach({ port_id: another })).port_id, another);
  const fixed = await attach({ net_id: network, fixed_ips: [{ ip_address: '10.77.0.78' }] });
  assert.equal(fixed.fixed_ips[0].ip_address, '10.77.0.78');
  const taken = await call('POST', interfaces, { interfaceAttachment: { port_id: mine } }, 409);
  assert.equal(taken.conflictingRequest.message, `Port ${mine} is still in use.`);
  assert.deepEqual(await bound(), [1, 1, 1, 1]);

  const { flavors } = await call('GET', '/compute/v2.1/flavors');
  const flavorRef = flavors.find((each: { name: string }) => each.name === 'm1.small').id;
  await call('POST', `${at}/action`, { resize: { flavorRef } });
  await reach(server.id, 'VERIFY_RESIZE');
  assert.deepEqual(await bound(), [2, 2, 2, 2]);
  await call('POST', `${at}/action`, { revertResize: null });
  await reach(server.id, 'ACTIVE');
  assert.deepEqual(await bound(), [1, 1, 1, 1]);

  const detach = async (portId: string) => {
    await call('DELETE', `${interfaces}/${portId}`);
    await real.idle(server.id);
  };
  await detach(another);
  await detach(fixed.port_id);
  const free = await neutron.port(another);
  assert.deepEqual([free?.device_id, await neutron.port(fixed.port_id)], ['', null]);
  // What was set free can be had again.
  await attach({ port_id: another });
  await call('DELETE', at);
  await gone(server.id);
  for (const id of [mine, another]) {
    const { port } = await made.ask('GET', `/ports/${id}`);
    assert.deepEqual([port.device_id, port.device_owner, port['binding:host_id']], ['', '', '']);
  }
  const back = await neutron.port(mine);
  assert.deepEqual([back?.mac_address, back?.name], [own.mac_address, 'mine']);
  assert.deepEqual(await neutron.portsOf(server.id), []);
});

test('a network that RBAC shares, with both kinds of addresses, and security groups', { skip }, async () => {
  await using real = await realSystem(SERVICES);
  const { call, reach, gone } = real;
  const neutron = neutronOf(real.session);
  await using made = madeIn(real);
  const owner = { project_id: 'b'.repeat(32) };
  const network = await made.make('networks', { ...owner, name: 'crosscell-rbac' });
  const subnet = { ...owner, network_id: network };
  await made.make('subnets', { ...subnet, ip_version: 4, cidr: '10.78.0.0/24' });
  await made.make('subnets', { ...subnet, ip_version: 6, cidr: 'fd00:78::/64' });
  const wish = await wished(real, [{ uuid: network, fixed_ip: 'fd00:78::77' }]);
  const refusal = await call('POST', '/compute/v2.1/servers', wish, 400);
  assert.equal(refusal.badRequest.message, `Network ${network} could not be found.`);

  const web = await made.make('security-groups', { name: 'crosscell-web' });
  await made.make('security-groups', { ...owner, name: 'crosscell-theirs' });
  const { security_group: own } = await made.ask('GET', `/security-groups/${web}`);
  const share = { object_type: 'network', object_id: network, action: 'access_as_shared' };
  await made.make('rbac-policies', { ...share, target_tenant: own.project_id });
  const secured = (name: string) => ({ server: { ...wish.server, security_groups: [{ name }] } });
  const foreign = await call('POST', '/compute/v2.1/servers', secured('crosscell-theirs'), 400);
  assert.match(foreign.badRequest.message, /^Security group crosscell-theirs not found for project/);
  const { server } = await call('POST', '/compute/v2.1/servers', secured('crosscell-web'));
  const at = `/compute/v2.1/servers/${server.id}`;
  const seen = await reach(server.id, 'ACTIVE');
  const addresses = (seen['addresses'] as Record<string, { addr: string; version: number }[]>)['crosscell-rbac'] ?? [];
  assert.deepEqual(
    addresses.map(({ version }) => version),
    [4, 6],
  );
  assert.equal(addresses[1]?.addr, 'fd00:78::77');
  const groups = async (): Promise<string[]> => {
    const { security_groups } = await call('GET', `${at}/os-security-groups`);
    return security_groups.map(({ name }: { name: string }) => name);
  };
  assert.deepEqual([seen['security_groups'], await groups()], [[{ name: 'crosscell-web' }], ['crosscell-web']]);
  await call('POST', `${at}/action`, { addSecurityGroup: { name: 'default' } });
  assert.deepEqual((await groups()).toSorted(), ['crosscell-web', 'default']);
  await call('POST', `${at}/action`, { addSecurityGroup: { name: 'crosscell-theirs' } }, 404);
  await call('POST', `${at}/action`, { removeSecurityGroup: { name: 'crosscell-web' } });
  assert.deepEqual(await groups(), ['default']);
  await call('POST', `${at}/action`, { removeSecurityGroup: { name: 'crosscell-web' } }, 404);
  // Whoever changes addresses in Neutron finds them here.
  const [port] = await neutron.portsOf(server.id);
  assert.ok(port);
  await neutron.setAddresses(port.id, [{ ip_address: '10.78.0.78' }]);
  const { interfaceAttachments } = await call('GET', `${at}/os-interface`);
  assert.deepEqual(
    interfaceAttachments[0].fixed_ips.map(({ ip_address }: { ip_address: string }) => ip_address),
    ['10.78.0.78'],
  );
  await call('DELETE', at);
  await gone(server.id);
  assert.deepEqual(await neutron.portsOf(server.id), []);
});
