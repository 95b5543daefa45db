// Serves a contract over HTTP to holders of the fleet secret.
//
// Theory of operation. Stateless: check the secret, check that this is the host that is meant, check the request
// against its schema (unknown fields are refused, nothing is coerced), call the method, render the reply. Request ids and
// saga ids of the caller go into every log line. Errors that nobody expected become 500 with a `unreachable` body: the
// caller knows nothing then, which is the truth.
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import type { Logger } from 'pino';
import type { TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { messageOf } from '../lib/errors.ts';
import type { Reply } from './contract.ts';
import {
  BODY_LIMIT,
  HOST_HEADER,
  idsOf,
  paramsOf,
  REQUEST_HEADER,
  type Route,
  type Routes,
  SAGA_HEADER,
  STATUS,
} from './wire.ts';

export interface WireServerOptions<Method extends string> {
  readonly routes: Routes<Method>;
  /** Runs a method: the ids of its path, in order, then what the body or the query says. */
  readonly call: (method: Method, ids: readonly string[], argument: unknown) => Promise<Reply<unknown>>;
  /** The host's name, compared with what the caller says it wants to speak to. */
  readonly name: string;
  readonly secret: string;
  readonly log: Logger;
}

/** Calls in progress on one host, at most; more are refused as unreachable and retried by their callers. */
const MAX_CONNECTIONS = 512;
/** Characters of a caller's id that are logged. */
const ID_LIMIT = 64;

/** A Fastify server, not listening yet; `inject` serves tests. */
export function createWireServer<Method extends string>(options: WireServerOptions<Method>): FastifyInstance {
  const loggerInstance: FastifyBaseLogger = options.log;
  const app = Fastify({
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_LIMIT,
    routerOptions: { maxParamLength: 64 },
    requestIdHeader: false,
    // A request must arrive within this time, ms; slow senders do not hold connections for ever.
    requestTimeout: 30_000,
  });
  app.server.maxConnections = MAX_CONNECTIONS;
  app.setValidatorCompiler(({ schema }) => {
    const check = Compile(schema as TSchema);
    return (value) => {
      if (check.Check(value)) return { value };
      const error = check.Errors(value).at(-1);
      return { error: new Error(`${error?.instancePath || '/'} ${error?.message ?? 'is not valid'}`) };
    };
  });
  // Replies are the host's own typed values: JSON.stringify is enough.
  app.setSerializerCompiler(() => JSON.stringify);
  app.addHook('onRequest', async (request, reply) => guard(options, request, reply));
  app.setErrorHandler((error, request, reply) => renderError(error, request, reply));
  app.setNotFoundHandler((_request, reply) => reply.code(400).send({ kind: 'refused', reason: 'no such call' }));
  for (const method of Object.keys(options.routes) as Method[]) addRoute(app, options, method);
  return app;
}

function addRoute<Method extends string>(
  app: FastifyInstance,
  options: WireServerOptions<Method>,
  method: Method,
): void {
  const route: Route = options.routes[method];
  app.route({
    method: route.verb,
    url: route.path,
    schema: {
      ...(route.path.includes(':') ? { params: paramsOf(route.path) } : {}),
      ...(route.body ? { body: route.body } : {}),
      ...(route.query ? { querystring: route.query } : {}),
    },
    handler: async (request, reply) => {
      const startedAt = performance.now();
      // The request has been checked against the route's schema, which is what makes this cast true.
      const params = request.params as Record<string, string>;
      const path = idsOf(route.path).map((name) => params[name] ?? '');
      const answer = await options.call(method, path, route.body ? request.body : request.query);
      const ms = Math.round(performance.now() - startedAt);
      const level = route.verb === 'GET' || answer.kind === 'ok' ? 'debug' : 'info';
      request.log[level]({ ...ids(request), method, kind: answer.kind, ms }, 'call');
      if (answer.kind === 'ok') return reply.send(answer.value);
      return reply.code(STATUS[answer.kind]).send(answer);
    },
  });
}

async function guard(options: Door, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const wrong = refusalOf(options, request.headers);
  if (wrong === null) return;
  if (wrong.status === 401) request.log.warn({ ...ids(request), remote: request.ip }, 'wrong secret');
  return reply.code(wrong.status).send(wrong.body);
}

export interface Door {
  readonly secret: string;
  readonly name: string;
}

/** Why a caller with these headers is not served; null: it is one of us, and means this host. */
export function refusalOf(
  options: Door,
  headers: IncomingHttpHeaders,
): { readonly status: number; readonly body: Extract<Reply<never>, { kind: 'unreachable' }> } | null {
  const refuse = (status: number, reason: string) => ({ status, body: { kind: 'unreachable', reason } as const });
  if (!sameSecret(headers.authorization ?? '', `Bearer ${options.secret}`)) return refuse(401, 'wrong fleet secret');
  const meant = headers[HOST_HEADER];
  if (meant !== undefined && meant !== encodeURIComponent(options.name))
    return refuse(421, `this is host ${options.name}`);
  return null;
}

/** Compares without telling by its duration where the texts differ; digests make the lengths equal. */
export function sameSecret(given: string, expected: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

function ids(request: FastifyRequest): Record<string, string> {
  const found: Record<string, string> = {};
  const requestId = request.headers[REQUEST_HEADER];
  const sagaId = request.headers[SAGA_HEADER];
  if (typeof requestId === 'string') found['requestId'] = requestId.slice(0, ID_LIMIT);
  if (typeof sagaId === 'string') found['sagaId'] = sagaId.slice(0, ID_LIMIT);
  return { ...found, ...(request.params as Record<string, string> | undefined) };
}

function renderError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 500;
  if (status >= 400 && status < 500) return reply.code(status).send({ kind: 'refused', reason: messageOf(error) });
  request.log.error({ ...ids(request), err: error }, 'call failed');
  return reply.code(500).send({ kind: 'unreachable', reason: 'internal error of the agent' });
}
