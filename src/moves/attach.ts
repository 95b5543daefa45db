// Attaching a volume to a server, and detaching it.
//
// Allowed for servers that are ACTIVE, SHUTOFF, SHELVED or wait in VERIFY_RESIZE, and for offloaded ones, which have the
// volume at no host until they are unshelved, whose status does not change meanwhile. As
// sagas on the server they exclude its moves. While a resize waits, a volume that is attached gets an (inactive)
// attachment on the source too, and one that is detached loses both: a revert then finds what the server has now.
// Attaching: available → reserved → in-use; turned back, it is as if it had never been. Detaching: in-use → detaching →
// available; a guest that does not let go of the disk keeps it.
import { openMigration } from '../control/migrations.ts';
import type { Platform } from '../control/platform.ts';
import { serverOrRefusal } from '../control/servers.ts';
import {
  type Attachment,
  attachmentsOfServer,
  beginDetach,
  claimVolume,
  releaseVolumes,
  settleVolumes,
} from '../control/volumes/attachments.ts';
import { isForgotten } from '../control/volumes/lost-storage.ts';
import {
  dropMappings,
  insertMappings,
  type Mapping,
  mappingsOfServer,
  setDeleteOnTermination,
} from '../control/volumes/mappings.ts';
import { invariant } from '../lib/errors.ts';
import { newId } from '../lib/ids.ts';
import { checkAction, stateOf } from '../model/actions.ts';
import { chooseDevice } from '../model/attachments.ts';
import { refused } from '../model/refusal.ts';
import { type Actor, isAdmin, type Refusal } from '../model/types.ts';
import { letGo, takeHold, unlessLetGo } from './claim.ts';
import { asFound, type GuestState, guestState, hostOf, orOweBack, orOweDevices, serverWithHost } from './devices.ts';
import { inCell } from './fencing.ts';
import { jobOutcome } from './hosts.ts';
import type { Move, StepContext, StepOutcome } from './move.ts';
import { done, doneBecause, inGlobal, LANDED } from './outcomes.ts';
import { plugIn, revokeOrOwe } from './server-volumes.ts';
import { startMove } from './start.ts';
import { inTurn } from './turns.ts';

export interface AttachmentState extends GuestState {
  readonly volumeId: string;
}

export interface AttachState extends AttachmentState {
  /** As it is written; `device`, unless the user wants one, is chosen when the server is held. */
  readonly mapping: Mapping;
  readonly wantedDevice: string | null;
  // found out on the way
  readonly device?: string;
}

export interface DetachState extends AttachmentState {
  readonly device: string;
}

const isNowhere = (c: C): boolean => hostOf(c.s) === null;
const ON_NO_HOST = doneBecause('the server is on no host');

export const ATTACH_VOLUME: Move<AttachState> = {
  name: 'attach volume',
  version: 1,
  pivot: 'let go',
  made: 1,
  parties: (s) => [hostOf(s)],
  steps: [
    {
      // Done in the transaction that makes the saga, which begins behind it: so it is undone whatever fails.
      step: 'claim volume',
      do: async () => done,
      undo: (c) => inGlobal(c, (trx) => releaseVolumes(trx, c.serverId, [c.s.volumeId], c.p.clock.now())),
    },
    {
      step: 'take hold',
      do: (c) =>
        takeHold(c, c.s.cellId, 'attach_volume', null, asFound(c.s), async (trx) => {
          const mappings = await mappingsOfServer(trx, c.serverId);
          const own = mappings.find((each) => each.volumeId === c.s.volumeId);
          if (own) return { kind: 'done', output: { device: own.device } };
          const others = mappings.map((each) => each.device);
          const chosen = chooseDevice(c.s.wantedDevice, others);
          // Somebody took the device, or the last one, since it was looked at.
          if ('refusal' in chosen) return { kind: 'failed', reason: chosen.refusal.message, final: true };
          await insertMappings(trx, [{ ...c.s.mapping, device: chosen.device }]);
          return { kind: 'done', output: { device: chosen.device } };
        }),
      undo: (c) => letGo(c, c.s.cellId, {}, 'Error', (trx) => dropMappings(trx, c.serverId, c.s.volumeId)),
    },
    {
      step: 'plug in volume',
      do: async (c) => {
        invariant(c.s.device, 'the device is chosen when the server is held');
        if (isNowhere(c)) return ON_NO_HOST;
        return plugInHere(c, c.s.device);
      },
      // First out of the guest, then out of reach. A guest on a host that is down may have the disk: out of its reach it
      // is all the same, and that the guest forgets it is owed.
      undo: async (c) => {
        if (isNowhere(c)) return ON_NO_HOST;
        const reason = 'volume that could not be attached';
        const unplugged = await orOweBack(c, await unplug(c), reason);
        if (unplugged.kind !== 'done') return unplugged;
        const revoked = await revokeOrOwe(c, await attachmentsHere(c), reason);
        return revoked.kind === 'done' && unplugged.note ? { ...revoked, note: unplugged.note } : revoked;
      },
    },
    {
      step: 'settle volume',
      do: (c) => inGlobal(c, (trx) => settleVolumes(trx, c.serverId, [c.s.volumeId], c.generation, c.p.clock.now())),
      undo: 'goes with the claim: see `claim volume`',
    },
    {
      step: 'let go',
      do: (c) => letGo(c, c.s.cellId, {}, null),
      undo: (c) => unlessLetGo(c, c.s.cellId),
    },
  ],
};

