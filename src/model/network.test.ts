import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import {
  contains,
  formatCidr,
  formatIpv4,
  macAddress,
  nextFreeAddress,
  parseCidr,
  parseIpv4,
  poolOf,
} from './network.ts';

const address = fc.integer({ min: 0, max: 0xffff_ffff });
const cidr = fc
  .tuple(address, fc.integer({ min: 0, max: 32 }))
  .map(([value, prefix]) => `${formatIpv4(value - (value % 2 ** (32 - prefix)))}/${prefix}`);

describe('MAC addresses', () => {
  it('begin with fa:16:3e and hold the random bytes', () => {
    assert.equal(macAddress(Uint8Array.of(0, 10, 255)), 'fa:16:3e:00:0a:ff');
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 3, maxLength: 8 }), (bytes) => {
        assert.match(macAddress(bytes), /^fa:16:3e(:[0-9a-f]{2}){3}$/);
      }),
    );
    assert.throws(() => macAddress(Uint8Array.of(1, 2)));
  });
});

describe('IPv4', () => {
  it('reads back what it writes', () => {
    fc.assert(fc.property(address, (value) => assert.equal(parseIpv4(formatIpv4(value)), value)));
    assert.equal(parseIpv4('10.0.0.3'), 0x0a000003);
  });

  it('refuses what is not four plain octets', () => {
    for (const text of ['10.0.0', '10.0.0.256', '010.0.0.1', '10.0.0.1 ', '::1', '10.0.0.0/24', '', '1.2.3.4.5']) {
      assert.equal(parseIpv4(text), null, text);
    }
    fc.assert(fc.property(fc.string(), (text) => void parseIpv4(text)));
  });

  it('knows the ends of a CIDR', () => {
    fc.assert(
      fc.property(cidr, address, (text, value) => {
        const parsed = parseCidr(text);
        assert.ok(parsed !== null);
        assert.equal(formatCidr(parsed), text);
        const size = 2 ** (32 - parsed.prefix);
        assert.equal(contains(parsed, value), Math.floor(value / size) === Math.floor(parsed.network / size));
      }),
    );
    for (const text of ['10.0.0.1/24', '10.0.0.0/33', '10.0.0.0', '/24', '10.0.0.0/', '10.0.0.0/024']) {
      assert.equal(parseCidr(text), null, text);
    }
  });
});

describe('address pools', () => {
  it('keep the gateway, the name server and the broadcast address back', () => {
    const parsed = parseCidr('10.0.0.0/24');
    const pool = parsed && poolOf(parsed);
    assert.ok(pool);
    assert.deepEqual([pool.gateway, pool.dns, pool.first, pool.last].map(formatIpv4), [
      '10.0.0.1',
      '10.0.0.2',
      '10.0.0.3',
      '10.0.0.254',
    ]);
    for (const small of ['10.0.0.0/30', '10.0.0.0/32']) {
      const tiny = parseCidr(small);
      assert.ok(tiny);
      assert.equal(poolOf(tiny), null);
    }
  });

  it('hand out every address once, lowest first, then none', () => {
    const parsed = parseCidr('192.168.7.0/28');
    const pool = parsed && poolOf(parsed);
    assert.ok(pool);
    const used = new Set<number>();
    for (let n = pool.first; n <= pool.last; n += 1) {
      const next = nextFreeAddress(pool, used);
      assert.equal(next, n);
      used.add(n);
    }
    assert.equal(nextFreeAddress(pool, used), null);
    used.delete(pool.first + 4);
    assert.equal(nextFreeAddress(pool, used), pool.first + 4);
  });
});
