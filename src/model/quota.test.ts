import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import type { QuotaLimits, QuotaUsage } from './quota.ts';
import {
  addUsage,
  checkCreateQuota,
  checkKeypairQuota,
  checkMetadataQuota,
  checkResizeQuota,
  DEFAULT_LIMITS,
  NO_USAGE,
  UNLIMITED,
  upsizeDelta,
  usageOfServer,
} from './quota.ts';
import { resourcesOf } from './resources.ts';
import { anyFlavor, flavor } from './test-samples.ts';

const limits = (changes: Partial<QuotaLimits>): QuotaLimits => ({ ...DEFAULT_LIMITS, ...changes });
const limit = fc.oneof(fc.constant(UNLIMITED), fc.nat(60));
const anyLimits = fc
  .record({ instances: limit, cores: limit, ram: fc.oneof(fc.constant(UNLIMITED), fc.nat(400_000)) })
  .map(limits);
const anyUsage: fc.Arbitrary<QuotaUsage> = fc.record({
  instances: fc.nat(30),
  cores: fc.nat(60),
  ram: fc.nat(200_000),
});

const NAMES = ['instances', 'cores', 'ram'] as const;
const within = (l: QuotaLimits, u: QuotaUsage): boolean => NAMES.every((name) => l[name] < 0 || u[name] <= l[name]);

describe('usageOfServer', () => {
  it('counts a server once while two consumers hold allocations for it', () => {
    const small = flavor({ vcpus: 1, memoryMb: 2048 });
    const large = flavor({ vcpus: 4, memoryMb: 1024 });
    assert.deepEqual(usageOfServer([resourcesOf(small), resourcesOf(large)]), { instances: 1, cores: 4, ram: 2048 });
    assert.deepEqual(usageOfServer([resourcesOf(small)]), { instances: 1, cores: 1, ram: 2048 });
    assert.deepEqual(usageOfServer([]), { instances: 1, cores: 0, ram: 0 });
  });

  it('V23 a revert never raises the usage, upwards or downwards: it is never over quota', () => {
    fc.assert(
      fc.property(anyFlavor, anyFlavor, (old, next) => {
        const waiting = usageOfServer([resourcesOf(old), resourcesOf(next)]);
        for (const after of [usageOfServer([resourcesOf(old)]), usageOfServer([resourcesOf(next)])]) {
          assert.ok(after.cores <= waiting.cores && after.ram <= waiting.ram && after.instances === waiting.instances);
        }
      }),
    );
  });
});

describe('checkCreateQuota', () => {
  it("has Nova's text for one class over its limit", () => {
    const used = { instances: 3, cores: 20, ram: 1000 };
    assert.deepEqual(checkCreateQuota(DEFAULT_LIMITS, used, flavor(), 1, 1), {
      kind: 'refused',
      refusal: { code: 403, message: 'Quota exceeded for cores: Requested 1, but already used 20 of 20 cores' },
    });
    const full = checkCreateQuota(DEFAULT_LIMITS, { instances: 10, cores: 10, ram: 1000 }, flavor(), 1, 1);
    assert.ok(full.kind === 'refused');
    assert.equal(
      full.refusal.message,
      'Quota exceeded for instances: Requested 1, but already used 10 of 10 instances',
    );
  });

  it("has Nova's text for several, sorted by name", () => {
    const used = { instances: 10, cores: 20, ram: 51_200 };
    const result = checkCreateQuota(DEFAULT_LIMITS, used, flavor({ vcpus: 2 }), 1, 1);
    assert.ok(result.kind === 'refused');
    assert.equal(
      result.refusal.message,
      'Quota exceeded for cores, instances, ram: Requested 2, 1, 512, but already used 20, 10, 51200 of 20, 10, 51200 cores, instances, ram',
    );
    const ram = checkCreateQuota(
      limits({ instances: 1, ram: 512 }),
      { instances: 1, cores: 1, ram: 512 },
      flavor(),
      1,
      1,
    );
    assert.ok(ram.kind === 'refused');
    assert.equal(
      ram.refusal.message,
      'Quota exceeded for instances, ram: Requested 1, 512, but already used 1, 512 of 1, 512 instances, ram',
    );
  });

  it('makes fewer than the maximum when the minimum still fits, and names the range when it does not', () => {
    const used = { instances: 7, cores: 7, ram: 7 };
    assert.deepEqual(checkCreateQuota(DEFAULT_LIMITS, used, flavor(), 1, 5), { kind: 'ok', count: 3 });
    const result = checkCreateQuota(DEFAULT_LIMITS, used, flavor(), 4, 5);
    assert.ok(result.kind === 'refused');
    assert.match(
      result.refusal.message,
      /^Quota exceeded for instances: Requested 4-5, but already used 7 of 10 instances$/,
    );
    const wrong = checkCreateQuota(DEFAULT_LIMITS, NO_USAGE, flavor(), 2, 1);
    assert.deepEqual(wrong, { kind: 'refused', refusal: { code: 400, message: 'min_count must be <= max_count' } });
  });

  it('never lets a project beyond a limit, and refuses only when the minimum does not fit', () => {
    fc.assert(
      fc.property(
        anyLimits,
        anyUsage,
        anyFlavor,
        fc.integer({ min: 1, max: 5 }),
        fc.nat(5),
        (l, used, f, min, more) => {
          const result = checkCreateQuota(l, used, f, min, min + more);
          const after = (count: number): QuotaUsage =>
            addUsage(used, { instances: count, cores: count * f.vcpus, ram: count * f.memoryMb });
          if (result.kind === 'refused') {
            assert.equal(within(l, after(min)), false);
            assert.equal(result.refusal.code, 403);
          } else {
            assert.ok(result.count >= min && result.count <= min + more);
            assert.ok(within(l, after(result.count)));
            assert.ok(result.count === min + more || !within(l, after(result.count + 1)), 'as many as fit');
          }
        },
      ),
    );
  });

  it('knows no limit where the limit is -1', () => {
    const none = limits({ instances: UNLIMITED, cores: UNLIMITED, ram: UNLIMITED });
    const used = { instances: 1e6, cores: 1e6, ram: 1e9 };
    assert.deepEqual(checkCreateQuota(none, used, flavor(), 100, 100), { kind: 'ok', count: 100 });
  });
});