export const DETACH_VOLUME: Move<DetachState> = {
  name: 'detach volume',
  version: 1,
  pivot: 'drop mapping',
  made: 1,
  parties: (s) => [hostOf(s)],
  steps: [
    {
      // Done in the transaction that makes the saga, which begins behind it: so it is undone whatever fails.
      step: 'mark detaching',
      do: async () => done,
      undo: (c) => inGlobal(c, (trx) => settleVolumes(trx, c.serverId, [c.s.volumeId], c.generation, c.p.clock.now())),
    },
    {
      step: 'take hold',
      do: (c) => takeHold(c, c.s.cellId, 'detach_volume', null, asFound(c.s)),
      undo: (c) => letGo(c, c.s.cellId, {}, 'Error'),
    },
    {
      // A guest that does not let go of the disk in time keeps it. One whose host goes down loses it: its access ends
      // where the volume is kept, and that the guest forgets it is owed.
      step: 'unplug volume',
      do: async (c) => (isNowhere(c) ? ON_NO_HOST : orOweDevices(c, await unplug(c), 'volume that was detached')),
      undo: async (c) => {
        if (isNowhere(c)) return ON_NO_HOST;
        const storageHosts = (await attachmentsHere(c)).map((each) => each.storageHost);
        const plugged = await plugInHere(c, c.s.device);
        for (const name of plugged.kind === 'failed' && plugged.final ? storageHosts : []) {
          if (await isForgotten(c.p.stores.global, name)) return doneBecause(`it was lost with storage host ${name}`);
        }
        return orOweBack(c, plugged, 'volume that could not be detached', storageHosts);
      },
    },
    {
      step: 'drop mapping',
      do: async (c) => {
        const cell = await c.p.stores.cell(c.s.cellId);
        await inCell(cell, c, (trx) => dropMappings(trx, c.serverId, c.s.volumeId));
        return done;
      },
      // One that is gone stays gone.
      undo: async (c) => {
        const cell = await c.p.stores.cell(c.s.cellId);
        const mappings = await inCell(cell, c, (trx) => mappingsOfServer(trx, c.serverId));
        return mappings.some((each) => each.volumeId === c.s.volumeId) ? done : LANDED;
      },
    },
    {
      step: 'revoke access',
      do: async (c) => revokeOrOwe(c, await attachmentsHere(c), 'detached volume'),
      undo: 'forward only',
    },
    {
      step: 'release volume',
      do: (c) => inGlobal(c, (trx) => releaseVolumes(trx, c.serverId, [c.s.volumeId], c.p.clock.now())),
      undo: 'forward only',
    },
    {
      step: 'let go',
      do: (c) => letGo(c, c.s.cellId, {}, null),
      undo: 'forward only',
    },
  ],
};

type C = StepContext<AttachmentState>;

/** The server's attachments of this volume, on all hosts. */
const attachmentsHere = async (c: C): Promise<Attachment[]> =>
  (await attachmentsOfServer(c.p.stores.global, c.serverId)).filter((each) => each.volumeId === c.s.volumeId);

async function plugInHere<S extends AttachmentState>(c: StepContext<S>, device: string): Promise<StepOutcome<S>> {
  const attachment = (await attachmentsHere(c)).find((each) => each.host === c.s.host);
  invariant(attachment, `volume ${c.s.volumeId} is claimed for ${c.s.host}`);
  return plugIn(c, { volumeId: c.s.volumeId, device, bootIndex: null }, attachment);
}

