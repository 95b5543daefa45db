// The guest's disk: a master boot record, a FAT16 partition with syslinux, kernel and initramfs, and an ext4
// partition, made in one sparse file without mounting anything, then turned into qcow2.
//
// Layout, in sectors of 512 bytes: 0 the boot record; 2048 partition 1 (32 MiB); 67584 partition 2, to the end.
// Reproducible: all identifiers are fixed and all times are the epoch's, as far as the tools take them.

import { open, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findTool, run } from './run.ts';

const SECTOR = 512;
const BOOT_START = 2048;
const BOOT_SECTORS = 32 * 2048;
const ROOT_START = BOOT_START + BOOT_SECTORS;
const DISK_SIGNATURE = 0x43726f73;
const ROOT_UUID = 'c7055ce1-0000-4000-8000-000000000001';
const MIB = 1024 * 1024;

export type DiskParts = {
  /** The unpacked packages. */
  readonly root: string;
  readonly kernel: string;
  readonly initramfs: Buffer;
  /** A directory whose content the root partition begins with. */
  readonly content: string;
  readonly kernelArguments: string;
  readonly sizeMib: number;
};

function partitionEntry(bootable: boolean, type: number, start: number, sectors: number): Buffer {
  const entry = Buffer.alloc(16);
  // Cylinders, heads and sectors are "beyond what they can say": everyone reads the two numbers behind them.
  Buffer.from([bootable ? 0x80 : 0, 0xfe, 0xff, 0xff, type, 0xfe, 0xff, 0xff]).copy(entry);
  entry.writeUInt32LE(start, 8);
  entry.writeUInt32LE(sectors, 12);
  return entry;
}

/** The boot record: syslinux's loader code (440 bytes) and the two partitions. */
export function bootRecord(loader: Buffer, diskSectors: number): Buffer {
  const record = Buffer.alloc(SECTOR);
  loader.copy(record, 0, 0, Math.min(loader.length, 440));
  record.writeUInt32LE(DISK_SIGNATURE, 440);
  partitionEntry(true, 0x0e, BOOT_START, BOOT_SECTORS).copy(record, 446);
  partitionEntry(false, 0x83, ROOT_START, diskSectors - ROOT_START).copy(record, 462);
  record.writeUInt16LE(0xaa55, 510);
  return record;
}

async function writeBootPartition(
  disk: string,
  work: string,
  parts: DiskParts,
  env: Record<string, string>,
): Promise<void> {
  const offset = BOOT_START * SECTOR;
  const drive = `${disk}@@${offset}`;
  const mtool = (name: string, args: readonly string[]): Promise<Buffer> =>
    run(join(parts.root, 'usr/bin/mtools'), ['-c', name, '-i', drive, ...args], { env });

  const configuration = [
    'SERIAL 0 115200',
    'DEFAULT guest',
    'PROMPT 0',
    'TIMEOUT 1',
    'LABEL guest',
    ' KERNEL vmlinuz',
    ' INITRD initrd',
    ` APPEND ${parts.kernelArguments}`,
    '',
  ].join('\n');
  const initrd = join(work, 'initrd');
  const syslinuxCfg = join(work, 'syslinux.cfg');
  await writeFile(initrd, parts.initramfs);
  await writeFile(syslinuxCfg, configuration);

  await mtool('mformat', [
    '-T',
    String(BOOT_SECTORS),
    '-h',
    '255',
    '-s',
    '63',
    '-H',
    String(BOOT_START),
    '-N',
    'c7055ce1',
    '-v',
    'BOOT',
    '::',
  ]);
  await mtool('mcopy', [parts.kernel, '::/vmlinuz']);
  await mtool('mcopy', [initrd, syslinuxCfg, '::/']);
  await run(join(parts.root, 'usr/bin/syslinux'), ['--offset', String(offset), '--install', disk], { env });
}

async function writeRootPartition(
  disk: string,
  sectors: number,
  content: string,
  env: Record<string, string>,
): Promise<void> {
  const mke2fs = await findTool('mke2fs', 'e2fsprogs');
  const extended = `offset=${ROOT_START * SECTOR},root_owner=0:0,hash_seed=${ROOT_UUID},lazy_itable_init=1,lazy_journal_init=1,nodiscard`;
  const kib = Math.floor(((sectors - ROOT_START) * SECTOR) / 1024);
  await run(
    mke2fs,
    [
      '-q',
      '-F',
      '-t',
      'ext4',
      '-b',
      '4096',
      '-m',
      '0',
      '-N',
      '1024',
      '-J',
      'size=4',
      '-U',
      ROOT_UUID,
      '-L',
      'guest',
      '-d',
      content,
      '-E',
      extended,
      disk,
      `${kib}k`,
    ],
    { env },
  );
}

/**
 * Makes the disk.
 * @param work an empty directory for what lies between
 * @returns the path of the qcow2 file, in the work directory
 */
export async function makeDisk(work: string, parts: DiskParts): Promise<string> {
  const qemuImg = await findTool('qemu-img', 'qemu-utils');
  const disk = join(work, 'disk.raw');
  const qcow2 = join(work, 'disk.qcow2');
  const sectors = (parts.sizeMib * MIB) / SECTOR;
  // syslinux starts mtools' programs by name; the times that the tools write are the epoch's.
  const env = {
    PATH: `${join(parts.root, 'usr/bin')}:${process.env['PATH'] ?? ''}`,
    MTOOLSRC: '/dev/null',
    TMPDIR: work,
    SOURCE_DATE_EPOCH: '315532800',
    E2FSPROGS_FAKE_TIME: '315532800',
    TZ: 'UTC',
  };
  await writeFile(disk, '');
  await truncate(disk, sectors * SECTOR);
  await writeBootPartition(disk, work, parts, env);
  await writeRootPartition(disk, sectors, parts.content, env);
  const loader = await open(join(parts.root, 'usr/lib/syslinux/mbr/mbr.bin'));
  const code = (await loader.readFile()).subarray(0, 440);
  await loader.close();
  const handle = await open(disk, 'r+');
  await handle.write(bootRecord(code, sectors), 0, SECTOR, 0);
  await handle.close();
  await run(qemuImg, ['convert', '-f', 'raw', '-O', 'qcow2', disk, qcow2]);
  await rm(disk);
  return qcow2;
}
