import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { newId } from '../../src/lib/ids.ts';
import { type Client, type TestSystem, testSystem, waitFor } from './system.ts';

const V = '/volume/v3';

describe('block storage over the API, on a simulated storage host', () => {
  let s: TestSystem;
  before(async () => {
    s = await testSystem();
  });
  after(() => s[Symbol.asyncDispose]());
  afterEach(async () => {
    for (const { id } of (await s.alice('GET', `${V}/volumes`)).json.volumes) {
      await s.alice('DELETE', `${V}/volumes/${id}?cascade=true`);
      await waitForVolume(s.alice, id, 'gone');
    }
  });

  const create = async (client: Client, wish: object = {}, status = 'available'): Promise<string> => {
    const answer = await client('POST', `${V}/volumes`, { volume: { size: 1, ...wish } });
    assert.equal(answer.status, 202, answer.text);
    const { id } = answer.json.volume;
    await waitForVolume(client, id, status);
    return id;
  };
  const show = async (client: Client, id: string, minor = 0) =>
    (await client('GET', `${V}/volumes/${id}`, undefined, minor)).json.volume;
  const act = (client: Client, id: string, body: object, minor = 0) =>
    client('POST', `${V}/volumes/${id}/action`, body, minor);
  const kept = async (id: string) => {
    const reply = await (await s.system.platform.storage('storage1')).volume(id);
    return reply.kind === 'ok' ? reply.value : null;
  };

  it('creates, shows, changes and deletes a volume', async () => {
    const wish = { name: 'one', description: 'first', metadata: { colour: 'blue' }, availability_zone: null };
    const answer = await s.alice('POST', `${V}/${s.alice.projectId}/volumes`, { volume: { ...wish, size: '2' } });
    assert.equal(answer.status, 202, answer.text);
    assert.equal(answer.json.volume.status, 'creating');
    assert.deepEqual(
      Object.keys(answer.json.volume).filter((key) => key.startsWith('os-')),
      [],
    );
    const { id } = answer.json.volume;
    await waitForVolume(s.alice, id, 'available');
    assert.equal((await kept(id))?.sizeBytes, 2 * 2 ** 30);
    const volume = await show(s.alice, id);
    assert.deepEqual([volume.size, volume.bootable, volume.volume_type], [2, 'false', '__DEFAULT__']);
    assert.equal(volume['os-vol-tenant-attr:tenant_id'], s.alice.projectId);
    assert.equal(volume['os-vol-host-attr:host'], undefined);
    assert.equal((await show(s.admin, id))['os-vol-host-attr:host'], 'storage1@crosscell#storage1');
    assert.match(volume.links[0].href, new RegExp(`/volume/v3/${s.alice.projectId}/volumes/${id}$`));
    assert.equal((await show(s.alice, id, 63)).volume_type_id.length, 36);

    const renamed = await s.alice('PUT', `${V}/volumes/${id}`, { volume: { name: 'two', description: null } });
    assert.equal(renamed.status, 200, renamed.text);
    assert.deepEqual([renamed.json.volume.name, renamed.json.volume.description], ['two', null]);
    const set = await s.alice('POST', `${V}/volumes/${id}/metadata`, { metadata: { size: 'small' } });
    assert.deepEqual(set.json.metadata, { colour: 'blue', size: 'small' });
    assert.equal((await s.alice('DELETE', `${V}/volumes/${id}/metadata/colour`)).status, 200);
    for (const key of ['k'.repeat(256), '', 'ü', 'a\n'])
      assert.equal(
        (await s.alice('POST', `${V}/volumes/${id}/metadata`, { metadata: { [key]: 'v' } })).status,
        400,
        key,
      );
    assert.equal((await s.alice('GET', `${V}/volumes/${id}/metadata/colour`)).status, 404);
    assert.equal((await act(s.alice, id, { 'os-set_bootable': { bootable: true } })).status, 200);
    assert.equal((await show(s.alice, id)).bootable, 'true');

    assert.equal((await s.alice('DELETE', `${V}/volumes/${id}`)).status, 202);
    await waitForVolume(s.alice, id, 'gone');
    assert.equal(await kept(id), null);
  });

  it('lists by filter, order and page', async () => {
    const [a, b, c] = [
      await create(s.alice, { name: 'a', size: 3 }),
      await create(s.alice, { name: 'b' }),
      await create(s.alice, { name: 'c', size: 2 }),
    ];
    const ids = async (query: string, minor = 0) =>
      (await s.alice('GET', `${V}/volumes${query}`, undefined, minor)).json.volumes.map(
        (each: { id: string }) => each.id,
      );
    assert.deepEqual(await ids('?sort=name:asc'), [a, b, c]);
    assert.deepEqual(await ids('?sort_key=size&sort_dir=desc'), [a, c, b]);
    assert.deepEqual(await ids('?sort_dir=asc'), [a, b, c]);
    assert.deepEqual(await ids('?limit=2'), [c, b]);
    assert.deepEqual(await ids(`?limit=2&marker=${c}`), [b, a]);
    assert.deepEqual(await ids(`?limit=1&offset=1&marker=${c}`), [a]);
    assert.deepEqual(await ids('?limit=0'), []);
    assert.deepEqual(await ids('?sort=bootable:asc, availability_zone'), [a, b, c]);
    assert.deepEqual(await ids('?name=b'), [b]);
    assert.deepEqual(await ids('?status=error'), []);
    assert.deepEqual(await ids(`?sort=name:asc&limit=1&marker=${a}`), [b]);
    const lost = newId();
    assert.deepEqual((await s.alice('GET', `${V}/volumes?marker=${lost}`)).json, {
      itemNotFound: { code: 404, message: `Volume ${lost} could not be found.` },
    });
    assert.equal((await s.alice('GET', `${V}/snapshots?marker=${lost}`)).status, 404);
    const page = await s.alice(
      'GET',
      `${V}/${s.alice.projectId}/volumes/detail?sort=name:asc&limit=2&with_count=1`,
      undefined,
      45,
    );
    assert.equal(page.json.count, 3);
    const next = new URL(page.json.volumes_links[0].href);
    const rest = await s.alice('GET', `${next.pathname}${next.search}`, undefined, 45);
    assert.deepEqual(
      rest.json.volumes.map((each: { name: string }) => each.name),
      ['c'],
    );
    // A page that is just full says where the next one would be.
    const full = await s.alice('GET', `${V}/volumes?limit=3`);
    assert.equal(full.json.volumes_links.length, 1);
    assert.equal((await s.alice('GET', `${V}/volumes?limit=4`)).json.volumes_links, undefined);
    assert.equal((await s.alice('GET', `${V}/volumes?sort=colour`)).status, 400);
    assert.equal((await s.alice('GET', `${V}/volumes?nonsense=1`)).status, 400);
    assert.deepEqual((await s.mallory('GET', `${V}/volumes?all_tenants=1`)).json.volumes, []);
    assert.equal((await s.admin('GET', `${V}/volumes?all_tenants=1`)).json.volumes.length, 3);
    const summary = await s.alice('GET', `${V}/volumes/summary`, undefined, 12);
    assert.deepEqual(summary.json['volume-summary'], { total_count: 3, total_size: 6 });
    assert.equal((await s.alice('GET', `${V}/volumes/summary`, undefined, 11)).status, 404);
    const metadata = { constructor: 'Ada' };
    assert.equal((await s.alice('PUT', `${V}/volumes/${a}/metadata`, { metadata })).status, 200);
    const named = await s.alice('GET', `${V}/volumes/summary`, undefined, 36);
    assert.deepEqual(named.json['volume-summary'].metadata.constructor, ['Ada']);
  });

  it('filters by all that it says it filters by, and refuses what it cannot read', async () => {
    const id = await create(s.alice, { name: 'a', size: 3 });
    const snapshot = await snapshotOf(id);
    const NEVER: Readonly<Record<string, string>> = {
      ...{ project_id: newId(), user_id: newId(), name: 'b', status: 'error', availability_zone: 'elsewhere' },
      ...{ bootable: 'true', multiattach: 'true', metadata: '{"a":"1"}', snapshot_id: newId(), host: 'none@none#none' },
      ...{ size: '4', consumes_quota: 'false', created_at: 'lt:2020-01-01', updated_at: 'lt:2020-01-01' },
      ...{ glance_metadata: "{'container_format': 'bare'}", migration_status: 'success', group_id: newId() },
      ...{ consistencygroup_id: newId(), volume_id: newId() },
    };
    const listed = (kind: string, query: string, minor = 70) =>
      s.alice('GET', `${V}/${kind}?${query}`, undefined, minor);
    const found = async (kind: string, query: string, minor = 70): Promise<string[]> =>
      (await listed(kind, query, minor)).json[kind].map((each: { id: string }) => each.id);
    const { resource_filters } = (await s.alice('GET', `${V}/resource_filters`, undefined, 33)).json;
    for (const { resource, filters } of resource_filters)
      for (const name of filters)
        assert.deepEqual(await found(`${resource}s`, `${name}=${NEVER[name]}`), [], `${resource}s by ${name}`);

    const { created_at, availability_zone } = await show(s.alice, id);
    const held = [
      'size=3',
      'consumes_quota=1',
      'bootable=f',
      `availability_zone=${availability_zone}`,
      'all_tenants=no',
    ];
    const times = [
      'gt:2020-01-01',
      `eq:${created_at}`,
      `gte:${created_at},lte:${created_at}`,
      'neq:2020-01-01T00:00:00Z',
    ];
    for (const query of [...held, ...times.map((each) => `created_at=${encodeURIComponent(each)}`)])
      assert.deepEqual(await found('volumes', query), [id], query);
    for (const each of [`neq:${created_at}`, `gt:2020-01-01,lt:${created_at}`])
      assert.deepEqual(await found('volumes', `created_at=${each}`), [], each);
    // Before the filters of resources there were none by time.
    assert.deepEqual(await found('volumes', 'created_at=lt:2020-01-01', 30), [id]);
    assert.deepEqual(await found('snapshots', `availability_zone=${availability_zone}&sort=volume_id:asc`), [snapshot]);
    const refused = {
      'created_at=foo': 'Invalid foo operator',
      'updated_at=gt:foo:2020': 'Invalid foo:2020 value',
      'created_at=gt:2020-01-01,': 'Invalid  operator',
      'bootable=foo': "Invalid input received: 'bootable = foo'",
      'all_tenants=foo': "Value 'foo' for 'all_tenants' is not a boolean.",
      'with_count=foo': "Value 'foo' for 'with_count' is not a boolean.",
      'sort=name&sort_key=size': /^The 'sort_key' and 'sort_dir' parameters are deprecated/,
    };
    for (const [query, message] of Object.entries(refused)) {
      const { status, json } = await listed('volumes', query);
      assert.deepEqual([query, status], [query, 400]);
      assert.match(json.badRequest.message, message instanceof RegExp ? message : new RegExp(`^${message}$`));
    }
    assert.deepEqual(await found('volumes', 'bootable=foo', 1), []);
  });

  it("keeps projects apart: another's volume is not there, in whatever path", async () => {
    const id = await create(s.alice);
    const snapshot = await snapshotOf(id);
    for (const [method, path, body] of [
      ['GET', `/volumes/${id}`, undefined],
      ['PUT', `/volumes/${id}`, { volume: { name: 'x' } }],
      ['DELETE', `/volumes/${id}`, undefined],
      ['POST', `/volumes/${id}/action`, { 'os-extend': { new_size: 2 } }],
      ['GET', `/volumes/${id}/metadata`, undefined],
      ['GET', `/snapshots/${snapshot}`, undefined],
      ['DELETE', `/snapshots/${snapshot}`, undefined],
      ['POST', '/snapshots', { snapshot: { volume_id: id } }],
      ['POST', '/volumes', { volume: { snapshot_id: snapshot } }],
      ['POST', '/volumes', { volume: { source_volid: id } }],
    ] as const) {
      const answer = await s.mallory(method, `${V}${path}`, body);
      assert.equal(answer.status, 404, `${method} ${path}: ${answer.text}`);
    }
    assert.equal((await s.mallory('GET', `${V}/${s.alice.projectId}/volumes`)).status, 400);
    assert.equal((await s.reader('GET', `${V}/volumes/${id}`)).status, 200);
    assert.equal((await s.reader('DELETE', `${V}/volumes/${id}`)).status, 403);
    assert.equal((await act(s.alice, id, { 'os-reset_status': { status: 'error' } })).status, 403);
    assert.equal((await s.alice('POST', `${V}/types`, { volume_type: { name: 'x' } })).status, 403);
  });

  const snapshotOf = async (id: string, wish: object = {}): Promise<string> => {
    const answer = await s.alice('POST', `${V}/snapshots`, { snapshot: { volume_id: id, ...wish } });
    assert.equal(answer.status, 202, answer.text);
    const { snapshot } = answer.json;
    await waitForVolume(s.alice, snapshot.id, 'available', 'snapshot');
    return snapshot.id;
  };

  it('copies: from an image, a snapshot, a volume; what is copied stays while it is', async () => {
    const wish = { imageRef: s.imageId, name: 'boot' };
    const boot = await create(s.alice, wish);
    const shown = await show(s.alice, boot);
    assert.equal(shown.bootable, 'true');
    assert.equal(shown.volume_image_metadata.image_id, s.imageId);
    const items = (kind: string) => Object.fromEntries(Array.from({ length: 90 }, (_, n) => [`${kind} ${n}`, '']));
    const remember = async (kind: string) =>
      (await act(s.alice, boot, { 'os-set_image_metadata': { metadata: items(kind) } })).status;
    assert.deepEqual([await remember('one'), await remember('other')], [200, 413]);
    const snapshot = await snapshotOf(boot, { name: 'moment' });
    assert.equal((await s.alice('DELETE', `${V}/volumes/${boot}`)).status, 400);
    const copy = await create(s.alice, { snapshot_id: snapshot, size: null });
    const clone = await create(s.alice, { source_volid: boot, size: 3 });
    assert.equal((await show(s.alice, copy)).snapshot_id, snapshot);
    assert.deepEqual([(await show(s.alice, clone)).size, (await show(s.alice, clone)).bootable], [3, 'true']);
    const detail = (await s.alice('GET', `${V}/snapshots/detail?volume_id=${boot}`)).json.snapshots;
    assert.deepEqual([detail.length, detail[0]['os-extended-snapshot-attributes:progress']], [1, '100%']);
    assert.deepEqual((await kept(boot))?.snapshots, [snapshot]);
    const renamed = await s.alice('PUT', `${V}/snapshots/${snapshot}`, { snapshot: { name: 'other' } });
    assert.equal(renamed.json.snapshot.name, 'other');
    assert.equal((await s.alice('DELETE', `${V}/snapshots/${snapshot}`)).status, 202);
    await waitForVolume(s.alice, snapshot, 'gone', 'snapshot');
    assert.deepEqual((await kept(boot))?.snapshots, []);
    assert.equal((await s.alice('DELETE', `${V}/volumes/${boot}`)).status, 202);
    await waitForVolume(s.alice, boot, 'gone');
  });

  it('becomes an image, in either format, also while a server uses it, if that is forced', async () => {
    const id = await create(s.alice, { name: 'to go', imageRef: s.imageId });
    const upload = (wish: object, minor = 1) =>
      act(s.alice, id, { 'os-volume_upload_image': { image_name: 'gone', ...wish } }, minor);
    for (const [disk_format, minor] of [
      [undefined, 0],
      ['qcow2', 1],
    ] as const) {
      const answer = await upload({ ...(disk_format ? { disk_format } : {}) }, minor);
      assert.equal(answer.status, 202, answer.text);
      const shown = answer.json['os-volume_upload_image'];
      assert.deepEqual(
        [shown.id, shown.status, shown.size, shown.image_name, shown.disk_format, shown.container_format],
        [id, 'uploading', 1, 'gone', disk_format ?? 'raw', 'bare'],
      );
      const busy = await upload({ force: true }, minor);
      assert.equal(busy.status, 400, busy.text);
      assert.match(busy.json.badRequest.message, /status must be available or in-use$/);
      await waitForVolume(s.alice, id, 'available');
      const image = (await s.alice('GET', `/image/v2/images/${shown.image_id}`)).json;
      assert.deepEqual([image.status, image.visibility, image.owner], ['active', 'private', s.alice.projectId]);
      assert.equal((await s.mallory('GET', `/image/v2/images/${shown.image_id}`)).status, 404);
      await create(s.alice, { imageRef: image.id });
    }
    const refused: readonly (readonly [object, number, number])[] = [
      [{ visibility: 'private' }, 0, 400],
      [{ visibility: 'public' }, 1, 403],
      [{ disk_format: 'vmdk' }, 1, 400],
      [{ disk_format: 'zip' }, 1, 400],
      [{ container_format: 'compressed' }, 1, 400],
      [{ image_name: '' }, 1, 400],
    ];
    for (const [wish, minor, status] of refused) {
      assert.equal((await upload(wish, minor)).status, status, JSON.stringify(wish));
    }
    const theirs = await act(s.mallory, id, { 'os-volume_upload_image': { image_name: 'stolen' } });
    assert.equal(theirs.status, 404);

    const server = { name: 'user', flavorRef: '1', networks: [{ uuid: s.networkId }] };
    const root = { uuid: id, source_type: 'volume', destination_type: 'volume', boot_index: 0 };
    const made = await s.alice('POST', '/compute/v2.1/servers', {
      server: { ...server, block_device_mapping_v2: [root] },
    });
    assert.equal(made.status, 202, made.text);
    await waitFor(s.alice, made.json.server.id, ['ACTIVE']);
    assert.equal((await upload({})).status, 400);
    const forced = await upload({ force: 'True', protected: true });
    assert.equal(forced.status, 202, forced.text);
    await waitForVolume(s.alice, id, 'in-use');
    // Nobody else can have it for being called available.
    await act(s.admin, id, { 'os-reset_status': { status: 'available' } });
    assert.equal((await show(s.alice, id)).status, 'in-use');
    const { image_id } = forced.json['os-volume_upload_image'];
    const image = (await s.alice('GET', `/image/v2/images/${image_id}`)).json;
    assert.deepEqual([image.status, image.protected], ['active', true]);
    assert.equal((await s.alice('DELETE', `/compute/v2.1/servers/${made.json.server.id}`)).status, 204);
    await waitFor(s.alice, made.json.server.id, ['gone']);
  });

  it('grows, never shrinks', async () => {
    const id = await create(s.alice, { size: 2 });
    const refused = await act(s.alice, id, { 'os-extend': { new_size: 1 } });
    assert.deepEqual([refused.status, refused.json.badRequest.code], [400, 400]);
    assert.equal((await act(s.alice, id, { 'os-extend': { new_size: 5 } })).status, 202);
    await waitForVolume(s.alice, id, 'available');
    assert.equal((await show(s.alice, id)).size, 5);
    assert.equal((await kept(id))?.sizeBytes, 5 * 2 ** 30);
  });

  it('holds again what its latest snapshot does', async () => {
    const id = await create(s.alice);
    const revert = (snapshot_id: string | null, minor = 40, client = s.alice) =>
      act(client, id, { revert: { snapshot_id } }, minor);
    const said = async (answer: ReturnType<typeof revert>, status: number): Promise<string> => {
      const { status: got, json, text } = await answer;
      assert.equal(got, status, text);
      return (Object.values(json)[0] as { message: string }).message;
    };
    assert.equal(await said(revert(null), 400), `Volume ${id} doesn't have any snapshots.`);
    const [older, latest] = [await snapshotOf(id), await snapshotOf(id)];
    for (const wrong of [older, null]) {
      const words = `Specified snapshot ${wrong ?? 'None'} is None or not the latest one of volume ${id}.`;
      assert.equal(await said(revert(wrong), 400), words);
    }
    assert.match(await said(revert(latest, 39), 400), /no such action: revert/);
    assert.equal(await said(revert(latest, 40, s.mallory), 404), `Volume ${id} could not be found.`);
    const begin = `Can't revert volume ${id} to its latest snapshot ${latest}. `;
    const reset = (of: string, status: string) =>
      s.admin('POST', `${V}/${of}/action`, { 'os-reset_status': { status } });
    await reset(`volumes/${id}`, 'error');
    const volumeSaid = `Invalid volume: ${begin}Volume's status must be 'available'.`;
    assert.equal(await said(revert(latest), 409), volumeSaid);
    await reset(`volumes/${id}`, 'available');
    await reset(`snapshots/${latest}`, 'error');
    const snapshotSaid = `Invalid snapshot: ${begin}Snapshot's status must be 'available'.`;
    assert.equal(await said(revert(latest), 409), snapshotSaid);
    assert.equal((await show(s.alice, id)).status, 'available', 'nothing was written');
    await reset(`snapshots/${latest}`, 'available');
    assert.equal((await revert(latest)).status, 202);
    await waitForVolume(s.alice, id, 'available');
    await waitForVolume(s.alice, latest, 'available', 'snapshot');
    assert.deepEqual((await kept(id))?.snapshots.toSorted(), [older, latest].toSorted());
    assert.equal((await act(s.alice, id, { 'os-extend': { new_size: 2 } })).status, 202);
    await waitForVolume(s.alice, id, 'available');
    const sizes = `${begin}The volume size must be equal to the snapshot size.`;
    assert.equal(await said(revert(latest), 400), sizes);
  });

  it('has an image written over it', async () => {
    const id = await create(s.alice);
    const reimage = (image_id: string, client = s.alice, minor = 68) =>
      act(client, id, { 'os-reimage': { image_id, reimage_reserved: true } }, minor);
    const said = async (answer: ReturnType<typeof reimage>) => {
      const { status, json } = await answer;
      return [status, (Object.values(json)[0] as { message: string }).message];
    };
    const lost = newId();
    assert.deepEqual(await said(reimage(lost)), [404, `Image ${lost} could not be found.`]);
    assert.deepEqual(await said(reimage(s.imageId, s.alice, 67)), [400, 'There is no such action: os-reimage']);
    assert.equal((await reimage(s.imageId, s.mallory)).status, 404);
    assert.equal((await reimage(s.imageId, s.reader)).status, 403);
    const reset = (status: string) => act(s.admin, id, { 'os-reset_status': { status } });
    await reset('in-use');
    const words = `Invalid volume: Volume ${id} status must be available or error, but current status is in-use.`;
    assert.deepEqual(await said(reimage(s.imageId)), [400, words]);
    await reset('available');
    const before = await show(s.alice, id);
    assert.deepEqual([before.bootable, before.volume_image_metadata], ['false', undefined]);
    assert.equal((await reimage(s.imageId)).status, 202);
    await waitForVolume(s.alice, id, 'available');
    const after = await show(s.alice, id);
    assert.deepEqual([after.bootable, after.volume_image_metadata.image_id], ['true', s.imageId]);
    assert.deepEqual((await kept(id))?.snapshots, []);
  });

  it('refuses what cannot be, in words that say why', async () => {
    const wishes: readonly (readonly [object, number, RegExp])[] = [
      [{ size: 0 }, 400, /size/],
      [{ size: 'much' }, 400, /size/],
      [{ size: null }, 400, /Volume size 'None' must be an integer and greater than 0/],
      [{ colour: 'blue' }, 400, /'colour' was unexpected/],
      [{ availability_zone: 'moon' }, 400, /Availability zone 'moon' is invalid/],
      [{ volume_type: 'gold' }, 404, /Volume type gold could not be found/],
      [{ imageRef: '00000000-0000-4000-8000-000000000000' }, 400, /Invalid image identifier/],
      [{ snapshot_id: 'x' }, 404, /Snapshot x could not be found/],
      [{ source_volid: 'x', snapshot_id: 'y' }, 400, /made of one of/],
      [{ size: 1001 }, 413, /Requested 1001G, quota is 1000G and 0G has been consumed/],
    ];
    for (const [wish, status, sentence] of wishes) {
      const answer = await s.alice('POST', `${V}/volumes`, { volume: { size: 1, ...wish } });
      assert.equal(answer.status, status, `${JSON.stringify(wish)}: ${answer.text}`);
      assert.match(answer.text, sentence);
    }
    assert.deepEqual((await s.alice('GET', `${V}/volumes`)).json.volumes, []);
    const id = await create(s.alice);
    assert.match((await act(s.alice, id, { 'os-attach': {} })).text, /no such action: os-attach/);
    assert.equal((await s.alice('GET', `${V}/volumes`, undefined, 71)).status, 406);
    const reset = await act(s.admin, id, { 'os-reset_status': { status: 'error' } });
    assert.equal(reset.status, 202, reset.text);
    assert.match((await s.alice('POST', `${V}/snapshots`, { snapshot: { volume_id: id } })).text, /must be available/);
  });

  it('refuses booleans that are none', async () => {
    const id = await create(s.alice);
    const status = async (answer: ReturnType<typeof s.alice>) => (await answer).status;
    assert.equal(await status(act(s.alice, id, { 'os-set_bootable': { bootable: 'x' } })), 400);
    assert.equal(await status(act(s.alice, id, { 'os-set_bootable': { bootable: 'on' } })), 200);
    assert.equal(await status(act(s.admin, id, { 'os-reset_status': {} })), 400);
    assert.equal(await status(s.alice('DELETE', `${V}/volumes/${id}?cascade=x`)), 400);
    assert.equal(await status(s.admin('GET', `${V}/types?is_public=foo`)), 400);
    const type = { name: 'x', 'os-volume-type-access:is_public': 'x' };
    assert.equal(await status(s.admin('POST', `${V}/types`, { volume_type: type })), 400);
    const taken = (force: unknown) => s.alice('POST', `${V}/snapshots`, { snapshot: { volume_id: id, force } }, 66);
    for (const force of [false, 'no', 'x']) assert.equal(await status(taken(force)), 400, String(force));
  });

  it('private types, for the projects that they are open to', async () => {
    const wish = { name: 'private', 'os-volume-type-access:is_public': false };
    const { id } = (await s.admin('POST', `${V}/types`, { volume_type: wish })).json.volume_type;
    const volume = { volume: { size: 1, volume_type: id } };
    const open = (project: string, way = 'addProjectAccess') =>
      s.admin('POST', `${V}/types/${id}/action`, { [way]: { project } });
    const names = async (who: Client): Promise<string[]> =>
      (await who('GET', `${V}/types`)).json.volume_types.map((each: { name: string }) => each.name);
    assert.equal((await s.alice('POST', `${V}/volumes`, volume)).status, 404);
    assert.ok(!(await names(s.alice)).includes('private'));
    assert.ok(!(await names(s.admin)).includes('private'));
    for (const asked of ['None', 'false']) {
      const { volume_types } = (await s.admin('GET', `${V}/types?is_public=${asked}`)).json;
      assert.ok(
        volume_types.some((each: { name: string }) => each.name === 'private'),
        asked,
      );
    }
    assert.equal(
      (await s.alice('POST', `${V}/types/${id}/action`, { addProjectAccess: { project: 'x' } })).status,
      403,
    );
    assert.equal((await open(s.alice.projectId)).status, 202);
    assert.equal((await open(s.alice.projectId)).status, 409);
    assert.deepEqual((await s.admin('GET', `${V}/types/${id}/os-volume-type-access`)).json.volume_type_access, [
      { volume_type_id: id, project_id: s.alice.projectId },
    ]);
    assert.ok((await names(s.alice)).includes('private'));
    assert.ok(!(await names(s.mallory)).includes('private'));
    const made = await create(s.alice, { volume_type: id });
    assert.equal((await open(s.alice.projectId, 'removeProjectAccess')).status, 202);
    assert.equal((await open(s.alice.projectId, 'removeProjectAccess')).status, 404);
    assert.equal((await s.alice('POST', `${V}/volumes`, volume)).status, 404);
    assert.equal((await show(s.alice, made)).volume_type, 'private', 'what is there stays');
    assert.equal((await s.alice('DELETE', `${V}/volumes/${made}`)).status, 202);
    await s.admin('PUT', `${V}/types/${id}`, { volume_type: { is_public: true } });
    assert.equal((await open(s.alice.projectId)).status, 400);
    assert.equal((await s.admin('GET', `${V}/types/${id}/os-volume-type-access`)).status, 404);
  });

  it('volumes of another type from now on, where they are kept', async () => {
    const typed = async (name: string, extra_specs = {}) =>
      assert.equal((await s.admin('POST', `${V}/types`, { volume_type: { name, extra_specs } })).status, 200);
    await typed('fast');
    await typed('several', { multiattach: '<is> True' });
    await typed('elsewhere', { volume_backend_name: 'elsewhere' });
    const id = await create(s.alice);
    const retype = async (new_type: string) =>
      (await s.alice('POST', `${V}/volumes/${id}/action`, { 'os-retype': { new_type, migration_policy: 'never' } }))
        .status;
    assert.equal(await retype('fast'), 202);
    assert.equal(await retype('several'), 202);
    const now = await show(s.alice, id);
    assert.deepEqual([now.volume_type, now.multiattach], ['several', true]);
    for (const name of ['several', 'elsewhere', 'unheard of']) assert.equal(await retype(name), 400, name);
    assert.equal(
      (await s.mallory('POST', `${V}/volumes/${id}/action`, { 'os-retype': { new_type: 'fast' } })).status,
      404,
    );
    // What a server has does not change whether others can have it too.
    await s.admin('POST', `${V}/volumes/${id}/action`, { 'os-reset_status': { status: 'in-use' } });
    assert.equal(await retype('fast'), 400);
    await s.admin('POST', `${V}/volumes/${id}/action`, { 'os-reset_status': { status: 'available' } });
    assert.equal((await s.alice('DELETE', `${V}/volumes/${id}`)).status, 202);
  });

  it('types, with extra specs; multiattach is theirs to give, or asked for by the request', async () => {
    const made = await s.admin('POST', `${V}/types`, {
      volume_type: { name: 'shared', description: null, extra_specs: { multiattach: '<is> True', secret: 'x' } },
    });
    assert.equal(made.status, 200, made.text);
    const { id } = made.json.volume_type;
    assert.deepEqual((await s.alice('GET', `${V}/types/${id}`)).json.volume_type.extra_specs, {
      multiattach: '<is> True',
    });
    assert.equal((await s.alice('GET', `${V}/types/default`)).json.volume_type.name, '__DEFAULT__');
    const volume = await create(s.alice, { volume_type: 'shared' });
    assert.equal((await show(s.alice, volume)).multiattach, true);
    assert.equal((await show(s.alice, await create(s.alice, { multiattach: true }))).multiattach, true);
    assert.equal((await s.admin('DELETE', `${V}/types/${id}`)).status, 400);
    assert.equal((await s.admin('PUT', `${V}/types/${id}/extra_specs/secret`, { secret: 'y' })).status, 200);
    assert.equal((await s.admin('DELETE', `${V}/types/${id}/extra_specs/secret`)).status, 202);
    assert.deepEqual((await s.admin('GET', `${V}/types/${id}/extra_specs`)).json.extra_specs, {
      multiattach: '<is> True',
    });
    await s.alice('DELETE', `${V}/volumes/${volume}`);
    await waitForVolume(s.alice, volume, 'gone');
    assert.equal((await s.admin('DELETE', `${V}/types/${id}`)).status, 202);
  });

  it('quotas and limits count volumes, gigabytes and snapshots', async () => {
    const project = s.alice.projectId;
    const put = await s.admin('PUT', `${V}/os-quota-sets/${project}`, { quota_set: { volumes: 1, gigabytes: '3' } });
    assert.equal(put.status, 200, put.text);
    const id = await create(s.alice, { size: 2 });
    const second = await s.alice('POST', `${V}/volumes`, { volume: { size: 1 } });
    assert.equal(second.status, 413);
    assert.match(second.json.overLimit.message, /Maximum number of volumes allowed \(1\)/);
    assert.equal((await act(s.alice, id, { 'os-extend': { new_size: 4 } })).status, 413);
    // Compute has its own word for it.
    const blank = { source_type: 'blank', destination_type: 'volume', volume_size: 1 };
    const onDisk = { uuid: s.imageId, source_type: 'image', destination_type: 'local', boot_index: 0 };
    const server = { name: 'x', flavorRef: '1', imageRef: s.imageId, block_device_mapping_v2: [onDisk, blank] };
    const over = await s.alice('POST', '/compute/v2.1/servers', { server });
    assert.equal(over.status, 403, over.text);
    assert.match(over.json.forbidden.message, /Maximum number of volumes allowed/);
    const { quota_set } = (await s.alice('GET', `${V}/os-quota-sets/${project}?usage=True`)).json;
    assert.deepEqual(
      [quota_set.gigabytes, quota_set.volumes],
      [
        { limit: 3, in_use: 2, reserved: 0 },
        { limit: 1, in_use: 1, reserved: 0 },
      ],
    );
    const { absolute } = (await s.alice('GET', `${V}/limits`)).json.limits;
    assert.deepEqual([absolute.totalGigabytesUsed, absolute.maxTotalVolumes], [2, 1]);
    const proxied = await s.alice('POST', '/compute/v2.1/os-volumes', { volume: { size: 1 } });
    assert.equal(proxied.status, 403, proxied.text);
    assert.match(proxied.json.forbidden.message, /Maximum number of volumes allowed \(1\)/);
    await s.admin('PUT', `${V}/os-quota-sets/${project}`, { quota_set: { snapshots: 0, backups: 41 } });
    assert.equal((await s.alice('GET', `${V}/os-quota-sets/${project}`)).json.quota_set.backups, 41);
    const snapshot = await s.alice('POST', '/compute/v2.1/os-snapshots', { snapshot: { volume_id: id } });
    const said = snapshot.json.forbidden?.message;
    assert.deepEqual([snapshot.status, said], [403, 'Quota exceeded for resources: snapshots']);
    assert.equal((await s.alice('PUT', `${V}/os-quota-sets/${project}`, { quota_set: { volumes: 5 } })).status, 403);
    assert.equal((await s.mallory('GET', `${V}/os-quota-sets/${project}`)).status, 403);
    assert.equal((await s.admin('DELETE', `${V}/os-quota-sets/${project}`)).status, 200);
    assert.equal((await s.alice('GET', `${V}/os-quota-sets/${project}`)).json.quota_set.volumes, 10);
  });

  it('in Nova’s old words, until 2.35; what Nova has taken away is gone', async () => {
    const C = '/compute/v2.1';
    const call = (method: string, path: string, body?: unknown, minor = 1, client = s.alice) =>
      client(method, `${C}${path}`, body, minor);
    const made = await call('POST', '/os-volumes', {
      volume: { size: '1', display_name: 'old', metadata: { a: 'b' } },
    });
    assert.equal(made.status, 200, made.text);
    const { id } = made.json.volume;
    await waitForVolume(s.alice, id, 'available');
    const shown = (await call('GET', `/os-volumes/${id}`)).json.volume;
    assert.deepEqual([shown.displayName, shown.metadata, shown.attachments], ['old', { a: 'b' }, [{}]]);
    for (const size of ['0', '#', '', undefined]) {
      assert.equal((await call('POST', '/os-volumes', { volume: { size, display_name: 'x' } })).status, 400);
    }
    await create(s.alice, { name: 'second' });
    const names = async (path: string) =>
      (await call('GET', path)).json.volumes.map((each: { displayName: string }) => each.displayName);
    assert.deepEqual(await names('/os-volumes?limit=1&offset=1'), ['old']);
    assert.deepEqual(await names('/os-volumes/detail'), ['second', 'old']);
    assert.equal((await call('GET', `/os-volumes/${id}`, undefined, 36)).status, 404);
    assert.equal((await call('GET', `/os-volumes/${id}`, undefined, 1, s.mallory)).status, 404);
    assert.deepEqual((await call('GET', '/os-volumes', undefined, 1, s.mallory)).json.volumes, []);

    const wish = { volume_id: id, display_name: 'then', force: 'False' };
    const taken = (await call('POST', '/os-snapshots', { snapshot: wish })).json.snapshot;
    await waitForVolume(s.alice, taken.id, 'available', 'snapshot');
    assert.equal((await call('GET', `/os-snapshots/${taken.id}`)).json.snapshot.displayName, 'then');
    assert.equal((await call('GET', '/os-snapshots/detail')).json.snapshots.length, 1);
    assert.equal((await call('DELETE', `/os-snapshots/${taken.id}`, undefined, 1, s.mallory)).status, 404);
    assert.equal((await call('DELETE', `/os-snapshots/${taken.id}`)).status, 202);
    await waitForVolume(s.alice, taken.id, 'gone', 'snapshot');
    assert.equal((await call('DELETE', `/os-volumes/${id}`)).status, 202);
    await waitForVolume(s.alice, id, 'gone');

    assert.equal((await call('GET', '/os-cloudpipe')).status, 410);
    assert.equal((await call('POST', `/servers/${id}/consoles`, {})).status, 410);
    assert.deepEqual((await call('GET', '/os-volumes_boot/detail?limit=1')).json.servers, []);
    for (const method of ['GET', 'DELETE']) assert.equal((await call(method, '/os-volumes/')).status, 404);
  });

  it('lists of what there is not are there, and empty', async () => {
    const forAll = ['backups', 'backups/detail', 'consistencygroups', 'cgsnapshots/detail', 'messages', 'group_types'];
    const forAdmins = ['clusters', 'qos-specs', 'default-types'];
    for (const path of [...forAll, 'groups/detail', 'group_snapshots', ...forAdmins]) {
      const key = path.replace('/detail', '').replace('-', '_');
      const list = (who: typeof s.alice) => who('GET', `${V}/${path}?limit=10&all_tenants=1&sort=name`, undefined, 70);
      assert.deepEqual((await list(s.admin)).json, { [key]: [] });
      assert.equal((await list(s.alice)).status, forAdmins.includes(path) ? 403 : 200, path);
    }
    assert.deepEqual((await s.alice('GET', `${V}/${s.alice.projectId}/backups`)).json, { backups: [] });
    assert.equal((await s.alice('GET', `${V}/groups`, undefined, 12)).status, 404);
  });

  it('storage hosts as services, pools and zones; versions and catalog', async () => {
    const { services } = (await s.admin('GET', `${V}/os-services`)).json;
    assert.deepEqual([services.length, services[0].host, services[0].state], [1, 'storage1@crosscell', 'up']);
    const filters = (await s.alice('GET', `${V}/resource_filters?resource=snapshot`, undefined, 33)).json;
    const ofSnapshots = ['project_id', 'user_id', 'name', 'status', 'volume_id', 'availability_zone', 'metadata'];
    assert.deepEqual(filters.resource_filters, [{ resource: 'snapshot', filters: [...ofSnapshots, 'consumes_quota'] }]);
    assert.equal((await s.alice('GET', `${V}/resource_filters`, undefined, 32)).status, 404);
    const pools = (await s.admin('GET', `${V}/scheduler-stats/get_pools?detail=True`)).json.pools;
    assert.equal(pools[0].capabilities.volume_backend_name, 'storage1');
    const { storage } = (await s.admin('GET', '/crosscell/v1/storage')).json;
    assert.deepEqual(
      [storage.length, storage[0].name, storage[0].up, storage[0].driver],
      [1, 'storage1', true, 'simulated'],
    );
    const off = await s.admin('PUT', `${V}/os-services/disable`, { host: 'storage1', binary: 'cinder-volume' });
    assert.equal(off.json.status, 'disabled');
    assert.equal((await s.alice('POST', `${V}/volumes`, { volume: { size: 1 } })).status, 503);
    assert.equal(
      (await s.alice('GET', `${V}/os-availability-zone`)).json.availabilityZoneInfo[0].zoneState.available,
      false,
    );
    await s.admin('PUT', `${V}/os-services/enable`, { host: 'storage1@crosscell#storage1' });
    const versions = await s.raw('/volume/', {});
    assert.deepEqual([versions.status, versions.json.versions[0].version], [300, '3.70']);
    assert.equal((await s.raw(`/volume/v3/${s.alice.projectId}/`, {})).status, 200);
    const asked = await s.alice('GET', `${V}/volumes`, undefined, 'latest');
    assert.equal(asked.headers.get('openstack-api-version'), 'volume 3.70');
    const { catalog } = (await s.alice('GET', '/identity/v3/auth/catalog')).json;
    const entry = catalog.find((each: { type: string }) => each.type === 'volumev3');
    assert.match(entry.endpoints[0].url, new RegExp(`/volume/v3/${s.alice.projectId}$`));
  });
});

/** Waits until the volume or snapshot has the status. */
async function waitForVolume(client: Client, id: string, status: string, kind = 'volume'): Promise<void> {
  const end = Date.now() + 20_000;
  for (;;) {
    const answer = await client('GET', `${V}/${kind}s/${id}`);
    const now = answer.status === 404 ? 'gone' : answer.json[kind].status;
    if (now === status) return;
    if (Date.now() > end) throw new Error(`${kind} ${id} is ${now}, not ${status}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
