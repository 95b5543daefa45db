// Builds the guest image: node guest/build.ts [--cache DIR] [--ballast-mib N] [--size-mib N] [--refresh]
//
// One qcow2 disk that boots by itself, made from Debian packages without root and without installing anything.
// The result is CACHE/crosscell-guest.qcow2; beside it lies a description with the digest of all inputs, and a
// build whose inputs are unchanged does nothing and needs no network. The inputs are this directory's sources and
// the options; packages are downloaded once and kept (--refresh fetches the newest).
// What can race: two builds at once; each works in its own directory and ends with one rename.

import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { makeDisk } from './disk.ts';
import { makeInitramfs } from './initramfs.ts';
import { layOutLogin } from './login-files.ts';
import { preparePackages } from './packages.ts';
import { GuestError } from './run.ts';

const SOURCES = import.meta.dirname;
const INPUT_FILES = [
  ...['build.ts', 'cpio.ts', 'dhcp-event', 'disk.ts', 'init', 'initramfs.ts', 'login', 'login-files.ts', 'modules.ts'],
  ...['packages.ts', 'shims/blkid', 'shims/lsblk', 'shims/mke2fs', 'shims/sudo'],
];
// What an emulated processor would spend the first second on, and this guest does not need, is left out.
const KERNEL_ARGUMENTS = [
  'console=ttyS0 quiet loglevel=3 panic=-1',
  'tsc=unstable no_timer_check nowatchdog rcupdate.rcu_expedited=1',
  'nokaslr noreplace-smp mitigations=off apparmor=0 audit=0 cryptomgr.notests',
  'i8042.noprobe=1 8250.nr_uarts=1',
].join(' ');

export type GuestOptions = {
  /** Directory for packages and the image; made when missing. */
  readonly cache: string;
  /** Random data that the guest writes on its first boot, so that a copy of its disk takes visible time. */
  readonly ballastMib: number;
  /** Virtual size of the disk. */
  readonly sizeMib: number;
  /** Download the packages again. */
  readonly refresh: boolean;
};

export const GUEST_DEFAULTS = { ballastMib: 64, sizeMib: 512, refresh: false } as const;
const IMAGE = 'crosscell-guest.qcow2';
const DESCRIPTION = 'crosscell-guest.json';

async function inputsDigest(options: GuestOptions): Promise<string> {
  const hash = createHash('sha256');
  for (const name of INPUT_FILES) hash.update(`${name}\0`).update(await readFile(join(SOURCES, name)));
  return hash.update(`${options.ballastMib} ${options.sizeMib}`).digest('hex');
}

/** Whether the image is there and was made of the same inputs. */
async function upToDate(cache: string, inputs: string): Promise<boolean> {
  const description = await readFile(join(cache, DESCRIPTION), 'utf8').catch(() => '');
  // Whatever keeps it from being read, the answer is the same: build it.
  const image = await stat(join(cache, IMAGE)).catch(() => undefined);
  return image !== undefined && description.includes(`"inputs": "${inputs}"`);
}

function checkOptions(options: GuestOptions): void {
  const room = options.sizeMib - 33 - 32;
  if (!Number.isSafeInteger(options.sizeMib) || options.sizeMib < 96 || options.sizeMib > 16_384) {
    throw new GuestError('--size-mib must be a whole number from 96 to 16384');
  }
  if (!Number.isSafeInteger(options.ballastMib) || options.ballastMib < 0 || options.ballastMib > room) {
    throw new GuestError(`--ballast-mib must be a whole number from 0 to ${room} on a disk of ${options.sizeMib} MiB`);
  }
}

async function kernelPath(root: string): Promise<string> {
  const name = (await readdir(join(root, 'boot'))).find((entry) => entry.startsWith('vmlinuz-'));
  if (name === undefined) throw new GuestError('the kernel package has no kernel');
  return join(root, 'boot', name);
}

/**
 * Builds the image unless it is there already, telling each step to `say`.
 * @returns the absolute path of the image
 * @throws GuestError with one sentence that says what is missing
 */
export async function buildGuest(options: GuestOptions, say: (line: string) => void): Promise<string> {
  checkOptions(options);
  const cache = resolve(options.cache);
  const image = join(cache, IMAGE);
  await mkdir(cache, { recursive: true });
  const inputs = await inputsDigest(options);
  if (!options.refresh && (await upToDate(cache, inputs))) return image;
  if (options.refresh) await rm(join(cache, 'packages'), { recursive: true, force: true });

  const packages = await preparePackages(cache, say);
  const work = await mkdtemp(join(cache, 'build-'));
  try {
    say('making the disk');
    const initramfs = gzipSync(await makeInitramfs(packages.root, SOURCES), { level: 9 });
    const kernelArguments = `${KERNEL_ARGUMENTS} crosscell.ballast_mib=${options.ballastMib}`;
    const kernel = await kernelPath(packages.root);
    const content = join(work, 'content');
    await layOutLogin(packages.root, content);
    const disk = await makeDisk(work, {
      root: packages.root,
      kernel,
      initramfs,
      content,
      kernelArguments,
      sizeMib: options.sizeMib,
    });
    const sha256 = createHash('sha256')
      .update(await readFile(disk))
      .digest('hex');
    const bytes = (await stat(disk)).size;
    const description = {
      inputs,
      sha256,
      bytes,
      ballast_mib: options.ballastMib,
      size_mib: options.sizeMib,
      packages: packages.names,
    };
    await writeFile(join(work, DESCRIPTION), `${JSON.stringify(description, null, 2)}\n`);
    // The image first: a description without its image would be believed.
    await rename(disk, image);
    await rename(join(work, DESCRIPTION), join(cache, DESCRIPTION));
    say(`made ${image}: ${(bytes / 1024 / 1024).toFixed(1)} MiB, sha256 ${sha256.slice(0, 16)}`);
    return image;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

const USAGE = `usage: node guest/build.ts [--cache DIR] [--ballast-mib N] [--size-mib N] [--refresh]

  --cache DIR       where packages and the image go   (default var/cache/guest)
  --ballast-mib N   random data written on first boot (default ${GUEST_DEFAULTS.ballastMib} MiB)
  --size-mib N      virtual size of the disk          (default ${GUEST_DEFAULTS.sizeMib} MiB)
  --refresh         download the packages again`;

function numberOr(text: string | undefined, otherwise: number): number {
  return text === undefined ? otherwise : /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      cache: { type: 'string' },
      'ballast-mib': { type: 'string' },
      'size-mib': { type: 'string' },
      refresh: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  if (values.help === true) {
    console.log(USAGE);
    return;
  }
  const options: GuestOptions = {
    cache: values.cache ?? join(SOURCES, '..', 'var', 'cache', 'guest'),
    ballastMib: numberOr(values['ballast-mib'], GUEST_DEFAULTS.ballastMib),
    sizeMib: numberOr(values['size-mib'], GUEST_DEFAULTS.sizeMib),
    refresh: values.refresh ?? GUEST_DEFAULTS.refresh,
  };
  const image = await buildGuest(options, (line) => console.error(`guest: ${line}`));
  console.log(image);
}

if (import.meta.main) {
  main().catch((error: unknown) => {
    const expected =
      error instanceof GuestError ||
      (error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS'));
    console.error(expected && error instanceof Error ? `guest: ${error.message}` : error);
    process.exitCode = 1;
  });
}
