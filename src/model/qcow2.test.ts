import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fc } from '../lib/property-testing.ts';
import { detectFormat, HEAD_BYTES } from './image-format.ts';
import { judgeImage } from './qcow2.ts';

const GIB = 1024 ** 3;
const LIMIT = 2 ** 42;

interface Header {
  version: number;
  backingOffset: bigint;
  backingSize: number;
  clusterBits: number;
  size: bigint;
  crypt: number;
  l1Entries: number;
  l1Offset: bigint;
  refcountOffset: bigint;
  refcountClusters: number;
  snapshots: number;
  features: bigint;
  refcountOrder: number;
  headerLength: number;
  compression: number;
  extensions: readonly (readonly [number, number])[];
}

/** The header of an empty 1 GiB image, as qemu-img makes it, with changes. */
function qcow2(changes: Partial<Header> = {}, length = 0x40000): Uint8Array {
  const h: Header = {
    version: 3,
    backingOffset: 0n,
    backingSize: 0,
    clusterBits: 16,
    size: BigInt(GIB),
    crypt: 0,
    l1Entries: 2,
    l1Offset: 0x30000n,
    refcountOffset: 0x10000n,
    refcountClusters: 1,
    snapshots: 0,
    features: 0n,
    refcountOrder: 4,
    headerLength: 112,
    compression: 0,
    extensions: [[0x6803f857, 336]],
    ...changes,
  };
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x514649fb);
  view.setUint32(4, h.version);
  view.setBigUint64(8, h.backingOffset);
  view.setUint32(16, h.backingSize);
  view.setUint32(20, h.clusterBits);
  view.setBigUint64(24, h.size);
  view.setUint32(32, h.crypt);
  view.setUint32(36, h.l1Entries);
  view.setBigUint64(40, h.l1Offset);
  view.setBigUint64(48, h.refcountOffset);
  view.setUint32(56, h.refcountClusters);
  view.setUint32(60, h.snapshots);
  if (h.version === 2) return bytes;
  view.setBigUint64(72, h.features);
  view.setUint32(96, h.refcountOrder);
  view.setUint32(100, h.headerLength);
  view.setUint8(104, h.compression);
  let offset = h.headerLength;
  for (const [type, size] of h.extensions) {
    if (offset + 8 > length) break;
    view.setUint32(offset, type);
    view.setUint32(offset + 4, size);
    offset += 8 + Math.ceil(size / 8) * 8;
  }
  return bytes;
}

const judge = (bytes: Uint8Array, declared: 'raw' | 'qcow2' = 'qcow2', max = LIMIT): string => {
  const judgement = judgeImage(bytes.subarray(0, HEAD_BYTES), {
    declared,
    fileBytes: bytes.length,
    maxVirtualBytes: max,
  });
  return judgement.ok ? `ok ${judgement.virtualBytes}` : judgement.reason;
};

const text = (chars: string, offset = 0, length = 1024): Uint8Array => {
  const bytes = new Uint8Array(length);
  bytes.set(
    Array.from(chars, (char) => char.charCodeAt(0)),
    offset,
  );
  return bytes;
};

