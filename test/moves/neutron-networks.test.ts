// What a server's users see of a Neutron, and change through compute: who may use which network, addresses, security groups.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requestedNetworks } from '../../src/api/compute/requested-networks.ts';
import { neutronNetworks } from '../../src/control/network/neutron.ts';
import { portsOfServer } from '../../src/control/network.ts';
import { newId } from '../../src/lib/ids.ts';
import type { Actor } from '../../src/model/types.ts';
import { attachInterface } from '../../src/moves/interfaces.ts';
import { FakeNeutron } from './fake-neutron.ts';
import { newServer, openWorld, settle, type World } from './world.ts';

interface Beside {
  readonly world: World;
  readonly neutron: FakeNeutron;
  readonly service: ReturnType<typeof neutronNetworks>;
  readonly subnetId: string;
}

const beside = (name: string, body: (given: Beside) => Promise<void>) =>
  test(name, async () => {
    const opened = await openWorld();
    const { id: subnetId } = await opened.p.stores.global.selectFrom('subnets').select('id').executeTakeFirstOrThrow();
    const neutron = new FakeNeutron().over(subnetId);
    const service = neutronNetworks(neutron);
    const world: World = { ...opened, p: { ...opened.p, network: service } };
    const { networkId: id } = world;
    const network = { id, name: 'net', project_id: 'c'.repeat(32), shared: true };
    neutron.extra.networks.push({ ...network, 'router:external': false, mtu: 1400 });
    neutron.extra.shares.push({ networkId: id, projectId: '*' });
    try {
      await body({ world, neutron, service, subnetId });
    } finally {
      await world.close();
    }
  });

const STRANGER: Actor = { userId: 'u', projectId: 'b'.repeat(32), roles: ['member'], requestId: 'req-2' };

beside('a network is used by its owner, by all, or by those that RBAC says', async ({ world, neutron }) => {
  const { p, user } = world;
  const asked = async (actor: Actor, uuid: string) => {
    try {
      return (await requestedNetworks(p, actor, { networks: [{ uuid }] } as never, 1)).networkIds;
    } catch (error) {
      return (error as Error).message;
    }
  };
  const id = newId();
  // Shared with the service user's own project, Neutron calls it shared.
  neutron.extra.networks.push({ id, name: 'rbac', project_id: 'c'.repeat(32), shared: true });
  const subnet = { id: newId(), name: 's', project_id: 'c'.repeat(32), network_id: id, gateway_ip: null };
  neutron.extra.subnets.push({ ...subnet, ip_version: 4, cidr: '10.9.0.0/24' });
  neutron.extra.shares.push({ networkId: id, projectId: user.projectId });
  assert.deepEqual(await asked(user, id), [id]);
  assert.deepEqual(await asked(STRANGER, id), `Network ${id} could not be found.`);
  assert.deepEqual(await asked(STRANGER, world.networkId), [world.networkId]);
  neutron.extra.shares.pop();
  assert.deepEqual(await asked(user, id), `Network ${id} could not be found.`);
  // Administrators see it; their project may not use it all the same.
  const admin: Actor = { ...user, roles: ['admin'], admin: true };
  assert.deepEqual(await asked(admin, id), [id]);
  const taking = { takeId: newId(), serverId: newId(), projectId: user.projectId };
  const wish = { kind: 'network', networkId: id, ip: null, groupIds: null } as const;
  const taken = await p.network?.take(p, { ...taking, actor: admin, ports: [wish] });
  assert.equal(taken?.kind === 'refused' && taken.refusal.message, `Network ${id} could not be found.`);
  assert.equal(neutron.ports.size, 0);
});

