// Serves any Host over HTTP to holders of the fleet secret.
//
// Theory of operation. Stateless: check the secret, check that this is the host that is meant, check the request
// against its schema (unknown fields are refused, nothing is coerced), call the host, render the reply. Request ids and
// saga ids of the caller go into every log line. Errors that nobody expected become 500 with a `unreachable` body: the
// caller knows nothing then, which is the truth.
import { createHash, timingSafeEqual } from 'node:crypto';
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
import type { Host, Reply } from './contract.ts';
import {
  BODY_LIMIT,
  HOST_HEADER,
  METHODS,
  type Method,
  Params,
  REQUEST_HEADER,
  ROUTES,
  SAGA_HEADER,
  STATUS,
} from './routes.ts';

export interface HostServerOptions {
  readonly host: Host;
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
export function createHostServer(options: HostServerOptions): FastifyInstance {
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
  for (const method of METHODS) addRoute(app, options.host, method);
  return app;
}

function addRoute(app: FastifyInstance, host: Host, method: Method): void {
  const route = ROUTES[method];
  app.route({
    method: route.verb,
    url: route.path,
    schema: {
      ...(route.path.includes(':') ? { params: Params } : {}),
      ...(route.body ? { body: route.body } : {}),
      ...(route.query ? { querystring: route.query } : {}),
    },
    handler: async (request, reply) => {
      const startedAt = performance.now();
      const answer = await call(host, method, request);
      const ms = Math.round(performance.now() - startedAt);
      const level = route.verb === 'GET' || answer.kind === 'ok' ? 'debug' : 'info';
      request.log[level]({ ...ids(request), method, kind: answer.kind, ms }, 'call');
      if (answer.kind === 'ok') return reply.send(answer.value);
      return reply.code(STATUS[answer.kind]).send(answer);
    },
  });
}

/** The request has been checked against the route's schema, which is what makes these casts true. */
function call(host: Host, method: Method, request: FastifyRequest): Promise<Reply<unknown>> {
  if (method === 'describe' || method === 'heartbeat') return host[method]();
  const { serverId } = request.params as { serverId: string };
  if (method === 'guest') return host.guest(serverId);
  if (method === 'console') {
    const { lines } = request.query as { lines?: string };
    return host.console(serverId, lines === undefined ? undefined : Number(lines));
  }
  const act = host[method].bind(host) as (id: string, body: unknown) => Promise<Reply<unknown>>;
  return act(serverId, request.body);
}

async function guard(options: HostServerOptions, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  if (!sameSecret(request.headers.authorization ?? '', `Bearer ${options.secret}`)) {
    request.log.warn({ ...ids(request), remote: request.ip }, 'wrong secret');
    return reply.code(401).send({ kind: 'unreachable', reason: 'wrong fleet secret' });
  }
  const meant = request.headers[HOST_HEADER];
  if (meant !== undefined && meant !== encodeURIComponent(options.name)) {
    return reply.code(421).send({ kind: 'unreachable', reason: `this is host ${options.name}` });
  }
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
  const { serverId } = (request.params ?? {}) as { serverId?: string };
  if (serverId !== undefined) found['serverId'] = serverId;
  return found;
}

function renderError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 500;
  if (status >= 400 && status < 500) return reply.code(status).send({ kind: 'refused', reason: messageOf(error) });
  request.log.error({ ...ids(request), err: error }, 'call failed');
  return reply.code(500).send({ kind: 'unreachable', reason: 'internal error of the agent' });
}
