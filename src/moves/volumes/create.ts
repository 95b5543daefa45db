// Create a volume: creating → available | error.
//
// Recorded in the transaction of the request, then made at its storage host, which copies the source's content. A volume
// that cannot be made stays recorded in error, as Cinder's users expect, and holds nothing at its storage host.
import type { Platform } from '../../control/platform.ts';
import { planVolume, recordPlan, type VolumeWish } from '../../control/volumes/plan.ts';
import { changeStatus, findVolume } from '../../control/volumes/records.ts';
import type { Actor, Refusal } from '../../model/types.ts';
import type { Volume } from '../../model/volumes.ts';
import type { Move } from '../move.ts';
import { done, inGlobal, LANDED } from '../outcomes.ts';
import { makeVolume, removeVolume, type VolumeToMake } from './effects.ts';
import { startOnVolume } from './start.ts';

export const CREATE_VOLUME: Move<VolumeToMake> = {
  name: 'create volume',
  version: 1,
  subject: 'volume',
  pivot: 'let go',
  made: 1,
  parties: () => [],
  steps: [
    {
      // Done in the transaction that makes the saga, which begins behind it: so it is undone whatever fails.
      step: 'write record',
      do: async () => done,
      // Undone to error: the user asked for a volume and must be told what became of it.
      undo: (c) =>
        inGlobal(c, (trx) =>
          changeStatus(trx, c.s.volumeId, ['creating'], {
            ...{ status: 'error', generation: c.generation, updated_at: c.p.clock.now() },
          }),
        ),
    },
    {
      step: 'make volume',
      do: (c) => makeVolume(c, c.s),
      undo: (c) => removeVolume(c, c.s, 'volume that could not be made'),
    },
    {
      step: 'let go',
      do: (c) =>
        inGlobal(c, (trx) =>
          changeStatus(trx, c.s.volumeId, ['creating'], {
            ...{ status: 'available', generation: c.generation, updated_at: c.p.clock.now() },
          }),
        ),
      undo: async (c) => ((await findVolume(c.p.stores.global, c.s.volumeId))?.status === 'creating' ? done : LANDED),
    },
  ],
};

export type CreatedVolume =
  | { readonly kind: 'created'; readonly volume: Volume }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** Records the volume and begins to make it. */
export async function createVolume(p: Platform, actor: Actor, wish: VolumeWish): Promise<CreatedVolume> {
  const planned = await planVolume(p, actor, wish);
  if (planned.kind === 'refused') return planned;
  const { volume, source } = planned.plan;
  const refusal = await startOnVolume(p, {
    ...{ move: CREATE_VOLUME, volumeId: volume.id, actor },
    take: async (trx) => {
      const over = await recordPlan(p, trx, planned.plan);
      if (over) return { kind: 'refused', refusal: over };
      const { id, storageHost, sizeGb } = volume;
      return { kind: 'ok', state: { volumeId: id, storageHost, sizeGb, source } };
    },
  });
  return refusal ? { kind: 'refused', refusal } : { kind: 'created', volume };
}
