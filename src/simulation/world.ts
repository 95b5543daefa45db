// The simulated world: a whole deployment in one process, without a network and without real time. Real moves, scheduler,
// placement and stores; real agents over simulated hypervisors; one virtual clock.
//
// Theory of operation. A world has cells, cell1 … cellN, with the same number of hosts each. Hosts of odd cells are silver,
// those of even ones gold: a flavor that asks for one metal sends its servers into some cells and not into others, so
// that a resize to it crosses. Nothing here runs by itself. Tests step conductors by hand (test/moves); the simulation
// lets several of them run side by side, as processes (process.ts).
// Faults come in at the seams that the product has anyway: effects of steps (Platform.around), calls to hosts
// (SimHost.trouble) and databases of cells (`cellsDown`).
import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import { addAggregateHost, createAggregate, setAggregateMetadata } from '../control/aggregates.ts';
import { ensureCell } from '../control/cells.ts';
import { createFlavor } from '../control/flavors.ts';
import { registerHost } from '../control/host-registration.ts';
import { ensureSharedNetwork } from '../control/network/seed.ts';
import type { Platform, Settings } from '../control/platform.ts';
import { DEFAULT_POLICIES } from '../control/policies.ts';
import { registerStorageHost } from '../control/volumes/storage-hosts.ts';
import { HypervisorError } from '../host/hypervisor.ts';
import { SimulatedFabric } from '../host/simulated-fabric.ts';
import type { Clock } from '../lib/clock.ts';
import { invariant } from '../lib/errors.ts';
import { newId } from '../lib/ids.ts';
import { networkList } from '../lib/networks.ts';
import type { VirtualClock } from '../lib/virtual-clock.ts';
import type { Actor } from '../model/types.ts';
import { DEFAULT_MULTIPLIERS } from '../model/weighers.ts';
import { CellDown, type Stores } from '../store/stores.ts';
import { descriptionOf, type HostSize, SimHost } from './hosts.ts';
import type { SimImages } from './images.ts';
import { SimStorage } from './storage.ts';
import { WrongClock } from './wrong-clock.ts';

export const FLAVORS = { small: 'small', medium: 'medium', big: 'big', plain: 'plain' } as const;
export const LEASE_MS = 15_000;

/** They belong to no cell. */
export const STORAGE_HOSTS = ['storage1', 'storage2'] as const;

export interface Shape {
  readonly cells: number;
  readonly hostsPerCell: number;
  readonly size: HostSize;
}

/** Two cells with two hosts each: enough for every move. */
export const SMALL: Shape = {
  cells: 2,
  hostsPerCell: 2,
  size: { vcpus: 8, memoryMb: 16_384, diskGb: 100 },
};

export const SETTINGS: Settings = {
  region: 'RegionOne',
  publicUrl: 'http://api',
  hostFacingUrl: 'http://api',
  trustedProxies: networkList([]),
  consoleFrameAncestors: [],
  imageDirectory: '',
  maxImageBytes: 2 ** 30,
  webDownload: { enabled: false, privateAddresses: false, ports: [] },
  defaultZone: 'nova',
  forceConfigDrive: false,
  resizeConfirmWindowSeconds: 0,
  reclaimInstanceIntervalSeconds: 0,
  shelvedOffloadTimeSeconds: 0,
  historyRetentionDays: 90,
  shutdownTimeoutSeconds: 60,
  hostDownSeconds: 30,
  heartbeatSeconds: 5,
  inventory: {
    ...{ cpuAllocationRatio: 1, ramAllocationRatio: 1, diskAllocationRatio: 1 },
    ...{ reservedHostCpus: 0, reservedHostMemoryMb: 0, reservedHostDiskGb: 0 },
  },
  weights: DEFAULT_MULTIPLIERS,
  maxAttempts: 3,
  maxCandidates: 200,
  quota: {},
};

/** What the databases of a world hold before anybody has asked for anything. */
export interface Furniture {
  /** Names of cells by id. */
  readonly cells: ReadonlyMap<string, string>;
  readonly hosts: readonly { readonly name: string; readonly cell: string }[];
  readonly imageId: string;
  readonly networkId: string;
}

