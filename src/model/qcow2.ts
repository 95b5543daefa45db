// Judging an uploaded disk image by its first bytes, before any hypervisor opens it.
//
// Theory of operation. A qcow2 header can name other files (backing file, external data file) that the hypervisor would
// open with its own rights: an upload that does is an attack or a mistake, and refused. So is everything that we cannot
// vouch for: encryption, unknown incompatible features, tables that lie outside the file, sizes that are absurd. The
// judgement reads the header and its extensions only; it does not follow the tables, so a file can still be broken
// inside (qemu-img check says) but it can no longer reach beyond itself. Never throws, whatever the bytes.
// Source of the layout: QEMU's docs/interop/qcow2. Limits on tables: QEMU's block/qcow2.h.
import type { ImageFormat } from './image-format.ts';
import { detectFormat } from './image-format.ts';

export type Judgement =
  | {
      readonly ok: true /** Size of the disk as a guest sees it, in bytes; a multiple of 512. */;
      readonly virtualBytes: number;
    }
  /** One sentence that says what is wrong. */
  | { readonly ok: false; readonly reason: string };

export interface UploadFacts {
  /** disk_format as its owner declared it. */
  readonly declared: 'raw' | 'qcow2';
  /** Length of the whole file in bytes. */
  readonly fileBytes: number;
  /** Largest virtual size to accept, in bytes. */
  readonly maxVirtualBytes: number;
}

const no = (reason: string): Judgement => ({ ok: false, reason });
const SECTOR = 512;

const NAMES: Readonly<Record<ImageFormat, string>> = {
  raw: 'a raw disk',
  qcow: 'a qcow (version 1) image',
  qcow2: 'a qcow2 image',
  qed: 'a QED image',
  vmdk: 'a VMDK image',
  vdi: 'a VDI image',
  vhd: 'a VHD image',
  vhdx: 'a VHDX image',
  luks: 'a LUKS container',
  parallels: 'a Parallels image',
  iso: 'an ISO 9660 image',
  gzip: 'a gzip-compressed file',
  xz: 'an xz-compressed file',
};

/** What the incompatible feature bits mean to us. */
const FEATURE = { dirty: 1n, corrupt: 2n, externalData: 4n, compressionType: 8n, extendedL2: 16n } as const;
const KNOWN_FEATURES = 31n;

/** Header extensions that matter, by type. */
const EXTENSION = { end: 0, backingFormat: 0xe2792aca, externalData: 0x44415441, encryption: 0x0537be77 } as const;
/** More extensions than any tool writes. */
const MAX_EXTENSIONS = 64;

const MAX_L1_BYTES = 32 * 1024 * 1024;
const MAX_REFCOUNT_TABLE_BYTES = 8 * 1024 * 1024;

/**
 * Whether an upload is what it is declared to be, and harmless.
 * @param head the first HEAD_BYTES of the file, or all of it if it is shorter
 */
export function judgeImage(head: Uint8Array, facts: UploadFacts): Judgement {
  if (!(facts.fileBytes > 0) || head.length === 0) return no('The image is empty.');
  const found = detectFormat(head);
  if (found !== facts.declared) {
    return no(`The image is declared as ${facts.declared} but its content is ${NAMES[found]}.`);
  }
  if (found === 'qcow2') return judgeQcow2(head, facts);
  // A hypervisor shows a raw file in whole sectors.
  return judgeSize(BigInt(Math.ceil(facts.fileBytes / SECTOR) * SECTOR), facts.maxVirtualBytes);
}

function judgeSize(size: bigint, maxVirtualBytes: number): Judgement {
  const limit = Math.min(Math.floor(maxVirtualBytes), Number.MAX_SAFE_INTEGER);
  if (size === 0n) return no('The image has a virtual size of zero.');
  if (size > BigInt(limit)) return no(`The image has a virtual size of ${size} bytes; at most ${limit} are accepted.`);
  if (size % BigInt(SECTOR) !== 0n)
    return no(`The image has a virtual size of ${size} bytes, which is not a multiple of ${SECTOR}.`);
  return { ok: true, virtualBytes: Number(size) };
}

/** Judges a qcow2 header; `head` begins with the magic number. */
function judgeQcow2(head: Uint8Array, facts: UploadFacts): Judgement {
  if (head.length < 72 || facts.fileBytes < 72) return no('The qcow2 header is cut off.');
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) return no(`The qcow2 version is ${version}; versions 2 and 3 are accepted.`);
  if (version === 3 && head.length < 104) return no('The qcow2 header is cut off.');
  const headerLength = version === 2 ? 72 : view.getUint32(100);
  if (version === 3 && (headerLength < 104 || headerLength % 8 !== 0)) {
    return no(`The qcow2 header states a length of ${headerLength} bytes, which is not valid.`);
  }
  if (view.getBigUint64(8) !== 0n || view.getUint32(16) !== 0) {
    return no('The qcow2 image has a backing file; flatten it first (qemu-img convert).');
  }
  const clusterBits = view.getUint32(20);
  if (clusterBits < 9 || clusterBits > 21)
    return no(`The qcow2 cluster size is 2^${clusterBits} bytes; 2^9 to 2^21 are accepted.`);
  if (headerLength > 2 ** clusterBits || headerLength > head.length) {
    return no(`The qcow2 header states a length of ${headerLength} bytes, which is not valid.`);
  }
  if (view.getUint32(32) !== 0) return no('The qcow2 image is encrypted.');
  const features = version === 2 ? 0n : view.getBigUint64(72);
  return (
    judgeFeatures(view, features, clusterBits, headerLength) ??
    judgeExtensions(view, headerLength, 2 ** clusterBits) ??
    judgeTables(view, facts.fileBytes, clusterBits, (features & FEATURE.extendedL2) !== 0n) ??
    judgeSize(view.getBigUint64(24), facts.maxVirtualBytes)
  );
}

