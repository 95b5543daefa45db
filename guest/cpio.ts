// A writer of cpio archives in the "newc" form, which the Linux kernel unpacks as its first file system.
//
// Written here because a machine need not have cpio, and because device nodes must go in without root.
// Pure: entries in, bytes out; the same entries always give the same bytes (owner 0, time 0, inodes counted).
// Form: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.

export type CpioEntry =
  | { readonly kind: 'directory'; readonly path: string }
  | { readonly kind: 'file'; readonly path: string; readonly mode: number; readonly data: Buffer }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  | { readonly kind: 'character device'; readonly path: string; readonly major: number; readonly minor: number };

type Header = { mode: number; data: Buffer; major: number; minor: number };

const NOTHING = Buffer.alloc(0);

function header(entry: CpioEntry): Header {
  switch (entry.kind) {
    case 'directory':
      return { mode: 0o040755, data: NOTHING, major: 0, minor: 0 };
    case 'file':
      return { mode: 0o100000 | entry.mode, data: entry.data, major: 0, minor: 0 };
    case 'link':
      return { mode: 0o120777, data: Buffer.from(entry.target), major: 0, minor: 0 };
    case 'character device':
      return { mode: 0o020600, data: NOTHING, major: entry.major, minor: entry.minor };
  }
}

function padded(bytes: Buffer): Buffer {
  const rest = bytes.length % 4;
  return rest === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(4 - rest)]);
}

function record(path: string, inode: number, { mode, data, major, minor }: Header): Buffer {
  const name = Buffer.from(`${path}\0`);
  // inode, mode, uid, gid, links, mtime, size, device major and minor, node major and minor, name length, check
  const fields = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, major, minor, name.length, 0];
  const text = fields.map((field) => field.toString(16).padStart(8, '0')).join('');
  return Buffer.concat([padded(Buffer.concat([Buffer.from(`070701${text}`), name])), padded(data)]);
}

/** The archive of the given entries, in their order (a directory must come before what is in it). */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const records = entries.map((entry, index) => record(entry.path, index + 1, header(entry)));
  const trailer: Header = { mode: 0, data: NOTHING, major: 0, minor: 0 };
  return Buffer.concat([...records, record('TRAILER!!!', 0, trailer)]);
}