export interface World {
  readonly p: Platform;
  /** Time as it passes. */
  readonly clock: VirtualClock;
  /** What the databases take the time for; processes go by that. */
  readonly databaseClock: WrongClock;
  readonly fabric: SimulatedFabric;
  readonly hosts: ReadonlyMap<string, SimHost>;
  readonly storage: ReadonlyMap<string, SimStorage>;
  readonly images: SimImages;
  /** Names of cells whose databases cannot be reached. */
  readonly cellsDown: Set<string>;
  readonly user: Actor;
  readonly admin: Actor;
  readonly imageId: string;
  readonly networkId: string;
  close(): Promise<void>;
}

export interface WorldParts {
  readonly stores: Stores;
  readonly clock: VirtualClock;
  readonly log: Logger;
  readonly settings: Settings;
  readonly shape: Shape;
  readonly images: SimImages;
}

const USER: Actor = { userId: 'user-1', projectId: 'project-1', roles: ['member'], requestId: 'req-user' };
const ADMIN: Actor = { userId: 'user-0', projectId: 'project-0', roles: ['admin'], requestId: 'req-admin' };

/** Puts cells, hosts, flavors, an image and a network into empty databases. */
export async function furnish(parts: WorldParts): Promise<Furniture> {
  const { shape } = parts;
  const nobodyIsCalled = () => {
    throw new Error('nobody calls a host while the world is furnished');
  };
  const p = platformOf(parts, nobodyIsCalled, nobodyIsCalled);
  const cells = new Map<string, string>();
  const hosts: { name: string; cell: string }[] = [];
  const aggregates = new Map<string, number>();
  for (let index = 0; index < shape.cells; index += 1) {
    const [cell, metal] = [`cell${index + 1}`, index % 2 === 0 ? 'silver' : 'gold'];
    const cellId = await ensureCell(p, cell);
    cells.set(cellId, cell);
    const aggregate = aggregates.get(metal) ?? accepted(await createAggregate(p, metal, null)).aggregate.id;
    aggregates.set(metal, aggregate);
    accepted(await setAggregateMetadata(p, aggregate, { metal }));
    for (let count = 0; count < shape.hostsPerCell; count += 1) {
      const name = `${cell}-${letters(count)}`;
      hosts.push({ name, cell });
      await registerHost(p, { name, cellId, url: `http://${name}`, description: descriptionOf(name, shape.size) });
      accepted(await addAggregateHost(p, aggregate, name));
    }
  }
  for (const name of STORAGE_HOSTS) {
    const description = { name, driver: 'simulated', totalBytes: 2 ** 50, freeBytes: 2 ** 50 };
    await registerStorageHost(p, { name, url: `http://${name}`, description });
  }
  await addFlavor(p, FLAVORS.small, 1, 256, 1, 'silver');
  await addFlavor(p, FLAVORS.medium, 2, 512, 2, 'silver');
  await addFlavor(p, FLAVORS.big, 4, 1024, 3, 'gold');
  await addFlavor(p, FLAVORS.plain, 1, 256, 1, null);
  const imageId = await addImage(p, parts.images);
  const { networkId } = await ensureSharedNetwork(p.stores.global, { cidr: '10.42.0.0/16', now: p.clock.now() });
  return { cells, hosts, imageId, networkId };
}

/** a … z, then aa, ab … */
const letters = (index: number): string =>
  (index >= 26 ? letters(Math.floor(index / 26) - 1) : '') + String.fromCodePoint(97 + (index % 26));

