import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { identify, isAlive } from '../../host/qemu/proc.ts';
import { claimDirectory, DemoError } from './place.ts';

async function directoryFor(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-place-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

test('an empty or missing directory becomes the demo’s own, and is emptied the next time', async (t) => {
  const directory = join(await directoryFor(t), 'deep', 'demo');
  assert.equal(await claimDirectory(directory), directory);
  assert.deepEqual((await readdir(directory)).sort(), ['bin', 'demo.json', 'tmp']);
  // As if the demo that made it had ended.
  await writeFile(join(directory, 'demo.json'), JSON.stringify({ demo: { pid: process.pid, startTime: '1' } }));
  await writeFile(join(directory, 'report.json'), '{}');
  await claimDirectory(directory);
  assert.deepEqual((await readdir(directory)).sort(), ['bin', 'demo.json', 'tmp']);
});

test('a directory with other things in it is not touched', async (t) => {
  const directory = await directoryFor(t);
  await writeFile(join(directory, 'thesis.txt'), 'years of work');
  await assert.rejects(claimDirectory(directory), (error) => error instanceof DemoError);
  assert.equal(await readFile(join(directory, 'thesis.txt'), 'utf8'), 'years of work');
});

test('a directory in which a demo runs is not touched', async (t) => {
  const directory = await directoryFor(t);
  await claimDirectory(directory);
  await assert.rejects(claimDirectory(directory), /another demo \(process \d+\) runs/);
});

test('what a killed demo left running in the directory is ended, and nothing else', async (t) => {
  const directory = await directoryFor(t);
  const leave = (...args: string[]) => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)', '--', ...args], { stdio: 'ignore' });
    t.after(() => child.kill('SIGKILL'));
    const ref = identify(child.pid ?? 0);
    assert.ok(ref);
    return ref;
  };
  const agent = leave('/somewhere/src/cli/main.ts', 'agent', '--state-dir', `${directory}/hosts/one`);
  const pager = leave(`${directory}/report.json`);
  const elsewhere = leave('/somewhere/src/cli/main.ts', 'agent', '--state-dir', `${directory}-other/hosts/one`);
  await claimDirectory(directory);
  assert.equal(isAlive(agent), false);
  assert.equal(isAlive(pager), true);
  assert.equal(isAlive(elsewhere), true);
});
