// The floors of the house are kept by the linter: a module imports only from floors below it. This shows that the rule
// bites, for every pair of folders, in both directions.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FOLDERS = [
  'lib',
  'model',
  'saga',
  'store',
  'host',
  'storage',
  'openstack',
  'control',
  'audit',
  'moves',
  'api',
  'cli',
  'simulation',
] as const;
type Folder = (typeof FOLDERS)[number];

/** What each folder may import from, beside itself. */
const BELOW: Readonly<Record<Folder, readonly Folder[]>> = {
  lib: [],
  model: ['lib'],
  saga: ['lib'],
  store: ['lib', 'model', 'saga'],
  host: ['lib', 'model'],
  storage: ['lib', 'model', 'host'],
  openstack: ['lib', 'model'],
  control: ['lib', 'model', 'saga', 'store', 'host', 'storage', 'openstack'],
  audit: ['lib', 'model', 'saga', 'store', 'host', 'storage', 'openstack', 'control'],
  moves: ['lib', 'model', 'saga', 'store', 'host', 'storage', 'openstack', 'control'],
  api: ['lib', 'model', 'saga', 'store', 'host', 'storage', 'openstack', 'control', 'audit', 'moves'],
  cli: ['lib', 'model', 'saga', 'store', 'host', 'storage', 'openstack', 'control', 'audit', 'moves', 'api'],
  simulation: ['lib', 'model', 'saga', 'store', 'host', 'storage', 'openstack', 'control', 'audit', 'moves'],
};

/** All pairs that the linter refuses, from one run over a probe file for each. */
function refusedPairs(): Set<string> {
  const directory = mkdtempSync(join(tmpdir(), 'crosscell-floors-'));
  try {
    copyFileSync(join(ROOT, 'biome.json'), join(directory, 'biome.json'));
    for (const from of FOLDERS) {
      mkdirSync(join(directory, 'src', from), { recursive: true });
      for (const to of FOLDERS) {
        const source = `import { ${to} } from '../${to}/x.ts';\n\nexport const probe = ${to};\n`;
        writeFileSync(join(directory, 'src', from, `to-${to}.ts`), source);
      }
    }
    const { stdout } = spawnSync(
      join(ROOT, 'node_modules', '.bin', 'biome'),
      ['lint', '--only=style/noRestrictedImports', '--reporter=json', '--max-diagnostics=none', 'src'],
      { cwd: directory, encoding: 'utf8' },
    );
    return new Set([...stdout.matchAll(/src\/(\w+)\/to-(\w+)\.ts/g)].map((match) => `${match[1]} → ${match[2]}`));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const refused = refusedPairs();

for (const from of FOLDERS) {
  test(`${from}/ imports from the floors below it alone`, () => {
    const others = FOLDERS.filter((to) => to !== from);
    const forbidden = others.filter((to) => !BELOW[from].includes(to));
    assert.deepEqual(
      others.filter((to) => refused.has(`${from} → ${to}`)),
      forbidden,
    );
  });
}
