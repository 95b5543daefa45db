import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { between, MAX_MINOR, MIN_MINOR, microversionText, negotiate, negotiateVolume } from './microversion.ts';

const minorOf = (standard?: string, legacy?: string): number | string => {
  const result = negotiate(standard, legacy);
  return result.kind === 'ok' ? result.minor : `${result.refusal.code} ${result.refusal.message}`;
};

describe('negotiate', () => {
  it('is 2.1 when nothing is asked, or only of other services', () => {
    assert.equal(minorOf(), 1);
    assert.equal(minorOf('volume 3.60'), 1);
    assert.equal(minorOf('compute'), 1);
    assert.equal(minorOf(''), 1);
  });

  it('reads the standard header, also among other services, case-insensitive; the last one counts', () => {
    assert.equal(minorOf('compute 2.59'), 59);
    assert.equal(minorOf('volume 3.60, Compute 2.56'), 56);
    assert.equal(minorOf('compute 2.1, compute 2.80'), 80);
    assert.equal(minorOf('compute latest'), MAX_MINOR);
  });

  it('reads the legacy header when the standard one says nothing of compute', () => {
    assert.equal(minorOf(undefined, '2.26'), 26);
    assert.equal(minorOf('volume 3.60', 'latest'), MAX_MINOR);
    assert.equal(minorOf('compute 2.59', '2.26'), 59);
    assert.equal(minorOf(undefined, '2.1, 2.30'), 30);
  });

  it('answers 400 to what is no version', () => {
    for (const text of ['2', 'two', '2.01', '02.1', '2.1.1', '-2.1', '2.', '2.1 2.2']) {
      assert.equal(
        minorOf(`compute ${text}`),
        `400 API Version String ${text} is of invalid format. Must be of format MajorNum.MinorNum.`,
      );
    }
    assert.match(String(minorOf(undefined, '')), /^400 /);
  });

  it('answers 406 to versions beyond its own', () => {
    for (const text of ['2.0', '2.97', '3.0', '1.1', `2.${'9'.repeat(400)}`]) {
      assert.equal(
        minorOf(undefined, text),
        `406 Version ${text} is not supported by the API. Minimum is 2.1 and maximum is 2.96.`,
      );
    }
  });

  it('reads back what it writes, and never throws', () => {
    fc.assert(
      fc.property(fc.integer({ min: MIN_MINOR, max: MAX_MINOR }), (minor) => {
        assert.equal(minorOf(`compute ${microversionText(minor)}`), minor);
      }),
    );
    fc.assert(fc.property(fc.string(), fc.string(), (a, b) => void negotiate(a, b)));
  });

  it('between includes both ends', () => {
    assert.deepEqual(
      [55, 56, 58, 59].map((minor) => between(minor, 56, 58)),
      [false, true, true, false],
    );
    assert.equal(between(MAX_MINOR, 56), true);
  });
});

describe('negotiateVolume', () => {
  const minor = (standard?: string): number | string => {
    const result = negotiateVolume(standard);
    return result.kind === 'ok' ? result.minor : result.refusal.code;
  };

  it('is 3.0 when nothing is asked, or only of other services', () => {
    assert.deepEqual([undefined, '', 'volume', 'compute 2.59', 'block-storage 3.60'].map(minor), [0, 0, 0, 0, 0]);
  });

  it('goes by any name with volume in it, and the first one counts', () => {
    assert.deepEqual(
      ['volume 3.42', 'volumev3 3.42', 'compute 2.1, volumev3 3.42, volume 3.60'].map(minor),
      [42, 42, 42],
    );
  });

  it('refuses what is no version of its own', () => {
    assert.deepEqual(['volumev3 3.71', 'volume 2.0', 'volume three'].map(minor), [406, 406, 400]);
  });
});
