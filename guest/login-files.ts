// What guest/login needs and the first file system does not have: the SSH server with its libraries, and the modules of
// the config drive's bus. It goes to the root disk, as /login.
import { copyFile, mkdir, readdir, utimes, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ModuleTree } from './modules.ts';
import { GuestError } from './run.ts';

/** Debian's package of the server, and those of all libraries that it loads. */
export const LOGIN_PACKAGES = [
  'dropbear-bin',
  'libc6',
  'libcrypt1',
  'libgmp10',
  'libtomcrypt1',
  'libtommath1',
  'zlib1g',
] as const;
const LIBRARIES = ['libc', 'libcrypt', 'libgmp', 'libtomcrypt', 'libtommath', 'libz'];
/** The program that loads them, by the name that the server calls it (see initramfs.ts). */
export const LOADER = 'ld-linux-x86-64.so.2';
const MODULES = ['virtio_scsi', 'sr_mod', 'isofs'];
const EPOCH = new Date(315_532_800_000);

/**
 * Lays the files out below `into`, an empty directory, as they shall be on the root disk.
 * @param root the unpacked packages
 */
export async function layOutLogin(root: string, into: string): Promise<void> {
  const login = join(into, 'login');
  await mkdir(join(login, 'lib'), { recursive: true });
  await mkdir(join(login, 'modules'));
  await mkdir(join(into, 'mnt'));
  await copyFile(await find(root, ['usr/sbin'], 'dropbear'), join(login, 'dropbear'));
  await copyFile(await find(root, LIBRARY_DIRECTORIES, LOADER), join(login, 'lib', LOADER));
  for (const library of LIBRARIES) {
    const file = await find(root, LIBRARY_DIRECTORIES, new RegExp(`^${library}\\.so\\.[0-9]+$`));
    await copyFile(file, join(login, 'lib', basename(file)));
  }
  const modules = await (await ModuleTree.of(root)).withDependencies(MODULES);
  for (const { name, data } of modules) await writeFile(join(login, 'modules', `${name}.ko`), data);
  await writeFile(join(login, 'modules', 'order'), modules.map(({ name }) => `${name}.ko\n`).join(''));
  const names = await readdir(into, { recursive: true });
  for (const name of ['.', ...names]) await utimes(join(into, name), EPOCH, EPOCH);
}

const LIBRARY_DIRECTORIES = ['lib/x86_64-linux-gnu', 'usr/lib/x86_64-linux-gnu'];

/** In one place or another, by the age of the package. */
async function find(root: string, directories: readonly string[], name: string | RegExp): Promise<string> {
  for (const directory of directories) {
    // A directory that is not there has nothing; that nothing was found is told below.
    const entries = await readdir(join(root, directory)).catch(() => []);
    const found = entries.find((entry) => (typeof name === 'string' ? entry === name : name.test(entry)));
    if (found !== undefined) return join(root, directory, found);
  }
  throw new GuestError(`the packages of the SSH server have no ${name}`);
}
