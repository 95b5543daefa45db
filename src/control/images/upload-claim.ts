// An image's row while its data is received: whose it is, and the watch over who brings the data (see upload.ts).
import type { Readable } from 'node:stream';
import { passed } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Image } from '../images.ts';
import type { Platform } from '../platform.ts';

/** An upload that brings no byte for this long is ended. */
const IDLE_MS = 60_000;
const RENEW_MS = 30_000;

/** What becomes of an image when its data is there: it is active, or waits to be imported. */
export type Purpose = 'saving' | 'uploading';

export interface Received {
  readonly kind: 'received';
  readonly sizeBytes: number;
  /** Null: of a disk that no guest can have. */
  readonly virtualBytes: number | null;
  readonly md5: string;
  readonly sha256: string;
  readonly sha512: string;
}
export interface Watch {
  /** Bytes have come. */
  seen(): void;
  /** Why the watch ended the stream; null: it did not. */
  readonly reason: string | null;
  /** Resolves when the watch touches neither stream nor claim any more. */
  end(): Promise<void>;
}

/** Renews the claim while bytes come; ends the stream when none come or the claim is lost. */
export function watchOver(p: Platform, stream: Readable, claim: Claim): Watch {
  const stop = new AbortController();
  let lastSeen = passed(p.clock);
  let reason: string | null = null;
  const loop = async (): Promise<void> => {
    for (;;) {
      await p.clock.sleep(RENEW_MS, stop.signal);
      if (stop.signal.aborted) return;
      if (passed(p.clock) - lastSeen > IDLE_MS) reason = `No data came for ${IDLE_MS / 1000} seconds.`;
      else if (!(await claim.renew())) reason = 'The image was deleted during the upload.';
      if (reason !== null) {
        stream.destroy(new Error(reason));
        return;
      }
    }
  };
  const over = loop().catch((error: unknown) => {
    reason = `The upload could not be watched over: ${messageOf(error)}`;
    stream.destroy(new Error(reason));
  });
  return {
    seen: () => {
      lastSeen = passed(p.clock);
    },
    get reason() {
      return reason;
    },
    end: async () => {
      stop.abort();
      await over;
    },
  };
}

/** The row, held by this upload. */
export interface Claim {
  readonly imageId: string;
  /** False: the row is not this upload's any more. */
  renew(): Promise<boolean>;
  /** saving → active; false: the row is not this upload's any more. */
  activate(data: Received): Promise<boolean>;
  /** saving → queued, if the row is still this upload's. */
  giveBack(): Promise<void>;
}

/** Null: the image is not queued. */
export async function claimRow(p: Platform, image: Image, purpose: Purpose): Promise<Claim | null> {
  const imageId = image.id;
  let fence = p.clock.now();
  const change = async (from: 'queued' | Purpose, set: object, at: number | null): Promise<boolean> => {
    let update = p.stores.global.updateTable('images').set(set).where('id', '=', imageId).where('status', '=', from);
    if (at !== null) update = update.where('updated_at', '=', at);
    return (await update.returning('id').executeTakeFirst()) !== undefined;
  };
  if (!(await change('queued', { status: purpose, updated_at: fence }, null))) return null;
  return {
    imageId,
    async renew() {
      const next = Math.max(p.clock.now(), fence);
      const held = await change(purpose, { updated_at: next }, fence);
      if (held) fence = next;
      return held;
    },
    activate: ({ kind: _, sizeBytes, virtualBytes, ...digests }) =>
      change(
        purpose,
        {
          status: purpose === 'saving' ? 'active' : purpose,
          size_bytes: sizeBytes,
          virtual_bytes: virtualBytes,
          ...digests,
          updated_at: p.clock.now(),
        },
        fence,
      ),
    async giveBack() {
      await change(purpose, { status: 'queued', updated_at: p.clock.now() }, fence);
    },
  };
}
