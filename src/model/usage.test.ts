import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { hoursWithin } from './usage.ts';

const HOUR = 3_600_000;
const time = fc.integer({ min: 0, max: 100 * HOUR });
const life = fc.record({ launchedAt: fc.option(time), deletedAt: fc.option(time) });

describe('usage', () => {
  it('counts from the first start to the end, within the period', () => {
    const period = { from: 10 * HOUR, until: 20 * HOUR };
    const hours = (launchedAt: number | null, deletedAt: number | null) =>
      hoursWithin({ launchedAt: launchedAt && launchedAt * HOUR, deletedAt: deletedAt && deletedAt * HOUR }, period);
    assert.deepEqual(
      [hours(null, null), hours(5, null), hours(12, null), hours(12, 15), hours(25, null), hours(5, 9), hours(5, 30)],
      [0, 10, 8, 3, 0, 0, 10],
    );
  });

  it('periods that follow each other add up', () =>
    fc.assert(
      fc.property(life, time, time, time, (server, a, b, c) => {
        const [from, middle, until] = [a, b, c].sort((x, y) => x - y) as [number, number, number];
        const whole = hoursWithin(server, { from, until });
        const parts = hoursWithin(server, { from, until: middle }) + hoursWithin(server, { from: middle, until });
        assert.ok(Math.abs(whole - parts) < 1e-9 && whole >= 0 && whole * HOUR <= until - from + 1);
      }),
    ));
});
