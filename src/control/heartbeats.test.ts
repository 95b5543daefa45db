import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Clock, JumpWatch } from '../lib/clock.ts';
import { pullBack, upAfter } from './heartbeats.ts';
import { hostIsUp } from './hosts.ts';
import type { Platform } from './platform.ts';
import { addHost, withPlatform } from './test-support.ts';

/** The platform with a clock that is ahead of the right one, and knows when that last changed. */
function withJumps(p: Platform): { readonly p: Platform; jumpBy(ms: number): void } {
  const jumps = new JumpWatch();
  let ahead = 0;
  jumps.tell(ahead, p.clock.now());
  const clock: Clock = {
    now: () => p.clock.now() + ahead,
    sleep: (ms, signal) => p.clock.sleep(ms, signal),
    steadySince: () => jumps.steadySince,
  };
  return {
    p: { ...p, clock },
    jumpBy(ms) {
      ahead += ms;
      jumps.tell(ahead, clock.now());
    },
  };
}

test('a clock that was put forward made every host count as down, and a guest start beside one that still ran', () =>
  withPlatform(async (right, { c1 }) => {
    const { p, jumpBy } = withJumps(right);
    await addHost(p, c1, 'h1');
    jumpBy(3_600_000);
    assert.equal(await hostIsUp(p, 'h1'), true, 'nobody knows yet whether it is silent');
    await right.clock.pass(29_999);
    assert.equal(await hostIsUp(p, 'h1'), true);
    await right.clock.pass(1);
    assert.equal(await hostIsUp(p, 'h1'), false, 'it has not answered for so long since');
  }));

test('a clock that was put back left hosts up, leases held and sagas asleep until it was there again', () =>
  withPlatform(async (right, { c1 }) => {
    const { p, jumpBy } = withJumps(right);
    await addHost(p, c1, 'h1');
    jumpBy(-3_600_000);
    await pullBack(p);
    const { last_seen_at } = await p.stores.global
      .selectFrom('hosts')
      .select('last_seen_at')
      .where('name', '=', 'h1')
      .executeTakeFirstOrThrow();
    assert.equal(last_seen_at, p.clock.now());
    await right.clock.pass(30_000);
    assert.equal(await hostIsUp(p, 'h1'), false);
  }));

test('a clock that never jumps says when hosts were silent for too long', () =>
  withPlatform(async (p) => {
    assert.equal(upAfter(p), p.clock.now() - 30_000);
  }));

test('jumps are noticed, and a clock that only drifts has not jumped', () => {
  const jumps = new JumpWatch();
  for (let drift = 0; drift < 5000; drift += 100) jumps.tell(drift, 1000 + drift);
  assert.equal(jumps.steadySince, 0);
  jumps.tell(10_000, 77_000);
  assert.equal(jumps.steadySince, 77_000);
});
