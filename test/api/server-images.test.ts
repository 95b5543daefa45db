// Images of servers over the API: made while the server runs, used for another one, rotated as backups, deleted on the way.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Client, testSystem, waitFor } from './system.ts';

const C = '/compute/v2.1';
const I = '/image/v2/images';

test('an image is made of a running server, and a server of it; backups are rotated', async () => {
  await using s = await testSystem({ cells: 1, hostsPerCell: 1 });
  const wish = { name: 'one', imageRef: s.imageId, flavorRef: '1', networks: [{ uuid: s.networkId }] };
  const { id } = (await s.alice('POST', `${C}/servers`, { server: wish })).json.server;
  assert.equal(await waitFor(s.alice, id, ['ACTIVE', 'ERROR']), 'ACTIVE');
  const act = (client: Client, body: object, minor?: number) =>
    client('POST', `${C}/servers/${id}/action`, body, minor);
  const image = { createImage: { name: 'photo', metadata: { colour: 'blue' } } };

  assert.equal((await act(s.mallory, image)).status, 404);
  assert.equal((await act(s.reader, image)).status, 403);
  assert.equal((await act(s.alice, { createImage: { name: '' } })).status, 400);
  const old = await act(s.alice, image);
  assert.deepEqual([old.status, old.text], [202, '']);
  const location = old.headers.get('location') ?? '';
  assert.match(location, /\/images\/[0-9a-f-]{36}$/);
  const shown = await active(s.alice, location.split('/').at(-1) ?? '');
  assert.deepEqual(
    [shown.name, shown.visibility, shown.owner, shown.min_disk, shown.colour],
    ['photo', 'private', s.alice.projectId, 1, 'blue'],
  );
  assert.deepEqual(
    [shown.image_type, shown.instance_uuid, shown.base_image_ref, shown.user_id],
    ['snapshot', id, s.imageId, s.alice.userId],
  );
  await idle(s.alice, id);
  assert.equal((await s.mallory('GET', `${I}/${shown.id}`)).status, 404);

  const copy = { ...wish, name: 'two', imageRef: shown.id };
  const second = (await s.alice('POST', `${C}/servers`, { server: copy })).json.server.id;
  assert.equal(await waitFor(s.alice, second, ['ACTIVE', 'ERROR']), 'ACTIVE');

  const made: string[] = [];
  for (const name of ['b1', 'b2', 'b3']) {
    const answer = await act(s.alice, { createBackup: { name, backup_type: 'daily', rotation: '2' } }, 45);
    assert.deepEqual([answer.status, answer.headers.get('location')], [202, null]);
    made.push(answer.json.image_id);
    await active(s.alice, answer.json.image_id);
    await idle(s.alice, id);
  }
  assert.equal((await s.alice('GET', `${I}/${made[0]}`)).status, 404);
  const kept = (await s.alice('GET', `${I}/${made[2]}`)).json;
  assert.deepEqual([kept.image_type, kept.backup_type], ['backup', 'daily']);
  // None is kept: the new one goes too, and no place is told.
  const none = await act(s.alice, { createBackup: { name: 'b4', backup_type: 'daily', rotation: 0 } });
  assert.deepEqual([none.status, none.headers.get('location')], [202, null]);
  await idle(s.alice, id);
  assert.equal((await s.alice('GET', `${I}/${made[2]}`)).status, 404);

  await act(s.alice, { 'os-stop': null });
  await waitFor(s.alice, id, ['SHUTOFF']);
  const stopped = await act(s.alice, image, 45);
  await active(s.alice, stopped.json.image_id);
});

/** The image, when it has its data. */
// biome-ignore lint/suspicious/noExplicitAny: properties of every name
async function active(client: Client, imageId: string): Promise<any> {
  for (;;) {
    const { status, json } = await client('GET', `${I}/${imageId}`);
    assert.equal(status, 200);
    if (json.status === 'active') return json;
    assert.ok(['queued', 'saving'].includes(json.status), json.status);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function idle(client: Client, serverId: string): Promise<void> {
  for (;;) {
    const { server } = (await client('GET', `${C}/servers/${serverId}`)).json;
    if (server['OS-EXT-STS:task_state'] === null) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
