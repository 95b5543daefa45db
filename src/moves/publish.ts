// The last part of making an image: where images are a Glance's it gets the data that is here; then it is kept.
import type { PublishWish } from '../control/images/publisher.ts';
import { hasData } from '../control/images/records.ts';
import type { Platform } from '../control/platform.ts';
import { assertNever } from '../lib/errors.ts';
import type { StepOutcome } from './move.ts';
import { done, doneBecause, LANDED } from './outcomes.ts';

/** How long until Glance is looked at again. */
const POLL_MS = 500;

/** Glance has the image with its data; done at once where images are our own. */
export async function publishImage<S>(p: Platform, imageId: string, wish: PublishWish = {}): Promise<StepOutcome<S>> {
  if (!p.imageMirror) return done;
  const published = await p.imageMirror.publish(p, imageId, wish);
  switch (published.kind) {
    case 'there':
      return done;
    case 'on its way':
      return { kind: 'pending', afterMs: POLL_MS };
    case 'failed':
      return published;
    default:
      return assertNever(published);
  }
}

/** Undoes a pivot behind which the image is what the move was for: one that has its data is its user's. */
export const unlessKept = async <S>(p: Platform, imageId: string): Promise<StepOutcome<S>> =>
  (await hasData(p.stores.global, imageId)) ? LANDED : doneBecause('the image does not have its data');
