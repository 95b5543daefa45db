import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { run } from './tools.ts';

const asNobodyElse = { identity: null };

test('a program that is not there is told of', async () => {
  await assert.rejects(run('/nowhere/qemu-img', [], asNobodyElse), /qemu-img cannot be run: .*ENOENT/);
});

test('so is one for which no descriptor is free, and whoever asked goes on', () => {
  const script = `
    import { openSync } from 'node:fs';
    const { run } = await import('${import.meta.dirname}/tools.ts');
    const exhaust = () => { for (;;) openSync('/dev/null'); };
    try { exhaust(); } catch {}
    const told = await run('true', [], { identity: null }).catch((error) => error);
    setImmediate(() => console.log(told.name + ': ' + told.message));`;
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script];
  const told = execFileSync('prlimit', ['--nofile=64', ...node], { encoding: 'utf8' });
  assert.match(told, /^HypervisorError: true cannot be run: .*EMFILE/);
});
