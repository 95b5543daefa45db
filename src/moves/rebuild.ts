// Rebuild: a server gets a new root disk on its host, from an image, and other words about it if they are given.
//
// ACTIVE | SHUTOFF | ERROR → REBUILD → ACTIVE | SHUTOFF. The new disk is made beside the old one while the guest goes on; then
// the guest is turned off and started from the new one. Until it runs from that, everything can be taken back: the old disk
// is untouched, and the server is as it was. Only then is the old disk deleted. A server that was off stays off.
// The record says what is to be from the beginning on, as Nova's does, so the answer shows it; turned back, each field gets
// its old value unless somebody has changed it meanwhile. The old image is kept as long as the saga may need it
// (images/collect.ts). A server that boots from a volume keeps it as it is: it gets the new words, and a config drive.
import type { Selectable, Transaction } from 'kysely';
import { findImage, isForGuests, snapshotOf } from '../control/images.ts';
import { findKeypair } from '../control/keypairs.ts';
import { portsOfServer } from '../control/network.ts';
import type { Platform } from '../control/platform.ts';
import { quotaOf } from '../control/quota.ts';
import { rowOf } from '../control/records.ts';
import { serverOrRefusal } from '../control/servers.ts';
import { mappingsOfServer } from '../control/volumes/mappings.ts';
import { findVolume } from '../control/volumes/records.ts';
import { checkAction, stateOf } from '../model/actions.ts';
import { configDriveOf } from '../model/config-drive.ts';
import { diskImageOf } from '../model/disk-image.ts';
import { rememberedMinDiskGb } from '../model/disk-rules.ts';
import { checkMetadataQuota } from '../model/quota.ts';
import { checkRebuild } from '../model/rebuild-rules.ts';
import {
  type Actor,
  type Flavor,
  type ImageSnapshot,
  isAdmin,
  POWER_STATE,
  type Refusal,
  type Server,
  type VmState,
} from '../model/types.ts';
import type { CellTables } from '../store/cell-schema.ts';
import { letGo, takeHold } from './claim.ts';
import { ownsSaga } from './fencing.ts';
import type { Move, Owner, StepContext, StepOutcome } from './move.ts';
import { done, doneBecause } from './outcomes.ts';
import { powerOff, powerOffAgain, powerOn, powerOnAgain } from './power-effects.ts';
import { dropSpare, makeSpare, useSpare, useSpareAgain } from './spare-effects.ts';
import { driveOf, guestSpec } from './spec.ts';
import { startMove } from './start.ts';

/** What a rebuild may change of a record. */
const CHANGED = [
  ...(['name', 'hostname', 'description', 'image_json', 'key_name', 'user_data', 'config_drive_json'] as const),
  ...(['metadata_json', 'disk_config', 'access_ip_v4', 'access_ip_v6'] as const),
] as const;
type Words = Pick<Selectable<CellTables['servers']>, (typeof CHANGED)[number]>;

export interface RebuildState {
  readonly actor: Owner;
  readonly cellId: string;
  readonly host: string;
  readonly vmState: VmState;
  readonly graceSeconds: number;
  /** Whether the guest was to run before, and is to run afterwards. */
  readonly wasOn: boolean;
  readonly willRun: boolean;
  readonly flavor: Flavor;
  /** The image of the new disk; null: it boots from a volume. */
  readonly diskImageId: string | null;
  readonly before: Words;
  readonly after: Words;
}

type C = StepContext<RebuildState>;

const FORWARD = 'forward only: the guest runs from its new disk';

