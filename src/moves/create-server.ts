// Asking for a server: what is asked is checked, and room, ports, volumes and its record's contents are reserved in the
// transaction that makes the saga of create.ts. Refusals are Nova's; what is refused leaves nothing behind. Where no host
// has room the server is written in ERROR, as in Nova.
import type { Transaction } from 'kysely';
import { findFlavor } from '../control/flavors.ts';
import { findImage, type Image, isForGuests, snapshotOf } from '../control/images.ts';
import { findKeypair, type Keypair } from '../control/keypairs.ts';
import { claimPort } from '../control/network/interfaces.ts';
import { NETWORKS } from '../control/network/quotas.ts';
import { networkService, type TakenPort, type Taking } from '../control/network/service.ts';
import { activateBindings, createPortForServer, type Port, portsOfServer } from '../control/network.ts';
import type { Platform } from '../control/platform.ts';
import { firstOver, lockQuota, type ProjectQuota, quotasFor } from '../control/quota.ts';
import { plainFlavor } from '../control/records.ts';
import { chooseHost } from '../control/scheduling.ts';
import { findServerGroup } from '../control/server-groups.ts';
import { invariant } from '../lib/errors.ts';
import { newId } from '../lib/ids.ts';
import { type BlockDevice, invalidBootSequence } from '../model/block-devices.ts';
import { configDriveOf } from '../model/config-drive.ts';
import { checkCreate } from '../model/create-rules.ts';
import { rememberedMinDiskGb } from '../model/disk-rules.ts';
import { hostnameOf } from '../model/names.ts';
import { checkMetadataQuota, checkOneMore } from '../model/quota.ts';
import { badRequest, refused } from '../model/refusal.ts';
import { flavorOnHost } from '../model/resources.ts';
import { groupHintNotFound } from '../model/server-groups.ts';
import { type Actor, type Flavor, type ImageSnapshot, POWER_STATE, type Refusal, type Server } from '../model/types.ts';
import type { Volume } from '../model/volumes.ts';
import type { Row } from '../saga/types.ts';
import { exclusively } from '../store/dialect.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { CREATE, type CreateState, type Whereabouts, whereTo } from './create.ts';
import { insertHome, joinGroup, writeInError } from './create-home.ts';
import { claimDevices, type PlannedDevice, planDevices, stateOfDevices, takeDevices } from './create-volumes.ts';
import type { Owner } from './move.ts';
import { insertLeased, Refused, type Start, takeFirstStep } from './start.ts';

export interface CreateRequest {
  readonly name: string;
  /** Null: it boots from the block device with boot index 0. */
  readonly imageId: string | null;
  /** An image that is named all the same: the server is said to be made from it, and has to suit it. Absent: none. */
  readonly namedImageId?: string;
  readonly flavorId: string;
  readonly zone: string | null;
  readonly networkIds: readonly string[];
  /** The server group that it joins; absent: none. */
  readonly groupId?: string;
  /** Whether one of them may be a volume that several servers can have; absent: yes. */
  readonly multiattach?: boolean;
  /** Volumes that it gets; absent: none. */
  readonly blockDevices?: readonly BlockDevice[];
  readonly keyName: string | null;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tags: readonly string[];
  readonly description: string | null;
  readonly diskConfig: 'AUTO' | 'MANUAL';
  /** Device tags, in the order of networkIds, in which a network may come twice. */
  readonly networkTags?: readonly (string | null)[];
  /** Likewise: addresses to have, and ports of the user's to take; null: any, a new one. */
  readonly networkIps?: readonly (string | null)[];
  readonly networkPorts?: readonly (string | null)[];
  /** Of new ports; absent: the project's default one. */
  readonly securityGroupIds?: readonly string[];
  /** base64 */
  readonly userData?: string | null;
  readonly configDrive?: boolean;
  readonly where?: Whereabouts;
  /** Absent: made from the name. */
  readonly hostname?: string;
  readonly accessIpV4?: string | null;
  readonly accessIpV6?: string | null;
  /** Of several servers that are made by one request. */
  readonly reservationId?: string;
  readonly launchIndex?: number;
}

