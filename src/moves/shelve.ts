// Shelving: a server is turned off and kept as an image (SHELVED), then given up by its host (SHELVED_OFFLOADED).
//
// Shelve makes an image of the root disk, as createImage does, of the guest that was turned off for it; a server that boots
// from volumes needs none. It leaves on record (`offload_at` of the mapping) when the host is to be left: after
// `shelved_offload_time`, never if that is negative, at once where there is no disk to keep. Whoever ends the shelving, and
// the monitor, start the offloading that is due.
// Offloading sets ports and volumes aside: their active binding or attachment is at no host (NOWHERE), so that nobody
// else can have them and nobody can use them. Then the guest and its room go. It can turn back until the ports are set
// aside, which is one write: the guest may be half destroyed when its host refuses to go on.
// Taking a shelved server up again: see unshelve.ts.
import type { Kysely, Selectable, Transaction } from 'kysely';
import { isInReachableCell } from '../control/cell-health.ts';
import { giveUpAnnounced } from '../control/images/publisher.ts';
import { recordSnapshot } from '../control/images/snapshots.ts';
import { activateBindings, unbindPorts } from '../control/network.ts';
import { release } from '../control/placement.ts';
import type { Platform } from '../control/platform.ts';
import { serverOrRefusal } from '../control/servers.ts';
import { NOWHERE } from '../control/volumes/attachments.ts';
import { newRequestId } from '../lib/ids.ts';
import { checkAction, checkHasHost, stateOf } from '../model/actions.ts';
import { type Actor, isAdmin, POWER_STATE, type Refusal, type Server, type VmState } from '../model/types.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { type ActionState, askedBy, letGo, takeHold, takeHoldWithVolumes, unlessLetGo } from './claim.ts';
import {
  forgetSnapshot,
  imageOf,
  markUploading,
  type SnapshotState,
  takeSnapshot,
  uploadSnapshot,
  writeImage,
} from './create-image.ts';
import { destroyOrOwe } from './hosts.ts';
import type { Move, MoveStep, Owner, StepContext, StepOutcome } from './move.ts';
import { doneBecause, inGlobal, unlessFenced } from './outcomes.ts';
import { powerOff, powerOnAgain, standStillAgain } from './power-effects.ts';
import { dropVolumes, type HasVolumes, handBackOrOwe, handOverVolumes, reserveVolumes } from './server-volumes.ts';
import { startMove } from './start.ts';
import { inTurn } from './turns.ts';

export interface ShelveState extends ActionState {
  readonly cellId: string;
  readonly host: string;
  /** Null: it boots from a volume. */
  readonly imageId: string | null;
  readonly vmState: VmState;
  readonly wasOn: boolean;
  readonly graceSeconds: number;
  /** ms from its end until it leaves its host; null: it stays. */
  readonly offloadAfterMs: number | null;
}

/** A step of a snapshot, where there is a disk to take one of. */
function ofDisk(step: MoveStep<SnapshotState>): MoveStep<ShelveState> {
  const { do: act, undo } = step;
  const NO_DISK = doneBecause('boots from a volume');
  const on =
    (effect: (c: StepContext<SnapshotState>) => Promise<StepOutcome<SnapshotState>>) =>
    async (c: StepContext<ShelveState>): Promise<StepOutcome<ShelveState>> => {
      const { imageId } = c.s;
      return imageId === null ? NO_DISK : effect({ ...c, s: { ...c.s, imageId } });
    };
  return { step: step.step, do: on(act), undo: typeof undo === 'string' ? undo : on(undo) };
}

const planOffload = (c: StepContext<{ readonly actor: Owner }>, at: number | null) =>
  inGlobal(c, (trx) =>
    trx.updateTable('server_mappings').set({ offload_at: at }).where('server_id', '=', c.serverId).execute(),
  );

