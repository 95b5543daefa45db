// What the product's own API shares: the words of its schemas, and its pages. A page's `marker` is the name or id of the
// last item of the page before.
import { Type } from 'typebox';
import { badRequest } from '../http/errors.ts';

export const BASE = '/crosscell/v1';
/** Items of a page, unless the route says otherwise. */
export const MAX_PAGE = 200;
export const closed = { additionalProperties: false } as const;

type Schema = Parameters<typeof Type.Array>[0];
export const text = () => Type.String();
export const time = () => Type.Integer({ description: 'Milliseconds since the Unix epoch' });
export const orNull = <S extends Schema>(schema: S) => Type.Union([schema, Type.Null()]);

export const pageQuery = (most = MAX_PAGE) => ({
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: most })),
  marker: Type.Optional(Type.String({ maxLength: 255 })),
});
export const Page = Type.Object(pageQuery(), closed);
export const IdParams = Type.Object({ id: Type.String({ maxLength: 255 }) }, closed);

/** `next`: the marker of the next page, null on the last. */
export const page = (key: string, item: Schema) =>
  Type.Object({ [key]: Type.Array(item), next: orNull(text()) }, closed);

export const markerUnknown = (given: string) => badRequest(`marker [${given}] not found`);

interface Asked {
  readonly limit?: number;
  readonly marker?: string;
}

/** How many items have to be read for a page, and the marker behind which they are: one more shows that there are more. */
export const reading = ({ limit, marker }: Asked) => ({
  limit: (limit ?? MAX_PAGE) + 1,
  ...(marker === undefined ? {} : { marker }),
});

/** A page of what was read for it. */
export function pageOf<T>(key: string, found: readonly T[], idOf: (item: T) => string, { limit }: Asked): object {
  const size = limit ?? MAX_PAGE;
  const shown = found.slice(0, size);
  const last = shown.at(-1);
  return { [key]: shown, next: last !== undefined && found.length > size ? idOf(last) : null };
}

/** A page of a list that was read as a whole. @throws ApiError 400 for an unknown marker */
export function pageOfAll<T>(key: string, items: readonly T[], idOf: (item: T) => string, asked: Asked): object {
  const start = asked.marker === undefined ? 0 : items.findIndex((each) => idOf(each) === asked.marker) + 1;
  if (asked.marker !== undefined && start === 0) throw markerUnknown(asked.marker);
  return pageOf(key, items.slice(start), idOf, asked);
}
