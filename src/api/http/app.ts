// The HTTP server: Fastify with our routes mounted on it. A request passes, in this order: request id → route →
// microversion → token and policy → content type → parsing (with its limit) → schema → policy of the record that the
// path names → handler → answer. Whatever goes wrong anywhere on the way ends in one place, `sendError`, and leaves in
// its service's shape.
//
// Token, policy and version are looked at before the body is read, so that nobody uploads anything without a right to.
// Validation is our own step and not Fastify's, because a body's schema depends on the microversion.
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import type { Registry } from 'prom-client';
import { Type } from 'typebox';
import type { Platform } from '../../control/platform.ts';
import { newRequestId } from '../../lib/ids.ts';
import type { Actor } from '../../model/types.ts';
import { asksForConsole, type OpenConsole, serveConsoleProxy } from '../console/proxy.ts';
import { actorOf, authorise, nobody, type TokenChecker } from './auth.ts';
import { checkContentType, JSON_BODY_LIMIT, parseBodies } from './bodies.ts';
import { answerBroken } from './broken-requests.ts';
import { ApiError, hasComputeId, serviceOf } from './errors.ts';
import { apiMetrics } from './metrics.ts';
import { openApiDocument } from './openapi.ts';
import { checkProject, withoutProject } from './project-paths.ts';
import { refuseNothing, sendError, unknownPath } from './refusals.ts';
import { type Answer, type HeaderName, type Route, schemaAt } from './route.ts';
import { authoriseTarget } from './targets.ts';
import { checkBody, checkText, mismatch } from './validation.ts';
import { lowestMinor, requestedMinor, versionHeaders, versionsOf } from './versions.ts';

/** Nova's old name of the very same servers (nova/api/openstack/compute/routes.py, os-volumes_boot). */
const bootedFromVolumes = (url: string): string =>
  url.replace(/^\/compute\/v2\.1\/os-volumes_boot(?=[/?]|$)/, '/compute/v2.1/servers');

const KEEP_ALIVE_MS = 75_000;
const HEADERS_TIMEOUT_MS = 60_000;
/** Longest time that one request may take to arrive: uploads of large images are slow. */
const REQUEST_TIMEOUT_MS = 4 * 3600_000;

export interface ApiOptions {
  readonly platform: Platform;
  readonly tokens: TokenChecker;
  readonly routes: readonly Route[];
  /** Where the API's metrics are registered, and what /metrics shows. */
  readonly registry?: Registry;
  /** Opens consoles on hosts; absent: there are none here. */
  readonly openConsole?: OpenConsole;
  /** Answers are compared with their schemas, and a mismatch is an unexpected error. For tests. */
  readonly checkAnswers?: boolean;
  /** Is shown every answer before it is sent; what it throws is an unexpected error. For tests. */
  readonly onAnswer?: (seen: SeenAnswer) => void;
}

/** An answer, with the request that it is for. */
export interface SeenAnswer {
  readonly method: string;
  /** Without the project that a path of the volume service may have. */
  readonly url: string;
  /** N of the microversion. */
  readonly minor: number;
  readonly request: unknown;
  readonly status: number;
  readonly body: unknown;
}

interface Held {
  actor: Actor;
  minor: number;
}

