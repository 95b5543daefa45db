import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type TestSystem, testSystem, waitFor } from './system.ts';

const C = '/compute/v2.1';
const V = '/volume/v3';
const NOBODY = '00000000-0000-4000-8000-000000000000';

describe('servers and their volumes over the API, on simulated hosts', () => {
  let s: TestSystem;
  before(async () => {
    s = await testSystem();
  });
  after(() => s[Symbol.asyncDispose]());

  const newVolume = async (wish: object = {}): Promise<string> => {
    const answer = await s.alice('POST', `${V}/volumes`, { volume: { size: 1, ...wish } });
    assert.equal(answer.status, 202, answer.text);
    await volumeIs(answer.json.volume.id, 'available');
    return answer.json.volume.id;
  };
  const volumeIs = async (id: string, status: string): Promise<void> => {
    const end = Date.now() + 20_000;
    for (;;) {
      const answer = await s.alice('GET', `${V}/volumes/${id}`);
      const now = answer.status === 404 ? 'gone' : answer.json.volume.status;
      if (now === status) return;
      if (Date.now() > end) throw new Error(`volume ${id} is ${now}, not ${status}`);
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  };
  const newServer = async (wish: object, minor = 1): Promise<string> => {
    const server = { name: 'one', flavorRef: '1', networks: [{ uuid: s.networkId }], ...wish };
    const answer = await s.alice('POST', `${C}/servers`, { server }, minor);
    assert.equal(answer.status, 202, answer.text);
    assert.equal(await waitFor(s.alice, answer.json.server.id, ['ACTIVE', 'ERROR']), 'ACTIVE');
    return answer.json.server.id;
  };
  const show = async (id: string, minor = 1) =>
    (await s.alice('GET', `${C}/servers/${id}`, undefined, minor)).json.server;
  const active = async (id: string) => {
    for (const end = Date.now() + 20_000; ; ) {
      const image = (await s.alice('GET', `/image/v2/images/${id}`)).json;
      if (image.status === 'active') return image;
      if (Date.now() > end) throw new Error(`image ${id} is ${image.status}`);
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  };
  const remove = async (id: string): Promise<void> => {
    assert.equal((await s.alice('DELETE', `${C}/servers/${id}`)).status, 204);
    await waitFor(s.alice, id, ['gone']);
  };

  it('attaches, shows, changes and detaches a volume', async () => {
    const [server, volume] = [await newServer({ imageRef: s.imageId }), await newVolume()];
    const url = `${C}/servers/${server}/os-volume_attachments`;
    const attached = await s.alice('POST', url, { volumeAttachment: { volumeId: volume } }, 79);
    assert.equal(attached.status, 200, attached.text);
    assert.deepEqual(attached.json.volumeAttachment, {
      ...{ id: volume, volumeId: volume, serverId: server, device: '/dev/vdb', tag: null },
      delete_on_termination: false,
    });
    await volumeIs(volume, 'in-use');
    const { volumeAttachments } = (await s.alice('GET', url)).json;
    assert.deepEqual(volumeAttachments, [{ id: volume, volumeId: volume, serverId: server, device: '/dev/vdb' }]);
    const newest = (await s.alice('GET', `${url}/${volume}`, undefined, 89)).json.volumeAttachment;
    assert.equal(newest.id, undefined);
    const seen = (await s.alice('GET', `${V}/volumes/${volume}`)).json.volume;
    assert.deepEqual(
      seen.attachments.map(({ attached_at, ...rest }: { attached_at: string }) => rest),
      [
        {
          ...{ id: volume, volume_id: volume, server_id: server, attachment_id: newest.attachment_id },
          ...{ host_name: null, device: '/dev/vdb' },
        },
      ],
    );
    const attachment = await s.alice('GET', `${V}/attachments/${newest.attachment_id}`, undefined, 27);
    assert.equal(attachment.json.attachment.instance, server);
    assert.equal((await s.mallory('GET', `${V}/attachments/${newest.attachment_id}`, undefined, 27)).status, 404);
    assert.deepEqual((await show(server))['os-extended-volumes:volumes_attached'], [{ id: volume }]);

    const put = await s.alice(
      'PUT',
      `${url}/${volume}`,
      { volumeAttachment: { volumeId: volume, delete_on_termination: true } },
      85,
    );
    assert.equal(put.status, 202, put.text);
    assert.deepEqual((await show(server, 3))['os-extended-volumes:volumes_attached'], [
      { id: volume, delete_on_termination: true },
    ]);
    assert.equal((await s.alice('DELETE', `${V}/volumes/${volume}`)).status, 400);
    const second = await s.alice('POST', url, { volumeAttachment: { volumeId: volume } });
    assert.equal(second.status, 400, second.text);
    // Half-way through a detach: the server has forgotten the volume, which is nobody else's yet.
    const home = (row: { readonly server_id: string }): boolean => row.server_id === server;
    const homes = await s.system.stores.global.selectFrom('server_mappings').selectAll().execute();
    const cell = await s.system.stores.cell(homes.find(home)?.cell_id ?? '');
    const rows = await cell.selectFrom('block_device_mappings').selectAll().where('server_id', '=', server).execute();
    await cell.deleteFrom('block_device_mappings').where('server_id', '=', server).execute();
    const leaving = (await s.alice('GET', url)).json.volumeAttachments;
    assert.deepEqual(leaving, [{ id: volume, volumeId: volume, serverId: server, device: null }]);
    await cell.insertInto('block_device_mappings').values(rows).execute();
    assert.equal((await s.alice('DELETE', `${url}/${volume}`)).status, 202);
    await volumeIs(volume, 'available');
    assert.equal((await s.alice('DELETE', `${url}/${volume}`)).status, 404);
    await remove(server);
    assert.equal((await s.alice('DELETE', `${V}/volumes/${volume}`)).status, 202);
  });

  it('gives several servers a volume that is made for that, from 2.60 on', async () => {
    const shared = await newVolume({ multiattach: true });
    const one = await newServer({ imageRef: s.imageId });
    const attach = (minor: number) =>
      s.alice('POST', `${C}/servers/${one}/os-volume_attachments`, { volumeAttachment: { volumeId: shared } }, minor);
    const early = await attach(59);
    assert.match(early.json.badRequest.message, /^Multiattach volumes are only supported starting with .* 2.60.$/);
    assert.equal((await attach(60)).status, 200);
    const device = { uuid: shared, source_type: 'volume', destination_type: 'volume' };
    const onDisk = { uuid: s.imageId, source_type: 'image', destination_type: 'local', boot_index: 0 };
    const server = { name: 'two', flavorRef: '1', networks: [{ uuid: s.networkId }], imageRef: s.imageId };
    const wish = { server: { ...server, block_device_mapping_v2: [onDisk, device] } };
    assert.equal((await s.alice('POST', `${C}/servers`, wish, 59)).status, 400);
    const two = await s.alice('POST', `${C}/servers`, wish, 60);
    assert.equal(two.status, 202, two.text);
    await waitFor(s.alice, two.json.server.id, ['ACTIVE']);
    assert.equal((await s.alice('GET', `${V}/volumes/${shared}`)).json.volume.attachments.length, 2);
    const snapshot = { volume_id: shared, force: true };
    assert.equal((await s.alice('POST', `${V}/snapshots`, { snapshot })).status, 202);
    for (const id of [one, two.json.server.id]) await remove(id);
    await volumeIs(shared, 'available');
    assert.equal((await s.alice('DELETE', `${V}/volumes/${shared}?cascade=true`)).status, 202);
  });

  it("does not attach another project's volume, nor to another project's server", async () => {
    const [server, volume] = [await newServer({ imageRef: s.imageId }), await newVolume()];
    const foreign = await s.mallory('POST', `${V}/volumes`, { volume: { size: 1 } });
    const url = `${C}/servers/${server}/os-volume_attachments`;
    const stolen = await s.alice('POST', url, { volumeAttachment: { volumeId: foreign.json.volume.id } });
    assert.equal(stolen.status, 404, stolen.text);
    assert.equal((await s.mallory('POST', url, { volumeAttachment: { volumeId: volume } })).status, 404);
    assert.equal((await s.mallory('GET', url)).status, 404);
    assert.equal((await s.reader('POST', url, { volumeAttachment: { volumeId: volume } })).status, 403);
    await remove(server);
  });

  it('boots from a volume that is made of an image, and keeps it through a resize and its revert', async () => {
    const device = {
      uuid: s.imageId,
      boot_index: '0',
      source_type: 'image',
      destination_type: 'volume',
      volume_size: 1,
    };
    const data = await newVolume();
    const id = await newServer({
      imageRef: '',
      block_device_mapping_v2: [
        { ...device, delete_on_termination: true },
        { uuid: data, source_type: 'volume', destination_type: 'volume', boot_index: -1 },
      ],
    });
    const server = await show(id, 3);
    assert.equal(server.image, '');
    const volumes = server['os-extended-volumes:volumes_attached'];
    assert.equal(volumes.length, 2);
    const root = volumes.find((each: { delete_on_termination: boolean }) => each.delete_on_termination).id;
    const shown = (await s.alice('GET', `${V}/volumes/${root}`)).json.volume;
    assert.deepEqual([shown.status, shown.bootable, shown.attachments[0].device], ['in-use', 'true', '/dev/vda']);
    const url = `${C}/servers/${id}/os-volume_attachments/${root}`;
    assert.equal((await s.alice('DELETE', url)).status >= 400, true);

    const act = (body: object) => s.alice('POST', `${C}/servers/${id}/action`, body);
    for (const end of ['revertResize', 'confirmResize']) {
      assert.equal((await act({ resize: { flavorRef: end === 'revertResize' ? '3' : '2' } })).status, 202);
      await waitFor(s.alice, id, ['VERIFY_RESIZE']);
      assert.ok([202, 204].includes((await act({ [end]: null })).status));
      await waitFor(s.alice, id, ['ACTIVE']);
      assert.equal((await show(id))['os-extended-volumes:volumes_attached'].length, 2);
    }
    await remove(id);
    await volumeIs(root, 'gone');
    await volumeIs(data, 'available');
  });

  it('boots from an existing volume, by the newer and the older words', async () => {
    const first = await newVolume({ imageRef: s.imageId });
    const one = await newServer({
      block_device_mapping_v2: [{ uuid: first, source_type: 'volume', destination_type: 'volume', boot_index: 0 }],
    });
    await volumeIs(first, 'in-use');
    await remove(one);
    await volumeIs(first, 'available');
    const two = await newServer({ block_device_mapping: [{ volume_id: first, device_name: 'vda' }] });
    await volumeIs(first, 'in-use');
    await remove(two);
    await volumeIs(first, 'available');
  });

  it('becomes an image without data, of which servers with volumes like its own are made', async () => {
    const device = { source_type: 'image', uuid: s.imageId, destination_type: 'volume', volume_size: 1 };
    const data = { source_type: 'blank', destination_type: 'volume', volume_size: 1, delete_on_termination: true };
    const id = await newServer({
      block_device_mapping_v2: [{ ...device, boot_index: 0, delete_on_termination: true }, data],
    });
    const act = (body: object, minor = 45) => s.alice('POST', `${C}/servers/${id}/action`, body, minor);
    const backup = await act({ createBackup: { name: 'b', backup_type: 'daily', rotation: 1 } });
    assert.equal(backup.json.badRequest.message, 'Backup is not supported for volume-backed instances.');
    const made = await act({ createImage: { name: 'all of it', metadata: { colour: 'blue' } } });
    assert.equal(made.status, 202, made.text);
    const imageId: string = made.json.image_id;
    const image = await active(imageId);
    assert.deepEqual([image.size, image.disk_format, image.container_format], [0, 'qcow2', 'bare']);
    assert.deepEqual([image.bdm_v2, image.root_device_name, image.colour], ['True', '/dev/vda', 'blue']);
    const mapping = JSON.parse(image.block_device_mapping) as Record<string, unknown>[];
    assert.deepEqual(
      mapping.map((each) => [each['source_type'], each['boot_index'], each['device_name'], each['volume_size']]),
      [
        ['snapshot', 0, '/dev/vda', 1],
        ['snapshot', null, '/dev/vdb', 1],
      ],
    );
    const { snapshots } = (await s.alice('GET', `${V}/snapshots/detail`)).json;
    assert.deepEqual(
      snapshots
        .map((each: { id: string; status: string; name: string }) => [each.id, each.status, each.name])
        .toSorted(),
      mapping.map((each) => [each['snapshot_id'], 'available', 'snapshot for all of it']).toSorted(),
    );
    assert.equal((await s.alice('GET', `/image/v2/images/${imageId}/file`)).text, '');
    const { actions } = {
      actions: (await s.alice('GET', `${C}/servers/${id}/os-instance-actions`)).json.instanceActions,
    };
    assert.equal(actions[0].action, 'createImage');

    // Clients say twice that it is the image that they mean; and of one of its devices, that they do not want it.
    const onDisk = { source_type: 'image', uuid: imageId, destination_type: 'local', boot_index: 0 };
    const without = { device_name: '/dev/vdb', no_device: true };
    for (const [devices, count] of [
      [[], 2],
      [[onDisk], 2],
      [[without], 1],
    ] as const) {
      const mappings = devices.length === 0 ? {} : { block_device_mapping_v2: devices };
      const other = await newServer({ imageRef: imageId, ...mappings });
      const server = await show(other);
      assert.equal(server.image.id, imageId);
      const volumes: readonly { id: string }[] = server['os-extended-volumes:volumes_attached'];
      assert.equal(volumes.length, count);
      const root = (await s.alice('GET', `${V}/volumes/${volumes[0]?.id}`)).json.volume;
      assert.deepEqual([root.snapshot_id, root.attachments[0].device], [mapping[0]?.['snapshot_id'], '/dev/vda']);
      await remove(other);
    }

    // One snapshot too few: nothing is made.
    const quota = `${V}/os-quota-sets/${s.alice.projectId}`;
    assert.equal((await s.admin('PUT', quota, { quota_set: { snapshots: 3 } })).status, 200);
    const over = await act({ createImage: { name: 'too much' } });
    assert.deepEqual([over.status, over.json.forbidden?.message], [403, 'Quota exceeded for resources: snapshots']);
    assert.equal((await s.alice('GET', `${V}/snapshots`)).json.snapshots.length, 2);
    assert.deepEqual((await s.alice('GET', '/image/v2/images?name=too%20much')).json.images, []);
    await remove(id);
    for (const { id: snapshot } of snapshots) {
      assert.equal((await s.alice('DELETE', `${V}/snapshots/${snapshot}`)).status, 202);
    }
  });

  it('is rebuilt with its root volume as it is, from 2.93 on with that written anew', async () => {
    const root = { source_type: 'blank', destination_type: 'volume', volume_size: 1, boot_index: 0 };
    const id = await newServer({ block_device_mapping_v2: [{ ...root, delete_on_termination: true }] });
    const rebuild = (minor: number) =>
      s.alice('POST', `${C}/servers/${id}/action`, { rebuild: { imageRef: s.imageId } }, minor);
    const other = await rebuild(92);
    assert.equal(other.status, 400, other.text);
    assert.match(other.json.badRequest.message, /different image for a volume-backed server/);
    const anew = await rebuild(93);
    assert.deepEqual([anew.status, anew.json?.server?.image], [202, ''], anew.text);
    await waitFor(s.alice, id, ['ACTIVE']);
    const [{ id: volume }] = (await show(id))['os-extended-volumes:volumes_attached'];
    await volumeIs(volume, 'in-use');
    const { bootable, volume_image_metadata: image } = (await s.alice('GET', `${V}/volumes/${volume}`)).json.volume;
    assert.deepEqual([bootable, image.image_id], ['true', s.imageId]);
    assert.equal((await rebuild(92)).status, 202, 'it is its own image now');
    await waitFor(s.alice, id, ['ACTIVE']);
    await remove(id);
  });

  it('does not believe what an image says of its disks', async () => {
    const said: readonly string[] = [
      ...[
        '',
        'x',
        '1',
        'null',
        '{}',
        '[1]',
        '[{"source_type":"file"}]',
        '[{"boot_index":"one","source_type":"blank"}]',
      ],
      ...['[{"source_type":"snapshot","destination_type":"volume","boot_index":0}]', '['.repeat(16_000)],
      `[{"source_type":"volume","destination_type":"volume","boot_index":0,"volume_id":"${NOBODY}"}]`,
      `[${'{"source_type":"blank","destination_type":"volume","volume_size":1},'.repeat(30)}{}]`,
    ];
    const wish = { name: 'liar', disk_format: 'raw', container_format: 'bare', bdm_v2: 'True' };
    for (const block_device_mapping of said) {
      const image = (await s.alice('POST', '/image/v2/images', { ...wish, block_device_mapping })).json;
      const server = { name: 'one', flavorRef: '1', networks: [{ uuid: s.networkId }], imageRef: image.id };
      const answer = await s.alice('POST', `${C}/servers`, { server });
      assert.equal(answer.status, 400, `${block_device_mapping.slice(0, 80)}: ${answer.text}`);
      assert.equal((await s.alice('DELETE', `/image/v2/images/${image.id}`)).status, 204);
    }
    const long = await s.alice('POST', '/image/v2/images', { ...wish, block_device_mapping: 'x'.repeat(16_385) });
    assert.equal(long.status, 400);
  });

  it('boots from a volume that its mappings name first, and says which image was named beside', async () => {
    const root = { source_type: 'blank', destination_type: 'volume', volume_size: '1', boot_index: '0' };
    const more = { ...root, boot_index: '1', delete_on_termination: 'true' };
    const id = await newServer({
      imageRef: s.imageId,
      block_device_mapping_v2: [{ ...root, delete_on_termination: 'true' }, more],
    });
    const server = await show(id);
    assert.equal(server.image.id, s.imageId);
    assert.equal(server['os-extended-volumes:volumes_attached'].length, 2);
    const listed = await s.alice('GET', `${C}/servers?image=${s.imageId}`);
    assert.deepEqual(
      listed.json.servers.map((each: { id: string }) => each.id),
      [id],
    );
    await remove(id);
  });

  it('refuses block devices that make no sense, in Nova’s words', async () => {
    const volume = await newVolume();
    const image = { uuid: s.imageId, source_type: 'image', destination_type: 'volume', boot_index: 0 };
    const blank = { source_type: 'blank', destination_type: 'volume' };
    const local = { source_type: 'blank', destination_type: 'local' };
    const onDisk = { uuid: s.imageId, source_type: 'image', destination_type: 'local', boot_index: 0 };
    const refused: readonly (readonly [object, RegExp])[] = [
      [{}, /Missing imageRef attribute/],
      [{ block_device_mapping_v2: [image] }, /need to have a non-zero size specified/],
      [{ block_device_mapping_v2: [{ ...image, volume_size: 'much' }] }, /volume_size/],
      [{ block_device_mapping_v2: [{ ...image, device_name: '/dev/vda; rm' }] }, /device_name/],
      [{ block_device_mapping_v2: [{ ...image, volume_size: 1, disk_bus: 'ide' }] }, /the disk bus ide is not there/],
      [{ block_device_mapping: [{ volume_id: volume, device_name: 'v da' }] }, /device_name/],
      [{ block_device_mapping_v2: [{ ...blank, volume_size: 1 }] }, /Boot sequence for the instance/],
      [{ imageRef: s.imageId, block_device_mapping_v2: [onDisk, blank] }, /Blank volumes/],
      // The newer words say all there is: an image that is only named is not booted from.
      [{ imageRef: s.imageId, block_device_mapping_v2: [{ ...blank, volume_size: 1 }] }, /Boot sequence/],
      [{ imageRef: s.imageId, block_device_mapping_v2: [onDisk, { ...image, volume_size: 1 }] }, /Boot sequence/],
      [{ block_device_mapping_v2: [{ ...blank, volume_size: 1, boot_index: 1 }] }, /Boot sequence/],
      [{ block_device_mapping_v2: [onDisk] }, /Mapping image to local is not supported/],
      [{ block_device_mapping_v2: [{ ...blank, uuid: volume, volume_size: 1 }] }, /Invalid device UUID/],
      [{ imageRef: s.imageId, block_device_mapping_v2: [onDisk, { ...local, volume_size: 1 }] }, /Ephemeral disks/],
      [
        { imageRef: s.imageId, block_device_mapping_v2: [onDisk, { ...local, volume_size: 1, guest_format: 'swap' }] },
        /Swap drive/,
      ],
      [{ imageRef: s.imageId, block_device_mapping_v2: [onDisk, local, local, local] }, /more local devices/],
      [
        { imageRef: s.imageId, block_device_mapping_v2: [onDisk, { ...blank, volume_size: 1, device_name: 'vda' }] },
        /same device name as the root device vda/,
      ],
      [{ block_device_mapping_v2: [{ ...image, uuid: NOBODY, volume_size: 1 }] }, /failed to get image 00000000-/],
      [
        { block_device_mapping_v2: [{ ...image, source_type: 'snapshot', uuid: NOBODY }] },
        /failed to get snapshot 00000000-/,
      ],
      [
        { block_device_mapping_v2: [{ ...image, source_type: 'volume', uuid: NOBODY }] },
        /failed to get volume 00000000-/,
      ],
      [{ max_count: 2, block_device_mapping: [{ volume_id: volume, device_name: 'vda' }] }, /to multiple instances/],
      [{ block_device_mapping_v2: [{ ...image, uuid: null, volume_size: 1 }] }, /Missing device UUID/],
      [
        {
          block_device_mapping_v2: [{ uuid: volume, source_type: 'volume', destination_type: 'volume', boot_index: 0 }],
        },
        /not bootable/,
      ],
      [
        { block_device_mapping_v2: [image], block_device_mapping: [{ volume_id: volume }] },
        /different block_device_mapping syntaxes/,
      ],
      [{ block_device_mapping_v2: [{ ...image, colour: 'blue' }] }, /'colour' was unexpected/],
    ];
    for (const [wish, sentence] of refused) {
      const server = { name: 'one', flavorRef: '1', networks: [{ uuid: s.networkId }], ...wish };
      const answer = await s.alice('POST', `${C}/servers`, { server });
      assert.equal(answer.status, 400, `${JSON.stringify(wish)}: ${answer.text}`);
      assert.match(answer.json.badRequest.message, sentence);
    }
    assert.deepEqual((await s.alice('GET', `${C}/servers`)).json.servers, []);
  });
});
