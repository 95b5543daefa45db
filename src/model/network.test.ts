import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { contains, formatCidr, formatIpv4, isGroupMac, macAddress, parseCidr, parseIpv4, parseMac } from './network.ts';

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

describe('MAC addresses that users give', () => {
  it('are kept in one form; nobody’s and everybody’s are none', () => {
    assert.equal(parseMac('FA-16-3E-00-0a-Ff'), 'fa:16:3e:00:0a:ff');
    for (const none of ['', 'fa:16:3e:00:0a', 'FF:FF:FF:FF:FF:FF', '00:00:00:00:00:00', 'fa:16:3e:00:0a:fg'])
      assert.equal(parseMac(none), null, none);
  });

  it('may be those of groups', () => {
    for (const [mac, ofGroup] of [
      ['01:00:5e:00:00:01', true],
      ['11:22:33:44:55:66', true],
      ['fa:16:3e:00:0a:ff', false],
    ] as const)
      assert.deepEqual([parseMac(mac), isGroupMac(mac)], [mac, ofGroup]);
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
