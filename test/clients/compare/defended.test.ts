// What is defended is said to users in the same words, and everything that is defended is.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { DEFENDED } from './requests/defended.ts';

const PAGE = join(import.meta.dirname, '..', '..', '..', 'docs', 'compatibility.md');

test('docs/compatibility.md has every sentence that defends a difference', () => {
  const page = readFileSync(PAGE, 'utf8').replaceAll(/\s+/g, ' ');
  const missing = Object.values(DEFENDED).filter((sentence) => !page.includes(`- ${sentence}`));
  assert.deepEqual(missing, []);
});
