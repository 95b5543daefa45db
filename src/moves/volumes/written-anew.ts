// The steps by which a volume that nobody has attached is written anew in its place.
//
// The storage host first keeps what the volume holds now, in a snapshot that is named after the saga and on no record. That
// it is dropped is what decides: until then the volume can hold again what it did, and what fails takes nothing from its
// user, where Cinder leaves the volume in error. Nobody can have the volume meanwhile: its status is not one from which it
// is attached. A storage host that is down turns the saga back, and is waited for in that.
import type { Transaction } from 'kysely';
import type { RewriteVolumeRequest, StorageHost } from '../../storage/contract.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import type { MoveStep, StepContext, StepOutcome } from '../move.ts';
import { done, inGlobal } from '../outcomes.ts';
import { storageJobOutcome, unlessLanded } from './effects.ts';

export interface HeldVolume {
  readonly volumeId: string;
  readonly storageHost: string;
}

export interface Written<S> {
  /** What the volume is to hold; a sentence: why there is nothing of it any more. */
  readonly content: (c: StepContext<S>) => Promise<RewriteVolumeRequest['content'] | string>;
  /** The records of a volume that is let go of, with the new content or as it was. */
  readonly atRest: (c: StepContext<S>, trx: Transaction<GlobalTables>, end: 'written' | 'as before') => Promise<void>;
}

/** What dropOld is called in the tables. */
export const DECIDED = 'drop old content';

export const writtenAnew = <S extends HeldVolume>({ content, atRest }: Written<S>): readonly MoveStep<S>[] => [
  {
    // Done in the transaction that makes the saga.
    step: 'take hold',
    do: async () => done,
    undo: (c) => inGlobal(c, (trx) => atRest(c, trx, 'as before')),
  },
  {
    step: 'keep old content',
    do: (c) => atStorage(c, (storage, { generation }) => storage.snapshot(c.s.volumeId, c.saga.id, { generation })),
    undo: dropOld,
  },
  {
    step: 'write volume',
    do: async (c) => {
      const wanted = await content(c);
      if (typeof wanted === 'string') return { kind: 'failed', reason: wanted, final: true };
      return write(c, wanted);
    },
    undo: (c) => write(c, { kind: 'snapshot', snapshotId: c.saga.id }),
  },
  {
    step: DECIDED,
    do: dropOld,
    undo: (c) => unlessLanded(c, c.s, (volume) => volume?.snapshots.includes(c.saga.id) !== true),
  },
  {
    step: 'let go',
    do: (c) => inGlobal(c, (trx) => atRest(c, trx, 'written')),
    undo: 'forward only: what the volume held is gone',
  },
];

async function atStorage<S extends HeldVolume>(
  c: StepContext<S>,
  call: (storage: StorageHost, c: StepContext<S>) => ReturnType<StorageHost['rewrite']>,
): Promise<StepOutcome<S>> {
  return storageJobOutcome(c.s.storageHost, await call(await c.storage(c.s.storageHost), c));
}

const write = <S extends HeldVolume>(
  c: StepContext<S>,
  content: RewriteVolumeRequest['content'],
): Promise<StepOutcome<S>> =>
  atStorage(c, (storage, { generation }) => storage.rewrite(c.s.volumeId, { generation, content }));

function dropOld<S extends HeldVolume>(c: StepContext<S>): Promise<StepOutcome<S>> {
  return atStorage(c, (storage, { generation }) => storage.deleteSnapshot(c.s.volumeId, c.saga.id, { generation }));
}
