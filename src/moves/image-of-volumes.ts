// createImage of a server that boots from a volume: a snapshot of each of its volumes, and an image without data that says
// of which snapshots the disks of a new server are to be made (model/snapshot-image.ts), as Nova does it.
//
// The image (queued) and the snapshots (creating) are on record, and count in the quotas, from the request on; they become
// active and available by one write, which is the pivot. With several volumes a guest that runs stands still while they are
// taken, so that all are of one moment; Nova has its guest agent do that, or nobody.
// The snapshots are the saga's own, not sagas on their volumes: whoever wants to begin anything on a volume of which one is
// being taken waits for that, and this waits for whoever is at a volume (control/volumes/snapshots.ts: isBusy). Turned
// back, each snapshot that may have been taken is deleted by a saga of its own, which waits for its storage host if it must;
// the server does not.
// Where images are a Glance's, the image is made there before all else, and is active there (without data) just before
// the pivot.
// Not handled: volumes in a Cinder, which are refused.
import type { Transaction } from 'kysely';
import { giveUpAnnounced } from '../control/images/publisher.ts';
import { activateEmpty, discardImages, hasData } from '../control/images/records.ts';
import { recordSnapshot, volumesImage } from '../control/images/snapshots.ts';
import type { Image } from '../control/images.ts';
import type { Platform } from '../control/platform.ts';
import { mappingsOfServer } from '../control/volumes/mappings.ts';
import { claimVolumeQuota } from '../control/volumes/quota.ts';
import { findVolume, lockVolume } from '../control/volumes/records.ts';
import { IN_CINDER } from '../control/volumes/service.ts';
import {
  changeSnapshotStatus,
  createSnapshotRecord,
  deleteSnapshotRecord,
  findSnapshot,
  isBusy,
} from '../control/volumes/snapshots.ts';
import { newId } from '../lib/ids.ts';
import { badRequest } from '../model/refusal.ts';
import type { MappedSnapshot } from '../model/snapshot-image.ts';
import type { Actor, Refusal, Server, VmState } from '../model/types.ts';
import { checkSnapshot, type Volume, volumeNotFound } from '../model/volumes.ts';
import type { State } from '../saga/types.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { insertSaga, newSaga } from '../store/sagas.ts';
import { type ActionState, askedBy, letGo, takeHold } from './claim.ts';
import { globally } from './fencing.ts';
import { definitionOf, type Move, type StepContext, type StepOutcome } from './move.ts';
import { done, doneBecause, inGlobal } from './outcomes.ts';
import { pause, pauseAgain } from './power-effects.ts';
import { publishImage, unlessKept } from './publish.ts';
import { startMove } from './start.ts';
import { VOLUME_BUSY } from './turns.ts';
import { storageJobOutcome } from './volumes/effects.ts';
import { DELETE_SNAPSHOT, type SnapshotState } from './volumes/snapshots.ts';

export interface VolumesImageState extends ActionState {
  readonly cellId: string;
  readonly host: string;
  readonly vmState: VmState;
  readonly imageId: string;
  /** Whether the guest stands still meanwhile. */
  readonly pauses: boolean;
  /** One of each volume of the server. */
  readonly snapshots: readonly SnapshotState[];
}

type C = StepContext<VolumesImageState>;
type Outcome = StepOutcome<VolumesImageState>;

const IMAGE_GONE = { kind: 'failed', reason: 'the image has been deleted', final: true } as const;

