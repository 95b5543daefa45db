// Compute's old view of images: lists, one image, its metadata; gone with 2.36, and with 2.39 for metadata.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testSystem } from './system.ts';

const IMAGES = '/compute/v2.1/images';

test('images are shown, filtered, changed and deleted by way of compute until 2.35', async () => {
  await using s = await testSystem({ cells: 1, hostsPerCell: 1 });
  const made = await s.alice('POST', '/image/v2/images', { name: 'mine', colour: 'blue', image_type: 'snapshot' });
  const { id } = made.json;
  const list = (await s.alice('GET', `${IMAGES}?limit=1`)).json;
  assert.deepEqual([list.images.length, list.images[0].id, list.images_links[0].rel], [1, id, 'next']);
  const second = (await s.alice('GET', `${IMAGES}?limit=1&marker=${id}`)).json;
  assert.deepEqual(
    [second.images.map((each: { id: string }) => each.id), second.images_links],
    [[s.imageId], undefined],
  );
  for (const [query, found] of [
    ['status=active', [s.imageId]],
    ['status=SAVING', []],
    ['type=snapshot', [id]],
    ['name=mine', [id]],
    ['minRam=3000000000', []],
    ['minDisk=3000000000', []],
    ['minRam=0&minDisk=0', [id, s.imageId]],
    ['property-colour=blue', [id]],
    ['property-colour=blu', []],
    ['server=http://x/servers/none', []],
    ['changes-since=2999-01-01T00:00:00Z', []],
  ] as const) {
    const { images } = (await s.alice('GET', `${IMAGES}/detail?${query}`)).json;
    assert.deepEqual(
      images.map((each: { id: string }) => each.id),
      found,
      query,
    );
  }
  const { image } = (await s.alice('GET', `${IMAGES}/${id}`)).json;
  assert.deepEqual(
    [image.status, image.progress, image.minDisk, image.metadata],
    ['SAVING', 25, 0, { colour: 'blue', image_type: 'snapshot' }],
  );
  assert.equal((await s.mallory('GET', `${IMAGES}/${id}`)).status, 404);

  const meta = `${IMAGES}/${id}/metadata`;
  const all = { metadata: { colour: 'red', weight: 'big' } };
  assert.deepEqual((await s.alice('PUT', meta, all)).json, all);
  assert.deepEqual((await s.alice('POST', meta, { metadata: { weight: 'huge' } })).json, {
    metadata: { colour: 'red', weight: 'huge' },
  });
  assert.deepEqual((await s.alice('PUT', `${meta}/colour`, { meta: { colour: 'green' } })).json, {
    meta: { colour: 'green' },
  });
  assert.equal((await s.alice('PUT', `${meta}/colour`, { meta: { other: 'green' } })).status, 400);
  assert.deepEqual((await s.alice('GET', `${meta}/colour`, undefined, 38)).json, { meta: { colour: 'green' } });
  assert.equal((await s.alice('DELETE', `${meta}/colour`)).status, 204);
  assert.equal((await s.alice('DELETE', `${meta}/colour`)).status, 404);
  assert.equal((await s.mallory('PUT', `${IMAGES}/${s.imageId}/metadata`, all)).status, 403);
  assert.equal((await s.reader('DELETE', `${IMAGES}/${id}`)).status, 403);
  assert.equal((await s.alice('DELETE', `${IMAGES}/${id}`)).status, 204);
  assert.equal((await s.alice('GET', `${IMAGES}/${id}`)).status, 404);

  assert.equal((await s.alice('GET', IMAGES, undefined, 36)).status, 404);
  assert.equal((await s.alice('GET', `${IMAGES}/${s.imageId}/metadata`, undefined, 39)).status, 404);
});
