import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';

// The runner is run on projects of a file or two, made here.

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'crosscell-runner-'));
});
after(() => rm(directory, { recursive: true }));

type Run = { status: number; lines: string[] };

async function runOn(name: string, files: Record<string, string>, limitSeconds = 30): Promise<Run> {
  const root = join(directory, name);
  await mkdir(join(root, 'src'), { recursive: true });
  for (const [file, text] of Object.entries(files)) {
    const path = join(root, 'src', file);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, `import test from 'node:test';\n${text}`);
  }
  const runner = join(import.meta.dirname, 'test.ts');
  // A test runner started by a test runner takes itself for a part of it, unless the mark is removed.
  const { NODE_TEST_CONTEXT: _mark, ...env } = process.env;
  const args = [runner, '--no-check', '--root', root, '--limit-s', String(limitSeconds)];
  return new Promise((done) => {
    execFile(process.execPath, args, { env, timeout: 60_000 }, (error, stdout) => {
      const status = error === null ? 0 : Number(error.code);
      done({ status, lines: stdout.trimEnd().split('\n') });
    });
  });
}

test('passing, skipped and postponed tests are counted, suites are not', async () => {
  const { status, lines } = await runOn('good', {
    'a.test.ts': `test('one', () => {});
      test('left out', { skip: 'not here' }, () => {});
      test.suite('s', () => { test('in it', () => {}); });
      test('later', { todo: true }, () => { throw new Error('not yet'); });`,
  });
  assert.equal(lines.at(-1), '2 passed, 0 failed, 2 skipped');
  assert.ok(lines.includes('  skipped: left out: not here'));
  assert.equal(status, 0);
});

test('a failure is told once, with its place, its reason and what the file printed', async () => {
  const { status, lines } = await runOn('bad', {
    'a.test.ts': `test('outer', async (t) => {
      console.log('a word of the file');
      await t.test('inner', () => { throw new Error('this is why'); });
    });`,
  });
  const text = lines.join('\n');
  assert.equal(lines.at(-1), '0 passed, 1 failed, 0 skipped');
  assert.match(text, /outer > inner \(src\/a\.test\.ts:4\)/);
  assert.match(text, /this is why/);
  assert.match(text, /a word of the file/);
  assert.equal(status, 1);
});

test('a file that dies after its tests fails', async () => {
  const { status, lines } = await runOn('dies', { 'a.test.ts': `test('one', () => {}); process.exitCode = 3;` });
  assert.equal(lines.at(-1), '1 passed, 1 failed, 0 skipped');
  assert.equal(status, 1);
});

test('an error that nobody catches fails the file, and is told', async () => {
  const { status, lines } = await runOn('uncaught', {
    'a.test.ts': `test('one', () => { Promise.reject(new Error('of a promise')); });`,
    'b.test.ts': `test('two', async () => {
      setTimeout(() => { throw new Error('of a timer'); }, 1);
      await new Promise((resolve) => setTimeout(resolve, 50));
    });`,
  });
  const text = lines.join('\n');
  assert.equal(lines.at(-1), '2 passed, 2 failed, 0 skipped');
  assert.match(text, /nobody caught: Error: of a promise\n.*a\.test\.ts:2/);
  assert.match(text, /nobody caught: Error: of a timer\n.*b\.test\.ts:3/);
  assert.equal(status, 1);
});

test('a file that cannot be read and a file without tests fail', async () => {
  const { status, lines } = await runOn('unreadable', { 'a.test.ts': 'const x: = 3;', 'b.test.ts': '' });
  assert.equal(lines.at(-1), '0 passed, 2 failed, 0 skipped');
  assert.equal(status, 1);
});

test('a file that does not end is killed at its limit, and others still run', async () => {
  const { status, lines } = await runOn(
    'endless',
    {
      'a.test.ts': `test('endless', async () => { await new Promise(() => setInterval(() => {}, 1000)); });`,
      'b.test.ts': `test('one', () => {});`,
    },
    2,
  );
  assert.equal(lines.at(-1), '1 passed, 1 failed, 0 skipped');
  assert.match(lines.join('\n'), /did not end within 2 s and was killed/);
  assert.equal(status, 1);
});

test('one file with real parts runs beside as many others as there are processors', async () => {
  const signs = join(directory, 'signs');
  await mkdir(signs);
  const others = Array.from({ length: Math.min(4, availableParallelism()) }, (_, index) => `${index}.test.ts`);
  const files = [...others, '../test/qemu/real.test.ts'];
  // Each waits until all of them are there.
  const text = `import { readdirSync, writeFileSync } from 'node:fs';
    import { basename, join } from 'node:path';
    import { setTimeout } from 'node:timers/promises';
    test('meets the others', async () => {
      writeFileSync(join('${signs}', basename(import.meta.filename)), '');
      while (readdirSync('${signs}').length < ${files.length}) await setTimeout(20);
    });`;
  const { lines } = await runOn('beside', Object.fromEntries(files.map((file) => [file, text])));
  assert.equal(lines.at(-1), `${files.length} passed, 0 failed, 0 skipped`);
});

test('no test file at all is a failure', async () => {
  const { status, lines } = await runOn('empty', {});
  assert.equal(lines.at(-1), '0 passed, 1 failed, 0 skipped');
  assert.equal(status, 1);
});
