import assert from 'node:assert/strict';
import { type ExecFileException, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

// bin/crosscell, copied into an installation made here, with a program behind it that tells what it was given.

const PROGRAM = `
  if (process.argv[2] === 'wait') {
    process.on('SIGTERM', () => process.exit(7));
    setInterval(() => {}, 1000);
    console.log('waiting');
  } else {
    console.log(JSON.stringify({ args: process.argv.slice(2), cwd: process.cwd() }));
    process.exitCode = 3;
  }`;

let directory = '';
let root = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'crosscell-launcher-'));
  root = join(directory, 'a directory with spaces');
  for (const path of ['bin', 'src/cli', '.toolchain/bin', 'node_modules'])
    await mkdir(join(root, path), { recursive: true });
  await cp(join(import.meta.dirname, '../bin/crosscell'), join(root, 'bin/crosscell'));
  await writeFile(join(root, 'src/cli/main.ts'), PROGRAM);
  await writeFile(join(root, 'package.json'), '{"type":"module"}');
  await symlink(process.execPath, join(root, '.toolchain/bin/node'));
});
after(() => rm(directory, { recursive: true }));

type Result = { error: ExecFileException | null; stdout: string; stderr: string };

function start(program: string, args: string[], env: NodeJS.ProcessEnv = process.env): Promise<Result> {
  return new Promise((done) => {
    execFile(program, args, { cwd: directory, env, timeout: 20_000 }, (error, stdout, stderr) => {
      done({ error, stdout, stderr });
    });
  });
}

test('it finds its own directory through links and from elsewhere, and passes arguments and status on', async () => {
  await symlink('a directory with spaces/bin/crosscell', join(directory, 'first'));
  await symlink(join(directory, 'first'), join(directory, 'second'));
  for (const program of [
    join(root, 'bin/crosscell'),
    join(directory, 'first'),
    join(directory, 'second'),
    './second',
  ]) {
    const { error, stdout } = await start(program, ['up', 'two words', '--json', '']);
    assert.equal(error?.code, 3, program);
    assert.deepEqual(JSON.parse(stdout), { args: ['up', 'two words', '--json', ''], cwd: directory });
  }
});

test('a signal reaches the program, and its status comes back', async () => {
  const child = spawn(join(root, 'bin/crosscell'), ['wait'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const limit = setTimeout(() => child.kill('SIGKILL'), 20_000);
  await once(child.stdout, 'data');
  child.kill('SIGTERM');
  const [status] = await once(child, 'exit');
  clearTimeout(limit);
  assert.equal(status, 7);
});

test('without libraries, or without a Node.js that is new enough, it says what to do', async () => {
  const bare = join(directory, 'bare');
  await mkdir(join(bare, 'bin'), { recursive: true });
  await cp(join(root, 'bin/crosscell'), join(bare, 'bin/crosscell'));
  const old = join(directory, 'old');
  await mkdir(old);
  await writeFile(join(old, 'node'), '#!/bin/sh\necho 20\n', { mode: 0o755 });
  const withOld = await start(join(bare, 'bin/crosscell'), [], { ...process.env, PATH: `${old}:/usr/bin:/bin` });
  assert.match(
    withOld.stderr,
    /^crosscell: Node\.js 26 or newer is needed and not here: run 'make setup' in .*bare\n$/,
  );
  assert.equal(withOld.error?.code, 69);

  await mkdir(join(bare, '.toolchain/bin'), { recursive: true });
  await symlink(process.execPath, join(bare, '.toolchain/bin/node'));
  const withoutLibraries = await start(join(bare, 'bin/crosscell'), []);
  assert.match(withoutLibraries.stderr, /its libraries are not installed: run 'make setup'/);
  assert.equal(withoutLibraries.error?.code, 69);
});
