// The bytes of images: uploads by users, downloads by users and by hosts.
//
// Theory of operation. An upload that is refused half-way is still read for a moment (at most DRAIN_BYTES and DRAIN_MS)
// and thrown away, so that a client that writes before it reads gets the answer; then the connection ends. Hosts fetch
// base images, and send snapshots, with the fleet's secret instead of a user's token; they fetch also those that their
// owner has deleted meanwhile.
import { createHash, timingSafeEqual } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type { FastifyRequest } from 'fastify';
import { showImage } from '../../control/images/records.ts';
import { receiveImage, uploadImage } from '../../control/images/upload.ts';
import { findBaseImage, findImage, imageFile } from '../../control/images.ts';
import type { Platform } from '../../control/platform.ts';
import { invariant } from '../../lib/errors.ts';
import { isAdmin } from '../../model/types.ts';
import { ApiError, forbidden, notFound, refuse } from '../http/errors.ts';
import { type Answer, type Route, route } from '../http/route.ts';
import { rangeOf } from './ranges.ts';
import { Params } from './schemas.ts';

const OCTETS = 'application/octet-stream';
const DRAIN_BYTES = 64 * 1024 * 1024;
const DRAIN_MS = 2_000;

export const dataRoutes: readonly Route[] = [
  route({
    method: 'PUT',
    url: '/image/v2/images/:id/file',
    service: 'image',
    summary: 'Upload the data of a queued image',
    policy: 'upload_image',
    params: Params,
    rawBody: true,
    contentTypes: [OCTETS],
    answers: { 204: null },
    handle: async ({ p, actor, params, request }) => {
      const stream = request.raw;
      const refusal = await uploadImage(p, actor, params.id, { stream, declaredBytes: declaredLength(request) });
      if (refusal) await drain(p, stream);
      refuse(refusal);
      return { status: 204 };
    },
  }),
  route({
    method: 'GET',
    url: '/image/v2/images/:id/file',
    service: 'image',
    summary: 'Download the data of an image',
    policy: 'download_image',
    params: Params,
    answers: { 200: null, 204: null, 206: null },
    asks: ['range'],
    media: [OCTETS],
    tells: ['content-md5', 'content-range'],
    handle: async ({ p, actor, params, request }) => {
      const shown = await showImage(p, actor, params.id);
      if (shown.kind === 'refused') throw new ApiError(shown.refusal.code, shown.refusal.message);
      const { image } = shown;
      if (image.status === 'deactivated' && !isAdmin(actor)) {
        throw forbidden('The requested image has been deactivated. Image data download is forbidden.');
      }
      if (image.status !== 'active' && image.status !== 'deactivated') return { status: 204 };
      invariant(image.sizeBytes !== null && image.md5 !== null, `image ${image.id} is active and has no data`);
      return sendFile(p, image.id, image.sizeBytes, request, { 'content-md5': image.md5 });
    },
  }),
];

/** What hosts call. `fleetSecret`: what they prove to be ours with, as a bearer token. */
export const hostImageRoutes = (fleetSecret: string): readonly Route[] => [
  route({
    method: 'PUT',
    url: '/crosscell/v1/images/:id/data',
    service: 'crosscell',
    summary: 'Upload the data of a queued image (hosts, with the fleet secret as bearer token)',
    policy: 'public',
    params: Params,
    rawBody: true,
    contentTypes: [OCTETS],
    answers: { 204: null },
    handle: async ({ p, params, request }) => {
      requireFleet(fleetSecret, request);
      const image = await findImage(p, params.id);
      if (!image) throw notFound(`Image ${params.id} could not be found.`);
      const stream = request.raw;
      const refusal = await receiveImage(p, image, { stream, declaredBytes: declaredLength(request) });
      if (refusal) await drain(p, stream);
      refuse(refusal);
      return { status: 204 };
    },
  }),
  route({
    method: 'GET',
    url: '/crosscell/v1/images/:id/data',
    service: 'crosscell',
    summary: 'Download a base image (hosts, with the fleet secret as bearer token)',
    policy: 'public',
    params: Params,
    answers: { 200: null, 206: null },
    asks: ['range'],
    media: [OCTETS],
    tells: ['content-range', 'x-image-sha256'],
    handle: async ({ p, params, request }) => {
      requireFleet(fleetSecret, request);
      const base = await findBaseImage(p, params.id);
      if (!base) throw notFound(`Image ${params.id} could not be found.`);
      return sendFile(p, base.id, base.sizeBytes, request, { 'x-image-sha256': base.sha256 });
    },
  }),
];

function requireFleet(secret: string, request: FastifyRequest): void {
  if (isFleet(secret, request.headers.authorization)) return;
  throw new ApiError(401, 'The request you have made requires authentication.');
}

function isFleet(secret: string, authorization: string | undefined): boolean {
  // Digests have one length, which the comparison needs; an empty secret lets nobody in.
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return secret !== '' && timingSafeEqual(digest(`Bearer ${secret}`), digest(authorization ?? ''));
}

async function sendFile(
  p: Platform,
  imageId: string,
  sizeBytes: number,
  request: FastifyRequest,
  headers: Readonly<Record<string, string>>,
): Promise<Answer> {
  // Of an image that only says of which snapshots volumes are made there is no file.
  if (sizeBytes === 0) return { status: 200, headers: { ...headers, 'content-type': OCTETS, 'content-length': '0' } };
  const range = rangeOf(request.headers.range, sizeBytes);
  if (range === 'none') {
    const headers = { 'content-range': `bytes */${sizeBytes}` };
    throw new ApiError(416, `The image has ${sizeBytes} bytes: none are in the range that was asked for.`, { headers });
  }
  const file = await open(imageFile(p, imageId), 'r');
  const { size } = await file.stat();
  if (size !== sizeBytes || request.method === 'HEAD') await file.close();
  invariant(size === sizeBytes, `the file of image ${imageId} has ${size} bytes instead of ${sizeBytes}`);
  const described = { ...headers, 'content-type': OCTETS, 'content-length': String(sizeBytes) };
  if (request.method === 'HEAD') return { status: 200, headers: described };
  if (range === 'all') return { status: 200, headers: described, body: file.createReadStream() };
  // The digest is of all of it.
  const { 'content-md5': _digest, ...others } = headers;
  const { first, last } = range;
  const part = { 'content-range': `bytes ${first}-${last}/${sizeBytes}`, 'content-length': String(last - first + 1) };
  return {
    status: 206,
    headers: { ...others, ...part, 'content-type': OCTETS },
    body: file.createReadStream({ start: first, end: last }),
  };
}

export function declaredLength(request: FastifyRequest): number | null {
  const header = request.headers['content-length'];
  if (header === undefined || request.headers['transfer-encoding'] !== undefined) return null;
  const length = Number(header);
  return Number.isSafeInteger(length) && length >= 0 ? length : null;
}

/** Reads what is still coming and throws it away, within limits. */
export async function drain(p: Platform, stream: Readable): Promise<void> {
  if (stream.readableEnded || stream.destroyed) return;
  const over = new AbortController();
  await Promise.race([discard(stream, over.signal), p.clock.sleep(DRAIN_MS, over.signal)]);
  over.abort();
}

async function discard(stream: Readable, over: AbortSignal): Promise<void> {
  let seen = 0;
  try {
    for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      seen += chunk.length;
      if (seen > DRAIN_BYTES || over.aborted) return;
    }
  } catch {
    // The client has gone: nobody is left to answer to.
  }
}
