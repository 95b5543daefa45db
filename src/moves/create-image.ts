// Images of servers: createImage, and createBackup, which keeps the youngest few.
//
// The image is on record (queued) from the request on. The host keeps the root disk as it is at one moment, while its
// guest goes on as it was (running, paused or off), and then sends that file to the image service: queued → saving → active.
// task_state meanwhile: image_snapshot or image_backup, then image_uploading. Turned back, the image is gone and the host
// has no snapshot left; so it is when the image is deleted meanwhile, which the host is told as it sends. An image that
// has its data is its user's, who may have deleted the server because of it: no turning back takes it away any more.
// A host that is down is not waited for to drop a snapshot: it is owed.
// Where images are a Glance's, the image is made there before all else, and the data goes on to it when it is here.
// A server that boots from a volume has no disk to send: see image-of-volumes.ts.
import type { Transaction } from 'kysely';
import { owe } from '../control/debts.ts';
import { hostIsUp } from '../control/hosts.ts';
import { unwantedInGlance } from '../control/images/glance-writes.ts';
import { giveUpAnnounced } from '../control/images/publisher.ts';
import { discardImages, discardUnfinished, hasData } from '../control/images/records.ts';
import { recordSnapshot, rotateBackups, snapshotFormat, snapshotImage } from '../control/images/snapshots.ts';
import { dataPath, findImage, type Image } from '../control/images.ts';
import type { Platform } from '../control/platform.ts';
import { quotaOf } from '../control/quota.ts';
import { serverOrRefusal } from '../control/servers.ts';
import type { Job } from '../host/contract.ts';
import { newId } from '../lib/ids.ts';
import { checkAction, checkHasHost, stateOf } from '../model/actions.ts';
import { checkMetadataQuota } from '../model/quota.ts';
import { badRequest, refused } from '../model/refusal.ts';
import { type Actor, isAdmin, type Refusal, type Server, type TaskState, type VmState } from '../model/types.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { type ActionState, askedBy, letGo, takeHold } from './claim.ts';
import { globally, inCell } from './fencing.ts';
import { jobOutcome, settled, unlessDoomed } from './hosts.ts';
import { imageOfVolumes } from './image-of-volumes.ts';
import type { Move, MoveStep, StepContext, StepOutcome } from './move.ts';
import { done, doneBecause, inGlobal } from './outcomes.ts';
import { publishImage, unlessKept } from './publish.ts';
import { startMove } from './start.ts';
import { inTurn } from './turns.ts';

/** The part of a state that the steps of a snapshot look at. */
export interface SnapshotState extends ActionState {
  readonly cellId: string;
  readonly host: string;
  readonly imageId: string;
}

export interface CreateImageState extends SnapshotState {
  readonly vmState: VmState;
}

export interface CreateBackupState extends CreateImageState {
  readonly backupType: string;
  readonly rotation: number;
}

// ---- the steps of a snapshot, which shelving has too --------------------------------------------------------------

export const takeSnapshot: MoveStep<SnapshotState> = {
  step: 'take snapshot',
  do: async (c) => {
    const host = await c.host(c.s.host);
    return jobOutcome(await host.takeSnapshot(c.serverId, { generation: c.generation, snapshotId: c.s.imageId }));
  },
  undo: dropSnapshot,
};

export const markUploading = (task: TaskState): MoveStep<SnapshotState> => ({
  step: 'mark uploading',
  do: async (c) => {
    const cell = await c.p.stores.cell(c.s.cellId);
    await inCell(cell, c, (trx) =>
      trx
        .updateTable('servers')
        .set({ task_state: task })
        .where('id', '=', c.serverId)
        .where('saga_id', '=', c.saga.id)
        .execute(),
    );
    return done;
  },
  undo: 'the task goes when the server is let go of',
});

export const uploadSnapshot: MoveStep<SnapshotState> = {
  step: 'upload snapshot',
  do: upload,
  undo: 'the upload ends with the snapshot, and its data with the image, here and in Glance',
};

export const forgetSnapshot: MoveStep<SnapshotState> = {
  step: 'drop snapshot',
  do: dropSnapshot,
  undo: 'nothing needs it any more',
};

async function upload(c: StepContext<SnapshotState>): Promise<StepOutcome<SnapshotState>> {
  const { imageId, host: hostName } = c.s;
  const isHere = (): Promise<boolean> => hasData(c.p.stores.global, imageId);
  // Also where the answer of whoever sent it was lost.
  if (await isHere()) return publishImage(c.p, imageId);
  if ((await findImage(c.p, imageId)) === null) return DELETED;
  const host = await c.host(hostName);
  const url = `${c.p.settings.hostFacingUrl}${dataPath(imageId)}`;
  const outcome = jobOutcome<SnapshotState, Job>(
    await host.uploadSnapshot(c.serverId, { generation: c.generation, snapshotId: imageId, url }),
  );
  if (outcome.kind === 'pending' || outcome.kind === 'fenced') return outcome;
  // What the host says failed may have arrived all the same, and only its answer was lost.
  if (await isHere()) return publishImage(c.p, imageId);
  return outcome.kind === 'failed' ? outcome : DELETED;
}

