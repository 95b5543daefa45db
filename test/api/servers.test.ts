import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type TestSystem, testSystem, waitFor } from './system.ts';

const C = '/compute/v2.1';

describe('servers over the API, on simulated hosts', () => {
  let s: TestSystem;
  before(async () => {
    s = await testSystem();
  });
  after(() => s[Symbol.asyncDispose]());

  it('creates, shows, resizes, confirms and deletes a server', async () => {
    const created = await s.alice('POST', `${C}/servers`, {
      server: { name: 'one', imageRef: s.imageId, flavorRef: '1', networks: [{ uuid: s.networkId }] },
    });
    assert.equal(created.status, 202, created.text);
    const { id } = created.json.server;
    assert.equal(await waitFor(s.alice, id, ['ACTIVE', 'ERROR']), 'ACTIVE');
    const resized = await s.alice('POST', `${C}/servers/${id}/action`, { resize: { flavorRef: '3' } });
    assert.equal(resized.status, 202, resized.text);
    await waitFor(s.alice, id, ['VERIFY_RESIZE']);
    const confirmed = await s.alice('POST', `${C}/servers/${id}/action`, { confirmResize: null });
    assert.equal(confirmed.status, 204, confirmed.text);
    await waitFor(s.alice, id, ['ACTIVE']);
    assert.equal((await s.alice('DELETE', `${C}/servers/${id}`)).status, 204);
    await waitFor(s.alice, id, ['gone']);
  });
});