beside('a port of a dual-stack network: the guest is told its IPv4 address, users both', async (given) => {
  const { world, neutron, subnetId } = given;
  const v6 = { id: newId(), name: 'six', project_id: 'p', network_id: world.networkId, gateway_ip: null };
  neutron.extra.subnets.push({ ...v6, ip_version: 6, cidr: 'fd00:9::/64' });
  await given.service.refresh(world.p);
  neutron.addressesOf = (count) => [
    { subnet_id: v6.id, ip_address: `fd00:9::${count}` },
    { subnet_id: subnetId, ip_address: `10.42.9.${count}` },
  ];
  const serverId = await newServer(world);
  const [port] = await portsOfServer(world.p.stores.global, serverId);
  assert.deepEqual([port?.ip, port?.fixedIps.map(({ ip }) => ip)], ['10.42.9.1', ['10.42.9.1', 'fd00:9::1']]);
  neutron.addressesOf = (count) => [{ subnet_id: v6.id, ip_address: `fd00:9::${count}` }];
  const result = await world.clock.drive(
    attachInterface(world.p, world.user, serverId, { kind: 'network', networkId: world.networkId, ip: null }, null),
  );
  assert.equal(result.kind === 'refused' && result.refusal.code, 400, 'no IPv4 address');
  assert.equal(neutron.ports.size, 1);
});

beside('what has not changed is not written', async ({ world, neutron, service, subnetId }) => {
  const [network] = neutron.extra.networks;
  assert.ok(network);
  for (let made = 0; made < 40; made += 1) {
    const id = newId();
    neutron.extra.networks.push({ ...network, id, name: `n${made}` });
    const subnet = { id: newId(), name: 's', project_id: network.project_id, network_id: id, ip_version: 4 };
    neutron.extra.subnets.push({ ...subnet, cidr: '10.9.0.0/24', gateway_ip: '10.9.0.1' });
    neutron.extra.shares.push({ networkId: id, projectId: `${made}`.padStart(32, 'd') });
  }
  const statements: string[] = [];
  const counted = world.p.stores.global.withPlugin({
    transformQuery({ node }) {
      statements.push(node.kind.replace('QueryNode', ''));
      return node;
    },
    transformResult: async ({ result }) => result,
  });
  const p = { ...world.p, stores: Object.create(world.p.stores, { global: { value: counted } }) };
  const told = async (): Promise<string[]> => {
    statements.length = 0;
    await service.refresh(p);
    return statements.filter((kind) => kind !== 'Select');
  };
  assert.deepEqual((await told()).length, 1 + 40 + 40 + 40, 'the network that was here gets another name and MTU');
  assert.deepEqual(await told(), []);
  assert.equal(statements.length, 3, 'what is on record is read');
  const rows = () => world.p.stores.global.selectFrom('networks').selectAll().orderBy('id').execute();
  const before = await rows();

  const at = (index: number) => neutron.extra.networks[index] ?? assert.fail();
  neutron.extra.networks[7] = { ...at(7), name: 'another name' };
  assert.deepEqual(await told(), ['Insert']);
  const others = (all: typeof before) => all.filter(({ id }) => id !== at(7).id);
  assert.deepEqual(others(await rows()), others(before));
  neutron.extra.shares.splice(1, 1, { networkId: at(1).id, projectId: 'e'.repeat(32) });
  assert.deepEqual((await told()).toSorted(), ['Delete', 'Insert']);
  neutron.extra.shares.push({ networkId: at(2).id, projectId: '*' });
  const [subnet] = neutron.extra.subnets;
  neutron.extra.subnets[0] = { ...(subnet ?? assert.fail()), gateway_ip: null };
  assert.deepEqual(await told(), ['Insert', 'Insert']);
  // What is gone is still what servers' ports are on.
  neutron.extra.networks.splice(0);
  neutron.extra.subnets.splice(0);
  assert.equal(
    (await told()).every((kind) => kind === 'Delete'),
    true,
  );
  assert.equal((await rows()).length, before.length);
  assert.ok(
    await world.p.stores.global.selectFrom('subnets').where('id', '=', subnetId).select('id').executeTakeFirst(),
  );
});

beside('a port there that is for a card of another kind is not lent', async ({ world, neutron }) => {
  const serverId = await newServer(world);
  const { id, ...port } = neutron.make(world.networkId, world.user.projectId);
  neutron.ports.set(id, { ...port, id, 'binding:vnic_type': 'direct' });
  const result = await world.clock.drive(
    attachInterface(world.p, world.user, serverId, { kind: 'port', portId: id }, null),
  );
  const said = `Port ${id} has binding:vnic_type direct: no host here can give a server such a network card.`;
  assert.equal(result.kind === 'refused' && result.refusal.message, said);
  assert.equal(neutron.ports.get(id)?.device_id, '');
});

