// Taking a shelved server up again.
//
// One that is still on its host is turned on, and its image goes. One that was offloaded is built anew from that image,
// on whatever host the scheduler finds: with its ports, volumes, keys, config drive and address. As nothing of it runs
// anywhere, crossing into another cell is a matter of its records: they are carried over and the home is switched, as in a
// resize, and by the same effects. Until then it turns back to where it was, SHELVED_OFFLOADED. Its root disk stands on
// the image of its shelving from then on, which users see no more.
import { listHosts } from '../control/hosts.ts';
import { discardImages, hasData } from '../control/images/records.ts';
import type { Platform } from '../control/platform.ts';
import { hostsWithRemains } from '../control/quarantine.ts';
import { firstOver, lockQuota, type ProjectQuota, quotasFor } from '../control/quota.ts';
import { chooseHost } from '../control/scheduling.ts';
import { groupIdOf } from '../control/server-groups.ts';
import { serverOrRefusal } from '../control/servers.ts';
import { NOWHERE } from '../control/volumes/attachments.ts';
import { checkAction, stateOf } from '../model/actions.ts';
import { checkOneMore } from '../model/quota.ts';
import { badRequest, conflict } from '../model/refusal.ts';
import { flavorOnHost } from '../model/resources.ts';
import {
  type Actor,
  type Flavor,
  type ImageSnapshot,
  isAdmin,
  POWER_STATE,
  type Refusal,
  type Server,
} from '../model/types.ts';
import { noHost, triedHosts } from './alternates.ts';
import { switchHome } from './carry.ts';
import { type ActionState, askedBy, letGo, takeHold, takeHoldWithVolumes } from './claim.ts';
import { globally } from './fencing.ts';
import { destroyOrOwe } from './hosts.ts';
import type { Move, Owner, Place, StepContext } from './move.ts';
import { done, inGlobal, LANDED } from './outcomes.ts';
import { powerOffAgain, powerOn, powerOnAgain, powerOnProbation } from './power-effects.ts';
import { dropVolumes, type HasVolumes, handBackVolumes, handOverVolumes } from './server-volumes.ts';
import { startMove } from './start.ts';
import {
  BIND_PORTS,
  COPY_RECORDS,
  DROP_OLD_RECORDS,
  ELSEWHERE,
  FREEZE_RECORD,
  giveBackLostChoice,
  giveUpTarget,
  type HasTarget,
  portsTo,
  prepare,
  RESERVE_VOLUMES,
  serverConsumer,
  target,
  unbindFrom,
} from './target.ts';
import { inTurn } from './turns.ts';

export interface UnshelveState extends ActionState {
  readonly cellId: string;
  readonly host: string;
  /** Null: it boots from a volume. */
  readonly imageId: string | null;
}

const ON = { vm_state: 'active', power_state: POWER_STATE.RUNNING, shelved_image_id: null } as const;

/** The image of the shelving is gone, and nobody is to offload the server. */
const dropImage = (c: StepContext<{ readonly imageId: string | null }>) =>
  inGlobal(c, async (trx) => {
    await discardImages(trx, c.s.imageId === null ? [] : [c.s.imageId], c.p.clock.now());
    await trx.updateTable('server_mappings').set({ offload_at: null }).where('server_id', '=', c.serverId).execute();
  });

async function isImageDropped({ p, s, serverId }: StepContext<UnshelveState>): Promise<boolean> {
  const { global } = p.stores;
  if (s.imageId !== null) return !(await hasData(global, s.imageId));
  const { offload_at: at } = await global
    .selectFrom('server_mappings')
    .select('offload_at')
    .where('server_id', '=', serverId)
    .executeTakeFirstOrThrow();
  return at === null;
}

export const UNSHELVE: Move<UnshelveState> = {
  name: 'unshelve',
  version: 1,
  pivot: 'drop image',
  parties: (s) => [s.host],
  steps: [
    {
      step: 'take hold',
      do: (c) => takeHold(c, c.s.cellId, 'unshelve', 'unshelving', { from: ['shelved'], host: c.s.host }),
      undo: (c) => letGo(c, c.s.cellId, {}, 'Error'),
    },
    {
      step: 'turn on',
      do: (c) => powerOn(c, c.s.host),
      undo: (c) => powerOffAgain(c, c.s.host),
    },
    {
      step: 'drop image',
      do: dropImage,
      undo: async (c) => ((await isImageDropped(c)) ? LANDED : done),
    },
    {
      step: 'let go',
      do: (c) => letGo(c, c.s.cellId, ON, null),
      undo: 'forward only',
    },
  ],
};