export const IMAGE_OF_VOLUMES: Move<VolumesImageState> = {
  name: 'create image of volumes',
  version: 1,
  pivot: 'make image',
  made: 1,
  parties: (s) => [s.host],
  steps: [
    {
      // Done in the transaction that makes the saga.
      step: 'write records',
      do: async () => done,
      undo: (c) =>
        inGlobal(c, async (trx) => {
          // It may be active in a Glance, but whose snapshots are not to be is no image.
          if (!(await hasData(trx, c.s.imageId))) await discardImages(trx, [c.s.imageId], c.p.clock.now());
          // Those that may have been taken are `deleting` by now, and others' to delete.
          for (const { snapshotId } of c.s.snapshots) {
            if ((await findSnapshot(trx, snapshotId))?.status === 'creating') {
              await deleteSnapshotRecord(trx, snapshotId);
            }
          }
        }),
    },
    {
      step: 'take hold',
      do: (c) =>
        takeHold(c, c.s.cellId, 'createImage', 'image_snapshot', { from: [c.s.vmState], host: c.s.host }, (trx) =>
          hasTheseVolumes(c, trx),
        ),
      undo: (c) => letGo(c, c.s.cellId, {}, 'Error'),
    },
    {
      step: 'pause guest',
      do: async (c) => (c.s.pauses ? pause(c, c.s.host, true) : doneBecause('nothing to wait for')),
      undo: async (c) => (c.s.pauses ? pauseAgain(c, c.s.host, false) : doneBecause('it was not paused')),
    },
    {
      step: 'take snapshots',
      do: takeSnapshots,
      undo: giveUpSnapshots,
    },
    {
      step: 'let guest go on',
      do: async (c) => (c.s.pauses ? pause(c, c.s.host, false) : doneBecause('it was not paused')),
      undo: 'it goes on in any case',
    },
    {
      step: 'make image',
      do: makeImage,
      undo: (c) => unlessKept(c.p, c.s.imageId),
    },
    {
      step: 'let go',
      do: (c) => letGo(c, c.s.cellId, {}, null),
      undo: 'forward only: the image is there',
    },
  ],
};

/** One that was attached or detached just before is found out here. */
async function hasTheseVolumes(c: C, trx: Parameters<typeof mappingsOfServer>[0]): Promise<Outcome> {
  const mapped = (await mappingsOfServer(trx, c.serverId)).map((each) => each.volumeId).toSorted();
  const known = c.s.snapshots.map((each) => each.volumeId).toSorted();
  return mapped.join() === known.join()
    ? done
    : { kind: 'failed', reason: 'the volumes of the server have changed', final: true };
}

async function takeSnapshots(c: C): Promise<Outcome> {
  for (const { volumeId, snapshotId, storageHost } of c.s.snapshots) {
    const storage = await c.storage(storageHost);
    const reply = await storage.snapshot(volumeId, snapshotId, { generation: c.generation });
    const taken = storageJobOutcome<VolumesImageState>(storageHost, reply);
    if (taken.kind !== 'done') return taken;
  }
  return done;
}

/** Each is deleted by a saga of its own. */
async function giveUpSnapshots(c: C): Promise<Outcome> {
  for (const state of c.s.snapshots) {
    const begun = await globally(c.p.stores.global, c, async (trx) => {
      await lockVolume(trx, state.volumeId);
      if ((await findSnapshot(trx, state.snapshotId))?.status !== 'creating') return true;
      const now = c.p.clock.now();
      const saga = newSaga(
        {
          ...{ id: newId(), definition: definitionOf(DELETE_SNAPSHOT), key: state.volumeId },
          ...{ state: state as unknown as State, requestId: c.saga.requestId },
        },
        now,
      );
      if (!(await insertSaga(trx, { ...saga, cursor: 1 }))) return false;
      await changeSnapshotStatus(trx, state.snapshotId, ['creating'], { status: 'deleting', updated_at: now });
      return true;
    });
    if (!begun) return { kind: 'failed', reason: `volume ${state.volumeId} is busy`, final: false };
  }
  c.p.nudge();
  return done;
}

async function makeImage(c: C): Promise<Outcome> {
  const published = await publishImage<VolumesImageState>(c.p, c.s.imageId, { isEmpty: true });
  if (published.kind !== 'done') return published;
  return globally(c.p.stores.global, c, async (trx): Promise<Outcome> => {
    const now = c.p.clock.now();
    if (!(await activateEmpty(trx, c.s.imageId, now)) && !(await hasData(trx, c.s.imageId))) return IMAGE_GONE;
    for (const { snapshotId } of c.s.snapshots) {
      await changeSnapshotStatus(trx, snapshotId, ['creating'], { status: 'available', updated_at: now });
    }
    return done;
  });
}

