// What the tests of this floor share: a platform over stores in memory and a virtual clock, with hosts that are rows only.
import assert from 'node:assert/strict';
import { pino } from 'pino';
import type { Host } from '../host/contract.ts';
import { nobody } from '../host/nobody.ts';
import { newId } from '../lib/ids.ts';
import { networkList } from '../lib/networks.ts';
import { VirtualClock } from '../lib/virtual-clock.ts';
import { type Flavor, POWER_STATE, type Server } from '../model/types.ts';
import { DEFAULT_MULTIPLIERS } from '../model/weighers.ts';
import type { StorageHost } from '../storage/contract.ts';
import { openStores } from '../store/stores.ts';
import { ensureCell } from './cells.ts';
import { registerHost } from './host-registration.ts';
import type { Platform, Settings } from './platform.ts';
import { DEFAULT_POLICIES } from './policies.ts';
import { rowOf } from './records.ts';
import { registerStorageHost } from './volumes/storage-hosts.ts';

export const TEST_SETTINGS: Settings = {
  region: 'RegionOne',
  publicUrl: 'http://api',
  hostFacingUrl: 'http://api',
  trustedProxies: networkList([]),
  consoleFrameAncestors: [],
  imageDirectory: '/nonexistent',
  maxImageBytes: 2 ** 30,
  webDownload: { enabled: true, privateAddresses: false, ports: [80, 443] },
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
    cpuAllocationRatio: 1,
    ramAllocationRatio: 1,
    diskAllocationRatio: 1,
    reservedHostCpus: 0,
    reservedHostMemoryMb: 0,
    reservedHostDiskGb: 0,
  },
  weights: DEFAULT_MULTIPLIERS,
  maxAttempts: 3,
  maxCandidates: 200,
  quota: {},
};

export interface TestPlatform extends Platform {
  readonly clock: VirtualClock;
  /** What p.host(name) answers; a host without an entry must not be called. */
  readonly fakes: Map<string, Partial<Host>>;
  /** The same for p.storage(name); one without an entry is unreachable. */
  readonly storageFakes: Map<string, Partial<StorageHost>>;
}

/** Runs `body` with a platform of two cells, c1 and c2, without hosts. */
export async function withPlatform(
  body: (p: TestPlatform, cells: { readonly c1: string; readonly c2: string }) => Promise<void>,
  settings: Partial<Settings> = {},
): Promise<void> {
  const stores = await openStores(':memory:');
  const fakes = new Map<string, Partial<Host>>();
  const storageFakes = new Map<string, Partial<StorageHost>>();
  const p: TestPlatform = {
    clock: new VirtualClock(),
    log: pino({ level: 'silent' }),
    stores,
    settings: { ...TEST_SETTINGS, ...settings },
    fakes,
    storageFakes,
    host: async (name) => {
      const fake = fakes.get(name);
      assert(fake, `host ${name} was called`);
      return fake as Host;
    },
    storage: async (name) => {
      const fake = storageFakes.get(name);
      return fake ? (fake as StorageHost) : nobody(`no storage host ${name}`);
    },
    policies: DEFAULT_POLICIES,
    nudge: () => undefined,
  };
  try {
    await body(p, { c1: await ensureCell(p, 'c1'), c2: await ensureCell(p, 'c2') });
  } finally {
    await stores.close();
  }
}

/** A host that can be chosen, with 8 vCPUs, 8 GiB of memory and 100 GiB of disk. Returns its id, its provider's too. */
export async function addHost(p: Platform, cellId: string, name: string, vcpus = 8): Promise<string> {
  await registerHost(p, {
    ...{ name, cellId, url: `http://${name}` },
    description: {
      ...{ name, hypervisorType: 'simulated', hypervisorVersion: 1_000_000, accelerator: 'none' },
      ...{ architecture: 'x86_64', vcpus, memoryMb: 8192, diskGb: 100 },
    },
  });
  const { global } = p.stores;
  await global.updateTable('hosts').set({ reconciled: 1 }).where('name', '=', name).execute();
  const row = await global.selectFrom('hosts').select('id').where('name', '=', name).executeTakeFirstOrThrow();
  return row.id;
}

/** A storage host that is up, with 1000 GiB free; what it answers: `p.storageFakes`. */
export const addStorageHost = (p: Platform, name = 'storage1'): Promise<void> =>
  registerStorageHost(p, {
    ...{ name, url: `http://${name}` },
    description: { name, driver: 'simulated', totalBytes: 1000 * 2 ** 30, freeBytes: 1000 * 2 ** 30 },
  });

export const FLAVOR: Flavor = {
  ...{ flavorId: 'f1', name: 'f1', vcpus: 2, memoryMb: 1024, rootGb: 10, ephemeralGb: 0, swapMb: 0, extraSpecs: {} },
};

export const serverLike = (change: Partial<Server> = {}): Server => ({
  ...{ id: newId(), name: 'one', hostname: 'one', description: null, projectId: 'p1', userId: 'u1' },
  ...{ image: { id: newId(), minDiskGb: 0, minRamMb: 0, properties: {} }, flavor: FLAVOR, oldFlavor: null },
  ...{
    vmState: 'active',
    taskState: null,
    oldVmState: null,
    shelvedImageId: null,
    powerState: POWER_STATE.RUNNING,
    progress: 0,
  },
  ...{
    sagaId: null,
    revision: 0,
    host: 'h1',
    zone: 'nova',
    requestedZone: null,
    keyName: null,
    metadata: {},
    tags: [],
  },
  ...{
    locked: false,
    lockedBy: null,
    lockedReason: null,
    userData: null,
    configDrive: null,
    diskConfig: 'AUTO',
    reservationId: 'r-1',
    launchIndex: 0,
    accessIpV4: null,
    accessIpV6: null,
    fault: null,
  },
  ...{ createdAt: 1, updatedAt: 1, launchedAt: 1, deletedAt: null },
  ...change,
});

/** Writes the server's home and record. */
export async function addServer(p: Platform, cellId: string, change: Partial<Server> = {}): Promise<Server> {
  const server = serverLike(change);
  await p.stores.global
    .insertInto('server_mappings')
    .values({
      ...{ server_id: server.id, cell_id: cellId, project_id: server.projectId, user_id: server.userId },
      ...{
        generation: 1,
        delete_requested_at: null,
        soft_delete_requested_at: null,
        soft_deleted_at: null,
        offload_at: null,
        flavor_json: JSON.stringify(server.flavor),
        image_id: server.image.id,
        requested_zone: server.requestedZone,
        deleted_at: server.deletedAt,
        created_at: server.createdAt,
      },
    })
    .execute();
  await (await p.stores.cell(cellId)).insertInto('servers').values(rowOf(server)).execute();
  return server;
}
