// A session with the services of an OpenStack: requests as the service user, found by the catalog, answered as values.
//
// Theory of operation. A request passes the service's Patience (retries, circuit breaker), takes the service user's token
// (login.ts) and the service's URL from its catalog, and is sent with a time limit. 401 drops the token and asks once
// more with a new one: a request that was not let in has not happened. A status from 500 on, 408 and 429 are failures of
// the service, as no answer is; everything else is its word, a refusal too. A body that is not what the schema says is a
// failure as well: something else answers there. Logging in has a Patience of its own: a request to Keystone that needs
// a token must not wait, inside the breaker's one trial, for another one.

import { Readable } from 'node:stream';
import type { Logger } from 'pino';
import type { Static, TSchema } from 'typebox';
import { Value } from 'typebox/value';
import { jsonOf } from '../lib/answers.ts';
import type { Clock } from '../lib/clock.ts';
import { endpointIn, type ServiceType } from './catalog.ts';
import { createLogin, type ServiceToken } from './login.ts';
import { type Patience, type PatienceOptions, patienceWith } from './patience.ts';
import type { OpenstackSettings } from './settings.ts';
import {
  type Exchanged,
  exchange,
  exchangeStream,
  exchangeUpload,
  NotAsked,
  type Payload,
  type Request,
  ServiceDown,
  Stumbled,
} from './transport.ts';

export interface Ask {
  readonly service: 'identity' | ServiceType;
  readonly method: Request['method'];
  /** Behind the version, such as /ports; ids in it are encoded by the caller. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** The request that this is part of, for the logs of the other service. */
  readonly requestId?: string;
  /** Whether it may be sent twice; without it, by its method: all but POST and PATCH. */
  readonly repeatable?: boolean;
}

/** What a service said. `refused`: a status from 400 on, with the sentence in its body, and its code where it has one. */
export type Said<T> =
  | { readonly kind: 'ok'; readonly status: number; readonly body: T; readonly headers: Headers }
  | { readonly kind: 'refused'; readonly status: number; readonly message: string; readonly code?: string };

export interface Session {
  /** `schema`: of the answer's JSON; null: nothing is expected. @throws ServiceDown */
  ask<S extends TSchema>(schema: S, ask: Ask): Promise<Said<Static<S>>>;
  ask(schema: null, ask: Ask): Promise<Said<null>>;
  /** The bytes of an answer, which the caller must read or destroy. @throws ServiceDown */
  download(ask: Ask): Promise<Said<Readable>>;
  /** Sends bytes, once: whoever does it again looks first. @throws ServiceDown */
  upload(ask: Ask, payload: Payload): Promise<Said<null>>;
}

export interface SessionOptions {
  readonly settings: OpenstackSettings;
  readonly clock: Clock;
  readonly log: Logger;
  readonly patience?: PatienceOptions;
}