export interface UnshelveOffloadedState extends ActionState, HasVolumes, HasTarget {
  readonly owner: Owner;
  /** Where its record is; its guest is nowhere. */
  readonly source: Place;
  readonly imageId: string | null;
  readonly image: ImageSnapshot;
  readonly flavor: Flavor;
  readonly requestedZone: string | null;
  readonly requestedHost: string | null;
  readonly crossCellAllowed: boolean;
  readonly hasConfigDrive: boolean;
}

type C = StepContext<UnshelveOffloadedState>;

const FORWARD = 'forward only';

export const UNSHELVE_OFFLOADED: Move<UnshelveOffloadedState> = {
  name: 'unshelve offloaded',
  version: 1,
  pivot: 'switch home',
  parties: (s) => [s.target?.host],
  steps: [
    { step: 'take hold', do: takeHoldOffloaded, undo: (c) => letGo(c, c.s.source.cellId, {}, 'Error') },
    { step: 'choose target', attempts: 3, do: chooseTarget, undo: giveUpTarget },
    BIND_PORTS,
    RESERVE_VOLUMES,
    {
      ...{ step: 'prepare target', ...ELSEWHERE, do: prepareTarget },
      undo: (c) => destroyOrOwe(c, target(c).host, 'server that could not be unshelved'),
    },
    { step: 'hand over ports', do: (c) => portsTo(c, target(c).host), undo: (c) => portsTo(c, NOWHERE) },
    {
      step: 'hand over volumes',
      do: (c) => handOverVolumes(c, NOWHERE, target(c).host),
      undo: (c) => handBackVolumes(c, target(c).host, NOWHERE),
    },
    {
      // On probation until the home is switched: see resize.ts.
      ...{ step: 'start target', ...ELSEWHERE, attempts: 2, do: (c) => powerOnProbation(c, target(c).host) },
      undo: (c) => destroyOrOwe(c, target(c).host, 'guest of a server that could not be unshelved'),
    },
    FREEZE_RECORD,
    COPY_RECORDS,
    {
      step: 'switch home',
      do: (c) => switchHome(c, target(c).cellId, c.s.flavor),
      undo: (c) => switchHome(c, c.s.source.cellId, c.s.flavor),
    },
    { step: 'keep target', do: (c) => powerOnAgain(c, target(c).host), undo: FORWARD },
    DROP_OLD_RECORDS,
    { step: 'unbind ports', do: (c) => unbindFrom(c, NOWHERE), undo: FORWARD },
    { step: 'drop attachments', do: (c) => dropVolumes(c, NOWHERE), undo: FORWARD },
    { step: 'drop image', do: settleZoneAndDropImage, undo: FORWARD },
    { step: 'let go', do: letGoAtTarget, undo: FORWARD },
  ],
};

function takeHoldOffloaded(c: C) {
  const expected = { from: ['shelved_offloaded'], host: null } as const;
  return takeHoldWithVolumes(c, c.s.source.cellId, 'unshelve', 'unshelving', expected);
}

function prepareTarget(c: C) {
  const { source, flavor, imageId, hasConfigDrive } = c.s;
  return prepare(c, { cellId: source.cellId, flavor, imageId, hasConfigDrive, disk: 'fresh' });
}

async function settleZoneAndDropImage(c: C) {
  const zone = { requested_zone: c.s.requestedZone };
  await inGlobal(c, (trx) =>
    trx.updateTable('server_mappings').set(zone).where('server_id', '=', c.serverId).execute(),
  );
  return dropImage(c);
}

function letGoAtTarget(c: C) {
  const { imageId, image, requestedZone } = c.s;
  const itsImage = (id: string) => JSON.stringify({ ...image, diskImageId: id } satisfies ImageSnapshot);
  const home = {
    ...ON,
    ...{ host: target(c).host, zone: target(c).zone, launched_at: c.p.clock.now(), requested_zone: requestedZone },
    ...(imageId === null ? {} : { image_json: itsImage(imageId) }),
  };
  return letGo(c, target(c).cellId, home, null);
}