export const SHELVE: Move<ShelveState> = {
  name: 'shelve',
  version: 1,
  pivot: 'let go',
  made: 1,
  parties: (s) => [s.host],
  steps: [
    ofDisk(writeImage),
    {
      step: 'take hold',
      do: (c) => takeHold(c, c.s.cellId, 'shelve', 'shelving', { from: [c.s.vmState], host: c.s.host }),
      undo: (c) => letGo(c, c.s.cellId, {}, 'Error'),
    },
    {
      step: 'turn off',
      // What a suspended one had in memory stays as long as its host does.
      do: async (c) => (c.s.wasOn ? powerOff(c, c.s.host, c.s.graceSeconds) : doneBecause('was off')),
      undo: async (c) => {
        if (!c.s.wasOn) return doneBecause('was off');
        return c.s.vmState === 'paused' ? standStillAgain(c, c.s.host) : powerOnAgain(c, c.s.host);
      },
    },
    ofDisk(takeSnapshot),
    ofDisk(markUploading('shelving_image_uploading')),
    ofDisk(uploadSnapshot),
    ofDisk(forgetSnapshot),
    {
      step: 'plan offload',
      do: (c) => planOffload(c, c.s.offloadAfterMs === null ? null : c.p.clock.now() + c.s.offloadAfterMs),
      undo: (c) => planOffload(c, null),
    },
    {
      step: 'let go',
      do: (c) =>
        letGo(
          c,
          c.s.cellId,
          { vm_state: 'shelved', power_state: POWER_STATE.SHUTDOWN, shelved_image_id: c.s.imageId },
          null,
        ),
      undo: (c) => unlessLetGo(c, c.s.cellId),
    },
  ],
};

export interface OffloadState extends ActionState, HasVolumes {
  readonly cellId: string;
  readonly host: string;
}

const FORWARD = 'forward only: its guest goes';

export const SHELVE_OFFLOAD: Move<OffloadState> = {
  name: 'shelve offload',
  version: 1,
  pivot: 'set aside ports',
  parties: (s) => [s.host],
  steps: [
    {
      step: 'take hold',
      do: (c) =>
        takeHoldWithVolumes(c, c.s.cellId, 'shelveOffload', 'shelving_offloading', {
          from: ['shelved'],
          host: c.s.host,
        }),
      undo: (c) => letGo(c, c.s.cellId, {}, 'Error'),
    },
    {
      step: 'reserve volumes',
      do: (c) => reserveVolumes(c, NOWHERE),
      undo: (c) => dropVolumes(c, NOWHERE),
    },
    {
      step: 'set aside volumes',
      do: (c) => handOverVolumes(c, c.s.host, NOWHERE),
      undo: (c) => handBackOrOwe(c, NOWHERE, c.s.host, 'volumes of a server that was not offloaded'),
    },
    {
      // The binding at no host is what refuses older generations from now on.
      step: 'set aside ports',
      do: async (c) => unlessFenced(await activateBindings(c.p.stores.global, c.serverId, NOWHERE, c.generation)),
      undo: async (c) => {
        const { global } = c.p.stores;
        const back = await activateBindings(global, c.serverId, c.s.host, c.generation);
        return unlessFenced(back === 'fenced' ? back : await unbindPorts(global, c.serverId, NOWHERE, c.generation));
      },
    },
    {
      step: 'destroy guest',
      do: (c) => destroyOrOwe(c, c.s.host, 'server that was shelved'),
      undo: FORWARD,
    },
    {
      step: 'unbind ports',
      do: async (c) => unlessFenced(await unbindPorts(c.p.stores.global, c.serverId, c.s.host, c.generation)),
      undo: FORWARD,
    },
    {
      step: 'drop attachments',
      do: (c) => dropVolumes(c, c.s.host),
      undo: FORWARD,
    },
    {
      step: 'release room',
      do: (c) =>
        inGlobal(c, async (trx) => {
          await release(trx, c.serverId);
          await trx
            .updateTable('server_mappings')
            .set({ offload_at: null })
            .where('server_id', '=', c.serverId)
            .execute();
        }),
      undo: FORWARD,
    },
    {
      step: 'let go',
      do: (c) => letGo(c, c.s.cellId, { vm_state: 'shelved_offloaded', host: null, zone: null }, null),
      undo: FORWARD,
    },
  ],
};

/** Turns the server off and keeps it as an image. */
export const shelveServer = inTurn(beginShelve);

