// Where volumes are: on storage hosts of our own, or in a Cinder.
//
// Theory of operation. The records of volumes and attachments are the ledger, whoever keeps the volumes: sagas change them
// under their fences, and bring access about through a StorageHost. A Cinder is one storage host among the others to them
// (cinder-storage.ts), under the name CINDER. What is beside that is here: volumes are looked up when a request names
// them, and taken there before they are claimed here.
import type { Actor, Refusal } from '../../model/types.ts';
import type { Volume } from '../../model/volumes.ts';
import type { StorageHost } from '../../storage/contract.ts';
import type { Platform } from '../platform.ts';
import { volumeFor } from './records.ts';

/** Name of the storage host that stands for a Cinder. */
export const CINDER = 'cinder';

export interface Taking {
  readonly serverId: string;
  readonly projectId: string;
  readonly volumeId: string;
}

export interface VolumeService {
  /** Behind which the volumes are, for those that are on CINDER. */
  storage(p: Platform): StorageHost;
  /** The volume is on record as it is there now, if it is. @throws ServiceDown, CinderRefused */
  look(p: Platform, volumeId: string): Promise<void>;
  /** Nobody else can have the volume, which the server is about to claim. @throws ServiceDown, CinderRefused */
  take(p: Platform, wanted: Taking): Promise<Refusal | null>;
  /** What was taken for the server and is not claimed is free again, now or when it can be. */
  giveUp(p: Platform, serverId: string): Promise<void>;
  /** What the server had and has released is free for others, now or when it can be. */
  settle(p: Platform, serverId: string): Promise<void>;
  /** What could not be set free before is now, as far as it can be. */
  payOwed(p: Platform): Promise<void>;
}

/** Why volumes and snapshots are not made, changed or deleted here. */
export const IN_CINDER: Refusal = {
  code: 400,
  message: 'Volumes are kept by the Block Storage service: new ones, and snapshots of them, are made there.',
};

/** The volume, if the actor may see it, as it is now wherever it is kept. Else 404. */
export async function volumeNow(p: Platform, actor: Actor, volumeId: string): Promise<Volume | Refusal> {
  await p.volumes?.look(p, volumeId);
  return volumeFor(p.stores.global, actor, volumeId);
}