async function chooseTarget(c: C) {
  await giveBackLostChoice(c);
  const { flavor, image } = c.s;
  const chosen = await chooseHost(
    c.p,
    {
      flavor: flavorOnHost(flavor, image),
      imageProperties: image.properties,
      ...{
        requestedZone: c.s.requestedZone,
        requestedHost: c.s.requestedHost,
        ignoredHosts: triedHosts(c.s),
      },
      // What lies there would be found instead of a fresh disk.
      hostsWithRemains: await hostsWithRemains(c.p.stores.global, c.serverId),
      ...{ crossCellAllowed: c.s.crossCellAllowed, homeCellId: c.s.source.cellId },
      groupId: await groupIdOf(c.p.stores.global, c.serverId),
    },
    serverConsumer(c),
    // With the claim, in one transaction: two that were accepted at once may not both fit into the quota.
    (claimRoom) =>
      globally(c.p.stores.global, c, async (trx) => {
        await lockQuota(trx, c.s.owner.projectId);
        const over = overQuota(await quotasFor(c.p, c.s.owner, trx), flavor);
        return over === null ? claimRoom(trx) : { kind: 'none', reason: over.message };
      }),
  );
  if (chosen.kind === 'none') return noHost(c.s, chosen.reason);
  const { cellId, host, zone } = chosen;
  return { kind: 'done', output: { target: { cellId, host, zone } } } as const;
}

/** It is one of the servers that are counted already. */
const overQuota = (quotas: readonly ProjectQuota[], flavor: Flavor): Refusal | null =>
  firstOver(quotas, (limits, used) => checkOneMore(limits, { ...used, instances: used.instances - 1 }, flavor));

export interface UnshelveRequest {
  /** Absent: the one that it was created for. Null: any, from now on. */
  readonly zone?: string | null;
  readonly host?: string;
}

/** Takes the server up again. Refused: Nova's 409 for its state, 400 for a zone or a host that is not there, 403 quota. */
export const unshelveServer = inTurn(beginUnshelve);

async function beginUnshelve(
  p: Platform,
  actor: Actor,
  serverId: string,
  request: UnshelveRequest,
): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const { server, cellId } = found;
  const refusal = checkAction('unshelve', stateOf(server), isAdmin(actor));
  if (refusal) return refusal;
  if (server.vmState === 'shelved') return unshelveHere(p, actor, server, cellId, request);
  const unknown = await checkPlace(p, request);
  if (unknown) return unknown;
  const quotas = await quotasFor(p, { projectId: server.projectId, userId: server.userId });
  const over = overQuota(quotas, server.flavor);
  if (over) return over;
  const state: UnshelveOffloadedState = {
    ...askedBy(actor, server),
    owner: { userId: server.userId, projectId: server.projectId },
    source: { cellId, host: NOWHERE, zone: '' },
    ...{ imageId: server.shelvedImageId, image: server.image, flavor: server.flavor },
    requestedZone: request.zone === undefined ? server.requestedZone : request.zone,
    requestedHost: request.host ?? null,
    // It runs nowhere: whoever may have it taken up may have it taken up anywhere.
    crossCellAllowed: true,
    hasConfigDrive: server.configDrive !== null,
  };
  const retries = request.host === undefined ? p.settings.maxAttempts - 1 : 0;
  return startMove(p, { move: UNSHELVE_OFFLOADED, serverId, actor, state, retries }, 'unshelve');
}

async function unshelveHere(
  p: Platform,
  actor: Actor,
  server: Server,
  cellId: string,
  request: UnshelveRequest,
): Promise<Refusal | null> {
  if (request.zone !== undefined || request.host !== undefined) {
    return conflict(
      `Specifying an availability zone or a host when unshelving server '${server.id}' with status 'SHELVED' is not ` +
        'supported. The server status must be SHELVED_OFFLOADED.',
    );
  }
  const state = {
    ...askedBy(actor, server),
    ...{ cellId, host: server.host ?? '', imageId: server.shelvedImageId },
  };
  return startMove(p, { move: UNSHELVE, serverId: server.id, actor, state }, 'unshelve');
}

async function checkPlace(p: Platform, { zone, host }: UnshelveRequest): Promise<Refusal | null> {
  if (typeof zone !== 'string' && host === undefined) return null;
  const hosts = await listHosts(p);
  if (typeof zone === 'string' && !hosts.some((each) => each.zone === zone && !each.disabled)) {
    return badRequest('The requested availability zone is not available');
  }
  if (host === undefined || hosts.some((each) => each.name === host)) return null;
  return badRequest(`Compute host ${host} could not be found.`);
}