async function beginShelve(p: Platform, actor: Actor, serverId: string): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const { server, cellId } = found;
  const refusal = checkAction('shelve', stateOf(server), isAdmin(actor)) ?? checkHasHost(stateOf(server));
  if (refusal) return refusal;
  const host = server.host ?? '';
  const name = `${server.name}-shelved`.slice(-255);
  const wish = { type: 'snapshot', metadata: {} } as const;
  const image = server.image.id === null ? null : await imageOf(p, actor, server, host, name, wish);
  if (image !== null && 'code' in image) return image;
  const { shelvedOffloadTimeSeconds, shutdownTimeoutSeconds } = p.settings;
  const offloadAfterMs = image === null ? 0 : shelvedOffloadTimeSeconds < 0 ? null : shelvedOffloadTimeSeconds * 1000;
  const state: ShelveState = {
    ...askedBy(actor, server),
    ...{ cellId, host, imageId: image?.id ?? null, vmState: server.vmState, offloadAfterMs },
    wasOn: server.vmState === 'active' || server.vmState === 'paused',
    // A guest that stands still hears no button.
    graceSeconds: server.vmState === 'active' ? shutdownTimeoutSeconds : 0,
  };
  const claim = image === null ? {} : { claim: (trx: Transaction<GlobalTables>) => recordSnapshot(p, trx, image) };
  const refused = await startMove(p, { move: SHELVE, serverId, actor, state, ...claim }, 'shelve');
  if (refused && image) await giveUpAnnounced(p, image.id);
  return refused;
}

/** The host gives the shelved server up. */
export const offloadServer = inTurn(beginOffload);

async function beginOffload(p: Platform, actor: Actor, serverId: string): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const { server, cellId } = found;
  const refusal = checkAction('shelveOffload', stateOf(server), isAdmin(actor)) ?? checkHasHost(stateOf(server));
  return refusal ?? startOffload(p, actor, server, cellId);
}

const startOffload = (p: Platform, actor: Actor, server: Server, cellId: string): Promise<Refusal | null> =>
  startMove(
    p,
    {
      ...{ move: SHELVE_OFFLOAD, serverId: server.id, actor },
      state: {
        ...askedBy(actor, server),
        ...{ cellId, host: server.host ?? '' },
      },
    },
    'shelveOffload',
  );

/** How many one round starts. */
const BATCH = 50;
/** A start that was refused is tried again after this time, ms. */
const AGAIN_MS = 60_000;

const due = (db: Kysely<GlobalTables>, now: number) =>
  db
    .selectFrom('server_mappings')
    .select(['server_id', 'user_id', 'project_id'])
    .where('offload_at', '<=', now)
    .where('deleted_at', 'is', null)
    .where(isInReachableCell)
    .orderBy('offload_at')
    .limit(BATCH);

type Due = Pick<Selectable<GlobalTables['server_mappings']>, 'server_id' | 'user_id' | 'project_id'>;

/** Asked in every round. */
const DUE_OFFLOADS = fixed<GlobalTables, { readonly now: number }, Due>((db, { now }) => due(db, now));
/** Asked whenever a saga has ended. */
const DUE_OFFLOAD = fixed<GlobalTables, { readonly now: number; readonly serverId: string }, Due>(
  (db, { now, serverId }) => due(db, now).where('server_id', '=', serverId),
);

/** Offloadings that are due: of one server, or of all. */
export async function startDueOffloads(p: Platform, serverId?: string): Promise<void> {
  const now = p.clock.now();
  const db = p.stores.global;
  const { rows } = await (serverId === undefined ? DUE_OFFLOADS(db, { now }) : DUE_OFFLOAD(db, { now, serverId }));
  for (const row of rows) {
    const actor: Actor = {
      ...{ userId: row.user_id, projectId: row.project_id, roles: ['admin'], requestId: newRequestId() },
    };
    const found = await serverOrRefusal(p, row.server_id);
    const due = !('code' in found) && found.server.vmState === 'shelved' && found.server.sagaId === null;
    const refusal = due ? await startOffload(p, actor, found.server, found.cellId) : null;
    if (refusal) p.log.warn({ serverId: row.server_id, refusal }, 'a shelved server could not be offloaded yet');
    await p.stores.global
      .updateTable('server_mappings')
      .set({ offload_at: now + AGAIN_MS })
      .where('server_id', '=', row.server_id)
      .where('offload_at', '<=', now)
      .execute();
  }
}
