// Volumes that one project offers to another.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Client, type TestSystem, testSystem } from './system.ts';

const V = '/volume/v3';

describe('transfers of volumes over the API, on a simulated storage host', () => {
  let s: TestSystem;
  before(async () => {
    s = await testSystem();
  });
  after(() => s[Symbol.asyncDispose]());

  const create = async (client: Client, wish: object = {}): Promise<string> => {
    const answer = await client('POST', `${V}/volumes`, { volume: { size: 1, ...wish } });
    assert.equal(answer.status, 202, answer.text);
    await waitFor(client, `volumes/${answer.json.volume.id}`, 'available');
    return answer.json.volume.id;
  };
  const snapshotOf = async (volume_id: string): Promise<string> => {
    const answer = await s.alice('POST', `${V}/snapshots`, { snapshot: { volume_id } });
    assert.equal(answer.status, 202, answer.text);
    await waitFor(s.alice, `snapshots/${answer.json.snapshot.id}`, 'available');
    return answer.json.snapshot.id;
  };
  const show = async (client: Client, id: string) => (await client('GET', `${V}/volumes/${id}`)).json.volume;
  const T = `${V}/volume-transfers`;
  const offer = (volume_id: string, more: object = {}, client = s.alice) =>
    client('POST', T, { transfer: { volume_id, ...more } }, 55);
  const accept = (client: Client, { id, auth_key }: { id: string; auth_key: string | number }) =>
    client('POST', `${T}/${id}/accept`, { accept: { auth_key } }, 55);
  const offered = async (volumeId: string, more: object = {}) => {
    const answer = await offer(volumeId, more);
    assert.equal(answer.status, 202, answer.text);
    return answer.json.transfer as { id: string; auth_key: string; links: unknown[] };
  };
  const message = ({ json }: { json: Record<string, { message: string }> }) => Object.values(json)[0]?.message;
  const used = async (client: Client) => {
    const { volumes, snapshots, gigabytes } = (await client('GET', `${V}/os-quota-sets/${client.projectId}?usage=True`))
      .json.quota_set;
    return [volumes.in_use, snapshots.in_use, gigabytes.in_use];
  };

  it('a volume with its snapshots becomes another project’s, and counts there', async () => {
    const id = await create(s.alice, { size: 2 });
    const snapshot = await snapshotOf(id);
    const transfer = await offered(id, { name: ' for you ' });
    assert.match(transfer.auth_key, /^[0-9a-f]{32}$/);
    assert.equal((await show(s.alice, id)).status, 'awaiting-transfer');
    const row = await s.system.platform.stores.global.selectFrom('volume_transfers').selectAll().executeTakeFirst();
    assert.ok(row && !JSON.stringify(row).includes(transfer.auth_key), 'the key itself is not kept');
    const shown = (await s.alice('GET', `${T}/${transfer.id}`, undefined, 57)).json.transfer;
    const { created_at, links, ...rest } = shown;
    assert.deepEqual(rest, {
      ...{ id: transfer.id, volume_id: id, name: 'for you', no_snapshots: false, accepted: false },
      ...{ source_project_id: s.alice.projectId, destination_project_id: null },
    });
    assert.match(`${created_at} ${links[0].href}`, /^20.* http.*\/os-volume-transfer\//);
    const old = (await s.alice('GET', `${V}/os-volume-transfer`)).json.transfers;
    assert.deepEqual(old, [{ id: transfer.id, volume_id: id, name: 'for you', links }]);
    for (const [path, minor] of [
      ['/os-volume-transfer', 1],
      ['/os-volume-transfer/detail?name=other', 1],
      ['/volume-transfers/detail', 59],
    ] as const) {
      const client = path.includes('other') ? s.alice : s.mallory;
      assert.deepEqual((await client('GET', `${V}${path}`, undefined, minor)).json.transfers, []);
    }
    const all = await s.admin('GET', `${T}/detail?all_tenants=1&limit=1`, undefined, 59);
    assert.deepEqual([all.json.transfers.length, all.json.transfers_links.length], [1, 1]);
    assert.equal((await s.admin('GET', `${T}?with_count=1`, undefined, 59)).status, 400, 'nobody counts them');
    assert.equal((await s.mallory('GET', `${T}/${transfer.id}`, undefined, 55)).status, 404);
    assert.equal((await s.mallory('DELETE', `${T}/${transfer.id}`, undefined, 55)).status, 404);
    assert.equal((await s.alice('GET', T, undefined, 54)).status, 404, 'not yet there');
    assert.equal((await s.alice('DELETE', `${V}/volumes/${id}`)).status, 400, 'it is spoken for');

    const wrong = await accept(s.mallory, { ...transfer, auth_key: 12 });
    const words = `Invalid auth key: Attempt to transfer ${transfer.id} with invalid auth key.`;
    assert.deepEqual([wrong.status, message(wrong)], [400, words]);
    const most = { quota_set: { gigabytes: 3 } };
    const quota = (body: object) => s.admin('PUT', `${V}/os-quota-sets/${s.mallory.projectId}`, body);
    await quota(most);
    const over = await accept(s.mallory, transfer);
    assert.equal(over.status, 413, over.text);
    await quota({ quota_set: { gigabytes: 4 } });
    assert.deepEqual(await used(s.alice), [1, 1, 4]);
    const accepted = await accept(s.mallory, transfer);
    assert.deepEqual(
      [accepted.status, Object.keys(accepted.json.transfer)],
      [202, ['id', 'volume_id', 'name', 'links']],
    );
    assert.deepEqual(
      [await used(s.alice), await used(s.mallory)],
      [
        [0, 0, 0],
        [1, 1, 4],
      ],
    );
    const moved = await show(s.mallory, id);
    assert.deepEqual([moved.status, moved['os-vol-tenant-attr:tenant_id']], ['available', s.mallory.projectId]);
    assert.equal((await s.mallory('GET', `${V}/snapshots/${snapshot}`)).status, 200);
    assert.equal((await s.alice('GET', `${V}/volumes/${id}`)).status, 404);
    assert.equal((await accept(s.mallory, transfer)).status, 404, 'once');
    assert.equal((await s.mallory('DELETE', `${V}/volumes/${id}?cascade=true`)).status, 202);
    await waitFor(s.mallory, `volumes/${id}`, 'gone');
  });

  it('snapshots that are left out stay, and so the volume does', async () => {
    const id = await create(s.alice);
    const snapshot = await snapshotOf(id);
    const transfer = await offered(id, { no_snapshots: true });
    assert.equal((await accept(s.mallory, transfer)).status, 202);
    assert.equal((await s.mallory('GET', `${V}/snapshots/${snapshot}`)).status, 404);
    const revert = await s.mallory('POST', `${V}/volumes/${id}/action`, { revert: { snapshot_id: snapshot } }, 40);
    assert.equal(message(revert), `Volume ${id} doesn't have any snapshots.`);
    assert.equal((await s.mallory('DELETE', `${V}/volumes/${id}?cascade=true`)).status, 400);
    assert.equal((await s.alice('DELETE', `${V}/snapshots/${snapshot}`)).status, 202);
    await waitFor(s.alice, `snapshots/${snapshot}`, 'gone');
    assert.equal((await s.mallory('DELETE', `${V}/volumes/${id}`)).status, 202);
    await waitFor(s.mallory, `volumes/${id}`, 'gone');
  });

  it('an offer is taken back, or refused while the volume or a snapshot is not at rest', async () => {
    const id = await create(s.alice);
    const transfer = await offered(id);
    const again = await offer(id);
    assert.deepEqual([again.status, message(again)], [400, 'Invalid volume: status must be available']);
    assert.equal((await s.alice('DELETE', `${V}/os-volume-transfer/${transfer.id}`)).status, 202);
    assert.equal((await show(s.alice, id)).status, 'available');
    assert.equal((await accept(s.mallory, transfer)).status, 404);
    assert.equal((await offer(id, {}, s.mallory)).status, 404);
    const lost = await s.alice('GET', `${T}/${transfer.id}`, undefined, 55);
    assert.deepEqual([lost.status, message(lost)], [404, `Transfer ${transfer.id} could not be found.`]);

    const snapshot = await snapshotOf(id);
    const reset = (of: string, status: string) =>
      s.admin('POST', `${V}/${of}/action`, { 'os-reset_status': { status } });
    await reset(`snapshots/${snapshot}`, 'error');
    const restless = await offer(id);
    assert.equal(message(restless), `Invalid snapshot: snapshot: ${snapshot} status must be available`);
    await reset(`snapshots/${snapshot}`, 'available');
    const next = await offered(id);
    await reset(`snapshots/${snapshot}`, 'error');
    const not = `Transfer ${next.id}: Snapshot ${snapshot} is not in the expected available state.`;
    assert.equal(message(await accept(s.mallory, next)), `Invalid snapshot: ${not}`);
    await reset(`volumes/${id}`, 'available');
    const said = `Transfer ${next.id}: Volume id ${id} expected in awaiting-transfer state.`;
    assert.equal(message(await accept(s.mallory, next)), `Invalid volume: ${said}`);
    // What was set by hand counts: the next offer is the only one.
    await reset(`snapshots/${snapshot}`, 'available');
    const last = await offered(id);
    assert.equal((await accept(s.mallory, next)).status, 404);
    assert.equal((await s.alice('DELETE', `${T}/${last.id}`, undefined, 55)).status, 202);
  });
});

async function waitFor(client: Client, path: string, status: string): Promise<void> {
  const end = Date.now() + 20_000;
  for (;;) {
    const answer = await client('GET', `${V}/${path}`);
    const now = answer.status === 404 ? 'gone' : (Object.values(answer.json)[0] as { status: string }).status;
    if (now === status) return;
    if (Date.now() > end) throw new Error(`${path} is ${now}, not ${status}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
