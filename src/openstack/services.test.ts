// What goes over the wire to Glance, Neutron and Cinder, and what their answers are taken for.
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { VirtualClock } from '../lib/virtual-clock.ts';
import { CinderRefused, cinderOf } from './cinder.ts';
import { glanceOf } from './glance.ts';
import { NeutronRefused, neutronOf } from './neutron.ts';
import { type FakeOpenstack, fakeOpenstack } from './testing.ts';
import { ServiceDown } from './transport.ts';

const ID = '5559244d-8156-4f8d-a9f7-30b3b0daf0cc';
const IMAGE = {
  ...{ id: ID, name: null, status: 'active', visibility: 'public', owner: 'p1', disk_format: 'raw' },
  ...{ container_format: 'bare', size: 3, virtual_size: null, checksum: null, os_hash_algo: 'sha512' },
  ...{ os_hash_value: 'ab', min_disk: 0, min_ram: 0, protected: false, os_hidden: false, tags: [] },
  ...{ created_at: '2026-01-01T00:00:00Z', updated_at: '2026-01-01T00:00:00Z', hw_disk_bus: 'scsi' },
};

const OCTETS = 'application/octet-stream';

/** Method and path of what was asked of the service, without the login. */
const asked = (fake: FakeOpenstack): string[] =>
  fake.asked
    .slice(1)
    .map(({ method, path }) => `${method} ${path.replace('/network/v2.0', '').replace('/image/v2', '')}`);

test('Glance: an image with its properties, its bytes, and none', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  const glance = glanceOf(fake.session);
  fake.on(`/image/v2/images/${ID}`, () => ({ status: 200, body: IMAGE }));
  fake.on(`/image/v2/images/${ID}/file`, () => ({ status: 200, body: Buffer.from('abc') }));
  assert.deepEqual(await glance.find(ID), IMAGE, 'properties come along');
  assert.equal(await glance.find('other'), null);
  const data = await glance.data(ID);
  assert(data);
  const chunks: Buffer[] = [];
  for await (const chunk of data) chunks.push(Buffer.from(chunk as Uint8Array));
  assert.equal(Buffer.concat(chunks).toString(), 'abc');
  fake.on(`/image/v2/images/${ID}/file`, () => ({ status: 204 }));
  assert.equal(await glance.data(ID), null, 'an image without data');
  fake.on(`/image/v2/images/${ID}`, () => ({ status: 200, body: { ...IMAGE, size: 'three' } }));
  await assert.rejects(glance.find(ID), ServiceDown);
});

test('Glance: an image is made as its project’s, gets its bytes, and goes', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  const glance = glanceOf(fake.session);
  const image = {
    ...{
      id: ID,
      name: 'kept',
      owner: 'p1',
      visibility: 'private',
      diskFormat: 'qcow2',
      containerFormat: 'bare',
      minDiskGb: 1,
      minRamMb: 0,
    },
    properties: { image_type: 'snapshot' },
  };
  let status = 201;
  fake.on('/image/v2/images', () => ({ status, body: { message: 'no' } }));
  assert.equal((await glance.create(image, 'req-1')).kind, 'ok');
  assert.deepEqual(fake.asked.at(-1)?.body, {
    ...{ id: ID, name: 'kept', owner: 'p1', visibility: 'private', disk_format: 'qcow2', container_format: 'bare' },
    ...{ min_disk: 1, min_ram: 0, image_type: 'snapshot' },
  });
  status = 409;
  fake.on(`/image/v2/images/${ID}`, () => ({ status: 200, body: IMAGE }));
  assert.equal((await glance.create(image, 'req-1')).kind, 'ok', 'an attempt before has made it');
  assert.equal((await glance.create({ ...image, owner: 'p2' }, 'req-1')).kind, 'refused', 'it is another’s');
  const sent = async (chunk: string) =>
    glance.upload(ID, {
      ...{ sizeBytes: 3, signal: AbortSignal.timeout(5000) },
      bytes: () => Readable.from([Buffer.from(chunk)]),
    });
  fake.on(`/image/v2/images/${ID}/file`, () => ({ status: 204 }));
  assert.equal((await sent('abc')).kind, 'ok');
  const { headers, body } = fake.asked.at(-1) ?? {};
  assert.deepEqual([headers?.['content-length'], headers?.['content-type'], body], ['3', OCTETS, 'abc']);
  fake.on(`/image/v2/images/${ID}/file`, () => ({ status: 413 }));
  assert.equal((await sent('abc')).kind, 'refused');
  await assert.rejects(sent('ab'), ServiceDown, 'less than announced');
  status = 404;
  fake.on(`/image/v2/images/${ID}`, () => ({ status }));
  assert.equal((await glance.remove(ID)).kind, 'ok', 'gone already');
  status = 403;
  assert.equal((await glance.remove(ID)).kind, 'refused');
});

