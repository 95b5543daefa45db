// Volumes in the simulated world: making some, giving them to servers, and looking at who has them.
import assert from 'node:assert/strict';
import { createNetwork } from '../../src/control/network/networks.ts';
import { createSubnet } from '../../src/control/network/subnets.ts';
import { attachmentsOfServer } from '../../src/control/volumes/attachments.ts';
import { type Mapping, mappingsOfServer } from '../../src/control/volumes/mappings.ts';
import { findVolume } from '../../src/control/volumes/records.ts';
import { attachVolume, detachVolume } from '../../src/moves/attach.ts';
import { createServer } from '../../src/moves/create-server.ts';
import { createVolume } from '../../src/moves/volumes/create.ts';
import { accept, FLAVORS, newServer, serverOf, settle, type World } from './world.ts';

/** A blank volume of 1 GiB of the user's, available. */
export async function newVolume(world: World): Promise<string> {
  const created = await world.clock.drive(
    createVolume(world.p, world.user, {
      ...{ sizeGb: 1, name: null, description: null, metadata: {}, zone: null, type: null },
      source: { kind: 'blank' },
    }),
  );
  assert(created.kind === 'created', JSON.stringify(created));
  await settle(world);
  assert.equal(await statusOf(world, created.volume.id), 'available');
  return created.volume.id;
}

/** Asks for the volume to be attached, and no more. */
/** What is asked for when nothing special is. */
export const attachWish = (volumeId: string) => ({
  ...{ volumeId, device: null, tag: null, deleteOnTermination: false, readOnly: false },
});

export async function requestAttach(world: World, serverId: string, volumeId: string, keep = true): Promise<Mapping> {
  const wish = { ...attachWish(volumeId), deleteOnTermination: !keep };
  const attached = await world.clock.drive(attachVolume(world.p, world.user, serverId, wish));
  assert(attached.kind === 'attached', JSON.stringify(attached));
  return attached.mapping;
}

export async function attach(world: World, serverId: string, volumeId: string, keep = true): Promise<void> {
  await requestAttach(world, serverId, volumeId, keep);
  await settle(world);
  assert.equal(await statusOf(world, volumeId), 'in-use');
}

export async function detach(world: World, serverId: string, volumeId: string): Promise<void> {
  await accept(world, detachVolume(world.p, world.user, serverId, volumeId));
  await settle(world);
}

/** An ACTIVE server with two data volumes. */
export async function serverWithVolumes(
  world: World,
  flavorId: string = FLAVORS.small,
): Promise<{ readonly serverId: string; readonly volumes: readonly [string, string] }> {
  const serverId = await newServer(world, flavorId);
  const volumes = [await newVolume(world), await newVolume(world)] as const;
  for (const volume of volumes) await attach(world, serverId, volume);
  return { serverId, volumes };
}

/** An ACTIVE server with two ports that boots from a volume made of the image and has two data volumes. */
export async function volumeBackedServer(
  world: World,
  flavorId: string = FLAVORS.small,
): Promise<{ readonly serverId: string; readonly volumes: readonly string[] }> {
  const data = await newVolume(world);
  const serverId = await requestVolumeBacked(world, flavorId, data);
  await settle(world);
  assert.equal((await serverOf(world, serverId)).vmState, 'active');
  return { serverId, volumes: await mappedTo(world, serverId) };
}

/** A network of the user's beside the shared one: a server on both has two ports. */
async function secondNetwork(world: World): Promise<string> {
  const { global } = world.p.stores;
  const now = world.clock.now();
  const network = await createNetwork(global, world.user, { name: 'second', shared: false, now });
  assert(network.kind === 'ok', JSON.stringify(network));
  const made = await createSubnet(global, world.user, {
    ...{ networkId: network.value.id, name: '', cidr: '10.43.0.0/24', now },
  });
  assert(made.kind === 'ok', JSON.stringify(made));
  return network.value.id;
}

export async function requestVolumeBacked(world: World, flavorId: string, data: string): Promise<string> {
  const networkIds = [world.networkId, await secondNetwork(world)];
  const common = { bootIndex: null, device: null, deleteOnTermination: false, tag: null, volumeType: null };
  const created = await world.clock.drive(
    createServer(world.p, world.user, {
      ...{ name: 'bfv', imageId: null, flavorId, zone: null, keyName: null, metadata: {}, tags: [], description: null },
      ...{ networkIds, diskConfig: 'AUTO' },
      blockDevices: [
        {
          ...common,
          ...{ source: { kind: 'image', imageId: world.imageId, sizeGb: 1 }, bootIndex: 0, tag: 'root' },
          deleteOnTermination: true,
        },
        { ...common, source: { kind: 'volume', volumeId: data } },
        { ...common, source: { kind: 'blank', sizeGb: 1 } },
      ],
    }),
  );
  assert(created.kind === 'created', JSON.stringify(created));
  return created.serverId;
}

/** Its status; null when it is gone. */
export const statusOf = async (world: World, volumeId: string): Promise<string | null> =>
  (await findVolume(world.p.stores.global, volumeId))?.status ?? null;

/** The server's attachments, `host volume`, the active ones with a star. */
export const attachmentsOf = async (world: World, serverId: string): Promise<string[]> =>
  (await attachmentsOfServer(world.p.stores.global, serverId))
    .map((each) => `${each.host} ${each.volumeId}${each.active ? '*' : ''}`)
    .toSorted();

/** Ids of the volumes that the server's home says it has, by device. */
export async function mappedTo(world: World, serverId: string): Promise<string[]> {
  const home = await world.p.stores.global
    .selectFrom('server_mappings')
    .select('cell_id')
    .where('server_id', '=', serverId)
    .executeTakeFirstOrThrow();
  return (await mappingsOfServer(await world.p.stores.cell(home.cell_id), serverId)).map((each) => each.volumeId);
}

/** Volumes that the guest on the host is told of. */
export async function guestVolumes(world: World, serverId: string, hostName: string): Promise<string[]> {
  const reply = await world.hosts.get(hostName)?.agent.guest(serverId);
  return reply?.kind === 'ok' ? reply.value.volumes.map((each) => each.volumeId) : [];
}

/** Volumes to which the storage hosts let the server, by whatever attachment. */
export async function accessOf(world: World, serverId: string): Promise<string[]> {
  const found: string[] = [];
  for (const storage of world.storage.values()) {
    for (const { id, volume } of await storage.records.volumes.load()) {
      if (volume?.grants.some((each) => each.serverId === serverId)) found.push(id);
    }
  }
  return found.toSorted();
}

/** What was written to the volume, oldest first, without what it was made from. */
export function writtenTo(world: World, volumeId: string): readonly string[] {
  for (const storage of world.storage.values()) {
    const words = storage.driver.words(volumeId);
    if (words) return words.slice(1);
  }
  return [];
}
