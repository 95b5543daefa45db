// The scenes of a resize on the services of a real OpenStack: create, resize across cells and confirm, resize and revert,
// delete. Runs where a Keystone is named: see real.ts.
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { newId } from '../../src/lib/ids.ts';
import { glanceOf } from '../../src/openstack/glance.ts';
import { neutronOf } from '../../src/openstack/neutron.ts';
import { allocationsOf } from './allocations.ts';
import { askKeystone, eventually, imagesNamed, realSystem, skip, smallestImage, tokenFor, unprotect } from './real.ts';

test('a server with an image of Glance, a port of Neutron and room in Placement crosses between cells, forth and back', {
  skip,
}, async () => {
  await using real = await realSystem(['identity', 'image', 'network', 'placement']);
  const { call, reach, gone } = real;
  const agreed = allocationsOf(real);
  const imageRef = await smallestImage(real.session);
  const { flavors } = await call('GET', '/compute/v2.1/flavors');
  const flavorRef = (name: string): string => flavors.find((each: { name: string }) => each.name === name).id;
  const [small, medium, large] = ['m1.tiny', 'm1.small', 'm1.medium'].map(flavorRef);
  const neutron = neutronOf(real.session);
  const network = (await neutron.networks()).find((each) => each.shared && !each['router:external']);
  assert.ok(network, 'Neutron has no shared network');
  const { server } = await call('POST', '/compute/v2.1/servers', {
    server: { name: 'scenes', imageRef, flavorRef: small, networks: [{ uuid: network.id }] },
  });
  const act = (body: object) => call('POST', `/compute/v2.1/servers/${server.id}/action`, body);
  const made = await reach(server.id, 'ACTIVE');
  const [port] = await neutron.portsOf(server.id);
  assert.ok(port);
  const addresses = made['addresses'] as Record<string, { addr: string }[]>;
  assert.equal(addresses[network.name]?.[0]?.addr, port.fixed_ips[0]?.ip_address);
  /** Hosts of the port's bindings, the active one first. */
  const bound = async () =>
    (await neutron.bindings(port.id)).toSorted((a, b) => a.status.localeCompare(b.status)).map(({ host }) => host);
  const hostOf = (seen: Record<string, unknown>): unknown => seen['OS-EXT-SRV-ATTR:host'];
  assert.deepEqual([await bound(), await agreed()], [[hostOf(made)], 1]);
  await act({ resize: { flavorRef: medium } });
  const crossed = await reach(server.id, 'VERIFY_RESIZE');
  assert.notEqual(hostOf(crossed), hostOf(made));
  assert.deepEqual([await bound(), await agreed()], [[hostOf(crossed), hostOf(made)], 2]);
  await act({ confirmResize: null });
  await reach(server.id, 'ACTIVE');
  assert.deepEqual([await bound(), await agreed()], [[hostOf(crossed)], 1]);
  await act({ resize: { flavorRef: large } });
  await reach(server.id, 'VERIFY_RESIZE');
  await act({ revertResize: null });
  const back = await reach(server.id, 'ACTIVE');
  assert.equal(hostOf(back), hostOf(crossed));
  assert.deepEqual([await bound(), await agreed()], [[hostOf(crossed)], 1]);
  await call('DELETE', `/compute/v2.1/servers/${server.id}`);
  await gone(server.id);
  assert.deepEqual([await neutron.portsOf(server.id), await agreed()], [[], 0]);
  await call('GET', '/image/v2/images', undefined, 404);
});