/** Builds the server; the caller listens or injects. Closing it lets requests under way finish. */
export async function buildApp(options: ApiOptions): Promise<FastifyInstance> {
  const { platform, routes } = options;
  const metrics = apiMetrics(options.registry);
  const held = new WeakMap<FastifyRequest, Held>();

  const app: FastifyInstance = Fastify({
    loggerInstance: platform.log as FastifyBaseLogger,
    requestIdHeader: false,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    genReqId: newRequestId,
    trustProxy: (address) => platform.settings.trustedProxies.has(address),
    bodyLimit: JSON_BODY_LIMIT,
    keepAliveTimeout: KEEP_ALIVE_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    // Whoever offers another protocol for an ordinary request (Java's client: h2c) gets an ordinary answer.
    http: { headersTimeout: HEADERS_TIMEOUT_MS, shouldUpgradeCallback: asksForConsole },
    forceCloseConnections: 'idle',
    return503OnClosing: true,
    exposeHeadRoutes: false,
    rewriteUrl: (request) => bootedFromVolumes(withoutProject(request.url ?? '')),
    routerOptions: { ignoreTrailingSlash: true, ignoreDuplicateSlashes: true, maxParamLength: 1024 },
    clientErrorHandler: (error, socket) => answerBroken(platform.log as FastifyBaseLogger, error, socket),
    frameworkErrors: (error, request, reply) => sendError(error, request as FastifyRequest, reply as FastifyReply),
  });

  app.setValidatorCompiler(() => () => true);
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  app.setErrorHandler(sendError);
  app.setNotFoundHandler((request, reply) => sendError(unknownPath(routes, request), request, reply));
  parseBodies(app);
  answerWithRequestId(app);
  measure(app, metrics.observe);
  if (options.openConsole) serveConsoleProxy(app, { platform, openConsole: options.openConsole });

  const document = openApiDocument(routes);
  app.get('/openapi.json', () => document);
  app.get('/healthz', () => ({ status: 'ok' }));
  app.get('/metrics', async (_request, reply) => {
    return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics());
  });

  for (const route of routes) {
    mount(app, route, options, held);
    if (route.method === 'GET' && !routes.some((each) => each.method === 'HEAD' && each.url === route.url)) {
      mount(app, { ...route, method: 'HEAD' }, options, held);
    }
  }
  return app;
}

function mount(app: FastifyInstance, route: Route, options: ApiOptions, held: WeakMap<FastifyRequest, Held>): void {
  app.route({
    method: route.method,
    url: route.url,
    onRequest: async (request, reply) => {
      const minor = takeVersion(route, request, reply);
      const actor =
        route.policy === 'public'
          ? nobody(request.id)
          : await actorOf(options.platform, route.service, options.tokens, request.headers['x-auth-token'], request.id);
      held.set(request, { actor, minor });
      request.log = request.log.child({ userId: actor.userId, projectId: actor.projectId });
      refuseNothing(request.url);
      if (minor < (route.since ?? minor) || minor > (route.until ?? minor)) throw unsupported();
      checkProject(request.originalUrl, actor);
      authorise(options.platform, route, actor, request.params);
      checkContentType(route, request);
    },
    handler: async (request, reply) => {
      const who = held.get(request);
      if (!who) throw new Error('the request was not authorised');
      const params = route.params ? checkText(route.params, request.params) : {};
      const query = checkText(route.query ?? NO_QUERY, onceEach(route, knownOf(route, who.minor, request.query)));
      const body = bodyOf(route, who.minor, request);
      await authoriseTarget(options.platform, route, who.actor, params, body);
      const answer = await route.handle({
        p: options.platform,
        actor: who.actor,
        minor: who.minor,
        params: params as never,
        query: query as never,
        body: body as never,
        request,
        reply,
      });
      if (options.checkAnswers) checkAnswer(route, answer);
      options.onAnswer?.({
        ...{ method: route.method, url: request.url, minor: who.minor, request: body },
        ...{ status: answer.status, body: answer.body },
      });
      return send(reply, answer);
    },
  });
}

/** Without the parameters that nobody knows, where OpenStack passes over them. */
function knownOf(route: Route, minor: number, query: unknown): unknown {
  if (!passesOver(route, minor)) return query;
  const { properties = {}, additionalProperties } = (route.query ?? NO_QUERY) as {
    properties?: object;
    additionalProperties?: unknown;
  };
  if (additionalProperties) return query;
  return Object.fromEntries(Object.entries(query as object).filter(([name]) => Object.hasOwn(properties, name)));
}
const STRICT_QUERIES_FROM = 75;

/**
 * Nova does until 2.74, and every service where one thing is shown: openstacksdk asks for what it was given by name or id
 * with the filters of its list, and looks it up by name when that is refused.
 */
