// Whether everything in node_modules may be part of an Apache-2.0 program: node tools/licences.ts
//
// Every package that is installed, not only those asked for, must state a licence (an SPDX expression) that allows it.
// Says one line per licence with the number of packages, then what is wrong; status 1 when something is.
import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Licences whose code may be used in and shipped with an Apache-2.0 program, by their SPDX names. */
export const COMPATIBLE: readonly string[] = [
  'MIT',
  'ISC',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'Apache-2.0',
  '0BSD',
  'BlueOak-1.0.0',
  'CC0-1.0',
  'Unlicense',
  'Python-2.0',
];

export interface Package {
  readonly name: string;
  readonly version: string;
  /** What package.json says; null: nothing that could be read. */
  readonly licence: string | null;
}

/**
 * True when an SPDX expression leaves a compatible choice: any side of OR will do, all sides of AND must.
 * Anything that is not understood (WITH, a trailing +, a reference to a file) is not compatible.
 */
export function isCompatible(expression: string): boolean {
  const words = expression.match(/[()]|[^\s()]+/g) ?? [];
  let at = 0;
  const term = (): boolean => {
    const word = words[at++];
    if (word !== '(') return word !== undefined && COMPATIBLE.includes(word);
    const inside = either();
    return words[at++] === ')' && inside;
  };
  const all = (): boolean => {
    let result = term();
    while (words[at] === 'AND') {
      at += 1;
      result = term() && result;
    }
    return result;
  };
  const either = (): boolean => {
    let result = all();
    while (words[at] === 'OR') {
      at += 1;
      result = all() || result;
    }
    return result;
  };
  const result = either();
  return at === words.length && result;
}

/** Every package installed below this project, nested ones included. */
export async function installedPackages(root: string): Promise<Package[]> {
  const found: Package[] = [];
  const places = ['**/node_modules/*/package.json', '**/node_modules/@*/*/package.json'];
  for await (const path of glob(places, { cwd: root, exclude: ['.toolchain', 'var'] })) {
    const text: unknown = JSON.parse(await readFile(join(root, path), 'utf8'));
    found.push(packageOf(text, path));
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function packageOf(json: unknown, path: string): Package {
  const { name, version, license } = json as Record<string, unknown>;
  return {
    name: typeof name === 'string' ? name : path,
    version: typeof version === 'string' ? version : '?',
    licence: typeof license === 'string' ? license : null,
  };
}

/** One sentence for each package that may not be used. */
export const complaints = (packages: readonly Package[]): string[] =>
  packages.flatMap(({ name, version, licence }) => {
    if (licence === null) return [`${name} ${version} states no licence`];
    return isCompatible(licence) ? [] : [`${name} ${version} is under ${licence}`];
  });

if (import.meta.main) {
  const packages = await installedPackages(join(import.meta.dirname, '..'));
  const counts = Map.groupBy(packages, (each) => each.licence ?? 'no licence');
  for (const [licence, each] of [...counts].toSorted()) console.log(`${String(each.length).padStart(5)} ${licence}`);
  for (const complaint of complaints(packages)) console.error(`licences: ${complaint}`);
  process.exitCode = complaints(packages).length === 0 ? 0 : 1;
}