export interface VolumesImageRequest {
  readonly name: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Begins it, of a server whose state allows it. @returns the image's id */
export async function imageOfVolumes(
  p: Platform,
  actor: Actor,
  { server, cellId, host }: { readonly server: Server; readonly cellId: string; readonly host: string },
  request: VolumesImageRequest,
): Promise<string | Refusal> {
  if (p.volumes) return IN_CINDER;
  if (
    server.vmState === 'active' &&
    /^(1|t|true|on|y|yes)$/i.test(server.image.properties['os_require_quiesce'] ?? '')
  ) {
    return badRequest('QEMU guest agent is not enabled');
  }
  const planned = await plan(p, cellId, server.id);
  if ('code' in planned) return planned;
  const image = volumesImage(server, planned, {
    ...{ id: newId(), name: request.name, owner: actor.projectId, metadata: request.metadata, now: p.clock.now() },
  });
  if ('code' in image) return image;
  const unannounced = await p.imageMirror?.announce(p, image, actor.requestId);
  if (unannounced) return unannounced;
  const state: VolumesImageState = {
    ...askedBy(actor, server),
    ...{ cellId, host, vmState: server.vmState, imageId: image.id },
    pauses: server.vmState === 'active' && planned.length > 1,
    snapshots: planned.map(({ snapshotId, volume: { id, storageHost } }) => ({
      ...{ snapshotId, volumeId: id, storageHost },
    })),
  };
  const refusal = await startMove(
    p,
    {
      ...{ move: IMAGE_OF_VOLUMES, serverId: server.id, actor, state },
      claim: (trx) => claim(p, trx, actor, image, planned),
    },
    'createImage',
  );
  if (refusal === null) return image.id;
  await giveUpAnnounced(p, image.id);
  return refusal;
}

interface Planned extends MappedSnapshot {
  readonly volume: Volume;
}

async function plan(p: Platform, cellId: string, serverId: string): Promise<readonly Planned[] | Refusal> {
  const planned: Planned[] = [];
  for (const mapping of await mappingsOfServer(await p.stores.cell(cellId), serverId)) {
    const volume = await findVolume(p.stores.global, mapping.volumeId);
    if (!volume) return volumeNotFound(mapping.volumeId);
    if (await isBusy(p.stores.global, volume.id)) return VOLUME_BUSY;
    const { device, bootIndex, deleteOnTermination } = mapping;
    planned.push({ volume, snapshotId: newId(), sizeGb: volume.sizeGb, device, bootIndex, deleteOnTermination });
  }
  return planned;
}

/** In the request's transaction: image and snapshots are on record, and nobody else is at the volumes. */
async function claim(
  p: Platform,
  trx: Transaction<GlobalTables>,
  actor: Actor,
  image: Image,
  planned: readonly Planned[],
): Promise<Refusal | null> {
  const now = p.clock.now();
  // In one order, so that two who want the same do not wait for each other.
  for (const { volume, snapshotId } of planned.toSorted((a, b) => (a.volume.id < b.volume.id ? -1 : 1))) {
    const present = await lockVolume(trx, volume.id);
    if (!present) return volumeNotFound(volume.id);
    const refusal = checkSnapshot(present, true);
    if (refusal) return refusal;
    if (await isBusy(trx, volume.id)) return VOLUME_BUSY;
    const { projectId, sizeGb, description } = present;
    const over = await claimVolumeQuota(p, trx, projectId, { volumes: 0, snapshots: 1, gigabytes: sizeGb });
    // Nova's words, whatever Cinder says.
    if (over) return { code: 403, message: 'Quota exceeded for resources: snapshots' };
    await createSnapshotRecord(trx, {
      ...{ id: snapshotId, volumeId: volume.id, name: `snapshot for ${image.name}`.slice(0, 255), description },
      ...{ metadata: {}, projectId, userId: actor.userId, sizeGb, status: 'creating', createdAt: now, updatedAt: now },
    });
  }
  return recordSnapshot(p, trx, image);
}
