// Request bodies: JSON of limited size, parsed; uploads, left as streams to their handlers. Nothing else is read.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ApiError, type Service } from './errors.ts';
import type { Route } from './route.ts';

/** Most bytes of a JSON body. */
export const JSON_BODY_LIMIT = 1024 * 1024;

/** Most levels of objects and lists in one another: what goes through a body level by level needs no more of the stack. */
const MOST_LEVELS = 64;

export function parseBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  const parseJson = app.getDefaultJsonParser('error', 'error');
  app.addContentTypeParser(
    /^application\/([\w.-]+[+-])?json(-patch)?(;|\s|$)/,
    { parseAs: 'string' },
    (request, text, done) => {
      if (text === '') done(null, undefined);
      else if (NUL.test(text as string)) done(nulRefused());
      else
        parseJson(request, text as string, (error, value) => {
          if (error) done(malformed());
          else if (isDeeper(value, MOST_LEVELS)) done(tooDeep());
          else done(null, value);
        });
    },
  );
  // Uploads: the handler reads the stream.
  app.addContentTypeParser('application/octet-stream', (_request, stream, done) => done(null, stream));
}

/** The character as JSON writes it: behind an even number of backslashes. */
const NUL = /(?<!\\)(?:\\\\)*\\u0000/;

/** No text of any service may have it: neither PostgreSQL nor the programs that are given the text can take it. */
export const nulRefused = (): ApiError => new ApiError(400, 'Malformed request: the character NUL is in it.');

const isDeeper = (value: unknown, levels: number): boolean =>
  typeof value === 'object' &&
  value !== null &&
  (levels === 0 || Object.values(value).some((each) => isDeeper(each, levels - 1)));

const tooDeep = (): Error => new ApiError(400, `Malformed request body: it has more than ${MOST_LEVELS} levels.`);

const malformed = (): Error => new ApiError(400, 'Malformed request body');

const JSON_TYPE = 'application/json';

/**
 * What else JSON comes as. Glance and Neutron do not look; Nova takes text/plain for a type that nobody named
 * (nova/api/openstack/wsgi.py, get_content_type).
 */
const ALSO_JSON: Readonly<Record<Service, readonly string[] | 'any'>> = {
  compute: ['text/plain', 'application/vnd.openstack.compute+json'],
  volume: ['application/vnd.openstack.volume+json'],
  ...{ image: 'any', network: 'any', identity: [], crosscell: [] },
};

const isJson = (service: Service, type: string | undefined): boolean => {
  const also = ALSO_JSON[service];
  return type === undefined || type === JSON_TYPE || also === 'any' || also.includes(type);
};

/**
 * JSON without a type, or with another that the service takes for it, is parsed as JSON: many HTTP clients name none.
 * @throws ApiError 415 when the route does not take what is sent; looked at before anything is read
 */
export function checkContentType(route: Route, request: FastifyRequest): void {
  const type = request.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase();
  const sendsBody =
    request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0;
  if (!sendsBody) return;
  const taken = route.contentTypes ?? [JSON_TYPE];
  if (taken.includes(JSON_TYPE) && isJson(route.service, type)) {
    // Also a body that nobody asked for: some clients send an empty JSON object with every request.
    request.headers['content-type'] = JSON_TYPE;
    return;
  }
  if (type !== undefined && taken.includes(type)) return;
  if (!route.body && !route.rawBody) {
    throw new ApiError(415, `This resource takes no body of type ${(type ?? '').slice(0, 80)}.`);
  }
  throw new ApiError(415, `Unsupported Content-Type. This resource takes ${taken.join(' or ')}.`);
}
