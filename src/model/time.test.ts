import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { isoMicroseconds, isoMicrosecondsZ, isoSeconds, parseTime } from './time.ts';

const NOON = Date.UTC(2026, 10, 22, 13, 0, 0);
const time = fc.integer({ min: 0, max: Date.UTC(9999, 11, 31) });

describe('time formats', () => {
  it('writes each service its own', () => {
    assert.equal(isoSeconds(NOON + 999), '2026-11-22T13:00:00Z');
    assert.equal(isoMicroseconds(NOON + 42), '2026-11-22T13:00:00.042000');
    assert.equal(isoMicrosecondsZ(NOON), '2026-11-22T13:00:00.000000Z');
  });

  it('refuses what is no time of ours', () => {
    for (const wrong of [Number.NaN, -1, 1.5, Number.MAX_SAFE_INTEGER]) assert.throws(() => isoSeconds(wrong));
  });

  it('reads back what it writes', () => {
    fc.assert(
      fc.property(time, (ms) => {
        assert.equal(parseTime(isoSeconds(ms)), ms - (ms % 1000));
        assert.equal(parseTime(isoMicroseconds(ms)), ms);
        assert.equal(parseTime(isoMicrosecondsZ(ms)), ms);
      }),
    );
  });

  it('reads dates, blanks for T, fractions and zones', () => {
    assert.equal(parseTime('2026-11-22'), Date.UTC(2026, 10, 22));
    assert.equal(parseTime('2026-11-22 13:00'), NOON);
    assert.equal(parseTime('2026-11-22T14:00:00+01:00'), NOON);
    assert.equal(parseTime('2026-11-22T07:30:00-0530'), NOON);
    assert.equal(parseTime('2026-11-22T13:00:00.5z'), NOON + 500);
    assert.equal(parseTime('2026-11-22T13:00:00.123456789'), NOON + 123);
  });

  it('reads nothing else, and never throws', () => {
    for (const text of [
      '',
      'now',
      '2026-02-30',
      '2026-13-01',
      '2026-11-22T24:00',
      '2026-11-22T13:00:60',
      '1e9',
      '2026-11-22T',
    ]) {
      assert.equal(parseTime(text), null, text);
    }
    fc.assert(fc.property(fc.string(), (text) => void parseTime(text)));
  });
});