export type Created =
  | { readonly kind: 'created'; readonly serverId: string; readonly reservationId: string }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

export async function createServer(p: Platform, actor: Actor, request: CreateRequest): Promise<Created> {
  const id = newId();
  const namedImageId = request.imageId ?? request.namedImageId ?? null;
  const devices = await planDevices(p, actor, id, request.blockDevices ?? [], {
    imageNamed: namedImageId !== null,
    multiattach: request.multiattach ?? true,
  });
  if ('code' in devices) return refused(devices);
  const bootVolume = devices.find(({ mapping }) => mapping.bootIndex === 0)?.volume ?? null;
  if ((bootVolume === null) === (request.imageId === null)) return refused(invalidBootSequence());
  const flavor = await findFlavor(p, request.flavorId);
  const image = namedImageId === null ? null : await findImage(p, namedImageId);
  const keypair = request.keyName === null ? null : await findKeypair(p, actor.userId, request.keyName);
  const refusal = checkCreate({
    actor,
    zeroDiskAllowed: p.policies.allows('compute', 'os_compute_api:servers:create:zero_disk_flavor', actor),
    name: request.name,
    metadata: request.metadata,
    flavorRef: request.flavorId,
    flavor,
    image:
      image === null
        ? null
        : {
            ...image,
            name: image.name ?? '',
            projectId: image.owner,
            virtualBytes: image.virtualBytes ?? 0,
            isForGuests: isForGuests(image),
          },
    bootVolume: bootVolume && { ...rememberedBy(bootVolume), imageIsNamed: namedImageId !== null },
    keyName: request.keyName,
    keyFound: keypair !== null,
  });
  if (refusal) return refused(refusal);
  invariant(flavor, 'checkCreate refuses without a flavor');
  const quotas = await quotasFor(p, actor);
  const over = overQuota(quotas, flavor);
  if (over) return refused(over);
  const overMetadata = checkMetadataQuota(quotas[0].limits, Object.keys(request.metadata).length);
  if (overMetadata) return refused(overMetadata);

  if (request.groupId !== undefined) {
    const group = await findServerGroup(p, request.groupId);
    if (group?.projectId !== actor.projectId) return refused(groupHintNotFound(request.groupId));
  }

  const now = p.clock.now();
  const server: Server = {
    id,
    name: request.name,
    hostname: request.hostname ?? hostnameOf(request.name, id),
    description: request.description,
    projectId: actor.projectId,
    userId: actor.userId,
    image: imageSnapshot(image, bootVolume, flavor),
    flavor: plainFlavor(flavor),
    oldFlavor: null,
    vmState: 'building',
    taskState: 'spawning',
    oldVmState: null,
    shelvedImageId: null,
    powerState: POWER_STATE.NOSTATE,
    progress: 0,
    sagaId: null,
    revision: 0,
    host: null,
    zone: null,
    requestedZone: request.zone,
    keyName: request.keyName,
    userData: request.userData ?? null,
    configDrive: null,
    metadata: request.metadata,
    tags: request.tags,
    locked: false,
    lockedBy: null,
    lockedReason: null,
    diskConfig: request.diskConfig,
    reservationId: request.reservationId ?? `r-${id.slice(0, 8)}`,
    launchIndex: request.launchIndex ?? 0,
    accessIpV4: request.accessIpV4 ?? null,
    accessIpV6: request.accessIpV6 ?? null,
    fault: null,
    createdAt: now,
    updatedAt: now,
    launchedAt: null,
    deletedAt: null,
  };
  const created = await orRefused(async () => {
    const notFree = await takeDevices(p, { serverId: id, projectId: actor.projectId }, devices);
    return notFree ? refused(notFree) : place(p, actor, request, server, devices, keypair);
  }).finally(() => p.volumes?.giveUp(p, id));
  // Where an answer was lost nothing is given back yet: what was asked for may still come about.
  await networkService(p).giveUp(p, takingFor(server));
  return created;
}

