// The guest's first and only file system in memory: busybox, the init script, and the kernel modules it needs.
//
// The modules are found by name in the kernel package, with all they depend on (each module names its
// dependencies in itself), so that another kernel version, where some are built in, still works.

import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type CpioEntry, cpioArchive } from './cpio.ts';
import { findTool, GuestError, run } from './run.ts';

/** Before the disk can be mounted. */
const FIRST = ['virtio_pci', 'virtio_blk'];
/** After the journal has started. */
const THEN = ['button', 'evdev', 'virtio_net'];

type ModuleTree = { readonly files: ReadonlyMap<string, string>; readonly builtIn: ReadonlySet<string> };
type LoadedModule = { readonly name: string; readonly data: Buffer };

/** Module names are written with - or _, and mean the same. */
function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.xz)?$/, '')
    .replaceAll('-', '_');
}

async function readTree(directory: string): Promise<ModuleTree> {
  const paths = (await readdir(directory, { recursive: true })).filter((path) => /\.ko(\.xz)?$/.test(path));
  const builtIn = await readFile(join(directory, 'modules.builtin'), 'utf8');
  return {
    files: new Map(paths.map((path) => [moduleName(path), join(directory, path)])),
    builtIn: new Set(builtIn.split('\n').map(moduleName)),
  };
}

async function readModule(path: string): Promise<Buffer> {
  if (!path.endsWith('.xz')) return readFile(path);
  return run(await findTool('xz', 'xz-utils'), ['-dc', path]);
}

/** The names after "depends=" in a module's information section. */
function dependencies(data: Buffer): string[] {
  const key = Buffer.from('\0depends=');
  const at = data.indexOf(key);
  if (at < 0) return [];
  const from = at + key.length;
  const text = data.subarray(from, data.indexOf(0, from)).toString('latin1');
  return text === '' ? [] : text.split(',').map(moduleName);
}

/** Adds the named module and all it needs to the list, dependencies first, each once. */
async function addModule(tree: ModuleTree, name: string, loaded: LoadedModule[]): Promise<void> {
  if (tree.builtIn.has(name) || loaded.some((module) => module.name === name)) return;
  const path = tree.files.get(name);
  if (path === undefined) throw new GuestError(`the kernel package has no module ${name}`);
  const data = await readModule(path);
  for (const dependency of dependencies(data)) await addModule(tree, dependency, loaded);
  loaded.push({ name, data });
}

async function modulesDirectory(root: string): Promise<string> {
  for (const parent of [join(root, 'lib/modules'), join(root, 'usr/lib/modules')]) {
    const versions = await readdir(parent).catch(() => []);
    if (versions[0] !== undefined) return join(parent, versions[0]);
  }
  throw new GuestError('the kernel package has no modules');
}

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
 * @param sources where init and dhcp-event are
 */
export async function makeInitramfs(root: string, sources: string): Promise<Buffer> {
  const tree = await readTree(await modulesDirectory(root));
  const loaded: LoadedModule[] = [];
  for (const name of FIRST) await addModule(tree, name, loaded);
  const first = loaded.map((module) => module.name);
  for (const name of THEN) await addModule(tree, name, loaded);
  const then = loaded.map((module) => module.name).slice(first.length);

  const file = (path: string, data: Buffer | string, mode = 0o644): CpioEntry => ({
    kind: 'file',
    path,
    mode,
    data: Buffer.from(data),
  });
  const lines = (names: readonly string[]): string => names.map((name) => `${name}.ko\n`).join('');
  return cpioArchive([
    ...['bin', 'dev', 'disk', 'modules', 'proc', 'run', 'sys', 'tmp'].map(
      (path): CpioEntry => ({ kind: 'directory', path }),
    ),
    { kind: 'character device', path: 'dev/console', major: 5, minor: 1 },
    file('bin/busybox', await busybox(root), 0o755),
    { kind: 'link', path: 'bin/sh', target: 'busybox' },
    file('init', await readFile(join(sources, 'init')), 0o755),
    file('bin/dhcp-event', await readFile(join(sources, 'dhcp-event')), 0o755),
    file('modules/first', lines(first)),
    file('modules/then', lines(then)),
    ...loaded.map((module) => file(`modules/${module.name}.ko`, module.data)),
  ]);
}
