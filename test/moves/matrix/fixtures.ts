// How each move is brought about, and what is so when it has succeeded. A move of the registry without a fixture here fails
// the test: a new move is tried under every fault, or says why it cannot be.
import assert from 'node:assert/strict';
import { updateService } from '../../../src/control/hosts.ts';
import { portsOfServer } from '../../../src/control/network.ts';
import type { Settings } from '../../../src/control/platform.ts';
import type { Refusal } from '../../../src/model/types.ts';
import { attachVolume, detachVolume } from '../../../src/moves/attach.ts';
import { confirmResize } from '../../../src/moves/confirm.ts';
import { triggerCrashDump } from '../../../src/moves/crash-dump.ts';
import { createServerBackup, createServerImage, type ImageMade } from '../../../src/moves/create-image.ts';
import { deleteServer } from '../../../src/moves/delete.ts';
import { evacuateServer } from '../../../src/moves/evacuate.ts';
import { attachInterface, detachInterface } from '../../../src/moves/interfaces.ts';
import {
  pauseServer,
  rebootServer,
  startServer,
  stopServer,
  suspendServer,
  unpauseServer,
  wakeServer,
} from '../../../src/moves/power.ts';
import { rebuildServer } from '../../../src/moves/rebuild-server.ts';
import { rescueServer, unrescueServer } from '../../../src/moves/rescue.ts';
import { migrateServer, resizeServer } from '../../../src/moves/resize.ts';
import { revertResize } from '../../../src/moves/revert.ts';
import { offloadServer, shelveServer } from '../../../src/moves/shelve.ts';
import { restoreServer, softDeleteServer } from '../../../src/moves/soft-delete.ts';
import { unshelveServer } from '../../../src/moves/unshelve.ts';
import type { Row } from '../../../src/saga/types.ts';
import { attach, attachWish, newVolume, requestVolumeBacked, volumeBackedServer } from '../volumes.ts';
import { accept, beat, FLAVORS, hostOf, newServer, requestServer, serverOf, settle, type World } from '../world.ts';
import { ON_VOLUMES, onlyVolume } from './volume-fixtures.ts';

export interface Started {
  readonly serverId: string;
  /** Null: the move is under way. */
  readonly refusal: Refusal | null;
}

export interface Fixture {
  readonly move: string;
  /** The world of it; absent: one with volumes of its own. */
  open?(settings: Partial<Settings>): Promise<World>;
  /** What else has to hold when all is over. */
  atEnd?(): Promise<void>;
  /** Brings the server into the state from which the move starts; '' when there is none yet. */
  prepare(world: World): Promise<string>;
  start(world: World, serverId: string): Promise<Started>;
  /** vm_state of the server after success, or of what `status` asks for; null: it is gone. */
  readonly after: string | null;
  /** Its guest is off when all is over, whatever its state says. */
  readonly staysOff?: true;
  /** What storage hosts do in it: nothing that another fixture does not try, something, or they are all that it concerns. */
  readonly storage: 'no part' | 'takes part' | 'alone';
  /** Of a saga on a volume: what there is of it when all is over; null: nothing. */
  status?(world: World, volumeId: string): Promise<string | null>;
  /** Whether the other cell, too, has a part in it. */
  readonly crosses: boolean;
  /**
   * vm_state where it turned back, when the world is not to be as it was: the server could not be built; a guest that its
   * host cannot turn on stays off; what the control plane itself begins, or has on record as wanted, it begins again.
   */
  unwound(saga: Row, turnedAt: string): string | null | 'as before';
  /** Where it turned back, the image that it has made stays if it has its data. */
  readonly imageStays?: true;
  /** vm_state where the hosts restarted meanwhile, when that makes a difference: what a paused guest had in memory is lost. */
  restarted?(saga: Row): string | 'as before';
  /** The instance action of it; null: it is on no server. */
  readonly action: string | null;
}

const asBefore = () => 'as before' as const;

export const use =
  (call: (world: World, serverId: string) => Promise<Refusal | null>) =>
  async (world: World, serverId: string): Promise<Started> => ({
    serverId,
    refusal: await world.clock.drive(call(world, serverId)),
  });

