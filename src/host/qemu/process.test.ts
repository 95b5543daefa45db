import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ManualClock } from '../test-support.ts';
import { identify, listProcesses } from './proc.ts';
import { QemuProcess } from './process.ts';

/** While it lasts no file can be opened. */
function withoutDescriptors(): Disposable {
  const { readFileSync } = fs;
  fs.readFileSync = () => {
    throw Object.assign(new Error('too many open files'), { code: 'EMFILE' });
  };
  syncBuiltinESMExports();
  return {
    [Symbol.dispose]() {
      fs.readFileSync = readFileSync;
      syncBuiltinESMExports();
    },
  };
}

test('a process that cannot be looked at for a while is watched again', async () => {
  const child = spawn('sleep', ['600'], { stdio: 'ignore' });
  try {
    const ref = identify(child.pid ?? 0);
    assert.ok(ref);
    const clock = new ManualClock();
    const watched = QemuProcess.adopt(ref, { directory: '/nonexistent', logPath: '/nonexistent', clock });
    {
      using _none = withoutDescriptors();
      assert.throws(() => identify(ref.pid), /too many open files/);
      await clock.advance(10_000);
    }
    assert.equal(watched.isGone, false);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await clock.advance(200);
    await watched.gone;
    assert.equal(watched.isGone, true);
  } finally {
    child.kill('SIGKILL');
  }
});

test('a process that cannot be looked at when it was just started does not go on unknown', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-process-'));
  const place = { directory, logPath: join(directory, 'log'), clock: new ManualClock() };
  const left = async () => (await listProcesses()).filter(({ argv }) => argv.includes(place.logPath));
  try {
    {
      using _none = withoutDescriptors();
      await assert.rejects(QemuProcess.spawn('tail', ['-f', place.logPath], null, place), /too many open files/);
    }
    const giveUp = Date.now() + 5000;
    while ((await left()).length > 0 && Date.now() < giveUp) await sleep(10);
    assert.deepEqual(await left(), []);
  } finally {
    for (const { pid } of await left()) process.kill(pid, 'SIGKILL');
    await rm(directory, { recursive: true });
  }
});