export const REBUILD: Move<RebuildState> = {
  name: 'rebuild',
  version: 1,
  pivot: 'note image',
  parties: (s) => [s.host],
  steps: [
    {
      step: 'take hold',
      do: (c) =>
        takeHold(c, c.s.cellId, 'rebuild', 'rebuilding', { from: [c.s.vmState], host: c.s.host }, (trx) =>
          write(c, trx, c.s.after),
        ),
      undo: (c) => letGo(c, c.s.cellId, {}, 'Error', (trx) => takeBack(c, trx)),
    },
    {
      // While the guest goes on: the image may have to come to the host first.
      step: 'make disk',
      do: makeDisk,
      undo: (c) => dropSpare(c, c.s.host),
    },
    {
      step: 'turn off',
      do: (c) => powerOff(c, c.s.host, c.s.graceSeconds),
      undo: async (c) => (c.s.wasOn ? powerOnAgain(c, c.s.host) : doneBecause('was off')),
    },
    {
      step: 'switch disk',
      do: (c) => useSpare(c, c.s.host, true),
      undo: (c) => useSpareAgain(c, c.s.host, false),
    },
    {
      step: 'start guest',
      do: async (c) => (c.s.willRun ? powerOn(c, c.s.host) : doneBecause('it stays off')),
      undo: async (c) => (c.s.willRun ? powerOffAgain(c, c.s.host) : doneBecause('it stayed off')),
    },
    {
      step: 'note image',
      do: noteImage,
      undo: 'the pivot: one write, which the next rebuild overwrites',
    },
    {
      step: 'drop old disk',
      do: (c) => dropSpare(c, c.s.host),
      undo: FORWARD,
    },
    {
      step: 'let go',
      do: (c) =>
        letGo(
          c,
          c.s.cellId,
          {
            ...(c.s.willRun
              ? { vm_state: 'active', power_state: POWER_STATE.RUNNING }
              : { vm_state: 'stopped', power_state: POWER_STATE.SHUTDOWN }),
            ...{ launched_at: c.p.clock.now(), fault_json: null },
          },
          null,
        ),
      undo: FORWARD,
    },
  ],
};

async function write(c: C, trx: Transaction<CellTables>, words: Partial<Words>): Promise<StepOutcome<RebuildState>> {
  if (Object.keys(words).length === 0) return done;
  await trx.updateTable('servers').set(words).where('id', '=', c.serverId).where('saga_id', '=', c.saga.id).execute();
  return done;
}

async function takeBack(c: C, trx: Transaction<CellTables>): Promise<void> {
  const { before, after } = c.s;
  const now = await trx.selectFrom('servers').select(CHANGED).where('id', '=', c.serverId).executeTakeFirst();
  if (!now) return;
  await write(
    c,
    trx,
    Object.fromEntries(CHANGED.filter((key) => now[key] === after[key]).map((key) => [key, before[key]])),
  );
}

async function makeDisk(c: C): Promise<StepOutcome<RebuildState>> {
  const { after, flavor, diskImageId, host } = c.s;
  const configDrive =
    after.config_drive_json === null ? null : (JSON.parse(after.config_drive_json) as Server['configDrive']);
  const drive = driveOf({ configDrive, userData: after.user_data });
  return makeSpare(c, host, 'rebuild', await guestSpec(c.p, c.serverId, diskImageId, flavor, drive));
}

/** What is known of the server where its cell is not asked. */
async function noteImage(c: C): Promise<StepOutcome<RebuildState>> {
  const { global } = c.p.stores;
  const { id } = JSON.parse(c.s.after.image_json) as ImageSnapshot;
  await global
    .updateTable('server_mappings')
    .set({ image_id: id })
    .where('server_id', '=', c.serverId)
    .where(ownsSaga(global, c))
    .execute();
  return done;
}

export interface RebuildRequest {
  readonly imageId: string;
  readonly name?: string;
  readonly description?: string | null;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly keyName?: string | null;
  /** base64 */
  readonly userData?: string | null;
  readonly hostname?: string;
  readonly diskConfig?: 'AUTO' | 'MANUAL';
  readonly accessIpV4?: string;
  readonly accessIpV6?: string;
  /** Whether a root volume is asked to be made anew (from 2.93 on). */
  readonly reimages: boolean;
}