export const resize = (world: World, id: string) => resizeServer(world.p, world.user, id, { flavorId: FLAVORS.big });

const rescue = (world: World, id: string) =>
  rescueServer(world.p, world.user, id, { imageRef: null, fromVolume: false });

/** An ACTIVE server with a data volume. */
async function running(world: World, flavorId: string = FLAVORS.small): Promise<string> {
  const serverId = await newServer(world, flavorId);
  await attach(world, serverId, await newVolume(world));
  return serverId;
}

/** An operator says that the host is down; it answers all the same. */
async function forceDown(world: World, host: string | null): Promise<void> {
  await accept(world, updateService(world.p, host ?? '', { forcedDown: true }));
}

async function resized(world: World): Promise<string> {
  const serverId = await running(world);
  await accept(world, resize(world, serverId));
  await settle(world);
  return serverId;
}

async function stopped(world: World): Promise<string> {
  const serverId = await newServer(world);
  await accept(world, stopServer(world.p, world.user, serverId));
  await settle(world);
  return serverId;
}

async function paused(world: World): Promise<string> {
  const serverId = await newServer(world);
  await accept(world, pauseServer(world.p, world.user, serverId));
  await settle(world);
  return serverId;
}

const backUp = (world: World, id: string, actor = world.user) =>
  createServerBackup(world.p, actor, id, { name: 'backup', metadata: {}, backupType: 'daily', rotation: 1 });

const refusalOf = (made: ImageMade): Refusal | null => (made.kind === 'made' ? null : made.refusal);

/** The next backup takes the place of the one that it has. */
async function withBackup(world: World): Promise<string> {
  const serverId = await newServer(world);
  await accept(world, backUp(world, serverId, { ...world.user, requestId: 'req-before' }).then(refusalOf));
  await settle(world);
  return serverId;
}

async function suspended(world: World): Promise<string> {
  const serverId = await newServer(world);
  await accept(world, suspendServer(world.p, world.user, serverId));
  await settle(world);
  return serverId;
}

/** Shelved servers stay on their hosts until they are to leave. */
const stays = (world: World): void => {
  Object.assign(world.p.settings, { shelvedOffloadTimeSeconds: -1 });
};

async function shelved(world: World): Promise<string> {
  stays(world);
  const serverId = await running(world, FLAVORS.plain);
  await accept(world, shelveServer(world.p, world.user, serverId));
  await settle(world);
  return serverId;
}

async function offloaded(world: World): Promise<string> {
  const serverId = await shelved(world);
  await accept(world, offloadServer(world.p, world.admin, serverId));
  await settle(world);
  return serverId;
}

async function softDeleted(world: World): Promise<string> {
  const serverId = await running(world);
  await accept(world, softDeleteServer(world.p, world.user, serverId));
  await settle(world);
  return serverId;
}

async function interrupted(world: World): Promise<string> {
  const serverId = await newServer(world);
  await world.clock.drive(hostOf(world, (await serverOf(world, serverId)).host).reboot());
  return serverId;
}

const common = { crosses: false, unwound: asBefore, storage: 'no part' } as const;

