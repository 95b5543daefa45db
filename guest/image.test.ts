import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { buildGuest, GUEST_DEFAULTS } from './build.ts';
import { cpioArchive } from './cpio.ts';
import { bootRecord } from './disk.ts';
import { findPartition2 } from './journal-reader.ts';
import { findTool, GuestError, run } from './run.ts';

const SECTOR = 512;

test('the boot record carries the loader and two partitions, and the reader finds the second', () => {
  const sectors = 512 * 2048;
  const record = bootRecord(Buffer.alloc(600, 0xaa), sectors);
  assert.equal(record.length, SECTOR);
  assert.equal(record[439], 0xaa);
  assert.notEqual(record.readUInt32LE(440), 0xaaaaaaaa, 'the loader does not run into the disk signature');
  assert.equal(record[446], 0x80, 'the first partition is the one to boot from');
  const offset = (2048 + 65_536) * SECTOR;
  assert.deepEqual(findPartition2(record, sectors * SECTOR), { ok: true, offset, size: sectors * SECTOR - offset });
});

test('a boot record that is none, or whose partition is another or outside, is refused', () => {
  const disk = 512 * 2048 * SECTOR;
  const good = bootRecord(Buffer.alloc(0), 512 * 2048);
  const unsigned = Buffer.from(good);
  unsigned.writeUInt16LE(0, 510);
  const swap = Buffer.from(good);
  swap[446 + 16 + 4] = 0x82;
  for (const [record, bytes, reason] of [
    [unsigned, disk, /no boot record/],
    [Buffer.alloc(0), disk, /no boot record/],
    [swap, disk, /not a Linux one/],
    [good, disk / 2, /not lie inside/],
  ] as const) {
    const found = findPartition2(record, bytes);
    assert.ok(!found.ok);
    assert.match(found.reason, reason);
  }
});

test('the archive is one that other programs read, with every kind of entry', async (t) => {
  const archive = cpioArchive([
    { kind: 'directory', path: 'dev' },
    { kind: 'character device', path: 'dev/console', major: 5, minor: 1 },
    { kind: 'file', path: 'init', mode: 0o755, data: Buffer.from('hello') },
    { kind: 'link', path: 'sh', target: 'init' },
  ]);
  // By hand, after the kernel's description: magic, then thirteen numbers of 8 hex digits, the name, the data.
  const field = (at: number, index: number): number =>
    Number.parseInt(archive.toString('latin1', at + 6 + index * 8, at + 14 + index * 8), 16);
  const names: string[] = [];
  const modes: number[] = [];
  let at = 0;
  while (names.at(-1) !== 'TRAILER!!!') {
    assert.equal(archive.toString('latin1', at, at + 6), '070701');
    const nameLength = field(at, 11);
    names.push(archive.toString('latin1', at + 110, at + 110 + nameLength - 1));
    modes.push(field(at, 1));
    const data = Math.ceil((at + 110 + nameLength) / 4) * 4;
    if (names.at(-1) === 'init') assert.equal(archive.toString('latin1', data, data + field(at, 6)), 'hello');
    if (names.at(-1) === 'dev/console') assert.deepEqual([field(at, 9), field(at, 10)], [5, 1]);
    at = data + Math.ceil(field(at, 6) / 4) * 4;
  }
  assert.deepEqual(names, ['dev', 'dev/console', 'init', 'sh', 'TRAILER!!!']);
  assert.deepEqual(modes.slice(0, 4), [0o040755, 0o020600, 0o100755, 0o120777]);
  assert.equal(at, archive.length);
  t.diagnostic(`${archive.length} bytes`);
});

test('a program that fails, is missing or takes too long ends in one sentence', async () => {
  await assert.rejects(run('sh', ['-c', 'echo because >&2; exit 3']), /^GuestError: sh failed \(3\): because$/);
  await assert.rejects(run('no-such-program', []), /^GuestError: no-such-program is not installed$/);
  await assert.rejects(run('sleep', ['10'], { limitMs: 50 }), /^GuestError: sleep took longer than 50 ms/);
  await assert.rejects(findTool('no-such-program', 'some-package'), /install the package some-package/);
  assert.equal(String(await run('sh', ['-c', 'echo out; exit 1'], { accept: [0, 1] })), 'out\n');
});

test('sizes beyond their limits are refused with the option named', async () => {
  const refused = async (options: Partial<typeof GUEST_DEFAULTS | Record<string, number>>, reason: RegExp) => {
    const build = buildGuest({ ...GUEST_DEFAULTS, cache: '/nonexistent', ...options }, () => {});
    await assert.rejects(build, (error) => error instanceof GuestError && reason.test(error.message));
  };
  await refused({ sizeMib: 12 }, /--size-mib/);
  await refused({ sizeMib: Number.NaN }, /--size-mib/);
  await refused({ ballastMib: 480 }, /--ballast-mib must be a whole number from 0 to 447 on a disk of 512 MiB/);
  await refused({ ballastMib: -1 }, /--ballast-mib/);
});

test('without Debian tools the build says so in one sentence', async () => {
  const cache = await mkdtemp(join(tmpdir(), 'crosscell-guest-'));
  try {
    const build = promisify(execFile)(process.execPath, [join(import.meta.dirname, 'build.ts'), '--cache', cache], {
      env: { PATH: '/nonexistent' },
    });
    await assert.rejects(build, (error: { stderr?: string; code?: number }) => {
      assert.equal(error.code, 1);
      assert.match(error.stderr ?? '', /^guest: the guest is made of Debian packages, and apt-get is not here: .*\n$/);
      return true;
    });
  } finally {
    await rm(cache, { recursive: true });
  }
});
