// Create and delete snapshots: creating → available | error, deleting → gone | error_deleting.
//
// The saga's key is the volume's id: whatever else works on the volume comes before or after. A storage host that is down
// keeps a snapshot's delete waiting (status deleting); a new snapshot of its volumes ends in error and holds nothing.
import type { Platform } from '../../control/platform.ts';
import { claimVolumeQuota } from '../../control/volumes/quota.ts';
import { lockVolume } from '../../control/volumes/records.ts';
import { IN_CINDER } from '../../control/volumes/service.ts';
import {
  changeSnapshotStatus,
  createSnapshotRecord,
  deleteSnapshotRecord,
  findSnapshot,
} from '../../control/volumes/snapshots.ts';
import type { Job } from '../../host/contract.ts';
import { newId } from '../../lib/ids.ts';
import { badRequest, refused } from '../../model/refusal.ts';
import type { Actor, Refusal } from '../../model/types.ts';
import {
  checkSnapshot,
  SNAPSHOT_DELETABLE,
  SNAPSHOT_STATUSES,
  type Snapshot,
  type SnapshotStatus,
  snapshotNotFound,
  volumeNotFound,
} from '../../model/volumes.ts';
import { jobOutcome } from '../hosts.ts';
import type { Move, StepContext, StepOutcome } from '../move.ts';
import { done, inGlobal, LANDED } from '../outcomes.ts';
import { unlessLanded } from './effects.ts';
import { startOnVolume } from './start.ts';

export interface SnapshotState {
  readonly volumeId: string;
  readonly storageHost: string;
  readonly snapshotId: string;
}

type C = StepContext<SnapshotState>;

const become = (c: C, from: SnapshotStatus, to: SnapshotStatus): Promise<StepOutcome<SnapshotState>> =>
  inGlobal(c, (trx) => changeSnapshotStatus(trx, c.s.snapshotId, [from], { status: to, updated_at: c.p.clock.now() }));

async function removeSnapshot(c: C): Promise<StepOutcome<SnapshotState>> {
  const storage = await c.storage(c.s.storageHost);
  const reply = await storage.deleteSnapshot(c.s.volumeId, c.s.snapshotId, { generation: c.generation });
  return reply.kind === 'absent' ? { kind: 'done' } : jobOutcome<SnapshotState, Job>(reply);
}

export const CREATE_SNAPSHOT: Move<SnapshotState> = {
  name: 'create snapshot',
  version: 1,
  subject: 'volume',
  pivot: 'let go',
  made: 1,
  parties: () => [],
  steps: [
    {
      // Done in the transaction that makes the saga.
      step: 'write record',
      do: async () => done,
      undo: (c) => become(c, 'creating', 'error'),
    },
    {
      step: 'take snapshot',
      do: async (c) => {
        const storage = await c.storage(c.s.storageHost);
        const reply = await storage.snapshot(c.s.volumeId, c.s.snapshotId, { generation: c.generation });
        return jobOutcome<SnapshotState, Job>(reply);
      },
      undo: removeSnapshot,
    },
    {
      step: 'let go',
      do: (c) => become(c, 'creating', 'available'),
      undo: async (c) =>
        (await findSnapshot(c.p.stores.global, c.s.snapshotId))?.status === 'creating' ? done : LANDED,
    },
  ],
};

export const DELETE_SNAPSHOT: Move<SnapshotState> = {
  name: 'delete snapshot',
  version: 1,
  subject: 'volume',
  pivot: 'remove snapshot',
  made: 1,
  parties: () => [],
  steps: [
    {
      // Done in the transaction that makes the saga.
      step: 'take hold',
      do: async () => done,
      undo: (c) => become(c, 'deleting', 'error_deleting'),
    },
    {
      step: 'remove snapshot',
      do: removeSnapshot,
      undo: (c) => unlessLanded(c, c.s, (volume) => volume?.snapshots.includes(c.s.snapshotId) !== true),
    },
    {
      step: 'drop record',
      do: (c) => inGlobal(c, (trx) => deleteSnapshotRecord(trx, c.s.snapshotId)),
      undo: 'forward only: the snapshot is gone',
    },
  ],
};

export interface SnapshotWish {
  readonly volumeId: string;
  readonly name: string | null;
  readonly description: string | null;
  readonly metadata: Readonly<Record<string, string>>;
  /** Also of a volume that servers use. */
  readonly force: boolean;
}

export type CreatedSnapshot =
  | { readonly kind: 'created'; readonly snapshot: Snapshot }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

export async function createSnapshot(p: Platform, actor: Actor, wish: SnapshotWish): Promise<CreatedSnapshot> {
  const { volumeId } = wish;
  if (p.volumes) return refused(IN_CINDER);
  const made: { snapshot?: Snapshot } = {};
  const refusal = await startOnVolume(p, {
    ...{ move: CREATE_SNAPSHOT, volumeId, actor },
    take: async (trx) => {
      const volume = await lockVolume(trx, volumeId);
      if (!volume) return refused(volumeNotFound(volumeId));
      const { projectId, sizeGb, storageHost } = volume;
      const notNow =
        checkSnapshot(volume, wish.force) ??
        (await claimVolumeQuota(p, trx, projectId, { volumes: 0, snapshots: 1, gigabytes: sizeGb }));
      if (notNow) return refused(notNow);
      const now = p.clock.now();
      made.snapshot = {
        ...{ id: newId(), volumeId, name: wish.name, description: wish.description, metadata: wish.metadata },
        ...{ projectId, userId: actor.userId, sizeGb, status: 'creating', createdAt: now, updatedAt: now },
      };
      await createSnapshotRecord(trx, made.snapshot);
      return { kind: 'ok', state: { volumeId, storageHost, snapshotId: made.snapshot.id } };
    },
  });
  if (refusal) return refused(refusal);
  if (!made.snapshot) throw new Error('a saga that began has recorded its snapshot');
  return { kind: 'created', snapshot: made.snapshot };
}

/** Not while a volume is being made from it, or its volume is busy. `force`: from any status, administrators'. */
export async function deleteSnapshot(
  p: Platform,
  actor: Actor,
  snapshot: Snapshot,
  { force = false }: { readonly force?: boolean } = {},
): Promise<Refusal | null> {
  const { id: snapshotId, volumeId } = snapshot;
  const from = force ? SNAPSHOT_STATUSES : SNAPSHOT_DELETABLE;
  return startOnVolume(p, {
    ...{ move: DELETE_SNAPSHOT, volumeId, actor },
    take: async (trx) => {
      const volume = await lockVolume(trx, volumeId);
      if (!volume || !(await findSnapshot(trx, snapshotId))) return refused(snapshotNotFound(snapshotId));
      const copy = await trx
        .selectFrom('volumes')
        .select('id')
        .where('snapshot_id', '=', snapshotId)
        .where('status', '=', 'creating')
        .limit(1)
        .executeTakeFirst();
      const change = { status: 'deleting', updated_at: p.clock.now() };
      if (copy || !(await changeSnapshotStatus(trx, snapshotId, from, change))) {
        return refused(badRequest('Invalid snapshot: Snapshot status must be available or error.'));
      }
      return { kind: 'ok', state: { volumeId, storageHost: volume.storageHost, snapshotId } };
    },
  });
}
