// Samples and generators that the tests of the model share. Not product code: only tests import it.
import { fc } from '../lib/property-testing.ts';
import type { ServerState } from './actions.ts';
import type { HostState, ScheduleRequest } from './hosts.ts';
import type { OfferedFlavor } from './resize-rules.ts';
import type { Actor, Flavor, ImageSnapshot } from './types.ts';

export const SERVER_ID = '0b6b2a3e-7d1f-4a7e-9b1c-2f6f3d1f0a01';
export const IMAGE_ID = '5c0f6c9e-91a4-4b5b-8f0e-3a5f0f8d7c02';
export const PROJECT_ID = 'p1';

export const server = (changes: Partial<ServerState> = {}): ServerState => ({
  id: SERVER_ID,
  vmState: 'active',
  taskState: null,
  launched: true,
  locked: false,
  host: 'host1',
  ...changes,
});

export const flavor = (changes: Partial<Flavor> = {}): Flavor => ({
  flavorId: 'f1',
  name: 'm1.tiny',
  vcpus: 1,
  memoryMb: 512,
  rootGb: 1,
  ephemeralGb: 0,
  swapMb: 0,
  extraSpecs: {},
  ...changes,
});

export const offered = (changes: Partial<OfferedFlavor> = {}): OfferedFlavor => ({
  ...flavor(),
  disabled: false,
  isPublic: true,
  projectIds: [],
  ...changes,
});

export const image = (changes: Partial<ImageSnapshot> = {}): ImageSnapshot => ({
  id: IMAGE_ID,
  minDiskGb: 0,
  minRamMb: 0,
  properties: {},
  ...changes,
});

export const actor = (roles: readonly string[], projectId: string = PROJECT_ID): Actor => ({
  userId: 'u1',
  projectId,
  roles,
  requestId: 'req-1',
});

export const host = (changes: Partial<HostState> = {}): HostState => ({
  hostId: 'h1',
  hostName: 'host1',
  cellId: 'c1',
  cellName: 'cell1',
  cellDisabled: false,
  cellDown: false,
  zone: 'nova',
  aggregates: [],
  disabled: false,
  up: true,
  inventories: {
    VCPU: { total: 8, reserved: 0, allocationRatio: 2 },
    MEMORY_MB: { total: 8192, reserved: 512, allocationRatio: 1 },
    DISK_GB: { total: 100, reserved: 0, allocationRatio: 1 },
  },
  used: {},
  hypervisorType: 'QEMU',
  hypervisorVersion: 7_002_000,
  accelerator: 'tcg',
  architecture: 'x86_64',
  guests: 0,
  ...changes,
});

export const request = (changes: Partial<ScheduleRequest> = {}): ScheduleRequest => ({
  resources: { VCPU: 1, MEMORY_MB: 512, DISK_GB: 1 },
  extraSpecs: {},
  imageProperties: {},
  zone: null,
  requestedHost: null,
  ignoreHosts: [],
  homeCellId: null,
  crossCellAllowed: true,
  group: null,
  ...changes,
});

export const anyFlavor: fc.Arbitrary<Flavor> = fc.record({
  flavorId: fc.constantFrom('f1', 'f2', 'f3'),
  name: fc.constantFrom('a', 'b'),
  vcpus: fc.integer({ min: 1, max: 64 }),
  memoryMb: fc.integer({ min: 1, max: 262_144 }),
  rootGb: fc.integer({ min: 0, max: 2000 }),
  ephemeralGb: fc.integer({ min: 0, max: 100 }),
  swapMb: fc.integer({ min: 0, max: 5000 }),
  extraSpecs: fc.constant({}),
});
