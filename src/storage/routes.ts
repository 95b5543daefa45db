// Where each method of a storage host's contract is found over HTTP (host/wire.ts).
import { DestroyRequest, Files, GenerationRequest, Job, VolumeOverNbd } from '../host/contract.ts';
import { get, HEARTBEAT_LIMIT_MS, Nothing, put, type Route } from '../host/wire.ts';
import {
  CreateVolumeRequest,
  ExtendVolumeRequest,
  GrantRequest,
  RevokeRequest,
  RewriteVolumeRequest,
  StorageDescription,
  StorageHeartbeat,
  type StorageHost,
  StoredVolume,
  UploadVolumeRequest,
} from './contract.ts';

export const STORAGE_ROUTES = {
  describe: get('/v1/description', StorageDescription),
  heartbeat: { ...get('/v1/heartbeat', StorageHeartbeat), limitMs: HEARTBEAT_LIMIT_MS },
  files: get('/v1/files', Files),
  volume: get('/v1/volumes/:volumeId', StoredVolume),
  fence: put('/v1/servers/:serverId/fence', GenerationRequest, Nothing),
  fenceVolume: put('/v1/volumes/:volumeId/fence', GenerationRequest, Nothing),
  create: put('/v1/volumes/:volumeId/definition', CreateVolumeRequest, Job),
  delete: put('/v1/volumes/:volumeId/absence', DestroyRequest, Job),
  extend: put('/v1/volumes/:volumeId/size', ExtendVolumeRequest, Job),
  snapshot: put('/v1/volumes/:volumeId/snapshots/:snapshotId/definition', GenerationRequest, Job),
  deleteSnapshot: put('/v1/volumes/:volumeId/snapshots/:snapshotId/absence', GenerationRequest, Job),
  rewrite: put('/v1/volumes/:volumeId/content', RewriteVolumeRequest, Job),
  upload: put('/v1/volumes/:volumeId/upload', UploadVolumeRequest, Job),
  endUpload: put('/v1/volumes/:volumeId/no-upload', GenerationRequest, Job),
  grant: put('/v1/volumes/:volumeId/attachments/:attachmentId/access', GrantRequest, VolumeOverNbd),
  revoke: put('/v1/volumes/:volumeId/attachments/:attachmentId/no-access', RevokeRequest, Nothing),
} as const satisfies Record<keyof StorageHost, Route>;

export type StorageMethod = keyof typeof STORAGE_ROUTES;
export const STORAGE_METHODS = Object.keys(STORAGE_ROUTES) as StorageMethod[];
