import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { complaints, installedPackages, isCompatible } from './licences.ts';

const ROOT = join(import.meta.dirname, '..');

test('every installed package may be part of an Apache-2.0 program', async () => {
  const packages = await installedPackages(ROOT);
  assert.ok(packages.some((each) => each.name === 'fastify'));
  assert.deepEqual(complaints(packages), []);
});

test('SPDX expressions', () => {
  for (const good of ['MIT', 'MIT OR GPL-3.0-only', '(MIT AND ISC)', 'GPL-2.0-only OR (ISC AND 0BSD)']) {
    assert.ok(isCompatible(good), good);
  }
  for (const bad of [
    '',
    'GPL-3.0-only',
    'MIT AND GPL-3.0-only',
    'SEE LICENSE IN x',
    'MIT)',
    '(MIT',
    'MIT OR',
    'MIT ISC',
    'Apache-2.0 WITH LLVM-exception',
  ]) {
    assert.ok(!isCompatible(bad), bad);
  }
});

test('scoped and nested packages are found, and what is wrong with them is told', async () => {
  const root = await mkdtemp(join(tmpdir(), 'crosscell-licences-'));
  try {
    const install = async (path: string, json: object): Promise<void> => {
      await mkdir(join(root, 'node_modules', path), { recursive: true });
      await writeFile(join(root, 'node_modules', path, 'package.json'), JSON.stringify(json));
    };
    await install('fine', { name: 'fine', version: '1.0.0', license: 'MIT' });
    await install('@scope/silent', { name: '@scope/silent', version: '2.0.0' });
    await install('fine/node_modules/viral', { name: 'viral', version: '3.0.0', license: 'AGPL-3.0-only' });
    assert.deepEqual(complaints(await installedPackages(root)), [
      '@scope/silent 2.0.0 states no licence',
      'viral 3.0.0 is under AGPL-3.0-only',
    ]);
  } finally {
    await rm(root, { recursive: true });
  }
});