describe('checkResizeQuota', () => {
  it("V22 an upsize over the quota is refused with Nova's text; only what grows counts", () => {
    const used = { instances: 1, cores: 1, ram: 512 };
    assert.deepEqual(
      checkResizeQuota(limits({ ram: 512 }), used, flavor(), flavor({ flavorId: 'f2', memoryMb: 2048 })),
      {
        code: 403,
        message: 'Quota exceeded for ram: Requested 1536, but already used 512 of 512 ram',
      },
    );
    assert.deepEqual(
      checkResizeQuota(limits({ ram: 512, cores: 1 }), used, flavor(), flavor({ vcpus: 3, memoryMb: 513 })),
      {
        code: 403,
        message: 'Quota exceeded for cores, ram: Requested 2, 1, but already used 1, 512 of 1, 512 cores, ram',
      },
    );
    assert.deepEqual(upsizeDelta(flavor({ vcpus: 4, memoryMb: 512 }), flavor({ vcpus: 2, memoryMb: 1024 })), {
      instances: 0,
      cores: 0,
      ram: 512,
    });
  });

  it('V22 a downsize is never refused, even far over the limit', () => {
    fc.assert(
      fc.property(anyLimits, anyUsage, anyFlavor, fc.nat(3), fc.nat(1000), (l, used, f, cores, ram) => {
        const smaller = { ...f, vcpus: Math.max(1, f.vcpus - cores), memoryMb: Math.max(1, f.memoryMb - ram) };
        assert.equal(checkResizeQuota(l, used, f, smaller), null);
      }),
    );
  });

  it('V22 passes exactly when what grows fits', () => {
    fc.assert(
      fc.property(anyLimits, anyUsage, anyFlavor, anyFlavor, (l, used, old, next) => {
        const delta = upsizeDelta(old, next);
        const over = (['cores', 'ram'] as const).some((n) => delta[n] > 0 && l[n] >= 0 && used[n] + delta[n] > l[n]);
        assert.equal(checkResizeQuota(l, used, old, next) !== null, over);
      }),
    );
  });
});

describe('other quotas', () => {
  it('counts key pairs and metadata items', () => {
    assert.equal(checkKeypairQuota(DEFAULT_LIMITS, 99), null);
    assert.deepEqual(checkKeypairQuota(DEFAULT_LIMITS, 100), {
      code: 403,
      message: 'Quota exceeded, too many key pairs.',
    });
    assert.equal(checkKeypairQuota(limits({ key_pairs: UNLIMITED }), 1e6), null);
    assert.equal(checkMetadataQuota(DEFAULT_LIMITS, 128), null);
    assert.deepEqual(checkMetadataQuota(DEFAULT_LIMITS, 129), {
      code: 403,
      message: 'Maximum number of metadata items exceeds 128',
    });
  });
});
