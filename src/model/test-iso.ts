// A reader of ISO 9660 for tests: it follows the directories from the descriptor, as a guest does.

export interface ReadIso {
  readonly label: string;
  readonly sectors: number;
  readonly files: ReadonlyMap<string, Buffer>;
}

const SECTOR = 2048;

export function readIso(bytes: Uint8Array, tree: 'primary' | 'joliet'): ReadIso {
  const image = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (from: Buffer): string =>
    tree === 'primary' ? from.toString('latin1') : from.swap16().toString('utf16le');
  const type = tree === 'primary' ? 1 : 2;
  for (let sector = 16; ; sector += 1) {
    const descriptor = image.subarray(sector * SECTOR, (sector + 1) * SECTOR);
    if (descriptor.length === 0 || descriptor.toString('latin1', 1, 6) !== 'CD001')
      throw new Error('no such descriptor');
    if (descriptor[0] !== type) continue;
    const files = new Map<string, Buffer>();
    walk(descriptor.subarray(156, 190), '');
    return {
      label: text(Buffer.from(descriptor.subarray(40, 72))).trimEnd(),
      sectors: descriptor.readUInt32LE(80),
      files,
    };

    function walk(record: Buffer, path: string): void {
      const [place, size] = [record.readUInt32LE(2), record.readUInt32LE(10)];
      if (place !== record.readUInt32BE(6) || size !== record.readUInt32BE(14))
        throw new Error('the orders of bytes differ');
      const extent = image.subarray(place * SECTOR, place * SECTOR + size);
      if (((record[25] ?? 0) & 2) === 0) {
        files.set(path, Buffer.from(extent));
        return;
      }
      for (let at = 0; at < extent.length && extent[at] !== 0; at += extent[at] ?? SECTOR) {
        const entry = extent.subarray(at, at + (extent[at] ?? 0));
        const name = Buffer.from(entry.subarray(33, 33 + (entry[32] ?? 0)));
        if (name.length === 1 && (name[0] ?? 2) < 2) continue;
        const last = text(name)
          .replace(/\.?;1$/, '')
          .toLowerCase();
        walk(entry, path === '' ? last : `${path}/${last}`);
      }
    }
  }
}
