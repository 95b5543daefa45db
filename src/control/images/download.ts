// Importing images from the web (`web-download`): the control plane fetches what a user names.
//
// Theory of operation. Whoever can have a server fetch an address has the server's place in the network. So what is asked for
// is http or https on ports that are allowed, and, unless the operator says otherwise, comes from public addresses alone: the
// names are resolved here, and the connection goes to an address that was looked at, whatever the name means a moment later.
// A redirect leads to another address that is looked at in the same way, and a few are followed. The answer is received as
// an upload is (upload.ts), with the same limits of size and silence, and within LIMIT_MS; a few at once per process,
// and of a project. After a
// failure the image is queued again and has Glance's property FAILED_IMPORT until it is asked for once more; why is in the
// log. A download ends with its process: then the image is queued again without the property.
import { lookup } from 'node:dns';
import { get as httpGet, type IncomingMessage } from 'node:http';
import { get as httpsGet } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { messageOf } from '../../lib/errors.ts';
import { isPublicAddress } from '../../lib/public-addresses.ts';
import { Shares } from '../../lib/shares.ts';
import { badRequest, conflict, refuse } from '../../model/refusal.ts';
import type { Actor, Refusal } from '../../model/types.ts';
import type { Image } from '../images.ts';
import type { Platform } from '../platform.ts';
import { changeImage } from './changes.ts';
import { receiveImage } from './upload.ts';

export interface WebDownloadSettings {
  readonly enabled: boolean;
  /** Whether addresses are allowed that are not public. */
  readonly privateAddresses: boolean;
  readonly ports: readonly number[];
}

/** Names the stores that an import did not reach; there is one. */
export const FAILED_IMPORT = 'os_glance_failed_import';
export const STORE_ID = 'local';

/** A download ends within this time, ms. */
const LIMIT_MS = 3_600_000;
/** The server answers within this time, ms. */
const ANSWER_MS = 30_000;
const MOST_AT_ONCE = 8;
/** So that slow servers that one project names keep no other from theirs. */
const MOST_OF_PROJECT = 2;
const MOST_REDIRECTS = 5;
const REDIRECTS: readonly (number | undefined)[] = [301, 302, 303, 307, 308];

/** Those that run, by platform. */
const runningOf = new WeakMap<Platform, Shares>();

/** Why the address cannot be asked for; null: it can. */
export function checkUri(uri: string, settings: WebDownloadSettings): Refusal | null {
  const filtered = (why: string) =>
    badRequest(`URI for web-download does not pass filtering: ${uri.slice(0, 200)} (${why})`);
  if (!URL.canParse(uri)) return filtered('it is no URL');
  const url = new URL(uri);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return filtered('only http and https are allowed');
  if (url.username !== '' || url.password !== '') return filtered('it has a password');
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
  if (!settings.ports.includes(port)) return filtered(`port ${port} is not allowed`);
  const literal = hostOf(url);
  const reserved = isIP(literal) !== 0 && !isPublicAddress(literal) && !settings.privateAddresses;
  return reserved ? filtered('its address is not public') : null;
}

/** Without the brackets of an IPv6 address. */
const hostOf = (url: URL): string => url.hostname.replace(/^\[|\]$/g, '');

/**
 * Begins to fetch the image's data; when this has ended well, the image is active.
 * Refused: 400 by the address, or formats that are not set, 409 for an image that is not queued, 503 too many.
 */
export async function importFromWeb(p: Platform, actor: Actor, image: Image, uri: string): Promise<Refusal | null> {
  const { id: imageId } = image;
  const wrong = checkUri(uri, p.settings.webDownload);
  if (wrong) return wrong;
  if (image.status !== 'queued') return conflict(`Image needs to be in 'queued' state to use 'web-download' method`);
  if (image.diskFormat === null) return badRequest("'disk_format' needs to be set before import");
  if (image.containerFormat === null) return badRequest("'container_format' needs to be set before import");
  const running = runningOf.get(p) ?? new Shares(MOST_AT_ONCE, MOST_OF_PROJECT);
  runningOf.set(p, running);
  const place = running.enter(actor.projectId);
  if (!place) return refuse(503, 'Too many images are being downloaded already: try again later.');
  try {
    if (Object.hasOwn(image.properties, FAILED_IMPORT)) await setFailed(p, actor, imageId, false);
  } catch (error) {
    place.leave();
    throw error;
  }
  const over = async (): Promise<void> => {
    try {
      const reason = await fetchImage(p, image, new URL(uri));
      if (reason === null) return;
      p.log.warn({ imageId, uri, reason }, 'an image was not downloaded');
      await setFailed(p, actor, imageId, true);
    } catch (error) {
      p.log.error({ imageId, error: messageOf(error) }, 'that an image was not downloaded could not be written');
    } finally {
      place.leave();
    }
  };
  // Whoever asked has been answered: what comes of it is in the log, and in the image.
  void over();
  return null;
}

