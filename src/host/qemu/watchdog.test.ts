import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../test-support.ts';
import { withWatchdog } from './watchdog.ts';

test('work that stands still is ended by the time that passes, whatever the clock is set to', async () => {
  const clock = new ManualClock();
  let ended = false;
  const work = withWatchdog(
    clock,
    1000,
    new AbortController().signal,
    () => 'as before',
    (signal) =>
      new Promise<never>((_, reject) => {
        signal.addEventListener('abort', () => {
          ended = true;
          reject(new Error('ended'));
        });
      }),
  );
  const failed = assert.rejects(work, /no progress for 1 s/);
  await clock.advance(500);
  clock.aheadMs = 3_600_000;
  await clock.advance(250);
  assert.equal(ended, false);
  clock.aheadMs = -3_600_000;
  await clock.advance(500);
  assert.equal(ended, true);
  await failed;
});
