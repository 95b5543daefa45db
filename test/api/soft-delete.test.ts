// Soft delete over the API: DELETE with an interval, restore, forceDelete, and who sees what in between.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Client, type TestSystem, testSystem, waitFor } from './system.ts';

const C = '/compute/v2.1';

describe('soft delete', () => {
  let s: TestSystem;
  before(async () => {
    s = await testSystem({ reclaimSeconds: 3600 });
  });
  after(() => s[Symbol.asyncDispose]());

  const softDeleted = async (): Promise<string> => {
    const server = { name: 'one', imageRef: s.imageId, flavorRef: '1', networks: [{ uuid: s.networkId }] };
    const { id } = (await s.alice('POST', `${C}/servers`, { server })).json.server;
    assert.equal(await waitFor(s.alice, id, ['ACTIVE', 'ERROR']), 'ACTIVE');
    assert.equal((await s.alice('DELETE', `${C}/servers/${id}`)).status, 204);
    await waitFor(s.alice, id, ['SOFT_DELETED']);
    return id;
  };
  const act = (client: Client, id: string, body: object) => client('POST', `${C}/servers/${id}/action`, body);
  const listed = async (client: Client, query: string): Promise<string[]> =>
    (await client('GET', `${C}/servers${query}`)).json.servers.map((each: { id: string }) => each.id);

  it('is shown, and listed only where deleted servers are', async () => {
    const id = await softDeleted();
    const { server } = (await s.alice('GET', `${C}/servers/${id}`)).json;
    assert.deepEqual(
      [server.status, server['OS-EXT-STS:vm_state'], server['OS-EXT-STS:task_state'], server['OS-EXT-STS:power_state']],
      ['SOFT_DELETED', 'soft-delete', null, 4],
    );
    for (const query of ['', '/detail', '?status=SOFT_DELETED', '?deleted=true', '?sort_key=created_at']) {
      assert.deepEqual(await listed(s.alice, query), [], query);
    }
    assert.deepEqual(await listed(s.alice, '?changes-since=2020-01-01T00:00:00Z'), [id]);
    assert.deepEqual(await listed(s.admin, '?all_tenants=1'), []);
    assert.deepEqual(await listed(s.admin, '?all_tenants=1&deleted=true&status=SOFT_DELETED'), [id]);
    assert.deepEqual(await listed(s.admin, '?all_tenants=1&deleted=true&status=DELETED'), []);
    const { absolute } = (await s.alice('GET', `${C}/limits`)).json.limits;
    assert.equal(absolute.totalInstancesUsed, 0);
    assert.equal((await act(s.alice, id, { forceDelete: null })).status, 202);
    await waitFor(s.alice, id, ['gone']);
  });

  it('restores; each to its own', async () => {
    const id = await softDeleted();
    assert.equal((await act(s.mallory, id, { restore: null })).status, 404);
    assert.equal((await act(s.reader, id, { restore: null })).status, 403);
    assert.equal((await act(s.alice, id, { restore: { now: true } })).status, 400);
    assert.equal((await act(s.alice, id, { restore: null })).status, 202);
    await waitFor(s.alice, id, ['ACTIVE']);
    assert.deepEqual(await listed(s.alice, ''), [id]);
    const again = await act(s.alice, id, { restore: null });
    assert.deepEqual(
      [again.status, again.json.conflictingRequest.message],
      [409, `Cannot 'restore' instance ${id} while it is in vm_state active`],
    );
    await act(s.alice, id, { lock: null });
    assert.equal((await s.alice('DELETE', `${C}/servers/${id}`)).status, 409);
    assert.equal((await act(s.admin, id, { forceDelete: null })).status, 202);
    await waitFor(s.alice, id, ['gone']);
  });
});
