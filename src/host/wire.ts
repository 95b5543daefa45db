// How the methods of a contract travel over HTTP: a table of routes, from which a server makes its routes and a client its
// requests, so that the two cannot drift apart.
//
// Theory of operation. A mutating call is a PUT whose body is the request and carries the generation; a query is a
// GET. The ids in the path are the method's first arguments, in order; the body, or the query, is the last. A reply of
// kind `ok` is status 200 with the value as body; every other kind has its own status, and the body is the reply itself.
// A body without a kind did not come from an agent, whatever its status is.
import { type TObject, type TSchema, Type } from 'typebox';
import { MAX_CONFIG_FILE, MAX_CONFIG_FILES, ServerId } from './contract.ts';

export interface Route {
  readonly verb: 'GET' | 'PUT';
  /** `:serverId` and the like stand for ids, all of them UUIDs. */
  readonly path: string;
  /** Body of a PUT. */
  readonly body: TObject | null;
  /** Query of a GET. */
  readonly query: TObject | null;
  readonly reply: TSchema;
  /** How long a call may take at most, ms, where that is less than any call's limit. */
  readonly limitMs?: number;
}
export type Routes<Method extends string> = Readonly<Record<Method, Route>>;

export const get = (path: string, reply: TSchema, query: TObject | null = null): Route => ({
  verb: 'GET',
  path,
  body: null,
  query,
  reply,
});
export const put = (path: string, body: TObject, reply: TSchema): Route => ({
  verb: 'PUT',
  path,
  body,
  query: null,
  reply,
});
/** A host that needs longer for its heartbeat is silent this time: whoever asks has others to ask, too. */
export const HEARTBEAT_LIMIT_MS = 2_000;
export const Nothing = Type.Object({}, { additionalProperties: false });

/** The names of the ids in a route's path, in order. */
export const idsOf = (path: string): string[] => [...path.matchAll(/:(\w+)/g)].map((match) => match[1] ?? '');

/** What the ids in a route's path must be. */
export const paramsOf = (path: string): TObject =>
  Type.Object(Object.fromEntries(idsOf(path).map((name) => [name, ServerId])), { additionalProperties: false });

/** The statuses of replies that are not `ok`. */
export const STATUS = { fenced: 409, absent: 404, refused: 422, unreachable: 503 } as const;

/** The request body's limit in bytes; the largest request is a definition: a config drive, and a few KiB. */
export const BODY_LIMIT = MAX_CONFIG_FILES * MAX_CONFIG_FILE + 64 * 1024;
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
