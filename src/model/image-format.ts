// What kind of disk image a file's first bytes belong to.
//
// Theory of operation. Formats are told by their signatures alone, wherever those stand within the first HEAD_BYTES of
// the file. What has none of them is raw: any bytes are a raw disk. So a raw upload that carries another format's
// signature is refused by the caller: a hypervisor that probes would take it for that format. Sources: QEMU's block
// drivers' probe functions; the table of formats is that of oslo.utils' image format inspector.

/** How much of a file's beginning tells its format; a shorter head is taken for the whole file. */
export const HEAD_BYTES = 65536;

export type ImageFormat =
  | 'raw'
  | 'qcow'
  | 'qcow2'
  | 'qed'
  | 'vmdk'
  | 'vdi'
  | 'vhd'
  | 'vhdx'
  | 'luks'
  | 'parallels'
  | 'iso'
  | 'gzip'
  | 'xz';

interface Signature {
  readonly format: ImageFormat;
  readonly offset: number;
  readonly bytes: readonly number[];
}

const text = (format: ImageFormat, offset: number, chars: string): Signature => ({
  format,
  offset,
  bytes: Array.from(chars, (char) => char.charCodeAt(0)),
});

const SIGNATURES: readonly Signature[] = [
  text('vmdk', 0, 'KDMV'),
  text('vmdk', 0, 'COWD'),
  text('vmdk', 0, '# Disk DescriptorFile'),
  text('qed', 0, 'QED\0'),
  text('vhdx', 0, 'vhdxfile'),
  text('vhd', 0, 'conectix'),
  text('luks', 0, 'LUKS\xba\xbe'),
  text('parallels', 0, 'WithoutFreeSpace'),
  text('parallels', 0, 'WithouFreSpacExt'),
  { format: 'vdi', offset: 0x40, bytes: [0x7f, 0x10, 0xda, 0xbe] },
  { format: 'gzip', offset: 0, bytes: [0x1f, 0x8b, 0x08] },
  text('xz', 0, '\xfd7zXZ\0'),
  text('iso', 32769, 'CD001'),
];

const has = (head: Uint8Array, signature: Signature): boolean =>
  signature.bytes.every((byte, index) => head[signature.offset + index] === byte);

/** The format of a file that begins with `head`. Total: never throws, `raw` when nothing is recognised. */
export function detectFormat(head: Uint8Array): ImageFormat {
  if (head[0] === 0x51 && head[1] === 0x46 && head[2] === 0x49 && head[3] === 0xfb) {
    // QFI\xfb is shared with the old qcow, whose version is 1.
    return head[4] === 0 && head[5] === 0 && head[6] === 0 && head[7] === 1 ? 'qcow' : 'qcow2';
  }
  return SIGNATURES.find((signature) => has(head, signature))?.format ?? 'raw';
}
