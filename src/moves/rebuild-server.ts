// Begins a rebuild, of whichever kind: checks, and what is to be when it is over. See rebuild.ts and rebuild-volume.ts.
import type { Selectable } from 'kysely';
import { findImage, type Image, isForGuests, snapshotOf } from '../control/images.ts';
import { findKeypair } from '../control/keypairs.ts';
import { portsOfServer } from '../control/network.ts';
import type { Platform } from '../control/platform.ts';
import { quotaOf } from '../control/quota.ts';
import { rowOf } from '../control/records.ts';
import { serverOrRefusal } from '../control/servers.ts';
import { mappingsOfServer } from '../control/volumes/mappings.ts';
import { findVolume } from '../control/volumes/records.ts';
import { CINDER } from '../control/volumes/service.ts';
import { checkAction, stateOf } from '../model/actions.ts';
import { configDriveOf } from '../model/config-drive.ts';
import { diskImageOf } from '../model/disk-image.ts';
import { rememberedMinDiskGb } from '../model/disk-rules.ts';
import { checkMetadataQuota } from '../model/quota.ts';
import { checkRebuild } from '../model/rebuild-rules.ts';
import { type Actor, type ImageSnapshot, isAdmin, POWER_STATE, type Refusal, type Server } from '../model/types.ts';
import type { Volume } from '../model/volumes.ts';
import type { CellTables } from '../store/cell-schema.ts';
import { askedBy } from './claim.ts';
import { CHANGED, REBUILD, type RebuildState, type Words } from './rebuild.ts';
import { rebuildVolume } from './rebuild-volume.ts';
import type { ServerVolume } from './server-volumes.ts';
import { startMove } from './start.ts';
import { inTurn } from './turns.ts';

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

export const rebuildServer = inTurn(beginRebuild);

async function beginRebuild(
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
    ...{ actor, flavor: server.flavor, imageRef: request.imageId, reimages: request.reimages },
    bootVolume: bootVolume && {
      imageId: bootVolume.volume.image?.id ?? null,
      ...{ sizeGb: bootVolume.volume.sizeGb, isOurs: bootVolume.volume.storageHost !== CINDER },
    },
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
  const snapshot = rememberedAfter(server, image, bootVolume !== null, request.reimages);
  const after = await withDrive(p, actor, cellId, changed(server, request, snapshot));
  const state: RebuildState = {
    ...askedBy(actor, server),
    ...{ cellId, host: server.host, vmState: server.vmState, graceSeconds: p.settings.shutdownTimeoutSeconds },
    wasOn: server.powerState === POWER_STATE.RUNNING || server.powerState === POWER_STATE.PAUSED,
    willRun: server.vmState !== 'stopped',
    flavor: server.flavor,
    diskImageId: diskImageOf(snapshot),
    before: wordsOf(server),
    after: wordsOf(after),
  };
  if (bootVolume && request.reimages && image) return rebuildVolume(p, actor, serverId, state, image, bootVolume);
  return startMove(p, { move: REBUILD, serverId, actor, state }, 'rebuild');
}

function rememberedAfter(server: Server, image: Image | null, volumeBacked: boolean, reimages: boolean): ImageSnapshot {
  if (image === null || (volumeBacked && !reimages)) return server.image;
  const { minRamMb, properties } = snapshotOf(image);
  if (volumeBacked) return { ...server.image, minRamMb, properties };
  return { ...snapshotOf(image), minDiskGb: rememberedMinDiskGb(image.minDiskGb, server.flavor) };
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

async function rootVolume(
  p: Platform,
  cellId: string,
  serverId: string,
): Promise<{ readonly volume: Volume; readonly mapped: ServerVolume } | null> {
  const mappings = await mappingsOfServer(await p.stores.cell(cellId), serverId);
  const mapped = mappings.find(({ bootIndex }) => bootIndex === 0);
  const volume = mapped ? await findVolume(p.stores.global, mapped.volumeId) : null;
  return mapped && volume ? { volume, mapped } : null;
}
