// Which image a server's root disk stands on. It is the one that the server was made from, until the server was offloaded
// and came back: then its disk stands on the image that its shelving made, and the API goes on to show the first one.
import type { ImageSnapshot } from './types.ts';

/** Null: it boots from a volume. */
export const diskImageOf = ({ id, diskImageId }: ImageSnapshot): string | null => diskImageId ?? id;

/** The image that users see of a server; null: none. One that boots from a volume may have been made with an image's name. */
export const shownImageOf = ({ id, namedId }: ImageSnapshot): string | null => id ?? namedId ?? null;
