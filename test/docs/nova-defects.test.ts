// The table of Nova's defects is held against the tests: every number has a row; what has a test has one that names it.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { read, tableUnder } from './markdown.ts';

const ROOT = join(import.meta.dirname, '../..');
const text = read('docs/nova-defects.md');
const sources = globSync(['src/**/*.test.ts', 'test/**/*.test.ts'], { cwd: ROOT })
  .filter((file) => !file.endsWith('nova-defects.test.ts'))
  .map((file) => readFileSync(join(ROOT, file), 'utf8'))
  .join('\n');
/** Names of tests, as they stand in the sources. */
const names = [...sources.matchAll(/^ *(?:test|it|inWorld)\(\s*(['"`])(.*?)\1/gm)].map((match) => match[2] ?? '');

for (const [heading, prefix, count] of [
  ['Defects', 'L-', 26],
  ['Limits', 'D', 14],
  ['Open tasks', 'T', 14],
] as const) {
  test(`${heading} of Nova: each has a test that names it, or a reason`, () => {
    const { rows } = tableUnder(text, heading);
    const numbers = Array.from(
      { length: count },
      (_, n) => `${prefix}${prefix === 'L-' ? String(n + 1).padStart(2, '0') : n + 1}`,
    );
    assert.deepEqual(
      rows.map(([number]) => number),
      numbers,
    );
    for (const [number = '', , here = ''] of rows) {
      const named = names.some((name) => new RegExp(`\\b${number}\\b`).test(name));
      if (here === 'test') assert.ok(named, `no test names ${number}`);
      else {
        assert.match(here, /^(cannot apply|later): ./, number);
        assert.ok(!named, `${number} has a test`);
      }
    }
  });
}
