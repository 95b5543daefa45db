// Files of a guest of which a host has no record: kept whatever happens, until somebody asks for their end by name.
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { Agent } from './agent.ts';
import type { Hypervisor } from './hypervisor.ts';
import { QemuHypervisor } from './qemu/driver.ts';
import { DurableRecords, MemoryRecords, type Records } from './records.ts';
import { SimulatedHypervisor } from './simulated.ts';
import { SimulatedFabric } from './simulated-fabric.ts';
import { finish, OTHER_SERVER, SERVER, SPEC, silent, value } from './test-support.ts';

const openAgent = (hypervisor: Hypervisor, records: Records): Promise<Agent> => {
  const resources = { vcpus: 16, memoryMb: 32_768, diskGb: 100 };
  return Agent.open({ name: 'h', clock: systemClock, hypervisor, records, resources, log: silent, patienceMs: 50 });
};

/** No program is ever started: a disk that is there already, or a guest without one, needs none. */
const openQemu = (stateDir: string): Promise<QemuHypervisor> =>
  QemuHypervisor.open({
    ...{ stateDir, qemuBinary: 'true', qemuImgBinary: 'true', qemuNbdBinary: 'true', accelerator: 'tcg', runAs: null },
    ...{ dataAddress: '127.0.0.1', secret: 's', stallMs: 1000, copyBytesPerSecond: null, unusedImageBytes: 0 },
    ...{ shares: new Map(), clock: systemClock, log: silent },
  });

/** Of an agent that keeps one guest's files and no record of it. */
async function keepsUntilAsked(agent: Agent): Promise<void> {
  const told = async () => value(await agent.heartbeat()).remains.map(({ serverId }) => serverId);
  assert.deepEqual(await told(), [SERVER]);
  assert.equal((await agent.guest(SERVER)).kind, 'absent');
  const on = await agent.setPower(SERVER, { generation: 2, power: 'on', graceSeconds: 0 });
  assert.equal(on.kind, 'absent');
  const defined = await agent.define(SERVER, { generation: 3, spec: SPEC, disk: 'fresh' });
  assert(defined.kind === 'refused' && /no record/.test(defined.reason));
  // As the undo of a step does whose define was refused.
  await finish(() => agent.destroy(SERVER, { generation: 4 }));
  assert.deepEqual(await told(), [SERVER]);

  await finish(() => agent.destroy(SERVER, { generation: 4, remains: true }));
  await finish(() => agent.destroy(SERVER, { generation: 4, remains: true }));
  assert.deepEqual(await told(), []);
}

test('a simulated host that has lost a record ends the guest, and keeps its disk until it is destroyed by name', async () => {
  const records = new MemoryRecords();
  const hypervisor = new SimulatedHypervisor({ clock: systemClock, fabric: new SimulatedFabric(), host: 'h' });
  const before = await openAgent(hypervisor, records);
  for (const serverId of [SERVER, OTHER_SERVER]) {
    await finish(() => before.define(serverId, { generation: 1, spec: SPEC, disk: 'fresh' }));
    await finish(() => before.setPower(serverId, { generation: 1, power: 'on', graceSeconds: 0 }));
  }
  await before.close();
  const words = hypervisor.diskWords(SERVER);
  records.lose(SERVER);

  const agent = await openAgent(hypervisor, records);
  assert.equal(hypervisor.running(SERVER), false);
  assert.equal(hypervisor.running(OTHER_SERVER), true);
  assert.deepEqual(hypervisor.diskWords(SERVER), words);
  await keepsUntilAsked(agent);
  assert.equal(hypervisor.diskWords(SERVER), null);
  assert.equal(hypervisor.running(OTHER_SERVER), true);
  // The way is free again.
  await finish(() => agent.define(SERVER, { generation: 5, spec: SPEC, disk: 'fresh' }));
  await agent.close();
});

test('a host of QEMU that has lost a record keeps every file of the guest, and takes it back with its record', async () => {
  const stateDir = await mkdtemp(join(tmpdir(), 'crosscell-remains-'));
  const guest = join(stateDir, 'guests', SERVER);
  const record = join(stateDir, 'records', `${SERVER}.json`);
  const open = async () => openAgent(await openQemu(stateDir), new DurableRecords(join(stateDir, 'records')));
  try {
    const first = await open();
    const spec = { ...SPEC, root: { kind: 'volume' as const } };
    await finish(() => first.define(SERVER, { generation: 1, spec, disk: 'none' }));
    await first.close();
    await writeFile(join(guest, 'disk.qcow2'), 'precious');
    await writeFile(join(stateDir, 'memory', `${SERVER}.ram`), 'memory');
    const image = `${'ab'.repeat(32)}.qcow2`;
    await writeFile(join(stateDir, 'images', image), 'what the disk stands on');
    const saved = await readFile(record);
    await rm(record);

    const second = await open();
    await second.close();
    assert.equal(await readFile(join(guest, 'disk.qcow2'), 'utf8'), 'precious');
    assert.equal(await readFile(join(stateDir, 'memory', `${SERVER}.ram`), 'utf8'), 'memory');
    assert.deepEqual(await readdir(join(stateDir, 'images')), [image]);
    await writeFile(record, saved);
    const third = await open();
    assert.deepEqual(value(await third.heartbeat()).remains, []);
    assert.equal(value(await third.guest(SERVER)).generation, 1);
    await third.close();

    await rm(record);
    const fourth = await open();
    await keepsUntilAsked(fourth);
    assert.deepEqual(await readdir(join(stateDir, 'guests')), []);
    // A directory that is put there while the agent runs is told of too.
    await mkdir(join(stateDir, 'guests', OTHER_SERVER));
    assert.equal(value(await fourth.heartbeat()).remains[0]?.serverId, OTHER_SERVER);
    // Without the directory of all guests, whose disk is gone perhaps, the host answers still.
    await rm(join(stateDir, 'guests'), { recursive: true });
    assert.deepEqual(value(await fourth.heartbeat()).remains, []);
    assert.equal((await fourth.files()).kind, 'ok');
    await fourth.close();
  } finally {
    await rm(stateDir, { recursive: true });
  }
});