beside('addresses are changed there, and those that were changed there are seen', async (given) => {
  const { world, neutron, service, subnetId } = given;
  const { p, user } = world;
  const serverId = await newServer(world);
  const ips = async () =>
    (await portsOfServer(p.stores.global, serverId)).map(({ fixedIps }) => fixedIps.map(({ ip }) => ip));
  const [port] = neutron.portsAt(serverId);
  assert.ok(port);
  await service.look(p, serverId);
  const debts = () => p.stores.global.selectFrom('debts').select('kind').where('server_id', '=', serverId).execute();
  assert.deepEqual(await debts(), [], 'nothing has changed');
  const wishes = [{ subnetId, ip: '10.42.9.1' }, { subnetId }];
  assert.equal(await service.readdress(p, user, port.id, wishes), null);
  assert.deepEqual(await ips(), [['10.42.9.1', '10.42.9.200']]);
  assert.equal((await service.readdress(p, user, port.id, []))?.code, 400, 'a guest has to have one');
  neutron.change(port, { fixed_ips: [{ subnet_id: subnetId, ip_address: '10.42.9.77' }] });
  await service.look(p, serverId);
  assert.deepEqual(await ips(), [['10.42.9.77']]);
  assert.deepEqual(new Set((await debts()).map(({ kind }) => kind)), new Set(['match-devices']), 'its guest follows');
  await settle(world);
  neutron.isDown = true;
  await service.look(p, serverId);
  assert.deepEqual(await ips(), [['10.42.9.77']], 'as it was last seen');
});

beside('security groups: of the project alone, named, added, shown and taken away', async (given) => {
  const { world, neutron, service } = given;
  const { p, user } = world;
  const { projectId } = user;
  const [web, db] = [neutron.makeGroup('web', projectId), neutron.makeGroup('db', projectId)];
  const theirs = neutron.makeGroup('theirs', STRANGER.projectId);
  neutron.makeGroup('twice', projectId);
  neutron.makeGroup('twice', projectId);
  const named = (names: readonly string[]) => service.groupsNamed(p, user, names);
  assert.deepEqual(await named(['web', db]), [web, db]);
  for (const foreign of ['theirs', theirs]) {
    const message = `Security group ${foreign} not found for project ${projectId}.`;
    assert.deepEqual(await named([foreign]), { code: 400, message });
  }
  assert.equal(Reflect.get(await named(['twice']), 'code'), 409);

  const serverId = await newServer(world);
  const names = async (actor: Actor = user) => (await service.groupNames(p, actor, [serverId])).get(serverId) ?? [];
  assert.equal(await service.addGroup(p, user, serverId, 'web'), null);
  assert.equal(await service.addGroup(p, user, serverId, db), null);
  assert.deepEqual(await names(), ['db', 'web']);
  assert.equal((await service.addGroup(p, user, serverId, theirs))?.code, 404);
  // An administrator's own group is none of the port's project's.
  assert.equal((await service.addGroup(p, { ...STRANGER, admin: true }, serverId, 'theirs'))?.code, 404);
  const [port] = neutron.portsAt(serverId);
  assert.deepEqual(port?.security_groups, [web, db]);
  const { groups, named: others } = await service.groupsOf(p, user, serverId);
  assert.deepEqual([groups.map(({ name }) => name), groups[0]?.rules[0]?.portMin, others], [['web', 'db'], 22, []]);
  if (port) neutron.change(port, { security_groups: [web, db, theirs] });
  assert.deepEqual(await names(), ['db', 'web'], 'not those of others');
  assert.deepEqual(await names({ ...user, admin: true }), ['db', 'theirs', 'web']);
  assert.equal(await service.removeGroup(p, user, serverId, 'web'), null);
  assert.deepEqual(port?.security_groups, [db, theirs]);
  assert.deepEqual(await service.removeGroup(p, user, serverId, 'web'), {
    code: 404,
    message: `Security group web not associated with the instance ${serverId}`,
  });
  if (port) neutron.change(port, { port_security_enabled: false });
  assert.equal((await service.addGroup(p, user, serverId, 'web'))?.code, 400);
  neutron.isDown = true;
  assert.deepEqual(await names(), [], 'servers are shown all the same');
});