test('Glance: members of an image, and backups of a server', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  const glance = glanceOf(fake.session);
  const members = [{ member_id: 'p2', status: 'accepted', created_at: 'x', updated_at: 'y' }];
  fake.on(`/image/v2/images/${ID}/members`, () => ({ status: 200, body: { members } }));
  assert.deepEqual(await glance.members(ID), members);
  assert.deepEqual(await glance.members('private'), []);
  fake.on('/image/v2/images?', () => ({ status: 200, body: { images: [{ id: ID, protected: false }] } }));
  const backups = await glance.backups({ serverId: 'v', owner: 'p1', backupType: 'a&b' });
  assert.deepEqual(backups, [{ id: ID, protected: false }]);
  const query = new URLSearchParams(asked(fake).at(-1)?.split('?')[1]);
  assert.deepEqual(
    ['owner', 'backup_type', 'instance_uuid', 'sort'].map((key) => query.get(key)),
    ['p1', 'a&b', 'v', 'created_at:desc'],
  );
});

const portAt = (device_id: string) => ({
  ...{ id: ID, name: 'mine', project_id: 'p', network_id: 'n', mac_address: 'm', device_id, revision_number: 7 },
  fixed_ips: [{ subnet_id: 's', ip_address: '10.0.0.5' }],
});

test('Neutron: a port is lent as it was seen, or not, and set free', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  const neutron = neutronOf(fake.session);
  const at = `/network/v2.0/ports/${ID}`;
  let status = 200;
  fake.on(at, () => ({ status, body: { port: portAt('') } }));
  const port = await neutron.port(ID);
  assert.ok(port);
  assert.equal(await neutron.lend(port, 'v'), true);
  const { headers, body } = fake.asked.at(-1) ?? {};
  assert.deepEqual(
    [headers?.['if-match'], body],
    ['revision_number=7', { port: { device_id: 'v', device_owner: 'compute:crosscell' } }],
  );
  await neutron.free(ID);
  const nobodys = { device_id: '', device_owner: '', 'binding:host_id': null };
  assert.deepEqual(fake.asked.at(-1)?.body, { port: nobodys });
  status = 412;
  assert.equal(await neutron.lend(port, 'v'), false);
  status = 404;
  assert.deepEqual([await neutron.port(ID), await neutron.lend(port, 'v')], [null, false]);
  await neutron.free(ID);
  status = 403;
  await assert.rejects(neutron.lend(port, 'v'), NeutronRefused);
  await assert.rejects(neutron.port(ID), NeutronRefused);
});

test('Neutron: security groups and addresses of ports', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  const neutron = neutronOf(fake.session);
  fake.on('/network/v2.0/security-groups', () => ({ status: 200, body: { security_groups: [] } }));
  fake.on('/network/v2.0/ports', () => ({ status: 200, body: { ports: [portAt('v')], port: portAt('v') } }));
  await neutron.groupsOf('p&q');
  assert.deepEqual(await neutron.groups([]), []);
  await neutron.groups(['a', 'b']);
  const many = Array.from({ length: 101 }, (_, index) => `s${index}`);
  assert.equal((await neutron.portsOfServers(many)).length, 2, 'asked for in two parts');
  assert.equal((await neutron.setGroups(ID, ['a'])).kind, 'ok');
  assert.deepEqual(fake.asked.at(-1)?.body, { port: { security_groups: ['a'] } });
  const said = await neutron.setAddresses(ID, [{ subnet_id: 's' }]);
  assert.deepEqual([said.kind, fake.asked.at(-1)?.body], ['ok', { port: { fixed_ips: [{ subnet_id: 's' }] } }]);
  const [first, second, third] = asked(fake);
  assert.deepEqual([first, second], ['GET /security-groups?project_id=p%26q', 'GET /security-groups?id=a&id=b']);
  assert.match(third ?? '', /device_id=s0&device_id=s1&/);
});

test('Neutron: with whom networks are shared', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  const entry = { object_id: 'n', action: 'access_as_shared', target_tenant: 'p', object_type: 'network' };
  const rbac_policies = [entry, { ...entry, action: 'access_as_external', target_tenant: '*' }];
  fake.on('/network/v2.0/rbac-policies', () => ({ status: 200, body: { rbac_policies } }));
  assert.deepEqual(await neutronOf(fake.session).shares(), [{ networkId: 'n', projectId: 'p' }]);
  assert.deepEqual(asked(fake).at(-1), 'GET /rbac-policies?object_type=network');
});

test('Neutron: a port is made as the project’s, with the address that is wished for', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  const neutron = neutronOf(fake.session);
  const port = portAt('');
  fake.on('/network/v2.0/ports', () => ({ status: 201, body: { port } }));
  const fixedIps = [{ ip_address: '10.0.0.5' }];
  const wish = { serverId: 'v', projectId: 'p', networkId: 'n', fixedIps, groupIds: ['g'], requestId: 'req-1' };
  const said = await neutron.createPort(wish);
  assert.deepEqual(said.kind === 'ok' && said.body, port);
  assert.deepEqual(fake.asked.at(-1)?.body.port, {
    ...{ network_id: 'n', project_id: 'p', device_id: 'v', device_owner: 'compute:crosscell' },
    ...{ fixed_ips: fixedIps, security_groups: ['g'] },
  });
  const message = 'No more IP addresses available.';
  fake.on('/network/v2.0/ports', () => ({ status: 409, body: { NeutronError: { type: 'X', message, detail: '' } } }));
  assert.deepEqual(await neutron.createPort(wish), { kind: 'refused', status: 409, message, code: 'X' });
  fake.on('/network/v2.0/ports', () => ({ status: 503 }));
  const before = fake.asked.length;
  await assert.rejects(neutron.createPort(wish), ServiceDown);
  assert.equal(fake.asked.length, before + 1, 'creating is not repeated: it might make two');
});

