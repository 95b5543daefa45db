// Pause and unpause over the API.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testSystem, waitFor } from './system.ts';

const C = '/compute/v2.1';

test('a server is paused and goes on; whose it is not, and what a paused one cannot do, is refused', async () => {
  await using s = await testSystem({ cells: 1, hostsPerCell: 1 });
  const server = { name: 'one', imageRef: s.imageId, flavorRef: '1', networks: [{ uuid: s.networkId }] };
  const { id } = (await s.alice('POST', `${C}/servers`, { server })).json.server;
  assert.equal(await waitFor(s.alice, id, ['ACTIVE', 'ERROR']), 'ACTIVE');
  const act = (client: typeof s.alice, body: object) => client('POST', `${C}/servers/${id}/action`, body);
  assert.equal((await act(s.mallory, { pause: null })).status, 404);
  assert.equal((await act(s.reader, { pause: null })).status, 403);
  assert.equal((await act(s.alice, { pause: { deeply: true } })).status, 400);
  assert.equal((await act(s.alice, { pause: null })).status, 202);
  await waitFor(s.alice, id, ['PAUSED']);
  const shown = (await s.alice('GET', `${C}/servers/${id}`)).json.server;
  assert.deepEqual([shown['OS-EXT-STS:vm_state'], shown['OS-EXT-STS:power_state']], ['paused', 3]);
  const refused = await act(s.alice, { resize: { flavorRef: '2' } });
  assert.deepEqual(
    [refused.status, refused.json.conflictingRequest.message],
    [409, `Cannot 'resize' instance ${id} while it is in vm_state paused`],
  );
  assert.equal((await act(s.alice, { unpause: null })).status, 202);
  await waitFor(s.alice, id, ['ACTIVE']);
  assert.equal((await act(s.alice, { unpause: null })).status, 409);
});
