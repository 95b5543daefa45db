// Every refusal of every service in that service's own shape. Handlers throw ApiError (or return what a use case
// refused through `refuse`); nothing else decides how an error looks. Which service answers is read from the path.
//
// Shapes: compute and volume {"<key>": {"code", "message"}} (nova/api/openstack/wsgi.py, class Fault), identity and
// image {"error": {"code", "title", "message"}}, network {"NeutronError": {"type", "message", "detail"}}. Glance
// answers HTML or plain text; python-glanceclient and openstacksdk read such an object, too. A 401 has identity's shape
// everywhere, because in OpenStack it comes from keystonemiddleware.
import type { Refusal } from '../../model/refusal.ts';

export type Service = 'compute' | 'identity' | 'image' | 'network' | 'volume' | 'crosscell';

/** A refusal on its way to the client. `type` is Neutron's exception name, used by the network service only. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly type: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  constructor(status: number, message: string, options: { type?: string; headers?: Record<string, string> } = {}) {
    super(message);
    this.status = status;
    this.type = options.type;
    this.headers = options.headers ?? {};
  }
}

export const badRequest = (message: string): ApiError => new ApiError(400, message);
export const notFound = (message: string): ApiError => new ApiError(404, message);
export const forbidden = (message: string): ApiError => new ApiError(403, message);
export const conflict = (message: string): ApiError => new ApiError(409, message);
export const unauthorized = (): ApiError => new ApiError(401, 'The request you have made requires authentication.');

/** What a use case refused, to be thrown. */
export const errorOf = (refusal: Refusal): ApiError => new ApiError(refusal.code, refusal.message);

/** Throws what a use case refused; returns when it refused nothing. */
export function refuse(refusal: Refusal | null): void {
  if (refusal) throw errorOf(refusal);
}

/** The service that a path belongs to. */
export function serviceOf(url: string): Service {
  const first = url.split(/[/?]/, 2)[1];
  switch (first) {
    case 'identity':
    case 'image':
    case 'network':
    case 'volume':
    case 'crosscell':
      return first;
    default:
      return 'compute';
  }
}

/** Nova, and Cinder, which was a part of it, give a request's id under an older name too. */
export const hasComputeId = (service: Service): boolean => service === 'compute' || service === 'volume';

// nova/api/openstack/wsgi.py, Fault._fault_names
const NOVA_KEYS: Readonly<Record<number, string>> = {
  400: 'badRequest',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'itemNotFound',
  405: 'badMethod',
  409: 'conflictingRequest',
  413: 'overLimit',
  415: 'badMediaType',
  429: 'overLimit',
  501: 'notImplemented',
  503: 'serviceUnavailable',
};

const TITLES: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  406: 'Not Acceptable',
  409: 'Conflict',
  410: 'Gone',
  413: 'Request Entity Too Large',
  415: 'Unsupported Media Type',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
};
const titleOf = (status: number): string => TITLES[status] ?? 'Error';

const NEUTRON_TYPES: Readonly<Record<number, string>> = {
  400: 'HTTPBadRequest',
  403: 'PolicyNotAuthorized',
  404: 'HTTPNotFound',
  405: 'HTTPMethodNotAllowed',
  409: 'HTTPConflict',
  413: 'HTTPRequestEntityTooLarge',
  415: 'HTTPUnsupportedMediaType',
  429: 'HTTPTooManyRequests',
  500: 'HTTPInternalServerError',
  503: 'HTTPServiceUnavailable',
};

/** The JSON body of a refusal. */
export function renderError(service: Service, status: number, message: string, type?: string): object {
  if (status === 401) return { error: { code: status, title: titleOf(status), message } };
  switch (service) {
    case 'compute':
    case 'volume':
    case 'crosscell':
      return { [NOVA_KEYS[status] ?? 'computeFault']: { code: status, message } };
    case 'identity':
    case 'image':
      return { error: { code: status, title: titleOf(status), message } };
    case 'network':
      return { NeutronError: { type: type ?? NEUTRON_TYPES[status] ?? 'NeutronException', message, detail: '' } };
  }
}

/** The sentence of an unexpected error: never its text, which may tell too much; the log has it under the request id. */
export function unexpectedMessage(service: Service, requestId: string): string {
  return service === 'compute'
    ? `Unexpected API Error. The request id is ${requestId}; the server's log has the details under it.`
    : `An unexpected error prevented the server from fulfilling your request. The request id is ${requestId}.`;
}
