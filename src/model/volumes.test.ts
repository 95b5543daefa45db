import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { checkVolumeQuota, checkVolumeSize, DEFAULT_VOLUME_LIMITS } from './volume-quota.ts';
import { checkExtend, checkSnapshot, GIB, gibOf, isTrueSpec, VOLUME_STATUSES, type Volume } from './volumes.ts';

const VOLUME: Volume = {
  ...{ id: 'v', name: null, description: null, projectId: 'p', userId: 'u', sizeGb: 5, status: 'available' },
  ...{ storageHost: 's', typeId: 't', zone: 'nova', multiattach: false, bootable: false, snapshotId: null },
  ...{ sourceVolumeId: null, image: null, metadata: {}, generation: 1, createdAt: 0, updatedAt: 0 },
};

test('a volume grows only, and only at rest', () => {
  assert.equal(checkExtend(VOLUME, 6, false), null);
  assert.match(checkExtend(VOLUME, 5, false)?.message ?? '', /must be greater than current size/);
  const used: Volume = { ...VOLUME, status: 'in-use' };
  assert.match(checkExtend(used, 6, false)?.message ?? '', /status must be 'available'/);
  assert.equal(checkExtend(used, 6, true), null);
  for (const status of VOLUME_STATUSES) {
    const allowed = status === 'available' || status === 'in-use';
    assert.equal(checkExtend({ ...VOLUME, status }, 6, true) === null, allowed, status);
    assert.equal(checkSnapshot({ ...VOLUME, status }, true) === null, allowed, status);
    assert.equal(checkSnapshot({ ...VOLUME, status }, false) === null, status === 'available', status);
  }
});

test('gibOf is the smallest size that holds the bytes', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 50 }), (bytes) => {
      const gib = gibOf(bytes);
      return gib * GIB >= bytes && (gib - 1) * GIB < bytes;
    }),
  );
});

test('only `<is> True` is true in extra specs', () => {
  assert.deepEqual(
    ['<is> True', '<is>true', ' <is> TRUE ', 'True', '<is> False', undefined].map((text) => isTrueSpec(text)),
    [true, true, true, false, false, false],
  );
});

test('quota: what fits is never refused, what does not always is', () => {
  const amount = fc.integer({ min: 0, max: 2000 });
  const usage = fc.record({ volumes: amount, snapshots: amount, gigabytes: amount });
  const limit = fc.integer({ min: -1, max: 2000 });
  const counted = { volumes: limit, snapshots: limit, gigabytes: limit, per_volume_gigabytes: limit };
  const limits = fc.record(counted).map((each) => ({ ...DEFAULT_VOLUME_LIMITS, ...each }));
  fc.assert(
    fc.property(limits, usage, usage, (most, used, wanted) => {
      const names = ['volumes', 'snapshots', 'gigabytes'] as const;
      const fits = names.every(
        (name) => most[name] < 0 || wanted[name] === 0 || used[name] + wanted[name] <= most[name],
      );
      return (checkVolumeQuota(most, used, wanted) === null) === fits;
    }),
  );
  assert.equal(checkVolumeSize(DEFAULT_VOLUME_LIMITS, 10 ** 6), null);
  assert.match(checkVolumeSize({ ...DEFAULT_VOLUME_LIMITS, per_volume_gigabytes: 9 }, 10)?.message ?? '', /10G.*9G/);
});
