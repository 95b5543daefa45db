// Files of a volume of which a storage host has no record: kept whatever happens, until somebody asks for their end by name.
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SimulatedFabric } from '../host/simulated-fabric.ts';
import { finish, GIB, silent, value } from '../host/test-support.ts';
import { systemClock } from '../lib/clock.ts';
import { StorageAgent } from './agent.ts';
import type { StorageDriver } from './driver.ts';
import { QemuStorage } from './qemu/driver.ts';
import { MemoryStorageRecords } from './records.ts';
import { SimulatedStorage } from './simulated.ts';
import { OTHER_VOLUME, VOLUME_ID } from './test-support.ts';

const openAgent = (driver: StorageDriver, records = new MemoryStorageRecords()): Promise<StorageAgent> =>
  StorageAgent.open({ name: 's', clock: systemClock, driver, records, log: silent, patienceMs: 50 });

/** Of an agent that keeps one volume's files and no record of it. */
async function keepsUntilAsked(agent: StorageAgent): Promise<void> {
  const told = async () => value(await agent.heartbeat()).remains.map(({ volumeId }) => volumeId);
  assert.deepEqual(await told(), [VOLUME_ID]);
  assert.equal((await agent.volume(VOLUME_ID)).kind, 'absent');
  const made = await agent.create(VOLUME_ID, { generation: 3, sizeBytes: GIB, source: { kind: 'blank' } });
  assert(made.kind === 'refused' && /no record/.test(made.reason));
  // As the undo does of what was refused.
  await finish(() => agent.delete(VOLUME_ID, { generation: 4 }));
  assert.deepEqual(await told(), [VOLUME_ID]);

  await finish(() => agent.delete(VOLUME_ID, { generation: 4, remains: true }));
  await finish(() => agent.delete(VOLUME_ID, { generation: 4, remains: true }));
  assert.deepEqual(await told(), []);
}

test('a simulated storage host that has lost a record keeps the volume until it is deleted by name', async () => {
  const records = new MemoryStorageRecords();
  const driver = new SimulatedStorage({ fabric: new SimulatedFabric(), host: 's' });
  const before = await openAgent(driver, records);
  for (const id of [VOLUME_ID, OTHER_VOLUME])
    await finish(() => before.create(id, { generation: 1, sizeBytes: GIB, source: { kind: 'blank' } }));
  await before.close();
  records.volumes.lose(VOLUME_ID);
  const agent = await openAgent(driver, records);
  assert.notEqual(driver.words(VOLUME_ID), null);
  await keepsUntilAsked(agent);
  assert.equal(driver.words(VOLUME_ID), null);
  assert.notEqual(driver.words(OTHER_VOLUME), null);
  await finish(() => agent.create(VOLUME_ID, { generation: 5, sizeBytes: GIB, source: { kind: 'blank' } }));
  await agent.close();
});

test('a storage host of QEMU that has no record of a volume keeps its file; what was being made goes', async () => {
  const stateDir = await mkdtemp(join(tmpdir(), 'crosscell-remains-'));
  const volumes = join(stateDir, 'volumes');
  try {
    for (const id of [VOLUME_ID, OTHER_VOLUME]) {
      await mkdir(join(volumes, id), { recursive: true });
      await writeFile(join(volumes, id, 'volume.qcow2'), 'precious');
    }
    const records = new MemoryStorageRecords();
    const source = { kind: 'blank' } as const;
    const making = { state: 'making', sizeBytes: GIB, source, snapshots: [], grants: [], port: null } as const;
    await records.volumes.save({
      ...{ version: 1, id: OTHER_VOLUME, generation: 1, deletedGeneration: 0, deletedSnapshots: [] },
      volume: { ...making, snapshots: [], grants: [] },
    });
    const driver = await QemuStorage.open({
      ...{ stateDir, daemonBinary: 'true', qemuImgBinary: 'true', runAs: null, dataAddress: '127.0.0.1', secret: 's' },
      ...{ stallMs: 1000, unusedImageBytes: 0, clock: systemClock, log: silent },
    });
    const agent = await openAgent(driver, records);
    assert.deepEqual(await readdir(volumes), [VOLUME_ID]);
    assert.equal(await readFile(join(volumes, VOLUME_ID, 'volume.qcow2'), 'utf8'), 'precious');
    await keepsUntilAsked(agent);
    assert.deepEqual(await readdir(volumes), []);

    // One that is on record and has lost its file, and things that are nobody's, for the audit.
    await agent.close();
    const record = (await records.volumes.load()).find(({ id }) => id === OTHER_VOLUME);
    assert(record?.volume);
    await records.volumes.save({ ...record, volume: { ...record.volume, state: 'ready' } });
    const again = await openAgent(driver, records);
    await writeFile(join(volumes, 'notes.txt'), '');
    await mkdir(join(stateDir, 'keys', VOLUME_ID));
    const missing = [{ id: OTHER_VOLUME, what: 'file' }];
    const strays = ['volumes/notes.txt', `keys/${VOLUME_ID}`];
    assert.deepEqual(value(await again.files()), { missing, strays });
    records.volumes.lose(OTHER_VOLUME);
    assert.deepEqual(value(await again.files()).missing, [...missing, { id: OTHER_VOLUME, what: 'record' }]);
    await again.close();
  } finally {
    await rm(stateDir, { recursive: true });
  }
});
