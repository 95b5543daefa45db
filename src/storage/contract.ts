// The contract between the control plane and a storage host, imported by both sides.
//
// A storage host keeps volumes and serves each to the guests that may use it: over NBD, with an export name and a key per
// attachment. As in host/contract.ts every mutating call is PUT-shaped, harmless when repeated, and short: what takes
// longer is a job that the same call polls.
// Two things are fenced. What changes a volume itself (make, grow, snapshot, delete) carries the volume's generation. Who
// may use it carries the server's: for each server a storage host remembers the highest generation it has seen, for all
// its volumes, and refuses anything older. Revoked means: the export is gone, the connection is closed, the key opens
// nothing; a guest that still runs can write no more.
import { type Static, Type } from 'typebox';
import {
  BaseImage,
  type DestroyRequest,
  type Files,
  type GenerationRequest,
  type Job,
  MAX_REMAINS,
  type Reply,
  ServerId,
  type VolumeConnection,
} from '../host/contract.ts';

export const VolumeId = ServerId;
export const SnapshotId = ServerId;
export const AttachmentId = ServerId;
const Generation = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });
const Bytes = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

/** What a new volume holds: nothing (zeros), an image's content, or that of a volume or snapshot of the same host. */
export const VolumeSource = Type.Union([
  Type.Object({ kind: Type.Literal('blank') }, { additionalProperties: false }),
  Type.Object({ kind: Type.Literal('image'), image: BaseImage }, { additionalProperties: false }),
  Type.Object({ kind: Type.Literal('volume'), volumeId: VolumeId }, { additionalProperties: false }),
  Type.Object(
    { kind: Type.Literal('snapshot'), volumeId: VolumeId, snapshotId: SnapshotId },
    { additionalProperties: false },
  ),
]);
export type VolumeSource = Static<typeof VolumeSource>;

export const CreateVolumeRequest = Type.Object(
  { generation: Generation, sizeBytes: Bytes, source: VolumeSource },
  { additionalProperties: false },
);
export type CreateVolumeRequest = Static<typeof CreateVolumeRequest>;

/** Be at least this long (never shrinks). Also while guests use it. */
export const ExtendVolumeRequest = Type.Object(
  { generation: Generation, sizeBytes: Bytes },
  { additionalProperties: false },
);
export type ExtendVolumeRequest = Static<typeof ExtendVolumeRequest>;

/** `generation`: the server's. At most one attachment of a server has access to a volume at a time. */
export const GrantRequest = Type.Object(
  { serverId: ServerId, generation: Generation, mode: Type.Union([Type.Literal('rw'), Type.Literal('ro')]) },
  { additionalProperties: false },
);
export type GrantRequest = Static<typeof GrantRequest>;

/** Hold an image's content anew, or what a snapshot of this volume holds; what is behind it is zeros. */
export const RewriteVolumeRequest = Type.Object(
  {
    generation: Generation,
    content: Type.Union([
      Type.Object({ kind: Type.Literal('image'), image: BaseImage }, { additionalProperties: false }),
      Type.Object({ kind: Type.Literal('snapshot'), snapshotId: SnapshotId }, { additionalProperties: false }),
    ]),
  },
  { additionalProperties: false },
);
export type RewriteVolumeRequest = Static<typeof RewriteVolumeRequest>;

/** Send what the volume holds when this first comes, in that format, to this URL of the control plane, with a PUT. */
export const UploadVolumeRequest = Type.Object(
  {
    generation: Generation,
    /** Names the sending. */
    uploadId: ServerId,
    format: BaseImage.properties.format,
    url: BaseImage.properties.url,
  },
  { additionalProperties: false },
);
export type UploadVolumeRequest = Static<typeof UploadVolumeRequest>;

export const RevokeRequest = Type.Object(
  { serverId: ServerId, generation: Generation },
  { additionalProperties: false },
);
export type RevokeRequest = Static<typeof RevokeRequest>;

