// Revert a volume to its latest snapshot: available → reverting → available, the snapshot available → restoring → available.
//
// The storage host first keeps what the volume holds now, in a snapshot that is named after the saga and on no record. That
// it is dropped is what decides: until then the volume can hold again what it did, and a revert that fails takes nothing from
// its user, where Cinder leaves it in error. Nobody can have the volume meanwhile, for it is not available. A storage host
// that is down turns the saga back, and is waited for in that.
import type { Transaction } from 'kysely';
import type { Platform } from '../../control/platform.ts';
import { changeStatus, lockVolume } from '../../control/volumes/records.ts';
import { changeSnapshotStatus, latestSnapshot } from '../../control/volumes/snapshots.ts';
import { refused } from '../../model/refusal.ts';
import type { Actor, Refusal } from '../../model/types.ts';
import { checkRevert, notReverted, volumeNotFound } from '../../model/volumes.ts';
import type { StorageHost } from '../../storage/contract.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import type { Move, StepContext, StepOutcome } from '../move.ts';
import { done, inGlobal } from '../outcomes.ts';
import { storageJobOutcome, unlessLanded } from './effects.ts';
import type { SnapshotState } from './snapshots.ts';
import { startOnVolume } from './start.ts';

type C = StepContext<SnapshotState>;
type Outcome = StepOutcome<SnapshotState>;

export const REVERT_VOLUME: Move<SnapshotState> = {
  name: 'revert volume',
  version: 1,
  subject: 'volume',
  pivot: 'drop old content',
  made: 1,
  parties: () => [],
  steps: [
    {
      // Done in the transaction that makes the saga.
      step: 'take hold',
      do: async () => done,
      undo: (c) => inGlobal(c, (trx) => atRest(c, trx)),
    },
    {
      step: 'keep old content',
      do: (c) => atStorage(c, (storage, { generation }) => storage.snapshot(c.s.volumeId, c.saga.id, { generation })),
      undo: dropOld,
    },
    {
      step: 'write volume',
      do: (c) => writeFrom(c, c.s.snapshotId),
      undo: (c) => writeFrom(c, c.saga.id),
    },
    {
      step: 'drop old content',
      do: dropOld,
      undo: (c) => unlessLanded(c, c.s, (volume) => volume?.snapshots.includes(c.saga.id) !== true),
    },
    {
      step: 'let go',
      do: (c) => inGlobal(c, (trx) => atRest(c, trx)),
      undo: 'forward only: what the volume held is gone',
    },
  ],
};

async function atStorage(
  c: C,
  call: (storage: StorageHost, c: C) => ReturnType<StorageHost['rewrite']>,
): Promise<Outcome> {
  return storageJobOutcome(c.s.storageHost, await call(await c.storage(c.s.storageHost), c));
}

const writeFrom = (c: C, snapshotId: string): Promise<Outcome> =>
  atStorage(c, (storage, { generation }) =>
    storage.rewrite(c.s.volumeId, { generation, content: { kind: 'snapshot', snapshotId } }),
  );

function dropOld(c: C): Promise<Outcome> {
  return atStorage(c, (storage, { generation }) => storage.deleteSnapshot(c.s.volumeId, c.saga.id, { generation }));
}

/** Both as before. */
async function atRest(c: C, trx: Transaction<GlobalTables>): Promise<void> {
  const updated_at = c.p.clock.now();
  const change = { status: 'available', updated_at };
  await changeStatus(trx, c.s.volumeId, ['reverting'], { ...change, generation: c.generation });
  await changeSnapshotStatus(trx, c.s.snapshotId, ['restoring'], change);
}

/** @param wanted the snapshot that its user means, which must be the latest; null: none is named */
export const revertVolume = (
  p: Platform,
  actor: Actor,
  volumeId: string,
  wanted: string | null,
): Promise<Refusal | null> =>
  startOnVolume(p, {
    ...{ move: REVERT_VOLUME, volumeId, actor },
    take: async (trx) => {
      const volume = await lockVolume(trx, volumeId);
      if (!volume) return refused(volumeNotFound(volumeId));
      const latest = await latestSnapshot(trx, volume);
      const checked = checkRevert(volume, latest, wanted);
      if ('code' in checked) return refused(checked);
      const updated_at = p.clock.now();
      if (!(await changeStatus(trx, volumeId, ['available'], { status: 'reverting', updated_at })))
        return refused(notReverted(volumeId, checked.id, 'volume'));
      if (!(await changeSnapshotStatus(trx, checked.id, ['available'], { status: 'restoring', updated_at })))
        return refused(notReverted(volumeId, checked.id, 'snapshot'));
      return { kind: 'ok', state: { volumeId, storageHost: volume.storageHost, snapshotId: checked.id } };
    },
  });
