// What tenants and operators ask of the control plane, as the use cases that its API calls.
import { updateService } from '../control/hosts.ts';
import type { Platform } from '../control/platform.ts';
import { lockServer, unlockServer } from '../control/server-marks.ts';
import { editServer } from '../control/servers.ts';
import { assertNever } from '../lib/errors.ts';
import type { Actor, Refusal } from '../model/types.ts';
import { confirmResize } from '../moves/confirm.ts';
import { createServer } from '../moves/create.ts';
import { deleteServer } from '../moves/delete.ts';
import { orderMove } from '../moves/orders.ts';
import { rebootServer, startServer, stopServer } from '../moves/power.ts';
import { migrateServer, resizeServer } from '../moves/resize.ts';
import { revertResize } from '../moves/revert.ts';
import { restoreServer, softDeleteServer } from '../moves/soft-delete.ts';
import type { Operation } from './plan.ts';
import { FLAVORS, type World } from './world.ts';

/** accepted, or the status and message of the refusal. */
export type Answer = string;

export type Request =
  | { readonly operation: 'create'; readonly flavor: string; readonly servers: string[] }
  | {
      readonly operation: Operation;
      /** Its number among all that were created. */
      readonly server: number;
      readonly serverId: string;
      readonly choice: number;
    };

/** Servers of one project; quotas are counted per project. */
const SERVERS_PER_PROJECT = 20;

function tenantOf({ user }: World, server: number): Actor {
  return { ...user, projectId: `project-${1 + Math.floor(server / SERVERS_PER_PROJECT)}` };
}

const CREATED = {
  ...{ zone: null, keyName: null, metadata: { colour: 'blue' }, tags: ['t'], description: 'a server' },
  diskConfig: 'AUTO',
} as const;

export async function operate(p: Platform, world: World, request: Request): Promise<Answer> {
  if (request.operation !== 'create') return answered(await refusalOf(p, world, request));
  const { imageId, networkId } = world;
  const user = tenantOf(world, request.servers.length);
  const name = `server-${request.servers.length + 1}`;
  const created = await createServer(p, user, {
    ...CREATED,
    ...{ name, imageId, flavorId: request.flavor, networkIds: [networkId] },
  });
  if (created.kind === 'refused') return answered(created.refusal);
  request.servers.push(created.serverId);
  return 'accepted';
}

const answered = (refusal: Refusal | null): Answer =>
  refusal === null ? 'accepted' : `${refusal.code} ${refusal.message}`;

async function refusalOf(
  p: Platform,
  world: World,
  { operation, server, serverId, choice }: Exclude<Request, { operation: 'create' }>,
): Promise<Refusal | null> {
  const { admin } = world;
  const user = tenantOf(world, server);
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
      const saga = await p.stores.global
        .selectFrom('sagas')
        .select('id')
        .where('key', '=', serverId)
        .where('status', 'in', ['active', 'stuck'])
        .executeTakeFirst();
      return saga ? orderMove(p, admin, saga.id, { kind: operation }) : { code: 404, message: 'nothing is under way' };
    }
    case 'disable host':
      return updateService(p, host, { disabled: true, disabledReason: 'the simulation has it so' });
    case 'enable host':
      return updateService(p, host, { disabled: false, disabledReason: null });
    default:
      return assertNever(operation);
  }
}

/** What an operator does about moves that are stuck: the cause is gone, so they are to be tried again. */
export async function retryStuck(world: World): Promise<void> {
  const stuck = await world.p.stores.global.selectFrom('sagas').select('id').where('status', '=', 'stuck').execute();
  for (const { id } of stuck) await orderMove(world.p, world.admin, id, { kind: 'retry' });
}