export async function rebuildServer(
  p: Platform,
  actor: Actor,
  serverId: string,
  request: RebuildRequest,
): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const { server, cellId } = found;
  const refusal = checkAction('rebuild', stateOf(server), isAdmin(actor));
  if (refusal) return refusal;
  if (server.host === null) return { code: 409, message: `Instance ${serverId} is not ready` };
  const image = await findImage(p, request.imageId);
  const bootVolume = diskImageOf(server.image) === null ? await rootVolume(p, cellId, serverId) : null;
  const key = request.keyName ? await findKeypair(p, actor.userId, request.keyName) : null;
  const wrong = checkRebuild({
    ...{ actor, flavor: server.flavor, imageRef: request.imageId, bootVolume, reimages: request.reimages },
    ...{ name: request.name, description: request.description, metadata: request.metadata },
    ...{ diskConfig: request.diskConfig, keyName: request.keyName, keyFound: key !== null },
    image: image && {
      ...image,
      ...{ name: image.name ?? '', projectId: image.owner, virtualBytes: image.virtualBytes ?? 0 },
      isForGuests: isForGuests(image),
    },
  });
  if (wrong) return wrong;
  if (request.metadata) {
    const { limits } = await quotaOf(p, server.projectId);
    const over = checkMetadataQuota(limits, Object.keys(request.metadata).length);
    if (over) return over;
  }
  const snapshot: ImageSnapshot =
    bootVolume || image === null
      ? server.image
      : { ...snapshotOf(image), minDiskGb: rememberedMinDiskGb(image.minDiskGb, server.flavor) };
  const after = await withDrive(p, actor, cellId, changed(server, request, snapshot));
  const state: RebuildState = {
    actor: { userId: actor.userId, projectId: actor.projectId },
    ...{ cellId, host: server.host, vmState: server.vmState, graceSeconds: p.settings.shutdownTimeoutSeconds },
    wasOn: server.powerState === POWER_STATE.RUNNING || server.powerState === POWER_STATE.PAUSED,
    willRun: server.vmState !== 'stopped',
    flavor: server.flavor,
    diskImageId: diskImageOf(snapshot),
    before: wordsOf(server),
    after: wordsOf(after),
  };
  return startMove(p, { move: REBUILD, serverId, actor, state }, 'rebuild');
}

const changed = (server: Server, request: RebuildRequest, image: ImageSnapshot): Server => ({
  ...server,
  image,
  ...(request.name === undefined ? {} : { name: request.name }),
  ...(request.hostname === undefined ? {} : { hostname: request.hostname }),
  ...(request.description === undefined ? {} : { description: request.description }),
  ...(request.metadata === undefined ? {} : { metadata: request.metadata }),
  ...(request.keyName === undefined ? {} : { keyName: request.keyName }),
  ...(request.userData === undefined ? {} : { userData: request.userData }),
  ...(request.diskConfig === undefined ? {} : { diskConfig: request.diskConfig }),
  ...(request.accessIpV4 === undefined ? {} : { accessIpV4: request.accessIpV4 || null }),
  ...(request.accessIpV6 === undefined ? {} : { accessIpV6: request.accessIpV6 || null }),
});

/** A server that has a config drive gets one that says what holds now. */
async function withDrive(p: Platform, actor: Actor, cellId: string, server: Server): Promise<Server> {
  if (server.configDrive === null) return server;
  const { id: serverId, keyName, zone } = server;
  const ports = await portsOfServer(p.stores.global, serverId);
  const volumes = await mappingsOfServer(await p.stores.cell(cellId), serverId);
  const key =
    keyName === null
      ? null
      : ((await findKeypair(p, actor.userId, keyName)) ?? (await findKeypair(p, server.userId, keyName)));
  return { ...server, configDrive: configDriveOf({ ...server, serverId, zone: zone ?? '', key, ports, volumes }) };
}

function wordsOf(server: Server): Words {
  const row = rowOf(server) as unknown as Selectable<CellTables['servers']>;
  return Object.fromEntries(CHANGED.map((column) => [column, row[column]])) as unknown as Words;
}

async function rootVolume(p: Platform, cellId: string, serverId: string): Promise<{ imageId: string | null }> {
  const mappings = await mappingsOfServer(await p.stores.cell(cellId), serverId);
  const root = mappings.find(({ bootIndex }) => bootIndex === 0);
  const volume = root ? await findVolume(p.stores.global, root.volumeId) : null;
  return { imageId: volume?.image?.id ?? null };
}