export const FIXTURES: readonly Fixture[] = [
  {
    ...{ ...common, move: 'create', after: 'active', action: 'create', unwound: () => 'error' },
    prepare: async () => '',
    start: async (world) => ({ serverId: await requestServer(world, FLAVORS.small), refusal: null }),
  },
  {
    ...{ ...common, move: 'start', after: 'active', action: 'start' },
    prepare: stopped,
    start: use((world, id) => startServer(world.p, world.user, id)),
  },
  {
    ...{ ...common, move: 'stop', after: 'stopped', action: 'stop' },
    prepare: newServer,
    start: use((world, id) => stopServer(world.p, world.user, id)),
  },
  {
    ...{ ...common, move: 'resume', after: 'active', action: 'start' },
    prepare: interrupted,
    start: async (world, serverId) => {
      await beat(world);
      return { serverId, refusal: null };
    },
    // What a host that went down owes is that it runs.
    unwound: (saga) =>
      saga.journal.some((entry) => entry.step === 'turn on' && (entry.refusals ?? 0) > 0) &&
      !saga.journal.some(({ note }) => /^owed: host/.test(note ?? ''))
        ? 'stopped'
        : 'active',
  },
  {
    ...{ ...common, move: 'pause', after: 'paused', action: 'pause' },
    prepare: newServer,
    start: use((world, id) => pauseServer(world.p, world.user, id)),
    restarted: (saga) => (saga.status === 'done' ? 'stopped' : 'as before'),
  },
  {
    ...{ ...common, move: 'unpause', after: 'active', action: 'unpause' },
    prepare: paused,
    start: use((world, id) => unpauseServer(world.p, world.user, id)),
    restarted: (saga) => (saga.status === 'done' ? 'active' : 'stopped'),
  },
  {
    ...{ ...common, move: 'suspend', after: 'suspended', action: 'suspend' },
    prepare: newServer,
    start: use((world, id) => suspendServer(world.p, world.user, id)),
  },
  {
    ...{ ...common, move: 'wake', after: 'active', action: 'resume' },
    prepare: suspended,
    start: use((world, id) => wakeServer(world.p, world.user, id)),
    unwound: (saga) => (saga.journal.some(({ note }) => note === 'its memory is lost') ? 'stopped' : 'as before'),
  },
  {
    ...{ ...common, move: 'rebuild', after: 'active', action: 'rebuild' },
    prepare: running,
    start: use((world, id) =>
      rebuildServer(world.p, world.user, id, { imageId: world.imageId, name: 'anew', metadata: {}, reimages: false }),
    ),
  },
  {
    ...{ ...common, move: 'rescue', after: 'rescued', action: 'rescue' },
    prepare: running,
    start: use(rescue),
  },
  {
    ...{ ...common, move: 'unrescue', after: 'active', action: 'unrescue' },
    prepare: async (world) => {
      const serverId = await running(world);
      await accept(world, rescue(world, serverId));
      await settle(world);
      return serverId;
    },
    start: use((world, id) => unrescueServer(world.p, world.user, id)),
  },
  {
    ...{ ...common, move: 'crash dump', after: 'active', action: 'trigger_crash_dump' },
    prepare: newServer,
    start: use((world, id) => triggerCrashDump(world.p, world.user, id)),
  },
  {
    ...{ ...common, move: 'reboot', after: 'active', action: 'reboot' },
    prepare: newServer,
    start: use((world, id) => rebootServer(world.p, world.user, id, 'HARD')),
    unwound: (_saga, turnedAt) => (turnedAt === 'turn on' || turnedAt === 'let go' ? 'stopped' : 'as before'),
  },
  {
    ...{ ...common, move: 'resize', after: 'resized', crosses: true, action: 'resize' },
    prepare: running,
    start: use(resize),
  },
  {
    ...{ ...common, move: 'evacuate', after: 'active', crosses: true, action: 'evacuate', storage: 'takes part' },
    prepare: async (world) => {
      const serverId = await running(world, FLAVORS.plain);
      await forceDown(world, (await serverOf(world, serverId)).host);
      return serverId;
    },
    start: use((world, id) => evacuateServer(world.p, world.admin, id, { host: 'cell2-a', staysOff: false })),
  },
  {
    ...{ ...common, move: 'confirm', after: 'active', crosses: true, action: 'confirmResize' },
    prepare: resized,
    start: use((world, id) => confirmResize(world.p, world.user, id)),
  },
  {
    ...{ ...common, move: 'revert', after: 'active', crosses: true, action: 'revertResize' },
    prepare: resized,
    start: use((world, id) => revertResize(world.p, world.user, id)),
  },
  {
    ...{ ...common, move: 'delete', after: null, crosses: true, action: 'delete', unwound: () => null },
    prepare: resized,
    start: use((world, id) => deleteServer(world.p, world.user, id)),
  },
  {
    ...{ ...common, move: 'soft delete', after: 'soft-delete', action: 'softDelete', unwound: () => 'soft-delete' },
    prepare: running,
    start: use((world, id) => softDeleteServer(world.p, world.user, id)),
  },
  {
    ...{ ...common, move: 'restore', after: 'active', action: 'restore' },
    prepare: softDeleted,
    start: use((world, id) => restoreServer(world.p, world.user, id)),
  },
  {
    ...{ ...common, move: 'create image', after: 'active', action: 'createImage', imageStays: true },
    prepare: newServer,
    start: use(async (world, id) =>
      refusalOf(await createServerImage(world.p, world.user, id, { name: 'image of one', metadata: {} })),
    ),
  },
  {
    ...{ ...common, move: 'rebuild root volume', after: 'active', action: 'rebuild' },
    storage: 'takes part',
    prepare: async (world) => (await volumeBackedServer(world)).serverId,
    start: use((world, id) =>
      rebuildServer(world.p, world.user, id, { imageId: world.imageId, name: 'anew', reimages: true }),
    ),
  },
  {
    ...{ ...common, move: 'create image of volumes', after: 'active', action: 'createImage' },
    storage: 'takes part',
    prepare: async (world) => (await volumeBackedServer(world)).serverId,
    start: use(async (world, id) =>
      refusalOf(await createServerImage(world.p, world.user, id, { name: 'image of one', metadata: {} })),
    ),
  },
  {
    ...{ ...common, move: 'create backup', after: 'active', action: 'createBackup', imageStays: true },
    prepare: withBackup,
    start: use(async (world, id) => refusalOf(await backUp(world, id))),
  },
  {
    ...{ ...common, move: 'shelve', after: 'shelved', action: 'shelve' },
    prepare: async (world) => {
      stays(world);
      return running(world);
    },
    start: use((world, id) => shelveServer(world.p, world.user, id)),
  },
  {
    ...{ ...common, move: 'shelve offload', after: 'shelved_offloaded', action: 'shelveOffload' },
    storage: 'takes part',
    prepare: shelved,
    start: use((world, id) => offloadServer(world.p, world.admin, id)),
  },
  {
    ...{ ...common, move: 'unshelve', after: 'active', action: 'unshelve' },
    prepare: shelved,
    start: use((world, id) => unshelveServer(world.p, world.user, id, {})),
  },
  {
    ...{ ...common, move: 'unshelve offloaded', after: 'active', action: 'unshelve', crosses: true },
    storage: 'takes part',
    prepare: offloaded,
    start: use((world, id) => unshelveServer(world.p, world.admin, id, { host: 'cell2-a' })),
  },
  {
    ...{ ...common, move: 'attach volume', after: 'active', action: 'attach_volume', storage: 'takes part' },
    prepare: async (world) => {
      const serverId = await newServer(world);
      await newVolume(world);
      return serverId;
    },
    start: async (world, serverId) => {
      const volumeId = (await onlyVolume(world)).id;
      const attached = await world.clock.drive(attachVolume(world.p, world.user, serverId, attachWish(volumeId)));
      return { serverId, refusal: attached.kind === 'attached' ? null : attached.refusal };
    },
  },
  {
    ...{ ...common, move: 'detach volume', after: 'active', action: 'detach_volume', storage: 'takes part' },
    prepare: running,
    start: use(async (world, id) => detachVolume(world.p, world.user, id, (await onlyVolume(world)).id)),
  },
  {
    ...{ ...common, move: 'attach interface', after: 'active', action: 'attach_interface' },
    prepare: newServer,
    start: async (world, serverId) => {
      const wanted = { kind: 'network', networkId: world.networkId, ip: null } as const;
      const attached = await world.clock.drive(attachInterface(world.p, world.user, serverId, wanted, 'second'));
      return { serverId, refusal: attached.kind === 'attached' ? null : attached.refusal };
    },
  },
  {
    ...{ ...common, move: 'detach interface', after: 'active', action: 'detach_interface' },
    prepare: newServer,
    start: use(async (world, serverId) => {
      const [port] = await portsOfServer(world.p.stores.global, serverId);
      assert(port);
      return detachInterface(world.p, world.user, serverId, port.id);
    }),
  },
  ...ON_VOLUMES,
];

