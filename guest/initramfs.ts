// The guest's first and only file system in memory: busybox, the init script, what busybox lacks as scripts, and the
// kernel modules that it needs.

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CpioEntry, cpioArchive } from './cpio.ts';
import { LOADER } from './login-files.ts';
import { ModuleTree } from './modules.ts';
import { GuestError } from './run.ts';

/** Before the disk can be mounted. */
const FIRST = ['virtio_pci', 'virtio_blk'];
/** After the journal has started. */
const THEN = ['button', 'evdev', 'virtio_net'];
const PASSWD = 'root:*:0:0:root:/root:/bin/sh\n';

async function busybox(root: string): Promise<Buffer> {
  for (const path of ['bin/busybox', 'usr/bin/busybox']) {
    // In one place or the other, by the age of the package; in neither is told below.
    const data = await readFile(join(root, path)).catch(() => undefined);
    if (data !== undefined) return data;
  }
  throw new GuestError('the package busybox-static has no busybox');
}

/**
 * The uncompressed cpio archive.
 * @param root the unpacked packages
 * @param sources where init and the other scripts are
 */
export async function makeInitramfs(root: string, sources: string): Promise<Buffer> {
  const tree = await ModuleTree.of(root);
  const first = await tree.withDependencies(FIRST);
  const loaded = await tree.withDependencies([...FIRST, ...THEN]);
  const then = loaded.slice(first.length);
  const shims = (await readdir(join(sources, 'shims'))).sort();

  const file = (path: string, data: Buffer | string, mode = 0o644): CpioEntry => ({
    kind: 'file',
    path,
    mode,
    data: Buffer.from(data),
  });
  const script = async (name: string, path: string): Promise<CpioEntry> =>
    file(path, await readFile(join(sources, name)), 0o755);
  const lines = (modules: readonly { readonly name: string }[]): string =>
    modules.map(({ name }) => `${name}.ko\n`).join('');
  return cpioArchive([
    ...['bin', 'dev', 'disk', 'etc', 'lib64', 'modules', 'proc', 'root', 'run', 'sys', 'tmp'].map(
      (path): CpioEntry => ({ kind: 'directory', path }),
    ),
    { kind: 'character device', path: 'dev/console', major: 5, minor: 1 },
    file('bin/busybox', await busybox(root), 0o755),
    { kind: 'link', path: 'bin/sh', target: 'busybox' },
    // What people put there stays, and goes into snapshots.
    { kind: 'link', path: 'mnt', target: '/disk/mnt' },
    { kind: 'link', path: `lib64/${LOADER}`, target: `/disk/login/lib/${LOADER}` },
    file('etc/passwd', PASSWD),
    await script('init', 'init'),
    await script('dhcp-event', 'bin/dhcp-event'),
    await script('login', 'bin/login-server'),
    ...(await Promise.all(shims.map((name) => script(`shims/${name}`, `bin/${name}`)))),
    file('modules/first', lines(first)),
    file('modules/then', lines(then)),
    ...loaded.map((module) => file(`modules/${module.name}.ko`, module.data)),
  ]);
}
