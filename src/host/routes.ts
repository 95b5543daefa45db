// How each method of the contract travels over HTTP: one table, from which the server makes its routes and the client
// its requests, so that the two cannot drift apart.
//
// Theory of operation. A mutating call is a PUT whose body is the request and carries the generation; a query is a
// GET. A reply of kind `ok` is status 200 with the value as body; every other kind has its own status, and the body is
// the reply itself. A body without a kind did not come from an agent, whatever its status is.
import { type TObject, type TSchema, Type } from 'typebox';
import {
  AttachRequest,
  DefineRequest,
  DetachRequest,
  DigestJob,
  DiskExport,
  GenerationRequest,
  GrowRequest,
  Guest,
  Heartbeat,
  type Host,
  HostDescription,
  ImportRequest,
  Job,
  PowerRequest,
  ServerId,
} from './contract.ts';

export interface Route {
  readonly verb: 'GET' | 'PUT';
  /** `:serverId` stands for the server's id; such routes name one server. */
  readonly path: string;
  /** Body of a PUT. */
  readonly body: TObject | null;
  /** Query of a GET. */
  readonly query: TObject | null;
  readonly reply: TSchema;
}

const Nothing = Type.Object({}, { additionalProperties: false });
export const Params = Type.Object({ serverId: ServerId }, { additionalProperties: false });
/** Query values are text on the wire; the server turns them into numbers after this check. */
export const ConsoleQuery = Type.Object(
  { lines: Type.Optional(Type.String({ pattern: '^[0-9]{1,6}$' })) },
  { additionalProperties: false },
);

const get = (path: string, reply: TSchema, query: TObject | null = null): Route => ({
  verb: 'GET',
  path,
  body: null,
  query,
  reply,
});
const put = (path: string, body: TObject, reply: TSchema): Route => ({ verb: 'PUT', path, body, query: null, reply });

export const ROUTES = {
  describe: get('/v1/description', HostDescription),
  heartbeat: get('/v1/heartbeat', Heartbeat),
  guest: get('/v1/guests/:serverId', Guest),
  console: get('/v1/guests/:serverId/console', Type.Object({ output: Type.String() }), ConsoleQuery),
  fence: put('/v1/guests/:serverId/fence', GenerationRequest, Nothing),
  define: put('/v1/guests/:serverId/definition', DefineRequest, Job),
  setPower: put('/v1/guests/:serverId/power', PowerRequest, Job),
  openExport: put('/v1/guests/:serverId/export', GenerationRequest, DiskExport),
  closeExport: put('/v1/guests/:serverId/no-export', GenerationRequest, Nothing),
  importDisk: put('/v1/guests/:serverId/import', ImportRequest, Job),
  digest: put('/v1/guests/:serverId/digest', GenerationRequest, DigestJob),
  growDisk: put('/v1/guests/:serverId/disk-size', GrowRequest, Job),
  attachVolume: put('/v1/guests/:serverId/volume', AttachRequest, Job),
  detachVolume: put('/v1/guests/:serverId/no-volume', DetachRequest, Job),
  destroy: put('/v1/guests/:serverId/absence', GenerationRequest, Job),
} as const satisfies Record<keyof Host, Route>;

export type Method = keyof typeof ROUTES;
export const METHODS = Object.keys(ROUTES) as Method[];

/** The statuses of replies that are not `ok`. */
export const STATUS = { fenced: 409, absent: 404, refused: 422, unreachable: 503 } as const;

/** The request body's limit in bytes; the largest request is a definition of a few KiB. */
export const BODY_LIMIT = 64 * 1024;
/** The largest reply that a client reads: a console of 4 MiB with every character escaped. */
export const REPLY_LIMIT = 32 * 1024 * 1024;

/** Names the host that the caller means: addresses get reused, and a wrong host must not obey. */
export const HOST_HEADER = 'x-crosscell-host';
export const REQUEST_HEADER = 'x-request-id';
export const SAGA_HEADER = 'x-saga-id';

export const ErrorReply = Type.Union([
  Type.Object({ kind: Type.Literal('fenced'), generation: Type.Integer() }, { additionalProperties: false }),
  Type.Object({ kind: Type.Literal('refused'), reason: Type.String() }, { additionalProperties: false }),
  Type.Object({ kind: Type.Literal('absent') }, { additionalProperties: false }),
  Type.Object({ kind: Type.Literal('unreachable'), reason: Type.String() }, { additionalProperties: false }),
]);
