// One HTTP exchange with an OpenStack service: with a time limit, an answer of bounded size, and no redirects.
//
// Theory of operation. Stateless over the runtime's pooled connections. What a service answers is a value, whatever its
// status; what keeps an answer from coming (no connection, no answer in time, one that is cut short or too long) is
// thrown as ServiceDown: nothing is known of what came of the request.
import { Readable } from 'node:stream';
import { readLimited } from '../lib/answers.ts';
import { reasonOf } from '../lib/reasons.ts';

/** Most bytes of an answer: a page of 1000 ports has some 1.5 MB. */
const ANSWER_LIMIT = 16 * 1024 * 1024;

/** No answer can be had from a service now, or none that is understood. What was asked for may have happened or not. */
export class ServiceDown extends Error {
  override readonly name: string = 'ServiceDown';
}

/** The service was not asked at all, for want of a token, of an address, or of hope: nothing to hold against it. */
export class NotAsked extends ServiceDown {
  override readonly name = 'NotAsked';
}

/**
 * The service answered, and not for want of anything: it fails at this very thing (a 500), or tells it in a way that is
 * not understood. That says nothing about its other things.
 */
export class Stumbled extends ServiceDown {
  override readonly name = 'Stumbled';
}

export interface Request {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** JSON; absent: none. */
  readonly body?: unknown;
  readonly timeoutMs: number;
}

export interface Exchanged {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** @throws ServiceDown */
export async function exchange(request: Request): Promise<Exchanged> {
  try {
    const response = await send(request, AbortSignal.timeout(request.timeoutMs));
    return { status: response.status, headers: response.headers, text: await readLimited(response, ANSWER_LIMIT) };
  } catch (error) {
    throw new ServiceDown(`${request.method} ${request.url}: ${reasonOf(error)}`);
  }
}

export interface ExchangedStream {
  readonly status: number;
  readonly headers: Headers;
  readonly data: Readable;
}

/**
 * The bytes of an answer as they come, for data that has no limit here: the reader sets one. The time limit is for the
 * beginning of the answer; a stream that stands still is the reader's to notice, and to destroy.
 * @throws ServiceDown
 */
export async function exchangeStream(request: Request): Promise<ExchangedStream> {
  const abort = new AbortController();
  const late = setTimeout(() => abort.abort(new Error('no answer in time')), request.timeoutMs);
  try {
    const { status, headers, body } = await send(request, abort.signal);
    const data = body === null ? Readable.from([]) : Readable.fromWeb(body);
    // One that breaks while nobody reads it yet must not end the process: who reads it then is told.
    data.on('error', () => undefined);
    return { status, headers, data };
  } catch (error) {
    throw new ServiceDown(`${request.method} ${request.url}: ${reasonOf(error)}`);
  } finally {
    clearTimeout(late);
  }
}

/** How long an upload may stand still, or its answer may take when all is sent: the service may have to store it first. */
const STANDSTILL_MS = 2 * 60_000;

/** Bytes to be sent, from their beginning for each attempt. */
export interface Payload {
  readonly sizeBytes: number;
  bytes(): AsyncIterable<Uint8Array>;
  /** Ends the sending. */
  readonly signal: AbortSignal;
}

/** Sends bytes as they come, for as long as they move. @throws ServiceDown */
export async function exchangeUpload(request: Request, payload: Payload): Promise<Exchanged> {
  const { method, url, headers } = request;
  const abort = new AbortController();
  const late = setTimeout(() => abort.abort(new Error(`nothing moved for ${STANDSTILL_MS} ms`)), STANDSTILL_MS);
  async function* watched(): AsyncGenerator<Uint8Array> {
    for await (const chunk of payload.bytes()) {
      late.refresh();
      yield chunk;
    }
  }
  try {
    const response = await fetch(url, {
      ...{ method, redirect: 'error', duplex: 'half', body: ReadableStream.from(watched()) },
      signal: AbortSignal.any([abort.signal, payload.signal]),
      headers: {
        ...{ ...headers, 'content-type': 'application/octet-stream', 'content-length': String(payload.sizeBytes) },
      },
    });
    return { status: response.status, headers: response.headers, text: await readLimited(response, ANSWER_LIMIT) };
  } catch (error) {
    throw new ServiceDown(`${method} ${url}: ${reasonOf(error)}`);
  } finally {
    clearTimeout(late);
  }
}

const send = ({ method, url, headers, body }: Request, signal: AbortSignal): Promise<Response> =>
  fetch(url, {
    ...{ method, redirect: 'error', signal },
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
