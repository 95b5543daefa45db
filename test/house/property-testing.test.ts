// A test with random input takes fast-check from one place, which gives it its seed: else it would fail now and then.
import assert from 'node:assert/strict';
import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fc } from '../../src/lib/property-testing.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const THE_PLACE = join('src', 'lib', 'property-testing.ts');

test('fast-check is imported in one place', async () => {
  const importers: string[] = [];
  for await (const path of glob('{src,test,guest,tools,bench}/**/*.ts', { cwd: ROOT })) {
    if (/from 'fast-check'/.test(await readFile(join(ROOT, path), 'utf8'))) importers.push(path);
  }
  // This test names it as well.
  assert.deepEqual(
    importers.filter((path) => !path.startsWith(join('test', 'house'))),
    [THE_PLACE],
  );
});

test('the same input is drawn each time, unless asked otherwise', {
  skip: process.env['PROPERTY_SEED'] !== undefined,
}, () => {
  const drawn = (): number[] => fc.sample(fc.integer(), 20);
  assert.deepEqual(drawn(), drawn());
});