async function orRefused(work: () => Promise<Created>): Promise<Created> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Refused) return refused(error.refusal);
    throw error;
  }
}

/** Of ports in another network service: a new server takes them once. */
const takingFor = ({ id, projectId }: Server): Taking => ({ takeId: id, serverId: id, projectId });

/** What a volume knows of the image it was made from, which the flavor has to suit. */
const rememberedBy = ({ id, image }: Volume) => ({
  name: image?.name ?? id,
  minRamMb: image?.minRamMb ?? 0,
  properties: image?.properties ?? {},
});

function imageSnapshot(image: Image | null, bootVolume: Volume | null, flavor: Flavor): ImageSnapshot {
  if (bootVolume) {
    const { minRamMb, properties } = image === null ? rememberedBy(bootVolume) : snapshotOf(image);
    return { id: null, minDiskGb: 0, minRamMb, properties, ...(image === null ? {} : { namedId: image.id }) };
  }
  invariant(image, 'checkCreate refuses without an image');
  return { ...snapshotOf(image), minDiskGb: rememberedMinDiskGb(image.minDiskGb, flavor) };
}

async function place(
  p: Platform,
  actor: Actor,
  request: CreateRequest,
  server: Server,
  devices: readonly PlannedDevice[],
  key: Keypair | null,
): Promise<Created> {
  const owner: Owner = { userId: actor.userId, projectId: actor.projectId };
  const taken = await networkService(p).take(p, {
    ...{ ...takingFor(server), actor },
    ports: request.networkIds.map((networkId, index) => {
      const portId = request.networkPorts?.[index] ?? null;
      if (portId !== null) return { kind: 'port', portId };
      const ip = request.networkIps?.[index] ?? null;
      return { kind: 'network', networkId, ip, groupIds: request.securityGroupIds ?? null };
    }),
  });
  // What a request names and is not there is wrong with the request.
  if (taken.kind === 'refused')
    throw new Refused(taken.refusal.code === 404 ? badRequest(taken.refusal.message) : taken.refusal);
  const started: { start?: Start<CreateState>; saga?: Row } = {};
  const chosen = await chooseHost(
    p,
    {
      flavor: flavorOnHost(server.flavor, server.image),
      imageProperties: server.image.properties,
      requestedZone: request.zone,
      ...whereTo(request.where, []),
      homeCellId: null,
      crossCellAllowed: true,
      groupId: request.groupId ?? null,
    },
    { id: server.id, type: 'server', serverId: server.id, ...owner },
    // One transaction: room, home, ports and the saga that goes on from there; and, once more, the quota.
    (claimRoom) =>
      p.stores.global.transaction().execute(async (trx) => {
        await checkQuotaAgain(p, trx, actor, server.flavor);
        // As claimPort will ask for: names before rows.
        if (request.networkPorts?.some((id) => id !== null)) await exclusively(trx, NETWORKS);
        const room = await claimRoom(trx);
        if (room.kind === 'none') return room;
        await insertHome(trx, actor, server, room.cellId);
        await joinGroup(p, trx, actor, request.groupId, server.id);
        const ports = await createPorts(trx, actor, request, server, room.host, taken.ports);
        await networkService(p).claimed(trx, takingFor(server));
        const claimed = await claimDevices(p, trx, { serverId: server.id, ...owner, host: room.host }, devices);
        if (claimed) throw new Refused(claimed);
        const { cellId, host, zone } = room;
        const configDrive = wantsConfigDrive(p, request, server)
          ? configDriveOf({
              ...server,
              serverId: server.id,
              zone,
              key,
              ports,
              volumes: devices.map(({ mapping }) => mapping),
            })
          : null;
        const start: Start<CreateState> = {
          move: CREATE,
          serverId: server.id,
          actor,
          retries: p.settings.maxAttempts - 1,
          state: {
            actor: owner,
            place: { cellId, host, zone },
            ...(request.where === undefined ? {} : { where: request.where }),
            flavor: server.flavor,
            imageId: server.image.id,
            server: { ...server, host, zone, configDrive },
            ...stateOfDevices(devices),
          },
        };
        const saga = await insertLeased(p, trx, start);
        invariant(saga, 'a new server has no saga yet');
        Object.assign(started, { start, saga });
        return room;
      }),
  );
  const made = { kind: 'created', serverId: server.id, reservationId: server.reservationId } as const;
  if (chosen.kind === 'none') {
    const nowhere = await writeInError(p, actor, server, request.groupId, chosen.reason);
    return nowhere ? refused(nowhere) : made;
  }
  const { start, saga } = started;
  invariant(start && saga, 'a chosen host comes with a saga');
  const refusal = await takeFirstStep(p, start, saga, 'create');
  // A record that could not be written now is written, or given up, by a conductor: the server exists either way.
  if (refusal) p.log.warn({ serverId: server.id, refusal }, 'the record of a new server is not written yet');
  return made;
}

