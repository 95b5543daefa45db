// A saga is read on one screen: its table of steps, with what each does and how it is undone. Effects that take more
// than a few lines have a name in the table and stand below it or beside it.
import assert from 'node:assert/strict';
import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';

const ROOT = join(import.meta.dirname, '..', '..');
const SCREEN = 80;
const TABLE = /^export const (\w+): Move<.*?^};$/gms;

test(`every saga's table has at most ${SCREEN} lines`, async () => {
  const lines = new Map<string, number>();
  for await (const path of glob('src/moves/**/*.ts', { cwd: ROOT })) {
    const text = await readFile(join(ROOT, path), 'utf8');
    for (const [table, name = ''] of text.matchAll(TABLE)) lines.set(name, table.split('\n').length);
  }
  assert.ok(lines.size > 20, `only ${lines.size} sagas were found`);
  assert.deepEqual(
    [...lines].filter(([, count]) => count > SCREEN),
    [],
  );
});