function passesOver({ service, method, url, query }: Route, minor: number): boolean {
  const showsOne = method === 'GET' && /\/:\w+$/.test(url);
  if (service === 'compute') return minor < STRICT_QUERIES_FROM || (showsOne && query === undefined);
  return showsOne && service !== 'crosscell';
}

function onceEach({ lastOfRepeated, query: schema }: Route, query: unknown): unknown {
  if (!lastOfRepeated) return query;
  const { properties = {} } = (schema ?? NO_QUERY) as { properties?: Readonly<Record<string, { type?: unknown }>> };
  const isList = (name: string): boolean => properties[name]?.type === 'array';
  return Object.fromEntries(
    Object.entries(query as object).map(([name, value]) => [
      name,
      Array.isArray(value) && !isList(name) ? value.at(-1) : value,
    ]),
  );
}

const NO_QUERY = Type.Object({}, { additionalProperties: false });

function takeVersion(route: Route, request: FastifyRequest, reply: FastifyReply): number {
  const range = versionsOf(route.service);
  if (range === null) return lowestMinor(route.service);
  // The headers say the lowest version even when the asked one is refused, as Nova's do.
  reply.headers(versionHeaders(range, range.min));
  const minor = requestedMinor(range, request.headers);
  reply.headers(versionHeaders(range, minor));
  return minor;
}

/** What was before or comes after this version is not there, and nothing more is said of it. */
const unsupported = (): ApiError => new ApiError(404, 'The resource could not be found.');

function bodyOf(route: Route, minor: number, request: FastifyRequest): unknown {
  if (!route.body) return undefined;
  const schema = schemaAt(route.body, minor);
  if (!schema) throw unsupported();
  if (request.body === undefined) throw new ApiError(400, 'Malformed request body: a JSON object is required.');
  return checkBody(schema, request.body);
}

function send(reply: FastifyReply, answer: Answer): FastifyReply {
  reply.code(answer.status);
  if (answer.headers) reply.headers(answer.headers);
  return reply.send(answer.body);
}

function checkAnswer(route: Route, answer: Answer): void {
  const schema = route.answers[answer.status];
  if (schema === undefined)
    throw new Error(`${route.method} ${route.url} answers ${answer.status}, which it does not state`);
  const unstated = headersToState(answer).find((name) => !route.tells?.includes(name as HeaderName));
  if (unstated !== undefined)
    throw new Error(`${route.method} ${route.url} answers with ${unstated}, which it does not state`);
  if (schema === null) {
    const type = answer.headers?.['content-type'];
    if (type === undefined ? answer.body === undefined : route.media?.includes(type)) return;
    throw new Error(
      `${route.method} ${route.url} answers ${answer.status} with ${type ?? 'JSON'} that it does not state`,
    );
  }
  // What the client will see: undefined is dropped, dates are text; no body counts as null.
  const difference = mismatch(schema, JSON.parse(JSON.stringify(answer.body ?? null)));
  if (difference) throw new Error(`${route.method} ${route.url} answers what its schema does not allow: ${difference}`);
}

/** What HTTP itself has headers for says nothing of what is answered. */
const PLAIN =
  /^(content-(type|length|security-policy)|cache-control|vary|x-content-type-options|referrer-policy|cross-origin-.*)$/;
const headersToState = ({ headers = {} }: Answer): string[] => Object.keys(headers).filter((name) => !PLAIN.test(name));

function answerWithRequestId(app: FastifyInstance): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-openstack-request-id', request.id);
    if (hasComputeId(serviceOf(request.url))) reply.header('x-compute-request-id', request.id);
  });
}

function measure(
  app: FastifyInstance,
  observe: (method: string, route: string, status: number, seconds: number) => void,
): void {
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'unknown';
    observe(request.method, route, reply.statusCode, reply.elapsedTime / 1000);
    const line = {
      method: request.method,
      route,
      status: reply.statusCode,
      milliseconds: Math.round(reply.elapsedTime),
    };
    if (route === '/healthz' || route === '/metrics') request.log.debug(line, 'request');
    else request.log.info(line, 'request');
  });
}