function judgeFeatures(view: DataView, features: bigint, clusterBits: number, headerLength: number): Judgement | null {
  if ((features & FEATURE.externalData) !== 0n) return no('The qcow2 image keeps its data in an external file.');
  if ((features & FEATURE.corrupt) !== 0n) return no('The qcow2 image is marked corrupt.');
  if ((features & FEATURE.dirty) !== 0n)
    return no('The qcow2 image was not closed properly; repair it first (qemu-img check -r all).');
  if ((features & ~KNOWN_FEATURES) !== 0n) {
    return no(`The qcow2 image needs features that are not known: 0x${(features & ~KNOWN_FEATURES).toString(16)}.`);
  }
  if ((features & FEATURE.extendedL2) !== 0n && clusterBits < 14) {
    return no('The qcow2 image uses extended L2 entries with clusters that are too small for them.');
  }
  // Compression type stands at byte 104 of headers that are long enough; 0 is deflate, 1 zstd.
  const compression = headerLength > 104 && view.byteLength > 104 ? view.getUint8(104) : 0;
  const announced = (features & FEATURE.compressionType) !== 0n;
  if (compression > 1 || announced !== (compression === 1))
    return no('The qcow2 image uses a compression that is not known.');
  return null;
}

/** Walks the header extensions, which end at the first cluster's end at the latest. */
function judgeExtensions(view: DataView, headerLength: number, clusterBytes: number): Judgement | null {
  const end = Math.min(view.byteLength, clusterBytes);
  let offset = headerLength;
  for (let count = 0; count < MAX_EXTENSIONS; count += 1) {
    // Where the head that we were given, or the cluster, ends, so do the extensions.
    if (offset + 8 > end) return null;
    const type = view.getUint32(offset);
    const length = view.getUint32(offset + 4);
    if (type === EXTENSION.end) return null;
    if (type === EXTENSION.externalData) return no('The qcow2 image names an external data file.');
    if (type === EXTENSION.backingFormat) return no('The qcow2 image names the format of a backing file.');
    if (type === EXTENSION.encryption) return no('The qcow2 image is encrypted.');
    if (offset + 8 + length > clusterBytes) return no('The qcow2 image has a header extension that is too long.');
    offset += 8 + Math.ceil(length / 8) * 8;
  }
  return no(`The qcow2 image has more than ${MAX_EXTENSIONS} header extensions.`);
}

/** The L1 and refcount tables must lie in the file, on cluster boundaries, and suffice for the virtual size. */
function judgeTables(view: DataView, fileBytes: number, clusterBits: number, extendedL2: boolean): Judgement | null {
  const cluster = 1n << BigInt(clusterBits);
  const file = BigInt(Math.floor(fileBytes));
  const size = view.getBigUint64(24);
  const l1Entries = BigInt(view.getUint32(36));
  const l1Offset = view.getBigUint64(40);
  const refcountOffset = view.getBigUint64(48);
  const refcountBytes = BigInt(view.getUint32(56)) * cluster;
  if (l1Entries * 8n > MAX_L1_BYTES) return no('The qcow2 L1 table is too large.');
  if (refcountBytes > MAX_REFCOUNT_TABLE_BYTES) return no('The qcow2 refcount table is too large.');
  const l2Covers = cluster * (cluster / (extendedL2 ? 16n : 8n));
  if (l1Entries * l2Covers < size) return no('The qcow2 L1 table is too small for the virtual size.');
  if (l1Entries > 0n && !inFile(l1Offset, l1Entries * 8n, cluster, file))
    return no('The qcow2 L1 table is not within the file.');
  if (refcountBytes === 0n || !inFile(refcountOffset, 8n, cluster, file))
    return no('The qcow2 refcount table is not within the file.');
  // Internal snapshots are not used, and their tables would have to be vouched for too.
  if (view.getUint32(60) !== 0)
    return no('The qcow2 image contains internal snapshots; convert it first (qemu-img convert).');
  if (view.getUint32(4) === 3 && view.getUint32(96) > 6) return no('The qcow2 refcount width is not valid.');
  return null;
}

function inFile(offset: bigint, bytes: bigint, cluster: bigint, file: bigint): boolean {
  return offset > 0n && offset % cluster === 0n && offset + bytes <= file;
}