async function unplug<S extends AttachmentState>(c: StepContext<S>): Promise<StepOutcome<S>> {
  const host = await c.host(c.s.host);
  return jobOutcome(await host.detachVolume(c.serverId, { generation: c.generation, volumeId: c.s.volumeId }));
}

export interface AttachRequest {
  readonly volumeId: string;
  /** /dev/vdX; null: the first that is free. */
  readonly device: string | null;
  readonly tag: string | null;
  readonly deleteOnTermination: boolean;
  readonly readOnly: boolean;
}

export type Attached =
  | { readonly kind: 'attached'; readonly mapping: Mapping; readonly attachmentId: string }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** Gives the server the volume. Answers when it is promised; it is `in-use` when the guest has it. */
export const attachVolume = inTurn(beginAttach);

async function beginAttach(p: Platform, actor: Actor, serverId: string, request: AttachRequest): Promise<Attached> {
  const found = await serverWithHost(p, actor, serverId, 'attachVolume');
  if ('code' in found) return refused(found);
  const { server, host, cellId } = found;
  const { volumeId, tag, deleteOnTermination } = request;
  const cell = await p.stores.cell(cellId);
  const taken = (await mappingsOfServer(cell, serverId)).map((each) => each.device);
  const chosen = chooseDevice(request.device, taken);
  if ('refusal' in chosen) return refused(chosen.refusal);
  const { device } = chosen;
  const now = p.clock.now();
  const mapping: Mapping = {
    ...{ id: newId(), serverId, volumeId, device, bootIndex: null, deleteOnTermination, tag, createdAt: now },
  };
  const waiting = server.vmState === 'resized' ? await openMigration(p.stores.global, serverId) : null;
  const notThere = (await p.volumes?.take(p, { serverId, projectId: server.projectId, volumeId })) ?? null;
  if (notThere) return refused(notThere);
  const refusal = await startMove(
    p,
    {
      ...{ move: ATTACH_VOLUME, serverId, actor },
      claim: (trx) =>
        claimVolume(trx, {
          ...{ volumeId, serverId, projectId: server.projectId, host, sourceHost: waiting?.sourceHost ?? null },
          ...{ mode: request.readOnly ? 'ro' : 'rw', now },
        }),
      state: { ...guestState(actor, server, cellId, host), volumeId, mapping, wantedDevice: request.device },
    },
    'attach_volume',
  );
  if (refusal) {
    await p.volumes?.giveUp(p, serverId);
    return refused(refusal);
  }
  const written = (await mappingsOfServer(cell, serverId)).find((each) => each.volumeId === volumeId);
  const attachment = (await attachmentsOfServer(p.stores.global, serverId)).find(
    (each) => each.volumeId === volumeId && each.host === host,
  );
  return { kind: 'attached', mapping: written ?? mapping, attachmentId: attachment?.id ?? '' };
}

/** Takes the volume from the server. 404 when it does not have it. */
export const detachVolume = inTurn(beginDetachment);

async function beginDetachment(p: Platform, actor: Actor, serverId: string, volumeId: string): Promise<Refusal | null> {
  const found = await serverWithHost(p, actor, serverId, 'detachVolume');
  if ('code' in found) return found;
  const { server, host, cellId } = found;
  const cell = await p.stores.cell(cellId);
  const mapping = (await mappingsOfServer(cell, serverId)).find((each) => each.volumeId === volumeId) ?? null;
  const ids = { volumeId, serverId, now: p.clock.now() };
  return startMove(
    p,
    {
      ...{ move: DETACH_VOLUME, serverId, actor },
      claim: (trx) => beginDetach(trx, ids, mapping),
      state: { ...guestState(actor, server, cellId, host), volumeId, device: mapping?.device ?? '' },
    },
    'detach_volume',
  );
}

/** Whether the volume is deleted with the server: may be changed at any time. */
export async function updateAttachment(
  p: Platform,
  actor: Actor,
  serverId: string,
  volumeId: string,
  change: { readonly deleteOnTermination: boolean },
): Promise<Refusal | null> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return found;
  const refusal = checkAction('updateVolumeAttachment', stateOf(found.server), isAdmin(actor));
  if (refusal) return refusal;
  return setDeleteOnTermination(p, { serverId, cellId: found.cellId }, volumeId, change.deleteOnTermination);
}