const DELETED = { kind: 'failed', reason: 'the image has been deleted', final: true } as const;

async function dropSnapshot(c: StepContext<SnapshotState>): Promise<StepOutcome<SnapshotState>> {
  const host = await c.host(c.s.host);
  const reply = await host.dropSnapshot(c.serverId, { generation: c.generation });
  if (reply.kind === 'absent') return done;
  if (reply.kind === 'unreachable' && !(await hostIsUp(c.p, c.s.host))) {
    const debt = { host: c.s.host, serverId: c.serverId, generation: c.generation, sagaId: c.saga.id };
    await owe(c.p, { kind: 'drop-snapshot', ...debt, reason: 'snapshot of an image that was made or given up' });
    return doneBecause(`owed: host ${c.s.host} is down`);
  }
  return unlessDoomed(c, c.s.host, settled(reply));
}

/**
 * Done in the transaction that makes the saga, which begins behind it: so it is undone whatever fails. The image of a
 * shelving goes even when it has its data: it is nobody's but the shelving's.
 */
export const writeImage: MoveStep<SnapshotState> = {
  step: 'write image',
  do: async () => done,
  undo: (c) => inGlobal(c, (trx) => discardImages(trx, [c.s.imageId], c.p.clock.now())),
};

// ---- the moves ----------------------------------------------------------------------------------------------------

const FORWARD = 'forward only: the image is there';

const take = <S extends CreateImageState>(action: string, task: TaskState): MoveStep<S> => ({
  step: 'take hold',
  do: (c) => takeHold(c, c.s.cellId, action, task, { from: [c.s.vmState], host: c.s.host }),
  undo: (c) => letGo(c, c.s.cellId, {}, 'Error'),
});

/** The same, of an image for its user: it stays once it has its data. */
const writeOwnImage: MoveStep<SnapshotState> = {
  step: 'write image',
  do: async () => done,
  undo: (c) => inGlobal(c, (trx) => discardUnfinished(trx, [c.s.imageId], c.p.clock.now())),
};

/** Behind it the image is what the move was for, and only tidying is left. */
const keepImage: MoveStep<SnapshotState> = {
  step: 'keep image',
  do: async (c) =>
    (await globally(c.p.stores.global, c, (trx) => hasData(trx, c.s.imageId)))
      ? done
      : { kind: 'failed', reason: 'the image has been deleted', final: true },
  undo: (c) => unlessKept(c.p, c.s.imageId),
};

/** A step over a part of the state is one over all of it. */
const over = <S extends SnapshotState>(step: MoveStep<SnapshotState>): MoveStep<S> => step as unknown as MoveStep<S>;

export const CREATE_IMAGE: Move<CreateImageState> = {
  name: 'create image',
  version: 1,
  pivot: 'keep image',
  made: 1,
  parties: (s) => [s.host],
  steps: [
    over(writeOwnImage),
    take('createImage', 'image_snapshot'),
    over(takeSnapshot),
    over(markUploading('image_uploading')),
    over(uploadSnapshot),
    over(keepImage),
    over(forgetSnapshot),
    {
      step: 'let go',
      do: (c) => letGo(c, c.s.cellId, {}, null),
      undo: FORWARD,
    },
  ],
};

async function rotate(c: StepContext<CreateBackupState>): Promise<StepOutcome<CreateBackupState>> {
  const { backupType, rotation } = c.s;
  const [id, owner, now] = [c.serverId, c.s.actor.projectId, c.p.clock.now()];
  const { imageMirror } = c.p;
  if (!imageMirror) return inGlobal(c, (trx) => rotateBackups(trx, { id, owner }, backupType, rotation, now));
  const old = await imageMirror.oldBackups({ serverId: id, owner, backupType }, rotation);
  return inGlobal(c, async (trx) => {
    await unwantedInGlance(trx, old, now);
    await discardImages(trx, old, now);
  });
}

export const CREATE_BACKUP: Move<CreateBackupState> = {
  name: 'create backup',
  version: 1,
  pivot: 'keep image',
  made: 1,
  parties: (s) => [s.host],
  steps: [
    over(writeOwnImage),
    take('createBackup', 'image_backup'),
    over(takeSnapshot),
    over(markUploading('image_uploading')),
    over(uploadSnapshot),
    over(keepImage),
    over(forgetSnapshot),
    {
      step: 'rotate backups',
      do: rotate,
      undo: FORWARD,
    },
    {
      step: 'let go',
      do: (c) => letGo(c, c.s.cellId, {}, null),
      undo: FORWARD,
    },
  ],
};

