// What tenants and operators ask of the control plane, as the use cases that its API calls.
import { updateService } from '../control/hosts.ts';
import { portsOfServer } from '../control/network.ts';
import type { Platform } from '../control/platform.ts';
import { createServerGroup, deleteServerGroup, listServerGroups } from '../control/server-groups.ts';
import { lockServer, unlockServer } from '../control/server-marks.ts';
import { editServer, serverOrRefusal } from '../control/servers.ts';
import { assertNever } from '../lib/errors.ts';
import { GROUP_POLICIES } from '../model/server-groups.ts';
import type { Actor, Refusal } from '../model/types.ts';
import { confirmResize } from '../moves/confirm.ts';
import { triggerCrashDump } from '../moves/crash-dump.ts';
import { createServerBackup, createServerImage } from '../moves/create-image.ts';
import { createServer } from '../moves/create-server.ts';
import { deleteServer } from '../moves/delete.ts';
import { attachInterface, detachInterface } from '../moves/interfaces.ts';
import { orderMove } from '../moves/orders.ts';
import {
  pauseServer,
  rebootServer,
  startServer,
  stopServer,
  suspendServer,
  unpauseServer,
  wakeServer,
} from '../moves/power.ts';
import { rebuildServer } from '../moves/rebuild-server.ts';
import { rescueServer, unrescueServer } from '../moves/rescue.ts';
import { migrateServer, resizeServer } from '../moves/resize.ts';
import { revertResize } from '../moves/revert.ts';
import { offloadServer, shelveServer } from '../moves/shelve.ts';
import { restoreServer, softDeleteServer } from '../moves/soft-delete.ts';
import { unshelveServer } from '../moves/unshelve.ts';
import { openSaga } from '../store/sagas.ts';
import { destroyKept } from './evacuations.ts';
import { deleteOwnImage, ownImage } from './image-operations.ts';
import { type Operation, VOLUME_OPERATIONS, type VolumeOperation } from './plan.ts';
import { disksOf, operateOnVolume } from './volume-operations.ts';
import { FLAVORS, type World } from './world.ts';

/** accepted, or the status and message of the refusal. */
export type Answer = string;

export interface CreateWish {
  readonly flavor: string;
  readonly disks: number;
  readonly group: number;
  /** Ids of all that were created; the new one joins them. */
  readonly servers: string[];
}

export interface Request {
  readonly operation: Operation;
  /** Its number among all that were created, or are to be. */
  readonly server: number;
  /** Null: there is none of that number. */
  readonly serverId: string | null;
  readonly choice: number;
}

/** Fewer than this are kept of a server's backups: so few that some have to go. */
const MOST_BACKUPS = 3;
/** Servers of one project; quotas are counted per project. */
const SERVERS_PER_PROJECT = 20;

function tenantOf({ user }: World, server: number): Actor {
  return { ...user, projectId: `project-${1 + Math.floor(server / SERVERS_PER_PROJECT)}` };
}

const CREATED = {
  ...{ zone: null, keyName: null, metadata: { colour: 'blue' }, tags: ['t'], description: 'a server' },
  diskConfig: 'AUTO',
} as const;

export async function create(p: Platform, world: World, wish: CreateWish): Promise<Answer> {
  const { networkId } = world;
  const { servers, flavor: flavorId } = wish;
  const user = tenantOf(world, servers.length);
  const group = await groupFor(p, user, wish.group);
  const disks = await disksOf(p, world, user, wish.disks);
  const created = await createServer(p, user, {
    ...CREATED,
    ...{ name: `server-${servers.length + 1}`, flavorId, networkIds: [networkId], ...disks },
    ...(group === null ? {} : { groupId: group }),
  });
  if (created.kind === 'refused') return answered(created.refusal);
  servers.push(created.serverId);
  return 'accepted';
}

/** Two of three servers are in no group; the others in the project's one of that policy, which is made when it is missing. */
async function groupFor(p: Platform, user: Actor, group: number): Promise<string | null> {
  if (group % 3 > 0) return null;
  const policy = GROUP_POLICIES[Math.floor(group / 3) % GROUP_POLICIES.length] ?? 'affinity';
  const { projectId } = user;
  const known = (await listServerGroups(p, { projectId, offset: 0, limit: 100 })).find(
    (each) => each.policy === policy,
  );
  if (known) return known.id;
  const made = await createServerGroup(p, user, { name: policy, policy, maxServerPerHost: null });
  return made.kind === 'created' ? made.group.id : null;
}

export async function operate(p: Platform, world: World, request: Request): Promise<Answer> {
  return answered(await refusalOf(p, world, request));
}

export const answered = (refusal: Refusal | null): Answer =>
  refusal === null ? 'accepted' : `${refusal.code} ${refusal.message}`;

const NO_SERVER: Refusal = { code: 404, message: 'there is no such server yet' };

async function refusalOf(p: Platform, world: World, request: Request): Promise<Refusal | null> {
  const { operation, server, serverId, choice } = request;
  const user = tenantOf(world, server);
  if (isOfVolume(operation)) return operateOnVolume(p, world, { operation, user, serverId, choice });
  return serverId === null ? NO_SERVER : operateOnServer(p, world, user, { operation, serverId, choice });
}