test('images of a server are made in Glance, kept, rotated and taken away', { skip }, async () => {
  await using real = await realSystem(['identity', 'image']);
  const { call, reach, gone } = real;
  const glance = glanceOf(real.session);
  const { flavors } = await call('GET', '/compute/v2.1/flavors');
  const flavorRef = flavors.find((each: { name: string }) => each.name === 'm1.tiny').id;
  const { server } = await call('POST', '/compute/v2.1/servers', {
    server: { name: 'images', imageRef: await smallestImage(real.session), flavorRef, networks: 'auto' },
  });
  const act = (body: object) => call('POST', `/compute/v2.1/servers/${server.id}/action`, body);
  const { tenant_id: owner } = await reach(server.id, 'ACTIVE');
  assert.ok(typeof owner === 'string');

  const { image_id: imageId } = await act({ createImage: { name: 'kept', metadata: { note: 'x' } } });
  const queued = await glance.find(imageId);
  assert.ok(queued, 'it is there at once');
  await reach(server.id, 'ACTIVE');
  const image = await glance.find(imageId);
  assert.deepEqual([image?.status, image?.owner, Reflect.get(image ?? {}, 'note')], ['active', owner, 'x']);

  const rotation = { name: 'daily', backup_type: 'daily', rotation: 1 };
  const backups = () => glance.backups({ serverId: server.id, owner, backupType: 'daily' });
  const { image_id: first } = await act({ createBackup: rotation });
  await reach(server.id, 'ACTIVE');
  assert.deepEqual(
    (await backups()).map(({ id }) => id),
    [first],
  );
  const { image_id: second } = await act({ createBackup: rotation });
  await reach(server.id, 'ACTIVE');
  await eventually(async () => ((await glance.find(first)) === null ? true : null));
  assert.deepEqual(
    (await backups()).map(({ id }) => id),
    [second],
  );

  await act({ shelve: null });
  await reach(server.id, 'SHELVED_OFFLOADED');
  const shelved = await imagesNamed(real.session, 'images-shelved');
  assert.equal(shelved.length, 1);
  await act({ unshelve: null });
  await reach(server.id, 'ACTIVE');
  await eventually(async () => ((await imagesNamed(real.session, 'images-shelved')).length === 0 ? true : null));

  // From an image that was made here, which is not fetched again.
  const { server: copy } = await call('POST', '/compute/v2.1/servers', {
    server: { name: 'copy', imageRef: imageId, flavorRef, networks: 'auto' },
  });
  await reach(copy.id, 'ACTIVE');
  for (const each of [copy, server]) {
    await call('DELETE', `/compute/v2.1/servers/${each.id}`);
    await gone(each.id);
  }
  for (const id of [imageId, second]) assert.equal((await glance.remove(id)).kind, 'ok');
});

test('members of a shared image are known; an image may have no data, and be protected', { skip }, async () => {
  await using real = await realSystem(['identity', 'image']);
  const glance = glanceOf(real.session);
  const id = newId();
  const image = { id, name: 'shared', owner: 'a'.repeat(32), diskFormat: 'raw', containerFormat: 'bare' };
  assert.equal(
    (await glance.create({ ...image, visibility: 'shared', minDiskGb: 0, minRamMb: 0, properties: {} }, 'req-1')).kind,
    'ok',
  );
  const path = `/images/${id}/members`;
  const ask = { service: 'image', method: 'POST', path, body: { member: 'b'.repeat(32) } } as const;
  assert.equal((await real.session.ask(null, ask)).kind, 'ok');
  assert.deepEqual(
    (await glance.members(id)).map(({ member_id, status }) => [member_id, status]),
    [['b'.repeat(32), 'pending']],
  );
  const nothing = { sizeBytes: 0, signal: AbortSignal.timeout(60_000), bytes: () => Readable.from([]) };
  assert.equal((await glance.upload(id, nothing)).kind, 'ok');
  assert.equal((await glance.find(id))?.status, 'active', 'without data');
  assert.equal((await glance.protect(id)).kind, 'ok');
  assert.equal((await glance.remove(id)).kind, 'refused', 'it is protected');
  await unprotect(real.session, id);
  assert.equal((await glance.remove(id)).kind, 'ok');
  assert.equal((await glance.remove(id)).kind, 'ok', 'gone already');
});

test("an application credential of Keystone's is good here, and its token no longer when it is revoked", {
  skip,
}, async () => {
  await using real = await realSystem(['identity'], 1);
  const mine = { 'x-auth-token': real.token };
  const own = await askKeystone('GET', '/auth/tokens', { ...mine, 'x-subject-token': real.token });
  const { token } = (await own.json()) as { token: { user: { id: string } } };
  const credentials = `/users/${token.user.id}/application_credentials`;
  const name = `crosscell-test-${process.pid}-${Date.now()}`;
  const made = await askKeystone('POST', credentials, mine, { application_credential: { name } });
  const body = (await made.json()) as { application_credential: { id: string; secret: string } };
  const { id, secret } = body.application_credential;
  const subject = await tokenFor({
    identity: { methods: ['application_credential'], application_credential: { id, secret } },
  });
  const status = async (): Promise<number> =>
    (await fetch(`${real.url}/compute/v2.1/servers`, { headers: { 'x-auth-token': subject } })).status;
  assert.equal(await status(), 200);
  const revoked = await askKeystone('DELETE', '/auth/tokens', { ...mine, 'x-subject-token': subject });
  assert.equal(revoked.status, 204);
  await delay(1100);
  assert.equal(await status(), 401);
  assert.equal((await askKeystone('DELETE', `${credentials}/${id}`, mine)).status, 204);
});
