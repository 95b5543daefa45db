// The scenes of a resize on real services alone, with volumes of a Cinder: boot from one, attach another, cross between cells and confirm,
// cross back and revert, detach, delete; at each rest Cinder has one connection of each volume, from the guest's host.
// Runs where a Keystone is named (real.ts), with volumes of the type that CROSSCELL_TEST_VOLUME_TYPE names: one whose
// backend serves files over NFS.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Type } from 'typebox';
import { neutronOf } from '../../src/openstack/neutron.ts';
import type { Session } from '../../src/openstack/session.ts';
import { type RealSystem, realSystem, skip } from './real.ts';

const SERVICES = ['identity', 'image', 'network', 'volume'] as const;
const headers = { 'openstack-api-version': 'volume 3.54' };

const Volume = Type.Object({
  volume: Type.Object({
    id: Type.String(),
    status: Type.String(),
    attachments: Type.Array(Type.Object({ host_name: Type.String(), server_id: Type.String() })),
  }),
});
const Attachments = Type.Object({ attachments: Type.Array(Type.Object({ id: Type.String() })) });

/** Volumes that are there for one test. */
class Cinder implements AsyncDisposable {
  readonly #session: Session;
  readonly #made: string[] = [];

  constructor(session: Session) {
    this.#session = session;
  }

  async make(): Promise<string> {
    const volume_type = process.env['CROSSCELL_TEST_VOLUME_TYPE'];
    const body = { volume: { name: 'crosscell-test', size: 1, ...(volume_type === undefined ? {} : { volume_type }) } };
    const said = await this.#session.ask(Volume, { ...POST, path: '/volumes', body });
    assert.ok(said.kind === 'ok', JSON.stringify(said));
    const { id } = said.body.volume;
    this.#made.push(id);
    await this.reach(id, 'available');
    return id;
  }

  /** Waits for that status, for a minute, and answers from which hosts it is connected. */
  async reach(id: string, status: string): Promise<string[]> {
    let seen = '';
    for (const end = Date.now() + 60_000; Date.now() < end; await delay(300)) {
      const said = await this.#session.ask(Volume, { ...GET, path: `/volumes/${id}` });
      assert.ok(said.kind === 'ok', JSON.stringify(said));
      seen = said.body.volume.status;
      if (seen === status) return said.body.volume.attachments.map((each) => each.host_name);
    }
    return assert.fail(`volume ${id} is ${seen}, not ${status}`);
  }

  async attachmentsOf(serverId: string): Promise<number> {
    const path = `/attachments?all_tenants=1&instance_id=${serverId}`;
    const said = await this.#session.ask(Attachments, { ...GET, path });
    assert.ok(said.kind === 'ok', JSON.stringify(said));
    return said.body.attachments.length;
  }

  async act(id: string, body: object): Promise<void> {
    const said = await this.#session.ask(null, { ...POST, path: `/volumes/${id}/action`, body });
    assert.ok(said.kind === 'ok', JSON.stringify(said));
  }

