// Two projects with one of everything each. What only a saga makes is written into the tables: nobody drives one here.
import assert from 'node:assert/strict';
import { newId } from '../../src/lib/ids.ts';
import type { FuzzWorld } from '../fuzz/world.ts';

/** A project, a user of it, and the token of an administrator that acts for both. */
export interface Owner {
  readonly project: string;
  readonly user: string;
  readonly token: string;
}

export const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKvxQZ1NGXDTYlG9bFCzz8UKVGsBMPNFmyGXDtqhFZ x';

type Post = (url: string, payload: object) => Promise<Record<string, { id: string }>>;

function poster(world: FuzzWorld, { token }: Owner): Post {
  return async (url, payload) => {
    const response = await world.app.inject({ method: 'POST', url, headers: { 'x-auth-token': token }, payload });
    assert.ok(response.statusCode < 300, `${url}: ${response.body}`);
    return response.body === '' ? {} : response.json();
  };
}

/** The image that all see. */
export async function publicImage({ p }: FuzzWorld): Promise<string> {
  const images = p.stores.global.selectFrom('images').select('id').where('visibility', '=', 'public');
  return (await images.executeTakeFirstOrThrow()).id;
}

/** What the world gave to p1 already: a server, a volume, a key pair. */
export async function furnishFirst(world: FuzzWorld, owner: Owner): Promise<void> {
  const post = poster(world, owner);
  const metadata = { [`key-of-${owner.project}`]: 'value' };
  const wish = { name: `server-of-${owner.project}`, imageRef: await publicImage(world), flavorRef: '1', metadata };
  await post('/compute/v2.1/servers', { server: wish });
  await post('/compute/v2.1/os-keypairs', { keypair: { name: `key-of-${owner.project}`, public_key: KEY } });
  await post('/volume/v3/volumes', { volume: { size: 1, name: `volume-of-${owner.project}` } });
}

/**
 * More of the owner's: a network with a subnet, a router and a port, an image, definitions, a group of servers; its
 * server is there, with the port and the volume, and has moved.
 */
export async function furnish(world: FuzzWorld, owner: Owner): Promise<void> {
  const post = poster(world, owner);
  const { project, user } = owner;
  const { global } = world.p.stores;
  const { network } = await post('/network/v2.0/networks', { network: { name: `network-of-${project}` } });
  const subnet = { network_id: network?.id, ip_version: 4, cidr: '10.77.0.0/24' };
  const { subnet: made } = await post('/network/v2.0/subnets', { subnet });
  const { port } = await post('/network/v2.0/ports', { port: { network_id: network?.id } });
  const external = await global.selectFrom('networks').select('id').where('external', '=', 1).executeTakeFirstOrThrow();
  const gateway = { external_gateway_info: { network_id: external.id } };
  const { router } = await post('/network/v2.0/routers', { router: { name: 'private', ...gateway } });
  await world.app.inject({
    ...{ method: 'PUT', url: `/network/v2.0/routers/${router?.id}/add_router_interface` },
    ...{ headers: { 'x-auth-token': owner.token }, payload: { subnet_id: made?.id } },
  });
  await post('/network/v2.0/floatingips', { floatingip: { floating_network_id: external.id, port_id: port?.id } });
  await post('/image/v2/images', {
    ...{ name: 'private', disk_format: 'qcow2', container_format: 'bare', tags: [`tag-of-${project}`] },
  });
  await post('/image/v2/metadefs/namespaces', {
    namespace: `definitions-of-${project}`,
    objects: [{ name: `object-of-${project}` }],
    tags: [{ name: `tag-of-${project}` }],
    properties: { [`property-of-${project}`]: { title: 'x', type: 'string' } },
  });
  await post('/compute/v2.1/os-server-groups', { server_group: { name: 'private', policies: ['affinity'] } });

  const mine = await global
    .selectFrom('server_mappings')
    .selectAll()
    .where('project_id', '=', project)
    .executeTakeFirstOrThrow();
  const { server_id, cell_id } = mine;
  const host = `cell1-host1`;
  await global
    .insertInto('migrations')
    .values({
      ...{ uuid: newId(), server_id, project_id: project, user_id: user, type: 'migration', status: 'confirmed' },
      ...{ source_cell_id: cell_id, source_host: host, saga_id: newId() },
      ...{ old_flavor_json: '{"flavorId":"1"}', new_flavor_json: '{"flavorId":"1"}', created_at: 0, updated_at: 0 },
    })
    .execute();
  const volume = await global
    .selectFrom('volumes')
    .selectAll()
    .where('project_id', '=', project)
    .executeTakeFirstOrThrow();
  const { id: volume_id, size_gb } = volume;
  await global.updateTable('volumes').set({ status: 'in-use' }).where('id', '=', volume_id).execute();
  await global
    .insertInto('volume_snapshots')
    .values({
      ...{ id: newId(), volume_id, name: 's', description: null, status: 'available', created_at: 0, updated_at: 0 },
      ...{ metadata_json: `{"key-of-${project}":"value"}`, project_id: project, user_id: user, size_gb },
    })
    .execute();
  await global
    .insertInto('volume_transfers')
    .values({
      ...{ id: newId(), volume_id, project_id: project, name: `transfer-of-${project}`, no_snapshots: 0 },
      ...{ salt: '', key_hash: '00'.repeat(32), created_at: 0 },
    })
    .execute();
  await global
    .insertInto('volume_attachments')
    .values({
      ...{ id: newId(), volume_id, server_id, host, active: 1, mode: 'rw', generation: 1 },
      ...{ created_at: 0, attached_at: 0 },
    })
    .execute();
  await global
    .updateTable('ports')
    .set({ device_id: server_id, device_owner: 'compute:nova' })
    .where('id', '=', port?.id ?? '')
    .execute();
  await global
    .updateTable('sagas')
    .set({ status: 'done', ended_at: 0 })
    .where('key', 'in', [server_id, volume_id])
    .execute();
  const cell = await world.p.stores.cell(cell_id);
  await cell
    .updateTable('servers')
    .set({ vm_state: 'active', task_state: null, saga_id: null, power_state: 1, host, launched_at: 0 })
    .set({ tags_json: `["tag-of-${project}"]` })
    .where('id', '=', server_id)
    .execute();
  await cell
    .insertInto('block_device_mappings')
    .values({
      ...{ id: newId(), server_id, volume_id, device: '/dev/vdb', boot_index: null, delete_on_termination: 0 },
      ...{ tag: null, created_at: 0 },
    })
    .execute();
}
