import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { IMAGE, ManualClock, silent } from '../test-support.ts';
import { ImageCache } from './images.ts';
import { Layout } from './layout.ts';

let directory: string;
let layout: Layout;
let cache: ImageCache;

/** A cache that keeps nothing that is not in use, with the image; nobody serves it. */
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'crosscell-images-'));
  layout = new Layout(directory);
  cache = new ImageCache({
    ...{ layout, tools: { qemuImg: 'qemu-img', identity: null }, clock: new ManualClock(), log: silent },
    ...{ secret: 'secret', stallMs: 60_000, unusedLimitBytes: 0 },
  });
  await cache.open();
  await writeFile(layout.image(IMAGE), 'an image');
});
afterEach(async () => {
  await cache.close();
  await rm(directory, { recursive: true });
});

const images = () => readdir(layout.imagesDir);
const job = { signal: new AbortController().signal, progress: () => undefined };

test('an image that nobody uses is dropped', async () => {
  await cache.sweep(() => new Set());
  assert.deepEqual(await images(), []);
});

test('a sweep is not disturbed by what another drops under its eyes', async () => {
  for (let n = 10; n < 50; n += 1) await writeFile(layout.image({ ...IMAGE, sha256: `${n}`.repeat(32) }), 'an image');
  const sweeps: Promise<void>[] = [];
  for (let n = 0; n < 20; n += 1) {
    sweeps.push(cache.sweep(() => new Set()));
    await setImmediate();
  }
  await Promise.all(sweeps);
  assert.deepEqual(await images(), []);
});

test('an image that a guest takes while a sweep looks at the others is kept', async () => {
  const answers = [new Set<string>(), new Set([IMAGE.sha256])];
  await cache.sweep(() => answers.shift() ?? new Set());
  assert.equal((await images()).length, 1);
  await cache.ensure(IMAGE, job);
});

test('who asks for an image that is being dropped gets it anew', async () => {
  let asked: Promise<void> | null = null;
  let looks = 0;
  await cache.sweep(() => {
    looks += 1;
    // Behind the last look.
    if (looks === 2) queueMicrotask(() => (asked = cache.ensure(IMAGE, job)));
    return new Set();
  });
  await assert.rejects(async () => asked, new RegExp(`image ${IMAGE.id}: `));
  assert.deepEqual(await images(), []);
});