/** A world over furnished databases, with hosts that hold nothing yet. */
export async function inhabit(parts: WorldParts, furniture: Furniture): Promise<World> {
  const { clock, stores, shape, log, images } = parts;
  const fabric = new SimulatedFabric();
  const hosts = new Map<string, SimHost>();
  for (const { name, cell } of furniture.hosts) {
    hosts.set(name, await SimHost.open({ name, cell, clock, fabric, size: shape.size, log, send: takeImage(parts) }));
  }
  const storage = new Map<string, SimStorage>();
  for (const name of STORAGE_HOSTS)
    storage.set(name, await SimStorage.open({ name, clock, fabric, log, send: takeImage(parts) }));
  const cellsDown = new Set<string>();
  const reachable: Stores = {
    ...stores,
    cell: async (cellId) => {
      if (cellsDown.has(furniture.cells.get(cellId) ?? '')) throw new CellDown(cellId, 'the simulation has it so');
      return stores.cell(cellId);
    },
  };
  const databaseClock = new WrongClock(clock);
  const p = platformOf({ ...parts, clock: databaseClock, stores: reachable }, among(hosts), among(storage));
  const { imageId, networkId } = furniture;
  return {
    ...{ p, clock, databaseClock, fabric, hosts, storage, images, cellsDown },
    ...{ user: USER, admin: ADMIN, imageId, networkId },
    async close() {
      await Promise.all([...hosts.values(), ...storage.values()].map((host) => host.agent.close()));
      await stores.close();
    },
  };
}

const among =
  <T>(known: ReadonlyMap<string, T>) =>
  (name: string): T => {
    const found = known.get(name);
    invariant(found, `no host ${name}`);
    return found;
  };

const platformOf = (
  { clock, log, stores, settings, images }: Omit<WorldParts, 'clock'> & { readonly clock: Clock },
  hostOf: (name: string) => SimHost,
  storageOf: (name: string) => SimStorage,
): Platform => ({
  ...{ clock, log, stores, settings },
  host: async (name) => hostOf(name).remote,
  storage: async (name) => storageOf(name).remote,
  policies: DEFAULT_POLICIES,
  imageFiles: images,
  nudge: () => undefined,
});

/**
 * Takes an image's data as the image service does, but at once: its real one writes files, and watches its uploads by a
 * clock.
 */
const takeImage =
  ({ stores, images, clock }: WorldParts) =>
  async (url: string, bytes: Uint8Array): Promise<void> => {
    const imageId = url.split('/').at(-2) ?? '';
    const digest = (algorithm: string) => createHash(algorithm).update(bytes).digest('hex');
    const taken = await stores.global
      .updateTable('images')
      .set({
        ...{ status: 'active', size_bytes: bytes.length, virtual_bytes: bytes.length, updated_at: clock.now() },
        ...{ md5: digest('md5'), sha256: digest('sha256'), sha512: digest('sha512') },
      })
      .where('id', '=', imageId)
      .where('status', '=', 'queued')
      .returning('id')
      .executeTakeFirst();
    if (taken) return images.write(imageId, bytes, clock);
    throw new HypervisorError('the image was not taken: status 404');
  };

async function addFlavor(
  p: Platform,
  id: string,
  vcpus: number,
  memoryMb: number,
  rootGb: number,
  metal: string | null,
) {
  accepted(
    await createFlavor(p, {
      ...{ flavorId: id, name: id, vcpus, memoryMb, rootGb, ephemeralGb: 0, swapMb: 0, rxtxFactor: 1 },
      ...{ isPublic: true, description: null },
      extraSpecs: metal === null ? {} : { 'aggregate_instance_extra_specs:metal': metal },
    }),
  );
}

async function addImage(p: Platform, images: SimImages): Promise<string> {
  const id = newId();
  const bytes = Buffer.from('an image');
  images.write(id, bytes, p.clock);
  await p.stores.global
    .insertInto('images')
    .values({
      ...{ id, name: 'image', status: 'active', visibility: 'public', owner: 'project-0' },
      ...{ disk_format: 'raw', container_format: 'bare', size_bytes: bytes.length, virtual_bytes: 2 ** 20 },
      ...{ md5: null, sha256: 'ab'.repeat(32), sha512: null, min_disk_gb: 0, min_ram_mb: 0, protected: 0, hidden: 0 },
      ...{ properties_json: '{}', tags_json: '[]', created_at: p.clock.now(), updated_at: p.clock.now() },
    })
    .execute();
  return id;
}

function accepted<T extends { readonly kind: string }>(result: T): Exclude<T, { readonly kind: 'refused' }> {
  invariant(result.kind !== 'refused', JSON.stringify(result));
  return result as Exclude<T, { readonly kind: 'refused' }>;
}
