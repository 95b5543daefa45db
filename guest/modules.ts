// The kernel's modules, found by name in its package, with all they depend on (each module names its dependencies in
// itself), so that another kernel version, where some are built in, still works.
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { findTool, GuestError, run } from './run.ts';

export type Module = { readonly name: string; readonly data: Buffer };

export class ModuleTree {
  readonly #files: ReadonlyMap<string, string>;
  readonly #builtIn: ReadonlySet<string>;

  private constructor(files: ReadonlyMap<string, string>, builtIn: ReadonlySet<string>) {
    this.#files = files;
    this.#builtIn = builtIn;
  }

  /** @param root the unpacked packages */
  static async of(root: string): Promise<ModuleTree> {
    const directory = await modulesDirectory(root);
    const paths = (await readdir(directory, { recursive: true })).filter((path) => /\.ko(\.xz)?$/.test(path));
    const builtIn = await readFile(join(directory, 'modules.builtin'), 'utf8');
    return new ModuleTree(
      new Map(paths.map((path) => [moduleName(path), join(directory, path)])),
      new Set(builtIn.split('\n').map(moduleName)),
    );
  }

  /** The named modules and all they need, dependencies first, each once; without those that are built in. */
  async withDependencies(names: readonly string[]): Promise<Module[]> {
    const loaded: Module[] = [];
    for (const name of names) await this.#add(name, loaded);
    return loaded;
  }

  async #add(name: string, loaded: Module[]): Promise<void> {
    if (this.#builtIn.has(name) || loaded.some((module) => module.name === name)) return;
    const path = this.#files.get(name);
    if (path === undefined) throw new GuestError(`the kernel package has no module ${name}`);
    const data = await readModule(path);
    for (const dependency of dependencies(data)) await this.#add(dependency, loaded);
    loaded.push({ name, data });
  }
}

/** Module names are written with - or _, and mean the same. */
function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.xz)?$/, '')
    .replaceAll('-', '_');
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

async function modulesDirectory(root: string): Promise<string> {
  for (const parent of [join(root, 'lib/modules'), join(root, 'usr/lib/modules')]) {
    const versions = await readdir(parent).catch(() => []);
    if (versions[0] !== undefined) return join(parent, versions[0]);
  }
  throw new GuestError('the kernel package has no modules');
}
