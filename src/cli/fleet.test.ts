// Agents of this machine, some of which do not come up.
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { identify } from '../host/qemu/proc.ts';
import { silent } from '../host/test-support.ts';
import type { Deployment, HostPlan } from './deployment.ts';
import { startFleet, stateDirectory } from './fleet.ts';

const dataDirectory = await realpath(await mkdtemp(join(tmpdir(), 'crosscell-fleet-')));
const program = process.execPath;
// Agents that do not run yet cannot be started.
process.execPath = join(dataDirectory, 'node');
after(async () => {
  process.execPath = program;
  await rm(dataDirectory, { recursive: true });
});

const hostPlan = (name: string): HostPlan => ({
  ...{ name, cell: 'c', url: null, vcpus: 1, memoryMb: 512, diskGb: 1, qemuBinary: 'qemu-system-x86_64', shares: {} },
});
const start = (...names: readonly string[]) =>
  startFleet({
    deployment: {
      ...{ dataDirectory, hypervisor: 'qemu', hosts: names.map(hostPlan), storageHosts: [], copyBytesPerSecond: null },
    } as unknown as Deployment,
    ...{ secret: 'a-secret-of-the-fleet', secretFile: join(dataDirectory, 'secret'), log: silent },
  });

/** It says where it listens, as an agent does; this process stands for it. */
async function run(name: string): Promise<void> {
  const directory = stateDirectory({ dataDirectory }, name);
  await mkdir(directory, { recursive: true });
  const self = identify(process.pid);
  await writeFile(join(directory, 'agent.json'), JSON.stringify({ name, ...self, url: `http://${name}` }));
}

test('an agent that does not start keeps nobody else from starting, and is taken on when it does', async () => {
  await mkdir(join(dataDirectory, 'logs'));
  await run('good');
  const fleet = await start('bad', 'good');
  try {
    assert.deepEqual(['good', 'bad'].map(fleet.urlOf), ['http://good', '']);
    assert.equal(fleet.find('bad'), undefined);
    await run('bad');
    const giveUp = Date.now() + 20_000;
    while (fleet.urlOf('bad') === '' && Date.now() < giveUp) await sleep(50);
    assert.equal(fleet.urlOf('bad'), 'http://bad');
  } finally {
    await fleet.stop({ guestsWithinSeconds: null });
  }
});

test('where no agent starts, that is told', async () => {
  await assert.rejects(start('one', 'two'), /the agent of one cannot be started/);
});
