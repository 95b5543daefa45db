import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { until } from './wait.ts';
import { Watch } from './watch.ts';

const never = new AbortController().signal;

async function watchIn(t: TestContext, hypervisor: 'qemu' | 'simulated'): Promise<{ directory: string; watch: Watch }> {
  const directory = await mkdtemp(join(tmpdir(), 'crosscell-watch-'));
  const watch = new Watch(directory, hypervisor);
  watch.start();
  t.after(async () => {
    await watch.stop();
    await rm(directory, { recursive: true, force: true });
  });
  return { directory, watch };
}

const sees = (what: string, condition: () => boolean) =>
  until(async () => (condition() ? true : null), { what, limitMs: 10_000, everyMs: 20, signal: never });

/** A process that looks like a guest's. */
function guest(t: TestContext, directory: string, host: string, serverId: string): ChildProcess {
  const pidFile = `${directory}/hosts/${host}/guests/${serverId}/qemu.pid`;
  const args = ['-e', 'setInterval(() => {}, 1000)', '--', '-uuid', serverId, '-pidfile', pidFile];
  const child = spawn(process.execPath, args, { stdio: 'ignore' });
  t.after(() => child.kill('SIGKILL'));
  return child;
}

test('a guest is seen as a run on its host until its process is gone; the next process is another run', async (t) => {
  const { directory, watch } = await watchIn(t, 'qemu');
  const serverId = randomUUID();
  const first = guest(t, directory, 'h1', serverId);
  await sees('the first run', () => watch.runningOn(serverId) === 'h1');
  first.kill('SIGKILL');
  await sees('its end', () => !watch.isRunning(serverId));
  guest(t, directory, 'h2', serverId);
  await sees('the second run', () => watch.runningOn(serverId) === 'h2');
  const hosts = watch.runsOf(serverId).map((run) => run.host);
  assert.deepEqual(hosts, ['h1', 'h2']);
  assert.equal(watch.breaches.length, 0);
});

test('two guests of one server at once are a breach; guests of two servers are none', async (t) => {
  const { directory, watch } = await watchIn(t, 'qemu');
  const [one, other] = [randomUUID(), randomUUID()];
  guest(t, directory, 'h1', one);
  guest(t, directory, 'h1', other);
  await sees('both', () => watch.isRunning(one) && watch.isRunning(other));
  assert.equal(watch.breaches.length, 0);
  guest(t, directory, 'h2', one);
  await sees('the breach', () => watch.breaches.length > 0);
  assert.equal(watch.breaches.length, 1);
  assert.ok(watch.breaches[0]?.includes(one));
});

test('on simulated hosts the records are looked at', async (t) => {
  const { directory, watch } = await watchIn(t, 'simulated');
  const serverId = randomUUID();
  const record = async (host: string, startedAt: number | null) => {
    const records = join(directory, 'hosts', host, 'records');
    await mkdir(records, { recursive: true });
    const text = JSON.stringify({ serverId, guest: { power: 'on', startedAt } });
    await writeFile(join(records, `${serverId}.json`), text, { flush: true });
  };
  await record('cell1-host1', 1000);
  await sees('the guest', () => watch.runningOn(serverId) === 'cell1-host1');
  await record('cell2-host1', null);
  assert.equal(watch.breaches.length, 0);
  await record('cell2-host1', 2000);
  await sees('the breach', () => watch.breaches.length > 0);
});
