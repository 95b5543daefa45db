// The Debian packages that the guest is made of: downloaded and unpacked into a directory of ours, never
// installed (the machine's own /boot and /usr are not touched), and without root.
//
// First the machine's own package lists are asked. Where they are missing or too old (a container with
// /var/lib/apt/lists removed, a version that the mirror no longer has), lists of our own are fetched into the
// cache, from the machine's own sources, and asked instead.
// What can race: two builds at once. Each works in a directory of its own; the first to finish gives its
// directory the final name, the other takes that one.

import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LOGIN_PACKAGES } from './login-files.ts';
import { findTool, GuestError, run } from './run.ts';

const KERNEL = 'linux-image-cloud-amd64';
const OTHERS = ['busybox-static', 'syslinux', 'syslinux-common', 'mtools', ...LOGIN_PACKAGES];
const DOWNLOAD_LIMIT_MS = 300_000;

export type Packages = {
  /** Where all packages are unpacked, as one tree. */
  readonly root: string;
  /** File names of the packages, which hold their versions. */
  readonly names: readonly string[];
};

type AptLists = { readonly name: string; readonly options: readonly string[] };

const COMMON_OPTIONS = ['-o', 'APT::Sandbox::User=root', '-o', 'Acquire::Retries=3'];

async function ownLists(cache: string, say: (line: string) => void): Promise<AptLists> {
  const lists = join(cache, 'apt', 'lists');
  const archives = join(cache, 'apt', 'cache');
  await mkdir(join(lists, 'partial'), { recursive: true });
  await mkdir(join(archives, 'archives', 'partial'), { recursive: true });
  const options = [...COMMON_OPTIONS, '-o', `Dir::State::Lists=${lists}`, '-o', `Dir::Cache=${archives}`];
  say('fetching package lists of its own');
  await run('apt-get', [...options, '-q', 'update'], { limitMs: DOWNLOAD_LIMIT_MS });
  return { name: 'freshly fetched package lists', options };
}

/** The real kernel package behind Debian's always-newest one, by its dependency. */
async function kernelPackage(lists: AptLists): Promise<string> {
  const text = String(await run('apt-cache', [...lists.options, 'depends', KERNEL]));
  const found = /Depends: (linux-image-[0-9][a-z0-9.+-]*)/.exec(text)?.[1];
  if (found === undefined) throw new GuestError(`${KERNEL} names no kernel package`);
  return found;
}

async function download(lists: AptLists, into: string): Promise<void> {
  const kernel = await kernelPackage(lists);
  await run('apt-get', [...lists.options, '-q', 'download', kernel, ...OTHERS], {
    cwd: into,
    limitMs: DOWNLOAD_LIMIT_MS,
  });
}

async function downloadSomehow(cache: string, into: string, say: (line: string) => void): Promise<void> {
  try {
    await download({ name: "the machine's package lists", options: COMMON_OPTIONS }, into);
    return;
  } catch (error) {
    if (!(error instanceof GuestError)) throw error;
    say(`the machine's package lists do not serve (${error.message})`);
  }
  try {
    await download(await ownLists(cache, say), into);
  } catch (error) {
    if (!(error instanceof GuestError)) throw error;
    throw new GuestError(
      `cannot download the Debian packages ${KERNEL}, ${OTHERS.join(', ')}: ${error.message}; needed are a network and Debian's package sources in /etc/apt`,
    );
  }
}

/**
 * The packages, unpacked below cache/packages; downloads them only when one of them is not there.
 * Throws GuestError with one sentence when this is no Debian on amd64, or when the download fails.
 */
export async function preparePackages(cache: string, say: (line: string) => void): Promise<Packages> {
  const home = join(cache, 'packages');
  const list = join(home, 'packages.txt');
  // No list, or none that can be read: the packages are unpacked again.
  const present = (await readFile(list, 'utf8').catch(() => '')).trim().split('\n');
  if (OTHERS.every((wanted) => present.some((name) => name.startsWith(`${wanted}_`))))
    return { root: join(home, 'root'), names: present };

  for (const tool of ['apt-get', 'apt-cache', 'dpkg-deb']) {
    await findTool(tool, 'apt', []).catch(() => {
      throw new GuestError(
        `the guest is made of Debian packages, and ${tool} is not here: build it on a Debian machine and copy the image`,
      );
    });
  }
  if (process.arch !== 'x64') {
    throw new GuestError(
      `the guest's boot loader can be installed only on an amd64 machine, and this one is ${process.arch}: build it there and copy the image`,
    );
  }

  say('downloading the packages');
  const work = await mkdtemp(join(cache, 'packages-'));
  try {
    const debs = join(work, 'debs');
    const root = join(work, 'root');
    await mkdir(debs);
    await mkdir(root);
    await downloadSomehow(cache, debs, say);
    const names = (await readdir(debs)).filter((name) => name.endsWith('.deb')).sort();
    say(`unpacking ${names.length} packages`);
    for (const name of names) await run('dpkg-deb', ['-x', join(debs, name), root], { limitMs: 120_000 });
    await rm(debs, { recursive: true });
    await writeFile(join(work, 'packages.txt'), `${names.join('\n')}\n`);
    // An older set, which lacks some.
    await rm(home, { recursive: true, force: true });
    await rename(work, home).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
      say('another build has unpacked them meanwhile: taking those');
    });
    return { root: join(home, 'root'), names };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
