// Effects on storage hosts, for the sagas of volumes and for those of servers that make or delete volumes on their way.
import { owe } from '../../control/debts.ts';
import { findBaseImage } from '../../control/images.ts';
import type { NewVolumeSource } from '../../control/volumes/plan.ts';
import { storageHostIsUp } from '../../control/volumes/storage-hosts.ts';
import type { Job, Reply } from '../../host/contract.ts';
import { assertNever } from '../../lib/errors.ts';
import { GIB } from '../../model/volumes.ts';
import type { StoredVolume, VolumeSource } from '../../storage/contract.ts';
import { jobOutcome, settled } from '../hosts.ts';
import type { StepContext, StepOutcome } from '../move.ts';
import { done, LANDED } from '../outcomes.ts';

/** What a storage host says of a job on a volume that must be there. */
export const storageJobOutcome = <S>(storageHost: string, reply: Reply<Job>): StepOutcome<S> =>
  reply.kind === 'absent'
    ? { kind: 'failed', reason: `storage host ${storageHost} has no such volume`, final: true }
    : jobOutcome<S, Job>(reply);

/** A volume as its storage host has to make it. */
export interface VolumeToMake {
  readonly volumeId: string;
  readonly storageHost: string;
  readonly sizeGb: number;
  readonly source: NewVolumeSource;
}

/** The volume is there with its content. Undone by `removeVolume`. */
export async function makeVolume<S>(c: StepContext<S>, wanted: VolumeToMake): Promise<StepOutcome<S>> {
  const source = await sourceOf(c, wanted.source);
  if (source === null) return { kind: 'failed', reason: 'the image is gone', final: true };
  const storage = await c.storage(wanted.storageHost);
  const request = { generation: c.generation, sizeBytes: wanted.sizeGb * GIB, source };
  return jobOutcome<S, Job>(await storage.create(wanted.volumeId, request));
}

async function sourceOf<S>(c: StepContext<S>, source: NewVolumeSource): Promise<VolumeSource | null> {
  switch (source.kind) {
    case 'image': {
      const image = await findBaseImage(c.p, source.imageId);
      return image && { kind: 'image', image };
    }
    case 'blank':
    case 'volume':
    case 'snapshot':
      return source;
    default:
      return assertNever(source);
  }
}

const POLL_MS = 150;

/**
 * Undoes a pivot that changes the volume itself at its storage host: looks what came of it when nothing older can change it
 * any more, and takes nothing back.
 * @param landed whether this is what was to come of it; null: the storage host has no such volume
 */
export async function unlessLanded<S>(
  c: StepContext<S>,
  { volumeId, storageHost }: { readonly volumeId: string; readonly storageHost: string },
  landed: (volume: StoredVolume | null) => boolean,
): Promise<StepOutcome<S>> {
  const storage = await c.storage(storageHost);
  const fenced = await storage.fenceVolume(volumeId, { generation: c.generation });
  if (fenced.kind !== 'ok') return settled(fenced);
  const reply = await storage.volume(volumeId);
  if (reply.kind !== 'ok' && reply.kind !== 'absent') return settled(reply);
  const volume = reply.kind === 'ok' ? reply.value : null;
  if (volume?.busy) return { kind: 'pending', afterMs: POLL_MS };
  return landed(volume) ? LANDED : done;
}

/** The volume and its snapshots are gone from the storage host, or owed. Harmless when they were never there. */
export async function removeVolume<S>(
  c: StepContext<S>,
  volume: { readonly volumeId: string; readonly storageHost: string },
  reason: string,
): Promise<StepOutcome<S>> {
  const storage = await c.storage(volume.storageHost);
  const reply = await storage.delete(volume.volumeId, { generation: c.generation });
  if (reply.kind === 'absent') return { kind: 'done' };
  if (reply.kind === 'unreachable' && !(await storageHostIsUp(c.p, volume.storageHost))) {
    const { volumeId, storageHost: host } = volume;
    const debt = { host, serverId: c.serverId, volumeId, generation: c.generation, sagaId: c.saga.id };
    await owe(c.p, { kind: 'delete-volume', ...debt, reason });
    return { kind: 'done', note: `owed: storage host ${volume.storageHost} is down` };
  }
  return jobOutcome<S, Job>(reply);
}