const bootsFromVolume = async (world: World): Promise<string> => (await volumeBackedServer(world)).serverId;

async function resizedWithVolumes(world: World): Promise<string> {
  const serverId = await bootsFromVolume(world);
  await accept(world, resize(world, serverId));
  await settle(world);
  return serverId;
}

const VOLUME_BACKED_START: Readonly<Record<string, Partial<Fixture>>> = {
  create: {
    prepare: async (world) => {
      await newVolume(world);
      return '';
    },
    start: async (world) => ({
      serverId: await requestVolumeBacked(world, FLAVORS.small, (await onlyVolume(world)).id),
      refusal: null,
    }),
  },
  resize: { prepare: bootsFromVolume },
  evacuate: {
    prepare: async (world) => {
      const { serverId } = await volumeBackedServer(world, FLAVORS.plain);
      await forceDown(world, (await serverOf(world, serverId)).host);
      return serverId;
    },
  },
  'unshelve offloaded': {
    prepare: async (world) => {
      const { serverId } = await volumeBackedServer(world, FLAVORS.plain);
      // It leaves its host at once: nothing of it is there.
      await accept(world, shelveServer(world.p, world.user, serverId));
      await settle(world);
      return serverId;
    },
  },
  confirm: { prepare: resizedWithVolumes },
  revert: { prepare: resizedWithVolumes },
  delete: { prepare: resizedWithVolumes },
};

