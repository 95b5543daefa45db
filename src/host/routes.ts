// Where each method of a compute host's contract is found over HTTP (wire.ts).
import { Type } from 'typebox';
import {
  AttachPortRequest,
  AttachRequest,
  DefineRequest,
  DestroyRequest,
  DetachPortRequest,
  DetachRequest,
  Diagnostics,
  DigestJob,
  DiskExport,
  DropSpareRequest,
  ExportRequest,
  Files,
  GenerationRequest,
  GrowRequest,
  GrowVolumeRequest,
  Guest,
  Heartbeat,
  type Host,
  HostDescription,
  ImportRequest,
  Job,
  PauseRequest,
  PowerRequest,
  SnapshotRequest,
  SpareRequest,
  UploadRequest,
  UseSpareRequest,
} from './contract.ts';
import { get, HEARTBEAT_LIMIT_MS, Nothing, put, type Route } from './wire.ts';

/** Query values are text on the wire; the server turns them into numbers after this check. */
const ConsoleQuery = Type.Object(
  { lines: Type.Optional(Type.String({ pattern: '^[0-9]{1,6}$' })) },
  { additionalProperties: false },
);

export const ROUTES = {
  describe: get('/v1/description', HostDescription),
  heartbeat: { ...get('/v1/heartbeat', Heartbeat), limitMs: HEARTBEAT_LIMIT_MS },
  files: get('/v1/files', Files),
  guest: get('/v1/guests/:serverId', Guest),
  console: get('/v1/guests/:serverId/console', Type.Object({ output: Type.String() }), ConsoleQuery),
  diagnostics: get('/v1/guests/:serverId/diagnostics', Diagnostics),
  fence: put('/v1/guests/:serverId/fence', GenerationRequest, Nothing),
  define: put('/v1/guests/:serverId/definition', DefineRequest, Job),
  setPower: put('/v1/guests/:serverId/power', PowerRequest, Job),
  setPaused: put('/v1/guests/:serverId/pause', PauseRequest, Nothing),
  makeSpare: put('/v1/guests/:serverId/spare-disk', SpareRequest, Job),
  useSpare: put('/v1/guests/:serverId/root-disk', UseSpareRequest, Nothing),
  dropSpare: put('/v1/guests/:serverId/no-spare-disk', DropSpareRequest, Job),
  injectNmi: put('/v1/guests/:serverId/nmi', GenerationRequest, Nothing),
  openExport: put('/v1/guests/:serverId/export', ExportRequest, DiskExport),
  closeExport: put('/v1/guests/:serverId/no-export', ExportRequest, Nothing),
  importDisk: put('/v1/guests/:serverId/import', ImportRequest, Job),
  digest: put('/v1/guests/:serverId/digest', GenerationRequest, DigestJob),
  growDisk: put('/v1/guests/:serverId/disk-size', GrowRequest, Job),
  takeSnapshot: put('/v1/guests/:serverId/snapshot', SnapshotRequest, Job),
  uploadSnapshot: put('/v1/guests/:serverId/snapshot-upload', UploadRequest, Job),
  dropSnapshot: put('/v1/guests/:serverId/no-snapshot', GenerationRequest, Nothing),
  attachVolume: put('/v1/guests/:serverId/volume', AttachRequest, Job),
  detachVolume: put('/v1/guests/:serverId/no-volume', DetachRequest, Job),
  growVolume: put('/v1/guests/:serverId/volume-size', GrowVolumeRequest, Nothing),
  attachPort: put('/v1/guests/:serverId/port', AttachPortRequest, Job),
  detachPort: put('/v1/guests/:serverId/no-port', DetachPortRequest, Job),
  destroy: put('/v1/guests/:serverId/absence', DestroyRequest, Job),
} as const satisfies Record<keyof Host, Route>;

export type Method = keyof typeof ROUTES;
export const METHODS = Object.keys(ROUTES) as Method[];
