// What a storage host remembers of each volume and of each server, and where.
//
// Theory of operation. One record per volume ever seen and one per server ever seen, written by the agent alone and
// always before the effect that they announce. `volume` is null when only the generation is known. Both kinds stay for
// good (about 100 bytes each): a fence that is forgotten is no fence. They hold keys: nobody else may read them.
import { type Static, Type } from 'typebox';
import { type Records, VolatileRecords } from '../host/record-files.ts';
import { AttachmentId, GrantRequest, SnapshotId, VolumeId, VolumeSource } from './contract.ts';

const Count = Type.Integer({ minimum: 0 });
const closed = { additionalProperties: false } as const;

/** Who has access, and what opens the door. */
export const Grant = Type.Object(
  {
    attachmentId: AttachmentId,
    serverId: VolumeId,
    generation: Count,
    mode: GrantRequest.properties.mode,
    exportName: Type.String({ pattern: '^[0-9a-z-]{1,128}$' }),
    user: Type.String({ pattern: '^[0-9a-z-]{1,128}$' }),
    key: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  },
  closed,
);
export type Grant = Static<typeof Grant>;

export const VolumeBody = Type.Object(
  {
    /** `making` until its content is whole; what lies there meanwhile is rubbish. `deleting` ends in absence. */
    state: Type.Union([Type.Literal('making'), Type.Literal('ready'), Type.Literal('deleting')]),
    sizeBytes: Count,
    source: VolumeSource,
    snapshots: Type.Array(SnapshotId),
    /** At most one of a server. */
    grants: Type.Array(Grant),
    /** Where it was served last; it is found there again. */
    port: Type.Union([Type.Integer({ minimum: 1, maximum: 65535 }), Type.Null()]),
  },
  closed,
);
export type VolumeBody = Static<typeof VolumeBody>;

export const VolumeRecord = Type.Object(
  {
    version: Type.Literal(1),
    id: VolumeId,
    /** The highest generation seen; 0: none yet. */
    generation: Count,
    /** The generation of the last delete; 0: never deleted. */
    deletedGeneration: Count,
    /** Snapshots that were deleted at the current generation: a call that was delayed does not bring them back. */
    deletedSnapshots: Type.Array(SnapshotId),
    volume: Type.Union([VolumeBody, Type.Null()]),
  },
  closed,
);
export type VolumeRecord = Static<typeof VolumeRecord>;

export const ServerRecord = Type.Object(
  {
    version: Type.Literal(1),
    id: VolumeId,
    generation: Count,
    /** Attachments whose access ended at this generation: a call that was delayed does not end what was given since. */
    revoked: Type.Array(AttachmentId),
  },
  closed,
);
export type ServerRecord = Static<typeof ServerRecord>;

export interface StorageRecords {
  readonly volumes: Records<VolumeRecord>;
  readonly servers: Records<ServerRecord>;
}

/** Records that live as long as the object: for simulated storage hosts. */
export class MemoryStorageRecords implements StorageRecords {
  readonly volumes = new VolatileRecords<VolumeRecord>(({ id }) => id);
  readonly servers = new VolatileRecords<ServerRecord>(({ id }) => id);
}