describe('judgeImage', () => {
  it('takes what qemu-img makes: version 3, version 2, extended L2, zstd', () => {
    assert.equal(judge(qcow2()), `ok ${GIB}`);
    assert.equal(judge(qcow2({ version: 2 })), `ok ${GIB}`);
    assert.equal(judge(qcow2({ features: 16n, l1Entries: 4 })), `ok ${GIB}`);
    assert.equal(judge(qcow2({ features: 8n, compression: 1 })), `ok ${GIB}`);
    assert.equal(judge(qcow2({ headerLength: 104 })), `ok ${GIB}`);
  });

  const hostile: readonly (readonly [string, Partial<Header>, RegExp])[] = [
    ['a backing file', { backingOffset: 0x200n, backingSize: 11 }, /has a backing file/],
    ['half a backing file', { backingSize: 11 }, /has a backing file/],
    [
      'a backing file by its format alone',
      {
        extensions: [
          [0x6803f857, 336],
          [0xe2792aca, 3],
        ],
      },
      /backing file/,
    ],
    ['an external data file', { features: 4n }, /external file/],
    ['an external data file by its name alone', { extensions: [[0x44415441, 11]] }, /external data file/],
    ['AES encryption', { crypt: 1 }, /encrypted/],
    ['LUKS encryption', { crypt: 2 }, /encrypted/],
    ['a LUKS header without the method', { extensions: [[0x0537be77, 16]] }, /encrypted/],
    ['the corrupt mark', { features: 2n }, /marked corrupt/],
    ['the dirty mark', { features: 1n }, /not closed properly/],
    ['unknown features', { features: 1n << 40n }, /not known: 0x10000000000/],
    ['an unknown compression', { features: 8n, compression: 7 }, /compression/],
    ['a compression that is not announced', { compression: 1 }, /compression/],
    ['extended L2 in small clusters', { features: 16n, clusterBits: 12 }, /too small for them/],
    ['version 1', { version: 1 }, /declared as qcow2 but its content is a qcow \(version 1\) image/],
    ['version 4', { version: 4 }, /version is 4/],
    ['tiny clusters', { clusterBits: 8 }, /cluster size/],
    ['huge clusters', { clusterBits: 22 }, /cluster size/],
    ['absurd clusters', { clusterBits: 0xffffffff }, /cluster size/],
    ['no size', { size: 0n }, /virtual size of zero/],
    ['an absurd size', { size: 0xffff_ffff_ffff_fe00n, l1Entries: 4_194_304 }, /L1 table is too small|virtual size/],
    ['a size over the limit', { size: BigInt(LIMIT) + 512n, l1Entries: 10_000 }, /L1 table is not within|at most/],
    ['a size in half sectors', { size: BigInt(GIB) - 100n }, /not a multiple of 512/],
    ['an L1 table too large', { l1Entries: 0xffff_ffff }, /L1 table is too large/],
    ['an L1 table too small', { l1Entries: 1 }, /L1 table is too small/],
    ['an L1 table beyond the end', { l1Offset: 0x40000n }, /L1 table is not within/],
    ['an L1 table off the grid', { l1Offset: 0x30008n }, /L1 table is not within/],
    ['an L1 table at the header', { l1Offset: 0n }, /L1 table is not within/],
    ['no refcount table', { refcountClusters: 0 }, /refcount table is not within/],
    ['a refcount table too large', { refcountClusters: 0x1000_0000 }, /refcount table is too large/],
    ['a refcount table beyond the end', { refcountOffset: 1n << 50n }, /refcount table is not within/],
    ['an absurd refcount width', { refcountOrder: 7 }, /refcount width/],
    ['internal snapshots', { snapshots: 1 }, /internal snapshots/],
    ['a short header', { headerLength: 96, extensions: [] }, /length of 96/],
    ['an endless header', { headerLength: 0xffff_fff8 }, /which is not valid/],
    ['an endless extension', { extensions: [[0x6803f857, 0xffff_ffff]] }, /extension that is too long/],
    ['endless extensions', { extensions: Array.from({ length: 100 }, () => [0x1234, 0] as const) }, /more than 64/],
  ];
  for (const [name, changes, reason] of hostile) {
    it(`refuses ${name}`, () => assert.match(judge(qcow2(changes)), reason));
  }

  it('refuses a size above the limit with the limit, and takes one at it', () => {
    assert.equal(
      judge(qcow2(), 'qcow2', GIB - 1),
      `The image has a virtual size of ${GIB} bytes; at most ${GIB - 1} are accepted.`,
    );
    assert.equal(judge(qcow2(), 'qcow2', GIB), `ok ${GIB}`);
    assert.match(judge(new Uint8Array(2048), 'raw', 1024), /at most 1024/);
  });

  it('refuses every truncation of the header', () => {
    const whole = qcow2();
    for (let length = 0; length < 112; length += 1) assert.doesNotMatch(judge(whole.subarray(0, length)), /^ok/);
  });

  it('takes raw disks, in whole sectors, and refuses none at all', () => {
    assert.equal(judge(new Uint8Array(1000), 'raw'), 'ok 1024');
    assert.equal(judge(new Uint8Array(0), 'raw'), 'The image is empty.');
    assert.equal(judge(new Uint8Array(0)), 'The image is empty.');
  });

  const formats: readonly (readonly [string, Uint8Array, string])[] = [
    ['qcow2', qcow2(), 'a qcow2 image'],
    ['vmdk', text('KDMV'), 'a VMDK image'],
    ['vmdk', text('# Disk DescriptorFile\nversion=1'), 'a VMDK image'],
    ['vdi', text('\x7f\x10\xda\xbe', 0x40), 'a VDI image'],
    ['vhdx', text('vhdxfile'), 'a VHDX image'],
    ['vhd', text('conectix'), 'a VHD image'],
    ['luks', text('LUKS\xba\xbe\0\x02'), 'a LUKS container'],
    ['qed', text('QED\0'), 'a QED image'],
    ['iso', text('CD001', 32769, 40_000), 'an ISO 9660 image'],
    ['gzip', text('\x1f\x8b\x08'), 'a gzip-compressed file'],
    ['xz', text('\xfd7zXZ\0'), 'an xz-compressed file'],
  ];
  for (const [format, bytes, words] of formats) {
    it(`knows ${words} and refuses it as raw`, () => {
      assert.equal(detectFormat(bytes.subarray(0, HEAD_BYTES)), format);
      assert.equal(judge(bytes, 'raw'), `The image is declared as raw but its content is ${words}.`);
    });
  }

  it('refuses a raw disk that is declared as qcow2', () => {
    assert.equal(judge(new Uint8Array(4096)), 'The image is declared as qcow2 but its content is a raw disk.');
  });

  it('never throws, and never takes a backing file, a data file or an absurd size, whatever the bytes', () => {
    const patch = fc.array(fc.tuple(fc.nat(600), fc.nat(255)), { maxLength: 12 });
    fc.assert(
      fc.property(patch, fc.nat(0x40000), (patches, length) => {
        const bytes = qcow2().subarray(0, length);
        for (const [offset, value] of patches) if (offset < bytes.length) bytes[offset] = value;
        const judgement = judgeImage(bytes, { declared: 'qcow2', fileBytes: bytes.length, maxVirtualBytes: LIMIT });
        if (!judgement.ok) {
          assert.ok(judgement.reason.length > 0 && judgement.reason.length < 300);
          return;
        }
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        assert.equal(view.getBigUint64(8), 0n);
        assert.equal(view.getUint32(4) === 3 ? view.getBigUint64(72) & 4n : 0n, 0n);
        assert.ok(judgement.virtualBytes > 0 && judgement.virtualBytes <= LIMIT && judgement.virtualBytes % 512 === 0);
      }),
      { numRuns: 3000 },
    );
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 300 }),
        fc.constantFrom('raw' as const, 'qcow2' as const),
        fc.boolean(),
        (bytes, declared, magic) => {
          const image = magic ? Uint8Array.of(0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3, ...bytes) : bytes;
          void judgeImage(image, { declared, fileBytes: image.length, maxVirtualBytes: LIMIT });
        },
      ),
      { numRuns: 2000 },
    );
  });
});