// ---- the use cases ------------------------------------------------------------------------------------------------

export type ImageMade =
  | { readonly kind: 'made'; readonly imageId: string }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

export interface ImageRequest {
  readonly name: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Makes an image of the server's root disk as it is now. Answers when that has begun. */
export const createServerImage = inTurn(beginImage);

async function beginImage(p: Platform, actor: Actor, serverId: string, request: ImageRequest): Promise<ImageMade> {
  const planned = await plan(p, actor, serverId, 'createImage', request, {
    type: 'snapshot',
    metadata: request.metadata,
  });
  if (planned.kind === 'of volumes') {
    const made = await imageOfVolumes(p, actor, planned, request);
    return typeof made === 'string' ? { kind: 'made', imageId: made } : refused(made);
  }
  if (planned.kind === 'refused') return planned;
  const { state, image } = planned;
  return begun(
    p,
    image,
    await startMove(p, { ...common(p, image), move: CREATE_IMAGE, serverId, actor, state }, 'createImage'),
  );
}

export interface BackupRequest extends ImageRequest {
  /** Such as `daily`: backups of one kind are counted together. */
  readonly backupType: string;
  /** How many of them are kept, this one included. */
  readonly rotation: number;
}

/** The same as a backup, of which only so many are kept. */
export const createServerBackup = inTurn(beginBackup);

async function beginBackup(p: Platform, actor: Actor, serverId: string, request: BackupRequest): Promise<ImageMade> {
  const { backupType, rotation } = request;
  const metadata = { ...request.metadata, backup_type: backupType };
  const planned = await plan(p, actor, serverId, 'createBackup', request, { type: 'backup', metadata });
  if (planned.kind === 'of volumes') return refused(NO_BACKUP);
  if (planned.kind === 'refused') return planned;
  const { image } = planned;
  const state = { ...planned.state, backupType, rotation };
  return begun(
    p,
    image,
    await startMove(p, { ...common(p, image), move: CREATE_BACKUP, serverId, actor, state }, 'createBackup'),
  );
}

const common = (p: Platform, image: Image) => ({
  claim: (trx: Transaction<GlobalTables>) => recordSnapshot(p, trx, image),
});

async function begun(p: Platform, image: Image, refusal: Refusal | null): Promise<ImageMade> {
  if (!refusal) return { kind: 'made', imageId: image.id };
  await giveUpAnnounced(p, image.id);
  return refused(refusal);
}

type Planned =
  | { readonly kind: 'of volumes'; readonly server: Server; readonly cellId: string; readonly host: string }
  | { readonly kind: 'planned'; readonly state: CreateImageState; readonly image: Image }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

async function plan(
  p: Platform,
  actor: Actor,
  serverId: string,
  action: 'createImage' | 'createBackup',
  request: ImageRequest,
  wish: { readonly type: 'snapshot' | 'backup'; readonly metadata: Readonly<Record<string, string>> },
): Promise<Planned> {
  const found = await serverOrRefusal(p, serverId);
  if ('code' in found) return refused(found);
  const { server, cellId } = found;
  const { limits } = await quotaOf(p, actor.projectId);
  const refusal =
    checkMetadataQuota(limits, Object.keys(request.metadata).length) ??
    checkAction(action, stateOf(server), isAdmin(actor)) ??
    checkHasHost(stateOf(server));
  if (refusal) return refused(refusal);
  const host = server.host ?? '';
  if (server.image.id === null) return { kind: 'of volumes', server, cellId, host };
  const image = await imageOf(p, actor, server, host, request.name, wish);
  if ('code' in image) return refused(image);
  const state = {
    ...askedBy(actor, server),
    ...{ cellId, host, vmState: server.vmState, imageId: image.id },
  };
  return { kind: 'planned', state, image };
}

const NO_BACKUP = badRequest('Backup is not supported for volume-backed instances.');

/**
 * A new image for the server's root disk, announced to a Glance. Refused by Glance's rules.
 * @throws ServiceDown
 */
export async function imageOf(
  p: Platform,
  actor: Actor,
  server: Server,
  host: string,
  name: string,
  wish: { readonly type: 'snapshot' | 'backup'; readonly metadata: Readonly<Record<string, string>> },
): Promise<Image | Refusal> {
  const who = { userId: actor.userId, owner: actor.projectId };
  const image = snapshotImage(
    server,
    { ...wish, ...who, id: newId(), name, now: p.clock.now() },
    await snapshotFormat(p, host),
  );
  if ('code' in image || !p.imageMirror) return image;
  return (await p.imageMirror.announce(p, image, actor.requestId)) ?? image;
}
