// The guest image as `up` and `demo` use it: built on first use from Debian's packages, kept in a cache.
import { fileURLToPath } from 'node:url';
import { messageOf } from '../lib/errors.ts';

/** Name of the image in the image service. */
export const GUEST_IMAGE = 'crosscell-guest';

const CACHE = fileURLToPath(new URL('../../var/cache/guest', import.meta.url));

/** The image's file; null, after saying why, where it cannot be built. */
export async function ensureGuestImage(say: (line: string) => void): Promise<string | null> {
  const { buildGuest, GUEST_DEFAULTS } = await import('../../guest/build.ts');
  try {
    return await buildGuest({ ...GUEST_DEFAULTS, cache: CACHE }, say);
  } catch (error) {
    say(`the guest image cannot be built here: ${messageOf(error)}`);
    return null;
  }
}
