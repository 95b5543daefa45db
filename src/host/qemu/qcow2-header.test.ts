import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fc } from '../../lib/property-testing.ts';
import { HEADER_BYTES, MAX_VIRTUAL_BYTES, readQcow2Header } from './qcow2-header.ts';

/** A header as `qemu-img create -f qcow2 x 1G` writes it. */
function header(change: (view: DataView) => void = () => undefined): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x514649fb);
  view.setUint32(4, 3);
  view.setUint32(20, 16);
  view.setBigUint64(24, 1n << 30n);
  view.setUint32(36, 2);
  view.setBigUint64(40, 196608n);
  view.setBigUint64(48, 65536n);
  view.setUint32(56, 1);
  view.setUint32(96, 4);
  view.setUint32(100, 112);
  change(view);
  return bytes;
}

describe('qcow2 header', () => {
  test('a good one tells its facts', () => {
    const facts = { version: 3, virtualBytes: 1 << 30, clusterBits: 16, hasBackingFile: false };
    assert.deepEqual(readQcow2Header(header()), { kind: 'ok', header: facts });
    const old = header((view) => view.setUint32(4, 2)).subarray(0, 72);
    assert.deepEqual(readQcow2Header(old), { kind: 'ok', header: { ...facts, version: 2 } });
  });

  test('a backing file is seen by its offset or its length', () => {
    for (const change of [(view: DataView) => view.setBigUint64(8, 200n), (view: DataView) => view.setUint32(16, 10)]) {
      const verdict = readQcow2Header(header(change));
      assert.equal(verdict.kind === 'ok' && verdict.header.hasBackingFile, true);
    }
  });

  const hostile: ReadonlyArray<readonly [string, RegExp, (view: DataView) => void]> = [
    ['another magic', /not a qcow2/, (view) => view.setUint32(0, 0x12345678)],
    ['an unknown version', /version 4/, (view) => view.setUint32(4, 4)],
    ['tiny clusters', /cluster size/, (view) => view.setUint32(20, 8)],
    ['huge clusters', /cluster size/, (view) => view.setUint32(20, 63)],
    ['an absurd virtual size', /absurd/, (view) => view.setBigUint64(24, BigInt(MAX_VIRTUAL_BYTES) + 1n)],
    ['the largest virtual size', /absurd/, (view) => view.setBigUint64(24, (1n << 64n) - 1n)],
    ['encryption', /encrypted/, (view) => view.setUint32(32, 1)],
    ['a huge table', /table/, (view) => view.setUint32(36, 0xffffffff)],
    ['many snapshots', /snapshots/, (view) => view.setUint32(60, 0xffffffff)],
    ['a data file', /another file/, (view) => view.setBigUint64(72, 4n)],
    ['the corrupt mark', /corrupt/, (view) => view.setBigUint64(72, 2n)],
    ['an unknown feature', /not known/, (view) => view.setBigUint64(72, 1n << 40n)],
    ['a short header length', /header length/, (view) => view.setUint32(100, 72)],
    ['a long header length', /header length/, (view) => view.setUint32(100, 0x10000)],
  ];
  for (const [what, reason, change] of hostile) {
    test(`${what} is refused`, () => {
      const verdict = readQcow2Header(header(change));
      assert.equal(verdict.kind, 'bad');
      assert.match(verdict.kind === 'bad' ? verdict.reason : '', reason);
    });
  }

  test('property: any bytes get a verdict, and short ones are refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: HEADER_BYTES }), fc.boolean(), (bytes, withMagic) => {
        const given = Uint8Array.from(bytes);
        if (withMagic) given.set(header().subarray(0, Math.min(8, given.length)));
        const verdict = readQcow2Header(given);
        if (given.length < 72) assert.equal(verdict.kind, 'bad');
        if (verdict.kind === 'ok') assert.ok(verdict.header.virtualBytes <= MAX_VIRTUAL_BYTES);
      }),
    );
  });
});