/** Nothing is asked before the first request, and nothing is held that would need closing. */
export function createSession({ settings, clock, log, patience }: SessionOptions): Session {
  const patiences = new Map<string, Patience>();
  const patienceOf = (service: string): Patience => {
    const known = patiences.get(service);
    if (known) return known;
    const onChange = (open: boolean): void => {
      if (open) log.error({ service }, 'an OpenStack service fails time after time; it is left alone for a while');
      else log.info({ service }, 'an OpenStack service answers again');
    };
    const made = patienceWith(service, onChange, patience);
    patiences.set(service, made);
    return made;
  };
  const login = createLogin(settings, clock, patienceOf('login'));

  const requestOf = (ask: Ask, token: ServiceToken): Request => ({
    method: ask.method,
    url: `${baseOf(ask.service, token)}${ask.path}`,
    headers: {
      accept: 'application/json',
      'x-auth-token': token.value,
      // Cinder lets go of what a server has only when a service says so (its bug 2004555).
      ...(ask.service === 'block-storage' ? { 'x-service-token': token.value } : {}),
      ...(ask.requestId === undefined ? {} : { 'x-openstack-request-id': ask.requestId }),
      ...ask.headers,
    },
    ...(ask.body === undefined ? {} : { body: ask.body }),
    timeoutMs: settings.timeoutMs,
  });

  function baseOf(service: Ask['service'], { catalog }: ServiceToken): string {
    if (service === 'identity') return settings.authUrl;
    const url = endpointIn(catalog, service, settings);
    if (url !== null) return url;
    const where = `interface ${settings.interface} in region ${settings.region}`;
    throw new NotAsked(`the catalog has no ${service} service with ${where}`);
  }

  /** Sends with the service user's token; once more with a new one when it is not let in. */
  async function authorised<T extends { readonly status: number }>(
    ask: Ask,
    send: (request: Request) => Promise<T>,
  ): Promise<T> {
    const token = await login.token();
    const first = await send(requestOf(ask, token));
    if (first.status !== 401) return first;
    // Its answer is not for the caller, and what is left of it holds a connection.
    if ('data' in first && first.data instanceof Readable) first.data.destroy();
    login.drop(token);
    return send(requestOf(ask, await login.token()));
  }

  const attempt = <T>(ask: Ask, work: () => Promise<T>): Promise<T> =>
    patienceOf(ask.service).attempt(
      ask.repeatable ?? !['POST', 'PATCH'].includes(ask.method),
      ONE_THING.exec(ask.path)?.[0] ?? null,
      work,
    );

  return {
    ask: (schema: TSchema | null, ask: Ask): Promise<Said<never>> =>
      attempt(ask, async () => saidIn(schema, ask, await authorised(ask, exchange))),
    upload: (ask, payload) =>
      attempt({ ...ask, repeatable: false }, async () =>
        saidIn(null, ask, await authorised(ask, (request) => exchangeUpload(request, payload))),
      ),
    download: (ask) =>
      attempt(ask, async () => {
        const { status, headers, data } = await authorised(ask, exchangeStream);
        if (status < 400) return { kind: 'ok', status, headers, body: data };
        data.destroy();
        if (isFailure(status)) throw failure(status, `${ask.method} ${ask.path}: status ${status}`);
        return { kind: 'refused', status, message: `status ${status}` };
      }),
  } as Session;
}

/** @throws ServiceDown for a failure, and for a body that the schema does not know */
function saidIn(schema: TSchema | null, ask: Ask, { status, headers, text }: Exchanged): Said<never> {
  const what = `${ask.method} ${ask.path} of the ${ask.service} service`;
  if (isFailure(status)) throw failure(status, `${what}: status ${status} ${sentenceIn(text)}`);
  if (status >= 400) return { kind: 'refused', status, message: sentenceIn(text), ...codeIn(text) };
  const body = schema === null ? null : jsonOf(text);
  if (schema !== null && !Value.Check(schema, body)) {
    throw new Stumbled(`${what}: status ${status} with a body that is not understood`);
  }
  return { kind: 'ok', status, headers, body: body as never };
}

/** 401 comes here when a new token was refused as well: the service does not accept the service user. */
const isFailure = (status: number): boolean => status >= 500 || status === 401 || status === 408 || status === 429;

/** Of those, what a service says that cannot work now, or what stands before it; any other is about what it was asked. */
const isOutage = (status: number): boolean => status < 500 || (status >= 502 && status <= 504);

const failure = (status: number, text: string): ServiceDown =>
  isOutage(status) ? new ServiceDown(text) : new Stumbled(text);

/** The first id in a path. */
const ONE_THING = /[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}/i;

const MAX_SENTENCE = 500;

/** OpenStack's services wrap their error in an object of one key, Placement in a list of errors. */
function errorIn(text: string): Readonly<Record<string, unknown>> | null {
  const body = jsonOf(text);
  if (!isObject(body)) return null;
  const { errors } = body;
  return (Array.isArray(errors) ? errors : Object.values(body)).find(isObject) ?? body;
}

/** The name of an error, in the bodies of Placement and Neutron. */
function codeIn(text: string): { readonly code?: string } {
  const error = errorIn(text);
  const code = error?.['type'] ?? error?.['code'];
  return typeof code === 'string' ? { code } : {};
}

/** Some send plain text or HTML. */
function sentenceIn(text: string): string {
  const inner = errorIn(text);
  const message = inner?.['message'] ?? inner?.['detail'] ?? text.replaceAll(/<[^>]*>|\s+/g, ' ').trim();
  return String(message).slice(0, MAX_SENTENCE);
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