test('Neutron: bindings', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  const neutron = neutronOf(fake.session);
  fake.on('/network/v2.0/ports', () => ({
    status: 200,
    body: { ports: [], bindings: [{ host: 'h', status: 'ACTIVE' }] },
  }));
  assert.deepEqual(await neutron.portsOf('v'), []);
  assert.deepEqual(await neutron.bindings(ID), [{ host: 'h', status: 'ACTIVE' }]);
  await neutron.bindFirst(ID, 'h');
  await neutron.bind(ID, 'h');
  await neutron.activate(ID, 'a/b');
  await neutron.unbind(ID, 'h');
  await neutron.deletePort(ID);
  assert.deepEqual(asked(fake), [
    'GET /ports?device_owner=compute%3Acrosscell&device_id=v',
    ...[`GET /ports/${ID}/bindings`, `PUT /ports/${ID}`, `POST /ports/${ID}/bindings`],
    ...[`PUT /ports/${ID}/bindings/a%2Fb/activate`, `DELETE /ports/${ID}/bindings/h`, `DELETE /ports/${ID}`],
  ]);
});

test('Neutron: what is so already is as wanted, and what is refused says so', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  const neutron = neutronOf(fake.session);
  let status = 409;
  fake.on('/network/v2.0/ports', () => ({ status, body: { NeutronError: { message: 'no', type: 'X', detail: '' } } }));
  await neutron.bind(ID, 'h');
  await neutron.activate(ID, 'h');
  await assert.rejects(neutron.deletePort(ID), NeutronRefused);
  status = 404;
  await neutron.unbind(ID, 'h');
  await neutron.deletePort(ID);
  await assert.rejects(neutron.bind(ID, 'h'), /Neutron refuses POST .*: 404 no/);
  await assert.rejects(neutron.portsOf('v'), NeutronRefused);
});

test('Cinder: an attachment is reserved, connected once, completed and deleted, as a service', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  const cinder = cinderOf(fake.session);
  const at = '/volume/v3/p0';
  const attachment = { id: ID, status: 'reserved', instance: 's', volume_id: 'v', connection_info: {} };
  fake.on(`${at}/attachments`, () => ({ status: 200, body: { attachment } }));
  fake.on(`${at}/attachments?`, () => ({ status: 200, body: { attachments: [attachment] } }));
  assert.equal((await cinder.reserve({ volumeId: 'v', serverId: 's', mode: 'rw' })).kind, 'ok');
  assert.equal((await cinder.connect(ID, 'h', 'rw')).kind, 'ok');
  await cinder.complete(ID);
  await cinder.detach(ID);
  assert.deepEqual(await cinder.attachmentsOf('s'), [attachment]);
  assert.deepEqual(
    fake.asked.slice(1).map(({ method, path }) => `${method} ${path.replace(at, '')}`),
    [
      ...['POST /attachments', `PUT /attachments/${ID}`, `POST /attachments/${ID}/action`, `DELETE /attachments/${ID}`],
      'GET /attachments?all_tenants=1&instance_id=s',
    ],
  );
  const last = fake.asked.at(-1)?.headers;
  assert.equal(last?.['openstack-api-version'], 'volume 3.54');
  assert.equal(last?.['x-service-token'], last?.['x-auth-token']);
  fake.on(`${at}/attachments`, () => ({ status: 503 }));
  for (const once of [
    () => cinder.reserve({ volumeId: 'v', serverId: 's', mode: 'rw' }),
    () => cinder.connect(ID, 'h', 'rw'),
  ]) {
    const before = fake.asked.length;
    await assert.rejects(once, ServiceDown);
    assert.equal(fake.asked.length, before + 1, 'not repeated');
  }
});

test('Cinder: what is not there, and what it refuses', async () => {
  await using fake = await fakeOpenstack(new VirtualClock());
  const cinder = cinderOf(fake.session);
  let status = 404;
  fake.on('/volume/v3/p0', () => ({ status, body: { badRequest: { code: status, message: 'no' } } }));
  assert.equal(await cinder.volume(ID), null);
  assert.equal(await cinder.attachment(ID), null);
  await cinder.detach(ID);
  status = 400;
  assert.deepEqual(await cinder.deleteVolume(ID), { kind: 'refused', status, message: 'no' });
  await assert.rejects(cinder.detach(ID), CinderRefused);
  await assert.rejects(cinder.volume(ID), /Cinder refuses: 400 no/);
});
