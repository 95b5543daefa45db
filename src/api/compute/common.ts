// What the compute resources share: schemas of small things, links, paging, and finding a server that the caller may see.
import { type TSchema, Type } from 'typebox';
import type { Platform, Settings } from '../../control/platform.ts';
import { cellDownRefusal, type FoundServer, findServer } from '../../control/servers.ts';
import { isUuid } from '../../lib/ids.ts';
import { serverNotFound } from '../../model/actions.ts';
import type { Refusal } from '../../model/refusal.ts';
import { parseTime } from '../../model/time.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { type ApiError, badRequest, errorOf, forbidden } from '../http/errors.ts';

export const BASE = '/compute/v2.1';
export const closed = { additionalProperties: false } as const;

/** An object that allows nothing but what it names. */
export const object = <P extends Record<string, TSchema>>(properties: P) => Type.Object(properties, closed);
export const nullable = <S extends TSchema>(schema: S) => Type.Union([schema, Type.Null()]);
export const text = (maxLength = 255) => Type.String({ maxLength });
export const StringMap = Type.Record(Type.String({ maxLength: 255 }), Type.String());

/** Path parameters: text, because a malformed id is simply one that does not exist. */
export const IdParams = object({ id: Type.String({ maxLength: 1024 }) });
export const IdAndKeyParams = object({ id: Type.String({ maxLength: 1024 }), key: Type.String({ maxLength: 1024 }) });

export const Links = Type.Array(object({ rel: text(), href: text(4096), type: Type.Optional(text()) }));
export const Page = { limit: Type.Optional(Type.Integer({ minimum: 0 })), marker: Type.Optional(text()) };

/** Entries of one page, however many are asked for. */
export const MAX_PAGE = 1000;
export const pageSize = (limit: number | undefined): number => Math.min(limit ?? MAX_PAGE, MAX_PAGE);

/** `self` and `bookmark` of a resource, as every compute resource has them. */
export const linksOf = (settings: Settings, path: string): { rel: string; href: string }[] => [
  { rel: 'self', href: `${settings.publicUrl}${BASE}${path}` },
  { rel: 'bookmark', href: `${settings.publicUrl}/compute${path}` },
];

/** `{"<key>": [next]}` when there is a next page, else nothing. The rest of the query stays as it was. */
export function nextLink(settings: Settings, key: string, url: string, marker: string | null): object {
  if (marker === null) return {};
  const [path = '', query = ''] = url.split('?', 2);
  const params = new URLSearchParams(query);
  params.set('marker', marker);
  return { [key]: [{ rel: 'next', href: `${settings.publicUrl}${path}?${params}` }] };
}

/** A page of `items`: what comes after the marker, at most `limit`. Null: there is no such marker. */
export function pageOf<T>(
  items: readonly T[],
  idOf: (item: T) => string,
  query: { readonly limit?: number; readonly marker?: string },
): { readonly page: readonly T[]; readonly marker: string | null } | null {
  const start = query.marker === undefined ? 0 : items.findIndex((each) => idOf(each) === query.marker) + 1;
  if (query.marker !== undefined && start === 0) return null;
  const size = pageSize(query.limit);
  const page = items.slice(start, start + size);
  const last = page.at(-1);
  return { page, marker: last !== undefined && start + size < items.length ? idOf(last) : null };
}

/** Nova's 400 (MarkerNotFound). */
export const markerNotFound = (marker: string | undefined): ApiError =>
  badRequest(`marker [${(marker ?? '').slice(0, 255)}] not found`);

/** What Cinder refuses as over quota, with 413, Nova refuses with 403, where it has a sentence of its own in that. */
export const overQuotaOrElse = (refusal: Refusal, sentence = refusal.message): ApiError =>
  refusal.code === 413 ? forbidden(sentence) : errorOf(refusal);

/** A time in a query. @throws ApiError 400 */
export function timeOf(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const time = parseTime(value);
  if (time === null)
    throw badRequest(`Invalid input for query parameters ${name}. Value: ${value}. '${value}' is not a 'date-time'`);
  return time;
}

/** True, false or neither, as oslo.utils reads booleans in queries. */
export function booleanOf(value: string | undefined): boolean | null {
  if (value === undefined) return null;
  if (/^(1|t|true|on|y|yes)$/i.test(value)) return true;
  return /^(0|f|false|off|n|no)$/i.test(value) ? false : null;
}

export type Found = Extract<FoundServer, { kind: 'found' }>;

/**
 * The server, when it exists and is the actor's (or the actor is an administrator).
 * @throws ApiError 404, 503 when its cell cannot be reached
 */
export async function serverFor(p: Platform, actor: Actor, id: string): Promise<Found> {
  const found = await findFor(p, actor, id);
  if (found.kind === 'down') throw errorOf(cellDownRefusal(id));
  return found;
}

/** As serverFor, but lets the caller answer for a cell that is down. @throws ApiError 404 */
export async function findFor(
  p: Platform,
  actor: Actor,
  id: string,
): Promise<Exclude<FoundServer, { kind: 'absent' }>> {
  const absent = serverNotFound(id.slice(0, 255));
  const found: FoundServer = isUuid(id) ? await findServer(p, id) : { kind: 'absent' };
  if (found.kind === 'absent') throw errorOf(absent);
  const projectId = found.kind === 'found' ? found.server.projectId : found.mapping.project_id;
  if (projectId !== actor.projectId && !isAdmin(actor)) throw errorOf(absent);
  return found;
}
