// How refusals and failures leave the server: one function for everything that goes wrong anywhere, and the answer to
// paths and methods that do not exist. What is not known as the client's fault is a 500 that says nothing but its id.
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { ServiceDown } from '../../openstack/transport.ts';
import { DatabaseDown } from '../../store/database.ts';
import { CellDown } from '../../store/stores.ts';
import { JSON_BODY_LIMIT, nulRefused } from './bodies.ts';
import { ApiError, hasComputeId, renderError, serviceOf, unexpectedMessage } from './errors.ts';
import type { Route } from './route.ts';

/** Answers in the shape of the service that the path belongs to. */
export function sendError(error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const service = serviceOf(request.url);
  const expected = understood(error);
  const { status, message, type, headers } = expected ?? {
    status: 500,
    message: unexpectedMessage(service, request.id),
    type: undefined,
    headers: {},
  };
  const { method, url } = request;
  if (expected === null) request.log.error({ err: error, method, url }, 'request failed');
  // Somebody else is down, which is expected, and no defect of this program: no stack.
  else if (status >= 500 && !(error instanceof ApiError)) request.log.warn({ method, url }, error.message);
  reply.header('x-openstack-request-id', request.id);
  if (hasComputeId(service)) reply.header('x-compute-request-id', request.id);
  if (status === 401) reply.header('www-authenticate', 'Keystone');
  // The rest of a refused upload is not read: the connection ends with the answer.
  if (status === 413 || (status >= 400 && request.raw.readableEnded === false && isUpload(request))) {
    reply.header('connection', 'close');
  }
  return reply
    .code(status)
    .headers(headers)
    .type('application/json')
    .send(JSON.stringify(renderError(service, status, message, type)));
}

const isUpload = (request: FastifyRequest): boolean =>
  request.headers['content-type']?.startsWith('application/octet-stream') ?? false;

interface Understood {
  readonly status: number;
  readonly message: string;
  readonly type: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
}

/** Errors that say what the client did wrong; null for defects. */
function understood(error: FastifyError | Error): Understood | null {
  if (error instanceof ApiError) return error;
  if (error instanceof CellDown) {
    const message = 'A cell is unavailable at this time; what is in it cannot be reached.';
    return { status: 503, message, type: undefined, headers: {} };
  }
  if (error instanceof DatabaseDown) {
    const message = 'The database is unavailable at this time.';
    return { status: 503, message, type: undefined, headers: {} };
  }
  if (error instanceof ServiceDown) {
    const message = 'Another service that this needs is unavailable at this time.';
    return { status: 503, message, type: undefined, headers: {} };
  }
  const status = 'statusCode' in error ? error.statusCode : undefined;
  if (typeof status !== 'number' || status < 400 || status >= 500) return null;
  const message =
    status === 413
      ? `The request body is larger than ${JSON_BODY_LIMIT} bytes.`
      : (clientMessages[status] ?? 'Malformed request.');
  return { status, message, type: undefined, headers: {} };
}

const clientMessages: Readonly<Record<number, string>> = {
  400: 'Malformed request.',
  415: 'Unsupported Content-Type.',
};

const NO_RESOURCE = 'The resource could not be found.';

/** Nova knows no path that ends in a slash: what has no id is no other resource, least of all the list of them. */
const namesNothing = (url: string): boolean => /^\/compute\/v2\.1\/[^?]+\/(?=[?]|$)/.test(url);

/** @throws ApiError 404; 400 for a query with the character NUL, of which no id has one */
export function refuseNothing(url: string): void {
  const nul = url.indexOf('%00');
  if (namesNothing(url) || (nul >= 0 && !url.slice(0, nul).includes('?'))) throw new ApiError(404, NO_RESOURCE);
  if (nul >= 0) throw nulRefused();
}

/** 404, or 405 with Allow when the path exists with other methods. */
export function unknownPath(routes: readonly Route[], request: FastifyRequest): ApiError {
  if (namesNothing(request.url)) return new ApiError(404, NO_RESOURCE);
  const path = (request.url.split('?', 1)[0] ?? '').replace(/\/{2,}/g, '/').replace(/(?<=.)\/$/, '');
  const parts = path.split('/');
  const methods = new Set<string>();
  for (const route of routes) {
    if (matches(route.url.split('/'), parts)) methods.add(route.method);
  }
  if (methods.size === 0) return new ApiError(404, NO_RESOURCE);
  return new ApiError(405, `The method ${request.method} is not allowed for this resource.`, {
    headers: { allow: [...methods].toSorted().join(', ') },
  });
}

const matches = (pattern: readonly string[], path: readonly string[]): boolean =>
  pattern.length === path.length &&
  pattern.every((part, i) => part === path[i] || (part.startsWith(':') && path[i] !== ''));