const isOfVolume = (operation: Operation): operation is VolumeOperation =>
  (VOLUME_OPERATIONS as readonly Operation[]).includes(operation);

async function operateOnServer(
  p: Platform,
  world: World,
  user: Actor,
  request: {
    readonly operation: Exclude<Operation, VolumeOperation>;
    readonly serverId: string;
    readonly choice: number;
  },
): Promise<Refusal | null> {
  const { operation, serverId, choice } = request;
  const { admin } = world;
  const flavors = Object.values(FLAVORS);
  const flavorId = flavors[choice % flavors.length] ?? FLAVORS.small;
  const hosts = [...world.hosts.keys()];
  const host = hosts[choice % hosts.length] ?? '';
  switch (operation) {
    case 'resize':
      return resizeServer(p, user, serverId, { flavorId });
    case 'migrate':
      return migrateServer(p, admin, serverId, { host: null });
    case 'migrate to host':
      return migrateServer(p, admin, serverId, { host });
    case 'confirm':
      return confirmResize(p, user, serverId);
    case 'revert':
      return revertResize(p, user, serverId);
    case 'delete':
      return deleteServer(p, user, serverId);
    case 'soft delete':
      return softDeleteServer(p, user, serverId);
    case 'restore':
      return restoreServer(p, user, serverId);
    case 'stop':
      return stopServer(p, user, serverId);
    case 'start':
      return startServer(p, user, serverId);
    case 'reboot':
      return rebootServer(p, user, serverId, 'SOFT');
    case 'hard reboot':
      return rebootServer(p, user, serverId, 'HARD');
    case 'rename':
      return editServer(p, serverId, { name: `name ${choice}` });
    case 'metadata':
      return editServer(p, serverId, { metadata: { choice: String(choice) }, tags: [`t${choice % 3}`] });
    case 'lock':
      return lockServer(p, admin, serverId, 'the simulation has it so');
    case 'unlock':
      return unlockServer(p, admin, serverId);
    case 'cancel':
    case 'retry': {
      const saga = await openSaga(p.stores.global, serverId);
      return saga ? orderMove(p, admin, saga.id, { kind: operation }) : { code: 404, message: 'nothing is under way' };
    }
    case 'pause':
      return pauseServer(p, user, serverId);
    case 'unpause':
      return unpauseServer(p, user, serverId);
    case 'suspend':
      return suspendServer(p, user, serverId);
    case 'rescue':
      return rescueServer(p, user, serverId, { imageRef: null, fromVolume: true });
    case 'shelve':
      return shelveServer(p, user, serverId);
    case 'offload':
      return offloadServer(p, admin, serverId);
    case 'bring back':
      return bringBack(p, user, serverId);
    case 'rebuild':
      return rebuildServer(p, user, serverId, {
        imageId: (choice % 3 === 0 ? (await ownImage(p, user, choice))?.id : null) ?? world.imageId,
        reimages: choice % 2 === 0,
      });
    case 'create image': {
      const made = await createServerImage(p, user, serverId, { name: `image ${choice}`, metadata: {} });
      return made.kind === 'refused' ? made.refusal : null;
    }
    case 'create backup': {
      const backup = { name: `backup ${choice}`, metadata: {}, backupType: 'daily', rotation: choice % MOST_BACKUPS };
      const made = await createServerBackup(p, user, serverId, backup);
      return made.kind === 'refused' ? made.refusal : null;
    }
    case 'delete image':
      return deleteOwnImage(p, user, choice);
    case 'crash dump':
      return triggerCrashDump(p, user, serverId);
    case 'attach interface': {
      const wanted = { kind: 'network', networkId: world.networkId, ip: null } as const;
      const attached = await attachInterface(p, user, serverId, wanted, null);
      return attached.kind === 'refused' ? attached.refusal : null;
    }
    case 'detach interface': {
      const ports = await portsOfServer(p.stores.global, serverId);
      const port = ports[choice % Math.max(1, ports.length)];
      return port ? detachInterface(p, user, serverId, port.id) : { code: 404, message: 'there is no such port' };
    }
    case 'delete group': {
      const groups = await listServerGroups(p, { projectId: user.projectId, offset: 0, limit: 100 });
      const group = groups[choice % Math.max(1, groups.length)];
      const deleted = group !== undefined && (await deleteServerGroup(p, group.id));
      return deleted ? null : { code: 404, message: 'there is no such group' };
    }
    case 'destroy kept guest':
      return destroyKept(p, world, choice);
    case 'disable host':
      return updateService(p, host, { disabled: true, disabledReason: 'the simulation has it so' });
    case 'enable host':
      return updateService(p, host, { disabled: false, disabledReason: null });
    default:
      return assertNever(operation);
  }
}

/** What a tenant does to have a server run as before. */
async function bringBack(p: Platform, user: Actor, serverId: string): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  switch (found.server.vmState) {
    case 'rescued':
      return unrescueServer(p, user, serverId);
    case 'shelved':
    case 'shelved_offloaded':
      return unshelveServer(p, user, serverId, {});
    case 'paused':
      return unpauseServer(p, user, serverId);
    case 'stopped':
      return startServer(p, user, serverId);
    default:
      return wakeServer(p, user, serverId);
  }
}