  async [Symbol.asyncDispose]() {
    for (const id of this.#made) await this.#session.ask(null, { ...GET, method: 'DELETE', path: `/volumes/${id}` });
  }
}
const GET = { service: 'block-storage', method: 'GET', headers } as const;
const POST = { service: 'block-storage', method: 'POST', headers } as const;

const hostOf = (server: Record<string, unknown>): unknown => server['OS-EXT-SRV-ATTR:host'];

async function parts(real: RealSystem) {
  const { flavors } = await real.call('GET', '/compute/v2.1/flavors');
  const flavorRef = (name: string): string => flavors.find((each: { name: string }) => each.name === name).id;
  return { small: flavorRef('m1.tiny'), medium: flavorRef('m1.small'), large: flavorRef('m1.medium') };
}

test("a server with volumes of Cinder's crosses between cells, forth and back, and leaves nothing there", {
  skip,
}, async () => {
  await using real = await realSystem(SERVICES);
  const { call, reach, gone } = real;
  await using cinder = new Cinder(real.session);
  const { small, medium, large } = await parts(real);
  const neutron = neutronOf(real.session);
  const network = (await neutron.networks()).find((each) => each.shared && !each['router:external']);
  assert.ok(network, 'Neutron has no shared network');
  const [root, data] = [await cinder.make(), await cinder.make()];
  await cinder.act(root, { 'os-set_bootable': { bootable: true } });

  const { server } = await call('POST', '/compute/v2.1/servers', {
    server: {
      ...{ name: 'volumes', flavorRef: small, networks: [{ uuid: network.id }] },
      block_device_mapping_v2: [
        { boot_index: 0, uuid: root, source_type: 'volume', destination_type: 'volume', delete_on_termination: false },
      ],
    },
  });
  const path = `/compute/v2.1/servers/${server.id}`;
  const act = (body: object) => call('POST', `${path}/action`, body);
  const made = await reach(server.id, 'ACTIVE');
  assert.deepEqual(await cinder.reach(root, 'in-use'), [hostOf(made)]);
  const attach = { volumeAttachment: { volumeId: data } };
  await call('POST', `${path}/os-volume_attachments`, attach);
  assert.deepEqual(await cinder.reach(data, 'in-use'), [hostOf(made)]);

  await act({ resize: { flavorRef: medium } });
  const crossed = await reach(server.id, 'VERIFY_RESIZE');
  assert.notEqual(hostOf(crossed), hostOf(made));
  for (const id of [root, data]) assert.deepEqual(await cinder.reach(id, 'in-use'), [hostOf(crossed)]);
  await act({ confirmResize: null });
  await reach(server.id, 'ACTIVE');
  for (const id of [root, data]) assert.deepEqual(await cinder.reach(id, 'in-use'), [hostOf(crossed)]);

  await act({ resize: { flavorRef: large } });
  await reach(server.id, 'VERIFY_RESIZE');
  await act({ revertResize: null });
  const back = await reach(server.id, 'ACTIVE');
  assert.equal(hostOf(back), hostOf(crossed));
  for (const id of [root, data]) assert.deepEqual(await cinder.reach(id, 'in-use'), [hostOf(back)]);
  assert.equal(await cinder.attachmentsOf(server.id), 4, 'of each volume a hold and a connection');

  await call('DELETE', `${path}/os-volume_attachments/${data}`);
  assert.deepEqual(await cinder.reach(data, 'available'), []);
  await call('DELETE', path);
  await gone(server.id);
  assert.deepEqual(await cinder.reach(root, 'available'), []);
  assert.deepEqual(await neutron.portsOf(server.id), []);
  assert.equal(await cinder.attachmentsOf(server.id), 0);
  await call('GET', '/volume/v3/volumes', undefined, 404);
});

test('what Cinder does not give is refused in its words, and what goes with its server goes from Cinder', {
  skip,
}, async () => {
  await using real = await realSystem(SERVICES);
  const { call, reach, gone } = real;
  await using cinder = new Cinder(real.session);
  const { small } = await parts(real);
  const volume = await cinder.make();
  await cinder.act(volume, { 'os-set_bootable': { bootable: true } });
  const boot = (disk: object) => ({
    server: {
      ...{ name: 'volumes', flavorRef: small, networks: 'none' },
      block_device_mapping_v2: [{ boot_index: 0, destination_type: 'volume', delete_on_termination: true, ...disk }],
    },
  });
  const create = (disk: object, allowed?: number) => call('POST', '/compute/v2.1/servers', boot(disk), allowed);
  const other = '11111111-2222-4333-8444-555555555555';
  await real.session.ask(null, {
    ...{ ...POST, path: '/attachments' },
    body: { attachment: { volume_uuid: volume, instance_uuid: other, mode: 'rw' } },
  });
  const taken = await create({ uuid: volume, source_type: 'volume' }, 400);
  assert.match(taken.badRequest.message, /status must be available or downloading to reserve, but the current/);
  const { body } = (await real.session.ask(Attachments, {
    ...{ ...GET, path: `/attachments?all_tenants=1&instance_id=${other}` },
  })) as { body: { attachments: { id: string }[] } };
  for (const { id } of body.attachments)
    await real.session.ask(null, { ...GET, method: 'DELETE', path: `/attachments/${id}` });

  const made = await create({ volume_size: 1, source_type: 'blank' }, 400);
  assert.match(made.badRequest.message, /kept by the Block Storage service/);
  const { server } = await create({ uuid: volume, source_type: 'volume' });
  await reach(server.id, 'ACTIVE');
  await call('DELETE', `/compute/v2.1/servers/${server.id}`);
  await gone(server.id);
  for (const end = Date.now() + 60_000; ; await delay(300)) {
    const said = await real.session.ask(null, { ...GET, path: `/volumes/${volume}` });
    if (said.kind === 'refused' && said.status === 404) break;
    assert.ok(Date.now() < end, 'the volume goes with its server');
  }
});