/** Null: the image is active; otherwise why not. */
async function fetchImage(p: Platform, image: Image, url: URL): Promise<string | null> {
  try {
    await using answer = await ask(url, p.settings.webDownload);
    const refusal = await receiveImage(p, image, { stream: answer.stream, declaredBytes: answer.declaredBytes });
    return refusal?.message ?? null;
  } catch (error) {
    return messageOf(error);
  }
}

/** Says in the image that its import failed, or no longer; not when it is gone, or received in another way. */
async function setFailed(p: Platform, actor: Actor, imageId: string, failed: boolean): Promise<void> {
  await changeImage(p, actor, imageId, 'modify_image', (image) => {
    if (image.status !== 'queued') return { kind: 'ok', image };
    const others = Object.entries(image.properties).filter(([name]) => name !== FAILED_IMPORT);
    const said: [string, string][] = failed ? [[FAILED_IMPORT, STORE_ID]] : [];
    return { kind: 'ok', image: { ...image, properties: Object.fromEntries([...others, ...said]) } };
  });
}

interface Answer extends AsyncDisposable {
  readonly stream: IncomingMessage;
  readonly declaredBytes: number | null;
}

/** @throws Error when nobody answers, or otherwise than with the data or the way to it */
async function ask(first: URL, settings: WebDownloadSettings): Promise<Answer> {
  let url = first;
  const limit = AbortSignal.timeout(LIMIT_MS);
  for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects += 1) {
    const answer = await askOnce(url, settings, limit);
    if (answer.stream.statusCode === 200) return answer;
    await answer[Symbol.asyncDispose]();
    url = redirectOf(answer.stream, url, settings);
  }
  throw new Error(`there are more than ${MOST_REDIRECTS} redirects`);
}

/** Where the answer leads. @throws Error when it is no redirect, or leads to where nobody may send us */
function redirectOf({ statusCode, headers }: IncomingMessage, from: URL, settings: WebDownloadSettings): URL {
  const { location } = headers;
  if (!REDIRECTS.includes(statusCode) || location === undefined) throw new Error(`the server answers ${statusCode}`);
  const to = URL.canParse(location, from) ? new URL(location, from) : null;
  const wrong = checkUri(to?.href ?? location, settings);
  if (to === null || wrong) throw new Error(`redirected: ${wrong?.message}`);
  return to;
}

async function askOnce(url: URL, settings: WebDownloadSettings, limit: AbortSignal): Promise<Answer> {
  const ending = new AbortController();
  const stream = await new Promise<IncomingMessage>((resolve, reject) => {
    const get = url.protocol === 'https:' ? httpsGet : httpGet;
    const request = get(url, {
      // One connection, which ends with it.
      agent: false,
      lookup: publicLookup(settings),
      signal: AbortSignal.any([limit, ending.signal]),
      headers: { 'user-agent': 'crosscell', 'accept-encoding': 'identity' },
    });
    const late = setTimeout(() => request.destroy(new Error('the server does not answer')), ANSWER_MS);
    request.on('error', reject);
    request.on('response', resolve);
    request.on('close', () => clearTimeout(late));
    request.on('response', () => clearTimeout(late));
  });
  const answer: Answer = {
    stream,
    declaredBytes: lengthOf(stream),
    async [Symbol.asyncDispose]() {
      stream.on('error', () => undefined);
      ending.abort();
    },
  };
  return answer;
}

function lengthOf({ headers }: IncomingMessage): number | null {
  const length = Number(headers['content-length'] ?? Number.NaN);
  return Number.isSafeInteger(length) && length >= 0 ? length : null;
}

/** Finds addresses that may be connected to, and no others. */
const publicLookup =
  ({ privateAddresses }: WebDownloadSettings): LookupFunction =>
  (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      const [first, ...others] = error
        ? []
        : found.filter(({ address }) => privateAddresses || isPublicAddress(address));
      if (!first) callback(error ?? new Error(`${hostname} has no public address`), '', 0);
      else if (options.all === true) callback(null, [first, ...others]);
      else callback(null, first.address, first.family);
    });
  };
