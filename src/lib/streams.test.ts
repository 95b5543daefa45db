import assert from 'node:assert/strict';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { joinStreams } from './streams.ts';

test('what comes out of one goes into the other, and the end of one is the end of both', async () => {
  const [left, right] = [new PassThrough(), new PassThrough()];
  const over = joinStreams(left, right);
  left.destroy(new Error('broken'));
  await over;
  assert.ok(right.destroyed);
});

test('a stream that was closed before takes the other with it', { timeout: 10_000 }, async () => {
  for (const goneFirst of [true, false]) {
    const [gone, other] = [new PassThrough(), new PassThrough()];
    gone.destroy();
    await once(gone, 'close');
    await (goneFirst ? joinStreams(gone, other) : joinStreams(other, gone));
    assert.ok(other.destroyed);
  }
});
