// A small client of our own HTTP API, for the demo and for setting up: a token, JSON in and out, errors as sentences.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { reasonOf } from '../lib/reasons.ts';

export interface Credentials {
  readonly url: string;
  readonly user: string;
  readonly password: string;
  readonly project: string;
}

export class ApiFailure extends Error {
  override readonly name = 'ApiFailure';
  readonly status: number;
  /** The answer's text. */
  readonly body: string;
  constructor(status: number, what: string, body: string) {
    super(`${what}: ${status} ${body.slice(0, 500)}`);
    this.status = status;
    this.body = body;
  }
}

export class ApiClient {
  readonly #credentials: Credentials;
  #token = '';

  constructor(credentials: Credentials) {
    this.#credentials = credentials;
  }

  async login(): Promise<void> {
    const { url, user, password, project } = this.#credentials;
    const domain = { id: 'default' };
    const response = await fetch(`${url}/identity/v3/auth/tokens`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        auth: {
          identity: { methods: ['password'], password: { user: { name: user, domain, password } } },
          scope: { project: { name: project, domain } },
        },
      }),
    });
    if (response.status !== 201) throw new ApiFailure(response.status, 'log in', await response.text());
    await response.arrayBuffer();
    this.#token = response.headers.get('x-subject-token') ?? '';
  }

  /** The answer's JSON; null when there is none. @throws ApiFailure on any status from 400 */
  async call<T>(method: string, path: string, body?: unknown, microversion = '2.96'): Promise<T> {
    const response = await fetch(`${this.#credentials.url}${path}`, {
      method,
      headers: {
        'x-auth-token': this.#token,
        'openstack-api-version': `compute ${microversion}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (response.status >= 400) throw new ApiFailure(response.status, `${method} ${path}`, text);
    return (text === '' ? null : JSON.parse(text)) as T;
  }

  /** Uploads a file as an image's data. */
  async upload(imageId: string, file: string): Promise<void> {
    const { size } = await stat(file);
    const response = await fetch(`${this.#credentials.url}/image/v2/images/${imageId}/file`, {
      method: 'PUT',
      headers: {
        'x-auth-token': this.#token,
        'content-type': 'application/octet-stream',
        'content-length': String(size),
      },
      body: Readable.toWeb(createReadStream(file)) as ReadableStream,
      duplex: 'half',
    });
    if (response.status >= 400) throw new ApiFailure(response.status, 'upload', await response.text());
    await response.arrayBuffer();
  }
}

/** The API's own sentence, where it gave one. */
export function sentenceOf(error: unknown): string {
  if (!(error instanceof ApiFailure)) return reasonOf(error);
  try {
    const [fault] = Object.values(JSON.parse(error.body) as Readonly<Record<string, { message?: string }>>);
    return fault?.message ?? error.message;
  } catch {
    // Something that is not our API answered: its text is all there is.
    return error.message;
  }
}
