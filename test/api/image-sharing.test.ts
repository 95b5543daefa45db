// Images that are shared, staged and imported, and taken out of reach.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { qcow2 } from '../../src/control/images/testing.ts';
import { testSystem, waitFor } from './system.ts';

const I = '/image/v2/images';

test('data of a format that no guest can have is kept as it comes, and boots nothing', async () => {
  await using s = await testSystem({ cells: 1, hostsPerCell: 1 });
  const { id } = (await s.alice('POST', I, { name: 'old', disk_format: 'ami', container_format: 'ami' })).json;
  const bytes = new Uint8Array(777).fill(7);
  const headers = { 'x-auth-token': s.alice.token, 'content-type': 'application/octet-stream' };
  assert.equal((await s.raw(`${I}/${id}/file`, { method: 'PUT', headers, body: bytes })).status, 204);
  const shown = (await s.alice('GET', `${I}/${id}`)).json;
  assert.deepEqual([shown.status, shown.size, shown.virtual_size], ['active', 777, null]);
  const server = { name: 'one', imageRef: id, flavorRef: '1', networks: [{ uuid: s.networkId }] };
  assert.equal((await s.alice('POST', '/compute/v2.1/servers', { server })).status, 400);
  const volume = { size: 1, imageRef: id };
  assert.equal((await s.alice('POST', '/volume/v3/volumes', { volume })).status, 400);
  const patched = await s.raw(`${I}/${id}`, {
    method: 'PATCH',
    headers: { ...headers, 'content-type': 'application/openstack-images-v2.0-json-patch' },
    body: JSON.stringify([
      { replace: '/name', value: 'new' },
      { add: '/colour', value: 'blue' },
    ]),
  });
  assert.deepEqual([patched.status, patched.json.name, patched.json.colour], [200, 'new', 'blue']);
});

test('staged data is imported, the image shared with a project that takes it, and its data kept back', async () => {
  await using s = await testSystem({ cells: 1, hostsPerCell: 1 });
  const made = await s.alice('POST', I, {
    name: 'mine',
    disk_format: 'qcow2',
    container_format: 'bare',
    colour: 'blue',
  });
  const { id } = made.json;
  assert.equal(made.json.visibility, 'shared');
  const data = (client: typeof s.alice, path: string, method = 'PUT') =>
    s.raw(`${I}/${id}/${path}`, {
      method,
      headers: { 'x-auth-token': client.token, 'content-type': 'application/octet-stream' },
      ...(method === 'PUT' ? { body: new Uint8Array(qcow2()) } : {}),
    });
  const importing = (client: typeof s.alice, name: string) => client('POST', `${I}/${id}/import`, { method: { name } });

  assert.deepEqual((await s.alice('GET', '/image/v2/info/import')).json['import-methods'].value, [
    'glance-direct',
    'web-download',
  ]);
  assert.equal((await importing(s.alice, 'glance-direct')).status, 409);
  assert.equal((await data(s.mallory, 'stage')).status, 404);
  assert.equal((await data(s.alice, 'stage')).status, 204);
  const staged = (await s.alice('GET', `${I}/${id}`)).json;
  assert.deepEqual([staged.status, staged.os_hash_algo], ['uploading', 'sha512']);
  assert.equal((await data(s.alice, 'stage')).status, 409);
  assert.equal((await data(s.alice, 'file', 'GET')).status, 204, 'nobody has it before it is imported');
  assert.equal((await importing(s.alice, 'web-download')).status, 400);
  assert.equal((await importing(s.mallory, 'glance-direct')).status, 404);
  assert.equal((await importing(s.alice, 'glance-direct')).status, 202);
  assert.equal((await s.alice('GET', `${I}/${id}`)).json.status, 'active');
  assert.equal((await importing(s.alice, 'glance-direct')).status, 409);

  const members = `${I}/${id}/members`;
  const mallory = { member: s.mallory.projectId };
  assert.equal((await s.mallory('GET', `${I}/${id}`)).status, 404);
  const shared = await s.alice('POST', members, mallory);
  assert.deepEqual(
    [shared.status, shared.json.member_id, shared.json.status, shared.json.image_id],
    [200, s.mallory.projectId, 'pending', id],
  );
  assert.equal((await s.alice('POST', members, mallory)).status, 409);
  assert.equal((await s.mallory('GET', `${I}/${id}`)).status, 200);
  const listed = async (query = '') =>
    (await s.mallory('GET', `${I}?owner=${s.alice.projectId}${query}`)).json.images.map(
      (image: { id: string }) => image.id,
    );
  assert.deepEqual([await listed(), await listed('&member_status=pending')], [[], [id]]);
  const own = `${members}/${s.mallory.projectId}`;
  assert.equal((await s.alice('PUT', own, { status: 'accepted' })).status, 403, 'only who it is shared with says so');
  assert.equal((await s.mallory('PUT', own, { status: 'perhaps' })).status, 400);
  assert.equal((await s.mallory('PUT', own, { status: 'accepted' })).json.status, 'accepted');
  assert.deepEqual([await listed(), await listed('&colour=blue'), await listed('&colour=red')], [[id], [id], []]);
  assert.equal((await s.mallory('GET', members)).json.members.length, 1);
  assert.equal((await s.mallory('POST', members, { member: 'somebody' })).status, 403);
  assert.equal((await s.mallory('PATCH', `${I}/${id}`)).status, 400);
  assert.equal((await s.mallory('DELETE', `${I}/${id}`)).status, 403);
  const server = { name: 'one', imageRef: id, flavorRef: '1', networks: [{ uuid: s.networkId }] };
  const booted = (await s.mallory('POST', '/compute/v2.1/servers', { server })).json.server.id;
  assert.equal(await waitFor(s.mallory, booted, ['ACTIVE', 'ERROR']), 'ACTIVE');

  assert.equal((await s.mallory('POST', `${I}/${id}/actions/deactivate`)).status, 403);
  assert.equal((await s.alice('POST', `${I}/${id}/actions/deactivate`)).status, 204);
  assert.equal((await data(s.alice, 'file', 'GET')).status, 403);
  assert.equal((await data(s.admin, 'file', 'GET')).status, 200);
  assert.equal((await s.mallory('POST', '/compute/v2.1/servers', { server })).status, 400);
  assert.equal((await s.alice('POST', `${I}/${id}/actions/reactivate`)).status, 204);
  assert.equal((await data(s.mallory, 'file', 'GET')).status, 200);

  assert.equal((await s.alice('DELETE', own)).status, 204);
  assert.equal((await s.alice('DELETE', own)).status, 404);
  assert.equal((await s.mallory('GET', `${I}/${id}`)).status, 404);
});
