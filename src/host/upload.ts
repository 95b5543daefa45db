// Sends bytes to the control plane, which keeps images.
//
// Theory of operation. One PUT with the fleet's secret. The control plane may answer before it has all of it (it was
// told to forget the image, or does not like what it sees): then the rest is not sent. Nothing is retried here.
import { reasonOf } from '../lib/reasons.ts';
import { HypervisorError } from './hypervisor.ts';

export interface Sending {
  /** http(s) URL; no redirect is followed: the secret is for this address alone. */
  readonly url: string;
  readonly secret: string;
  readonly sizeBytes: number;
  readonly signal: AbortSignal;
}

/** Most of an answer that is told. */
const ANSWER_LIMIT = 500;

/** Resolves when the control plane has taken all of it; HypervisorError with its words when it does not. */
export async function sendBytes(bytes: AsyncIterable<Uint8Array>, sending: Sending): Promise<void> {
  const { url, secret, sizeBytes, signal } = sending;
  const headers = {
    authorization: `Bearer ${secret}`,
    'content-type': 'application/octet-stream',
    'content-length': String(sizeBytes),
  };
  const body = ReadableStream.from(bytes);
  const response = await tried(fetch(url, { method: 'PUT', headers, body, duplex: 'half', redirect: 'error', signal }));
  const text = (await tried(response.text())).slice(0, ANSWER_LIMIT);
  if (!response.ok) throw new HypervisorError(`the image was not taken: status ${response.status} ${text}`);
}

async function tried<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw new HypervisorError(`the image could not be sent: ${reasonOf(error)}`);
  }
}
