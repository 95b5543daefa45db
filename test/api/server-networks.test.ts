// Security groups, floating IPs, chosen ports and addresses of servers, over the API; and that they travel.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type TestSystem, testSystem, waitFor } from './system.ts';

const C = '/compute/v2.1';
const N = '/network/v2.0';

describe('servers and their networks over the API, on simulated hosts', () => {
  let s: TestSystem;
  let external: string;
  before(async () => {
    s = await testSystem({ hostsPerCell: 1 });
    external = (await s.alice('GET', `${N}/networks?router:external=True`)).json.networks[0].id;
  });
  after(() => s[Symbol.asyncDispose]());

  const newServer = async (wish: object = {}, minor = 1): Promise<string> => {
    const server = { name: 'one', flavorRef: '1', imageRef: s.imageId, networks: [{ uuid: s.networkId }], ...wish };
    const answer = await s.alice('POST', `${C}/servers`, { server }, minor);
    assert.equal(answer.status, 202, answer.text);
    assert.equal(await waitFor(s.alice, answer.json.server.id, ['ACTIVE', 'ERROR']), 'ACTIVE');
    return answer.json.server.id;
  };
  const show = async (id: string) => (await s.alice('GET', `${C}/servers/${id}`)).json.server;
  const act = (id: string, action: object, minor = 1) => s.alice('POST', `${C}/servers/${id}/action`, action, minor);
  const remove = async (id: string): Promise<void> => {
    assert.equal((await s.alice('DELETE', `${C}/servers/${id}`)).status, 204);
    await waitFor(s.alice, id, ['gone']);
  };
  const auditHolds = async (): Promise<void> => {
    const url = '/crosscell/v1/audit';
    const { id } = (await s.admin('POST', url, {})).json.running;
    const end = Date.now() + 20_000;
    for (;;) {
      const { audit, findings } = (await s.admin('GET', url)).json;
      if (audit?.id === id) return assert.equal(audit.summary.verdict, 'held', JSON.stringify(findings));
      if (Date.now() > end) throw new Error('the audit does not end');
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  };
  const made = async (collection: string, single: string, wish: object) => {
    const answer = await s.alice('POST', `${N}/${collection}`, { [single]: wish });
    assert.equal(answer.status, 201, answer.text);
    return answer.json[single];
  };
  const message = (answer: { json: Record<string, { message: string }> }) => Object.values(answer.json)[0]?.message;

  it('gives a server its groups, which it keeps when it crosses to another cell', async () => {
    const web = await made('security-groups', 'security_group', { name: 'web' });
    const id = await newServer({ security_groups: [{ name: 'web' }, { name: 'default' }] });
    const names = async () => (await show(id)).security_groups.map((each: { name: string }) => each.name).toSorted();
    assert.deepEqual(await names(), ['default', 'web']);
    const listed = (await s.alice('GET', `${C}/servers/${id}/os-security-groups`)).json.security_groups;
    assert.deepEqual(
      listed.map((each: { name: string }) => each.name),
      ['default', 'web'],
    );
    const floating = await made('floatingips', 'floatingip', { floating_network_id: external });
    const ip = floating.floating_ip_address;
    assert.equal((await act(id, { addFloatingIp: { address: ip } })).status, 202);
    assert.equal((await act(id, { resize: { flavorRef: '2' } })).status, 202);
    await waitFor(s.alice, id, ['VERIFY_RESIZE']);
    assert.deepEqual(await names(), ['default', 'web']);
    const addresses = (await show(id)).addresses.shared;
    assert.deepEqual(
      addresses.map((each: Record<string, string>) => each['OS-EXT-IPS:type']),
      ['fixed', 'floating'],
    );
    assert.equal(addresses[1].addr, ip);
    assert.equal((await act(id, { confirmResize: null })).status, 204);
    await waitFor(s.alice, id, ['ACTIVE']);
    assert.equal((await s.alice('DELETE', `${N}/security-groups/${web.id}`)).status, 409);
    assert.equal((await act(id, { removeSecurityGroup: { name: 'web' } })).status, 202);
    assert.equal((await act(id, { removeSecurityGroup: { name: 'web' } })).status, 404);
    assert.equal((await act(id, { addSecurityGroup: { name: 'nobody' } })).status, 404);
    assert.equal((await act(id, { addSecurityGroup: { name: web.id } })).status, 202);
    assert.deepEqual(await names(), ['default', 'web']);
    await remove(id);
    const left = (await s.alice('GET', `${N}/floatingips/${floating.id}`)).json.floatingip;
    assert.deepEqual([left.port_id, left.status], [null, 'DOWN']);
    assert.equal((await s.alice('DELETE', `${N}/security-groups/${web.id}`)).status, 204);
    await auditHolds();
  });

  it('refuses groups that are not there or not its own', async () => {
    const wish = { name: 'x', flavorRef: '1', imageRef: s.imageId, security_groups: [{ name: 'nobody' }] };
    const refused = await s.alice('POST', `${C}/servers`, { server: wish });
    assert.equal(refused.status, 400);
    assert.match(message(refused) ?? '', /^Security group nobody not found for project /);
    for (const name of ['twin', 'twin']) await made('security-groups', 'security_group', { name });
    const twins = { ...wish, security_groups: [{ name: 'twin' }] };
    assert.equal((await s.alice('POST', `${C}/servers`, { server: twins })).status, 409);
  });

  it('lets nobody choose an address on a network that is not the own one, as the network service would not', async () => {
    const wish = { name: 'x', flavorRef: '1', imageRef: s.imageId };
    const asked = { uuid: s.networkId, fixed_ip: '10.42.200.1' };
    const refused = await s.alice('POST', `${C}/servers`, { server: { ...wish, networks: [asked] } });
    assert.equal(refused.status, 403, refused.text);
    assert.match(message(refused) ?? '', /^rule:create_port:fixed_ips:ip_address is disallowed by policy$/);
    const id = await newServer({ networks: [{ uuid: s.networkId }] });
    const attachment = { net_id: s.networkId, fixed_ips: [{ ip_address: '10.42.200.1' }] };
    const attach = (who: typeof s.alice) =>
      who('POST', `${C}/servers/${id}/os-interface`, { interfaceAttachment: attachment });
    assert.equal((await attach(s.alice)).status, 403);
    assert.equal((await attach(s.admin)).status, 200);
    await remove(id);
  });

  it('gives no port and no address to several servers, of which none is begun', async () => {
    const port = await made('ports', 'port', { network_id: s.networkId });
    const wish = { name: 'x', flavorRef: '1', imageRef: s.imageId };
    const servers = async () => (await s.alice('GET', `${C}/servers?name=x`)).json.servers.length;
    const before = await servers();
    for (const [asked, why] of [
      [{ port: port.id }, /single configured port ID\. Please launch your instance one by one with different ports\.$/],
      [
        { uuid: s.networkId, fixed_ip: '10.42.9.9' },
        /max_count cannot be greater than 1 if an fixed_ip is specified\.$/,
      ],
    ] as const)
      for (const counts of [{ max_count: 2 }, { min_count: 2 }]) {
        const refused = await s.alice('POST', `${C}/servers`, { server: { ...wish, ...counts, networks: [asked] } });
        assert.equal(refused.status, 400, refused.text);
        assert.match(message(refused) ?? '', why);
      }
    assert.equal(await servers(), before);
    const { device_id } = (await s.alice('GET', `${N}/ports/${port.id}`)).json.port;
    assert.equal(device_id, '');
    assert.equal((await s.alice('DELETE', `${N}/ports/${port.id}`)).status, 204);
  });

  it('takes ports that were made before, chosen addresses and one network twice, in order', async () => {
    const network = (await made('networks', 'network', { name: 'own' })).id;
    await made('subnets', 'subnet', { network_id: network, ip_version: 4, cidr: '10.9.0.0/24' });
    const port = await made('ports', 'port', { network_id: network, name: 'before' });
    const id = await newServer({
      networks: [
        { port: port.id },
        { uuid: network, fixed_ip: '10.9.0.77' },
        { uuid: s.networkId },
        { uuid: s.networkId },
      ],
    });
    const { addresses } = await show(id);
    assert.deepEqual(
      addresses.own.map((each: { addr: string }) => each.addr),
      [port.fixed_ips[0].ip_address, '10.9.0.77'],
    );
    assert.equal(addresses.shared.length, 2);
    const { interfaceAttachments } = (await s.alice('GET', `${C}/servers/${id}/os-interface`)).json;
    assert.equal(interfaceAttachments[0].port_id, port.id);
    const again = { name: 'x', flavorRef: '1', imageRef: s.imageId, networks: [{ port: port.id }] };
    assert.equal((await s.alice('POST', `${C}/servers`, { server: again })).status, 409);
    const taken = { ...again, networks: [{ uuid: network, fixed_ip: '10.9.0.77' }] };
    const refusedTaken = await s.alice('POST', `${C}/servers`, { server: taken });
    assert.deepEqual(
      [refusedTaken.status, message(refusedTaken)],
      [400, 'Fixed IP address 10.9.0.77 is already in use.'],
    );
    const outside = { ...again, networks: [{ uuid: external }] };
    assert.equal((await s.alice('POST', `${C}/servers`, { server: outside })).status, 403);
    const portOutside = await made('ports', 'port', { network_id: external });
    const byPort = { ...again, networks: [{ port: portOutside.id }] };
    for (const refused of [
      await s.alice('POST', `${C}/servers`, { server: byPort }),
      await s.alice('POST', `${C}/servers/${id}/os-interface`, { interfaceAttachment: { port_id: portOutside.id } }),
      await s.alice('POST', `${C}/servers/${id}/os-interface`, { interfaceAttachment: { net_id: external } }),
    ])
      assert.deepEqual(
        [refused.status, message(refused)],
        [403, `It is not allowed to create an interface on external network ${external}`],
      );
    await remove(id);
    const free = (await s.alice('GET', `${N}/ports/${port.id}`)).json.port;
    assert.deepEqual([free.device_id, free.status], ['', 'DOWN']);
    await auditHolds();
  });

  it('lets a port of a running server be deleted: the server goes on, and crosses, without it', async () => {
    const id = await newServer();
    const [port] = (await s.alice('GET', `${N}/ports?device_id=${id}`)).json.ports;
    assert.equal((await s.alice('DELETE', `${N}/ports/${port.id}`)).status, 204);
    await auditHolds();
    const bare = await show(id);
    assert.deepEqual([bare.status, bare.addresses, bare.security_groups], ['ACTIVE', {}, undefined]);
    assert.equal((await act(id, { addSecurityGroup: { name: 'default' } })).status, 404);
    assert.equal((await act(id, { resize: { flavorRef: '2' } })).status, 202);
    await waitFor(s.alice, id, ['VERIFY_RESIZE']);
    assert.equal((await act(id, { revertResize: null })).status, 202);
    await waitFor(s.alice, id, ['ACTIVE']);
    await auditHolds();
    await remove(id);
  });

  it('gives a port another address and takes it back, in old words', async () => {
    const network = (await made('networks', 'network', { name: 'old words' })).id;
    await made('subnets', 'subnet', { network_id: network, ip_version: 4, cidr: '10.10.0.0/24' });
    const id = await newServer({ networks: [{ uuid: network }] });
    const addresses = async (): Promise<string[]> =>
      Object.values((await show(id)).addresses as Record<string, { addr: string }[]>).flatMap((each) =>
        each.map(({ addr }) => addr),
      );
    const before = await addresses();
    assert.equal((await act(id, { addFixedIp: { networkId: network } }, 44)).status, 404);
    assert.equal((await act(id, { addFixedIp: { networkId: network } }, 43)).status, 202);
    const [first, second] = await addresses();
    assert.deepEqual([first], before);
    assert.ok(second);
    assert.equal((await act(id, { removeFixedIp: { address: second } })).status, 202);
    assert.equal((await act(id, { removeFixedIp: { address: second } })).status, 400);
    assert.deepEqual(await addresses(), before);
    assert.equal((await act(id, { addFixedIp: { networkId: 'another' } })).status, 404);
    const byAdmin = (body: object) => s.admin('POST', `${C}/servers/${id}/action`, body);
    assert.equal((await byAdmin({ lock: null })).status, 202);
    assert.equal((await act(id, { addFixedIp: { networkId: network } }, 43)).status, 409);
    assert.equal((await byAdmin({ unlock: null })).status, 202);
    await remove(id);
    // Whose network it is not gets one address and no other.
    const onShared = await newServer({ networks: [{ uuid: s.networkId }] });
    const refused = await act(onShared, { addFixedIp: { networkId: s.networkId } }, 43);
    assert.deepEqual([refused.status, message(refused)], [403, 'rule:update_port:fixed_ips is disallowed by policy']);
    await remove(onShared);
  });

  it('answers for floating IPs in old words', async () => {
    const id = await newServer();
    const created = await s.alice('POST', `${C}/os-floating-ips`, { pool: 'public' });
    assert.equal(created.status, 200, created.text);
    const { floating_ip } = created.json;
    assert.deepEqual([floating_ip.pool, floating_ip.instance_id, floating_ip.fixed_ip], ['public', null, null]);
    const address = { address: floating_ip.ip };
    assert.equal((await act(id, { addFloatingIp: address }, 43)).status, 202);
    assert.equal((await act(id, { addFloatingIp: address }, 44)).status, 404);
    const seen = (await s.alice('GET', `${C}/os-floating-ips/${floating_ip.id}`)).json.floating_ip;
    assert.equal(seen.instance_id, id);
    assert.equal((await act(id, { removeFloatingIp: address })).status, 202);
    assert.equal((await act(id, { removeFloatingIp: address })).status, 409);
    assert.equal((await act(id, { addFloatingIp: { address: '172.24.4.250' } })).status, 404);
    assert.equal((await s.mallory('DELETE', `${C}/os-floating-ips/${floating_ip.id}`)).status, 404);
    assert.equal((await s.alice('DELETE', `${C}/os-floating-ips/${floating_ip.id}`)).status, 202);
    assert.deepEqual(
      (await s.alice('GET', `${C}/os-floating-ips`)).json.floating_ips.filter(
        (each: { id: string }) => each.id === floating_ip.id,
      ),
      [],
    );
    assert.equal((await s.alice('POST', `${C}/os-floating-ips`, { pool: 'none' })).status, 404);
    assert.deepEqual((await s.alice('GET', `${C}/os-floating-ip-pools`)).json, {
      floating_ip_pools: [{ name: 'public' }],
    });
    assert.equal((await s.alice('GET', `${C}/os-floating-ips`, undefined, 36)).status, 404);
    await remove(id);
  });

  it('answers for security groups and networks in old words', async () => {
    const url = `${C}/os-security-groups`;
    const group = (await s.alice('POST', url, { security_group: { name: 'old', description: 'd' } })).json
      .security_group;
    const rules = `${C}/os-security-group-rules`;
    const rule = { parent_group_id: group.id, ip_protocol: 'tcp', from_port: 22, to_port: 22, cidr: '10.0.0.0/8' };
    const post = (change: object) => s.alice('POST', rules, { security_group_rule: { ...rule, ...change } });
    const made = await post({});
    assert.equal(made.status, 200, made.text);
    assert.deepEqual(made.json.security_group_rule.ip_range, { cidr: '10.0.0.0/8' });
    assert.equal((await post({})).status, 400);
    assert.equal((await post({ from_port: 23 })).status, 400);
    assert.equal((await post({ cidr: '10.0.0.0/33' })).status, 400);
    assert.equal((await post({ ip_protocol: 'gre' })).status, 400);
    assert.equal((await post({ from_port: null })).status, 400);
    const own = await post({ group_id: group.id, from_port: null, to_port: null, cidr: null, ip_protocol: 'icmp' });
    assert.equal(own.json.security_group_rule.group.name, 'old');
    assert.equal((await s.alice('GET', `${url}/${group.id}`)).json.security_group.rules.length, 2);
    assert.equal((await s.mallory('GET', `${url}/${group.id}`)).status, 404);
    assert.equal((await s.alice('GET', `${url}/x`)).status, 400);
    assert.equal((await s.alice('DELETE', `${rules}/${made.json.security_group_rule.id}`)).status, 202);
    assert.equal((await s.alice('DELETE', `${url}/${group.id}`)).status, 202);
    assert.equal((await s.alice('GET', `${url}/${group.id}`)).status, 404);
    const labels = async (path: string) =>
      (await s.mallory('GET', `${C}/${path}`)).json.networks.map((each: { label: string }) => each.label);
    assert.deepEqual(await labels('os-networks'), ['shared']);
    assert.deepEqual(await labels('os-tenant-networks'), ['shared']);
    assert.equal((await s.mallory('GET', `${C}/os-tenant-networks/${s.networkId}`)).json.network.cidr, 'None');
  });
});