async function checkQuotaAgain(
  p: Platform,
  trx: Transaction<GlobalTables>,
  actor: Actor,
  flavor: Flavor,
): Promise<void> {
  await lockQuota(trx, actor.projectId);
  const over = overQuota(await quotasFor(p, actor, trx), flavor);
  if (over) throw new Refused(over);
}

const overQuota = (quotas: readonly ProjectQuota[], flavor: Flavor): Refusal | null =>
  firstOver(quotas, (limits, used) => checkOneMore(limits, used, flavor));

async function createPorts(
  trx: Transaction<GlobalTables>,
  actor: Actor,
  request: CreateRequest,
  server: Server,
  host: string,
  taken: readonly (TakenPort | null)[],
): Promise<Port[]> {
  const ports: Port[] = [];
  const { projectId } = actor;
  for (const [index, networkId] of request.networkIds.entries()) {
    const ip = request.networkIps?.[index] ?? null;
    const common = {
      ...{ serverId: server.id, projectId, tag: request.networkTags?.[index] ?? null },
      // Each a moment later than the one before: ports are in the order in which the server got them.
      now: server.createdAt + index,
    };
    const portId = request.networkPorts?.[index] ?? null;
    if (portId !== null) {
      const claim = { ...common, newPortId: portId, taken: taken[index] ?? null };
      const claimed = await claimPort(trx, actor, { kind: 'port', portId }, claim);
      if ('code' in claimed) throw new Refused(claimed);
      continue;
    }
    const result = await createPortForServer(trx, {
      ...{ ...common, networkId, host, generation: 0 },
      nth: request.networkIds.slice(0, index).filter((each) => each === networkId).length,
      ...(ip === null ? {} : { ip }),
      ...(request.securityGroupIds === undefined ? {} : { groupIds: request.securityGroupIds }),
      ...(taken[index] ? { taken: taken[index] } : {}),
    });
    if (result.kind === 'refused') {
      const isTaken = ip !== null && result.refusal.code === 409;
      throw new Refused(isTaken ? badRequest(`Fixed IP address ${ip} is already in use.`) : result.refusal);
    }
    ports.push(result.port);
  }
  if (ports.length === request.networkIds.length) return ports;
  if ((await activateBindings(trx, server.id, host, 0)) === 'fenced')
    throw new Refused({ code: 409, message: 'A port of the server is held by another operation.' });
  return portsOfServer(trx, server.id);
}

const wantsConfigDrive = (p: Platform, { configDrive }: CreateRequest, { image }: Server): boolean =>
  configDrive === true || p.settings.forceConfigDrive || image.properties['img_config_drive'] === 'mandatory';
