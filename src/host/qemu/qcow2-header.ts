// Reads the header of a qcow2 file without trusting it, and says what is wrong with it.
//
// Theory of operation. Pure: bytes in, facts or a complaint out. This look comes before any QEMU program opens a file
// from elsewhere, because opening an image follows what it names: a backing file or a data file may be any file of the
// host. Layout and feature bits: QEMU's docs/interop/qcow2.txt.
// Not checked here: the tables behind the header; QEMU checks those when it uses them.

export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly virtualBytes: number;
  readonly clusterBits: number;
  readonly hasBackingFile: boolean;
}

export type HeaderVerdict =
  | { readonly kind: 'ok'; readonly header: Qcow2Header }
  | { readonly kind: 'bad'; readonly reason: string };

/** How many bytes from the beginning of a file the verdict needs. */
export const HEADER_BYTES = 112;
const V2_HEADER_BYTES = 72;
const MAGIC = 0x514649fb;

// Incompatible features (version 3): a program that does not know one must not open the image.
const DIRTY = 1n << 0n;
const CORRUPT = 1n << 1n;
const DATA_FILE = 1n << 2n;
const COMPRESSION_TYPE = 1n << 3n;
const EXTENDED_L2 = 1n << 4n;
const KNOWN = DIRTY | CORRUPT | DATA_FILE | COMPRESSION_TYPE | EXTENDED_L2;

const MIN_CLUSTER_BITS = 9;
const MAX_CLUSTER_BITS = 21;
/** QEMU's own limit for the first-level table, in bytes. */
const MAX_L1_BYTES = 32 * 1024 * 1024;
/** QEMU's own limit. */
const MAX_SNAPSHOTS = 65536;
/** The largest virtual disk that is accepted: 64 TiB. */
export const MAX_VIRTUAL_BYTES = 64 * 1024 ** 4;

const bad = (reason: string): HeaderVerdict => ({ kind: 'bad', reason });

/** The verdict on the first HEADER_BYTES bytes (or all bytes of a shorter file). */
export function readQcow2Header(bytes: Uint8Array): HeaderVerdict {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.byteLength < V2_HEADER_BYTES) return bad('the file is too short for a qcow2 header');
  if (view.getUint32(0) !== MAGIC) return bad('the file is not a qcow2 image');
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) return bad(`qcow2 version ${version} is not supported`);
  if (version === 3 && bytes.byteLength < HEADER_BYTES - 8) return bad('the file is too short for a qcow2 header');

  const clusterBits = view.getUint32(20);
  if (clusterBits < MIN_CLUSTER_BITS || clusterBits > MAX_CLUSTER_BITS) return bad('the cluster size is out of range');
  const virtualBytes = view.getBigUint64(24);
  if (virtualBytes > BigInt(MAX_VIRTUAL_BYTES)) return bad(`the virtual size of ${virtualBytes} bytes is absurd`);
  if (view.getUint32(32) !== 0) return bad('the image is encrypted');
  if (view.getUint32(36) * 8 > MAX_L1_BYTES) return bad('the first-level table is too large');
  if (view.getUint32(60) > MAX_SNAPSHOTS) return bad('the image has too many snapshots');

  if (version === 3) {
    const complaint = featureComplaint(view.getBigUint64(72), view.getUint32(100));
    if (complaint !== null) return bad(complaint);
  }
  const hasBackingFile = view.getBigUint64(8) !== 0n || view.getUint32(16) !== 0;
  return { kind: 'ok', header: { version, virtualBytes: Number(virtualBytes), clusterBits, hasBackingFile } };
}

function featureComplaint(features: bigint, headerBytes: number): string | null {
  if (headerBytes < HEADER_BYTES - 8 || headerBytes > 4096) return 'the header length is out of range';
  if ((features & ~KNOWN) !== 0n) return 'the image needs features that are not known';
  if ((features & DATA_FILE) !== 0n) return 'the image keeps its data in another file';
  if ((features & CORRUPT) !== 0n) return 'the image is marked as corrupt';
  return null;
}
