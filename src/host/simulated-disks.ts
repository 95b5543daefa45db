// Simulated disks, and these as files: what a simulation sends where a real host sends a disk's bytes.

/** A root disk as far as a simulation cares: what it was made of, and what was written to it. */
export interface SimulatedDisk {
  words: string[];
  virtualBytes: number;
}

const SECTOR = 512;
const CLUSTER_BITS = 16;
const CLUSTER = 2 ** CLUSTER_BITS;
/** What one L2 table leads to. */
const L2_COVERS = CLUSTER * (CLUSTER / 8);

/** The words as a disk of whole sectors. */
export function rawDisk(words: readonly string[]): Uint8Array {
  const text = Buffer.from(`${words.join('\n')}\n`);
  const disk = Buffer.alloc(Math.ceil(text.length / SECTOR) * SECTOR);
  text.copy(disk);
  return disk;
}

/**
 * A qcow2 file (version 2) of that virtual size that begins with these bytes: header, refcount table, refcount block, L1
 * table, one L2 table, data. Layout: QEMU's docs/interop/qcow2.
 */
export function qcow2Disk(content: Uint8Array, virtualBytes: number): Uint8Array {
  const l1Entries = Math.max(1, Math.ceil(virtualBytes / L2_COVERS));
  const l1Clusters = Math.ceil((l1Entries * 8) / CLUSTER);
  const dataClusters = Math.ceil(content.length / CLUSTER);
  const [table, block, l1] = [1, 2, 3];
  const l2 = l1 + l1Clusters;
  const data = l2 + 1;
  const file = Buffer.alloc((data + dataClusters) * CLUSTER);
  const at = (cluster: number) => BigInt(cluster) << BigInt(CLUSTER_BITS);
  /** With the flag that says that nobody else has the cluster. */
  const owned = (cluster: number) => at(cluster) | (1n << 63n);
  file.write('QFI\xfb', 0, 'latin1');
  file.writeUInt32BE(2, 4);
  file.writeUInt32BE(CLUSTER_BITS, 20);
  file.writeBigUInt64BE(BigInt(virtualBytes), 24);
  file.writeUInt32BE(l1Entries, 36);
  file.writeBigUInt64BE(at(l1), 40);
  file.writeBigUInt64BE(at(table), 48);
  file.writeUInt32BE(1, 56);
  file.writeBigUInt64BE(at(block), table * CLUSTER);
  for (let cluster = 0; cluster < data + dataClusters; cluster += 1) {
    file.writeUInt16BE(1, block * CLUSTER + cluster * 2);
  }
  file.writeBigUInt64BE(owned(l2), l1 * CLUSTER);
  for (let index = 0; index < dataClusters; index += 1) {
    file.writeBigUInt64BE(owned(data + index), l2 * CLUSTER + index * 8);
  }
  file.set(content, data * CLUSTER);
  return file;
}
