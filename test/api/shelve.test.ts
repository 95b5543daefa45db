// Shelving over the API: off the host at once, or only when asked; and up again, in any cell.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testSystem, waitFor } from './system.ts';

const C = '/compute/v2.1';

test('a shelved server leaves its host, takes and gives volumes there, and comes up again where there is room', async () => {
  await using s = await testSystem({ cells: 2, hostsPerCell: 1 });
  const wish = { name: 'one', imageRef: s.imageId, flavorRef: '1', networks: [{ uuid: s.networkId }] };
  const { id } = (await s.alice('POST', `${C}/servers`, { server: wish })).json.server;
  assert.equal(await waitFor(s.alice, id, ['ACTIVE', 'ERROR']), 'ACTIVE');
  const act = (client: typeof s.alice, body: object, minor?: number) =>
    client('POST', `${C}/servers/${id}/action`, body, minor);
  const shown = async () => (await s.admin('GET', `${C}/servers/${id}`)).json.server;
  const before = await shown();
  const ports = async () => (await s.alice('GET', `/network/v2.0/ports?device_id=${id}`)).json.ports;
  const [port] = await ports();

  assert.equal((await act(s.mallory, { shelve: null })).status, 404);
  assert.equal((await act(s.reader, { shelve: null })).status, 403);
  assert.equal((await act(s.alice, { unshelve: null })).status, 409);
  assert.equal((await act(s.alice, { shelve: null })).status, 202);
  await waitFor(s.alice, id, ['SHELVED_OFFLOADED']);
  const away = await shown();
  assert.deepEqual(
    [away['OS-EXT-SRV-ATTR:host'], away['OS-EXT-STS:vm_state'], away['OS-EXT-STS:power_state'], away.image.id],
    [null, 'shelved_offloaded', 4, s.imageId],
  );
  const [kept] = await ports();
  assert.deepEqual([kept.id, kept.fixed_ips], [port.id, port.fixed_ips]);
  const images = (await s.alice('GET', '/image/v2/images?name=one-shelved')).json.images;
  assert.equal(images.length, 1);
  const listed = (await s.alice('GET', `${C}/servers?status=SHELVED_OFFLOADED`)).json.servers;
  assert.deepEqual(
    listed.map((each: { id: string }) => each.id),
    [id],
  );
  for (const refused of [{ resize: { flavorRef: '2' } }, { 'os-start': null }, { createImage: { name: 'x' } }]) {
    const answer = await act(s.alice, refused);
    assert.deepEqual([answer.status, Object.keys(refused)], [409, Object.keys(refused)]);
  }
  assert.equal((await act(s.alice, { shelveOffload: null })).status, 403);
  assert.equal((await act(s.admin, { shelveOffload: null })).status, 409);

  const { volume } = (await s.alice('POST', '/volume/v3/volumes', { volume: { size: 1 } })).json;
  const status = async () => (await s.alice('GET', `/volume/v3/volumes/${volume.id}`)).json.volume.status;
  await until(async () => (await status()) === 'available');
  const attached = await s.alice('POST', `${C}/servers/${id}/os-volume_attachments`, {
    volumeAttachment: { volumeId: volume.id },
  });
  assert.equal(attached.status, 200);
  await until(async () => (await status()) === 'in-use');

  assert.equal((await act(s.alice, { unshelve: { availability_zone: 'nowhere' } }, 77)).status, 400);
  assert.equal((await act(s.alice, { unshelve: { host: 'cell1-host1' } }, 91)).status, 403);
  assert.equal((await act(s.admin, { unshelve: { host: 'no-such-host' } }, 91)).status, 400);
  const hosts = (await s.admin('GET', `${C}/os-hypervisors`)).json.hypervisors;
  const other = hosts
    .map((each: { hypervisor_hostname: string }) => each.hypervisor_hostname)
    .find((name: string) => name !== before['OS-EXT-SRV-ATTR:host']);
  assert.equal((await act(s.admin, { unshelve: { host: other } }, 91)).status, 202);
  await waitFor(s.alice, id, ['ACTIVE', 'ERROR']);
  const back = await shown();
  assert.deepEqual(
    [back.status, back['OS-EXT-SRV-ATTR:host'], back.addresses, back.image.id],
    ['ACTIVE', other, before.addresses, s.imageId],
  );
  assert.equal((await s.alice('GET', `/image/v2/images/${images[0].id}`)).status, 404);
  assert.equal(await status(), 'in-use');

  // Before 2.77 a zone means nothing.
  assert.equal((await act(s.alice, { shelve: null })).status, 202);
  await waitFor(s.alice, id, ['SHELVED_OFFLOADED']);
  assert.equal((await act(s.alice, { unshelve: { availability_zone: 'nowhere' } }, 76)).status, 202);
  assert.equal(await waitFor(s.alice, id, ['ACTIVE', 'ERROR']), 'ACTIVE');

  // Once more, and deleted from there: its image goes with it.
  assert.equal((await act(s.alice, { shelve: null })).status, 202);
  await waitFor(s.alice, id, ['SHELVED_OFFLOADED']);
  assert.equal((await s.alice('DELETE', `${C}/servers/${id}`)).status, 204);
  await until(async () => (await s.alice('GET', `${C}/servers/${id}`)).status === 404);
  assert.deepEqual((await s.alice('GET', '/image/v2/images?name=one-shelved')).json.images, []);
  await until(async () => (await status()) === 'available');
});

async function until(holds: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 30_000;
  while (!(await holds())) {
    assert.ok(Date.now() < end, 'it does not come to pass');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