export const StoredVolume = Type.Object(
  {
    volumeId: VolumeId,
    generation: Generation,
    sizeBytes: Bytes,
    snapshots: Type.Array(SnapshotId),
    /** Something is being done to it: what is said here may be about to change. */
    busy: Type.Boolean(),
    /** Who has access now. */
    grants: Type.Array(
      Type.Object(
        { attachmentId: AttachmentId, serverId: ServerId, generation: Generation, mode: GrantRequest.properties.mode },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);
export type StoredVolume = Static<typeof StoredVolume>;

export const StorageDescription = Type.Object(
  { name: Type.String(), driver: Type.String(), totalBytes: Bytes, freeBytes: Bytes },
  { additionalProperties: false },
);
export type StorageDescription = Static<typeof StorageDescription>;

export const StorageHeartbeat = Type.Object(
  {
    ...{ agentId: Type.String(), now: Type.Integer(), freeBytes: Bytes, volumes: Type.Array(StoredVolume) },
    /** Volumes of which there are files here and no record: they are kept, and nobody gets at them. */
    remains: Type.Array(Type.Object({ volumeId: VolumeId, bytes: Bytes }, { additionalProperties: false }), {
      maxItems: MAX_REMAINS,
    }),
  },
  { additionalProperties: false },
);
export type StorageHeartbeat = Static<typeof StorageHeartbeat>;

/** A storage host as the control plane sees it. Implemented by the storage agent, by its HTTP client, and nothing else. */
export interface StorageHost {
  describe(): Promise<Reply<StorageDescription>>;
  heartbeat(): Promise<Reply<StorageHeartbeat>>;
  /** Looks at the files of all volumes; for the audit. */
  files(): Promise<Reply<Files>>;
  /** `absent` when this host has none of that id. */
  volume(volumeId: string): Promise<Reply<StoredVolume>>;
  /** Remember this generation for the server, on all volumes: from now on refuse older grants and revokes of it. */
  fence(serverId: string, request: Static<typeof GenerationRequest>): Promise<Reply<Record<string, never>>>;
  /** The same of the volume itself, which need not be here: from now on refuse older changes of it. */
  fenceVolume(volumeId: string, request: Static<typeof GenerationRequest>): Promise<Reply<Record<string, never>>>;
  /** Refused where there are files of it without a record, until they are deleted. */
  create(volumeId: string, request: CreateVolumeRequest): Promise<Reply<Job>>;
  /**
   * Be gone with its snapshots; refused while somebody has access. `done` if never here, and if there is no record of it,
   * whose files go only when that is asked for; the generation is remembered.
   */
  delete(volumeId: string, request: DestroyRequest): Promise<Reply<Job>>;
  extend(volumeId: string, request: ExtendVolumeRequest): Promise<Reply<Job>>;
  /** Keep the volume's content of this moment; also while guests use it (crash-consistent). */
  snapshot(volumeId: string, snapshotId: string, request: Static<typeof GenerationRequest>): Promise<Reply<Job>>;
  deleteSnapshot(volumeId: string, snapshotId: string, request: Static<typeof GenerationRequest>): Promise<Reply<Job>>;
  /**
   * Refused while somebody has access, as is access meanwhile. One that is cut short leaves rubbish: ask again. Writing a
   * snapshot back ends the writing of an image first.
   */
  rewrite(volumeId: string, request: RewriteVolumeRequest): Promise<Reply<Job>>;
  /** Also while guests use it (crash-consistent). It ends with the agent; whoever wanted it asks again. */
  upload(volumeId: string, request: UploadVolumeRequest): Promise<Reply<Job>>;
  /** Be sending nothing of the volume any more. */
  endUpload(volumeId: string, request: Static<typeof GenerationRequest>): Promise<Reply<Job>>;
  /** Let the server in by this attachment. Refused while another attachment of the same server has access. */
  grant(volumeId: string, attachmentId: string, request: GrantRequest): Promise<Reply<VolumeConnection>>;
  /** Shut this attachment out, within milliseconds; ok if it never had access, also when the volume is not here. */
  revoke(volumeId: string, attachmentId: string, request: RevokeRequest): Promise<Reply<Record<string, never>>>;
}
