import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LOOK_MS, revisionCache } from './cache.ts';

function opened() {
  const state = { now: 0, revision: 1, looks: 0, loads: 0 };
  const clock = { now: () => state.now, sleep: async () => undefined };
  const cache = revisionCache(async () => {
    state.looks += 1;
    return state.revision;
  }, clock);
  const read = (value: string) =>
    cache.read('key', async () => {
      state.loads += 1;
      return value;
    });
  return { state, cache, read };
}

describe('the cache of identity', () => {
  it('keeps values while the revision stands, and looks once per interval', async () => {
    const { state, read } = opened();
    assert.deepEqual(await Promise.all([read('a'), read('a')]), ['a', 'a']);
    assert.equal(state.looks, 1);
    state.now += LOOK_MS;
    assert.equal(await read('b'), 'a');
    assert.equal(state.looks, 2);
    state.revision += 1;
    assert.equal(await read('b'), 'a', 'not looked at yet');
    state.now += LOOK_MS;
    assert.equal(await read('b'), 'b');
  });

  it('does not keep what was being read while things changed', async () => {
    const { cache, read } = opened();
    const gate = Promise.withResolvers<string>();
    await read('first');
    const slow = cache.read('other', () => gate.promise);
    cache.forget();
    gate.resolve('old');
    assert.equal(await slow, 'old');
    assert.equal(await cache.read('other', async () => 'new'), 'new');
  });

  it('answers nothing while the revision cannot be read', async () => {
    const clock = { now: () => 0, sleep: async () => undefined };
    let down = true;
    const cache = revisionCache(async () => {
      if (down) throw new Error('down');
      return 1;
    }, clock);
    await assert.rejects(
      cache.read('key', async () => 1),
      /down/,
    );
    down = false;
    assert.equal(await cache.read('key', async () => 1), 1);
  });
});