/** The moves that take volumes along, of a server that boots from one, with two data volumes and two ports. */
export const VOLUME_BACKED: readonly Fixture[] = FIXTURES.filter(
  ({ crosses, move }) => crosses || move === 'create',
).map((fixture): Fixture => ({ ...fixture, storage: 'takes part', ...VOLUME_BACKED_START[fixture.move] }));

export function fixtureOf(move: string): Fixture {
  const fixture = FIXTURES.find((each) => each.move === move);
  assert(fixture, `no fixture for ${move}`);
  return fixture;
}

/** A resize of a server that has a larger disk already, and has not run since: what was told of its disk is so no more. */
export const RESIZED_WHILE_OFF: Fixture = {
  ...{ ...fixtureOf('resize'), staysOff: true },
  prepare: async (world) => {
    const serverId = await stopped(world);
    const before = { ...world.user, requestId: 'req-before' };
    await accept(world, resizeServer(world.p, before, serverId, { flavorId: FLAVORS.medium }));
    await settle(world);
    await accept(world, confirmResize(world.p, before, serverId));
    await settle(world);
    return serverId;
  },
};

const near = (world: World, id: string) => resizeServer(world.p, world.user, id, { flavorId: FLAVORS.medium });

async function resizedOff(world: World): Promise<string> {
  const serverId = await stopped(world);
  await accept(world, resize(world, serverId));
  await settle(world);
  return serverId;
}

async function resizedNear(world: World): Promise<string> {
  const serverId = await running(world);
  await accept(world, near(world, serverId));
  await settle(world);
  return serverId;
}

/** The moves of servers that are off, and those that stay in their cell, by what the names of their tests say. */
export const OTHER_SHAPES: readonly (readonly [string, Fixture])[] = [
  ['from off, ', { ...fixtureOf('resize'), staysOff: true, prepare: stopped }],
  ['from off, ', { ...fixtureOf('confirm'), staysOff: true, after: 'stopped', prepare: resizedOff }],
  ['from off, ', { ...fixtureOf('revert'), staysOff: true, after: 'stopped', prepare: resizedOff }],
  ['inside a cell, ', { ...fixtureOf('resize'), crosses: false, start: use(near) }],
  ['inside a cell, ', { ...fixtureOf('confirm'), crosses: false, prepare: resizedNear }],
  ['inside a cell, ', { ...fixtureOf('revert'), crosses: false, prepare: resizedNear }],
  [
    'without another flavor, ',
    {
      ...{ ...fixtureOf('resize'), action: 'migrate' },
      prepare: (world) => running(world, FLAVORS.plain),
      start: use((world, id) => migrateServer(world.p, world.admin, id, { host: 'cell2-a' })),
    },
  ],
  ['of a server that waits for nothing, ', { ...fixtureOf('delete'), prepare: running }],
];
