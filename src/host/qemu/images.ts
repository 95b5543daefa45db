// The cache of base images: fetched once per host, whatever the number of guests.
//
// Theory of operation. An image's place is named by its digest, so what is there is right: it gets there only by a
// rename after size, digest and header were checked. Guests that want the same image at once share one download, which
// goes on when one of them is cancelled. A failed or truncated download leaves nothing.
// Images that no guest on record uses are kept as long as they fit under a limit in total; beyond it the ones used
// longest ago go. Whoever defines a guest has recorded it before asking for its image: a sweep looks at the records again
// right before each image that it drops, and who asks for one from then on waits until it is gone, and fetches it.
import { createHash, randomBytes } from 'node:crypto';
import type { Stats } from 'node:fs';
import { chmod, chown, mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Logger } from 'pino';
import type { Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import { reasonOf } from '../../lib/reasons.ts';
import type { BaseImage } from '../contract.ts';
import { HypervisorError, type JobControl } from '../hypervisor.ts';
import { syncDirectory } from '../record-files.ts';
import { checkBaseImage, type DiskTools } from './disk.ts';
import type { Layout } from './layout.ts';
import { isCode } from './proc.ts';
import { withWatchdog } from './watchdog.ts';

export interface ImageCacheOptions {
  readonly layout: Layout;
  readonly tools: DiskTools;
  readonly clock: Clock;
  readonly log: Logger;
  /** Sent as bearer token to the image's URL. */
  readonly secret: string;
  /** A download that brings nothing for this long is given up, ms. */
  readonly stallMs: number;
  /** Bytes of unused images that are kept. */
  readonly unusedLimitBytes: number;
}

interface Download {
  readonly done: Promise<void>;
  received: number;
}

const PARTIAL = '.partial';
const PROGRESS_MS = 250;

export class ImageCache {
  readonly #options: ImageCacheOptions;
  readonly #downloads = new Map<string, Download>();
  /** By path: images that are being deleted. */
  readonly #dropping = new Map<string, Promise<void>>();
  readonly #closing = new AbortController();

  constructor(options: ImageCacheOptions) {
    this.#options = options;
  }

  /** Makes the directory and drops what a restart cut short. */
  async open(): Promise<void> {
    const { imagesDir } = this.#options.layout;
    await mkdir(imagesDir, { recursive: true });
    await chmod(imagesDir, 0o710);
    const { identity } = this.#options.tools;
    if (identity) await chown(imagesDir, 0, identity.gid);
    for (const file of await readdir(imagesDir)) if (file.includes(PARTIAL)) await rm(join(imagesDir, file));
  }

  /** Resolves when the image is there. Its progress is the job's. */
  async ensure(image: BaseImage, job: JobControl): Promise<void> {
    const path = this.#options.layout.image(image);
    // How that ends is the sweep's concern.
    await Promise.allSettled([this.#dropping.get(path)]);
    if (await this.#isThere(path)) {
      job.progress(image.sizeBytes, image.sizeBytes);
      return;
    }
    let download = this.#downloads.get(path);
    if (!download) {
      download = this.#start(image, path);
      this.#downloads.set(path, download);
    }
    await this.#follow(download, image, job);
  }

  /** Drops what is not in use (SHA-256 values) and does not fit under the limit. `inUse` is asked more than once. */
  async sweep(inUse: () => ReadonlySet<string>): Promise<void> {
    const { imagesDir } = this.#options.layout;
    const used = inUse();
    const unused: Array<{ path: string; size: number; usedAt: number }> = [];
    for (const file of await readdir(imagesDir)) {
      if (file.includes(PARTIAL) || used.has(digestIn(file))) continue;
      const path = join(imagesDir, file);
      const found = await statIfThere(path);
      if (found) unused.push({ path, size: found.size, usedAt: found.mtimeMs });
    }
    unused.sort((a, b) => b.usedAt - a.usedAt);
    let kept = 0;
    for (const { path, size } of unused) {
      kept += size;
      // Another sweep may be at it.
      if (kept <= this.#options.unusedLimitBytes || this.#dropping.has(path)) continue;
      if (inUse().has(digestIn(basename(path)))) continue;
      this.#options.log.info({ path, size }, 'unused base image dropped');
      await this.#drop(path);
    }
  }

  /** Nothing may be awaited between the look at what is in use and this. */
  async #drop(path: string): Promise<void> {
    const dropping = rm(path, { force: true });
    this.#dropping.set(path, dropping);
    try {
      await dropping;
    } finally {
      this.#dropping.delete(path);
    }
  }

  /** Ends downloads and resolves when they have ended. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled([...this.#downloads.values()].map((download) => download.done));
  }

  async #isThere(path: string): Promise<boolean> {
    try {
      const now = this.#options.clock.now() / 1000;
      // The time of last use, for the sweep.
      await utimes(path, now, now);
      return true;
    } catch (error) {
      if (isCode(error, 'ENOENT')) return false;
      throw error;
    }
  }

  async #follow(download: Download, image: BaseImage, job: JobControl): Promise<void> {
    const over = new AbortController();
    const settled = download.done.finally(() => over.abort());
    const signal = AbortSignal.any([job.signal, over.signal]);
    const report = async () => {
      while (!signal.aborted) {
        job.progress(download.received, image.sizeBytes);
        await this.#options.clock.sleep(PROGRESS_MS, signal);
      }
    };
    await Promise.race([settled, report()]);
    job.signal.throwIfAborted();
    await settled;
    job.progress(image.sizeBytes, image.sizeBytes);
  }

  #start(image: BaseImage, path: string): Download {
    const partial = `${path}${PARTIAL}-${randomBytes(8).toString('hex')}`;
    const fetching = async () => {
      try {
        await this.#fetch(image, partial, download);
        await this.#keep(image, partial, path);
      } catch (error) {
        await rm(partial, { force: true });
        throw error instanceof HypervisorError ? error : new HypervisorError(`image ${image.id}: ${reasonOf(error)}`);
      } finally {
        this.#downloads.delete(path);
      }
    };
    const download: Download = { received: 0, done: Promise.resolve().then(fetching) };
    // Everyone who waits sees the error; when nobody waits any more it is nobody's concern.
    download.done.catch(() => undefined);
    return download;
  }

  async #fetch(image: BaseImage, partial: string, download: Download): Promise<void> {
    const { clock, stallMs, secret } = this.#options;
    await withWatchdog(
      clock,
      stallMs,
      this.#closing.signal,
      () => String(download.received),
      async (signal) => {
        const headers = { authorization: `Bearer ${secret}` };
        // No redirects: the secret is for this address alone.
        const response = await fetch(image.url, { headers, redirect: 'error', signal });
        if (response.status !== 200 || response.body === null)
          throw new HypervisorError(`image ${image.id}: its server answered with status ${response.status}`);
        await receive(response.body, image, partial, download);
      },
    );
  }

  async #keep(image: BaseImage, partial: string, path: string): Promise<void> {
    const { tools, layout } = this.#options;
    await chmod(partial, 0o440);
    if (tools.identity) await chown(partial, 0, tools.identity.gid);
    try {
      await checkBaseImage(tools, partial, image);
    } catch (error) {
      throw new HypervisorError(`image ${image.id}: ${messageOf(error)}`);
    }
    await rename(partial, path);
    await syncDirectory(layout.imagesDir);
  }
}

/** Null: another sweep has dropped it. */
async function statIfThere(path: string): Promise<Stats | null> {
  try {
    return await stat(path);
  } catch (error) {
    if (isCode(error, 'ENOENT')) return null;
    throw error;
  }
}

/** Of an image's file: its name begins with it. */
const digestIn = (file: string): string => file.slice(0, 64);

async function receive(
  body: ReadableStream<Uint8Array>,
  image: BaseImage,
  partial: string,
  download: Download,
): Promise<void> {
  const hash = createHash('sha256');
  const file = await open(partial, 'wx', 0o600);
  try {
    for await (const chunk of body) {
      download.received += chunk.byteLength;
      if (download.received > image.sizeBytes)
        throw new HypervisorError(`image ${image.id}: longer than its ${image.sizeBytes} bytes`);
      hash.update(chunk);
      await file.appendFile(chunk);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  if (download.received !== image.sizeBytes)
    throw new HypervisorError(`image ${image.id}: ${download.received} bytes instead of ${image.sizeBytes}`);
  if (hash.digest('hex') !== image.sha256)
    throw new HypervisorError(`image ${image.id}: its bytes do not have its digest`);
}
